"""Cases that a network was trained on: figures on them say nothing of scans that it has not seen."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from LiverGTANLib.core import weight_file
from training.data.cases import Case
from training.data.scans import content_hash
from training.errors import UserError, reason
from training.evaluation.card_parts import whole
from training.evaluation.evaluate import checkpoint_file, require_student
from training.evaluation.training_history import entries
from training.fit import checkpoint
from training.release import provenance, student_card

logger = logging.getLogger(__name__)

BY_CONTENT = "the network was trained on this CT{there}: its figures say nothing of unseen scans"
BY_NAME = (
    "the network was trained on a CT of this name: unless that is another scan, its figures say nothing of unseen ones"
)
OTHER_VOXELS = (
    "the network was trained on a CT of this name with other voxels: if it is the same scan (resampled, clipped, "
    "cropped), its figures say nothing of unseen ones"
)
NOT_KNOWN = "What %s was trained on is not known (%s): make sure that the cases are none of that."


def trained_on(source: str, cases: list[Case]) -> dict[str, str]:
    """Name -> sentence, of each case that the network was trained on, or that was a teacher's or a start's.

    A CT is known by its HU; where only its name is known, or the HU of that name are others, the sentence says so.
    Where the history of the network is not known, that is logged. source: what `evaluate` takes; of a folder of masks
    nobody says who made them.
    """
    if Path(source).is_dir():
        return {}
    by_name, by_content = _known(source)
    found = {}
    for case in cases if by_name else ():
        content = content_hash(case.ct)[: provenance.CONTENT_DIGITS]
        if content in by_content:
            there = by_content[content]
            found[case.name] = BY_CONTENT.format(there="" if there == case.name else f" (there as {there})")
        elif case.name in by_name:
            found[case.name] = OTHER_VOXELS if by_name[case.name] else BY_NAME
    return found


def _known(source: str) -> tuple[dict[str, bool], dict[str, str]]:
    """Name -> whether its HU are known, and content -> name, of all that a network was trained on."""
    file = checkpoint_file(source)
    card: dict[str, Any] = {}
    if file:
        checkpoint.read(file)  # raises the error of what is none
    else:
        require_student(source)
        card = weight_file.load(source).card
    try:
        training = student_card.recorded(file) if file else whole(card).get("training", {})
        if "data" not in training:
            raise ValueError("nothing is recorded")
        return _sorted(entries(training))
    except (UserError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # cards can be edited
        logger.warning(NOT_KNOWN, source, reason(error))
        return {}, {}


def _sorted(data: Iterable[dict[str, Any]]) -> tuple[dict[str, bool], dict[str, str]]:
    by_name: dict[str, bool] = {}
    by_content: dict[str, str] = {}
    for entry in data:
        contents = provenance.contents_of(entry)
        by_name[entry["name"]] = bool(contents) and by_name.get(entry["name"], True)
        by_content |= dict.fromkeys(contents, entry["name"])
    return by_name, by_content
