"""A run over many CTs: here one after the other, or on the workers of a cluster; table and page at the end of each."""

import contextlib
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.engines.engine import Engine
from ...core.engines.factory import AUTOMATIC
from ...core.files import PARTIAL
from ...core.postprocess import PostprocessSettings
from ..outputs import require_own_report, require_writable
from . import PAGE, records
from .case_segmentation import CaseTask, request_of, segment_case
from .cases import MASK_SUFFIX, CohortCase, find_cases
from .dask_cluster import segment_on_cluster
from .edited_masks import current_record
from .lock import locked
from .page import write_page
from .plan import Plan, make_plan
from .records import DONE, EDITED, CaseRecord, read_records
from .table import TABLE, counted, require_own_table, rows_of, write_table
from .thumbnail import FOLDER as THUMBNAILS

MOST_NAMED = 3
"""Cases that a note names of those that it is about."""


@dataclass(frozen=True)
class CohortOptions:
    """inputs: see `cases.find_cases`. engine: asked for. cluster: see `dask_cluster`, empty for none."""

    inputs: list[Path]
    folder: Path
    settings: PostprocessSettings
    format: str = MASK_SUFFIX
    engine: str = AUTOMATIC
    cluster: str = ""
    report: Path | None = None


@dataclass(frozen=True)
class CohortResult:
    """Records of the cases of a run, in their order; those in `skipped` were done before."""

    cases: list[CaseRecord]
    skipped: int

    @property
    def edited(self) -> int:
        """How many masks were edited by hand, and were left as they are."""
        return sum(case.state == EDITED for case in self.cases)

    @property
    def without_liver(self) -> int:
        """How many masks are empty."""
        return sum(case.report.get("volume_ml") == 0 for case in self.cases)

    @property
    def reports(self) -> list[dict[str, Any]]:
        """One for each case, with its error where it has none."""
        return [case.report or {"input": case.input, "error": case.error} for case in self.cases]


def segment_cohort(options: CohortOptions, engine: Engine) -> CohortResult:
    """Segment what is not done yet. What one case lacks is said in its record and does not stop the others.

    Raises InputError before anything is changed when a file would be lost, the inputs are not clear or another run
    writes into the folder. An
    interruption, too, leaves whole masks, records, table and page of what was done till then.
    """
    folder = options.folder
    require_own_table(folder)
    cases, repeated = find_cases(options.inputs, folder)
    request = request_of(engine.student, options.settings)
    plan = make_plan(cases, folder, options.format, options.settings, request, options.engine)
    outputs = [*(folder / name for name in plan.order), folder / TABLE, folder / PAGE, options.report]
    require_writable(outputs, [case.path for case in cases])
    require_own_report(options.report)
    (folder / records.FOLDER).mkdir(parents=True, exist_ok=True)
    with locked(folder, folder / records.FOLDER):
        _announce(plan, options.format, repeated, _of_several_ids(cases))
        found = _follow(plan, options, engine)
    return CohortResult([found[name] for name in plan.order], len(plan.done))


def _follow(plan: Plan, options: CohortOptions, engine: Engine) -> dict[str, CaseRecord]:
    """Records of all cases of the plan by the names of their masks; table and page are written in any case."""
    folder, found = options.folder, dict(plan.done)
    _remove_partial_files(folder)
    for record in plan.moved:
        record.write(folder)
    try:
        with contextlib.closing(_work(plan.tasks, options, engine)) as work:
            for record in _with_progress(work, len(plan.tasks)):
                found[record.output] = record
    finally:
        _remove_partial_files(folder)
        _write_overview(folder, plan, found)
    _tell_of_edited(record for name, record in found.items() if name not in plan.done)
    return found


def _work(tasks: list[CaseTask], options: CohortOptions, engine: Engine) -> Generator[CaseRecord, None, None]:
    if options.cluster and tasks:
        yield from segment_on_cluster(options.cluster, tasks, engine)
    else:
        for task in tasks:
            yield segment_case(task, engine)


def _of_several_ids(cases: list[CohortCase]) -> list[str]:
    """Inputs that a list gives under several ids."""
    counts = Counter((case.input, case.series) for case in cases)
    return [path for (path, _), count in counts.items() if count > 1]


def _announce(plan: Plan, suffix: str, repeated: int, of_several_ids: list[str]) -> None:
    """Say on stderr what differs from a first run, or from a list that names each CT once."""
    if of_several_ids:
        inputs = counted(len(of_several_ids), "input has", "inputs have")
        _note(f"{inputs} several ids (the first: {of_several_ids[0]}), each of which counts as a case.")
    if repeated:
        _note(f"{counted(repeated, 'input was', 'inputs were')} given more than once; each is segmented once.")
    if plan.done:
        _note(f"{len(plan.done)} of {counted(len(plan.order), 'case is', 'cases are')} done already.")
    for reason, ids in plan.again.items():
        _note(f"{counted(len(ids), 'case is', 'cases are')} done again ({_first(ids)}): {reason}.")
    _tell_of_edited(plan.done.values())
    if other := [record.output for record in plan.done.values() if record.output != f"{record.id}{suffix}"]:
        _note(f"{_first(other)}: not written anew as {suffix}, for what was edited stays.")


def _tell_of_edited(found: Iterable[CaseRecord]) -> None:
    if edited := [record.id for record in found if record.state == EDITED]:
        masks = counted(len(edited), "mask was", "masks were")
        _note(
            f"{masks} edited by hand ({_first(edited)}): left as found, and the volume measured anew. "
            "Move or delete the file of a mask to have its CT segmented again."
        )


def _first(ids: list[str]) -> str:
    return ", ".join(ids[:MOST_NAMED]) + (", ..." if len(ids) > MOST_NAMED else "")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _remove_partial_files(folder: Path) -> None:
    """What a process that was ended in the middle of a write left: nobody writes here any more, or not yet."""
    for place in (folder, folder / records.FOLDER, folder / THUMBNAILS):
        for file in place.glob(f"{PARTIAL}*"):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


def _write_overview(folder: Path, plan: Plan, found: dict[str, CaseRecord]) -> None:
    """Table and page over all records of the folder: those of earlier runs first, then this run's in its order.

    Cases whose mask is gone, and those without a mask whose input is, are left out.
    """
    given, known = set(plan.order), {}
    for name, record in read_records(folder).items():
        if (folder / name).is_file() or (record.state != DONE and (name in given or Path(record.input).exists())):
            known[name] = current_record(record, folder)
    known |= found
    earlier = [name for name in known if name not in given]
    order = [*earlier, *(name for name in plan.order if name in known)]
    rows = rows_of([known[name] for name in order], folder, set(earlier))
    write_table(folder, rows)
    write_page(folder, rows)


def _with_progress(items: Iterable[CaseRecord], count: int) -> Iterator[CaseRecord]:
    """The items, with a bar on stderr when that is a terminal."""
    done = 0
    _show_progress(done, count)
    for item in items:
        done += 1
        _show_progress(done, count)
        yield item
    if count and sys.stderr.isatty():
        print(file=sys.stderr)


def _show_progress(done: int, count: int) -> None:
    if count and sys.stderr.isatty():
        filled = 30 * done // count
        print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{count}", end="", file=sys.stderr, flush=True)
