"""From a CT to logits once, and from logits to a mask as often as the user moves a slider, a box or a point."""

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from . import boxes, components, guided_filter
from .boxes import Box, triple
from .clicks import Neighborhood
from .engines.engine import Cancelled, Engine, EngineError, IsCancelled, Progress
from .input_checks import Finding, require_usable
from .model_grid import ModelGrid
from .postprocess import (
    DEFAULT_MASK_PARAMETERS,
    MIN_LIVER_ML,
    Analysis,
    MaskParameters,
    chosen_component,
    longest_cached,
    neighborhoods,
    postprocess_logits,
    second_component_cells,
)
from .volume import AIR, CtVolume, median, to_model_grid

FEWEST_CELLS = 4
"""Components and holes on the scan's grid that are smaller than this many cells of the model grid, 0.11 mL, are specks,
which noise and small vessels beside the border leave. Chosen above all that the filter leaves with the two bundled
students on the 13 expert-labelled CTs of the data folder: up to 80 components apart from the largest, of 0.07 mL at
most, and 99 holes of up to 0.09 mL."""

MIN_REPORTED_ML = 1.0
"""Less than this, 37 cells of 3 mm, is not reported as something that may be liver. Chosen as the rounding of a volume
in a message."""

SURELY_NO_LIVER = 0.01
"""Calibrated probability of liver below which the network is sure that there is none. Chosen on simulated clicks into
liver that student-100k, or the same with noise on its weights, had missed (0.016 at least, on example_ct,
example_ct_dicom and crlm_ct_1100_8bit), and random places in the body 25 mm and more from the liver (95 % below)."""

USUAL_LIVER_ML = (300.0, 4500.0)
"""Less or more is to be looked at: half of the smallest and twice the largest liver of 369 healthy adults, 594 to 2,250
mL (Feng et al., World J Gastroenterol 23:4968, 2017). The largest of the training's data folder, full of metastases,
has 3.4 L; beyond are few but polycystic livers, and below children's and parts of a liver."""

USUAL_BODY_CM2 = (300.0, 1500.0)
"""A smaller cross-section gets a hint that this may be a child, a larger one that the voxel size may be wrong. Chosen:
200 and 440 mm across; the adults of the training's data folder and the samples have 389 to 1262 cm². Of their scans
with voxels made 1.5 times as large 26 of 37 are beyond, with twice as large ones all; with voxels two thirds or half as
large 11 and 34 of 37."""


LARGEST_SECOND_ML = USUAL_LIVER_ML[0]
"""As much and more that looks like liver and is connected to none of the mask draws a finding: another body beside, a
liver in two, or another organ or fluid. With student-30k 55 mL at most are in 38 of the 39 CTs of the training's data
folder and the samples, and 2.3 L in the other, which shows ascites (tcga_ov_09_2043)."""


LARGEST_NOISE_HU, FEWEST_NEIGHBORS, UNCLIPPED, NORMAL_MEDIAN = 25.0, 1000, 0.9, 0.6745
"""Noise of the cells from which a scan gets a warning, the pairs that it is measured on, the scaled values below which
noise is not clipped, and the median of the size of a normal deviate. The 39 CTs of the data folder and the samples have
7 to 20 HU. With white noise of 60 HU added to its 3 mm voxels, example_ct has 27 HU, and student-100k finds 13 % less;
with 100 HU 37 and 47 % less. Finer voxels are averaged: of hcc_tace_seg_048 with 60, 100 and 150 HU in 5.6 mm^3, 33, 44
and more, it finds 2, 8 and 14 % less."""


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask without the margin that its array has. box: (k, j, i) slices in that array, None for an empty mask. bits:
    of the box's voxels in their order. digest: equal for masks of the same shape, wherever they lie.
    """

    box: Box | None
    bits: np.ndarray
    digest: str

    @staticmethod
    def of(voxels: np.ndarray) -> "PackedMask":
        """voxels: (k, j, i), 0 or not."""
        box = boxes.bounding_box(voxels)
        bits = np.packbits(voxels[box] if box else voxels[:0])
        digest = hashlib.blake2b(np.array(boxes.shape(box) if box else 0).tobytes(), digest_size=16)
        digest.update(bits.tobytes())
        return PackedMask(box, bits, digest.hexdigest())


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask on a grid (the scan's own, from `mask`) that holds only a box around the liver.

    voxels: (k, j, i) uint8, 0 or 1, not to be changed. start: first (k, j, i) of the box. shape: (K, J, I) of the grid.
    """

    voxels: np.ndarray
    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    def __repr__(self) -> str:
        return f"<BoxMask: {self.voxels.shape} voxels from {self.start} on, of {self.shape}>"

    @property
    def empty(self) -> bool:
        """Whether nothing is in the mask."""
        return not self.voxels.any()

    @property
    def box(self) -> Box:
        """Where `voxels` lie in the grid."""
        return triple(slice(first, first + n) for first, n in zip(self.start, self.voxels.shape))

    @cached_property
    def packed(self) -> PackedMask:
        """Found once, in any thread."""
        return PackedMask.of(self.voxels)

    def full(self) -> np.ndarray:
        """The mask of the whole grid, (K, J, I) uint8."""
        whole = np.zeros(self.shape, np.uint8)
        whole[self.box] = self.voxels
        return whole


