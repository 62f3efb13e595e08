"""How long an engine takes, measured where it is to run."""

import time
from collections.abc import Callable

import numpy as np

from ..weight_file import Student

SIDE, RUNS = 64, 3
"""Cells along each side of the cube that is timed, and how often: a few tens of milliseconds in all."""


def seconds(forward: Callable[[np.ndarray], np.ndarray], student: Student) -> float:
    """Shortest of a few timings of `forward` on a cube, after one run that does not count."""
    x = np.zeros((-(-SIDE // student.multiple) * student.multiple,) * 3, np.float32)
    forward(x)
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        forward(x)
        times.append(time.perf_counter() - start)
    return min(times)
