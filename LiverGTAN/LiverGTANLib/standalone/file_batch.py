"""Several CT files into one folder: a mask for each, and a table of volumes and errors."""

import contextlib
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.engines.engine import Engine
from ..core.files import atomic_write, real_path
from ..core.postprocess import MaskParameters
from ..core.volume import InputError
from .errors import EXPECTED, sentence
from .file_segmentation import read_file, segment_file
from .image_files import require_output_suffix, stem_of, write_mask

TABLE = "volumes.csv"
COLUMNS = ("input", "output", "volume_ml", "seconds", "warnings", "error")
LARGEST_TABLE = 2**26
"""Bytes; a row has some hundreds."""

MASK_SUFFIX = ".seg.nrrd"
Row = dict[str, Any]
AS_CSV: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
"""How the table is opened; names of files may hold bytes that are no text."""


def segment_files(
    inputs: list[Path], masks: list[Path], engine: Engine, parameters: MaskParameters
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Write the masks (see `targets`) and a table beside them; what cannot be read or written does not stop the others.

    Returns (row of the table, report) of every input in order; the error of a row is empty where there was none.
    Raises InputError before anything is computed when a file would be lost.
    """
    folder = masks[0].parent
    table = folder / TABLE
    earlier = read_rows(table)
    _require_replaceable(masks, earlier)
    folder.mkdir(parents=True, exist_ok=True)
    done = [_segment(path, target, engine, parameters) for path, target in _with_progress(list(zip(inputs, masks)))]
    rows, reports = [row for row, _ in done], [report for _, report in done]
    _write_table(table, rows, earlier)
    return rows, reports


def targets(inputs: list[Path], folder: Path, suffix: str = MASK_SUFFIX) -> list[Path]:
    """One mask for each input, no two alike, even where capitals do not count: later ones get a number."""
    taken: set[str] = set()
    found = []
    for path in inputs:
        stem = stem_of(real_path(path)) or "scan"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        found.append(folder / f"{name}{suffix}")
    return found


def read_rows(table: Path) -> list[Row]:
    """Rows that an earlier batch wrote, none without a table. Raises InputError when it is someone else's."""
    if not table.exists():
        return []
    rows: list[Row] = []
    names: set[str] = set()
    if table.stat().st_size <= LARGEST_TABLE:
        with contextlib.suppress(UnicodeDecodeError, csv.Error), table.open(**AS_CSV) as stream:
            reader = csv.DictReader(stream)
            rows, names = list(reader), set(reader.fieldnames or ())
    if not {"input", "output"} <= names <= set(COLUMNS):
        raise InputError(f"{table} was not written by this program and would be lost; move it, or give another folder.")
    return rows


def _require_replaceable(masks: list[Path], earlier: list[Row]) -> None:
    """Masks that no earlier batch wrote may have been drawn by hand."""
    known = {row["output"] for row in earlier}
    unknown = [mask for mask in masks if mask.exists() and mask.name not in known]
    if unknown:
        raise InputError(
            f"{unknown[0]} exists and is not listed in {TABLE} ({len(unknown)} such files): it would be lost; move it, "
            "or give another folder."
        )


def _segment(path: Path, target: Path, engine: Engine, parameters: MaskParameters) -> tuple[Row, dict[str, Any]]:
    """The row of one input, and its report."""
    try:
        source, seconds = read_file(path)
        require_output_suffix(target, source.images is not None)
        result = segment_file(path, source, seconds, engine, parameters)
        write_mask(target, result.mask, source, engine.student)
    except EXPECTED as error:
        kept = " The mask of an earlier batch was left as it is." if target.exists() else ""
        row = {"input": str(path), "output": target.name if kept else "", "error": sentence(error) + kept}
        return row, {"input": str(path), "error": row["error"]}
    row = {
        "input": str(path),
        "output": target.name,
        "volume_ml": result.report["volume_ml"],
        "seconds": round(sum(result.report["seconds"].values()), 3),
        "warnings": " ".join(result.report["notes"] + result.report["warnings"]),
        "error": "",
    }
    return row, result.report


def _write_table(table: Path, rows: list[Row], earlier: list[Row]) -> None:
    """Write the table; rows of earlier batches stay, apart from replaced masks and errors that were tried again."""
    inputs, masks = {row["input"] for row in rows}, {row["output"] for row in rows}
    others = [row for row in earlier if row["output"] not in masks and (row["output"] or row["input"] not in inputs)]
    with atomic_write(table) as temporary, temporary.open("w", **AS_CSV) as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(others + rows)


def _with_progress(items: list) -> Iterator:
    """The items, with a bar on stderr when that is a terminal."""
    for done, item in enumerate(items):
        if sys.stderr.isatty():
            filled = 30 * done // len(items)
            print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{len(items)}", end="", file=sys.stderr, flush=True)
        yield item
    if sys.stderr.isatty():
        print(f"\r[{'#' * 30}] {len(items)}/{len(items)}", file=sys.stderr)
