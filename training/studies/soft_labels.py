"""Soft labels of a scan bank, from teachers on its own, finer grid: students of coarser cells learn from them.

The teachers see each scan as it is, whole and in eight positions of the grid, and the students views of it with
disease, noise and cuts: the answers are taken once, so a step costs no more than one on labels. After the distillation
of soft targets (Hinton et al. 2015, at temperature 1) and the noisy student (Xie et al. 2020).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from LiverGTANLib.core.files import atomic_write
from LiverGTANLib.core.volume import AIR
from LiverGTANLib.core.weight_file import Student
from training import command_line
from training.code_version import commit
from training.data import scan_bank
from training.data.scan_bank import ScanBank, ScanToStore
from training.errors import UserError
from training.evaluation import evaluate, picture
from training.fit import checkpoint, network_file
from training.options import Soften
from training.studies.pseudolabels import ShiftAveragedEngine

SURE = 0.02
"""Probabilities so close to 0 or 1 count as such: whatever is above 0 is weighed as the surroundings of a liver."""

EVERY = (slice(None, None, 2),) * 3
"""Voxels of the picture."""
Column = tuple[str, np.ndarray, np.ndarray]
"""Name, image and liver fraction of a scan in the picture."""


def soften(options: Soften, report: Callable[[str], None] = print) -> ScanBank:
    """Writes the scan bank with soft labels, the record of who was set aside for validation, and a picture of scans
    without label, and returns the bank; one line a scan.

    Raises UserError for no teacher, one of another grid or unknown scans, BankError where something is at the output.
    """
    if not options.teacher:
        raise UserError("Name at least one teacher: a checkpoint, or a network that `keep` wrote.")
    bank, teachers = ScanBank(options.scans), [evaluate.model(path) for path in options.teacher]
    for path, teacher in zip(options.teacher, teachers, strict=True):
        require_grid(path, teacher, bank)
    names = [record.name for record in bank.records]
    unknown = sorted(set(options.unsure) - set(names))
    if unknown:
        raise UserError(f"--unsure names {', '.join(unknown)}; the scans are {', '.join(names)}.")
    about = {name: value for name, value in bank.about.items() if name not in ("scans", "format", "axes")} | {
        "git": commit(),
        "soft_labels": {
            "teachers": [teacher_record(path, one) for path, one in zip(options.teacher, teachers, strict=True)],
            "share": options.share,
            "unsure": list(options.unsure),
            "scans_sha256": bank.digest(),
            "command": command_line.command("soften", options),
        },
    }
    engines, columns = [ShiftAveragedEngine(teacher) for teacher in teachers], list[Column]()
    written = scan_bank.write(options.output, softened(bank, engines, options, columns, report), about)
    if (aside := scan_bank.split_record(options.scans)).exists():
        with atomic_write(scan_bank.split_record(options.output)) as part:
            shutil.copyfile(aside, part)
    report(f"{options.output}: soft labels for `fit student --scans`.")  # also where there is no room for the picture
    if columns:
        sheet = options.output.with_name(f"{options.output.name}.png")
        picture.sheet(columns, sheet)
        report(f"Look at {sheet}, and name in --unsure what is wrong there.")
    return written


def teacher_record(path: str, teacher: Student) -> dict[str, Any]:
    """What a card says of a teacher: widths and digest of the weights, and its training if `keep` stored it."""
    known = checkpoint.read(Path(path)).get("training", {}) if path.endswith(network_file.SUFFIX) else {}
    return {"widths": list(teacher.widths), "weights_sha256": teacher.card["sha256"]} | known


def require_grid(path: str, teacher: Student, bank: ScanBank) -> None:
    """Raises UserError for a teacher of other cells or another HU window than the scans have."""
    ours = (bank.spacing_mm, *bank.hu_window)
    theirs = tuple(map(float, (teacher.spacing_mm, *teacher.hu_window)))
    if ours != theirs:
        cells, low, high = theirs
        raise UserError(
            f"The teacher {path} was trained on cells of {cells:g} mm from {low:g} to {high:g} HU, and {bank.path} has "
            f"cells of {ours[0]:g} mm from {ours[1]:g} to {ours[2]:g} HU; pack the scans on its grid (--fine-mm)."
        )


def softened(
    bank: ScanBank,
    engines: list[ShiftAveragedEngine],
    options: Soften,
    columns: list[Column],
    report: Callable[[str], None],
) -> Iterator[ScanToStore]:
    """The scans one by one, so that one is in memory; columns: gets a sketch of each without label, for the picture."""
    for number, record in enumerate(bank.records):
        image, label = bank.arrays(number)
        if record.name in options.unsure:
            report(f"{record.name}: as it was")
            soft = label
        else:
            found = mean_probability(image, engines)
            report(f"{record.name}: {change(found, label, bank.spacing_mm)}")
            if label is None:
                columns.append((record.name, scaled(image[EVERY]), found[EVERY].copy()))
            known, share = (0, 1) if label is None else (label.astype(np.float32) / 255, options.share)
            soft = np.round(255 * (share * found + (1 - share) * known)).astype(np.uint8)
        hu = scan_bank.hu_of(image, bank.hu_window)
        yield ScanToStore(record.name, record.patient, record.weight, record.content, hu, soft)


def change(found: np.ndarray, label_u8: np.ndarray | None, spacing_mm: float) -> str:
    """The volume that teachers find where there is no label, else how much of it they see elsewhere."""
    if label_u8 is None:
        return f"{found.sum() * spacing_mm**3 / 1000:.0f} mL"
    known = label_u8.astype(np.float32) / 255
    share = np.abs(found - known).sum() / max(known.sum(), 1)
    return f"the teachers' answer and the label differ in {share:.1%} of the label's volume"


def scaled(image_u8: np.ndarray) -> np.ndarray:
    """A stored image in [-1, 1], float32."""
    return image_u8 / np.float32(127.5) - 1


def mean_probability(image_u8: np.ndarray, engines: list[ShiftAveragedEngine]) -> np.ndarray:
    """Liver probability (D, H, W) of a stored image, the mean of the teachers'."""
    multiple = engines[0].student.multiple
    image = np.full([-(-n // multiple) * multiple for n in image_u8.shape], AIR, np.float32)
    inside = tuple(slice(0, n) for n in image_u8.shape)
    image[inside] = scaled(image_u8)
    found = sum(1 / (1 + np.exp(-engine.forward(image)[inside])) for engine in engines) / np.float32(len(engines))
    return np.where(found < SURE, 0, np.where(found > 1 - SURE, 1, found)).astype(np.float32)
