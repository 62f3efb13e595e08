"""Whether a scan is a CT that can be segmented, and what the user should know about it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .model_grid import LARGEST_SHEAR_DEGREES
from .volume import HU_WINDOW, MOST_CELLS, SPACING_MM, CtVolume, InputError, fill_values, median, sampled, too_large

FEWEST_SLICES = 4
"""Fewer are refused. Chosen: less is a localizer or a few pages, not a volume."""

SHORTEST_EXTENT_MM = 30.0
"""Less in any direction is refused: it shows too little of a liver to recognize one. Chosen: ten cells of the grid."""

SPACING_RANGE_MM = (0.05, 20.0)
"""Voxel sizes outside of this are taken for a mistake. Chosen well beyond what is reconstructed (about 0.2 to 10)."""

SMALLEST_DETERMINANT = 0.2
"""Of the axes' directions: 1 at right angles, 0 in one plane; a gantry tilt of 30 degrees has 0.87."""

THICK_SLICES_MM = 7.5
"""Thicker slices get a warning. At 8 mm the bundled students lose 0.006 of Dice on real CTs, at 5 mm 0.001
(training/results/stress-100k.md)."""

LARGEST_VOXEL_RATIO = 1.5
"""A scan whose largest voxel is more times as large as its smallest, under a transform that bends space, gets a
warning. Chosen: in training a body's axes are scaled against each other by up to 1.08 / 0.92 (training/synthesis)."""

MOST_CELLS_UNASKED = 256**3
"""A scan that takes more is not analyzed before the user asks for it: at 2.5 mm these hold 640 mm in each direction.
The numpy engine takes 0.3 GB and 5 s for them with student-100k (measured on two busy cores)."""

LEAST_CONTRAST_HU = 50.0
"""All voxels within less than this, and there is nothing to see: fat and liver are 100 HU and more apart."""

HIGHEST_MINIMUM_HU = -60.0
"""A CT of the body, however cropped, has fat and noise below this: adipose tissue has -190 to -30 HU (Yoshizumi et al.,
Radiology 211:283, 1999). MR and 8-bit images begin at 0."""

BODY_HU, SOFT_TISSUE_HU, FAT_HU = (-250, 400), (-20, 250), (-140, -60)
"""Ranges (exclusive) of all of the body but lung and dense bone, of soft tissue with or without contrast medium, and of
adipose tissue less the voxels that it shares with something else."""

LEAST_BODY, LEAST_FAT = 0.01, 0.002
"""Least share of the scan that is body, and of the body that is fat. Chosen to stop CTs whose rescale slope or
intercept was not applied; all CTs of the training's data folder and the samples pass."""

SHIFTED_SOFT_TISSUE_HU = (850, 1300)
LARGEST_SHIFTED_SHARE, LEAST_LOW = 0.15, 0.01
"""Fat and soft tissue whose rescale intercept (-1000 or -1024) was not applied lie here, in a fifth of a scan and more;
of the 25 CTs of the training's data folder and the samples at most 0.4 % do, of drawn heads 5 %: dense bone. With a
doubled slope soft tissue lies there too; then air or lung, more of the scan than this, still lies far below 0."""

CLIPPED_SHARES = (0.05, 0.001)
"""Least share of the scan at its smallest and at its largest value for it to be called clipped. Chosen: a window of the
liver leaves a third of a scan, air, at its lower end, and about 1 %, bone, at its upper; unclipped CTs reach their
largest value in 0.02 % at most."""

FAT_AND_SOFT_TISSUE_HU = ((-130.0, -70.0), (0.0, 120.0))
SHIFTS_HU = np.arange(-350, 501, 10)
LEAST_BETTER_SHIFT, LEAST_SHIFT_HU = 2.0, 40
"""Where fat and soft tissue have their peaks, and how many times as many voxels (of both) must lie there when all
values are shifted. On the 39 CTs of the training's data folder and the samples no shift gave more than 1.37 times as
many; shifted by 100 or 300 HU or halved, all had 2.06 times as many or more, shifted by 50 HU nine of ten. A smaller
shift that gives as many says that the values are not shifted but scaled."""

