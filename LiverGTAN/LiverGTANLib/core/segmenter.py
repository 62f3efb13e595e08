"""From a CT to logits once, and from logits to a mask as often as the user moves a slider, a box or a point."""

import time
from dataclasses import dataclass

import numpy as np

from . import boxes, guided_filter, threads
from .boxes import Box, triple
from .engines.engine import Cancelled, Engine, EngineError, IsCancelled, Progress
from .guided_filter import GuidedField, NativeGuide
from .input_checks import Finding, require_usable
from .model_grid import ModelGrid, Tile
from .postprocess import (
    DEFAULT_MASK_PARAMETERS,
    MIN_LIVER_ML,
    Analysis,
    MaskParameters,
    PostprocessedLogits,
    longest_cached,
    neighborhoods,
    postprocess_logits,
)
from .region import Region
from .volume import AIR, CtVolume, to_model_grid

JOBS_PER_THREAD = 8
"""Parts into which the tiles of a scan are dealt out: few enough to cost nothing, enough to end at one time."""

MIN_REPORTED_ML = 1.0
"""Less than this, 37 cells of 3 mm, is not reported as something that may be liver. Chosen as the rounding of a volume
in a message."""

LARGEST_LIVER_ML = 5000.0
"""More gets a warning. Adults have 1 to 2.5 L; the largest of the training's data folder, full of metastases, has 3.4
L; only polycystic livers reach 5 L and more."""

SMALL_BODY_CM2 = 300.0
"""A smaller cross-section gets a hint that this may be a child. Chosen: 200 mm across; the adults of the training's
data folder have 400 cm² at least."""


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask on a grid (the scan's own, from `mask`) that holds only a box around the liver.

    voxels: (k, j, i) uint8, 0 or 1, not to be changed. start: first (k, j, i) of the box. shape: (K, J, I) of the grid.
    """

    voxels: np.ndarray
    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def empty(self) -> bool:
        return not self.voxels.any()

    @property
    def box(self) -> Box:
        return triple(slice(first, first + n) for first, n in zip(self.start, self.voxels.shape))

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
        seconds,
    )


def _require_finite(logits: np.ndarray, engine: Engine) -> None:
    """Raise EngineError rather than make a mask of overflown or broken numbers."""
    if not np.isfinite(logits).all():
        raise EngineError(
            f"The {engine.name} engine computed numbers that are not finite with {engine.student.name}; "
            "choose another engine or another student."
        )


def check(analysis: Analysis) -> list[Finding]:
    """What the network's answer itself speaks against: no liver in view, too little to outline, or far too much."""
    found = analysis.network_volume_ml
    if found > LARGEST_LIVER_ML:
        return [
            Finding(
                False,
                f"{found / 1000:.1f} L look like liver to the network, more than a liver has: look at the mask "
                "closely, and check voxel size and Hounsfield units of the scan.",
            )
        ]
    if found >= MIN_LIVER_ML:
        return []
    if found < MIN_REPORTED_ML:
        reason = "No liver is in view; choose a CT of the upper abdomen and check its orientation."
    else:
        reason = (
            f"Hardly any liver is in view ({found:.0f} mL, if it is one): too little to outline; "
            "choose a CT that covers the upper abdomen."
        )
    area = _cross_section_cm2(analysis)
    if 0 < area < SMALL_BODY_CM2:
        reason += (
            f" The body measures {area:.0f} cm² across, as a child's does: the network was trained on adults and may "
            "miss a child's liver; if this is an adult, correct the voxel size."
        )
    return [Finding(False, reason)]


def _cross_section_cm2(analysis: Analysis) -> float:
    """Area of what is denser than air, median of the slices that hold any; 0 when none does."""
    cells = (analysis.image > AIR).sum(axis=(1, 2))
    return float(np.median(cells[cells > 0])) * (analysis.spacing_mm / 10) ** 2 if cells.any() else 0.0


def mask(analysis: Analysis, ct: CtVolume, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> BoxMask:
    """The liver on the grid of `ct`, which must be the analyzed scan: the logits, cut at the threshold after a guided
    filter has brought them up to the scan's voxels, so that the border follows the edges of the CT.

    With a region, only the box that liver and region share is computed, and nothing outside the region is liver.
    Clicks are applied in their order to the network's postprocessed answer: each only adds or only removes, and beyond
    its reach no voxel changes. Intermediate results are cached in the analysis: a moved slider, box or point costs only
    what it changes. Raises ValueError when the scan's shape is not that of the analyzed one.
    """
    if ct.shape != analysis.grid.native_shape:
        raise ValueError(
            f"The scan has {ct.shape} voxels, the analyzed one {analysis.grid.native_shape}; give the analyzed scan."
        )
    cache, clicks = analysis.cache.masks, parameters.clicks
    done, found = longest_cached(cache, lambda n: parameters.with_first_clicks(n).key, len(clicks))
    if found is None:
        without = parameters.with_first_clicks(0)
        found = cache.store(without.key, _without_clicks(analysis, ct, without))
    if done == len(clicks):
        return found
    for count in range(done + 1, len(clicks) + 1):
        found = _with_last_click(analysis, ct, found, parameters.with_first_clicks(count))
    return cache.store(parameters.key, found)


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
    voxels = (postprocessed.values[box] > 0).view(np.uint8)
    if region is not None:
        region.clear_outside(voxels, box, grid.ijk_to_ras)
    return BoxMask(voxels, boxes.start(box), grid.shape)


def _empty_mask(shape: tuple[int, int, int]) -> BoxMask:
    return BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), shape)


