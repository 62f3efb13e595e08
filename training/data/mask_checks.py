"""Does a mask lie on the liver of its CT, and on all of it? What speaks against it, with a sentence for each reason.

Chosen on the 27 CTs with a mask in the data folder and the samples (expert masks and pseudo-labels, 1.3 to 8 mm): at
3 mm air, fat and bone were 0.2 to 3.2 % of the mask (most in a mask that is a slice off), and 7.6 to 88 % when the mask
was mirrored in any of the seven ways. Where the scan goes on, the first and last slice of a mask had at most 12 % of
its largest one. These checks go by tissues, areas and overlaps; `student_check` compares with a network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from LiverGTANLib.core.input_checks import Finding
from LiverGTANLib.core.measurements import dice, voxel_ml
from LiverGTANLib.core.orientation_check import AXIS_WORDS
from LiverGTANLib.core.volume import CtVolume

LIVER_TISSUE_HU = (-30.0, 250.0)
"""Below is fat or air, above bone, metal or dense deposits."""
LARGEST_SHARE_OF_OTHERS = 0.05
"""More air, fat and bone under a mask is looked into."""
MIRRORED_SHARE = 1 / 3
"""A mirrored copy with less than this part of it, and as little as a liver may have, says that CT and mask are mirrored
against each other."""
LARGEST_SHARE_OF_STRAY, STRAY_SD, MOST_SD_HU = 0.1, 4.0, 40.0
"""Of voxels of fat or air that lie this many (robust) standard deviations below the median: more is refused. Livers
with fat in them are dark as a whole and have few of these; of masks moved by 24 mm nine of ten have more. The deviation
counts up to 40 HU (the masks of the data folder have 34 at most): more is not one organ."""
SLICE_SHARE_OF_OTHERS, SLICE_CM2, LONGEST_OFF_MM, MOST_OFF = 0.3, 10.0, 12.0, 2
"""A slice with such a share of air, fat and bone, among those of at least this area, is off the liver; longer rows of
them, and of more than two, are refused. At 2 mm the masks of the data folder have rows of 6 mm at most, at an end."""
LEAST_OVERLAP, OVERLAP_CM2 = 0.35, 20.0
"""Dice of neighboring slices of at least this area: at least 0.54 in the data folder (slices of 8 mm, else 0.61)."""
LARGEST_SHARE_OF_DENSE = 0.25
"""Of bone and metal; deposits after embolization may be as dense, in a part of the liver."""
LOWEST_MEDIAN_HU = -50.0
"""Of the mask; fatty livers have -20 HU and more."""
LEAST_LIVER_ML = 100.0
"""Less, within the scan, is not a whole liver: a newborn's has about 120 mL."""
MOST_LIVER_ML = 6000.0
"""More is noted: livers of 6 L and above are rare (polycystic disease), wrong voxel sizes are not."""
CUT_SHARE = 0.25
"""An end slice of the scan with this share of the largest slice cuts the liver."""
ABRUPT_SHARE, ABRUPT_CM2 = 0.4, 50.0
"""A mask that ends so large within the scan was not drawn to its end. The area is for scans that show a dome or a tip
alone, whose largest slice is small."""
LARGEST_SHARE_OF_GAPS = 0.2
"""Of the slices between the first and the last of a mask; with more empty ones it was drawn on some slices alone."""


def check_geometry(ct: CtVolume) -> Iterator[Finding]:
    """A header without geometry, which says 1 x 1 x 1 mm whatever the scan had."""
    if not np.allclose(ct.spacing, 1.0, atol=1e-6):
        return
    matrix = np.asarray(ct.ijk_to_ras, float)
    bare = np.allclose(np.abs(matrix), np.eye(4), atol=1e-6)
    # 512 x 512 is what scanners reconstruct, on at most 500 mm in general: never at 1 mm.
    if bare or ct.shape[1:] == (512, 512):
        yield Finding(
            True,
            "the voxels are 1 x 1 x 1 mm by a header that seems to have lost its geometry "
            f"({'at the origin, without orientation' if bare else '512 x 512 voxels'}): convert the scan anew",
        )


def check_mask(
    ct: CtVolume, mask: np.ndarray, hu: np.ndarray, label: np.ndarray, spacing_mm: float
) -> Iterator[Finding]:
    """What speaks against a mask (K, J, I) that is not empty; worst first.

    hu, label: CT and share of the mask resampled to (D, H, W), axes S, A, R, at spacing_mm, so that noise is averaged.
    """
    placement = _check_tissue(hu, label > 0.5)
    if placement is None or not placement.blocking:
        placement = _check_slices(hu, label > 0.5, spacing_mm) or placement
    if placement:
        yield placement
    if placement is None or not placement.blocking:
        yield from _check_volume(ct, mask)
        yield from _check_ends(*_levels(ct, mask))
        yield from _check_overlaps(ct, mask)


