"""A few threads for numpy: copies, products and ufuncs on large blocks release the GIL, so they run side by side.

Meanwhile each matrix product stays on the thread that calls it: OpenBLAS, which numpy's packages bring along, has one
pool for the whole process, and several threads that each call it wait for one another. The package threadpoolctl does
this and more, but Slicer does not bring it, and nothing may be installed there. Where another library does the products
(Accelerate on macOS, MKL), nothing is changed.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 4
"""Chosen to leave processors of a usual laptop to Slicer; the gain of more was not measured."""

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_blocks = 0  # running `one_blas_thread` blocks
_blas_threads_before = 0

_OPENBLAS_NAMES = [
    f"{prefix}_{{}}_num_threads{suffix}" for prefix in ("scipy_openblas", "openblas") for suffix in ("64_", "")
]


def thread_count() -> int:
    """Threads worth using here: the processors this process may run on, four at most.

    OMP_NUM_THREADS, which schedulers of clusters set for their workers, may say fewer.
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS
        usable = os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(MOST_THREADS, usable, int(limit) if limit.isdecimal() else usable))


def ranges(count: int, size: int) -> list[slice]:
    """`count` split into consecutive slices of at most `size`."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def shares(count: int, per_thread: int) -> list[slice]:
    """`count` split into consecutive slices of nearly the same length, at most `per_thread` for each thread."""
    return ranges(count, max(1, -(-count // (per_thread * thread_count()))))


def for_each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Results of `function` over `items`, in order; after an exception no more items are begun, and it is raised here.

    The calling thread does its share and needs no other to get on, so this may be called within `function`, too.
    """
    items = list(items)
    # Also for one thread: products as small as ours are slower on several, which wait for one another.
    with one_blas_thread():
        if len(items) < 2 or thread_count() == 1:
            return [function(item) for item in items]
        return _in_turn(function, items)


def _in_turn(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    """This thread works, too: it need not be put to sleep and woken, and its cache holds what it did before."""
    order, results, failed = iter(range(len(items))), {}, threading.Event()

    def work() -> None:
        for number in order:  # one iterator for all: a number goes to one thread
            if failed.is_set():
                break
            try:
                results[number] = function(items[number])
            except BaseException:
                failed.set()
                raise

    helpers = [_executor().submit(work) for _ in range(min(thread_count(), len(items)) - 1)]
    try:
        work()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]  # the others wait for work of another thread
        wait(started)
    for helper in started:
        helper.result()
    return [results[number] for number in range(len(items))]


def close() -> None:
    """End the threads after the work that they are at; they are started again on demand."""
    global _pool
    with _lock:
        closing, _pool = _pool, None
    if closing is not None:
        closing.shutdown(wait=True)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within this block OpenBLAS uses one thread a call; the last block that ends restores what was set before."""
    global _blocks, _blas_threads_before
    openblas = _openblas()
    if openblas is None:
        yield
        return
    get_threads, set_threads = openblas
    with _lock:
        if _blocks == 0:
            _blas_threads_before = get_threads()
            set_threads(1)
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                set_threads(_blas_threads_before)


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, thread_count() - 1), thread_name_prefix="LiverGTAN")
        return _pool


@lru_cache(maxsize=1)
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Functions that get and set the number of threads of the OpenBLAS that numpy has loaded, None without one."""
    package = Path(np.__file__).resolve().parent
    folders = (package.parent / "numpy.libs", package / ".dylibs", package / ".libs")
    for path in (file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*openblas*"))):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:  # another file of that name
            continue
        for name in _OPENBLAS_NAMES:
            if hasattr(library, name.format("set")) and hasattr(library, name.format("get")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None
