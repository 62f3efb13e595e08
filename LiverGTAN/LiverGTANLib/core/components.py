"""Connected pieces and cavities of what is above zero on the model grid."""

import numpy as np

from .model_grid import Box


def bounding_box(inside: np.ndarray) -> Box | None:
    """The slices that hold all true voxels, None when there are none."""
    box = []
    for axis in range(3):
        occupied = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if len(occupied) == 0:
            return None
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def within(outer: Box, inner: Box) -> Box:
    """A box given inside another one, in the coordinates of the other's array."""
    return tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner))


def common(first: Box, second: Box) -> Box:
    """What two boxes share; an axis along which they share nothing has equal ends."""
    starts = [max(a.start, b.start) for a, b in zip(first, second)]
    return tuple(slice(s, max(s, min(a.stop, b.stop))) for s, a, b in zip(starts, first, second))


def around(first: Box, second: Box) -> Box:
    """The smallest box that holds both; an empty one counts for nothing."""
    if is_empty(first) or is_empty(second):
        return second if is_empty(first) else first
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second))


def is_empty(box: Box) -> bool:
    return any(part.stop <= part.start for part in box)


def label_components(positive: np.ndarray) -> np.ndarray:
    """Number of its piece (faces touch) for every true voxel, 0 elsewhere."""
    from scipy.ndimage import label

    return label(positive)[0]


def largest(pieces: np.ndarray) -> int:
    """Number of the piece with most voxels; 0 when there is none."""
    sizes = np.bincount(pieces.ravel())
    return 1 + int(sizes[1:].argmax()) if len(sizes) > 1 else 0


def keep_component(values: np.ndarray, pieces: np.ndarray, number: int) -> None:
    """Turn the sign of all that belongs to another piece."""
    np.negative(values, out=values, where=(pieces != 0) & (pieces != number))


def fill_holes_in(values: np.ndarray) -> None:
    """Turn the sign of what the liver encloses; a cavity that reaches the box's edge is none."""
    from scipy.ndimage import label

    regions, count = label(np.pad(values <= 0, 1, constant_values=True))
    if count > 1:
        regions = regions[1:-1, 1:-1, 1:-1]
        # The padding belongs to the outside and is labeled first.
        np.abs(values, out=values, where=regions > 1)
