"""A few threads for numpy: copies, products and ufuncs on large blocks release the GIL, so they run side by side."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from . import blas

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4
"""Chosen to leave processors of a usual laptop to Slicer; the gain of more was not measured."""


def thread_count() -> int:
    """Threads worth using here: the processors this process may run on, four at most."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS
        usable = os.cpu_count() or 1
    return max(1, min(MOST_THREADS, usable))


_lock = Lock()
_pool: ThreadPoolExecutor | None = None


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="LiverGTAN")
        return _pool


def close() -> None:
    """End the threads after the work that they are at; they are started again on demand."""
    global _pool
    with _lock:
        closing, _pool = _pool, None
    if closing is not None:
        closing.shutdown(wait=True)


def for_each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Results of `function` over `items`, in order; the first exception is raised here.

    Must not be called from within `function`: the pool is shared and would wait for itself.
    """
    items = list(items)
    if len(items) < 2 or thread_count() == 1:
        return [function(item) for item in items]
    with blas.one_thread():
        return list(_executor().map(function, items))


def ranges(count: int, size: int) -> list[slice]:
    """`count` split into consecutive slices of at most `size`."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
