"""What is liver on the model grid: the network's logits after settings, region and clicks, cached for the next call."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from . import boxes, clicks
from .boxes import Box
from .clicks import Click, Neighborhood
from .components import Runs, runs_of
from .lru_cache import LruCache
from .model_grid import ModelGrid
from .region import Region
from .volume import HU_WINDOW

MIN_LIVER_ML = 50.0
"""Where the network finds less, nothing is outlined. Chosen above the 15 to 41 mL that student-100k finds in chests,
pelves and drawn heads without a liver (training/results/stress-100k.md)."""


LOWEST_LOGIT = np.float32(-4.5)
"""Cells above it are found once and searched again for each threshold. Chosen: the panel's lowest threshold, 0.05, has
-2.9, and the lower end of its interval -4.0 at a temperature of 1 (`uncertainty.LEVELS`)."""


SMOOTHING_SIGMAS = 3
"""Standard deviations at which the Gaussian on the logits ends."""


@dataclass(frozen=True)
class PostprocessSettings:
    """What turns logits into a mask.

    threshold: probability from which a voxel is liver. largest_component: drop all but the largest connected component
    (with a region: the one with the largest part in it). fill_holes: fill holes inside the liver, because lesions
    belong to it. smoothing_mm: standard deviation of a Gaussian on the logits.
    """

    threshold: float = 0.5
    largest_component: bool = True
    fill_holes: bool = True
    smoothing_mm: float = 0.0


@dataclass(frozen=True, eq=False)
class MaskParameters:
    """All that decides on a mask of one analysis; none of it needs the network again. Equal keys give equal masks.

    region: nothing outside of it is liver; None for no limit. clicks: applied in their order.
    """

    settings: PostprocessSettings = PostprocessSettings()
    region: Region | None = None
    clicks: tuple[Click, ...] = ()

    @property
    def key(self) -> Hashable:
        """Equal for parameters that give equal masks of one analysis."""
        return self.settings, self.region and self.region.key, self.clicks

    def with_first_clicks(self, count: int) -> "MaskParameters":
        """The same with the first `count` clicks alone."""
        return replace(self, clicks=self.clicks[:count])


DEFAULT_MASK_PARAMETERS = MaskParameters()


@dataclass(frozen=True, eq=False)
class AnalysisCache:
    """Results that the next question about the same scan will likely need.

    Chosen so that the three thresholds of a volume's interval and the state before the last click are found again; an
    entry is at most as large as the logits, but for a mask, which has the size of the liver in the scan.
    """

    smoothed: LruCache = field(default_factory=lambda: LruCache(2))
    candidates: LruCache = field(default_factory=lambda: LruCache(2))
    labeled: LruCache = field(default_factory=lambda: LruCache(3))
    postprocessed: LruCache = field(default_factory=lambda: LruCache(6))
    masks: LruCache = field(default_factory=lambda: LruCache(3))
    neighborhoods: LruCache = field(default_factory=lambda: LruCache(128))
    findings: LruCache = field(default_factory=lambda: LruCache(2))


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the network computed for one scan.

    logits, image: (D, H, W) float32 on the model grid; the image is the network's input, in [-1, 1] for the HU of
    `hu_window`. temperature: what to divide the logits by for calibrated probabilities. noise_hu: standard deviation of
    the scan's noise within the liver. cell_ml: (D, H, W), true volume of each cell; None where all are as large as
    their spacing says. seconds: time by stage.
    """

    logits: np.ndarray
    image: np.ndarray
    grid: ModelGrid
    spacing_mm: float
    student: str
    engine: str
    temperature: float = 1.0
    hu_window: tuple[float, float] = HU_WINDOW
    noise_hu: float = 0.0
    cell_ml: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    cache: AnalysisCache = field(default_factory=AnalysisCache, init=False, repr=False)

    @cached_property
    def network_volume_ml(self) -> float:
        """Volume that the network takes for liver, whatever the settings."""
        return self.runs_ml(_above(self, 0.0, np.float32(0)))

    def volume_ml(self, inside: np.ndarray, cells: Box) -> float:
        """Volume of what is not zero in a part of the model grid, (d, h, w)."""
        if self.cell_ml is None:
            return float(np.count_nonzero(inside) * self.spacing_mm**3 / 1000)
        return float(self.cell_ml[cells][inside > 0].sum(dtype=np.float64))

    def runs_ml(self, runs: Runs) -> float:
        """Volume of runs of cells of the model grid: as `volume_ml`, without an array of their size."""
        if self.cell_ml is None:
            return float(int(runs.lengths.sum()) * self.spacing_mm**3 / 1000)
        return float(self.cell_ml.reshape(-1)[runs.voxels()].sum(dtype=np.float64))

    def hu(self, cells: Box) -> np.ndarray:
        """The network's input in a part of the model grid, in HU, clipped to the window."""
        low, high = self.hu_window
        return self.image[cells] * np.float32((high - low) / 2) + np.float32((high + low) / 2)


