"""MODEL_CARD.md, the readable card of the bundled students, written from their JSON cards and never by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.files import atomic_write, read_json
from training.errors import UserError
from training.evaluation.card_parts import whole
from training.evaluation.markdown import markdown_table
from training.evaluation.training_history import runs
from training.fit import checkpoint, network_file
from training.model import nets
from training.options import WINDOW, Card
from training.release import held_out_table, reproduce, student_card
from training.release.run_history import RunHistory

Part = dict[str, Any]
LINE = 120
"""Most characters of a line of text."""
TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
CALIBRATION = {
    "temperature": "temperature",
    "ece_before": "expected calibration error",
    "ece_after": "expected calibration error with the temperature",
    "shell_mm": "measured within this many mm of the liver's border",
    "fitted_on": "temperature fitted on",
    "measured_on": "errors measured on",
}


@dataclass(frozen=True)
class Sheet:
    """A student's card, its history written out, and the size of its weight file in bytes."""

    card: Part
    size: int

    @classmethod
    def of(cls, card_file: Path) -> Sheet:
        """From a card with its weights beside it."""
        card = whole(read_json(card_file, weight_file.LARGEST_CARD))
        return cls(card, card_file.with_suffix(".npz").stat().st_size)


def card(options: Card) -> None:
    """Prints a student's card, with new figures if given; or writes the model card."""
    if options.bundled == bool(options.student):
        raise UserError("Give a student's file, or --bundled for the model card of the bundled students.")
    if options.student is None:
        print(f"Wrote {rewrite()}")
        return
    students = weight_file.available()
    student = students.get(str(options.student), options.student)
    if student.suffix not in checkpoint.STUDENT_SUFFIXES:
        raise UserError(
            f"{student} is no student: give {', '.join(students)}, or a student's .npz or .json; `export` writes them "
            "from a checkpoint."
        )
    print(student_card.rewrite(student, options.metrics))


def file() -> Path:
    """Where the model card lies."""
    return weight_file.MODELS / "MODEL_CARD.md"


def bundled_sheets() -> dict[str, Sheet]:
    """Those of the bundled students by name."""
    return {name: Sheet.of(path) for name, path in weight_file.available().items()}


def rewrite() -> Path:
    """Writes the model card anew. Raises UserError when no student is bundled."""
    sheets = bundled_sheets()
    if not sheets:
        raise UserError(f"There is no student in {weight_file.MODELS}; install one with `export --install`.")
    with atomic_write(file()) as part:
        part.write_text(text(sheets), encoding="utf-8")
    return file()


def text(sheets: dict[str, Sheet]) -> str:
    """The model card of these students: `model_card.md.jinja` filled with what their cards hold."""
    cards = {name: sheets[name].card for name in sorted(sheets)}
    folders, committed = reproduce.Folders(), committed_teacher()
    commands = reproduce.commands(cards, folders, committed)
    history = RunHistory(cards, folders, committed)
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    filled = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        cards=cards,
        facts=markdown_table(["", *cards], facts(sheets)),
        history=history,
        figures=figures(cards),
        calibration={name: list(calibration(card)) for name, card in cards.items()},
        ablation={name: ablation(card) for name, card in cards.items()},
        limitations=list(dict.fromkeys(one for card in cards.values() for one in card["limitations"])),
        sources=sources(cards),
        banks=[bank_line(bank | {"name": name}) for name, bank in history.banks().items()],
        commands=[reproduce.wrapped(command) for command in commands],
    )
    return wrapped(filled)


