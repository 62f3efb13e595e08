"""From a CT to logits once, and from logits to a mask as often as a person moves a slider."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import parallel
from .engines import Cancelled, Engine, IsCancelled, Progress
from .frame import Box, ModelFrame
from .volume import CtVolume, require_usable, to_model_grid


@dataclass(frozen=True)
class Settings:
    """What turns logits into a mask; none of it needs the network again.

    threshold: probability from which a voxel is liver. largest_component: drop all but the largest piece.
    fill_holes: close cavities inside the liver (lesions belong to it). smoothing_mm: standard deviation of a Gaussian
    on the logits.
    """

    threshold: float = 0.5
    largest_component: bool = True
    fill_holes: bool = True
    smoothing_mm: float = 0.0


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the network said of one scan.

    logits: (D, H, W) float32 on the model grid of `frame`. seconds: time by stage.
    """

    logits: np.ndarray
    frame: ModelFrame
    spacing_mm: float
    student: str
    engine: str
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask on the scan's own grid, kept only where there is liver.

    voxels: (k, j, i) uint8, 0 or 1. start: first (k, j, i) of the box. shape: (K, J, I) of the scan.
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
        """The mask of the whole scan, (K, J, I) uint8."""
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
    seconds = {"resample": middle - start, "network": time.perf_counter() - middle}
    return Analysis(logits, frame, student.spacing_mm, student.name, engine.name, seconds)


def mask(analysis: Analysis, settings: Settings = Settings()) -> BoxMask:
    """The liver on the scan's own grid: trilinear logits in the liver's box, cut at the threshold."""
    frame = analysis.frame
    evidence, cells = _evidence(analysis, settings)
    if cells is None:
        return BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), frame.native_shape)
    box = frame.native_box(np.array([c.start for c in cells]), np.array([c.stop - 1 for c in cells]))
    voxels = np.empty([part.stop - part.start for part in box], np.uint8)

    def cut(job: Callable[[], tuple[slice, np.ndarray]]) -> None:
        k, values = job()
        np.greater(values, 0, out=voxels[k].view(bool))

    parallel.for_each(cut, frame.up_slabs(evidence, box))
    return BoxMask(voxels, tuple(part.start for part in box), frame.native_shape)


def _evidence(analysis: Analysis, settings: Settings) -> tuple[np.ndarray, Box | None]:
    """Logits less the threshold's, smoothed, with other pieces pushed below zero and cavities above it.

    Second: the cells around all that is above zero, None when nothing is.
    """
    threshold = min(max(settings.threshold, 1e-6), 1 - 1e-6)
    values = analysis.logits
    if settings.smoothing_mm > 0:
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(values, settings.smoothing_mm / analysis.spacing_mm, truncate=3)
    values = values - np.float32(np.log(threshold / (1 - threshold)))
    cells = bounding_box(values > 0)
    if cells is not None:
        near = values[cells]
        if settings.largest_component:
            _drop_small_pieces(near)
        if settings.fill_holes:
            _close_cavities(near)
        cells = _within(cells, bounding_box(near > 0))
    return values, cells


def bounding_box(inside: np.ndarray) -> Box | None:
    """The slices that hold all true voxels, None when there are none."""
    box = []
    for axis in range(3):
        occupied = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if len(occupied) == 0:
            return None
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def _within(outer: Box, inner: Box) -> Box:
    return tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner))


def _drop_small_pieces(values: np.ndarray) -> None:
    """Turn the sign of all positive voxels that are not in the largest piece (faces touch)."""
    from scipy.ndimage import label

    pieces, count = label(values > 0)
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        largest = 1 + sizes[1:].argmax()
        np.negative(values, out=values, where=(pieces != 0) & (pieces != largest))


def _close_cavities(values: np.ndarray) -> None:
    """Turn the sign of what the liver encloses; a cavity that reaches the box's edge is none."""
    from scipy.ndimage import label

    regions, count = label(np.pad(values <= 0, 1, constant_values=True))
    if count > 1:
        regions = regions[1:-1, 1:-1, 1:-1]
        # The padding belongs to the outside and is labeled first.
        np.abs(values, out=values, where=regions > 1)