def analyze(
    ct: CtVolume,
    engine: Engine,
    progress: Progress | None = None,
    cancelled: IsCancelled | None = None,
    checked: bool = False,
) -> Analysis:
    """Run the network on a scan. checked: `input_checks.check` found nothing against this scan before.

    Raises InputError with the reasons when the scan cannot be segmented, EngineError when the network's answer is not
    finite, and Cancelled.
    """
    if not checked:
        require_usable(ct)
    report = progress or (lambda fraction, text: None)
    start = time.perf_counter()
    report(0.0, "Resampling")
    student = engine.student
    image, grid = to_model_grid(ct, student.spacing_mm, student.hu_window, student.multiple)
    if cancelled and cancelled():
        raise Cancelled
    middle = time.perf_counter()
    logits = engine.forward(image, lambda fraction, text: report(0.3 + 0.6 * fraction, text), cancelled)
    _require_finite(logits, engine)
    noise_hu = guided_filter.noise_hu(ct.hu, grid, logits)
    seconds = {"resample": middle - start, "network": time.perf_counter() - middle}
    return Analysis(
        logits,
        image,
        grid,
        student.spacing_mm,
        student.name,
        engine.name,
        student.temperature,
        student.hu_window,
        noise_hu,
        _cell_ml(ct, grid, student.spacing_mm),
        seconds,
    )


def _cell_ml(ct: CtVolume, grid: ModelGrid, spacing_mm: float) -> np.ndarray | None:
    """`Analysis.cell_ml`: each cell is larger or smaller by as much as the voxels at its center."""
    if ct.voxel_volumes is None:
        return None
    matrix, last = np.linalg.inv(ct.ijk_to_ras) @ grid.ijk_to_ras, np.array(ct.shape) - 1
    h, w = np.indices(grid.shape[1:]).reshape(2, -1)
    found = np.empty(grid.shape, np.float32)
    for d in range(grid.shape[0]):
        ijk = matrix[:3] @ [w, h, np.full_like(w, d), np.ones_like(w)]
        k, j, i = np.clip(np.rint(ijk[::-1]).astype(int), 0, last[:, None])
        found[d] = ct.voxel_volumes.at(k, j, i).reshape(found.shape[1:])
    return found * np.float32(spacing_mm**3 / abs(np.linalg.det(ct.ijk_to_ras[:3, :3])))


def _require_finite(logits: np.ndarray, engine: Engine) -> None:
    """Raise EngineError rather than make a mask of overflown or broken numbers."""
    if not np.isfinite(logits).all():
        raise EngineError(
            f"The {engine.name} engine computed numbers that are not finite with {engine.student.name}; "
            "choose another engine or another student."
        )


def check(analysis: Analysis) -> list[Finding]:
    """What the network's answer itself speaks against: no liver in view, too little to outline, an unusual size, or
    another part besides.

    Found once for each analysis, so what is said holds whatever settings, region and clicks make of it.
    """
    return analysis.cache.findings.get_or_make("liver", lambda: _check(analysis))


def _check(analysis: Analysis) -> list[Finding]:
    found = analysis.network_volume_ml
    if found >= MIN_LIVER_ML:
        return _check_size(analysis)
    if found < MIN_REPORTED_ML:
        reason = "No liver is in view; choose a CT of the upper abdomen and check its orientation."
    else:
        reason = (
            f"Hardly any liver is in view ({found:.0f} mL, if it is one): too little to outline; "
            "choose a CT that covers the upper abdomen."
        )
    return [Finding(False, reason + _unusual_body(analysis) + _noise(analysis))]