LOWEST_AIR_HU, LEAST_AIR = -1150.0, 0.05
"""The commonest value below -150 HU, if so large a part of the scan lies there, is that of air or lung: -1015 to -895
HU in the same CTs. Padding, the smallest value, does not count."""

WRAPPED_VALUE, LARGEST_WRAPPED_SHARE = 30_000, 0.01
"""Of voxels that are higher. No tissue or metal is; negative HU are, stored in 16 bits or more without a sign."""

LOWEST_VALUE = -40_000
"""As many voxels of several values that are lower were read with a sign that was not stored. -32,768, the lowest of 16
bits, less 1024 is padding, and so is any one value."""

WIDE_SCAN_MM, HIGHEST_AIR_HU = 250.0, -200.0
"""A scan this wide in two directions shows air beside the body, or lung; if nothing is lower, its values are wrong.
All of the same CTs have lower values, or are clipped at both ends."""

BYTE_HU = (-128, 127)

FILL_HU = -1024
"""What to fill with: scanners write it outside of the field of view."""

SAMPLED_PER_SLICE = 32
MUCH_LESS, LARGEST_SHARE_OUT_OF_ORDER = 0.9, 0.08
"""Slices whose neighbors differ from each other by less than this part of what they differ from the slice, and the
largest share of them: none in the same CTs, 0.76 and more when the slices of two phases lie between each other, 0.11
and more when slices were shuffled."""

LARGEST_STEP, STEP_SLICES, END_SLICES = 2.2, 4, 3
"""Times the usual difference of two neighboring slices, that of so many before and after, and slices may be missing,
turned or of another scan: at most 1.9 in the same CTs; more in 38 of 39 when half of the slices were mirrored, or a
quarter put in reverse order. So many slices at the ends of a scan do not count: resampling leaves partial ones. Where
these CTs are stored with slices from left to right or from front to back, at most 2.14 inside the body, in all voxels
(the edge of an arm; 2.04 at the level of the fluid in a stomach)."""

LEAST_INSIDE = 0.3
"""Share of the body in most slices around one, as part of the largest such share, for it to be inside the body. Chosen:
no fault was told less often in the same CTs than without this; at 0.2 two whole ones got a warning, at 0.4 a fiftieth
of the faults in axial slices was lost."""

STEP_ROWS, STEP_PIXELS, STEP_HU = 64, 8, (-200, 300)
LARGEST_SINGLE_STEP, LEAST_SINGLE_STEP = 1.35, 0.8
"""A step between two slices, in means of so many pixels of every few rows, clipped to what tissue has, is at most 1.26
times the largest and at least 0.88 times the smallest of two before and two after in 38 CTs of the training's data
folder and the samples. With one slice left out it is larger than this in 95 % of all places, in half of them where
slices are 8 mm apart or more; with a noisy copy of the slice before in its place it is smaller in 99 % (noise of 10 HU)
and 43 % (20 HU)."""

FEWEST_STEPS = 12
LARGEST_UNEVENNESS = 0.095
"""Usual difference of the logarithms of a step and of those beside it: 0.086 at most in these CTs, 0.108 and more
in six phantoms, where the body does not change smoothly and no step means anything."""

LARGEST_ALTERNATION = 0.26
"""Difference of the logarithms of steps with an odd and with an even number: 0.063 at most in these CTs, 1.2 and more
where slices were exchanged in pairs."""

LARGEST_PIXEL_RATIO, EQUAL_SIDES = 1.25, 1.02
"""Scanners make square pixels, so two sides of a voxel are equal, to about this ratio after resampling; they are the
pixel's where slices lie across the body, but not when upright ones (two sides of a coronal pixel) were turned. All of
the 39 CTs of the data folder and the samples have two equal sides."""

LEAST_FILL = 0.01
"""Least share of the scan that one of its `fill_values` fills, if tissue has it, for the scan to be refused. Three CTs
of the training's data folder, turned by 2 degrees and more or padded by eight voxels with 0, all were."""

