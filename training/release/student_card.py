"""The student's card: where it comes from and how well it does, written from files, never by hand."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.files import atomic_write
from LiverGTANLib.standalone.image_files import stem_of
from training.data import held_out
from training.errors import UserError, reason
from training.evaluation.card_parts import whole
from training.evaluation.evaluate import TRAINED_ON
from training.evaluation.training_history import refuse_if_trained_on
from training.fit import checkpoint, network_file, run_log
from training.fit import start as start_network
from training.fit.loop import BEST
from training.fit.run_record import MethodRecord
from training.paths import ROOT, TEACHER
from training.release import held_out_table, provenance, reproduce

TEACHER_FILE = ROOT / TEACHER
INTENDED_USE = (
    "Research and education: a liver outline on abdominal CT as a starting point for the user to check and correct. "
    "Not a medical device; not for diagnosis, treatment or any clinical decision."
)
SCOPE = (
    "Liver with its lesions and intrahepatic vessels; inferior vena cava, gallbladder and extrahepatic portal vein are "
    "left out."
)
LIMITATIONS = [
    "Trained on synthesized volumes and on few real CTs: ten with labels by experts, of six patients and all of them "
    "portal venous, the others with machine-made labels that no radiologist has looked at.",
    "Weakest where training data are thin: non-contrast CT, thick slices, pleural effusion or ascites beside the "
    "liver, giant or dense tumors, resected and cirrhotic livers, strongly cropped scans.",
    "Observed on scans that were not trained on: in the arterial phase the upper pole of the right kidney taken for "
    "liver and a thin left lobe beside the stomach left out; with pleural effusion up to a tenth of the "
    "mask was fluid.",
    "Works at 2.5 mm: thin tips and narrow clefts are rounded off.",
    "CT in Hounsfield units only; MR, cone-beam and rescaled images give nonsense.",
]
UNKNOWN_DATA = (
    "Trained on data whose origin, license and labels are not stated: measure on scans that it has not seen how well "
    "it does, and where it fails, before anything rests on it."
)
NOT_OBSERVED = (
    "Where it fails is not known: measure on scans that it has not seen how well it does before anything rests on it."
)
EXPERT_LABELLED = {f"msd_liver_{number:02}" for number in (2, 3, 4, 6, 7, 8, 9, 10, 11, 13)}
"""What the bundled students were trained on; their limitations were observed on them."""
SOME_UNKNOWN_DATA = "Of some of the training data origin, license and labels are not stated."


def training(file: Path, name: str) -> dict[str, Any]:
    """The training part of the card of the network `name`, from its checkpoint and the banks that this names.

    run: folder in which `command` trains it. method: fields of `MethodRecord`. seeds: of the run, or of all whose mean
    it is. weights_sha256: as `teacher` has it of a network that taught. minutes: wall and CPU, None where they were not
    recorded. teacher: {} without one. start: the same of the run that it began from, if any.
    """
    content = checkpoint.read(file)
    settings, banks = content["settings"], provenance.folders(content["settings"])
    teacher, start = teacher_part(content), start_network.of_run(file, content)
    averaging = MethodRecord.of(content["method"]).averaging
    return (
        {
            "run": f"runs/{name}",
            "method": content["method"],
            "seeds": list(averaging.seeds) if averaging else [settings["loop"]["seed"]],
            "command": reproduce.fit(content, name, teacher.get("file", "runs/teacher/checkpoint.pt")),
            "weights_sha256": network_file.digest(content["nets"][next(iter(content["nets"]))]["average"]),
            "steps": content["step"],
            "batch": settings["loop"]["batch"],
            "precision": content["precision"],
            "torch": content["torch"],
            "code": content["code"],
            "minutes": minutes(content["spent"]),
            "teacher": teacher,
            "banks": [provenance.describe_bank(bank) for bank in banks],
            "data": provenance.sources(banks),
            "watched": watched(file, settings),
        }
        | chosen(content, file)
        | ({"start": recorded(start)} if start else {})
    )


def watched(file: Path, settings: dict[str, Any]) -> list[str]:
    """The cases that were validated on: those that the settings name, and by the log those that the split set aside."""
    named = [stem_of(Path(case.partition("=")[0])) for case in settings["data"]["validation"]]
    return list(dict.fromkeys([*named, *run_log.watched_cases(file.with_name("log.csv"))]))


def chosen(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """Of a checkpoint that was chosen by its validation Dice: the file's name, this Dice, and the steps of the run."""
    if BEST not in content:
        return {}
    steps = content["settings"]["loop"]["steps"]
    return {"checkpoint": file.name, "chosen_by": {"validation_dice": content[BEST]["dice"], "of_steps": steps}}