def check_clicks(analysis: Analysis, parameters: MaskParameters) -> list[str]:
    """What is to be said of the clicks themselves, as parts of a sentence: outside the scan, and where the network is
    sure that there is no liver."""
    reached = neighborhoods(analysis, parameters.clicks)
    outside = len(parameters.clicks) - len(reached)
    sure = sum(_surely_no_liver(analysis, one) for one in reached if one.click.liver)
    return [
        text
        for count, text in (
            (outside, f"{_points(outside)} outside the scan changed nothing"),
            (sure, f"{_points(sure)} said to be liver where the network is sure that there is none, look at the mask"),
        )
        if count
    ]


def _points(count: int) -> str:
    return f"{count} point{'s' if count > 1 else ''}"


def _surely_no_liver(analysis: Analysis, around: Neighborhood) -> bool:
    cells = boxes.absolute(around.cells, around.touching)
    odds = SURELY_NO_LIVER / (1 - SURELY_NO_LIVER)
    return bool(analysis.logits[cells].max() < analysis.temperature * np.log(odds))


def added_apart(analysis: Analysis, ct: CtVolume, parameters: MaskParameters, found: BoxMask) -> BoxMask:
    """The connected components of a mask that hold nothing of the liver that there is without clicks, which is cached.

    found: what `mask` made of these parameters. Empty where there is no liver that they could be apart from.
    """
    nothing = _empty_mask(found.shape)
    if found.empty or not any(click.liver for click in parameters.clicks):
        return nothing
    before = mask(analysis, ct, parameters.with_first_clicks(0))
    if before.empty:
        return nothing
    box = boxes.intersection(before.box, found.box)
    added = found.voxels > 0
    added[boxes.relative_to(found.box, box)] &= before.voxels[boxes.relative_to(before.box, box)] == 0
    changed = components.runs_of(added).box()
    if changed is None:
        return nothing
    # Only what was added can be apart, and what it touches lies at most one voxel farther.
    here = boxes.grown(changed, 1, added.shape)
    runs = components.runs_of(found.voxels[here] > 0)
    labels = runs.painted(1 + runs.components(), np.int32)
    former = (labels > 0) & ~added[here]
    labels[np.isin(labels, labels[former])] = 0
    return BoxMask((labels > 0).astype(np.uint8), boxes.start(boxes.absolute(found.box, here)), found.shape)


def _check_size(analysis: Analysis) -> list[Finding]:
    """The volume that is compared is told, too: that of the mask on the scan's own grid differs a little, and may lie
    on the other side of the limit."""
    volume_ml = coarse_ml(analysis)
    smallest, largest = USUAL_LIVER_ML
    on_grid = f"on its grid of {analysis.spacing_mm:g} mm"
    if volume_ml > largest:
        reason = (
            f"More than {largest / 1000:.1f} L look like liver to the network ({np.ceil(volume_ml):.0f} mL {on_grid}), "
            "more than a liver has: look at the mask closely, and check voxel size and Hounsfield units of the scan."
        )
    elif volume_ml < smallest:
        reason = (
            f"Less than {smallest:.0f} mL look like liver to the network ({np.floor(volume_ml):.0f} mL {on_grid}), "
            "less than an adult's liver has: look at the mask closely, and check that all of the liver is in view and "
            "that the voxel size is right."
        )
    else:
        reason = ""
    reason += _unusual_body(analysis) + _noise(analysis)
    second_ml = second_component_cells(analysis) * analysis.spacing_mm**3 / 1000
    if second_ml > LARGEST_SECOND_ML:
        reason += (
            f" Apart from the largest part that looks like liver to the network, another of {second_ml:.0f} mL does, "
            "which masks leave out by default: look whether the scan shows two bodies, or mark it with points if it "
            "belongs to the liver."
        )
    return [Finding(False, reason.strip())] if reason else []


def _noise(analysis: Analysis) -> str:
    """A sentence with a space before it, empty for a scan with usual noise."""
    noise_hu = cell_noise_hu(analysis)
    if noise_hu <= LARGEST_NOISE_HU:
        return ""
    return (
        f" The scan is very noisy ({noise_hu:.0f} HU in cells of {analysis.spacing_mm:g} mm), as cone-beam CTs are: "
        "the network misses liver in such scans, look at the mask closely; choose a smoother reconstruction."
    )


def cell_noise_hu(analysis: Analysis) -> float:
    """Standard deviation of the noise of a cell, by how much neighbors in soft tissue differ; 0 without any."""
    differences = np.concatenate([_tissue_differences(plane) for plane in analysis.image[::4]])
    if len(differences) < FEWEST_NEIGHBORS:
        return 0.0
    difference = float(median(differences))
    low, high = analysis.hu_window
    return difference / NORMAL_MEDIAN / np.sqrt(2) * (high - low) / 2


