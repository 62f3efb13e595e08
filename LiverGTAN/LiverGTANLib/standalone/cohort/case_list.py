"""A list of cases: a CSV file with a column `path`, and perhaps `id` and `series`."""

import codecs
import csv
import io
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ...core.files import brief, read_bytes
from ...core.volume import InputError

SUFFIX = ".csv"
LARGEST_LIST = 2**26
"""Bytes; a row has some hundreds."""

DELIMITERS = (",", ";", "\t")
"""What spreadsheets write, by country and format."""

FORBIDDEN = frozenset('/\\:*?"<>|')
"""In names of files, on one system or another."""

FORMULA = "=+-@"
"""With these begin formulas, which spreadsheets compute when they open a table (OWASP, CSV Injection)."""

LONGEST_ID = 100
"""Characters; a name of a file may have 255 bytes, and a character up to four."""

NO_NAMES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
"""Windows has devices of these names."""


@dataclass(frozen=True)
class ListedCase:
    """One row; id: empty where the list has none."""

    path: Path
    id: str
    series: int | None


def is_case_list(path: Path) -> bool:
    """Whether the name is that of a list of cases, by its suffix."""
    return path.suffix.lower() == SUFFIX


def read_case_list(path: Path) -> list[ListedCase]:
    """The rows of a list; paths in it start at its folder. Raises InputError that names the line, and OSError."""
    lines = _lines(path)
    header, rows = lines[0][1], lines[1:]
    columns = {name.strip().casefold(): index for index, name in enumerate(header) if name.strip()}
    if "path" not in columns or len(columns) < len([name for name in header if name.strip()]):
        raise InputError(
            f"{path} needs a first line with one column path (and, if wanted, id and series); it has "
            f"{brief(', '.join(header))}."
        )
    cases = [_case(path, line, row, columns, len(header)) for line, row in rows]
    if not cases:
        raise InputError(f"{path} lists no case.")
    lines_of_ids: dict[str, int] = {}
    for (line, _), case in zip(rows, cases):
        first = lines_of_ids.setdefault(case.id.casefold(), line)
        if case.id and first != line:
            raise InputError(
                f"{path}, line {line}: the id {case.id} stands in line {first} already; give each its own."
            )
    return cases


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """(number of the line, its fields) of every line that is not empty."""
    text = _text(path)
    start = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=start.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    lines = []
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                lines.append((reader.line_num, fields))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: this is no CSV ({error}); check its quotes.") from error
    if not lines:
        raise InputError(f"{path} is empty.")
    return lines


def _text(path: Path) -> str:
    try:
        data = read_bytes(path, LARGEST_LIST)
    except ValueError as error:
        raise InputError(f"{path} is {error}; split the list.") from error
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}, is not UTF-8; save it as CSV UTF-8.") from error


def _case(path: Path, line: int, row: list[str], columns: dict[str, int], width: int) -> ListedCase:
    where = f"{path}, line {line}:"
    if len(row) > width and any(field.strip() for field in row[width:]):
        raise InputError(f"{where} {len(row)} fields under {width} headings; quote a path that holds the separator.")

    def value(name: str) -> str:
        index = columns.get(name, width)
        return row[index].strip() if index < len(row) else ""

    if not value("path") or "\0" in value("path"):
        raise InputError(f"{where} no path.")
    series = value("series")
    if series and not (series.isascii() and series.isdigit() and len(series) < 10):
        raise InputError(f"{where} the series {brief(series)} is no number.")
    identifier = unicodedata.normalize("NFC", value("id"))
    if identifier:
        _require_id(where, identifier)
    return ListedCase(path.parent / value("path"), identifier, int(series) if series else None)


def _require_id(where: str, identifier: str) -> None:
    """An id names files: the mask, the picture and the record of its case."""
    odd = sorted({character for character in identifier if character in FORBIDDEN or not character.isprintable()})
    reason = ""
    if odd:
        reason = f"leave out {' '.join(map(repr, odd))}"
    elif identifier[0] in f".{FORMULA}" or identifier[-1] in ". ":
        reason = "begin and end it with a letter or digit"
    elif len(identifier) > LONGEST_ID:
        reason = f"give at most {LONGEST_ID} characters"
    if reason:
        raise InputError(f"{where} the id {brief(identifier, 40)!r} cannot name a file; {reason}.")
    if identifier.partition(".")[0].casefold() in NO_NAMES:
        raise InputError(f"{where} the id {identifier} is the name of a device on Windows; give another.")
