"""The model grid of one scan: where its cells lie, and the way there and back.

A scan whose axes are near the patient's (within 15 degrees, not sheared) is averaged and interpolated
axis by axis with small banded matrices. Any other is sampled point by point on a grid along the patient's axes.
"""

from collections.abc import Callable
from itertools import product

import numpy as np

from . import boxes, threads
from .boxes import Box
from .resample import (
    BAND,
    CellAverages,
    SampledTile,
    SeparableTile,
    Tile,
    average,
    bands,
    interpolation_weights,
    sample_trilinear,
)

LARGEST_OBLIQUITY_DEGREES = 15.0
"""Up to this angle to the patient's axes the grid along the scan's own axes is used, which is faster. Chosen near what
networks are trained for: bodies turned by up to 9 degrees, a tenth of them by up to 25, and tipped by up to 7."""

LARGEST_SHEAR_DEGREES = 2.0
"""Departure from right angles that is treated as none, and not mentioned. Chosen: a voxel of the grid at 9 cm."""

TILE_SHAPE = (16, 64, 320)
"""Most voxels of a tile along k, j, i: few enough that what is made of them stays in a processor's own cache, and long
where they follow each other in memory."""

TILE_MM = 24.0
"""Side of the cubes in which a scan is sampled point by point."""


ROUNDING_CELLS = 1e-3
"""What a row of cells may be shorter than the scan. Formats round voxel sizes (float32 to 1e-7, texts often to 1e-6),
which adds up to 5e-4 of a cell over 500 voxels; without a tolerance such a scan gets another cell, and with it other
places of all cells, than the same scan from another file."""


