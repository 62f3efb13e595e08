"""The way up from the model grid on which the mask's border follows the edges of the CT: a fast guided filter.

Around each cell of the model grid, a field whose sign says where the liver is gets fitted by a line in the averaged
CT; slope and offset are interpolated to the scan's voxels and there applied to the scan's own HU (He, Sun, Tang,
"Guided image filtering", IEEE TPAMI 35(6), 2013; He, Sun, "Fast guided filter", arXiv 1505.00996). The lines stand
for the field only in cells beside the border, so that no voxel changes that is farther than two cells from it.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import product

import numpy as np

from . import boxes, threads
from .boxes import Box
from .model_grid import ModelGrid
from .postprocess import Analysis, PostprocessedLogits
from .resample import Tile
from .volume import CtVolume, median

GUIDE_HU = (-60.0, 240.0)
"""The CT is clipped to this range, from fat to the brightest enhanced tissue; beyond it are no borders of the liver."""

MIDDLE_HU = np.float32(sum(GUIDE_HU) / 2)

EPSILON_HU2 = np.float32(200.0)
"""A variance of the CT around a cell that makes half a border: (14 HU)^2. Between 50 and 400 the mean Dice of both
bundled students on msd_liver_03, _05 and _13, crlm_ct_1100 and the two sample CTs changes by 0.0007."""

LIMIT = 2.0
"""Logits are clipped to plus and minus this before the fit: far from even odds they say nothing of where the border
lies. Chosen on msd_liver_03, _04 and _13, crlm_ct_1100 and the two sample CTs: 0.0003 more Dice than without."""

REACH = 2
"""A cell's line depends on cells as far away as this: two means over 3x3x3 cells."""

SMOOTHING_MM = (0.65, 1.2)
NOISE_PER_MM = 30.0
"""The scan is smoothed by a Gaussian of its noise in HU over `NOISE_PER_MM`, within `SMOOTHING_MM`. Chosen on
msd_liver_03, _05 and _13, crlm_ct_1100 and the two sample CTs, as they are and with noise of 20, 40 and 80 HU added."""

MOST_PASSES = 3
"""Passes of the weights (1, 2, 1) after which 240 HU still are an int16."""

FEWEST_PAIRS = 100
"""Fewer pairs of voxels than this are too few to measure the noise of a scan."""

MOST_CELLS = 1024
"""Cells at which the noise is measured: with three pairs of voxels each it is known to about 2 %."""

FIT_SHAPE = (32, 48, 48)
"""Most cells that are fitted at once: fewer repeat more of their surroundings, more lie less closely around the border
and leave the processor's own cache. On the sample at 512x512x129 the fit takes 0.91 of the processor time that it takes
with rows as long as the liver, 1.22 with (24, 24, 24), 0.97 with (55, 32, 32)."""

JOBS_PER_THREAD = 8
"""Parts into which the tiles of a scan are dealt out: few enough to cost nothing, enough to end at one time."""


