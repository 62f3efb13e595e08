"""The table of labels in a `dataset.json`: which values of a mask are liver, which are not, which are undecided.

Two forms are read: MSD and nnU-Net v1 have {"1": "liver"}, nnU-Net v2 {"liver": 1}, with lists of values for regions.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import UserError

logger = logging.getLogger(__name__)

LESION = r"(tumou?rs?|cancers?|lesions?|metastas[ei]s|hcc)"
WHOLE_LIVER_NAME = re.compile(rf"((whole|entire|total) )?liver( whole)?( (and|with|including) {LESION})?")
"""Vessels, segments and lobes are parts: a network that learns one of them for the liver learns holes."""
LIVER_LESION_NAME = re.compile(rf"(liver|hepatic) {LESION}")
BARE_LESION_NAME = re.compile(LESION)
"""Of the liver where no other organ is named, as "cancer" in MSD Task03; beside a kidney it may be the kidney's."""
BACKGROUND, IGNORE = "background", "ignore"


@dataclass(frozen=True)
class LabelTable:
    """liver: values that are liver. known: all values that a mask may hold. ignore: nnU-Net's undecided voxels."""

    liver: tuple[int, ...]
    known: tuple[int, ...]
    ignore: int | None = None


def label_table(labels: Any, file: Path) -> LabelTable:
    """What the table of labels in a file says. Names that were not taken for liver, but sound like it, are logged.

    Raises UserError when it is not a table of labels, or does not name the whole liver.
    """
    names = _values_by_name(labels, file)
    liver = [name for name in names if WHOLE_LIVER_NAME.fullmatch(_plain(name))]
    if not liver:
        raise UserError(
            f"{file} does not name the whole liver among its labels ({', '.join(names) or 'none'}): give a data set "
            'with a label "liver", or a region of that name.'
        )
    lesions = [name for name in names if _is_liver_lesion(name, list(names))]
    parts = [name for name in names if "liver" in name.lower() and name not in (*liver, *lesions)]
    left = parts + [name for name in names if BARE_LESION_NAME.fullmatch(_plain(name)) and name not in lesions]
    if left:
        logger.warning("%s: not taken for liver: %s; taken: %s.", file, ", ".join(left), ", ".join(liver + lesions))
    ignore = next((values[0] for name, values in names.items() if _plain(name) == IGNORE), None)
    taken = {value for name in liver + lesions for value in names[name]} - {0}
    known = {0} | {value for values in names.values() for value in values}
    return LabelTable(tuple(sorted(taken)), tuple(sorted(known)), ignore)


def _is_liver_lesion(name: str, names: list[str]) -> bool:
    if LIVER_LESION_NAME.fullmatch(_plain(name)):
        return True
    others = [
        other
        for other in map(_plain, names)
        if other not in (BACKGROUND, IGNORE) and "liver" not in other and not re.search(LESION, other)
    ]
    return bool(BARE_LESION_NAME.fullmatch(_plain(name))) and not others


def _values_by_name(labels: Any, file: Path) -> dict[str, tuple[int, ...]]:
    """Values of each name in either form of the table. Raises UserError for anything else."""
    if not isinstance(labels, dict) or not labels:
        raise UserError(f'{file} has no table "labels" of names and values; it belongs to this layout.')
    found: dict[str, tuple[int, ...]] = {}
    for key, entry in labels.items():
        older = isinstance(entry, str) and key.strip().isdecimal()
        name, values = (entry, [key]) if older else (key, entry if isinstance(entry, list) else [entry])
        values = [int(value) if isinstance(value, str) and value.strip().isdecimal() else value for value in values]
        if not all(type(value) is int and value >= 0 for value in values):
            raise UserError(f"{file}: the label {key!r} has the value {entry!r}, which is not a whole number.")
        found[name] = (*found.get(name, ()), *values)
    return found


def _plain(name: str) -> str:
    """A name in small letters with single spaces: "Liver_Tumor" and "liver tumor" are the same."""
    return re.sub(r"[\s_.\-]+", " ", name.lower()).strip()
