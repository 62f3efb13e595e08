"""MODEL_CARD.md, the readable card of the bundled students, written from their JSON cards and never by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from LiverGTANLib.core import weight_file
from training.errors import UserError
from training.options import Card
from training.release import bundled_table, student_card

Part = dict[str, Any]
UNKNOWN = "not recorded"
ABLATION = "training/results/ablation.json"
CALIBRATION = {
    "ece_before": "expected calibration error",
    "ece_after": "expected calibration error with the temperature",
    "shell_mm": "judged within this many mm of the liver's border",
    "levels": "probabilities between which the border is taken to lie",
    "fitted_on": "temperature fitted on",
    "measured_on": "errors measured on",
}
HEAD = """# Model card: the students that LiverGTAN bundles

Written by `python -m training card --bundled` from the JSON cards beside it; a test compares them.
The method is our reading of a paper of which we know the abstract alone (see `training/README.md`)."""


@dataclass(frozen=True)
class Sheet:
    """A student's card and the size of its weight file in bytes."""

    card: Part
    size: int

    @classmethod
    def of(cls, card_file: Path) -> Sheet:
        """From a card with its weights beside it."""
        content = json.loads(card_file.read_text(encoding="utf-8"))
        return cls(content, card_file.with_suffix(".npz").stat().st_size)


def card(options: Card) -> None:
    """Prints a student's card, with new figures if given; or writes the model card."""
    if options.bundled == bool(options.student):
        raise UserError("Give a student's file, or --bundled for the model card of the bundled students.")
    print(f"Wrote {rewrite()}" if options.bundled else student_card.rewrite(options.student, options.metrics))


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
    file().write_text(text(sheets), encoding="utf-8")
    return file()


def text(sheets: dict[str, Sheet]) -> str:
    """The model card of these students."""
    cards = {name: sheets[name].card for name in sorted(sheets)}
    sections = {
        "The students": table([["", *cards], *facts(sheets)]),
        "Intended use": same(cards, "intended_use"),
        "What counts as liver": same(cards, "scope"),
        "Figures on real CTs": figures(cards),
        "Hard cases, one by one": each(cards, hard_cases),
        "Calibration": each(cards, calibration),
        "Ablation": each(cards, ablation),
        "Failures and limitations": bullets(dict.fromkeys(one for c in cards.values() for one in c["limitations"])),
        "Data": data(cards),
        "How to reproduce": reproduce(cards),
    }
    return "\n\n".join([HEAD, *(f"## {title}\n\n{body}" for title, body in sections.items())]) + "\n"


def facts(sheets: dict[str, Sheet]) -> Iterator[list[str]]:
    """The rows of the first table: a heading, then one cell a student."""
    ordered = [sheets[name] for name in sorted(sheets)]
    rows = {
        "Architecture": lambda c, s: "3-D U-Net ({type}), stem {stem}, LeakyReLU {negative_slope}".format(
            **c["architecture"]
        ),
        "Widths": lambda c, s: "-".join(map(str, c["architecture"]["widths"])),
        "Parameters": lambda c, s: f"{c['parameters_before_folding']:,} trained, {c['parameters']:,} in the file",
        "Multiply-accumulates": lambda c, s: f"{c['gmac']['value']} G on a {by(c['gmac']['grid'])} grid",
        "Weight file": lambda c, s: f"{s.size:,} bytes, float16",
        "SHA-256": lambda c, s: f"`{c['sha256']}`",
        "Input": lambda c, s: f"{c['input']['spacing_mm']:g} mm voxels, HU {' to '.join(window(c))}",
        "Method": lambda c, s: c["training"]["method"],
        "Steps": lambda c, s: steps(c["training"]),
        "Seed": lambda c, s: str(c["training"]["seed"]),
        "Compute": lambda c, s: compute(c["training"]),
        "Precision": lambda c, s: f"{c['training']['precision']}, PyTorch {c['training']['torch']}",
        "Code": lambda c, s: f"`{c['training']['code']}`",
        "License": lambda c, s: c["license"],
        "Date": lambda c, s: c["date"],
    }
    for title, cell in rows.items():
        yield [title, *(cell(sheet.card, sheet) for sheet in ordered)]


def by(sizes: list[int]) -> str:
    return "x".join(map(str, sizes))


def window(card: Part) -> list[str]:
    return [f"{value:g}" for value in card["input"]["hu_window"]]


def steps(training: Part) -> str:
    """The updates of the last run, and those of the runs that it began from."""
    before, part = [], training
    while "start" in part:
        part = part["start"]
        before.append(f"{part['steps']:,}")
    return f"{training['steps']:,} of batch {training['batch']}" + (f", after {' and '.join(before)}" if before else "")


def compute(training: Part) -> str:
    """Wall and CPU minutes of all that had to be trained, with the shares."""
    shares = {name or "own run": one["minutes"] for name, one in runs(training)}
    unknown = [name for name, one in shares.items() if not sum(one.values())]
    shares = {name: one for name, one in shares.items() if name not in unknown}
    if not shares:
        return UNKNOWN
    total = {kind: sum(one[kind] for one in shares.values()) for kind in ("wall", "cpu")}
    parts = [f"{name} {one['wall']:g} / {one['cpu']:g}" for name, one in shares.items()]
    if training["teacher"] and "minutes" not in training["teacher"]:
        parts.append("without the teacher, which was not kept")
    parts += [f"{name} {UNKNOWN}" for name in unknown]
    return f"{total['wall']:.1f} min wall, {total['cpu']:.1f} min CPU ({', '.join(parts)})"


