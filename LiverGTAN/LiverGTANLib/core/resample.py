"""CellAverages and trilinear interpolation of 3-D arrays with numpy alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from . import threads
from .boxes import Box, triple

PLANES_AT_ONCE = 8
"""Planes of cells of one product in `average`, so that only the matrix's band is used: products for all planes at once
took longer with the square of the slices, 16 as long as 8."""

BLOCK_ROWS = range(4, 33)
BLOCK_COST = 100
"""Cells of one block in `EvenBands`, and what a block costs beside its multiplications, in multiplications of a column.
On a scan of 512x512x129 voxels the blocks that are chosen have 5 and 8 cells; with 9 and 16 it takes 15 % longer."""

PLANES_OF_A_JOB = 64
"""Fewest planes of cells of one job of a thread, but for scans that are shorter than so many for each: the slices where
two jobs meet are averaged by both."""

BAND = 32
"""Voxels along i that are interpolated by one product of matrices; one product for all takes three times as long."""


def interpolation_weights(
    part: slice, count: int, cells: int, spacing: float, cell_mm: float
) -> tuple[slice, np.ndarray]:
    """(cells that count, (voxels, cells) linear weights) for a part of a row of `count` voxels, float32.

    Beyond the outer cell centers all is as there.
    """
    voxels = (np.arange(part.start, part.stop) - (count - 1) / 2) * spacing
    position = np.clip(voxels / cell_mm + (cells - 1) / 2, 0, cells - 1)
    used = slice(int(position[0]), int(np.ceil(position[-1])) + 1)
    weights = 1 - np.abs(position[:, None] - np.arange(used.start, used.stop))
    return used, np.clip(weights, 0, None).astype(np.float32)


def clip_into(array: np.ndarray, clip: tuple[float, float] | None, out: np.ndarray) -> None:
    """Values limited to `clip`, as the float32 of `out`; integers are limited as such, which is several times faster.

    Nothing as large as the array is allocated on the way, as that takes longer than the limiting itself.
    """
    if clip is None:
        out[...] = array
    elif array.dtype.kind in "iu" and array.dtype.itemsize >= 2:
        limits = np.iinfo(array.dtype)
        low, high = max(int(clip[0]), limits.min), min(int(clip[1]), limits.max)
        np.clip(array, low, high, out=out, casting="unsafe")
    else:
        out[...] = array
        np.clip(out, *clip, out=out)


@dataclass(frozen=True, eq=False)
class Band:
    """Some rows of a banded matrix, of which only some columns count: weights (rows, columns)."""

    rows: slice
    columns: slice
    weights: np.ndarray

    @cached_property
    def transposed(self) -> np.ndarray:
        """(columns, rows) in an array of its own, which products read twice as fast."""
        return np.ascontiguousarray(self.weights.T)


def bands(matrix: np.ndarray, size: int) -> list[Band]:
    """A banded matrix as dense blocks of `size` rows, each with only the columns that it uses."""
    result = []
    for rows in threads.ranges(len(matrix), size):
        used = np.flatnonzero(matrix[rows].any(axis=0))
        columns = slice(used[0], used[-1] + 1)
        result.append(Band(rows, columns, np.ascontiguousarray(matrix[rows, columns])))
    return result


@dataclass(frozen=True, eq=False)
class EvenBands:
    """A banded matrix as blocks of one shape, each as many columns on from the one before: a single call of numpy.

    weights: (blocks, rows, window). start, step: where the first window lies, and how far the next is from it, in an
    array with so many columns of zeros `before` and `after` its own.
    """

    weights: np.ndarray
    start: int
    step: int
    before: int
    after: int

    @staticmethod
    def of(matrix: np.ndarray) -> "EvenBands":
        """matrix: (rows, columns), of which each row has its numbers no earlier than the row before."""
        rows, columns = matrix.shape
        first = (matrix != 0).argmax(axis=1)
        last = columns - (matrix != 0)[:, ::-1].argmax(axis=1)
        slope = (first[-1] - first[0]) / max(1, rows - 1)

        def layout(size: int, step: int) -> tuple[int, int, int, int, int]:
            """(cost, rows of a block, step, start, window)"""
            tops = np.arange(0, rows, size)
            moved = np.arange(len(tops)) * step
            start = int((first[tops] - moved).min())
            window = int((last[np.minimum(tops + size, rows) - 1] - moved).max()) - start
            return len(tops) * (size * window + BLOCK_COST), size, step, start, window

        _, size, step, start, window = min(
            layout(size, step) for size in BLOCK_ROWS for step in {int(size * slope), int(np.ceil(size * slope))}
        )
        count = -(-rows // size)
        before, after = max(0, -start), max(0, start + (count - 1) * step + window - columns)
        wide = np.pad(matrix, [(0, count * size - rows), (before, after)])
        starts = [start + before + number * step for number in range(count)]
        blocks = [wide[size * n : size * (n + 1), begin : begin + window] for n, begin in enumerate(starts)]
        return EvenBands(np.stack(blocks), starts[0], step, before, after)

    @property
    def rows(self) -> int:
        """Of all blocks; the last may be filled up with rows of zeros."""
        return self.weights.shape[0] * self.weights.shape[1]

    def windows(self, array: np.ndarray) -> np.ndarray:
        """(blocks, window, n) of an array (before + columns + after, n)."""
        blocks, _, window = self.weights.shape
        stride, other = array.strides
        shape, strides = (blocks, window, array.shape[1]), (self.step * stride, stride, other)
        return np.lib.stride_tricks.as_strided(array[self.start :], shape, strides, writeable=False)


@dataclass(frozen=True)
class CellAverages:
    """A row of `count` voxels averaged to a centered row of cells; sizes in mm."""

    count: int
    cells: int
    spacing: float
    cell_mm: float

    def weights(self, part: slice) -> tuple[slice, np.ndarray]:
        """(voxels that count, (cells, voxels) weights, float32) for some of the cells.

        Voxels smaller than a cell are weighed by their overlap with it; larger ones are interpolated linearly
        (the two agree where voxel and cell are of one size).
        """
        last_mm = (self.count - 1) / 2 * self.spacing
        centers = (np.arange(part.start, part.stop) - (self.cells - 1) / 2) * self.cell_mm
        nearest = np.clip(centers, -last_mm, last_mm)
        reach = max(self.spacing, (self.spacing + self.cell_mm) / 2)
        start = max(0, int((nearest[0] - reach + last_mm) / self.spacing))
        used = slice(start, min(self.count, int((nearest[-1] + reach + last_mm) / self.spacing) + 2))
        voxels = np.arange(used.start, used.stop) * self.spacing - last_mm
        if self.spacing <= self.cell_mm:
            weights = np.clip((self.spacing + self.cell_mm) / 2 - np.abs(centers[:, None] - voxels), 0, self.spacing)
        else:
            weights = np.clip(self.spacing - np.abs(nearest[:, None] - voxels), 0, None)
        return used, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    @property
    def matrix(self) -> np.ndarray:
        """(cells, voxels) weights, float32."""
        result = np.zeros((self.cells, self.count), np.float32)
        used, weights = self.weights(slice(0, self.cells))
        result[:, used] = weights
        return result

    def bands(self, size: int) -> list[Band]:
        """The weights of all cells, `size` cells at once."""
        return [Band(part, *self.weights(part)) for part in threads.ranges(self.cells, size)]


class SliceAverages:
    """Slices of an array averaged along j and i, as many as a product along k needs at a time: 2 MB or less, which stay
    in a processor's own cache. Those that the next product needs too are not averaged again.
    """

    def __init__(
        self,
        array: np.ndarray,
        along_j: EvenBands,
        along_i: EvenBands,
        height: int,
        most: int,
        clip: tuple[float, float] | None,
    ) -> None:
        """height: cells along j. most: slices that are needed at a time."""
        self._array, self._clip, self._held = array, clip, slice(0, 0)
        self._slices = np.empty((most, height, along_i.rows), np.float32)
        self._weights_j, self._weights_i = along_j.weights, np.ascontiguousarray(along_i.weights.transpose(0, 2, 1))
        voxels = np.zeros((along_j.before + array.shape[1] + along_j.after, array.shape[2]), np.float32)
        rows = np.zeros((along_j.rows, along_i.before + array.shape[2] + along_i.after), np.float32)
        self._values = voxels[along_j.before : along_j.before + array.shape[1]]
        along_rows = rows[:, along_i.before : along_i.before + array.shape[2]]
        self._rows = along_rows.reshape(*along_j.weights.shape[:2], -1)
        self._windows_j, self._windows_i = along_j.windows(voxels), along_i.windows(rows[:height].T).transpose(0, 2, 1)

    def of(self, part: slice) -> np.ndarray:
        """(slices, cells) of a part of k that does not begin before the last one; valid until the next call.

        The cells: those along j times those along i, which are filled up to whole blocks.
        """
        stay = max(0, self._held.stop - part.start)
        first = part.start - self._held.start
        self._slices[:stay] = self._slices[first : first + stay]
        for k in range(part.start + stay, part.stop):
            self._average(k, self._slices[k - part.start])
        self._held = part
        return self._slices[: part.stop - part.start].reshape(part.stop - part.start, -1)

    def _average(self, k: int, out: np.ndarray) -> None:
        clip_into(self._array[k], self._clip, self._values)
        np.matmul(self._weights_j, self._windows_j, out=self._rows)
        blocks, _, cells = self._weights_i.shape
        np.matmul(self._windows_i, self._weights_i, out=out.reshape(len(out), blocks, cells).transpose(1, 0, 2))


@threads.one_blas_thread()
def average(
    array: np.ndarray,
    axes: Sequence[CellAverages],
    clip: tuple[float, float] | None = None,
    out: np.ndarray | None = None,
    scale: Callable[[np.ndarray], object] | None = None,
) -> np.ndarray:
    """(K, J, I) array averaged along each axis: float32 of the axes' numbers of cells, in `out` if there is one.

    scale: what is done with them in place, some planes at a time, which are in the processor's cache then.
    """
    depth, height, width = (axis.cells for axis in axes)
    along_j, along_i = (EvenBands.of(axis.matrix) for axis in axes[1:])
    along_k = axes[0].bands(PLANES_AT_ONCE)
    result = np.empty((depth, height, width), np.float32) if out is None else out
    most = max(band.columns.stop - band.columns.start for band in along_k)

    def reduce(some: slice) -> None:
        slices = SliceAverages(array, along_j, along_i, height, most, clip)
        planes = np.empty((PLANES_AT_ONCE, height * along_i.rows), np.float32)
        for band in along_k[some]:
            product = planes[: len(band.weights)]
            np.matmul(band.weights, slices.of(band.columns), out=product)
            if scale:
                scale(product)
            result[band.rows] = product.reshape(len(product), height, -1)[:, :, :width]

    jobs = max(threads.thread_count(), depth // PLANES_OF_A_JOB)
    threads.for_each(reduce, threads.ranges(len(along_k), -(-len(along_k) // jobs)))
    return result


def sample_trilinear(
    sources: np.ndarray, ijk_to_source_ijk: np.ndarray, box: Box, fill: float, margin: float
) -> np.ndarray:
    """Trilinear values of `sources` (F, d, h, w) in a box (k, j, i) of another grid: (F, k, j, i) float32.

    Points more than `margin` cells beyond the outer centers get `fill`, nearer ones the value at the edge.
    """
    k, j, i = np.ogrid[box]
    outside = np.zeros(np.broadcast(k, j, i).shape, bool)
    low, fraction = [], []
    for axis in range(3):  # of the sources: k, j, i
        a, b, c, d = ijk_to_source_ijk[2 - axis]
        position = (a * i + b * j + c * k + d).astype(np.float32)
        last = sources.shape[1 + axis] - 1
        outside |= (position < -margin) | (position > last + margin)
        position = np.clip(position, 0, last)
        floor = np.minimum(position.astype(np.int32), max(last - 1, 0))
        low.append(floor)
        fraction.append(position - floor)
    values = _blend(sources, low, fraction)
    values[:, outside] = fill
    return values


def _blend(sources: np.ndarray, low: list[np.ndarray], fraction: list[np.ndarray]) -> np.ndarray:
    flat = np.ascontiguousarray(sources, np.float32).reshape(len(sources), -1)
    shape = sources.shape[1:]
    strides = [shape[1] * shape[2], shape[2], 1]
    # An axis of a single cell has no upper neighbor.
    steps = [stride if n > 1 else 0 for stride, n in zip(strides, shape)]
    base = low[0] * strides[0] + low[1] * strides[1] + low[2]
    result = np.zeros((len(flat), *base.shape), np.float32)
    for corner in range(8):
        offset = 0
        weight: np.ndarray | np.float32 = np.float32(1)
        for axis in range(3):
            upper = corner >> axis & 1
            offset += upper * steps[axis]
            weight = weight * (fraction[axis] if upper else 1 - fraction[axis])
        for source, total in zip(flat, result):
            total += weight * source[base + offset]
    return result


class Tile:
    """A part of a scan, and the part of the model grid that its voxels are interpolated from."""

    voxels: Box
    cells: Box

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Trilinear values (F, k, j, i) at the voxels, float32, from values (F, d, h, w) of the cells."""
        raise NotImplementedError

    def split(self, wanted: np.ndarray) -> "list[Tile]":
        """Tiles that make this one up, of which at most one is interpolated from wanted cells: (d, h, w) bool."""
        return [self]


