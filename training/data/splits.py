"""Training and validation patients: drawn once, recorded, and checked for scans that are in both."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

import numpy as np

from LiverGTANLib.core.files import atomic_write, read_json
from training.data.bank import LARGEST_META
from training.data.scans import Part, Scan
from training.errors import UserError, reason


def split(
    scans: list[Scan], validation_share: float, seed: int, recorded: dict[str, Part] | None = None
) -> dict[str, Part]:
    """Part of every scan by name. All scans of a patient get the same part.

    A recorded part comes first, then the data set's own, then a draw that depends on patient and seed alone, so that
    new patients do not move old ones. Unlabelled scans that nothing assigns are trained on.
    Raises UserError when record and data set put one patient into two parts.
    """
    recorded = recorded or {}
    patients: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        patients[scan.patient].append(scan)
    parts: dict[str, Part] = {}
    for patient, group in patients.items():
        known = {part for scan in group if (part := recorded.get(scan.name) or scan.part)}
        if len(known) > 1:
            names = ", ".join(scan.name for scan in group)
            raise UserError(
                f"Patient {patient} is in the parts {' and '.join(sorted(known))} ({names}); "
                "correct the record of the split."
            )
        decided = known.pop() if known else _draw(patient, group, validation_share, seed)
        parts.update({scan.name: decided for scan in group})
    return parts


def recorded(path: Path) -> dict[str, dict[str, Any]]:
    """What a record says of each scan; empty without one. Raises UserError for any other file."""
    if not path.exists():
        return {}
    try:
        scans = read_json(path, LARGEST_META)["scans"]
        if not all(is_entry(entry) for entry in scans.values()):
            raise ValueError("it names unknown parts, or paths and labels that are none")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a record of a split ({reason(error)}); delete it to draw a new one.") from None
    return scans


def is_entry(entry: dict[str, Any]) -> bool:
    """Whether these are the facts of a scan in a record."""
    liver, texts = entry.get("liver"), [entry["patient"], entry["ct"], entry.get("mask"), entry.get("content")]
    return (
        entry["part"] in get_args(Part)
        and all(isinstance(one, str) for one in texts if one is not None)
        and (liver is None or (isinstance(liver, list) and all(type(value) is int for value in liver)))
    )


def recorded_split(
    path: Path,
    scans: list[Scan],
    validation_share: float,
    seed: int,
    contents: dict[str, str] | None = None,
) -> dict[str, Part]:
    """`split`, recorded in a JSON file with patients and paths: a later run reads it and only adds new scans.

    contents: content hash by scan name.
    """
    before: dict[str, Part] = {name: entry["part"] for name, entry in recorded(path).items()}
    parts = split(scans, validation_share, seed, before)
    entries = {
        scan.name: {
            "part": parts[scan.name],
            "patient": scan.patient,
            "ct": str(Path(scan.ct).absolute()),
            "mask": str(Path(scan.mask).absolute()) if scan.mask else None,
            "liver": scan.liver,
            "content": (contents or {}).get(scan.name),
        }
        for scan in scans
    }
    content = {"seed": seed, "validation_share": validation_share, "scans": entries}
    with atomic_write(path) as file:
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return parts


def validation_scans(path: Path) -> list[tuple[Scan, str | None]]:
    """The labelled scans that a record sets aside for validation, each with the hash of its content if it is known."""
    return [
        (
            Scan(name, entry["patient"], Path(entry["ct"]), Path(entry["mask"]), _values(entry.get("liver"))),
            entry.get("content"),
        )
        for name, entry in recorded(path).items()
        if entry["part"] == "validation" and entry.get("mask")
    ]


def _values(liver: list[int] | None) -> tuple[int, ...] | None:
    return None if liver is None else tuple(liver)


def refuse_shared_content(hashes: dict[str, str], parts: dict[str, Part]) -> list[list[str]]:
    """Groups of names with the same content within one part (harmless); raises UserError for one across parts.

    hashes: content hash by scan name.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name, digest in sorted(hashes.items()):
        groups[digest].append(name)
    doubled = [names for names in groups.values() if len(names) > 1]
    across = [names for names in doubled if len({parts[name] for name in names}) > 1]
    if across:
        listed = "; ".join(" = ".join(f"{name} ({parts[name]})" for name in names) for names in across)
        raise UserError(
            f"The same scan lies in two parts of the split: {listed}. "
            "Remove one of each, or put them into the same part."
        )
    return doubled


def _draw(patient: str, group: list[Scan], validation_share: float, seed: int) -> Part:
    if not any(scan.labelled for scan in group):
        return "train"
    draw = np.random.default_rng([seed, *patient.encode()]).random()
    return "validation" if draw < validation_share else "train"
