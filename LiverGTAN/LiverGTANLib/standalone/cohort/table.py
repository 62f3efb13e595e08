"""One table over all cases of a folder, and which of their volumes stand out."""

import contextlib
import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ...core.files import atomic_write
from ...core.volume import InputError
from .case_list import FORMULA
from .records import DONE, EDITED, STARTED, CaseRecord

TABLE = "volumes.csv"
RANGE = ("volume_low_ml", "volume_high_ml")
COLUMNS = ("id", "input", "output", "volume_ml", *RANGE, "volume_z", "seconds", "notes", "warnings", "error")
FORMER_COLUMNS = ("id", "input", "output", "volume_ml", "volume_z", "seconds", "warnings", "error")
"""Of tables that earlier versions wrote: the next run replaces them."""

LARGEST_TABLE = 2**26
"""Bytes; a row has some hundreds."""

FEWEST_VOLUMES = 5
"""Of fewer volumes none is called unusual. Chosen."""

LEAST_SD = 0.04
"""Least standard deviation of the logarithms: the bundled students' volumes of the held-out CTs are off by up to 4 %
(MODEL_CARD.md), so that smaller differences say nothing, however alike a few volumes are."""

OUTLIER_Z = 3.5
"""Modified z-scores beyond are outliers (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""

INTERRUPTED = "Interrupted; the same command goes on."
BY_HAND = "Edited by hand and left as it is; the volume is measured from the mask as it is now."
EARLIER = "Not among the inputs of the last command."
NO_RANGE = "Segmented by an earlier version, without a range of the volume; delete the mask to have it done again."
AS_CSV: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
"""How the table is opened; names of files may hold bytes that are no text."""

Row = dict[str, Any]


def rows_of(cases: list[CaseRecord], folder: Path, earlier: Collection[str] = ()) -> list[Row]:
    """A row for each case. notes and warnings: lists of sentences; error: empty without one; None is an empty cell.

    earlier: names of the masks of cases that the last command did not name. Beside `COLUMNS` a row says whether it is
    `earlier` and whether its mask was `edited`.
    """
    scores = volume_scores([_report(case).get("volume_ml") for case in cases])
    return [_row(case, score, folder, case.output in earlier) for case, score in zip(cases, scores)]


def _report(case: CaseRecord) -> dict[str, Any]:
    return case.report if case.state in (DONE, EDITED) else {}


def range_of(report: dict[str, Any]) -> tuple[float, float] | tuple[None, None]:
    """The ends of the volume in mL; None where no network gave them: without a liver, and for an edited mask."""
    low, high = report.get("volume_range_ml") or (None, None)
    return low, high


def _row(case: CaseRecord, score: float | None, folder: Path, earlier: bool) -> Row:
    report, edited = _report(case), case.state == EDITED
    lacks_range = case.state == DONE and "volume_range_ml" not in report
    said = [EARLIER] * earlier + [BY_HAND] * (edited and not case.error)
    return {
        "earlier": earlier,
        "edited": edited,
        "id": case.id,
        "input": case.input,
        "output": case.output if report or (folder / case.output).is_file() else "",
        "volume_ml": report.get("volume_ml"),
        **dict(zip(RANGE, range_of(report))),
        "volume_z": score,
        "seconds": round(sum(report["seconds"].values()), 3) if report and not edited else None,
        "notes": report.get("notes", []) + [NO_RANGE] * lacks_range,
        "warnings": said + report.get("warnings", []),
        "error": INTERRUPTED if case.state == STARTED else case.error,
    }


def counted(number: int, one: str, many: str) -> str:
    """A number with what is counted."""
    return f"{number} {one if number == 1 else many}"


def volume_scores(volumes_ml: list[float | None]) -> list[float | None]:
    """How far each volume lies from the others: modified z-scores of the logarithm; None without liver or for a few.

    Distances from the median in units of 1.4826 times their median, or of 1.2533 times their mean where more than half
    of the volumes are alike (Iglewicz and Hoaglin 1993), but of `LEAST_SD` at least.
    """
    found: list[float | None] = [None] * len(volumes_ml)
    places = [index for index, volume in enumerate(volumes_ml) if volume]
    if len(places) < FEWEST_VOLUMES:
        return found
    logarithms = np.log([float(volumes_ml[index] or 0) for index in places])
    apart = logarithms - np.median(logarithms)
    scale = 1.4826 * np.median(np.abs(apart)) or 1.2533 * np.mean(np.abs(apart))
    for index, score in zip(places, apart / max(scale, LEAST_SD)):
        found[index] = round(float(score), 2)
    return found


def require_own_table(folder: Path) -> None:
    """Raise InputError when a table of this name is someone else's."""
    table = folder / TABLE
    if not table.exists():
        return
    names: list[str] = []
    if table.is_file() and table.stat().st_size <= LARGEST_TABLE:
        with contextlib.suppress(UnicodeDecodeError, csv.Error), table.open(**AS_CSV) as stream:
            names = next(csv.reader(stream), [])
    if tuple(names) not in (COLUMNS, FORMER_COLUMNS):
        raise InputError(f"{table} was not written by this program and would be lost; move it, or give another folder.")


def write_table(folder: Path, rows: list[Row]) -> None:
    """Raises OSError with a sentence."""
    with atomic_write(folder / TABLE) as temporary, temporary.open("w", **AS_CSV) as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            sentences = {name: _text(" ".join(row[name])) for name in ("notes", "warnings")}
            writer.writerow({**row, **sentences, "error": _text(row["error"])})


def _text(sentence: str) -> str:
    """A sentence that a spreadsheet takes for no formula, whatever name it begins with; ids never look like one."""
    return f"'{sentence}" if sentence.startswith(tuple(FORMULA)) else sentence