def recorded(file: Path) -> dict[str, Any]:
    """The training of a network: on the card of a student file, recorded in a kept network, or of a run."""
    if file.suffix in checkpoint.STUDENT_SUFFIXES:
        return whole(start_network.student(file).card)["training"]
    if file.suffix == network_file.SUFFIX:
        return checkpoint.read(file)["training"]
    return training(file, file.parent.name)


def teacher_part(content: dict[str, Any]) -> dict[str, Any]:
    """The first teacher, with its own training if it is the committed one, by the digest of its weights if not; {}
    without a teacher."""
    first = next(iter(content["teachers"].values()), None)
    if first is None:
        return {}
    committed = checkpoint.read(TEACHER_FILE) if TEACHER_FILE.is_file() else {"nets": {}}
    for one in committed["nets"].values():
        if network_file.digest(one["average"]) == first["sha256"]:
            return {
                "widths": first["widths"],
                "file": TEACHER_FILE.relative_to(ROOT).as_posix(),
                "sha256": network_file.sha256(TEACHER_FILE),
                "watched_dice": committed["watched"],
            } | committed["training"]
    return {"widths": first["widths"], "weights_sha256": first["sha256"]}


def minutes(spent: dict[str, float]) -> dict[str, float]:
    """Wall and CPU minutes of a run, an assistant in the same loop included."""
    return {kind: round(seconds / 60, 1) for kind, seconds in spent.items()}


def metrics(table: Path, student: str, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """The cases of a student in an evaluation's CSV, as a card holds them; what is left out is reported.

    Raises UserError for a file that is not an evaluation's, and for one without this student.
    """
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{table} cannot be read ({reason(error)}); write it with `python -m training evaluate`."
        ) from error
    lacking = [name for name in ("case", "model", "engine", "dice") if rows and rows[0].get(name) is None]
    if lacking or not rows:
        what = f"lacks the columns {', '.join(lacking)}" if lacking else "has no rows"
        raise UserError(f"{table} {what}; write it with `python -m training evaluate`.")
    own = [row for row in rows if row["model"] == student and row["case"] not in held_out_table.MEANS]
    if not own:
        models = ", ".join(sorted({row["model"] or "nothing" for row in rows}))
        raise UserError(f"{table} has cases of {models}, none of {student}; evaluate this student.")
    if len(own) < len(rows):
        report(f"{table}: {len(rows) - len(own)} rows of other students, or of means, were left out.")
    return [figures(row) for row in own]


def figures(row: dict[str, str]) -> dict[str, Any]:
    """A row with who made the reference; without what belongs to the machine or the card."""
    known = {name: number(value) for name, value in row.items() if name not in ("model", "seconds", TRAINED_ON)}
    return known | {"reference": held_out.reference_maker(row["case"])}


def rewrite(student_file: Path, table: Path | None) -> str:
    """The card's text; with the figures of an evaluation, if one is given, and the file is rewritten."""
    content = weight_file.load(student_file.with_suffix(".json")).card
    if table is None:
        return weight_file.card_text(content)
    rows = metrics(table, content["name"])
    refuse_if_trained_on((row["case"] for row in rows), content)
    return write(student_file, content | {"metrics": rows})


def write(student_file: Path, content: dict[str, Any]) -> str:
    """Replaces the card beside a student's weights; returns its text."""
    written = weight_file.card_text(content)
    with atomic_write(student_file.with_suffix(".json")) as part:
        part.write_text(written, encoding="utf-8")
    return written


def number(text: str) -> float | str | None:
    """A figure of a table; None for NaN, which is no JSON; other text as it is."""
    try:
        value = float(text)
    except ValueError:
        return text
    return None if math.isnan(value) else value


def limitations(data: list[dict[str, str]]) -> list[str]:
    """What the user must know, by what the network was trained on: only of the project's own data more is known."""
    names = {source["name"] for source in data}
    unknown = [source for source in data if source.get("origin") == provenance.NOT_STATED]
    if unknown and len(unknown) == len(data):
        return [UNKNOWN_DATA, *LIMITATIONS[-2:]]
    if all(source["name"].startswith(("phantom", "drawn-")) for source in data):
        return ["Trained on a drawn phantom alone: it shows that the training path runs and is of no use on patients."]
    known = LIMITATIONS if names >= EXPERT_LABELLED else [NOT_OBSERVED, *LIMITATIONS[-2:]]
    return known + [SOME_UNKNOWN_DATA] * bool(unknown)


def complete(card: dict[str, Any], checkpoint_file: Path) -> dict[str, Any]:
    """A bare card with training, intended use, limitations and license."""
    trained = training(checkpoint_file, card["name"])
    return card | {
        "training": trained,
        "metrics": [],
        "scope": SCOPE,
        "intended_use": INTENDED_USE,
        "limitations": limitations(trained["data"]),
        "license": "Apache-2.0",
    }