@dataclass(frozen=True, eq=False)
class SeparableTile(Tile):
    """One whose axes are those of the grid, taken in another order and direction.

    axes, steps: the array axis of the scan along each axis of the grid, and 1 or -1, its direction. along_k, along_j:
    (voxels, cells) weights in the order of the scan. bands: those along i, consecutive.
    """

    voxels: Box
    cells: Box
    axes: Sequence[int]
    steps: Sequence[int]
    along_k: np.ndarray
    along_j: np.ndarray
    bands: tuple[Band, ...]

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """See `Tile.interpolate`: one matrix product for each axis."""
        flipped = values[(slice(None), *(slice(None, None, step) for step in self.steps))]
        native = np.ascontiguousarray(flipped.transpose(0, *(1 + np.argsort(self.axes))))
        fields, _, _, columns = native.shape
        planes = self.along_k @ native.reshape(fields, native.shape[1], -1)
        rows = (self.along_j @ planes.reshape(fields, len(self.along_k), -1, columns)).reshape(-1, columns)
        result = np.empty((len(rows), self.voxels[2].stop - self.voxels[2].start), np.float32)
        row, column = self.bands[0].rows.start, self.bands[0].columns.start
        for band in self.bands:
            used = rows[:, band.columns.start - column : band.columns.stop - column]
            np.matmul(used, band.transposed, out=result[:, band.rows.start - row : band.rows.stop - row])
        return result.reshape(fields, len(self.along_k), len(self.along_j), -1)

    def split(self, wanted: np.ndarray) -> list[Tile]:
        """See `Tile.split`: cut across i, before the first and after the last band that uses a wanted cell."""
        if not wanted.any():
            return [self]
        along_i = self.axes.index(2)
        others = tuple(axis for axis in range(3) if axis != along_i)
        columns = np.logical_or.reduce(wanted, axis=others)[:: self.steps[along_i]]
        first = self.bands[0].columns.start
        needed = [
            number
            for number, band in enumerate(self.bands)
            if columns[band.columns.start - first : band.columns.stop - first].any()
        ]
        ends = 0, needed[0], needed[-1] + 1, len(self.bands)
        return [self._part(self.bands[a:b], along_i) for a, b in pairwise(ends) if a < b]

    def _part(self, some: tuple[Band, ...], along_i: int) -> Tile:
        """Only some consecutive bands."""
        if len(some) == len(self.bands):
            return self
        start, whole = self.voxels[2].start - self.bands[0].rows.start, self.cells[along_i]
        first, last = (end - self.bands[0].columns.start for end in (some[0].columns.start, some[-1].columns.stop))
        cells = list(self.cells)
        cells[along_i] = (
            slice(whole.start + first, whole.start + last)
            if self.steps[along_i] > 0
            else slice(whole.stop - last, whole.stop - first)
        )
        voxels = (*self.voxels[:2], slice(start + some[0].rows.start, start + some[-1].rows.stop))
        return replace(self, voxels=voxels, cells=triple(cells), bands=some)


@dataclass(frozen=True, eq=False)
class SampledTile(Tile):
    """One that is interpolated point by point. ijk_to_cells: (4, 4), to indices of the cells."""

    voxels: Box
    cells: Box
    ijk_to_cells: np.ndarray

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """See `Tile.interpolate`."""
        return sample_trilinear(values, self.ijk_to_cells, self.voxels, fill=0.0, margin=np.inf)
