"""Connected components and holes of what is above zero on the model grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Index = tuple[int, int, int]


def label_components(positive: np.ndarray) -> np.ndarray:
    """Number of its connected component (faces touch) for every true voxel, 0 elsewhere."""
    from scipy.ndimage import label

    return label(positive)[0]


def largest_component(labels: np.ndarray) -> int:
    """Number of the component with most voxels; 0 when there is none."""
    sizes = np.bincount(labels.ravel())
    return 1 + int(sizes[1:].argmax()) if len(sizes) > 1 else 0


def negate_other_components(values: np.ndarray, labels: np.ndarray, number: int) -> None:
    """Turn the sign, in place, of all that belongs to another component than `number`."""
    np.negative(values, out=values, where=(labels != 0) & (labels != number))


def fill_holes(values: np.ndarray) -> None:
    """Turn the sign, in place, of what positive values enclose; what reaches the array's edge is no hole."""
    from scipy.ndimage import label

    regions, count = label(np.pad(values <= 0, 1, constant_values=True))
    if count > 1:
        regions = regions[1:-1, 1:-1, 1:-1]
        # The padding belongs to the outside and is labeled first.
        np.abs(values, out=values, where=regions > 1)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Stretches of voxels along i, in order: voxel (k, j, i) has the number (k * J + j) * (I + 1) + i.

    A mask of millions of voxels has some ten thousand, and which of them touch is found by sorted search; this takes a
    third of the time that `scipy.ndimage.label` takes for the voxels.

    starts, stops: (N,) first number and the one after the last. shape: (K, J, I).
    """

    starts: np.ndarray
    stops: np.ndarray
    shape: tuple[int, ...]

    @cached_property
    def rows(self) -> np.ndarray:
        return self.starts // (self.shape[2] + 1)

    def touching(self) -> tuple[np.ndarray, np.ndarray]:
        """(first, second) of all pairs of runs that touch across a face."""
        _, height, width = self.shape
        pairs = [
            self._shifted(width + 1, np.flatnonzero(self.rows % height < height - 1)),
            self._shifted((width + 1) * height, np.arange(len(self.starts))),
        ]
        first, second = zip(*pairs)
        return np.concatenate(first), np.concatenate(second)

    def _shifted(self, step: int, some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of some runs and those that they overlap when moved on by `step`."""
        low = np.searchsorted(self.stops, self.starts[some] + step, side="right")
        counts = np.searchsorted(self.starts, self.stops[some] + step, side="left") - low
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(some, counts), np.repeat(low, counts) + offsets

    def components(self) -> np.ndarray:
        """(N,) for each run the number of the first run of its connected component."""
        first, second = self.touching()
        labels = np.arange(len(self.starts))
        while len(first):
            # Every run points to the lowest that touches it, then to where that points, and so on to the root.
            low, high = np.minimum(first, second), np.maximum(first, second)
            np.minimum.at(labels, high, low)
            while not np.array_equal(roots := labels[labels], labels):
                labels = roots
            first, second = labels[first], labels[second]
            apart = first != second
            first, second = first[apart], second[apart]
        return labels

    def holding(self, voxels: Sequence[Index]) -> np.ndarray:
        """Which runs hold one of these voxels."""
        _, height, width = self.shape
        numbers = np.array([(k * height + j) * (width + 1) + i for k, j, i in voxels], int)
        places = np.searchsorted(self.starts, numbers, side="right") - 1
        held = (places >= 0) & (numbers < self.stops[places]) if len(self.stops) else np.zeros(len(numbers), bool)
        return places[held]

    def set(self, mask: np.ndarray, some: np.ndarray, value: int) -> None:
        """Give the voxels of some runs a value."""
        _, height, width = self.shape
        for start, stop in zip(self.starts[some], self.stops[some]):
            row, first = divmod(int(start), width + 1)
            mask[row // height, row % height, first : first + int(stop - start)] = value


def remove_specks(
    mask: np.ndarray, fewest: int, filled: Sequence[Index] | None = (), empty: Sequence[Index] | None = ()
) -> None:
    """Clear connected components of fewer voxels, then fill holes of fewer, in place; faces must touch.

    mask: (K, J, I) uint8, 0 or 1. What reaches a face of the array is no hole. filled, empty: voxels whose component,
    or whose hole, is left as it is; None leaves all.
    """
    runs = _runs(mask)
    if filled is not None:
        small = _are_small(runs, runs.components(), fewest, filled)
        runs.set(mask, np.flatnonzero(small), 0)
        runs = _Runs(runs.starts[~small], runs.stops[~small], runs.shape)
    if empty is not None:
        same_row = runs.rows[1:] == runs.rows[:-1]
        gaps = _Runs(runs.stops[:-1][same_row], runs.starts[1:][same_row], runs.shape)
        labels = gaps.components()
        is_open = np.zeros(len(labels), bool)
        np.logical_or.at(is_open, labels, _open(gaps, runs))
        gaps.set(mask, np.flatnonzero(_are_small(gaps, labels, fewest, empty) & ~is_open[labels]), 1)


def _runs(mask: np.ndarray) -> _Runs:
    """Runs of ones."""
    depth, height, width = mask.shape
    count = depth * height * (width + 1)
    padded = np.zeros(-(-count // 8) * 8, bool)
    changes = padded[:count].reshape(depth, height, width + 1)
    changes[:, :, 0], changes[:, :, -1] = mask[:, :, 0], mask[:, :, -1]
    np.not_equal(mask[:, :, 1:], mask[:, :, :-1], out=changes[:, :, 1:-1])
    # Eight at once: hardly any change.
    eights = np.flatnonzero(padded.view(np.uint64) != 0)
    ends = (8 * eights[:, None] + np.arange(8))[padded.reshape(-1, 8)[eights]]
    return _Runs(ends[::2], ends[1::2], mask.shape)


def _are_small(runs: _Runs, labels: np.ndarray, fewest: int, but: Sequence[Index]) -> np.ndarray:
    """(N,) bool, the runs of components with fewer voxels that hold none of some voxels."""
    sizes = np.bincount(labels, weights=runs.stops - runs.starts, minlength=len(labels)).astype(float)
    sizes[labels[runs.holding(but)]] = np.inf
    return sizes[labels] < fewest


def _open(gaps: _Runs, runs: _Runs) -> np.ndarray:
    """(N,) bool, the gaps beside which there is something outside of the runs, or a face of the array."""
    depth, height, width = gaps.shape
    first = np.full(depth * height, np.iinfo(np.int64).max)
    last = np.full(depth * height, -1)
    np.minimum.at(first, runs.rows, runs.starts)
    np.maximum.at(last, runs.rows, runs.stops)
    rows = gaps.rows
    result = (rows % height == 0) | (rows % height == height - 1) | (rows < height) | (rows >= (depth - 1) * height)
    inner = np.flatnonzero(~result)
    for step in (-1, 1, -height, height):
        beside = rows[inner] + step
        moved = step * (width + 1)
        result[inner] |= (gaps.starts[inner] + moved < first[beside]) | (gaps.stops[inner] + moved > last[beside])
    return result