def fit(field: np.ndarray, guide_hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(slope in 1/HU, offset), each (d, h, w) float32: the field as lines in the guide; nothing is beyond the faces.

    field, guide_hu: (d, h, w) float32; the field is positive where the liver is. Where the guide does not vary the
    offset is the field itself.
    """
    around = CellNeighborhoods(field.shape)
    guide, whole = around.flat(np.clip(guide_hu, *GUIDE_HU) - MIDDLE_HU), around.flat(field)
    limited = np.clip(whole, -LIMIT, LIMIT)
    mean_guide, mean = around.mean(guide), around.mean(limited)
    # Less than 1 HU^2 is rounding.
    variance = around.mean(guide * guide)
    variance -= mean_guide * mean_guide + 1
    np.maximum(variance, 0, out=variance)
    weight = 1 / (variance + EPSILON_HU2)
    limited *= guide
    slope = around.mean(limited)
    slope -= mean_guide * mean
    slope *= weight
    slope *= variance > 0
    mean_guide *= slope
    offset = around.mean(mean - mean_guide)
    # A flat guide would leave the mean of means: there the field keeps its own detail.
    weight *= EPSILON_HU2
    weight *= weight
    whole -= around.mean(mean)
    weight *= whole
    offset += weight
    slope = around.mean(slope)
    offset -= slope * MIDDLE_HU
    return around.cells(slope), around.cells(offset)


def beside_border(field: np.ndarray) -> np.ndarray:
    """(d, h, w) bool, the cells of a field that have one of the other sign among their 26 neighbors."""
    around = CellNeighborhoods(field.shape)
    near: np.ndarray = (around.sum(around.flat(field > 0)) > 0) & (around.sum(around.flat(field <= 0)) > 0)
    return around.cells(near)


class CellNeighborhoods:
    """Sums and means over the 3x3x3 cells around each cell of a part of a grid, of those that there are at its faces.

    They take and give flat arrays of the part with a margin of one cell, which holds 0 but for that of a sum: in one
    dimension numpy adds and multiplies several times faster, and what wraps around from row to row ends in the margin.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        """shape: (d, h, w) of the part."""
        self._shape = tuple(n + 2 for n in shape)
        self._steps = 1, self._shape[2], self._shape[1] * self._shape[2]
        self._inner = slice(sum(self._steps), -sum(self._steps))

    def flat(self, array: np.ndarray) -> np.ndarray:
        """A new array of the cells (d, h, w); of booleans uint8."""
        padded: np.ndarray = np.zeros(self._shape, np.uint8 if array.dtype == bool else array.dtype)
        self.cells(padded)[...] = array
        return padded.reshape(-1)

    def cells(self, flat: np.ndarray) -> np.ndarray:
        """A view (d, h, w) of the cells, without the margin."""
        return flat.reshape(self._shape)[1:-1, 1:-1, 1:-1]

    def sum(self, flat: np.ndarray) -> np.ndarray:
        """Of the cells around each."""
        return self._times(flat, flat.dtype.type(1))

    def mean(self, flat: np.ndarray) -> np.ndarray:
        """Of the cells around each, float32."""
        return self._times(flat, self._shares[self._inner])

    def _times(self, flat: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """The sums times some factors."""
        result, total = np.zeros_like(flat), flat
        for step in self._steps:
            three = total[: -2 * step] + total[step:-step]
            three += total[2 * step :]
            total = three
        np.multiply(total, factors, out=result[self._inner])
        return result

    @cached_property
    def _shares(self) -> np.ndarray:
        """1 over the number of cells that there are around each."""
        counts = [np.minimum(np.arange(n - 2), 1) + np.minimum(np.arange(n - 2)[::-1], 1) + 1 for n in self._shape]
        along_d, along_h, along_w = (np.float32(1) / count.astype(np.float32) for count in counts)
        return self.flat(along_d[:, None, None] * (along_h[:, None] * along_w))


class GuidedField:
    """A field of the model grid whose sign says where the liver is, and the lines that stand for it beside the border.

    field: float32, of the cells `around` the span, `REACH` to every side where there are so many. guide_hu: gives the
    averaged CT of a box of cells in HU. span: the cells that are asked for later. border: a box that holds all cells
    with the other sign beside them. inside: the cells that lie in the scan; no other counts. unit: of the guide that
    the lines are applied to, in HU. fixed: boxes of cells in which the field stays as it is.
    """

    def __init__(
        self,
        field: np.ndarray,
        around: Box,
        guide_hu: Callable[[Box], np.ndarray],
        span: Box,
        border: Box,
        inside: Box,
        unit: np.float32,
        fixed: Sequence[Box] = (),
    ) -> None:
        self._field, self._around, self._guide_hu, self._span, self._inside = field, around, guide_hu, span, inside
        self._lines = np.zeros((2, *boxes.shape(span)), np.float32)
        self._unit = unit
        np.negative(self.values(span), out=self._lines[1])
        self._near = np.zeros(boxes.shape(span), bool)
        border = boxes.intersection(boxes.intersection(border, span), inside)
        if not boxes.is_empty(border):
            parts = product(*(boxes.evenly(part, most) for part, most in zip(border, FIT_SHAPE)))
            threads.for_each(self._fit, map(boxes.triple, parts))
        for box in fixed:
            cells = boxes.intersection(box, span)
            self._lines[self.at(cells)] = np.zeros(boxes.shape(cells), np.float32), -self.values(cells)

    def _fit(self, part: Box) -> None:
        read = self._grown(part, 1)
        near = beside_border(self.values(read))[boxes.relative_to(read, part)]
        found = boxes.bounding_box(near)
        if found is None:
            return
        part, near = boxes.absolute(part, found), near[found]
        read = self._grown(part, REACH)
        slope, offset = (array[boxes.relative_to(read, part)] for array in fit(self.values(read), self._guide_hu(read)))
        np.copyto(self._lines[self.at(part)], (slope * self._unit, -offset), where=near)
        self._near[self.at(part)[1:]] = near

    def _grown(self, part: Box, cells: int) -> Box:
        """A part and what surrounds it in the scan."""
        return boxes.intersection(boxes.grown(part, cells, tuple(i.stop for i in self._inside)), self._inside)

    def values(self, cells: Box) -> np.ndarray:
        """(d, h, w) of the field in a part of the cells that it holds."""
        return self._field[boxes.relative_to(self._around, cells)]

    def at(self, cells: Box) -> tuple[slice, slice, slice, slice]:
        """Where a part of the grid is in the arrays."""
        return (slice(None), *boxes.relative_to(self._span, cells))

    def near(self, cells: Box) -> np.ndarray:
        """(d, h, w) bool, which of some cells are beside the border; if none is, all have one sign."""
        return self._near[self.at(cells)[1:]]

    def lines(self, cells: Box) -> np.ndarray:
        """(2, d, h, w) of a part of the grid: the liver is where the first times the guide is above the second."""
        return self._lines[self.at(cells)]


class NativeGuide:
    """The scan as the filter reads it: clipped, and smoothed as far as its noise asks and its voxels are small.

    One pass of the binomial weights (1, 2, 1) along an axis adds half a squared voxel to the Gaussian's variance, so
    thick slices are left alone. unit: a power of two, so that it may be multiplied later, where there is less of it.
    """

    def __init__(self, hu: np.ndarray, spacing_kji: np.ndarray, noise_hu: float) -> None:
        self._hu = hu
        sigma_mm = np.clip(noise_hu / NOISE_PER_MM, *SMOOTHING_MM)
        self._passes = [round(2 * (sigma_mm / spacing) ** 2) for spacing in spacing_kji]
        self.unit = np.float32(0.25 ** min(sum(self._passes), MOST_PASSES))

    def at(self, box: Box) -> np.ndarray:
        """(k, j, i) int16 of a part of the scan: HU, once multiplied by `unit`."""
        wide = boxes.triple(slice(part.start - passes, part.stop + passes) for part, passes in zip(box, self._passes))
        read = boxes.intersection(wide, boxes.whole(self._hu.shape))
        values = _as_int16(self._hu[read])
        if read != wide:
            values = np.pad(values, [(r.start - w.start, w.stop - r.stop) for r, w in zip(read, wide)], mode="edge")
        strides = values.strides
        total, spare, done = values.ravel(), np.empty(values.size, np.int16), 0
        # As in `CellNeighborhoods`, what wraps around ends in the margin.
        for stride, passes in zip(strides, self._passes):
            step = stride // values.itemsize
            for _ in range(passes):
                if done >= MOST_PASSES:
                    total >>= 2
                pairs = np.add(total[:-step], total[step:], out=spare[: len(total) - step])
                total = np.add(pairs[:-step], pairs[step:], out=total[: len(pairs) - step])
                done += 1
        return np.lib.stride_tricks.as_strided(total, boxes.shape(box), strides)


def _as_int16(hu: np.ndarray) -> np.ndarray:
    """Clipped to the guide's range, in a new contiguous array."""
    low, high = (int(value) for value in GUIDE_HU)
    if hu.dtype.kind == "f":
        hu = np.rint(np.clip(hu, low, high))
    elif hu.dtype.itemsize == 1:
        hu = hu.astype(np.int16)
    elif hu.dtype.kind == "u":
        low = 0
    return np.ascontiguousarray(np.clip(hu, low, high).astype(np.int16, copy=False))


def voxels_in(analysis: Analysis, ct: CtVolume, postprocessed: PostprocessedLogits, box: Box) -> np.ndarray:
    """(k, j, i) uint8 of the native box: 1 where the guided field is positive."""
    voxels = np.zeros(boxes.shape(box), np.uint8)
    if boxes.is_empty(box) or postprocessed.cells is None:
        return voxels
    tiles = analysis.grid.tiles(box)
    span = boxes.enclosing_all([tile.cells for tile in tiles])
    around = boxes.grown(span, REACH, analysis.grid.shape)
    guide = NativeGuide(ct.hu, ct.spacing[::-1], analysis.noise_hu)
    field = GuidedField(
        postprocessed.values_in(around),
        around,
        analysis.hu,
        span=span,
        border=boxes.grown(postprocessed.cells, 1, analysis.grid.shape),
        inside=analysis.grid.inside,
        unit=guide.unit,
        fixed=postprocessed.clicked,
    )

    def cut(some: list[Tile]) -> None:
        """Fill the voxels of some tiles: near the border by the fitted lines, elsewhere as the cells are."""
        for tile in (part for whole in some for part in whole.split(field.near(whole.cells))):
            place = voxels[boxes.relative_to(box, tile.voxels)]
            if field.near(tile.cells).any():
                slope, limit = tile.interpolate(field.lines(tile.cells))
                slope *= guide.at(tile.voxels)  # of int16, whose unit is in the lines
                np.greater(slope, limit, out=place.view(bool))
            elif field.values(tile.cells)[0, 0, 0] > 0:
                place[...] = 1

    jobs = JOBS_PER_THREAD * threads.thread_count()
    threads.for_each(cut, [tiles[first::jobs] for first in range(min(jobs, len(tiles)))])
    return voxels


def noise_hu(hu: np.ndarray, grid: ModelGrid, logits: np.ndarray) -> float:
    """Standard deviation of the noise, from differences of voxels two cells apart within the liver; 0 when too few.

    hu: the scan's voxels. logits: (D, H, W), on the model grid. The median leaves vessels and lesions out.
    """
    # Every second cell along each axis will do.
    inner = logits[1:-1:2, 1:-1:2, 1:-1:2] > 0
    places = np.stack(np.unravel_index(np.flatnonzero(inner), inner.shape), axis=1)
    flat, found = logits.reshape(-1), np.ravel_multi_index(tuple(1 + 2 * places.T), logits.shape)
    for step in (1, logits.shape[2], logits.shape[1] * logits.shape[2]):
        found = found[(flat[found - step] > 0) & (flat[found + step] > 0)]
    found = found[:: max(1, len(found) // MOST_CELLS)]
    centers = np.stack(np.unravel_index(found, logits.shape), axis=1)
    matrix = np.linalg.inv(grid.native_ijk_to_ras) @ grid.ijk_to_ras
    differences = []
    for step in np.eye(3):
        ends = [_voxels(matrix, centers + cells) for cells in (-step, step)]
        valid = np.all([(end >= 0) & (end < hu.shape) for end in ends], axis=(0, 2)) & (ends[0] != ends[1]).any(axis=1)
        low, high = (np.clip(hu[tuple(end[valid].T)].astype(np.float32), *GUIDE_HU) for end in ends)
        differences.append(high - low)
    all_pairs = np.abs(np.concatenate(differences))
    if len(all_pairs) < FEWEST_PAIRS:
        return 0.0
    # The median of the absolute value of a normal variable is 0.6745 standard deviations.
    return float(median(all_pairs) / 0.6745 / np.sqrt(2))


def _voxels(matrix: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(N, 3) indices k, j, i of the voxels at the centers of cells."""
    return np.rint(cells[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3])[:, ::-1].astype(int)
