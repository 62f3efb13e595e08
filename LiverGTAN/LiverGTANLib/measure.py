"""Figures taken from a mask."""

import numpy as np

from .segmenter import BoxMask


def voxel_ml(ijk_to_ras: np.ndarray) -> float:
    """Volume of one voxel in mL; right for sheared grids too."""
    return float(abs(np.linalg.det(np.asarray(ijk_to_ras, float)[:3, :3])) / 1000)


def volume_ml(mask: BoxMask, ijk_to_ras: np.ndarray) -> float:
    """Volume of the mask in mL."""
    return int(np.count_nonzero(mask.voxels)) * voxel_ml(ijk_to_ras)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice coefficient of two masks of one shape; 1 when both are empty."""
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 1.0
