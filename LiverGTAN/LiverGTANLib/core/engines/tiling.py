"""Grids that an engine takes, and their division into tiles along D, so that long scans need no more memory."""

import numpy as np

from .. import threads

MOST_PLANES = 320
"""Planes in one pass, 96 cm at 3 mm: a CT of the trunk is computed whole. Chosen by memory: a grid of 320x176x176 cells
takes about 1 GB in the numpy engine with student-100k."""


def check_grid(x: np.ndarray, multiple: int) -> None:
    """Raise ValueError unless x is 3-D with sides that the levels can halve."""
    if x.ndim != 3 or any(n == 0 or n % multiple for n in x.shape):
        raise ValueError(f"The grid {x.shape} is not three multiples of {multiple}.")


def tiles(depth: int, multiple: int, most_planes: int = MOST_PLANES) -> list[tuple[slice, slice]]:
    """(planes to keep, planes to compute) that cover `depth`.

    At most `most_planes` are computed at once, or what one multiple and its margins need if that is more. An output of
    L levels sees less than 4 * 2**L planes to either side (kernels down and up) and is aligned to the deepest level's
    grid, so that margins of 5 multiples change nothing but rounding.
    """
    if depth <= most_planes:
        return [(slice(0, depth), slice(0, depth))]
    margin = 5 * multiple
    core = max(multiple, (most_planes - 2 * margin) // multiple * multiple)
    return [
        (part, slice(max(0, part.start - margin), min(depth, part.stop + margin)))
        for part in threads.ranges(depth, core)
    ]
