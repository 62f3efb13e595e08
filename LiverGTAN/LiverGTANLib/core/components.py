"""Connected components and holes of masks, found by their runs: stretches of voxels along i."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import boxes, threads
from .boxes import Box

Index = tuple[int, int, int]

CHANGES_AT_ONCE = 2**18
"""Voxels, a byte each, that are searched at once: they stay in the processor's own cache, and so does what is found."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Stretches of voxels along i, in order: voxel (k, j, i) has the number (k * J + j) * (I + 1) + i.

    A mask of millions of voxels has some ten thousand, and which of them touch is found by sorted search; this takes a
    third of the time that `scipy.ndimage.label` takes for the voxels, and no array of their size.

    starts, stops: (N,) first number and the one after the last. shape: (K, J, I).
    """

    starts: np.ndarray
    stops: np.ndarray
    shape: tuple[int, ...]

    @cached_property
    def rows(self) -> np.ndarray:
        """(N,) row k * J + j of each run."""
        return self.starts // (self.shape[2] + 1)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) voxels of each run."""
        return self.stops - self.starts

    def some(self, which: np.ndarray | slice) -> "Runs":
        """Those of some indices, or where `which` is true."""
        return Runs(self.starts[which], self.stops[which], self.shape)

    def joined(self, others: "Runs") -> "Runs":
        """With others that lie between these; what then touches in a row is not made one run."""
        if not len(others.starts):
            return self
        starts, stops = np.concatenate([self.starts, others.starts]), np.concatenate([self.stops, others.stops])
        return Runs(np.sort(starts), np.sort(stops), self.shape)

    def box(self) -> Box | None:
        """The smallest box that holds all; None when there is no run."""
        if not len(self.starts):
            return None
        _, height, width = self.shape
        k, j = np.divmod(self.rows, height)
        i = self.starts % (width + 1)
        ends = (k[0], k[-1] + 1), (j.min(), j.max() + 1), (i.min(), (i + self.lengths).max())
        return boxes.triple(slice(int(first), int(stop)) for first, stop in ends)

    def within(self, box: Box) -> tuple["Runs", np.ndarray]:
        """(parts of runs in a box, numbered in the box; for each the index of its run)."""
        _, height, width = self.shape
        k, j = np.divmod(self.rows, height)
        i = self.starts % (width + 1)
        first, stop = np.maximum(i, box[2].start), np.minimum(i + self.lengths, box[2].stop)
        inside = (k >= box[0].start) & (k < box[0].stop) & (j >= box[1].start) & (j < box[1].stop) & (first < stop)
        which, shape = np.flatnonzero(inside), boxes.shape(box)
        rows = (k[which] - box[0].start) * shape[1] + j[which] - box[1].start
        starts = rows * (shape[2] + 1) + first[which] - box[2].start
        return Runs(starts, starts + stop[which] - first[which], shape), which

    def voxels(self) -> np.ndarray:
        """Index of each voxel in the raveled array, run by run."""
        ends = np.cumsum(self.lengths)
        offsets = np.arange(self.lengths.sum()) - np.repeat(ends - self.lengths, self.lengths)
        return np.repeat(self.starts - self.rows, self.lengths) + offsets

    def where(self, wanted: np.ndarray) -> "Runs":
        """Runs of the voxels that are wanted: (voxels,) bool in the order of `voxels`."""
        ends = np.cumsum(self.lengths)
        begins = ends - self.lengths
        begun, ended = wanted.copy(), wanted.copy()
        begun[1:] &= ~wanted[:-1]
        ended[:-1] &= ~wanted[1:]
        begun[begins], ended[ends - 1] = wanted[begins], wanted[ends - 1]
        first, last = np.flatnonzero(begun), np.flatnonzero(ended)
        run = np.searchsorted(ends, first, side="right")
        offsets = self.starts[run] - begins[run]
        return Runs(first + offsets, last + 1 + offsets, self.shape)

    def painted(self, values: np.ndarray | int, dtype: type = np.uint8) -> np.ndarray:
        """(K, J, I) with one value, or one for each run, in the voxels of the runs, and 0 elsewhere."""
        painted: np.ndarray = np.zeros(self.shape, dtype)
        np.put(painted, self.voxels(), np.repeat(values, self.lengths) if np.ndim(values) else values)
        return painted

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

    def gaps(self) -> "Runs":
        """What lies between two runs of a row."""
        same_row = self.rows[1:] == self.rows[:-1]
        return Runs(self.stops[:-1][same_row], self.starts[1:][same_row], self.shape)

    def holes(self, fewest: float = np.inf, but: Sequence[Index] = (), near: Box | None = None) -> "Runs":
        """What the runs enclose: connected gaps of fewer voxels, some of them in `near` if given, and none of `but`.

        What reaches a face of the array is no hole.
        """
        gaps = self.gaps()
        labels = gaps.components()
        is_open = np.zeros(len(labels), bool)
        np.logical_or.at(is_open, labels, _open(gaps, self))
        return gaps.some(_are_small(gaps, labels, fewest, but, near) & ~is_open[labels])


