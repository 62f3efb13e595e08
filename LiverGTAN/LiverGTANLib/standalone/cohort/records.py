"""What is known of each case of an output folder: a small file beside its mask, from which a later run goes on."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...core.files import CHUNK, atomic_write, parse_json, read_bytes, to_json
from ..image_files import CtFile

logger = logging.getLogger(__name__)

FOLDER = "records"
FORMAT = 1
LARGEST_RECORD = 2**24
"""Bytes; one has some thousands, and one of a DICOMDIR lists its files."""

STARTED, DONE, FAILED = "started", "done", "failed"
EDITED = "edited"
"""Of a mask, after this program wrote it: see `edited_masks`. No file has this state."""


@dataclass(frozen=True)
class InputState:
    """The files of an input as they were when they were read.

    companions: files beside the input that belong to it, relative to its folder. listing: digest of names, sizes and
    times, the time of the last change of any kind included, which no program sets back (on Windows that of creation).
    content: digest of all bytes, which decides when the listing has changed.
    """

    companions: list[str]
    listing: str
    content: str


@dataclass(frozen=True)
class CaseRecord:
    """One case. output: name of its mask, after which the record is named too. state: STARTED, DONE, FAILED or EDITED.

    request: the student and the settings (see `request_of`). mask: digest of the mask that was written last, empty if
    there was none, so that one that is found is the user's; None if it was about to be written. report: see
    `file_segmentation`; empty unless done or edited.
    """

    output: str
    id: str
    input: str
    series: int | None
    state: str
    request: dict[str, Any]
    input_state: InputState | None = None
    mask: str | None = None
    error: str = ""
    report: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Raises OSError with a sentence."""
        with atomic_write(record_file(folder, self.output)) as temporary:
            text = to_json({"format": FORMAT, **asdict(self)}, indent=1, ascii_only=True)
            temporary.write_text(text + "\n", encoding="utf-8")


def record_file(folder: Path, output: str) -> Path:
    """Where the record of a mask lies. folder: of all masks. output: name of the mask."""
    return folder / FOLDER / f"{output}.json"


def read_records(folder: Path) -> dict[str, CaseRecord]:
    """Name of the mask -> record, of all cases of an output folder, in the order of names; none without a folder.

    A file that is no record is logged and left out.
    """
    found: dict[str, CaseRecord] = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            record = _record(parse_json(read_bytes(path, LARGEST_RECORD)))
        except (ValueError, TypeError, OSError) as error:
            logger.warning("%s is no record of a case and is left out (%s).", path, error)
            continue
        if record_file(folder, record.output) == path:
            found[record.output] = record
    return found


def _record(content: Any) -> CaseRecord:
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ValueError("of another format")
    state = content.get("input_state")
    texts = [content.get(name) for name in ("output", "id", "input", "error")]
    if not all(isinstance(text, str) for text in texts) or content.get("state") not in (STARTED, DONE, FAILED):
        raise ValueError("a field of the wrong type")
    if not isinstance(content.get("report"), dict) or not isinstance(content.get("request"), dict):
        raise ValueError("a field of the wrong type")
    if content["state"] == DONE and not _is_report(content["report"]):
        raise ValueError("an incomplete report")
    record = CaseRecord(**{**content, "input_state": InputState(**state) if state else None})
    if not (isinstance(content.get("series"), int | None) and isinstance(content.get("mask"), str | None)):
        raise ValueError("a field of the wrong type")
    if record.input_state and not _are_texts(record.input_state.companions):
        raise ValueError("a field of the wrong type")
    return record


def _is_report(report: dict[str, Any]) -> bool:
    """Whether a report has what tables and pages take from it."""
    seconds = report.get("seconds")
    return (
        isinstance(seconds, dict)
        and (report.get("volume_range_ml") is None or _are_numbers(report["volume_range_ml"], 2))
        and all(isinstance(value, int | float) for value in (report.get("volume_ml"), *seconds.values()))
        and _are_texts(report.get("notes"))
        and _are_texts(report.get("warnings"))
        and _is_geometry(report.get("geometry"))
    )


def _is_geometry(geometry: Any) -> bool:
    """Whether this is the place of a CT, or nothing."""
    if not isinstance(geometry, dict):
        return geometry is None
    rows = geometry.get("ijk_to_ras")
    places = isinstance(rows, list) and len(rows) == 4 and all(_are_numbers(row, 4) for row in rows)
    return places and _are_numbers(geometry.get("shape_kji"), 3)


def _are_numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(one, int | float) for one in value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What of a request differs, in words; empty when nothing does."""
    names = [name for name in now if before.get(name) != now[name]]
    return ", ".join(f"{name} {_value(before.get(name))} is now {_value(now[name])}" for name in names)


def _value(value: Any) -> str:
    return value[:12] if isinstance(value, str) else json.dumps(value)


def state_of(path: Path, source: CtFile, output: Path) -> InputState:
    """The files of an input that was just read; nothing of the output folder counts. Raises OSError."""
    here = path.absolute().parent
    others = [] if path.is_dir() else [file for file in dict.fromkeys(source.files) if file != path]
    companions = [os.path.relpath(file, here) for file in others]
    files = _files(path, companions, output)
    return InputState(companions, _listing(path, files), _content(path, files))


def listing_of(path: Path, companions: list[str], output: Path) -> str:
    """`InputState.listing` as it is now. Raises OSError."""
    return _listing(path, _files(path, companions, output))


def is_unchanged(path: Path, state: InputState, output: Path) -> bool:
    """Whether the files of an input are those that were read: by size and time, and where these differ by content."""
    try:
        files = _files(path, state.companions, output)
        return _listing(path, files) == state.listing or _content(path, files) == state.content
    except OSError:
        return False


def digest(files: Iterable[Path]) -> str:
    """Of the bytes of files, in hexadecimal. Raises OSError."""
    found = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as stream:
            while part := stream.read(CHUNK):
                found.update(part)
    return found.hexdigest()


def _files(path: Path, companions: list[str], output: Path) -> list[Path]:
    if not path.is_dir():
        return [path, *(path.absolute().parent / name for name in companions)]
    found, without = [], os.path.realpath(output)
    for place, folders, names in os.walk(path):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "__MACOSX")) and os.path.realpath(os.path.join(place, name)) != without
        )
        found += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    return found


def _listing(path: Path, files: list[Path]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for file in files:
        status = file.stat()
        name = os.path.relpath(file, path) if path.is_dir() else file.name
        times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
        found.update(os.fsencode(name) + f"\0{status.st_size}\0{times}\n".encode())
    return found.hexdigest()


def _content(path: Path, files: list[Path]) -> str:
    """In a folder names count, as they tell which file is which; a renamed file is the same input."""
    if not path.is_dir():
        return digest(files)
    names = "\0".join(os.path.relpath(file, path) for file in files)
    return digest(files) + hashlib.blake2b(os.fsencode(names), digest_size=16).hexdigest()
