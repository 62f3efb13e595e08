"""Several CT files into one folder: a mask for each, and a table of volumes and errors."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.engines.engine import Engine
from ..core.files import atomic_write
from ..core.postprocess import MaskParameters
from .errors import EXPECTED, sentence
from .file_segmentation import segment_file
from .image_files import stem_of, write_mask

TABLE = "volumes.csv"


def segment_files(
    inputs: list[Path], folder: Path, engine: Engine, parameters: MaskParameters
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the masks and the table; a bad input does not stop the others.

    Returns (row of the table, report) of every input in order; the error of a row is empty where there was none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, reports = [], []
    for path, target in _with_progress(list(zip(inputs, targets(inputs, folder)))):
        row = {"input": str(path), "output": "", "volume_ml": "", "seconds": "", "error": ""}
        try:
            result = segment_file(path, engine, parameters)
            write_mask(target, result.mask, result.ct)
            seconds = round(sum(result.report["seconds"].values()), 3)
            row.update(output=target.name, volume_ml=result.report["volume_ml"], seconds=seconds)
            reports.append(result.report)
        except EXPECTED as error:
            row["error"] = sentence(error)
            reports.append({"input": str(path), "error": row["error"]})
        rows.append(row)
    _write_table(folder / TABLE, rows)
    return rows, reports


def targets(inputs: list[Path], folder: Path) -> list[Path]:
    """One file name for each input; inputs of the same name are told apart by a number."""
    seen: dict[str, int] = {}
    paths = []
    for path in inputs:
        stem = stem_of(path.resolve())
        seen[stem] = seen.get(stem, 0) + 1
        number = f"-{seen[stem]}" if seen[stem] > 1 else ""
        paths.append(folder / f"{stem}{number}.seg.nrrd")
    return paths


def _with_progress(items: list) -> Iterator:
    """The items, with a bar on stderr when that is a terminal."""
    for done, item in enumerate(items):
        if sys.stderr.isatty():
            filled = 30 * done // len(items)
            print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{len(items)}", end="", file=sys.stderr, flush=True)
        yield item
    if sys.stderr.isatty():
        print(f"\r[{'#' * 30}] {len(items)}/{len(items)}", file=sys.stderr)


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
