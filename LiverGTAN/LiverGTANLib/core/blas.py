"""Keep numpy's matrix products on the calling thread while threads of our own share the work.

OpenBLAS, which numpy's packages bring along, has one pool for the whole process; several threads that each call it
wait for one another. Where another library does the products (Accelerate on macOS, MKL), nothing is changed.
The package threadpoolctl does the same and more, but Slicer does not bring it, and nothing may be installed there.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("64_", "")
_lock = threading.Lock()
_users = 0
_before = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this block OpenBLAS uses one thread a call; the last block that ends restores what was set before."""
    global _users, _before
    library = _openblas()
    if library is None:
        yield
        return
    get, limit = library
    with _lock:
        if _users == 0:
            _before = get()
            limit(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                limit(_before)


@lru_cache(maxsize=1)
def _openblas():
    """(function that gets, function that sets the number of threads) of the OpenBLAS that numpy has loaded, or None."""
    package = Path(np.__file__).resolve().parent
    folders = (package.parent / "numpy.libs", package / ".dylibs", package / ".libs")
    for path in (file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*openblas*"))):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name in (f"{prefix}_{{}}_num_threads{suffix}" for prefix in _PREFIXES for suffix in _SUFFIXES):
            if hasattr(library, name.format("set")) and hasattr(library, name.format("get")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None
