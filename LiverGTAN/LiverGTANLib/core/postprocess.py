"""What is liver on the model grid: the network's logits after settings, region and clicks, cached for the next call."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import clicks as clicking
from . import components
from .clicks import Click, Neighborhood
from .lru_cache import LruCache
from .model_grid import Box, ModelGrid
from .region import Region


@dataclass(frozen=True)
class PostprocessSettings:
    """What turns logits into a mask; none of it needs the network again.

    threshold: probability from which a voxel is liver. largest_component: drop all but the largest piece (in a region:
    the one with the largest part in it). fill_holes: close cavities inside the liver (lesions belong to it).
    smoothing_mm: standard deviation of a Gaussian on the logits.
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
        return self.settings, self.region and self.region.key, self.clicks

    def with_first_clicks(self, count: int) -> "MaskParameters":
        return replace(self, clicks=self.clicks[:count])


DEFAULT_MASK_PARAMETERS = MaskParameters()

MIN_LIVER_ML = 50.0
"""Less than this is no liver to work with, or none at all (a neck, a bowel loop): nothing is outlined by itself."""


@dataclass(frozen=True, eq=False)
class AnalysisCache:
    """Results that the next question about the same scan will likely need."""

    smoothed: LruCache = field(default_factory=lambda: LruCache(2))
    labeled: LruCache = field(default_factory=lambda: LruCache(3))
    evidence: LruCache = field(default_factory=lambda: LruCache(6))
    masks: LruCache = field(default_factory=lambda: LruCache(3))
    neighborhoods: LruCache = field(default_factory=lambda: LruCache(128))


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the network said of one scan.

    logits, image: (D, H, W) float32 on the model grid of `frame`; the image is what the network saw, in [-1, 1].
    calibration: what the student's card says of its probabilities (see `doubt`). seconds: time by stage.
    """

    logits: np.ndarray
    image: np.ndarray
    frame: ModelGrid
    spacing_mm: float
    student: str
    engine: str
    calibration: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    kept: AnalysisCache = field(default_factory=AnalysisCache, init=False, repr=False)


@dataclass(frozen=True, eq=False)
class PostprocessedLogits:
    """values: (D, H, W), positive where the liver is. cells: a box that holds all positive ones, None when empty."""

    values: np.ndarray
    cells: Box | None


@dataclass(frozen=True, eq=False)
class _Labeled:
    """values: smoothed logits less the threshold's. cells: box of the positive ones. labels: their pieces, in it.

    too_little: whether the network found less than is worth outlining.
    """

    values: np.ndarray
    cells: Box | None
    labels: np.ndarray | None
    too_little: bool


def longest_known(kept: LruCache, key: Callable[[int], tuple], count: int) -> tuple[int, Any]:
    """(n, result) of the largest n up to `count` whose key is known; (0, None) when none is."""
    for n in range(count, -1, -1):
        known = kept.get(key(n))
        if known is not None:
            return n, known
    return 0, None


def postprocess_logits(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> PostprocessedLogits:
    """What is liver on the model grid, clicks included; the region only chooses the piece."""
    settings, clicks = parameters.settings, parameters.clicks
    labeled = analysis.kept.labeled.of(settings, lambda: _labeled(analysis, settings))
    piece = _chosen_piece(labeled, analysis, parameters.region)
    kept = analysis.kept.evidence
    done, evidence = longest_known(kept, lambda n: (settings, piece, clicks[:n]), len(clicks))
    if evidence is None:
        evidence = kept.keep((settings, piece, ()), _unclicked(labeled, settings, piece))
    if done == len(clicks):
        return evidence
    return kept.keep((settings, piece, clicks), _clicked(analysis, evidence, clicks, done))


def _smoothed(analysis: Analysis, smoothing_mm: float) -> np.ndarray:
    """The logits, smoothed; found once for all thresholds, as this takes longer than the rest."""
    if smoothing_mm <= 0:
        return analysis.logits

    def smooth() -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(analysis.logits, smoothing_mm / analysis.spacing_mm, truncate=3)

    return analysis.kept.smoothed.of(smoothing_mm, smooth)


def network_volume_ml(analysis: Analysis) -> float:
    """Volume that the network holds for liver, whatever the settings."""
    return np.count_nonzero(analysis.logits > 0) * analysis.spacing_mm**3 / 1000


def _labeled(analysis: Analysis, settings: PostprocessSettings) -> _Labeled:
    threshold = min(max(settings.threshold, 1e-6), 1 - 1e-6)
    values = _smoothed(analysis, settings.smoothing_mm)
    values = values - np.float32(np.log(threshold / (1 - threshold)))
    cells = components.bounding_box(values > 0)
    labels = components.label_components(values[cells] > 0) if cells and settings.largest_component else None
    return _Labeled(values, cells, labels, network_volume_ml(analysis) < MIN_LIVER_ML)


def _chosen_piece(labeled: _Labeled, analysis: Analysis, region: Region | None) -> int | None:
    """Number of the piece to keep: the one with most cells, in the region if there is one. None: keep all; 0: none."""
    if labeled.labels is None:
        return None
    if labeled.too_little:
        return 0
    if region is None:
        return components.largest(labeled.labels)
    # A region thinner than a cell may hold no cell's center.
    wide = region.grown(analysis.spacing_mm)
    matrix, shape = analysis.frame.ijk_to_ras, analysis.frame.shape
    box = components.common(labeled.cells, wide.grid_box(matrix, shape))
    labels = labeled.labels[tuple(slice(b.start - c.start, b.stop - c.start) for b, c in zip(box, labeled.cells))]
    labels = labels.copy()
    wide.clear_outside(labels, box, matrix)
    return components.largest(labels)


def _unclicked(labeled: _Labeled, settings: PostprocessSettings, piece: int | None) -> PostprocessedLogits:
    """The network's answer with other pieces pushed below zero and cavities above it."""
    if labeled.cells is None:
        return PostprocessedLogits(labeled.values, None)
    values = labeled.values.copy()
    near = values[labeled.cells]
    if piece is not None:
        components.keep_component(near, labeled.labels, piece)
    if settings.fill_holes:
        components.fill_holes_in(near)
    inner = components.bounding_box(near > 0)
    return PostprocessedLogits(values, inner and components.within(labeled.cells, inner))


def _clicked(
    analysis: Analysis, evidence: PostprocessedLogits, clicks: tuple[Click, ...], done: int
) -> PostprocessedLogits:
    """The evidence, which knows the first `done` clicks, after the others."""
    before = neighborhoods(analysis, clicks[:done])
    values, cells = evidence.values.copy(), evidence.cells
    for near in neighborhoods(analysis, clicks[done:]):
        clicking.apply(values, near, before)
        before.append(near)
        if near.click.liver:
            cells = components.around(cells, near.cells) if cells else near.cells
    return PostprocessedLogits(values, cells)


def neighborhoods(analysis: Analysis, clicks: Sequence[Click]) -> list[Neighborhood]:
    """Those of all clicks that lie in the scan."""
    found = []
    for click in clicks:
        near = analysis.kept.neighborhoods.of(
            click,
            lambda click=click: clicking.neighborhood(
                click, analysis.image, analysis.logits, analysis.frame, analysis.spacing_mm
            ),
        )
        if near is not None:
            found.append(near)
    return found