def runs_of(mask: np.ndarray) -> Runs:
    """Runs of ones in (K, J, I) of booleans, or of 0 and 1."""
    flat, width = mask.reshape(-1), mask.shape[2]
    ends = _changes(flat)
    starts, stops = ends[::2], ends[1::2]
    # What goes on in the next row is another run there.
    rows = width * (1 + np.flatnonzero(flat[width - 1 : -1 : width] & flat[width::width]))
    if len(rows):
        starts, stops = (np.sort(np.concatenate([some, rows])) for some in (starts, stops))
    return Runs(starts + starts // width, stops + (stops - 1) // width, mask.shape)


def _changes(flat: np.ndarray) -> np.ndarray:
    """Indices of what is another number than the one before it, where zeros surround (N,) of 0 and 1."""
    found = []
    for part in threads.ranges(len(flat), CHANGES_AT_ONCE):
        values = flat[part]
        changed = np.zeros(-(-len(values) // 8) * 8, bool)
        changed[0] = values[0] != (part.start and flat[part.start - 1])
        np.not_equal(values[1:], values[:-1], out=changed[1 : len(values)])
        # Eight at once: hardly any change.
        eights = np.flatnonzero(changed.view(np.uint64) != 0)
        found.append((part.start + 8 * eights[:, None] + np.arange(8))[changed.reshape(-1, 8)[eights]])
    if len(flat) and flat[-1]:
        found.append(np.array([len(flat)]))
    return np.concatenate(found) if found else np.zeros(0, int)


def remove_specks(
    mask: np.ndarray,
    fewest: int,
    filled: Sequence[Index] | None = (),
    empty: Sequence[Index] | None = (),
    changed: Box | None = None,
) -> None:
    """Clear connected components of fewer voxels, then fill holes of fewer, in place; faces must touch.

    mask: (K, J, I) uint8, 0 or 1. What reaches a face of the array is no hole. filled, empty: voxels whose component,
    or whose hole, is left as it is; None leaves all. changed: a box that holds all that differs from a mask without
    such components and holes: no others are looked for than those in it or beside it.
    """
    near = boxes.grown(changed or boxes.whole(mask.shape), 1, mask.shape)
    # What begins near and reaches farther than this has too many voxels.
    around = boxes.grown(near, fewest, mask.shape)
    part, near = mask[around], boxes.relative_to(around, near)
    runs = runs_of(part)
    if filled is not None:
        small = _are_small(runs, runs.components(), fewest, _inside(filled, around), near)
        np.put(part, runs.some(small).voxels(), 0)
        runs = runs.some(~small)
    if empty is not None:
        np.put(part, runs.holes(fewest, _inside(empty, around), near).voxels(), 1)


def _inside(voxels: Sequence[Index], box: Box) -> list[Index]:
    """Those in a box, in its indices."""
    relative = [boxes.triple(index - part.start for index, part in zip(voxel, box)) for voxel in voxels]
    return [voxel for voxel in relative if all(0 <= index < n for index, n in zip(voxel, boxes.shape(box)))]


def _are_small(
    runs: Runs, labels: np.ndarray, fewest: float, but: Sequence[Index], near: Box | None = None
) -> np.ndarray:
    """(N,) bool, the runs of components with fewer voxels, some of them in `near` if given, that hold none of `but`."""
    sizes = np.bincount(labels, weights=runs.lengths, minlength=len(labels)).astype(float)
    sizes[labels[runs.holding(but)]] = np.inf
    small = sizes[labels] < fewest
    if near is not None and boxes.shape(near) != runs.shape:
        reaching = np.zeros(len(labels), bool)
        reaching[labels[runs.within(near)[1]]] = True
        small &= reaching[labels]
    return small


def _open(gaps: Runs, runs: Runs) -> np.ndarray:
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
