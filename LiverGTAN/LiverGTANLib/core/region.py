"""An oriented box that restricts the mask, as a markups ROI describes it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .boxes import Box, triple
from .volume import InputError

ROUNDING = 1e-6
"""Share by which the region is wider, so that a voxel center on its face belongs to it in every orientation."""


@dataclass(frozen=True, eq=False)
class Region:
    """What lies in a box; nothing outside of it is liver.

    object_to_ras: (4, 4), from the box's own axes, its middle at the origin, to RAS mm (a markups ROI's
    `GetObjectToWorldMatrix`). size_mm: lengths along these axes (`GetSize`). A voxel belongs to the box when its
    center does.
    """

    object_to_ras: np.ndarray
    size_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.object_to_ras, float)
        size = np.asarray(self.size_mm, float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise InputError("The region's matrix does not span space; draw the ROI again.")
        if size.shape != (3,) or not (np.isfinite(size) & (size > 0)).all():
            raise InputError("The region has no extent; give the ROI a size.")

    @cached_property
    def key(self) -> bytes:
        """Equal for equal boxes."""
        return np.asarray(self.object_to_ras, float).tobytes() + np.asarray(self.size_mm, float).tobytes()

    def grown(self, mm: float) -> "Region":
        """The same box with every face this much farther out."""
        scale = np.linalg.norm(np.asarray(self.object_to_ras, float)[:3, :3], axis=0)
        return Region(self.object_to_ras, tuple(np.asarray(self.size_mm, float) + 2 * mm / scale))

    def grid_box(self, ijk_to_ras: np.ndarray, shape_kji: tuple[int, ...]) -> Box:
        """The smallest part of a grid that holds all voxel centers within the region."""
        half = np.asarray(self.size_mm, float) / 2
        corners = np.array(np.meshgrid(*[(-h, h) for h in half])).reshape(3, -1)
        matrix = np.linalg.inv(ijk_to_ras) @ np.asarray(self.object_to_ras, float)
        kji = (matrix[:3, :3] @ corners + matrix[:3, 3:])[::-1]
        box = []
        for low, high, n in zip(kji.min(axis=1), kji.max(axis=1), shape_kji):
            start = int(np.clip(np.ceil(low - ROUNDING), 0, n))
            box.append(slice(start, max(start, int(np.clip(np.floor(high + ROUNDING) + 1, 0, n)))))
        return triple(box)

    def clear_outside(self, voxels: np.ndarray, box: Box, ijk_to_ras: np.ndarray) -> None:
        """Set to zero, in place, what of a grid's box (k, j, i) lies outside the region."""
        first, last = self._rows(box, ijk_to_ras)
        count = voxels.shape[2]
        if (first > 0).any() or (last < count - 1).any():
            i = np.arange(count, dtype=np.int32)
            voxels *= (i >= first[..., None]) & (i <= last[..., None])

    def _rows(self, box: Box, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last i within the region for every row (k, j) of the box, counted from the box's start.

        Each pair of the region's faces cuts an interval from a row, so no voxel is looked at on its own.
        """
        k, j = np.ogrid[box[0], box[1]]
        matrix = np.linalg.inv(np.asarray(self.object_to_ras, float)) @ ijk_to_ras
        count = box[2].stop - box[2].start
        low, high = np.full(np.broadcast(k, j).shape, 0.0), np.full(np.broadcast(k, j).shape, count - 1.0)
        for (along_i, along_j, along_k, shift), size in zip(matrix[:3], self.size_mm):
            start = along_i * box[2].start + along_j * j + along_k * k + shift
            half = size / 2 * (1 + ROUNDING)
            if abs(along_i) * count < ROUNDING * size:
                low = np.where(np.abs(start) <= half, low, count)
                continue
            ends = np.sort([(-half - start) / along_i, (half - start) / along_i], axis=0)
            low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
        return np.ceil(np.minimum(low, count)).astype(np.int32), np.floor(np.maximum(high, -1)).astype(np.int32)