def runs(training: Part, name: str = "") -> Iterator[tuple[str, Part]]:
    """A run, and those that it drew on: what it began from and its teacher, with theirs."""
    yield name, training
    for role in ("start", "teacher"):
        if "minutes" in training.get(role, {}):
            yield from runs(training[role], f"{name}'s {role}" if name else role)


def figures(cards: dict[str, Part]) -> str:
    """The table of real cases, and which of them were watched while training."""
    lines = [
        {"model": name}
        | {
            key: "nan" if value is None else f"{value:.4f}" if isinstance(value, float) else value
            for key, value in row.items()
        }
        for name, card in cards.items()
        for row in card["metrics"]
    ]
    watched = sorted({case for card in cards.values() for case in card["training"]["watched"]})
    seen = f"\nWatched while training, never trained on: {', '.join(watched)}." if watched else ""
    return bundled_table.markdown(bundled_table.with_means(lines)) + seen


def hard_cases(card: Part) -> str:
    """One line a condition."""
    lines = [
        f"**{one['condition']}**: {one['result']}. {one['expectation']} (Setup: {one['setup']}.)"
        for one in card.get("hard_cases", [])
    ]
    return bullets(lines) or "Not measured."


def calibration(card: Part) -> str:
    """What the card says of the probabilities, entry by entry."""
    lines = [f"{CALIBRATION.get(name, name)}: {shown(value)}" for name, value in card.get("calibration", {}).items()]
    return bullets(lines) or "Not measured."


def ablation(card: Part) -> str:
    """Dice of every arm on this size."""
    rows = [
        [one["arm"], str(one["seeds"]), number(one["dice"]), number(one["sd"]), f"{one['wall_minutes']:g}"]
        for one in card.get("ablation", [])
    ]
    return table([["Arm", "Seeds", "Dice, mean", "sd", "Wall min"], *rows]) if rows else "Not measured."


def number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def shown(value: Any) -> str:
    """A value of the calibration as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def data(cards: dict[str, Part]) -> str:
    """Every source of students and teachers, and the banks made of them."""
    sources, lines = {}, {}
    for card in cards.values():
        for _, part in runs(card["training"]):
            for one in part["data"]:
                sources[one["name"]] = merged(sources.get(one["name"], one), one)
            lines |= {bank["name"]: bank_line(bank) for bank in part["banks"]}
    rows = [[one[key] for key in ("name", "origin", "license", "label")] for _, one in sorted(sources.items())]
    return (
        table([["Source", "Origin", "License", "Liver label by"], *rows])
        + "\n\nTraining volumes made of them:\n\n"
        + bullets(lines.values())
    )


def merged(first: Part, second: Part) -> Part:
    """A source as two runs used it, with the makers of both labels."""
    makers = [*first["label"].split("; "), *second["label"].split("; ")]
    return first | {"label": "; ".join(dict.fromkeys(makers))}


def bank_line(bank: Part) -> str:
    """One bank in a sentence."""
    labels = bank.get("labels")
    by_whom = (
        (
            f"; labels of real CTs by a teacher of widths {'-'.join(map(str, labels['teacher']))} (weights "
            f"{labels['weights_sha256'][:12]})"
        )
        if labels
        else ""
    )
    return (
        f"`{bank['name']}`: {bank['volumes']:,} volumes, {bank['synthetic']:,} synthetic and {bank['real']:,} from "
        f"real CTs, at {bank['spacing_mm']:g} mm; code {bank['git'][:12]}{by_whom}"
    )


def reproduce(cards: dict[str, Part]) -> str:
    """The commands in their order: banks, what came before the students, the students, their cards."""
    commands: list[str] = []
    for name, card in cards.items():
        for _, part in reversed(list(runs(card["training"]))):
            commands += [line for bank in part["banks"] for line in bank_commands(bank)] + [part["command"]]
            commands += [f"python -m training keep {checkpoint_of(part)}"] if "file" in part else []
        commands += export(name, card)
    code = "\n".join(dict.fromkeys([*commands, "python -m training evaluate --bundled"]))
    return (
        "With the data folder named by `LIVERGTAN_DATA`; where defaults have changed since, with the code of the "
        f"commits above:\n\n```\n{code}\n```"
    )


def bank_commands(bank: Part) -> list[str]:
    """The command of a bank, after that of the labels which it took in."""
    labels = bank.get("labels", {}).get("command")
    return [labels, bank["command"]] if labels else [bank["command"]]


def export(name: str, card: Part) -> list[str]:
    """From a student's checkpoint to the extension."""
    first = f"python -m training export {checkpoint_of(card['training'])} --name {name}"
    measured = card.get("commands", {})
    files = {command: line.split("--output ")[1] for command, line in measured.items()}
    if not measured:
        return [first]
    ablation = f" --ablation {ABLATION}" if card.get("ablation") else ""
    return [
        first,
        *measured.values(),
        f"{first} --calibration {files['calibrate']} --stress {files['stress']}{ablation} --install",
    ]


def checkpoint_of(part: Part) -> str:
    """The checkpoint that a run's command writes: in the folder that it names last."""
    words = part["command"].rpartition("--run ")[2].split()
    return f"{words[0]}/checkpoint.pt"


def same(cards: dict[str, Part], key: str) -> str:
    """A text that holds for all students, or one for each."""
    texts = {name: card[key] for name, card in cards.items()}
    return next(iter(texts.values())) if len(set(texts.values())) == 1 else each(cards, lambda card: card[key])


def each(cards: dict[str, Part], body: Any) -> str:
    """A part for every student."""
    return "\n\n".join(f"### {name}\n\n{body(card)}" for name, card in cards.items())


def bullets(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)


def table(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
