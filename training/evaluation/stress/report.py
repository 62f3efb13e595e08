"""The result of a stress test as text: lines, a table, the card's entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from LiverGTANLib.core.files import atomic_write
from training.evaluation.markdown import markdown_table
from training.evaluation.stress.record import Record, records

SHOWN = {
    "dice": "Dice {:.3f}",
    "dice_worst": "worst {:.3f}",
    "dice_loss": "{:+.3f} lost",
    "nsd3": "NSD at 3 mm {:.3f}",
    "volume_error": "volume {:+.1%}",
    "found_ml": "{:.0f} mL found",
    "fluid_ml": "{:.0f} mL of it fluid",
    "tumor_ml": "{:.0f} mL of it tumor",
    "found_ml_worst": "{:.0f} mL in the worst",
    "not_empty": "{:.0f} not empty",
}
"""How a figure is written; others stay in the JSON."""
GOOD, FAIR, POOR = 0.95, 0.92, 0.85
"""Mean Dice from which on an outline needs little correction, some at the border, much. The worst case counts, too.

Chosen as round numbers for the sentences below, not from a study; figures count as they are printed.
"""

LOST = 0.005
"""Mean loss of Dice against the same scans without the condition up to which these are called no better. Chosen: a
tenth of what a Dice of 0.95, that of ordinary scans, lacks."""

NOTABLE_ERROR = 0.05
"""Mean absolute relative error of the volume from which on it is worth a sentence; a round number, too."""


def figure(record: Record) -> str:
    """The figures of a record on one line."""
    shown = [text.format(record.figures[name]) for name, text in SHOWN.items() if name in record.figures]
    return f"{', '.join(shown)} ({_count(len(record.cases), 'case')})"


def line(record: Record) -> str:
    """A record on one line."""
    return f"{record.condition} ({record.source}): {figure(record)}"


def expectation(record: Record) -> str:
    """What to expect, by the figures; one or two sentences."""
    if record.kind == "empty":
        return _expected_without_liver(record)
    if record.kind == "unlabelled":
        return _expected_of_confounder(record)
    off = record.figures["volume_error_size"]
    second = f"Volumes were off by {off:.0%} on average." if off >= NOTABLE_ERROR else ""
    return " ".join(
        sentence for sentence in (_expected_outline(record), _compared(record), second, record.advice) if sentence
    )


def _expected_outline(record: Record) -> str:
    dice, worst = (round(record.figures[name], 3) for name in ("dice", "dice_worst"))
    if dice >= GOOD and worst >= FAIR:
        return "Expect little to correct."
    if dice >= FAIR and worst >= POOR:
        return "Expect to correct the border here and there."
    if dice >= POOR:
        return "Expect parts of the outline to be wrong and to need correction."
    return "Expect a mask that is wrong in large parts; do not use it without looking."


def _compared(record: Record) -> str:
    """What the condition itself does: against the same scans without it, for a Dice may be low or high without it."""
    if "dice_loss" not in record.figures:
        return ""
    worse = round(record.figures["dice_loss"], 3) > LOST
    return f"The same scans without this condition come out {'better' if worse else 'no better'}."


def _expected_without_liver(record: Record) -> str:
    figures = record.figures
    if not figures["not_empty"]:
        return "The mask is empty, and the user is told that no liver is in view."
    leak = (
        f"{figures['not_empty']:.0f} of {len(record.cases)} masks were not empty, with up to "
        f"{figures['found_ml_worst']:.0f} mL."
    )
    if figures["without_warning"]:
        return f"{leak} {figures['without_warning']:.0f} came without a warning: look whether there is a liver."
    return f"{leak} Each came with a warning that hardly any liver is in view."


def _expected_of_confounder(record: Record) -> str:
    """How much of the mask is fluid or tumor."""
    whole = max(record.figures["found_ml"], 1e-6)
    shares = [
        f"{record.figures[name] / whole:.0%} of the mask was {what}."
        for name, what in (("fluid_ml", "fluid"), ("tumor_ml", "tumor"))
        if name in record.figures
    ]
    return " ".join([*shares, record.advice])


def card_entries(result: dict[str, Any]) -> list[dict[str, str]]:
    """One entry a condition for a card: condition, setup, result, expectation; from a result or its file."""
    entries = []
    for record in records(result):
        name = "none of these" if record.condition == "none" else record.condition
        entries.append(
            {
                "condition": f"{name} ({record.source})",
                "setup": record.setup,
                "result": figure(record),
                "expectation": expectation(record),
            }
        )
    return entries


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    rows = [
        (record.condition, record.source, record.setup, figure(record), expectation(record))
        for record in records(result)
    ]
    lines = [
        f"# Hard cases: {result['student']}",
        "",
        result["simulated"],
        "",
        markdown_table(("Condition", "Source", "Setup", "Result", "Expect"), rows),
        "",
        *_trained(result),
        *_messages(result),
    ]
    return "\n".join(lines) + "\n"


def write(result: dict[str, Any], path: Path) -> Path:
    """JSON at `path` and Markdown beside it; returns the path of the latter."""
    beside = path.with_suffix(".md")
    with atomic_write(path) as file, atomic_write(beside) as text:
        file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        text.write_text(table(result), encoding="utf-8")
    return beside


def _trained(result: dict[str, Any]) -> list[str]:
    names = sorted(
        {case.case for record in records(result) if record.source == "real" for case in record.cases if case.trained_on}
    )
    return [f"Parts of these scans were trained on: {', '.join(names)}.", ""] if names else []


def _messages(result: dict[str, Any]) -> list[str]:
    """What the extension says where there is no liver."""
    messages = {case.message for record in records(result) if record.kind == "empty" for case in record.cases}
    return [f"Message where there is no liver: {message or '(none)'}" for message in sorted(messages)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
