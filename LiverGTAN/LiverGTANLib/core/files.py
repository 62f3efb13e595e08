"""Files that are written whole or not at all, and read in bounded time and memory."""

import io
import json
import os
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from .volume import InputError

CHUNK = 2**20
LONGEST_NUMBER = 40
"""Characters of a number in JSON; a float64 is written with 24 at most."""

PARTIAL = ".partial-"
"""How the name of a file begins that is being written."""

MOST_MEMBERS = 10_000
"""Of an archive. A student of 6 levels has 44 arrays; the checkpoint of a teacher and its assistant has 500."""


def read_bytes(path: str | Path, most: int) -> bytes:
    """A file of at most `most` bytes. Raises ValueError for a larger one, of which no more is read, and OSError."""
    parts, left = [], most + 1
    with Path(path).open("rb") as stream:
        while left and (
            part := stream.read(min(left, CHUNK))
        ):  # room is made for what is asked for, not for what comes
            parts.append(part)
            left -= len(part)
    data = b"".join(parts)
    if len(data) > most:
        raise ValueError(f"larger than {most / 2**20:.3g} MiB")
    return data


def require_name(path: Any) -> Path:
    """The path itself. Raises InputError for what names no file or folder: None, a number, an empty text."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).strip():
        raise InputError(f"Give the name of a file or folder, not {brief(repr(path))}.")
    return Path(path)


def require_new(path: str | Path, overwrite: bool = False) -> None:
    """Raise InputError where a file or folder of this name exists and is not to be replaced (`overwrite`), and where it
    is no name."""
    if require_name(path).exists() and not overwrite:
        raise InputError(f"{path} exists already; give another name, or say that it may be replaced (overwrite=True).")


def real_path(path: str | Path) -> Path:
    """Where the links of a path lead; a path whose links lead in a circle, for which `Path.resolve` raises, stays."""
    return Path(os.path.realpath(path))


def brief(value: Any, most: int = 200) -> str:
    """For messages: in one line and not long, for what a damaged or hostile file holds may have any length."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[:most]}..."


def open_zip(data: bytes) -> zipfile.ZipFile:
    """The archive in these bytes. Raises ValueError for one of very many members, and BadZipFile.

    Each member takes half a kilobyte of memory before any of them can be looked at.
    """
    if data.count(b"PK\x01\x02") > MOST_MEMBERS:  # begins each entry of the directory
        raise ValueError(f"more than {MOST_MEMBERS} members")
    return zipfile.ZipFile(io.BytesIO(data))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for anything but JSON: also for NaN, and for endless numbers and
    nesting, which Python's own reader takes or answers with errors of other kinds.
    """
    try:
        return json.loads(text, parse_int=_int, parse_float=_float, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: str | Path, most: int) -> Any:
    """The value in a JSON file of at most `most` bytes. Raises ValueError for any other file, and OSError."""
    return parse_json(read_bytes(path, most).decode("utf-8"))


def to_json(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON that `parse_json` reads; numbers that are not finite, which JSON does not have, become null."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _int(text: str) -> int:
    return int(_bounded(text))


def _float(text: str) -> float:
    return float(_bounded(text))


def _bounded(text: str) -> str:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters")
    return text


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text}, which is no JSON")


@contextmanager
def atomic_write(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A temporary file in `path`'s folder, made if need be, that replaces `path` when the block ends without an error.

    What is written is flushed to the disk before it takes the place of a former file, so that after a crash one of the
    two is there, whole. After an error the former file is as it was and the temporary one is gone.
    suffix: ending of the temporary file's name for writers that choose the format by it; that of `path` if empty.
    Raises OSError with a sentence that names `path`, also for an OSError within the block.
    """
    path = Path(path)
    temporary = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}{suffix or path.suffix}")
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