def _tissue_differences(plane: np.ndarray) -> np.ndarray:
    """(N,) how much neighbors in a row of (h, w) differ where both are neither dark nor bright enough to be clipped."""
    tissue = np.abs(plane) < UNCLIPPED
    return np.abs(plane[:, 1:] - plane[:, :-1])[tissue[:, 1:] & tissue[:, :-1]]


def _unusual_body(analysis: Analysis) -> str:
    """A sentence with a space before it, empty for a body of usual size."""
    area = _cross_section_cm2(analysis)
    smallest, largest = USUAL_BODY_CM2
    if area > largest:
        return f" The body measures {area:.0f} cm² across, more than nearly all do: check the voxel size."
    if not 0 < area < smallest:
        return ""
    return (
        f" The body measures {area:.0f} cm² across, as a child's does: the network was trained on adults and may "
        "miss a child's liver; if this is an adult, correct the voxel size."
    )


def _cross_section_cm2(analysis: Analysis) -> float:
    """Area of what is denser than air, median of the slices that hold any; 0 when none does."""
    cells = np.array([np.count_nonzero(plane > AIR) for plane in analysis.image[analysis.grid.inside]])
    return float(median(cells[cells > 0])) * (analysis.spacing_mm / 10) ** 2 if cells.any() else 0.0