FLAT_NEIGHBORS = tuple((j, i) for j in range(-2, 3) for i in range(-2, 3) if 0 < j * j + i * i <= 4)
FLAT_SLICES, LEAST_FLAT = 16, 0.0005
"""A voxel is in a flat area when these around it (rows, columns) hold its very value. Looked at in so many slices; the
least share of them that one value fills so for it to be told. In the CTs of the data folder and the samples no value
above the lower end of the window, but for the largest, fills more than 0.00001 (one of 8 bits); in most none does."""

FEWEST_MARKED, LARGEST_MARKED_SHARE = 20, 0.05
MARKED_SLICES, LEAST_MARK_HU = 8, 1000.0
"""So many pixels that hold one value each in so many slices and more are marks that were drawn into the picture; a
larger share of them is none (padding, slices that repeat). A value at which a scan is clipped is below the last one. In
the 39 CTs of the data folder and the samples six at most do, where bone is clipped."""


@dataclass(frozen=True)
class Finding:
    """Something about a scan that the user should know before it is segmented. blocking: it cannot be segmented."""

    blocking: bool
    reason: str


def check(ct: CtVolume) -> list[Finding]:
    """What speaks against segmenting this scan, blocking findings first; empty when there is nothing."""
    shape_findings = list(_check_shape(ct))
    if any(finding.blocking for finding in shape_findings):
        return shape_findings
    findings = shape_findings + list(_check_values(ct))
    return sorted(findings, key=lambda finding: not finding.blocking)


def require_usable(ct: CtVolume) -> list[Finding]:
    """What `check` finds; raises `InputError` with every blocking reason, if there is one."""
    findings = check(ct)
    reasons = [finding.reason for finding in findings if finding.blocking]
    if reasons:
        raise InputError(" ".join(reasons))
    return findings