@dataclass(frozen=True, eq=False)
class PostprocessedLogits:
    """What is liver on the model grid.

    unclicked_in: gives a new array (d, h, w) float32 of a part of the grid, positive where the liver is without clicks.
    cells: a box that holds all that is liver, None when nothing is. runs: the liver, None after clicks. patches: what
    each click made of the cells around it. clicked: boxes of the cells that clicked voxels are interpolated from.
    """

    unclicked_in: Callable[[Box], np.ndarray]
    cells: Box | None
    runs: Runs | None = None
    patches: tuple[tuple[Box, np.ndarray], ...] = ()
    clicked: tuple[Box, ...] = ()

    def values_in(self, box: Box) -> np.ndarray:
        """(d, h, w) float32 of a part of the grid, positive where the liver is; a new array."""
        values = self.unclicked_in(box)
        for cells, patch in self.patches:
            both = boxes.intersection(box, cells)
            values[boxes.relative_to(box, both)] = patch[boxes.relative_to(cells, both)]
        return values

    def changed_by_last_click(self, before: "PostprocessedLogits") -> Box:
        """The cells that differ from those before the last click, or are treated in another way since."""
        cells, patch = self.patches[-1]
        changed = boxes.bounding_box(patch != before.values_in(cells))
        return boxes.enclosing(boxes.absolute(cells, changed), self.clicked[-1]) if changed else self.clicked[-1]

    def liver(self, box: Box) -> np.ndarray:
        """(d, h, w) uint8 of a part of the grid, 1 where the liver is; a new array."""
        if self.runs is not None:
            return self.runs.within(box)[0].painted(1)
        return (self.values_in(box) > 0).view(np.uint8)


@dataclass(frozen=True, eq=False)
class _Labeled:
    """logits_in: smoothed, of a part of the grid. shift: the threshold's logit. runs: what is above, in all of it.

    labels: for each run the number of its connected component, from 1; None where all are to stay.
    """

    logits_in: Callable[[Box], np.ndarray]
    shift: np.float32
    runs: Runs
    labels: np.ndarray | None