def mask(analysis: Analysis, ct: CtVolume, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> BoxMask:
    """The liver on the grid of `ct`, which must be the analyzed scan: the logits, cut at the threshold after a guided
    filter has brought them up to the scan's voxels, so that the border follows the edges of the CT.

    Nothing outside the region, if there is one, is liver. Clicks are applied in their order to the network's
    postprocessed answer: each only adds or only removes, and beyond its reach no voxel changes. Intermediate results
    are cached in the analysis: a moved slider, box or point costs only what it changes. Raises ValueError when the
    scan's shape is not that of the analyzed one.
    """
    if ct.shape != analysis.grid.native_shape:
        raise ValueError(
            f"The scan has {ct.shape} voxels, the analyzed one {analysis.grid.native_shape}; give the analyzed scan."
        )
    whole, region, grid = whole_mask(analysis, ct, parameters), parameters.region, analysis.grid
    if region is None:
        return whole
    box = boxes.intersection(whole.box, region.grid_box(grid.native_ijk_to_ras, grid.native_shape))
    voxels = whole.voxels[boxes.relative_to(whole.box, box)].copy()
    region.clear_outside(voxels, box, grid.native_ijk_to_ras)
    return BoxMask(voxels, boxes.start(box), whole.shape)


def coarse_mask(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> BoxMask:
    """The same on the model grid itself, in a few milliseconds: to be shown while something is being dragged.

    Its grid has the shape `analysis.grid.shape` and the matrix `analysis.grid.ijk_to_ras`.
    """
    grid, region = analysis.grid, parameters.region
    postprocessed = postprocess_logits(analysis, parameters)
    if postprocessed.cells is None:
        return _empty_mask(grid.shape)
    box = postprocessed.cells
    if region is not None:
        box = boxes.intersection(box, region.grid_box(grid.ijk_to_ras, grid.shape))
    voxels = postprocessed.liver(box)
    if region is not None:
        region.clear_outside(voxels, box, grid.ijk_to_ras)
    return BoxMask(voxels, boxes.start(box), grid.shape)


def coarse_ml(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> float:
    """Volume of `coarse_mask`, which is not drawn where its runs say it."""
    runs = postprocess_logits(analysis, parameters).runs
    if parameters.region is None and runs is not None:
        return analysis.runs_ml(runs)
    found = coarse_mask(analysis, parameters)
    return analysis.volume_ml(found.voxels, found.box)


def coarse_logits(analysis: Analysis, parameters: MaskParameters, found: BoxMask) -> np.ndarray:
    """(d + 2, h + 2, w + 2) float32 of the box of a coarse mask and one cell beyond it to each side.

    found: what `coarse_mask` made of these parameters; not empty. Not below 0 in its cells and not above in all others,
    those beyond the grid included, so that a surface where they are 0 is closed.
    """
    inner = boxes.grown(found.box, 1, found.shape)
    values = postprocess_logits(analysis, parameters).values_in(inner)
    beyond = [(int(part.start == 0), int(part.stop == n)) for part, n in zip(found.box, found.shape)]
    logits = np.pad(np.abs(values), beyond, mode="edge")
    return np.negative(logits, out=logits, where=np.pad(found.voxels, 1) == 0)


def _empty_mask(shape: tuple[int, int, int]) -> BoxMask:
    return BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), shape)


def whole_mask(analysis: Analysis, ct: CtVolume, parameters: MaskParameters) -> BoxMask:
    """The mask inside and outside of the region, which only chooses the component; cached."""
    cache, clicks = analysis.cache.masks, parameters.clicks
    chosen = parameters.settings, chosen_component(analysis, parameters)
    done, found = longest_cached(cache, lambda n: (*chosen, clicks[:n]), len(clicks))
    if found is None:
        found = cache.store((*chosen, ()), _without_clicks(analysis, ct, parameters.with_first_clicks(0)))
    if done == len(clicks):
        return found
    grid = analysis.grid
    reached = [_native_box(grid, around.cells) for around in neighborhoods(analysis, clicks[done:])]
    box = reduce(boxes.enclosing, reached, found.box)
    voxels = np.zeros(boxes.shape(box), np.uint8)
    voxels[boxes.relative_to(box, found.box)] = found.voxels
    for count in range(done + 1, len(clicks) + 1):
        if count == len(clicks) > done + 1:  # what the last click starts from when it is moved
            before = BoxMask(voxels.copy(), boxes.start(box), grid.native_shape)
            cache.store((*chosen, clicks[: count - 1]), before)
        _apply_last_click(voxels, box, analysis, ct, parameters.with_first_clicks(count))
    return cache.store((*chosen, clicks), BoxMask(voxels, boxes.start(box), grid.native_shape))


def _without_clicks(analysis: Analysis, ct: CtVolume, parameters: MaskParameters) -> BoxMask:
    postprocessed, grid = postprocess_logits(analysis, parameters), analysis.grid
    if postprocessed.cells is None:
        return _empty_mask(grid.native_shape)
    box = _native_box(grid, boxes.grown(postprocessed.cells, 1, grid.shape))
    voxels = guided_filter.voxels_in(analysis, ct, postprocessed, box)
    _drop_specks(voxels, box, analysis, parameters)
    return BoxMask(voxels, boxes.start(box), grid.native_shape)


def _apply_last_click(
    voxels: np.ndarray, whole: Box, analysis: Analysis, ct: CtVolume, parameters: MaskParameters
) -> None:
    """Change, in place, the mask before the last click: voxels of a native box.

    Only those are computed again that are interpolated from cells within its reach whose line depends on a cell that it
    changed. They become liver or cease to be, as the click asks; a line fitted to changed cells could also do the
    opposite.
    """
    grid, reached = analysis.grid, neighborhoods(analysis, parameters.clicks[-1:])
    if not reached:
        return
    before = postprocess_logits(analysis, parameters.with_first_clicks(len(parameters.clicks) - 1))
    after = postprocess_logits(analysis, parameters)
    fitted = boxes.grown(after.changed_by_last_click(before), guided_filter.REACH, grid.shape)
    box = _native_box(grid, boxes.intersection(fitted, reached[0].cells))
    here = boxes.relative_to(whole, box)
    former = voxels[here].copy()
    combine = np.maximum if reached[0].click.liver else np.minimum
    combine(former, guided_filter.voxels_in(analysis, ct, after, box), out=voxels[here])
    changed = boxes.bounding_box(voxels[here] != former)
    if changed is not None:
        _drop_specks(voxels, whole, analysis, parameters, boxes.absolute(here, changed))


def _native_box(grid: ModelGrid, cells: Box) -> Box:
    """The part of the scan whose voxels are interpolated from some of these cells."""
    return grid.native_box(np.array(boxes.start(cells)), np.array([c.stop - 1 for c in cells]))


def _drop_specks(
    voxels: np.ndarray, box: Box, analysis: Analysis, parameters: MaskParameters, changed: Box | None = None
) -> None:
    """Remove, in place, the components and fill the holes of a native box that are smaller than `FEWEST_CELLS`.

    Those with a clicked voxel stay as they are. changed: see `components.remove_specks`.
    """
    if boxes.is_empty(box):
        return
    voxel_mm3 = abs(np.linalg.det(analysis.grid.native_ijk_to_ras[:3, :3]))
    fewest = int(np.ceil(FEWEST_CELLS * analysis.spacing_mm**3 / voxel_mm3))
    clicked = neighborhoods(analysis, parameters.clicks)
    filled, empty = (
        [
            triple(index - first for index, first in zip(one.voxel, boxes.start(box)))
            for one in clicked
            if one.click.liver is kind
        ]
        for kind in (True, False)
    )
    settings = parameters.settings
    components.remove_specks(
        voxels,
        fewest,
        filled if settings.largest_component else None,
        empty if settings.fill_holes else None,
        changed,
    )
