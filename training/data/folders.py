"""A folder that is written whole or not at all, as `atomic_write` does for a file."""

from __future__ import annotations

import glob
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from LiverGTANLib.core.files import PARTIAL

logger = logging.getLogger(__name__)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, where nothing may be, that takes this name when the block ends without an error.

    After an error or an interruption it is gone. What a killed process left is named, not removed: another process may
    be writing it. Raises OSError.
    """
    for left in path.parent.glob(f"{PARTIAL}{glob.escape(path.name)}-*"):
        logger.warning("%s is half of %s, of a run that was killed or is still on; if none is, delete it.", left, path)
    part = path.with_name(f"{PARTIAL}{path.name}-{uuid.uuid4().hex}")
    try:
        part.mkdir(parents=True)
        yield part
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
