"""Boxes of a grid: one slice along each array axis."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")

Box = tuple[slice, slice, slice]
"""Slices along k, j, i of a scan, or along D, H, W of a model grid; start and stop are set, the step is 1."""


def triple(values: Iterable[Value]) -> tuple[Value, Value, Value]:
    """One value for each of three axes. Raises ValueError when there are more or fewer."""
    first, second, third = values
    return first, second, third


def bounding_box(mask: np.ndarray) -> Box | None:
    """The smallest box that holds all voxels that are not 0, None when there are none."""
    # Across the first axis the reduction runs along memory: several times faster than across each axis of the whole.
    rows = np.asarray(mask.any(axis=0))
    if not rows.any():
        return None
    j, i = (_extent(np.asarray(rows.any(axis=axis))) for axis in (1, 0))
    return _extent(np.asarray(mask[:, j, i].any(axis=(1, 2)))), j, i


def _extent(occupied: np.ndarray) -> slice:
    """From the first to the last that is true."""
    found = np.flatnonzero(occupied)
    return slice(int(found[0]), int(found[-1]) + 1)


def whole(shape: tuple[int, ...]) -> Box:
    """The box of a whole array of this shape."""
    return triple(slice(0, n) for n in shape)


def start(box: Box) -> tuple[int, int, int]:
    """First index along each axis."""
    return triple(part.start for part in box)


def shape(box: Box) -> tuple[int, int, int]:
    """Cells along each axis."""
    return triple(part.stop - part.start for part in box)


def is_empty(box: Box) -> bool:
    """Whether no cell is in it."""
    return min(shape(box)) <= 0


def intersection(first: Box, second: Box) -> Box:
    """What two boxes share; an axis along which they share nothing has equal ends."""
    starts = [max(a.start, b.start) for a, b in zip(first, second)]
    return triple(slice(s, max(s, min(a.stop, b.stop))) for s, a, b in zip(starts, first, second))


def enclosing(first: Box, second: Box) -> Box:
    """The smallest box that holds both; an empty one counts for nothing."""
    if is_empty(first) or is_empty(second):
        return second if is_empty(first) else first
    return triple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second))


def grown(box: Box, cells: int, shape: tuple[int, ...]) -> Box:
    """The box with every face `cells` farther out, within a grid of this shape."""
    return triple(slice(max(0, part.start - cells), min(n, part.stop + cells)) for part, n in zip(box, shape))


def relative_to(outer: Box, box: Box) -> Box:
    """A box of the grid in the indices of the array that holds `outer`."""
    return triple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer))


def absolute(outer: Box, inner: Box) -> Box:
    """A box of the array that holds `outer` in the indices of the grid; undoes `relative_to`."""
    return triple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner))


def enclosing_all(some: Sequence[Box]) -> Box:
    """The smallest box that holds all of some boxes, of which none is empty."""
    return triple(slice(min(p.start for p in parts), max(p.stop for p in parts)) for parts in zip(*some))


def evenly(part: slice, most: int) -> list[slice]:
    """A slice as the fewest consecutive ones that are not longer than `most`, of nearly the same length."""
    ends = np.linspace(part.start, part.stop, -(-(part.stop - part.start) // most) + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(ends)]
