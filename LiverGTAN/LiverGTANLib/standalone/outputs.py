"""Where results may go: checked before anything is computed, so that nothing is lost."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..core.files import parse_json, read_bytes, real_path
from ..core.volume import InputError
from .image_files import is_as_written

LARGEST_REPORT = 2**28
"""Bytes; a case has some thousands."""

PICTURE_SOFTWARE, PICTURE_START = "LiverGTAN", 2**12
"""What a picture states as the program that drew it, and in how many bytes from its start (PNG, textual data)."""

WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class FormerOutputs:
    """The files that were in the places of outputs before a run."""

    def __init__(self, outputs: Iterable[Path | None]):
        self._states = {path: _state(path) for path in outputs if path is not None and path.is_file()}

    def left(self) -> list[Path]:
        """Those that are as they were: what is in them is not of this run."""
        return [path for path, state in self._states.items() if path.is_file() and _state(path) == state]


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def require_writable(outputs: Iterable[Path | None], inputs: Iterable[Path]) -> None:
    """Raise InputError when an output is no ordinary file, is an input, or the place of two outputs."""
    known = {place for path in inputs for place in _places(path)}
    places: dict[str, Path] = {}
    for output in outputs:
        if output is None:
            continue
        _require_no_circle(output)
        if output.exists() and not output.is_file():
            raise InputError(f"{output} is a folder or a device, not a file; give the name of a file.")
        file = next((parent for parent in output.parents if parent.is_file()), None)
        if file:
            raise InputError(f"{file} is a file, so nothing can be written below it; name a folder.")
        place = os.path.normcase(real_path(output)).casefold()
        if place in places:
            raise InputError(f"{places[place]} and {output} are one file; give each output a name of its own.")
        places[place] = output
        if known & _places(output):
            raise InputError(f"{output} is an input; it would be overwritten: give the output another name.")


def require_unprotected(outputs: Iterable[Path | None]) -> None:
    """Raise InputError when an output is there and write-protected: it would be replaced all the same."""
    for output in outputs:
        if output is not None and output.exists() and not output.stat().st_mode & WRITABLE:
            raise InputError(f"{output} is write-protected; allow writing, or give another name or folder.")


def require_own_mask(path: Path) -> None:
    """Raise InputError when a mask is there that this program did not write, or that was edited since."""
    if _holds_something(path) and not is_as_written(path):
        raise InputError(
            f"{path} exists and is not as this program wrote it (edited since, or of another program): it would be "
            "lost; move it, give another name, or add --overwrite."
        )


def require_own_report(path: Path | None) -> None:
    """Raise InputError when a file is there that is no report: dcm2niix writes `scan.json` beside a scan, too."""
    if path is not None and _holds_something(path) and not _is_report(path):
        raise InputError(
            f"{path} exists and is no report of this program: it would be lost; move it, or give another name."
        )


def _is_report(path: Path) -> bool:
    try:
        content = parse_json(read_bytes(path, LARGEST_REPORT))
    except ValueError:
        return False
    cases = content if isinstance(content, list) else [content]
    return all(isinstance(case, dict) and "input" in case and {"volume_ml", "error"} & case.keys() for case in cases)


def require_own_picture(path: Path | None) -> None:
    """Raise InputError when a file is there that is no picture of this program."""
    if path is not None and _holds_something(path):
        with path.open("rb") as stream:
            if PICTURE_SOFTWARE.encode() not in stream.read(PICTURE_START):
                raise InputError(
                    f"{path} exists and is no picture of this program: it would be lost; move it, or give another name."
                )


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _require_no_circle(path: Path) -> None:
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(f"{path} is a link that leads to itself; give another name.") from error


def _places(path: Path) -> set[Path | tuple[int, int]]:
    """Where a path leads, and which file lies there, if any: it may have other names."""
    try:
        status = path.stat()
    except OSError:
        return {real_path(path)}
    return {real_path(path), (status.st_dev, status.st_ino)}