def _without_clicks(analysis: Analysis, ct: CtVolume, parameters: MaskParameters) -> BoxMask:
    """The mask without clicks, in the box that liver and region share."""
    postprocessed, grid = postprocess_logits(analysis, parameters), analysis.grid
    if postprocessed.cells is None:
        return _empty_mask(grid.native_shape)
    box = _native_box(grid, boxes.grown(postprocessed.cells, 1, grid.shape), parameters.region)
    voxels = _voxels(analysis, ct, postprocessed, box, parameters.region)
    return BoxMask(voxels, boxes.start(box), grid.native_shape)


def _native_box(grid: ModelGrid, cells: Box, region: Region | None) -> Box:
    box = grid.native_box(np.array(boxes.start(cells)), np.array([c.stop - 1 for c in cells]))
    if region is None:
        return box
    return boxes.intersection(box, region.grid_box(grid.native_ijk_to_ras, grid.native_shape))


def _voxels(
    analysis: Analysis, ct: CtVolume, postprocessed: PostprocessedLogits, box: Box, region: Region | None
) -> np.ndarray:
    """(k, j, i) uint8 of the native box: 1 where the guided field is positive, within the region."""
    voxels = np.zeros(boxes.shape(box), np.uint8)
    if boxes.is_empty(box) or postprocessed.cells is None:
        return voxels
    tiles = analysis.grid.tiles(box)
    field = GuidedField(
        postprocessed.values,
        analysis.hu,
        span=boxes.enclosing_all([tile.cells for tile in tiles]),
        border=boxes.grown(postprocessed.cells, 1, analysis.grid.shape),
        inside=analysis.grid.inside,
        fixed=postprocessed.clicked,
    )
    guide = NativeGuide(ct.hu, ct.spacing[::-1], analysis.noise_hu)

    def cut(some: list[Tile]) -> None:
        for tile in some:
            place = voxels[boxes.relative_to(box, tile.voxels)]
            liver = field.sign(tile.cells)
            if liver is None:
                slope, limit = tile.interpolate(field.lines(tile.cells))
                slope *= guide.at(tile.voxels)
                np.greater(slope, limit, out=place.view(bool))
            elif liver:
                place[...] = 1

    jobs = JOBS_PER_THREAD * threads.thread_count()
    threads.for_each(cut, [tiles[first::jobs] for first in range(min(jobs, len(tiles)))])
    if region is not None:
        region.clear_outside(voxels, box, analysis.grid.native_ijk_to_ras)
    return voxels


def _with_last_click(analysis: Analysis, ct: CtVolume, before: BoxMask, parameters: MaskParameters) -> BoxMask:
    """`before`, of which only voxels that are interpolated from cells in the last click's reach are computed again.

    They become liver or cease to be, as the click asks; a line fitted to changed cells could also do the opposite.
    """
    grid, reached = analysis.grid, neighborhoods(analysis, parameters.clicks[-1:])
    if not reached:
        return before
    box = _native_box(grid, reached[0].cells, parameters.region)
    whole = boxes.enclosing(before.box, box)
    voxels = np.zeros(boxes.shape(whole), np.uint8)
    voxels[boxes.relative_to(whole, before.box)] = before.voxels
    changed = voxels[boxes.relative_to(whole, box)]
    combine = np.maximum if reached[0].click.liver else np.minimum
    postprocessed = postprocess_logits(analysis, parameters)
    combine(changed, _voxels(analysis, ct, postprocessed, box, parameters.region), out=changed)
    return BoxMask(voxels, boxes.start(whole), grid.native_shape)