class ModelGrid:
    """Geometry of the model grid of one scan.

    shape: (D, H, W), array axes growing to +S, +A, +R. ijk_to_ras: (4, 4) of that grid, whose i, j, k run along
    W, H, D. inside: the cells that voxels of the scan are interpolated from. native_shape, native_ijk_to_ras: (K, J, I)
    and matrix of the scan.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray
    inside: Box
    native_shape: tuple[int, int, int]
    native_ijk_to_ras: np.ndarray

    @staticmethod
    def of(shape_kji: tuple[int, ...], ijk_to_ras: np.ndarray, spacing_mm: float, multiple: int) -> "ModelGrid":
        """The grid of a scan with this shape and geometry; its sides are multiples of `multiple` cells."""
        matrix = np.asarray(ijk_to_ras, float)
        kind = AlignedGrid if is_near_patient_axes(matrix) else ReslicedGrid
        return kind(tuple(shape_kji), matrix, spacing_mm, multiple)

    def down(
        self,
        array_kji: np.ndarray,
        clip: tuple[float, float] | None = None,
        fill: float = 0.0,
        scale: Callable[[np.ndarray], object] | None = None,
    ) -> np.ndarray:
        """A native array averaged over the grid's cells: (D, H, W) float32; cells outside the scan hold `fill`.

        With `clip` the values are limited to that range before they are averaged. scale: what is done with averages and
        `fill` in place, a part at a time, which takes no further pass over a large array.
        """
        raise NotImplementedError

    def tiles(self, box: Box) -> list[Tile]:
        """A native box in parts that may be interpolated in threads."""
        raise NotImplementedError

    def native_box(self, low: np.ndarray, high: np.ndarray) -> Box:
        """The part of the scan whose voxels can touch the cells low..high (inclusive, indices along D, H, W)."""
        raise NotImplementedError

    def cell_of(self, voxel_kji: np.ndarray) -> np.ndarray:
        """Where `up` reads the grid for a voxel of the scan: its place in cells along D, H, W, with fractions."""
        raise NotImplementedError

    def up(self, grid: np.ndarray, box: Box | None = None) -> np.ndarray:
        """Trilinear values of a (D, H, W) grid at the voxels of a native box (default: the whole scan), float32."""
        box = box or boxes.whole(self.native_shape)
        result = np.empty(boxes.shape(box), np.float32)

        def fill(tile: Tile) -> None:
            result[boxes.relative_to(box, tile.voxels)] = tile.interpolate(grid[tile.cells][None])[0]

        threads.for_each(fill, self.tiles(box))
        return result


def is_near_patient_axes(ijk_to_ras: np.ndarray) -> bool:
    """Whether every voxel axis lies within 15 degrees of its own patient axis and the axes are at right angles."""
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    nearest = np.abs(directions).argmax(axis=0)
    if len(set(nearest)) < 3:
        return False
    if np.abs(directions).max(axis=0).min() < np.cos(np.deg2rad(LARGEST_OBLIQUITY_DEGREES)):
        return False
    cosines = directions.T @ directions - np.eye(3)
    return bool(np.abs(cosines).max() < np.sin(np.deg2rad(LARGEST_SHEAR_DEGREES)))


def cell_count(extent_mm: float, cell_mm: float) -> int:
    """Cells that cover an extent, but for rounding."""
    return max(1, int(np.ceil(extent_mm / cell_mm - ROUNDING_CELLS)))


def padded(count: int, multiple: int) -> tuple[int, int]:
    """(cells before, cells in all) that center `count` cells in the next multiple."""
    total = -(-count // multiple) * multiple
    return (total - count) // 2, total


class AlignedGrid(ModelGrid):
    """Grid along the scan's own axes, taken in the order and direction nearest to S, A, R."""

    def __init__(self, shape_kji: tuple[int, ...], ijk_to_ras: np.ndarray, spacing_mm: float, multiple: int):
        self.native_shape, self.native_ijk_to_ras = boxes.triple(int(n) for n in shape_kji), ijk_to_ras
        columns = ijk_to_ras[:3, :3]
        spacing = np.linalg.norm(columns, axis=0)
        nearest = np.abs(columns / spacing).argmax(axis=0)
        # For model axes S, A, R: the voxel axis (0 = i, 1 = j, 2 = k) that runs along it, and its direction.
        axes = [int(np.flatnonzero(nearest == world)[0]) for world in (2, 1, 0)]
        signs = [float(np.sign(columns[world, axis])) for world, axis in zip((2, 1, 0), axes)]
        self._array_axes = [2 - axis for axis in axes]
        self._steps = [int(sign) for sign in signs]
        self._cell_mm = float(spacing_mm)
        self._spacing_kji = spacing[::-1]
        self._cells_kji = [cell_count(n * s, spacing_mm) for n, s in zip(self.native_shape, self._spacing_kji)]
        core = [self._cells_kji[axis] for axis in self._array_axes]
        before, total = zip(*(padded(count, multiple) for count in core))
        self.shape = boxes.triple(total)
        self.inside = boxes.triple(slice(b, b + n) for b, n in zip(before, core))
        self.ijk_to_ras = self._grid_matrix(ijk_to_ras, axes, signs, before, core)

    def _grid_matrix(self, ijk_to_ras, axes, signs, before, core) -> np.ndarray:
        matrix = np.eye(4)
        center_ijk = (np.asarray(self.native_shape[::-1], float) - 1) / 2
        origin = ijk_to_ras[:3, :3] @ center_ijk + ijk_to_ras[:3, 3]
        for column, (axis, sign, b, n) in enumerate(zip(axes, signs, before, core)):
            direction = sign * ijk_to_ras[:3, axis] / np.linalg.norm(ijk_to_ras[:3, axis]) * self._cell_mm
            matrix[:3, 2 - column] = direction
            origin = origin - direction * (b + (n - 1) / 2)
        matrix[:3, 3] = origin
        return matrix

    def _to_native_axes(self, array: np.ndarray) -> np.ndarray:
        """A view of (d, h, w) of the grid, in the order and direction of the scan's axes."""
        return array[tuple(slice(None, None, step) for step in self._steps)].transpose(np.argsort(self._array_axes))

    def down(
        self,
        array_kji: np.ndarray,
        clip: tuple[float, float] | None = None,
        fill: float = 0.0,
        scale: Callable[[np.ndarray], object] | None = None,
    ) -> np.ndarray:
        """See `ModelGrid.down`."""
        axes = [
            CellAverages(n, cells, s, self._cell_mm)
            for n, cells, s in zip(self.native_shape, self._cells_kji, self._spacing_kji)
        ]
        grid, around = np.empty(self.shape, np.float32), np.full(1, fill, np.float32)
        if scale:
            scale(around)
        for axis, inside in enumerate(self.inside):
            for beside in (slice(0, inside.start), slice(inside.stop, None)):
                grid[(*self.inside[:axis], beside)] = around
        average(array_kji, axes, clip, self._to_native_axes(grid[self.inside]), scale)
        return grid

    def tiles(self, box: Box) -> list[Tile]:
        """See `ModelGrid.tiles`: parts of about `TILE_SHAPE` voxels, with weights for each axis apart."""
        along_k, along_j, along_i = (
            [(part, *self._weights(axis, part)) for part in boxes.evenly(whole, most)]
            for axis, (whole, most) in enumerate(zip(box, TILE_SHAPE))
        )
        banded_i = [(part, cells, tuple(bands(weights, BAND))) for part, cells, weights in along_i]
        return [
            SeparableTile(
                (k, j, i),
                boxes.triple((cells_k, cells_j, cells_i)[axis] for axis in self._array_axes),
                self._array_axes,
                self._steps,
                weights_k,
                weights_j,
                bands_i,
            )
            for (k, cells_k, weights_k), (j, cells_j, weights_j), (i, cells_i, bands_i) in product(
                along_k, along_j, banded_i
            )
        ]

    def _weights(self, axis: int, part: slice) -> tuple[slice, np.ndarray]:
        """The cells of the grid that a part of an axis of the scan is interpolated from, and their weights."""
        count = self._cells_kji[axis]
        used, weights = interpolation_weights(
            part, self.native_shape[axis], count, self._spacing_kji[axis], self._cell_mm
        )
        model_axis = self._array_axes.index(axis)
        if self._steps[model_axis] < 0:
            used = slice(count - used.stop, count - used.start)
        first = self.inside[model_axis].start
        return slice(first + used.start, first + used.stop), weights

    def native_box(self, low: np.ndarray, high: np.ndarray) -> Box:
        """See `ModelGrid.native_box`."""
        box: list[slice] = [slice(0, 0)] * 3
        for model_axis, axis in enumerate(self._array_axes):
            core, cells = self.inside[model_axis], self._cells_kji[axis]
            first, last = low[model_axis] - core.start, high[model_axis] - core.start
            if self._steps[model_axis] < 0:
                first, last = cells - 1 - last, cells - 1 - first
            # A voxel touches a cell by interpolation when it is less than a cell from its center.
            n, s = self.native_shape[axis], self._spacing_kji[axis]
            edges = (np.array([first - 1, last + 1]) - (cells - 1) / 2) * self._cell_mm / s + (n - 1) / 2
            start, stop = int(np.floor(edges[0])), int(np.ceil(edges[1])) + 1
            box[axis] = slice(min(max(0, start), n), max(0, min(n, stop)))
        return boxes.triple(box)

    def cell_of(self, voxel_kji: np.ndarray) -> np.ndarray:
        """See `ModelGrid.cell_of`."""
        cell = np.empty(3)
        for model_axis, axis in enumerate(self._array_axes):
            n, cells, s = self.native_shape[axis], self._cells_kji[axis], self._spacing_kji[axis]
            place = (voxel_kji[axis] - (n - 1) / 2) * s / self._cell_mm * self._steps[model_axis] + (cells - 1) / 2
            cell[model_axis] = min(max(place, 0), cells - 1) + self.inside[model_axis].start
        return cell


