"""MODEL_CARD.md, the readable card of the bundled students, written from their JSON cards and never by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.files import atomic_write, read_json
from training.errors import UserError
from training.evaluation.markdown import markdown_table
from training.evaluation.training_history import runs
from training.fit import checkpoint
from training.fit.run_record import MethodRecord
from training.options import Card
from training.release import held_out_table, reproduce, student_card
from training.release.provenance import NOT_RECORDED

Part = dict[str, Any]
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
    """A student's card and the size of its weight file in bytes."""

    card: Part
    size: int

    @classmethod
    def of(cls, card_file: Path) -> Sheet:
        """From a card with its weights beside it."""
        return cls(read_json(card_file, weight_file.LARGEST_CARD), card_file.with_suffix(".npz").stat().st_size)


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
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        cards=cards,
        facts=markdown_table(["", *cards], facts(sheets)),
        figures=figures(cards),
        calibration={name: list(calibration(card)) for name, card in cards.items()},
        ablation={name: ablation(card) for name, card in cards.items()},
        limitations=list(dict.fromkeys(one for card in cards.values() for one in card["limitations"])),
        sources=sources(cards),
        banks=list({bank["name"]: bank_line(bank) for bank in banks(cards)}.values()),
        commands=reproduce.commands(cards),
    )


def facts(sheets: dict[str, Sheet]) -> Iterator[list[str]]:
    """The rows of the first table: a heading, then one cell a student."""
    rows = {
        "Architecture": lambda c: "3-D U-Net ({type}), stem {stem}, LeakyReLU {negative_slope}".format(
            **c["architecture"]
        ),
        "Widths": lambda c: "-".join(map(str, c["architecture"]["widths"])),
        "Parameters": lambda c: f"{c['parameters_before_folding']:,} trained, {c['parameters']:,} in the file",
        "Multiply-accumulates": lambda c: f"{c['gmac']['value']} G on a {'x'.join(map(str, c['gmac']['grid']))} grid",
        "SHA-256": lambda c: f"`{c['sha256']}`",
        "Input": lambda c: "{:g} mm voxels, HU {:g} to {:g}".format(c["input"]["spacing_mm"], *c["input"]["hu_window"]),
        "Method": lambda c: methods(c["training"]),
        "Teacher": lambda c: teachers(c["training"]),
        "Added to each logit": lambda c: f"{c['training'].get('logit_shift', 0.0):g}",
        "Steps": lambda c: steps(c["training"]),
        "Seeds": lambda c: seeds(c["training"]),
        "Compute": lambda c: compute(c["training"]),
        "Precision": lambda c: c["training"]["precision"],
        "PyTorch": lambda c: c["training"]["torch"],
        "Code": lambda c: f"`{c['training']['code']}`",
        "License": lambda c: c["license"],
        "Date": lambda c: c["date"],
    }
    ordered = [sheets[name] for name in sorted(sheets)]
    for title, cell in rows.items():
        yield [title, *(cell(sheet.card) for sheet in ordered)]
    yield ["Weight file", *(f"{sheet.size:,} bytes, float16" for sheet in ordered)]


def own_runs(training: Part) -> Iterator[Part]:
    """The last run, the one that it began from, and so on."""
    yield training
    if "start" in training:
        yield from own_runs(training["start"])


def methods(training: Part) -> str:
    """How the last run learned, and how those did that it began from."""
    sentences = dict.fromkeys(MethodRecord.of(run["method"]).sentence for run in own_runs(training))
    return "; in earlier runs ".join(sentences)


def teachers(training: Part) -> str:
    """The first teacher of the last run, then those of the runs before it."""
    last, *earlier = [teacher(run["teacher"]) if run["teacher"] else "none" for run in own_runs(training)]
    others = [text for text in dict.fromkeys(earlier) if text not in (last, "none")]
    return last + (f"; of earlier runs {'; '.join(others)}" if others else "")


def teacher(part: Part) -> str:
    """A committed file, or what is known of another one."""
    if "file" in part:
        return f"`{part['file']}`, SHA-256 `{part['sha256']}`"
    name, widths = part.get("origin", "a network that is not committed"), "-".join(map(str, part["widths"]))
    return f"{name}, widths {widths}, digest of its weights {part.get('weights_sha256', NOT_RECORDED)}"


def steps(training: Part) -> str:
    """The updates of the last run, and those of the runs that it began from."""
    before = [f"{run['steps']:,}" for run in own_runs(training)][1:]
    return f"{training['steps']:,} of batch {training['batch']}" + (f", after {' and '.join(before)}" if before else "")


def seeds(training: Part) -> str:
    """The seed of a run, or those of the runs whose mean the student is."""
    text, averaging = ", ".join(map(str, training["seeds"])), MethodRecord.of(training["method"]).averaging
    if averaging is None:
        return text
    ancestor = f" and {averaging.ancestor}" if averaging.ancestor else ""
    return f"{text} (the weights are the mean of these {len(averaging.seeds)} runs{ancestor})"


def compute(training: Part) -> str:
    """Wall and CPU minutes of all that had to be trained, with the shares."""
    minutes = {name or "own run": part["minutes"] for name, part in runs(training)}
    known = {name: one for name, one in minutes.items() if one}
    if not known:
        return NOT_RECORDED
    total = {kind: sum(one[kind] for one in known.values()) for kind in ("wall", "cpu")}
    shares = [f"{name} {one['wall']:g} / {one['cpu']:g}" for name, one in known.items()]
    if training["teacher"] and "minutes" not in training["teacher"]:
        shares.append("without the teacher, which is not the committed one")
    shares += [f"{name} {NOT_RECORDED}" for name in minutes if name not in known]
    return f"{total['wall']:.1f} min wall, {total['cpu']:.1f} min CPU ({', '.join(shares)})"


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


def sources(cards: dict[str, Part]) -> str:
    """The table of every source of students and teachers."""
    found: dict[str, Part] = {}
    for card in cards.values():
        for _, part in runs(card["training"]):
            for one in part["data"]:
                found[one["name"]] = merged(found.get(one["name"], one), one)
    rows = [[one[key] for key in ("name", "origin", "license", "label")] for _, one in sorted(found.items())]
    return markdown_table(["Source", "Origin", "License", "Liver label by"], rows)


def banks(cards: dict[str, Part]) -> Iterator[Part]:
    """The banks of all runs of all students."""
    for card in cards.values():
        for _, part in runs(card["training"]):
            yield from part["banks"]


def merged(first: Part, second: Part) -> Part:
    """A source as two runs used it, with the makers of both labels."""
    makers = [*first["label"].split("; "), *second["label"].split("; ")]
    return first | {"label": "; ".join(dict.fromkeys(makers))}


def bank_line(bank: Part) -> str:
    """One bank in a sentence."""
    if "scans" in bank:
        return (
            f"`{bank['name']}`: views drawn while training of {bank['scans']} whole CTs of {bank['patients']} "
            f"patients, packed at {bank['spacing_mm']:g} mm; code {bank['git']}"
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
