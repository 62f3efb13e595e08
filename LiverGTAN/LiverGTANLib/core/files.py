"""Files that appear whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A temporary file in `path`'s folder, made if need be, that replaces `path` when the block ends without an error.

    What is written is flushed to the disk before it takes the place of a former file, so that after a crash one of the
    two is there, whole. After an error the former file is as it was and the temporary one is gone.
    suffix: ending of the temporary file's name for writers that choose the format by it; that of `path` if empty.
    Raises OSError with a sentence that names `path`, also for an OSError within the block.
    """
    path = Path(path)
    temporary = path.with_name(f".partial-{uuid.uuid4().hex}{suffix or path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)  # a folder that cannot be written to is found before any work is done
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}).") from error
    finally:
        # A parent that is a file, or a folder without rights, has no temporary file to remove.
        if os.path.lexists(temporary):
            temporary.unlink()


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the replaced name last, where folders can be opened (not on Windows, which orders renames itself)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
