"""One case from its files to mask, picture and record, in any process that sees input and output."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.engines.engine import Engine
from ...core.postprocess import MaskParameters, PostprocessSettings
from ...core.volume import InputError
from ...core.weight_file import Student
from ..errors import EXPECTED, sentence
from ..file_segmentation import read_file, segment_file
from ..image_files import CtFile, require_output_suffix, write_mask
from ..outputs import require_unprotected
from . import records
from .cases import CohortCase
from .edited_masks import current_record
from .records import DONE, EDITED, FAILED, STARTED, CaseRecord
from .thumbnail import FOLDER as THUMBNAILS
from .thumbnail import SUFFIX, save_thumbnail

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseTask:
    """What is to be done with one case. before: its record of an earlier run. output: name of the mask."""

    case: CohortCase
    id: str
    output: str
    folder: Path
    settings: PostprocessSettings
    request: dict[str, Any]
    before: CaseRecord | None = None

    @property
    def target(self) -> Path:
        """File of the mask."""
        return self.folder / self.output

    @property
    def written(self) -> str | None:
        """Digest of the mask that an earlier run wrote, empty where there is no mask; see `CaseRecord.mask`."""
        if self.before is None:
            return ""  # what is there now came while the run went on
        digest = self.before.mask
        return "" if digest is None and not self.target.exists() else digest

    @property
    def edited(self) -> CaseRecord | None:
        """The record of a mask that the user edited or put there since it was planned to write it; None without."""
        now = current_record(self.before or self.record(STARTED, mask=""), self.folder)
        return now if now.state == EDITED else None

    def record(self, state: str, **values: Any) -> CaseRecord:
        """The case's record in this state."""
        return CaseRecord(self.output, self.id, self.case.input, self.case.series, state, self.request, **values)


def request_of(student: Student, settings: PostprocessSettings) -> dict[str, Any]:
    """All that decides on the mask of a CT; engines differ by rounding alone."""
    return {"student": student.name, "weights": student.sha256, **vars(settings)}


def segment_case(task: CaseTask, engine: Engine) -> CaseRecord:
    """Write mask, picture and record; whatever fails is said in the record, which is returned too.

    The record is there before the mask: what is found without its end was interrupted, and is done again. A mask that
    was edited since the run began is the user's, and so is one that was put there: it stays.
    """
    if not (task.folder / records.FOLDER).is_dir():  # the run made it: this is another disk, and results would be lost
        return failed(
            task, f"The computer of this worker has no folder {task.folder}; give one that all workers share."
        )
    written = task.written
    try:
        now = task.edited
        if now and task.before:
            return now
        if not now:
            require_unprotected([task.target])
        task.record(STARTED, mask=written).write(task.folder)
        record = now or _segment(task, engine)
    except EXPECTED as error:
        record = failed(task, sentence(error), written)
    except Exception as error:  # one CT must not end the run of all others
        logger.exception("%s could not be segmented.", task.case.input)
        record = failed(task, f"unexpected {type(error).__name__} ({error}); please report it", written)
    if record.state == EDITED:
        return record
    try:
        record.write(task.folder)
    except OSError as error:
        logger.warning("%s", error)
        record = replace(record, state=FAILED, error=record.error or sentence(error))
    return record


def failed(task: CaseTask, reason: str, mask: str | None = None) -> CaseRecord:
    """mask: digest of the one that is still there."""
    left = " The mask of an earlier run was left as it is." if task.target.exists() else ""
    return task.record(FAILED, error=reason + left, mask=mask)


def _segment(task: CaseTask, engine: Engine) -> CaseRecord:
    path = Path(task.case.input)
    if task.case.error:
        raise InputError(task.case.error)
    before = records.listing_of(path, [], task.folder) if path.exists() else ""
    source, seconds = read_file(path, task.case.series)
    require_output_suffix(task.target, source.images is not None)
    _require_no_input(task, source)
    state = records.state_of(path, source, task.folder)
    result = segment_file(path, source, seconds, engine, MaskParameters(task.settings))
    now = [records.listing_of(path, companions, task.folder) for companions in ([], state.companions)]
    if now != [before, state.listing]:
        raise InputError(f"{path} changed while it was read; segment it again when it is complete.")
    report = result.report
    try:
        save_thumbnail(task.folder / THUMBNAILS / f"{task.output}{SUFFIX}", source.ct, result.mask)
    except OSError as error:
        logger.warning("%s", error)
        report = {**report, "notes": [*report["notes"], f"The page lacks its picture: {sentence(error)}"]}
    if edited := task.edited:
        return edited
    task.record(STARTED).write(task.folder)  # from here on the mask may be another than that of the earlier run
    said = write_mask(task.target, result.mask, source, engine.student)
    report = {**report, "notes": [*report["notes"], *said]}
    return task.record(DONE, input_state=state, mask=records.digest([task.target]), report=report)


def _require_no_input(task: CaseTask, source: CtFile) -> None:
    if task.target.exists() and any(task.target.samefile(file) for file in source.files if file.exists()):
        raise InputError(f"{task.target} is an input; it would be overwritten: give another folder.")
