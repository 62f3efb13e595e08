"""What thick slices do to a volume, as weights along its axis."""

from __future__ import annotations

import numpy as np


def slice_weights(count: int, thickness: float, interval: float, phase: float) -> np.ndarray:
    """(count, count) float32: average over a slice's thickness, then repeat it over the interval it stands for.

    All lengths are in voxels of the axis; the first slice lies `phase` intervals before the first voxel.
    """
    slices = int(np.ceil(count / interval)) + 2
    middle = (np.arange(slices) - phase + 0.5) * interval
    edges = np.arange(count + 1)
    seen = _overlap(middle - thickness / 2, middle + thickness / 2, edges)
    shown = _overlap(middle - interval / 2, middle + interval / 2, edges)
    seen /= np.maximum(seen.sum(axis=1, keepdims=True), 1e-6)
    shown *= seen.sum(axis=1, keepdims=True) > 0.5
    shown /= np.maximum(shown.sum(axis=0, keepdims=True), 1e-6)
    return (shown.T @ seen).astype(np.float32)


def _overlap(starts: np.ndarray, ends: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(intervals, cells) overlap of every interval with every cell, in cells."""
    low = np.maximum(starts[:, None], edges[None, :-1])
    high = np.minimum(ends[:, None], edges[None, 1:])
    return np.clip(high - low, 0, None)