class ReslicedGrid(ModelGrid):
    """Grid along the patient's axes for a scan that is oblique or sheared, sampled point by point.

    On the way down the scan is first averaged along its own axes to cells of two thirds of the grid's spacing;
    together with the trilinear sampling this averages over about one cell of the grid.
    """

    PREFILTER = 2 / 3

    def __init__(self, shape_kji: tuple[int, ...], ijk_to_ras: np.ndarray, spacing_mm: float, multiple: int):
        self.native_shape = boxes.triple(int(n) for n in shape_kji)
        self.native_ijk_to_ras = np.asarray(ijk_to_ras, float)
        self._spacing_kji = np.linalg.norm(self.native_ijk_to_ras[:3, :3], axis=0)[::-1]
        self._fine_mm = np.maximum(self._spacing_kji, spacing_mm * self.PREFILTER)
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in self.native_shape[::-1]])).reshape(3, -1)
        ras = self.native_ijk_to_ras[:3, :3] @ corners + self.native_ijk_to_ras[:3, 3:]
        low, high = ras.min(axis=1), ras.max(axis=1)
        counts = [cell_count(b - a, spacing_mm) for a, b in zip(low, high)]
        before, total = zip(*(padded(count, multiple) for count in counts))
        first = (low + high) / 2 - (np.asarray(counts) - 1) / 2 * spacing_mm - np.asarray(before) * spacing_mm
        self.shape = boxes.triple(total[::-1])
        self.inside = boxes.whole(self.shape)
        self.ijk_to_ras = np.diag([spacing_mm] * 3 + [1.0])
        self.ijk_to_ras[:3, 3] = first

    def down(
        self,
        array_kji: np.ndarray,
        clip: tuple[float, float] | None = None,
        fill: float = 0.0,
        scale: Callable[[np.ndarray], object] | None = None,
    ) -> np.ndarray:
        """See `ModelGrid.down`."""
        cells = [cell_count(n * s, f) for n, s, f in zip(self.native_shape, self._spacing_kji, self._fine_mm)]
        axes = [CellAverages(*axis) for axis in zip(self.native_shape, cells, self._spacing_kji, self._fine_mm)]
        fine = average(array_kji, axes, clip)
        grid_to_native = np.linalg.inv(self.native_ijk_to_ras) @ self.ijk_to_ras
        # Index of a fine cell from a voxel index: both rows share their middle.
        ratio = (self._spacing_kji / self._fine_mm)[::-1]
        middle = (np.asarray(self.native_shape[::-1], float) - 1) / 2
        to_fine = np.eye(4)
        to_fine[:3, :3] = np.diag(ratio)
        to_fine[:3, 3] = (np.asarray(cells[::-1], float) - 1) / 2 - ratio * middle
        grid = np.empty(self.shape, np.float32)

        def sample(d: slice) -> None:
            part = (d, slice(0, self.shape[1]), slice(0, self.shape[2]))
            grid[d] = sample_trilinear(fine[None], to_fine @ grid_to_native, part, fill, margin=0.5)[0]
            if scale:
                scale(grid[d])

        threads.for_each(sample, threads.ranges(self.shape[0], 4))
        return grid

    def tiles(self, box: Box) -> list[Tile]:
        """See `ModelGrid.tiles`: parts of about `TILE_MM` along each axis."""
        most = [max(1, round(TILE_MM / spacing)) for spacing in self._spacing_kji]
        return [
            self._tile(boxes.triple(parts))
            for parts in product(*(boxes.evenly(whole, n) for whole, n in zip(box, most)))
        ]

    def _tile(self, voxels: Box) -> Tile:
        matrix = np.linalg.inv(self.ijk_to_ras) @ self.native_ijk_to_ras
        corners = np.array(list(product(*((part.start, part.stop - 1) for part in voxels[::-1])))).T
        places = (matrix[:3, :3] @ corners + matrix[:3, 3:])[::-1]
        # A cell to spare on both sides: positions are found again in float32.
        cells = boxes.triple(
            slice(min(max(0, int(low) - 1), n - 1), max(1, min(n, int(np.ceil(high)) + 2)))
            for low, high, n in zip(places.min(axis=1), places.max(axis=1), self.shape)
        )
        shift = np.eye(4)
        shift[:3, 3] = [-part.start for part in cells[::-1]]
        return SampledTile(voxels, cells, shift @ matrix)

    def cell_of(self, voxel_kji: np.ndarray) -> np.ndarray:
        """See `ModelGrid.cell_of`."""
        ras = self.native_ijk_to_ras @ [*voxel_kji[::-1], 1]
        cell = (np.linalg.inv(self.ijk_to_ras) @ ras)[2::-1]
        return np.clip(cell, 0, np.array(self.shape) - 1)

    def native_box(self, low: np.ndarray, high: np.ndarray) -> Box:
        """See `ModelGrid.native_box`."""
        edges = [(a - 1, b + 1) for a, b in zip(low[::-1], high[::-1])]
        corners = np.array(np.meshgrid(*edges)).reshape(3, -1)
        matrix = np.linalg.inv(self.native_ijk_to_ras) @ self.ijk_to_ras
        native = (matrix[:3, :3] @ corners + matrix[:3, 3:])[::-1]
        starts, stops = np.floor(native.min(axis=1)), np.ceil(native.max(axis=1)) + 1
        return boxes.triple(
            slice(int(np.clip(a, 0, n)), int(np.clip(b, 0, n))) for a, b, n in zip(starts, stops, self.native_shape)
        )