def _check_tissue(hu: np.ndarray, liver: np.ndarray) -> Finding | None:
    others = (hu < LIVER_TISSUE_HU[0]) | (hu > LIVER_TISSUE_HU[1])
    share = _share(others, liver)
    if share <= LARGEST_SHARE_OF_OTHERS:
        return None
    ways = [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)]
    best, axes = min((_share(others, np.flip(liver, axes)), axes) for axes in ways)
    if best < min(MIRRORED_SHARE * share, LARGEST_SHARE_OF_OTHERS):
        words = ", and ".join(AXIS_WORDS[axis] for axis in axes)
        return Finding(
            True,
            f"{share:.0%} of the mask is air, fat or bone, but {best:.0%} when {words} are exchanged: CT and mask are "
            "mirrored against each other",
        )
    values = hu[liver]
    middle = float(np.median(values))
    sd = min(MOST_SD_HU, 1.4826 * float(np.median(np.abs(values - middle))))
    stray = float((values < min(LIVER_TISSUE_HU[0], middle - STRAY_SD * sd)).mean())
    dense = float((values > LIVER_TISSUE_HU[1]).mean())
    if stray > LARGEST_SHARE_OF_STRAY or dense > LARGEST_SHARE_OF_DENSE or middle < LOWEST_MEDIAN_HU:
        return Finding(
            True,
            f"{share:.0%} of the mask is air, fat or bone (median {middle:.0f} HU): it is flipped, shifted or of "
            "another scan",
        )
    return Finding(False, f"{share:.0%} of the mask is air, fat or bone: look whether it lies on the liver")


def _check_slices(hu: np.ndarray, liver: np.ndarray, spacing_mm: float) -> Finding | None:
    """Rows of slices that do not lie on the liver, though the mask as a whole does."""
    least = SLICE_CM2 / (spacing_mm / 10) ** 2
    off = [
        np.count_nonzero(level) >= least
        and _share((values < LIVER_TISSUE_HU[0]) | (values > LIVER_TISSUE_HU[1]), level) > SLICE_SHARE_OF_OTHERS
        for values, level in zip(hu, liver, strict=True)
    ]
    row = longest_row(off)
    length = row * spacing_mm
    if row <= MOST_OFF or length <= LONGEST_OFF_MM:
        return None
    return Finding(
        True,
        f"over {length:.0f} mm more than {SLICE_SHARE_OF_OTHERS:.0%} of the mask is air, fat or bone: these slices are "
        "shifted or of another scan",
    )


def longest_row(values: Iterable[bool | np.bool_]) -> int:
    """How many true values follow each other at most."""
    longest = here = 0
    for value in values:
        here = here + 1 if value else 0
        longest = max(longest, here)
    return longest


def _share(others: np.ndarray, liver: np.ndarray) -> float:
    return float(others[liver].mean()) if liver.any() else 0.0


def _check_volume(ct: CtVolume, mask: np.ndarray) -> Iterator[Finding]:
    volume = float(np.count_nonzero(mask)) * voxel_ml(ct.ijk_to_ras)
    touches = any(mask.take(end, axis).any() for axis in range(3) for end in (0, -1))
    if volume < LEAST_LIVER_ML:
        reason = f"the mask has {volume:.0f} mL"
        if touches:
            yield Finding(False, f"{reason}, cut by the end of the scan")
        else:
            yield Finding(True, f"{reason}, too little for a whole liver: is it a lesion or a part of the liver?")
    elif volume > MOST_LIVER_ML:
        yield Finding(False, f"the mask has {volume / 1000:.1f} L: is the voxel size right?")


def _slices(ct: CtVolume, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slices of the mask from feet to head, and their areas in cm2."""
    along = np.asarray(ct.ijk_to_ras, float)[2, :3] / ct.spacing
    axis = int(np.abs(along).argmax())
    slices = np.moveaxis(mask, 2 - axis, 0)[:: 1 if along[axis] > 0 else -1]
    return slices, np.count_nonzero(slices, axis=(1, 2)) * voxel_ml(ct.ijk_to_ras) / (ct.spacing[axis] / 10)


def _levels(ct: CtVolume, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cm2 of the mask in every slice from feet to head, and in those from the first to the last that hold any."""
    _, areas = _slices(ct, mask)
    first, last = np.flatnonzero(areas)[[0, -1]]
    return areas, areas[first : last + 1]


def _check_overlaps(ct: CtVolume, mask: np.ndarray) -> Iterator[Finding]:
    """Slices of which the next one holds a mask somewhere else."""
    slices, areas = _slices(ct, mask)
    large = areas > OVERLAP_CM2
    jumps = [
        n for n in range(len(slices) - 1) if large[n] and large[n + 1] and dice(*slices[n : n + 2]) < LEAST_OVERLAP
    ]
    if jumps:
        yield Finding(
            True,
            f"the mask jumps from one slice to the next {len(jumps)} times: slices are mixed up or of another scan",
        )


def _check_ends(scan: np.ndarray, liver: np.ndarray) -> Iterator[Finding]:
    """scan, liver: areas from feet to head, of all slices and of those from the first to the last with a mask."""
    for end, outermost, area in (("lower", scan[0], liver[0]), ("upper", scan[-1], liver[-1])):
        share = area / liver.max()
        if outermost and share > CUT_SHARE:
            yield Finding(False, f"the {end} end of the scan cuts the liver")
        if not outermost and share > ABRUPT_SHARE and area > ABRUPT_CM2:
            yield Finding(True, f"the mask breaks off at its {end} end, where the scan goes on: it is not complete")
    gaps = int(np.count_nonzero(liver == 0))
    if gaps > LARGEST_SHARE_OF_GAPS * len(liver):
        yield Finding(
            True, f"{gaps} of {len(liver)} slices of the liver have no mask: it was drawn on some slices only"
        )
    elif gaps:
        yield Finding(False, f"{gaps} of {len(liver)} slices of the liver have no mask")
