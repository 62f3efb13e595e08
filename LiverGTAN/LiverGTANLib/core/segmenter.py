"""From a CT to logits once, and from logits to a mask as often as a person moves a slider, a box or a point."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import components, threads
from .engines.engine import Cancelled, Engine, EngineError, IsCancelled, Progress
from .model_grid import Box, ModelGrid
from .postprocess import (
    DEFAULT_MASK_PARAMETERS,
    MIN_LIVER_ML,
    Analysis,
    MaskParameters,
    PostprocessedLogits,
    longest_known,
    neighborhoods,
    network_volume_ml,
    postprocess_logits,
)
from .region import Region
from .volume import CtVolume, Finding, require_usable, to_model_grid

MIN_REPORTED_ML = 1.0
"""Less than this is a few stray voxels, not worth a word."""


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask on a grid (the scan's own, from `mask`), kept only in a box around the liver.

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
        return tuple(slice(first, first + n) for first, n in zip(self.start, self.voxels.shape))

    def full(self) -> np.ndarray:
        """The mask of the whole grid, (K, J, I) uint8."""
        whole = np.zeros(self.shape, np.uint8)
        whole[self.box] = self.voxels
        return whole


def analyze(
    ct: CtVolume, engine: Engine, progress: Progress | None = None, cancelled: IsCancelled | None = None
) -> Analysis:
    """Run the network on a scan. Raises InputError with the reasons when the scan cannot be segmented."""
    require_usable(ct)
    tell = progress or (lambda fraction, text: None)
    start = time.perf_counter()
    tell(0.0, "Resampling")
    student = engine.student
    x, frame = to_model_grid(ct, student.spacing_mm, student.hu_window)
    if cancelled and cancelled():
        raise Cancelled
    middle = time.perf_counter()
    logits = engine.forward(x, lambda fraction, text: tell(0.3 + 0.6 * fraction, text), cancelled)
    _require_finite(logits, engine)
    seconds = {"resample": middle - start, "network": time.perf_counter() - middle}
    calibration = student.card.get("calibration") or {}
    return Analysis(logits, x, frame, student.spacing_mm, student.name, engine.name, calibration, seconds)


def _require_finite(logits: np.ndarray, engine: Engine) -> None:
    """Raise EngineError rather than make a mask of overflown or broken numbers."""
    if not np.isfinite(logits).all():
        raise EngineError(
            f"The {engine.name} engine computed numbers that are not finite with {engine.student.name}; "
            "choose another engine or another student."
        )


def check(analysis: Analysis) -> list[Finding]:
    """What the network's answer itself speaks against: no liver in view, or so little that none is outlined."""
    found = network_volume_ml(analysis)
    if found >= MIN_LIVER_ML:
        return []
    if found < MIN_REPORTED_ML:
        return [Finding(False, "No liver is in view; choose a CT of the upper abdomen and check its orientation.")]
    return [
        Finding(
            False,
            f"Hardly any liver is in view ({found:.0f} mL, if it is one): too little to outline; "
            "choose a CT that covers the upper abdomen.",
        )
    ]


def mask(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> BoxMask:
    """The liver on the scan's own grid: trilinear logits in the liver's box, cut at the threshold.

    With a region, only the box that liver and region share is looked at, and nothing outside the region is liver.
    Clicks are applied in their order to the finished answer of the network; beyond their reach no voxel changes.
    Intermediate results stay with the analysis: a moved slider, box or point costs only what it changes.
    """
    kept, region, clicks = analysis.kept.masks, parameters.region, parameters.clicks
    done, base = longest_known(kept, lambda n: parameters.with_first_clicks(n).key, len(clicks))
    if base is None:
        unclicked = parameters.with_first_clicks(0)
        base = kept.keep(unclicked.key, _cut(analysis.frame, postprocess_logits(analysis, unclicked), region))
    if done == len(clicks):
        return base
    touched = [near.cells for near in neighborhoods(analysis, clicks[done:])]
    patched = _patched(analysis.frame, base, postprocess_logits(analysis, parameters), touched, region)
    return kept.keep(parameters.key, patched)


def coarse_mask(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> BoxMask:
    """The same on the model grid itself, in a few milliseconds: to be shown while something is being dragged.

    Its grid has the shape `analysis.frame.shape` and the matrix `analysis.frame.ijk_to_ras`.
    """
    frame, region = analysis.frame, parameters.region
    evidence = postprocess_logits(analysis, parameters)
    if evidence.cells is None:
        return BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), frame.shape)
    box = evidence.cells
    if region is not None:
        box = components.common(box, region.grid_box(frame.ijk_to_ras, frame.shape))
    voxels = (evidence.values[box] > 0).view(np.uint8)
    if region is not None:
        region.clear_outside(voxels, box, frame.ijk_to_ras)
    return BoxMask(voxels, tuple(part.start for part in box), frame.shape)


def _cut(frame: ModelGrid, evidence: PostprocessedLogits, region: Region | None) -> BoxMask:
    """The mask where evidence and region meet."""
    if evidence.cells is None:
        return BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), frame.native_shape)
    box = _native_box(frame, evidence.cells, region)
    return BoxMask(_voxels(frame, evidence.values, box, region), tuple(part.start for part in box), frame.native_shape)


def _native_box(frame: ModelGrid, cells: Box, region: Region | None) -> Box:
    box = frame.native_box(np.array([c.start for c in cells]), np.array([c.stop - 1 for c in cells]))
    if region is None:
        return box
    return components.common(box, region.grid_box(frame.native_ijk_to_ras, frame.native_shape))


def _voxels(frame: ModelGrid, values: np.ndarray, box: Box, region: Region | None) -> np.ndarray:
    """(k, j, i) uint8 of the native box: 1 where the interpolated values are positive and the region is."""
    voxels = np.zeros([part.stop - part.start for part in box], np.uint8)
    if components.is_empty(box):
        return voxels

    def cut(job: Callable[[], tuple[slice, np.ndarray]]) -> None:
        k, interpolated = job()
        np.greater(interpolated, 0, out=voxels[k].view(bool))

    threads.for_each(cut, frame.up_slabs(values, box))
    if region is not None:
        region.clear_outside(voxels, box, frame.native_ijk_to_ras)
    return voxels


def _patched(
    frame: ModelGrid, base: BoxMask, evidence: PostprocessedLogits, touched: list[Box], region: Region | None
) -> BoxMask:
    """`base` with only those voxels made anew that interpolate from touched cells."""
    boxes = [_native_box(frame, cells, region) for cells in touched]
    whole = base.box
    for box in boxes:
        whole = components.around(whole, box)
    voxels = np.zeros([part.stop - part.start for part in whole], np.uint8)
    for box, content in [(base.box, base.voxels)] + [(b, _voxels(frame, evidence.values, b, region)) for b in boxes]:
        voxels[tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, whole))] = content
    return BoxMask(voxels, tuple(part.start for part in whole), frame.native_shape)