def wrapped(text: str) -> str:
    """Markdown with its paragraphs and lists in lines of bounded length; tables and code stay."""
    lines, code = [], False
    for line in text.splitlines():
        code ^= line.startswith("```")
        if code or line.startswith(("|", "#")):
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip("- "))]
        lines += textwrap.wrap(
            line,
            LINE,
            subsequent_indent=" " * len(indent),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(lines) + "\n"


def facts(sheets: dict[str, Sheet]) -> Iterator[list[str]]:
    """The rows of the first table: a heading, then one cell a student."""
    rows = {
        "Architecture": lambda c: "3-D U-Net ({type}), stem {stem}, LeakyReLU {negative_slope}".format(
            **c["architecture"]
        ),
        "Widths": lambda c: "-".join(map(str, c["architecture"]["widths"])),
        "Parameters": lambda c: f"{c['parameters_before_folding']:,} trained, {c['parameters']:,} in the file",
        "Multiply-accumulates": lambda c: f"{gmac(c['architecture']):.3f} G for {' x '.join(map(str, WINDOW))} voxels",
        "Input": lambda c: "{:g} mm voxels, HU {:g} to {:g}".format(c["input"]["spacing_mm"], *c["input"]["hu_window"]),
        "Added to each logit": lambda c: f"{c['training'].get('logit_shift', 0.0):g}",
        "Precision, PyTorch": lambda c: f"{c['training']['precision']}, {c['training']['torch']}",
        "License": lambda c: c["license"],
        "Date": lambda c: c["date"],
    }
    ordered = [sheets[name] for name in sorted(sheets)]
    for title, cell in rows.items():
        yield [title, *(cell(sheet.card) for sheet in ordered)]
    yield ["Weight file", *(f"{sheet.size:,} bytes, float16" for sheet in ordered)]


def gmac(architecture: Part) -> float:
    """Multiply-accumulates of a student for a training volume of today, in units of 1e9."""
    with torch.device("meta"):  # sizes alone: no weights are made
        return nets.gmac(nets.UNet3D(tuple(architecture["widths"]), architecture["stem"]))


def committed_teacher() -> str | None:
    """SHA-256 of the teacher's file; None where there is none."""
    file = student_card.TEACHER_FILE
    return network_file.sha256(file) if file.is_file() else None


def figures(cards: dict[str, Part]) -> str:
    """The table of the held-out cases."""

    def shown(value: Any) -> str:
        return "nan" if value is None else f"{value:.4f}" if isinstance(value, float) else value

    lines = [
        {"model": name} | {key: shown(value) for key, value in row.items()}
        for name, card in cards.items()
        for row in card["metrics"]
    ]
    return held_out_table.markdown(held_out_table.with_means(lines))


def calibration(card: Part) -> Iterator[tuple[str, str]]:
    """What the card says of the probabilities, entry by entry."""
    for name, value in card.get("calibration", {}).items():
        yield CALIBRATION[name], ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def ablation(card: Part) -> str:
    """Dice of every arm on this size; empty without an ablation."""

    def number(value: float | None, digits: int, otherwise: str) -> str:
        return otherwise if value is None else f"{value:.{digits}f}"

    rows = [
        [
            one["arm"],
            str(one["seeds"]),
            number(one["dice"], 4, "unknown"),
            number(one["sd"], 4, "one run"),
            number(one["wall_minutes"], 1, "not counted"),
        ]
        for one in card.get("ablation", [])
    ]
    return markdown_table(["Arm", "Runs", "Dice, mean", "sd", "Wall min"], rows, text_columns=1) if rows else ""


def sources(cards: dict[str, Part]) -> dict[str, list[str]]:
    """Maker of the liver mask and license -> every source of students and teachers that has them."""
    found: dict[str, Part] = {}
    for card in cards.values():
        for part in runs(card["training"]):
            for one in part["data"]:
                found[one["name"]] = merged(found.get(one["name"], one), one)
    groups: dict[str, list[str]] = {}
    for name, one in sorted(found.items()):
        groups.setdefault(f"Liver mask: {one['label']}. License: {one['license']}.", []).append(
            f"`{name}`: {one['origin']}"
        )
    return dict(sorted(groups.items()))


def merged(first: Part, second: Part) -> Part:
    """A source as two runs used it, with the makers of both labels."""
    makers = {*first["label"].split("; "), *second["label"].split("; ")}
    return first | {"label": "; ".join(sorted(makers))}


def softened(bank: Part) -> str:
    """How the labels of packed scans were softened, if they were."""
    if "soft_labels" not in bank:
        return ""
    soft = bank["soft_labels"]
    teachers = ", ".join(one["weights_sha256"][:12] for one in soft["teachers"])
    unsure = f"; not used, as wrong: {', '.join(soft['unsure'])}" if soft["unsure"] else ""
    return f"; labels mixed with {soft['share']:.0%} of the mean answer of teachers on this grid ({teachers}){unsure}"


def bank_line(bank: Part) -> str:
    """One bank in a sentence."""
    if "scans" in bank:
        return (
            f"`{bank['name']}`: views drawn while training of {bank['scans']} whole CTs of {bank['patients']} "
            f"patients, packed at {bank['spacing_mm']:g} mm; code {bank['git']}{softened(bank)}"
        )
    labels = bank.get("labels")
    by_whom = ""
    if labels:
        widths, digest = "-".join(map(str, labels["teacher"])), labels["weights_sha256"][:12]
        by_whom = f"; labels of real CTs by a teacher of widths {widths} (weights {digest})"
    return (
        f"`{bank['name']}`: {bank['volumes']:,} volumes, {bank['synthetic']:,} synthetic and {bank['real']:,} from "
        f"real CTs, at {bank['spacing_mm']:g} mm; code {bank['git']}{by_whom}"
    )