def postprocess_logits(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> PostprocessedLogits:
    """What is liver on the model grid, clicks included. The region only chooses the component: it is not cut off."""
    settings, all_clicks, cache = parameters.settings, parameters.clicks, analysis.cache
    component = chosen_component(analysis, parameters)
    done, found = longest_cached(cache.postprocessed, lambda n: (settings, component, all_clicks[:n]), len(all_clicks))
    if found is None:
        unclicked = _without_clicks(_labeled(analysis, settings), settings, component)
        found = cache.postprocessed.store((settings, component, ()), unclicked)
    if done == len(all_clicks):
        return found
    return cache.postprocessed.store((settings, component, all_clicks), _clicked(analysis, found, all_clicks, done))


def longest_cached(cache: LruCache, key: Callable[[int], Hashable], count: int) -> tuple[int, Any]:
    """(n, result) of the largest n up to `count` whose key is cached; (0, None) when none is."""
    for n in range(count, -1, -1):
        cached = cache.get(key(n))
        if cached is not None:
            return n, cached
    return 0, None


def neighborhoods(analysis: Analysis, some: Sequence[Click]) -> list[Neighborhood]:
    """Those of the clicks that lie in the scan."""

    def make(click: Click) -> Neighborhood | None:
        return clicks.neighborhood(click, analysis.image, analysis.logits, analysis.grid, analysis.spacing_mm)

    found = (analysis.cache.neighborhoods.get_or_make(click, partial(make, click)) for click in some)
    return [neighborhood for neighborhood in found if neighborhood is not None]


def _smoothed_in(analysis: Analysis, smoothing_mm: float, box: Box) -> np.ndarray:
    """(d, h, w) of the logits, smoothed; around the liver cached for all thresholds, as this takes long."""
    if smoothing_mm <= 0:
        return analysis.logits[box]
    held, values = analysis.cache.smoothed.get_or_make(smoothing_mm, lambda: _smoothed(analysis, smoothing_mm))
    if boxes.intersection(box, held) == box:
        return values[boxes.relative_to(held, box)]
    return _smooth(analysis, smoothing_mm, box)


def _smoothed(analysis: Analysis, smoothing_mm: float) -> tuple[Box, np.ndarray]:
    """(box outside of which no smoothed logit is above `LOWEST_LOGIT`, smoothed logits in it)."""
    found = _candidates(analysis, 0.0)[0].box()
    box = boxes.whole((0, 0, 0))
    if found is not None:
        box = boxes.grown(found, _reach(analysis, smoothing_mm), analysis.grid.shape)
    return box, _smooth(analysis, smoothing_mm, box)


def _smooth(analysis: Analysis, smoothing_mm: float, box: Box) -> np.ndarray:
    """(d, h, w) of the logits after a Gaussian that reads no more than it needs."""
    from scipy.ndimage import gaussian_filter

    read = boxes.grown(box, _reach(analysis, smoothing_mm), analysis.logits.shape)
    smooth = gaussian_filter(analysis.logits[read], smoothing_mm / analysis.spacing_mm, truncate=SMOOTHING_SIGMAS)
    return smooth[boxes.relative_to(read, box)]


def _reach(analysis: Analysis, smoothing_mm: float) -> int:
    """Cells to every side that the Gaussian reads."""
    return int(SMOOTHING_SIGMAS * smoothing_mm / analysis.spacing_mm + 0.5)


def _labeled(analysis: Analysis, settings: PostprocessSettings) -> _Labeled:
    """The logits at a threshold and their connected components."""

    def make() -> _Labeled:
        threshold = min(max(settings.threshold, 1e-6), 1 - 1e-6)
        logits_in = partial(_smoothed_in, analysis, settings.smoothing_mm)
        shift = np.float32(np.log(threshold / (1 - threshold)))
        runs = _above(analysis, settings.smoothing_mm, shift)
        return _Labeled(logits_in, shift, runs, 1 + runs.components() if settings.largest_component else None)

    return analysis.cache.labeled.get_or_make(settings, make)


def _above(analysis: Analysis, smoothing_mm: float, shift: np.float32) -> Runs:
    """Runs of the smoothed logits that are above `shift`; the whole grid is searched once for all usual thresholds."""
    if shift < LOWEST_LOGIT:
        return runs_of(_smoothed_in(analysis, smoothing_mm, boxes.whole(analysis.logits.shape)) > shift)
    runs, values = _candidates(analysis, smoothing_mm)
    return runs.where(values > shift)


def _candidates(analysis: Analysis, smoothing_mm: float) -> tuple[Runs, np.ndarray]:
    """(runs of the smoothed logits above `LOWEST_LOGIT`, these logits in the order of the runs)"""

    def make() -> tuple[Runs, np.ndarray]:
        if smoothing_mm <= 0:
            runs = runs_of(analysis.logits > LOWEST_LOGIT)
            return runs, analysis.logits.reshape(-1)[runs.voxels()]
        box, values = analysis.cache.smoothed.get_or_make(smoothing_mm, lambda: _smoothed(analysis, smoothing_mm))
        above, inside = np.zeros(analysis.logits.shape, bool), values > LOWEST_LOGIT
        above[box] = inside
        return runs_of(above), values[inside]

    return analysis.cache.candidates.get_or_make(smoothing_mm, make)


def chosen_component(analysis: Analysis, parameters: MaskParameters) -> int | None:
    """Number of the component that is liver: that with most cells, in the region if there is one.

    None: all are. 0: none is, because there is none or the network found too little.
    """
    labeled, region = _labeled(analysis, parameters.settings), parameters.region
    runs, labels = labeled.runs, labeled.labels
    if labels is None or not len(labels):
        return None
    if analysis.network_volume_ml < MIN_LIVER_ML:
        return 0
    if region is None:
        return int(np.bincount(labels, weights=runs.lengths).argmax())
    # A region thinner than a cell may hold no cell's center.
    wide = region.grown(analysis.spacing_mm)
    matrix, shape = analysis.grid.ijk_to_ras, analysis.grid.shape
    box = wide.grid_box(matrix, shape)
    parts, which = runs.within(box)
    painted = parts.painted(labels[which], np.int32)
    wide.clear_outside(painted, box, matrix)
    sizes = np.bincount(painted[painted > 0])
    return int(sizes.argmax()) if len(sizes) else 0


def second_component_cells(analysis: Analysis) -> int:
    """Cells of the largest connected component that the default settings leave out; 0 when there is none."""
    labeled = _labeled(analysis, PostprocessSettings())
    if labeled.labels is None or not len(labeled.labels):
        return 0
    sizes = np.bincount(labeled.labels, weights=labeled.runs.lengths)
    return int(np.partition(sizes, -2)[-2])


def _without_clicks(labeled: _Labeled, settings: PostprocessSettings, component: int | None) -> PostprocessedLogits:
    """The network's answer with other components pushed below zero and holes above it."""
    runs = labeled.runs
    stays = np.ones(len(runs.starts), bool)
    if component is not None and labeled.labels is not None:
        stays = np.equal(labeled.labels, component)
    liver, others = runs.some(stays), runs.some(~stays)
    holes = liver.holes() if settings.fill_holes else liver.some(slice(0))

    def values_in(box: Box) -> np.ndarray:
        shifted = labeled.logits_in(box) - labeled.shift
        for some in (others, holes):
            shifted.reshape(-1)[some.within(box)[0].voxels()] *= -1
        return shifted

    return PostprocessedLogits(values_in, liver.box(), liver.joined(holes))


def _clicked(
    analysis: Analysis, before: PostprocessedLogits, all_clicks: tuple[Click, ...], done: int
) -> PostprocessedLogits:
    """`before`, to which the first `done` clicks were applied, after the others."""
    earlier, found = neighborhoods(analysis, all_clicks[:done]), before
    for around in neighborhoods(analysis, all_clicks[done:]):
        cells = found.cells
        if around.click.liver:
            cells = boxes.enclosing(cells, around.cells) if cells else around.cells
        patch = clicks.applied(found.values_in(around.cells), around, earlier)
        clicked = (*found.clicked, boxes.absolute(around.cells, around.touching))
        found = PostprocessedLogits(found.unclicked_in, cells, None, (*found.patches, (around.cells, patch)), clicked)
        earlier.append(around)
    return found