def _check_shape(ct: CtVolume) -> Iterator[Finding]:
    if ct.hu.ndim != 3:
        yield Finding(True, f"The image has {ct.hu.ndim} dimensions; choose a single 3-D scalar volume.")
        return
    if 0 in ct.hu.shape:
        yield Finding(True, "The volume holds no voxels; load the CT again.")
        return
    matrix = np.asarray(ct.ijk_to_ras, float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        yield Finding(True, "The volume's geometry is not finite; correct its spacing and directions.")
        return
    low, high = SPACING_RANGE_MM
    if not ((ct.spacing >= low) & (ct.spacing <= high)).all():
        spacing = " x ".join(f"{s:.3g}" for s in ct.spacing)
        yield Finding(True, f"A voxel of {spacing} mm is not a CT's; correct the volume's spacing.")
        return
    if abs(np.linalg.det(matrix[:3, :3] / ct.spacing)) < SMALLEST_DETERMINANT:
        yield Finding(True, "The volume's axes do not span space; correct its directions.")
        return
    yield from _check_extent(ct)
    if ct.voxel_volumes is not None and ct.voxel_volumes.ratio > LARGEST_VOXEL_RATIO:
        yield Finding(
            False,
            "The volume's transform, or the unequal distance of its slices, makes some voxels "
            f"{ct.voxel_volumes.ratio:.1f} times as large as others. Volume and HU are measured at true places, but "
            "the network sees the body bent: look at the mask closely.",
        )
    tilt = tilt_degrees(matrix)
    if tilt > LARGEST_SHEAR_DEGREES:
        yield Finding(
            False,
            f"The slices are tilted by {tilt:.0f} degrees against the table (gantry tilt): the scan "
            "is straightened for the network, which takes longer; look at the mask closely.",
        )


def tilt_degrees(ijk_to_ras: np.ndarray) -> float:
    """How far the voxel axes are from standing at right angles (gantry tilt shears them)."""
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    return float(np.rad2deg(np.arcsin(min(cosines, 1.0))))


def _check_extent(ct: CtVolume) -> Iterator[Finding]:
    extent = np.asarray(ct.shape[::-1]) * ct.spacing
    if min(ct.shape) < FEWEST_SLICES or extent.min() < SHORTEST_EXTENT_MM:
        yield Finding(
            True,
            f"The volume is {ct.extent} mm with {min(ct.shape)} slices: too little for a liver; "
            "choose a volume that covers the upper abdomen.",
        )
    elif ct.cells() > MOST_CELLS:
        yield Finding(True, too_large(ct, SPACING_MM))
        return
    if not _has_square_pixels(ct):
        yield Finding(
            False,
            f"A voxel is {' x '.join(f'{side:.3g}' for side in ct.spacing)} mm, and scanners make square pixels: if "
            "the volume's spacing or transform is wrong, the liver's volume is too.",
        )
    if ct.spacing.max() > THICK_SLICES_MM:
        yield Finding(False, f"Slices are {ct.spacing.max():.1f} mm apart: the mask will be rough between them.")


def _is_axial(ct: CtVolume) -> bool:
    """Whether slices lie across the body, as scanners make them."""
    return int(np.abs(np.asarray(ct.ijk_to_ras, float)[:3, 2]).argmax()) == 2


def _has_square_pixels(ct: CtVolume) -> bool:
    """Whether two sides of a voxel are equal, and, in slices across the body, not much longer than each other."""
    if ct.voxel_volumes is not None:  # of which the spacing is no more than a mean
        return True
    across = _is_axial(ct) and ct.spacing[:2].max() > LARGEST_PIXEL_RATIO * ct.spacing[:2].min()
    sides = np.sort(ct.spacing)
    return bool(not across and (sides[1:] / sides[:-1]).min() < EQUAL_SIDES)


def _check_values(ct: CtVolume) -> Iterator[Finding]:
    if ct.hu.dtype.kind not in "iufb":
        yield Finding(True, f"Voxels of type {ct.hu.dtype} are no Hounsfield units; choose a scalar CT volume.")
        return
    # All voxels of a float scan are looked at: one that is not finite spoils a whole layer of the network.
    if ct.hu.dtype.kind == "f" and not np.isfinite(ct.hu).all():
        yield Finding(True, "The volume has voxels that are NaN or infinite; replace them (air is -1000 HU) first.")
        return
    found = list(_check_hu(sampled(ct.hu), ct)) or list(_check_flat(ct.hu)) or list(_check_marks(ct.hu))
    yield from found
    if not any(finding.blocking for finding in found):
        about_slices = list(_check_slices(ct.hu, _is_axial(ct)))
        yield from about_slices or (_check_single_slices(ct.hu) if _is_axial(ct) else ())


def _check_fill(hu: np.ndarray, ct: CtVolume) -> Iterator[Finding]:
    """Areas that look like tissue to the network but are none: SimpleITK and others fill with 0 what they add."""
    for value in fill_values(ct.hu):
        if not max(HIGHEST_MINIMUM_HU, float(hu.min())) < value:
            continue
        same = np.pad(hu == value, ((0, 0), (1, 1), (1, 1)), mode="edge")
        inner = same[:, 1:-1, 1:-1] & same[:, 2:, 1:-1] & same[:, :-2, 1:-1] & same[:, 1:-1, 2:] & same[:, 1:-1, :-2]
        if inner.mean() > LEAST_FILL:
            yield Finding(
                True,
                f"Areas of the volume ({(ct.hu == value).mean():.0%}) are filled with {value:g} HU, which looks like "
                f"tissue (padding of a CT that was resampled, registered or masked): set them to {FILL_HU}.",
            )


def flat_values(hu: np.ndarray) -> dict[float, float]:
    """Value -> share of the scan (K, J, I) that is in flat areas of it, for values that the network does not take for
    air. What was measured is nowhere flat, for its noise."""
    slices = hu[:: max(1, len(hu) // FLAT_SLICES)]
    found, counts = np.unique(np.concatenate([_flat_in(one) for one in slices]), return_counts=True)
    shares = zip(found.tolist(), (counts / slices.size).tolist())
    flat = {value: share for value, share in shares if share > LEAST_FLAT}
    # All of a scan is searched for its largest value only where something is flat.
    largest = hu.max() if flat else None
    return {value: share for value, share in flat.items() if value != largest}


def _flat_in(one: np.ndarray) -> np.ndarray:
    """(N,) values of the voxels of a slice (J, I) that are in flat areas, above what the network takes for air."""
    reach = max(abs(step) for steps in FLAT_NEIGHBORS for step in steps)
    sample = np.pad(one, reach, mode="edge")
    height, width = sample.shape
    flat = one > int(HU_WINDOW[0])
    for down, right in (0, 1), (1, 0):  # of all voxels at once, as this leaves few for the other neighbors
        flat &= one == sample[reach + down : height - reach + down, reach + right : width - reach + right]
    j, i = np.divmod(np.flatnonzero(flat), one.shape[1])
    values, places, sample = one[j, i], (j + reach) * width + i + reach, sample.reshape(-1)
    for rows, columns in FLAT_NEIGHBORS:
        same = sample[places + rows * width + columns] == values
        places, values = places[same], values[same]
    return values


def _check_flat(hu: np.ndarray) -> Iterator[Finding]:
    """Flat areas that are too small, or too dark, to be refused as padding."""
    flat = {value: share for value, share in flat_values(hu).items() if value > hu.min()}
    if flat:
        value = max(flat, key=lambda one: flat[one])
        yield Finding(
            False,
            f"Areas of the volume ({flat[value]:.1%}) hold nothing but {value:g} HU, which looks like "
            f"{'fat' if value < HIGHEST_MINIMUM_HU else 'tissue'} and was not measured (padding, or voxels that were "
            f"painted over): the mask may be wrong there; set padding to {FILL_HU}.",
        )


def _check_marks(hu: np.ndarray) -> Iterator[Finding]:
    """Text and lines that lie over all slices alike, as pictures that were exported for reading have."""
    slices = hu[:: max(1, len(hu) // FLAT_SLICES)]
    first = slices[0]
    marked = (first > HU_WINDOW[0]) & ((first < slices.max()) | (first > LEAST_MARK_HU))
    for other in slices[1:]:
        marked &= first == other
    count = np.count_nonzero(marked)
    if len(slices) >= MARKED_SLICES and FEWEST_MARKED <= count <= LARGEST_MARKED_SHARE * marked.size:
        yield Finding(
            False,
            f"{count} pixels hold the same values in all slices, as text or lines drawn into the picture do: the mask "
            "may be wrong there; choose the CT as it was scanned.",
        )


def _check_hu(hu: np.ndarray, ct: CtVolume) -> Iterator[Finding]:
    """Soft tissue, fat and something at -200 HU or less are in every body CT; MR and rescaled data lack them."""
    yield from (
        list(_check_range(hu)) or list(_check_fill(hu, ct)) or list(_check_soft_tissue(hu)) or _check_scale(hu, ct)
    )


def _check_range(hu: np.ndarray) -> Iterator[Finding]:
    """Values that are no Hounsfield units of a body at all, by the least and the largest of them: the first reason."""
    low, high = float(hu.min()), float(hu.max())
    if high - low < LEAST_CONTRAST_HU:
        yield Finding(True, f"All voxels lie between {low:.0f} and {high:.0f}: there is nothing to see in this volume.")
    elif (hu > WRAPPED_VALUE).mean() > LARGEST_WRAPPED_SHARE:
        yield Finding(
            True,
            f"Values reach {high:.0f}: negative Hounsfield units seem to have been stored without their sign; export "
            "the CT again.",
        )
    elif ((hu < LOWEST_VALUE) & (hu > low)).mean() > LARGEST_WRAPPED_SHARE:
        yield Finding(
            True,
            f"Values reach down to {low:.0f}: they seem to have been read with a sign that was not stored; export the "
            "CT again.",
        )
    elif BYTE_HU[0] <= low and high <= BYTE_HU[1] and not _clipped(hu):
        yield Finding(
            True, f"All values lie between {low:.0f} and {high:.0f}, as 8 bits hold: they are clipped or wrapped."
        )
    elif _within(hu, SHIFTED_SOFT_TISSUE_HU).mean() > LARGEST_SHIFTED_SHARE:
        yield Finding(True, _reason_of_high_values(hu))
    elif low > HIGHEST_MINIMUM_HU:
        yield Finding(True, _reason_of_minimum(hu, low, high))


def _check_soft_tissue(hu: np.ndarray) -> Iterator[Finding]:
    body = hu[_within(hu, BODY_HU)]
    if body.size < LEAST_BODY * hu.size or not _within(body, SOFT_TISSUE_HU).any():
        low, high = SOFT_TISSUE_HU
        yield Finding(
            True, f"There is hardly any soft tissue ({low} to {high} HU); choose a CT of the body in Hounsfield units."
        )


def _check_scale(hu: np.ndarray, ct: CtVolume) -> Iterator[Finding]:
    """Values that may be those of a body, but clipped, scaled or shifted."""
    low, high = float(hu.min()), float(hu.max())
    clipped = _clipped(hu)
    if low > HU_WINDOW[0] and clipped:
        yield Finding(
            False,
            f"The values are clipped at {low:.0f} and {high:.0f} HU, within what the network looks at: air looks like "
            "fat, and the mask may be wrong; choose the CT as it was scanned.",
        )
    wide = np.count_nonzero(np.asarray(ct.shape[::-1]) * ct.spacing > WIDE_SCAN_MM) > 1
    if _within(hu[_within(hu, BODY_HU)], FAT_HU).mean() < LEAST_FAT:
        yield Finding(
            False,
            "The values do not look like the Hounsfield units of a body CT (no fat near -100 HU): "
            "the mask may be wrong.",
        )
    elif wide and low > HIGHEST_AIR_HU and not clipped:
        yield Finding(
            False,
            f"The smallest value is {low:.0f}, but air is near -1000 HU: the values are clipped, scaled or shifted, "
            "and the mask may be wrong; check rescale slope and intercept.",
        )
    else:
        yield from _check_peaks(hu)


def _check_peaks(hu: np.ndarray) -> Iterator[Finding]:
    """Do air, fat and soft tissue lie where they do in every body?"""
    inner = hu[(hu > hu.min()) & (hu < hu.max())]  # at the ends are padding and what was clipped
    shift, better = _best_shift(inner)
    low = inner[inner < BODY_HU[0]]
    air = float(median(low)) if low.size > LEAST_AIR * inner.size else 0.0
    if better > LEAST_BETTER_SHIFT and abs(shift) >= LEAST_SHIFT_HU:
        yield Finding(
            False,
            f"The values look about {abs(shift):.0f} HU too {'high' if shift > 0 else 'low'} (fat lies near "
            f"{shift - 100:.0f} HU, not -100): the mask may be wrong; check the rescale intercept.",
        )
    elif better > LEAST_BETTER_SHIFT or air < LOWEST_AIR_HU:
        yield Finding(
            False,
            "Air, fat and soft tissue do not have the Hounsfield units that they have in a body: the values may be "
            "scaled, and the mask wrong; check the rescale slope.",
        )


def _best_shift(hu: np.ndarray) -> tuple[float, float]:
    """How much too high the values are if as many as possible are to be fat and soft tissue, and how many times as many
    there are then."""
    step = float(SHIFTS_HU[1] - SHIFTS_HU[0])
    edges = np.arange(-1000.0, 1000.0 + step, step)
    below = np.concatenate([[0], np.cumsum(np.histogram(hu, edges)[0])])

    def density(low: float, high: float) -> np.ndarray:
        first, last = (np.rint((edge + SHIFTS_HU - edges[0]) / step).astype(int) for edge in (low, high))
        return (below[last] - below[first]) / (high - low)

    fit = np.minimum(*(density(*tissue) for tissue in FAT_AND_SOFT_TISSUE_HU))
    best = int(fit.argmax())
    return float(SHIFTS_HU[best]), float(fit[best] / max(fit[SHIFTS_HU == 0][0], 1e-9))


def _check_slices(hu: np.ndarray, axial: bool) -> Iterator[Finding]:
    """Are the slices one body's, each once and in order? Each is compared with its neighbors."""
    steps = [max(1, n // SAMPLED_PER_SLICE) for n in hu.shape[1:]]
    sample = np.asarray(hu[:, :: steps[0], :: steps[1]], np.float32).reshape(len(hu), -1)
    empty = np.flatnonzero(np.ptp(sample, axis=1) == 0)
    seen = sample[empty, 0] > max(HIGHEST_MINIMUM_HU, float(sample.min()))
    missing = empty[~seen]
    if len(missing) and not axial:  # those beside the body are empty where air is clipped, or the field of view ends
        missing = missing[_borders_on(_holds_body(sample), missing)]
    if len(missing):
        yield Finding(False, f"{_slices(missing, 'are')} empty: what belongs there is missing in the mask.")
    if seen.any():
        yield Finding(
            False,
            f"{_slices(empty[seen], 'are')} filled with {sample[empty[seen][0], 0]:g} HU, which looks like tissue: the "
            f"mask may hold what is none; set them to {FILL_HU}.",
        )
    same = np.flatnonzero((sample[1:] == sample[:-1]).all(axis=1)) + 1
    same = same[~np.isin(same, empty)]
    if len(same):
        yield Finding(
            False,
            f"{_slices(same, 'repeat')} the one before: filled in, or saved twice; volumes may be wrong.",
        )
    if len(missing) or seen.any() or len(same):
        return
    sample = np.clip(sample, *BODY_HU)
    next_one, second_next = (np.abs(sample[n:] - sample[:-n]).mean(axis=1) for n in (1, 2))
    if (second_next < MUCH_LESS * np.minimum(next_one[1:], next_one[:-1])).mean() > LARGEST_SHARE_OUT_OF_ORDER:
        yield Finding(
            False,
            "Neighboring slices are less alike than those with another between them: two series seem to be mixed, or "
            "the slices out of order; look at the scan in another direction.",
        )
        return
    for step in _large_steps(next_one, sample):
        if axial or _step_ratio(hu, step) > LARGEST_STEP:
            yield Finding(
                False,
                f"Slices {step + 1} and {step + 2} do not fit together: slices may be missing, turned or of another "
                "scan; look at the scan in another direction.",
            )
            return


def _holds_body(sample: np.ndarray) -> np.ndarray:
    """(N,) bool, the slices of a sample (N, M) that are well inside the body: most of those around show much of it.

    Upright slices begin and end beside the body, where the back, a sleeve or the table may fill one and not the next.
    """
    shown = np.count_nonzero(sample > BODY_HU[0], axis=1)
    around = np.pad(shown, STEP_SLICES, mode="edge")
    usual = median(np.lib.stride_tricks.sliding_window_view(around, 2 * STEP_SLICES + 1))
    return usual >= LEAST_INSIDE * usual.max()


def _borders_on(inside: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Of each empty slice (ascending indices), whether the row of empty ones that it is in borders on one inside."""
    shown = np.setdiff1d(np.arange(len(inside)), empty)
    after = np.searchsorted(shown, empty)
    beside = np.concatenate([[False], inside[shown], [False]])
    return beside[after] | beside[after + 1]


def _large_steps(next_one: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Steps between two slices that are too large for those around, the worst first: indices of the first slice.

    next_one: (N - 1,) mean difference in HU of each slice to the next. sample: (N, M), see `_holds_body`.
    """
    steps = np.arange(END_SLICES, len(next_one) - END_SLICES)
    places = steps[:, None] + np.array([n for n in range(-STEP_SLICES, STEP_SLICES + 1) if n])
    neighbors = np.where((places >= 0) & (places < len(next_one)), next_one[places % len(next_one)], np.nan)
    ratio = next_one[steps] / np.maximum(median(neighbors), 1.0) if len(steps) else np.zeros(0)
    large = ratio > LARGEST_STEP
    if large.any():
        inside = _holds_body(sample)
        large &= inside[steps] | inside[steps + 1]
    return steps[large][np.argsort(-ratio[large])]


def _step_ratio(hu: np.ndarray, step: int) -> float:
    """Times the usual difference of the slices around that this one has to the next, in all voxels.

    Upright slices lie so close that a sample says little of how much two differ: an edge along them that its voxels
    happen to lie on makes a step.
    """
    first = max(0, step - STEP_SLICES)
    around = np.clip(np.asarray(hu[first : step + STEP_SLICES + 2], np.float32), *BODY_HU)
    differences = np.abs(around[1:] - around[:-1]).mean(axis=(1, 2))
    return float(differences[step - first] / max(median(np.delete(differences, step - first)), 1.0))


def _check_single_slices(hu: np.ndarray) -> Iterator[Finding]:
    """Is one slice missing, or a copy of its neighbor with other noise, or are slices exchanged in pairs?

    Each step from slice to slice is compared with two before and two after.
    """
    steps = _steps(hu)[END_SLICES - 2 : 2 - END_SLICES]
    if len(steps) < FEWEST_STEPS:
        return
    around = np.lib.stride_tricks.sliding_window_view(steps, 5)
    step, beside = around[:, 2], around[:, (0, 1, 3, 4)]
    uneven = np.log(step / median(beside))
    every_other = abs(float(median(uneven[::2]) - median(uneven[1::2])))
    apart, alike = step / beside.max(axis=1), step / beside.min(axis=1)
    widest, closest = int(apart.argmax()) + END_SLICES + 1, int(alike.argmin()) + END_SLICES + 1
    if every_other > LARGEST_ALTERNATION:
        yield Finding(
            False,
            "Every other pair of slices is more alike than those between: slices may be exchanged in pairs, or copied; "
            "look at the scan in another direction.",
        )
    elif median(np.abs(uneven)) > LARGEST_UNEVENNESS:
        return  # no such rule holds in what is drawn
    elif alike.min() < LEAST_SINGLE_STEP:
        yield Finding(
            False,
            f"Slices {closest} and {closest + 1} are more alike than others: one may be a copy of the other, so that "
            "volumes are wrong; look at the scan in another direction.",
        )
    elif apart.max() > LARGEST_SINGLE_STEP:
        yield Finding(
            False,
            f"From slice {widest} to {widest + 1} the body changes more than from one slice to the next before and "
            "after: one may be missing there, so that volumes are wrong; look at the scan in another direction.",
        )


def _steps(hu: np.ndarray) -> np.ndarray:
    """(N - 1,) difference of each of N slices to the next, HU, in means of a few pixels, in which noise counts less."""
    rows = hu[:, :: max(1, hu.shape[1] // STEP_ROWS), : hu.shape[2] // STEP_PIXELS * STEP_PIXELS]
    values = np.clip(rows if hu.dtype == np.int16 else rows.astype(np.float32), *STEP_HU)
    sums = values[..., ::STEP_PIXELS].copy()
    for first in range(1, STEP_PIXELS):
        sums += values[..., first::STEP_PIXELS]
    sums = sums.reshape(len(hu), -1)
    return np.maximum(np.abs(sums[1:] - sums[:-1]).mean(axis=1) / STEP_PIXELS, 1.0)


def _slices(numbers: np.ndarray, verb: str) -> str:
    """How a sentence on slices begins; numbers: indices from 0."""
    if len(numbers) == 1:
        return f"Slice {numbers[0] + 1} {'is' if verb == 'are' else verb + 's'}"
    return f"{len(numbers)} slices (the first: slice {numbers[0] + 1}) {verb}"


def _reason_of_high_values(hu: np.ndarray) -> str:
    # Air and lung stay low where values are scaled; the smallest value may be padding.
    if _within(hu, (float(hu.min()), HIGHEST_AIR_HU)).mean() > LEAST_LOW:
        return (
            "Much of the volume lies near 1050 HU, where no soft tissue is, while air is below "
            f"{HIGHEST_AIR_HU:.0f}: the values are scaled; check the rescale slope, or export the CT again."
        )
    return (
        "The values are about 1000 too high for Hounsfield units (much of the volume lies near 1050, where soft tissue "
        "would be without its rescale intercept): subtract 1024, or export the CT again."
    )


def _reason_of_minimum(hu: np.ndarray, low: float, high: float) -> str:
    if _clipped(hu):
        return (
            f"The values are clipped to {low:.0f} to {high:.0f} (a display window, or 8 bits), so air and fat cannot "
            "be told from tissue; choose the CT in Hounsfield units as it was scanned."
        )
    return (
        f"The smallest value is {low:.0f}, but air and fat are below {HIGHEST_MINIMUM_HU:.0f} HU: this is an MR, an "
        "8-bit, a clipped or a shifted image; choose a CT in Hounsfield units (apply its rescale slope and intercept)."
    )


def _clipped(hu: np.ndarray) -> bool:
    at_low, at_high = CLIPPED_SHARES
    return bool((hu == hu.min()).mean() > at_low and (hu == hu.max()).mean() > at_high)


def _within(hu: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return (hu > limits[0]) & (hu < limits[1])
