"""A disk without room, for tests of what is written."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def fullDisk(bytesLeft: int = 100) -> Iterator[None]:
    """Within this block no file grows beyond `bytesLeft`, as on a full disk; the test is skipped where that is not to
    be had (Windows)."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytesLeft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
