"""What a run has to do: a name for each case that stays the same in later runs, and what is done already."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.engines.factory import AUTOMATIC
from ...core.postprocess import PostprocessSettings
from ...core.volume import InputError
from ..image_files import stem_of
from .case_list import FORMULA
from .case_segmentation import CaseTask
from .cases import CohortCase
from .edited_masks import current_record
from .records import DONE, EDITED, STARTED, CaseRecord, changes, is_unchanged, read_records

LONGEST_NAME = 150
"""Bytes of a name that is made from a file's; a name has 255 at most, and a record's is the longest."""


@dataclass(frozen=True)
class Plan:
    """tasks: to be done, those that a former run was interrupted at last of all: they may have ended it. done: records
    of cases that need nothing, or whose masks were edited, by name of the mask. moved: records to be written of those
    whose input lies elsewhere now. again: reason -> ids of cases that are done again. order: names of the masks of all
    cases as they were given.
    """

    tasks: list[CaseTask]
    done: dict[str, CaseRecord]
    moved: list[CaseRecord]
    again: dict[str, list[str]]
    order: list[str]


def make_plan(
    cases: list[CohortCase],
    folder: Path,
    suffix: str,
    settings: PostprocessSettings,
    request: dict[str, Any],
    engine: str = AUTOMATIC,
) -> Plan:
    """engine: done cases count as done with this one alone, or with any. Raises InputError before anything is changed
    when a mask would take the place of a file that this program did not write.
    """
    known = read_records(folder)
    names = name_cases(cases, known.values(), folder, suffix)
    edited = _edited_in_another_format(known.values(), folder, suffix)
    tasks = [
        CaseTask(case, name, output, folder, settings, request, known.get(output))
        for case, name in zip(cases, names)
        for output in [edited.get((case.input, case.series, name), f"{name}{suffix}")]
    ]
    _require_replaceable(tasks)
    done: dict[str, CaseRecord] = {}
    moved = []
    again = defaultdict(list)
    for task in tasks:
        if task.before is None:
            continue
        record = replace(task.before, input=task.case.input)
        now = current_record(record, folder)
        if now.state != EDITED and (reason := _reason(task, engine)):
            again[reason].append(task.id)
            continue
        done[task.output] = now
        if task.before.input != task.case.input:
            moved.append(record)
    todo = sorted((task for task in tasks if task.output not in done), key=_was_interrupted)
    return Plan(todo, done, moved, dict(again), [task.output for task in tasks])


def _edited_in_another_format(
    known: Iterable[CaseRecord], folder: Path, suffix: str
) -> dict[tuple[str, int | None, str], str]:
    """(input, series, id) -> mask that was edited, of cases whose masks have another format than is asked for now: the
    edited one is the case's mask still, and no second one is written beside it."""
    return {
        (record.input, record.series, record.id): record.output
        for record in known
        if record.output != f"{record.id}{suffix}" and current_record(record, folder).state == EDITED
    }


def _was_interrupted(task: CaseTask) -> bool:
    return task.before is not None and task.before.state == STARTED


def name_cases(cases: list[CohortCase], known: Iterable[CaseRecord], folder: Path, suffix: str) -> list[str]:
    """A name for each case, no two alike even where capitals do not count.

    It is the id that a list gives; or else the name of the case in the records of earlier runs, those in the format
    that is asked for first; or else that of its file, with a number where another case has it. Where an input was moved
    to, it is known by its content.
    """
    records = sorted(known, key=lambda record: record.output == f"{record.id}{suffix}")
    earlier = {(record.input, record.series): record.id for record in records}
    here = {(case.input, case.series) for case in cases}
    taken: dict[str, CaseRecord | None] = {}
    for record in records:
        held = _holds_name(record, here) or taken.get(record.id.casefold(), record) is None
        taken[record.id.casefold()] = None if held else record
    taken |= {case.id.casefold(): None for case in cases if case.id}
    found = []
    for case in cases:
        name = case.id or earlier.get((case.input, case.series), "") or _free_name(case, taken, folder)
        taken[name.casefold()] = None
        found.append(name)
    return found


def _holds_name(record: CaseRecord, here: set[tuple[str, int | None]]) -> bool:
    return (record.input, record.series) in here or Path(record.input).exists()


def _free_name(case: CohortCase, taken: dict[str, CaseRecord | None], folder: Path) -> str:
    """taken: names in small letters, with the record of an input that is gone, which this case may be."""
    stem = stem_of(Path(case.input)).lstrip(FORMULA)  # as of ids in a list; `-ct` looks like an option, too
    if stem.upper() == "DICOMDIR":
        stem = Path(case.input).parent.name
    while len(stem.encode(errors="surrogateescape")) > LONGEST_NAME:
        stem = stem[:-1]
    stem, number = stem or "scan", 1
    name = stem
    while name.casefold() in taken and not _was_moved(case, taken[name.casefold()], folder):
        number += 1
        name = f"{stem}-{number}"
    return name


def _was_moved(case: CohortCase, record: CaseRecord | None, folder: Path) -> bool:
    """Whether a record of an input that is gone may be this case's: it has the same content, or no mask to lose."""
    if record is None:
        return False
    if not (folder / record.output).exists():
        return True
    state = record.input_state
    return state is not None and record.series == case.series and is_unchanged(Path(case.input), state, folder)


def _require_replaceable(tasks: list[CaseTask]) -> None:
    """Masks that no earlier run wrote may have been drawn by hand."""
    unknown = [task.target for task in tasks if task.before is None and task.target.exists()]
    if unknown:
        raise InputError(
            f"{unknown[0]} exists and is not listed in the records of earlier runs ({len(unknown)} such files): it "
            "would be lost; move it, or give another folder."
        )


def _reason(task: CaseTask, engine: str) -> str:
    """Why a case that has a record is done again; empty when it is done, or new."""
    before = task.before
    if before is None:
        return ""
    if before.state != DONE or before.input_state is None:
        return "interrupted" if before.state == STARTED else "failed before"
    if changed := changes(before.request, task.request):
        return changed
    if engine not in (AUTOMATIC, before.report.get("engine")):
        return f"engine {before.report.get('engine')} is now {engine}"
    if not task.target.is_file():
        return "the mask is gone"
    if before.series != task.case.series or not is_unchanged(Path(task.case.input), before.input_state, task.folder):
        return "the input changed"
    return ""
