"""The table of the held-out cases: students x engines at native resolution, printed by `evaluate --bundled`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.engines.factory import ENGINES
from LiverGTANLib.core.files import atomic_write
from training.command_line import require_suffix
from training.data import held_out
from training.data.cases import Case
from training.errors import UserError
from training.evaluation.evaluate import NOT_WRITTEN, EvaluationRow, evaluate, write_csv
from training.evaluation.markdown import markdown_table
from training.evaluation.training_history import refuse_if_trained_on
from training.options import Evaluate
from training.paths import DATA_VARIABLE

Line = dict[str, str]
HEADINGS = {
    "case": "Case",
    "dice": "Dice",
    "nsd2": "NSD2",
    "nsd3": "NSD3",
    "hd95": "HD95",
    "assd": "ASSD",
    "volume_ml": "mL",
    "reference_ml": "Ref. mL",
    "volume_error": "Error",
}
DIGITS = {"hd95": 2, "assd": 2, "volume_ml": 0, "reference_ml": 0}  # the others 4
AVERAGED = ("dice", "nsd2", "nsd3", "hd95", "assd")
MEANS = {
    "mean, expert-labelled": held_out.HUMAN_LABELLED,
    "mean, samples": tuple(one.name for one in held_out.HELD_OUT if one.in_samples),
}
"""Heading of a mean -> its cases. The first is the measure; the samples' references are another network's output."""
NOTE = (
    "Native resolution. NSD2 and NSD3 are the share of both surfaces within 2 and 3 mm of each other. Best are 1 of\n"
    "Dice and NSD, and 0 mm of HD95 and ASSD. Ref. mL is the volume of the reference, and Error (mask - reference) /\n"
    "reference; its means are of its absolute value. A mean is nan where a case has no distance because its mask is\n"
    "empty."
)

REFERENCES = (
    "Who made the references, and where the CTs are from (of a copy, the native resolution is that of the copy):"
)


def evaluate_bundled(options: Evaluate) -> None:
    """Prints the table of held-out cases x bundled students x engines, and writes it if asked for."""
    if options.output:
        require_suffix(options.output, ".csv")
    if options.model or options.cases or options.picture:
        raise UserError("--bundled takes the bundled students and the held-out cases; give it nothing but --output.")
    table = lines(list(rows(weight_file.available(), cases())))
    print(markdown(table))
    if options.output:
        write(table, options.output)
    print(f"Wrote {options.output} and {options.output.with_suffix('.md')}" if options.output else NOT_WRITTEN)


def cases(report: Callable[[str], None] = print) -> list[Case]:
    """The held-out cases that are available here. Raises UserError when there are none."""
    found = held_out.cases(report)
    if not found:
        raise UserError(
            f"There is no held-out case to evaluate on: the sample CTs need a network once, the others {DATA_VARIABLE}."
        )
    return found


def rows(models: Iterable[str], on: list[Case]) -> Iterator[EvaluationRow]:
    """Every student on every case with both engines. Raises UserError for a case that a student was trained on."""
    models = list(models)
    for model in models:
        refuse_if_trained_on((case.name for case in on), weight_file.load(model).card)
    for model in models:
        for row, _ in evaluate(model, on, ENGINES):
            yield row


def lines(found: Iterable[EvaluationRow]) -> list[Line]:
    """The rows as text with who made the reference, then the means."""
    return with_means(
        [values | {"reference": held_out.reference_maker(values["case"])} for values in (row.values() for row in found)]
    )


def with_means(rows: list[Line]) -> list[Line]:
    """The rows case by case, then the means of each student and engine."""
    cases, pairs = (dict.fromkeys(key(row) for row in rows) for key in (lambda row: row["case"], student_and_engine))
    means = [
        mean(heading, of)
        for heading, names in MEANS.items()
        for pair in pairs
        if (of := [row for row in rows if student_and_engine(row) == pair and row["case"] in names])
    ]
    return [row for case in cases for row in rows if row["case"] == case] + means


def student_and_engine(row: Line) -> tuple[str, str]:
    """What a mean is taken of."""
    return row["model"], row["engine"]


def mean(heading: str, of: list[Line]) -> Line:
    """One line over some cases of a student and an engine; a figure that one case lacks is nan."""
    figures = {name: np.mean([float(row[name]) for row in of]) for name in AVERAGED}
    figures["volume_error"] = np.mean([abs(float(row["volume_error"])) for row in of])
    head = dict.fromkeys(of[0], "") | {"case": heading, "model": of[0]["model"], "engine": of[0]["engine"]}
    return head | {name: f"{value:.4f}" for name, value in figures.items()} | {"reference": f"{len(of)} cases"}


def markdown(table: list[Line]) -> str:
    """The lines as Markdown, a table for each student and engine, with what one must know to read them."""
    makers = {line["case"]: line["reference"] for line in table if line["case"] not in MEANS}
    references = [f"- {case}: {maker}{origin(case)}" for case, maker in makers.items()]
    watched = [f"- {one.name}: {one.watched}" for one in held_out.HELD_OUT if one.name in makers and one.watched]
    parts = [part for pair in dict.fromkeys(map(student_and_engine, table)) for part in table_of(pair, table)]
    parts += [NOTE, REFERENCES, "\n".join(references)]
    parts += ["Never trained on, but looked at while choosing:", "\n".join(watched)] if watched else []
    return "\n\n".join(parts) + "\n"


def table_of(pair: tuple[str, str], table: list[Line]) -> tuple[str, str]:
    """Heading and rows of a student with an engine."""
    rows = [[shown(name, line) for name in HEADINGS] for line in table if student_and_engine(line) == pair]
    return f"**{pair[0]}, {pair[1]}**", markdown_table(list(HEADINGS.values()), rows, text_columns=1)


def origin(case: str) -> str:
    """Where a held-out CT is from, and in what it differs from the scan; nothing of one that is not in the list."""
    return f"; CT: {held_out.BY_NAME[case].origin}" if case in held_out.BY_NAME else ""


def shown(name: str, line: Line) -> str:
    """A cell of the Markdown table."""
    value = line[name]
    if name == "volume_error":
        return f"{float(value):{'' if line['case'] in MEANS else '+'}.1%}"
    return f"{float(value):.{DIGITS[name]}f}" if name in DIGITS and value else value


def write(table: list[Line], output: Path) -> str:
    """The table as CSV in `output` and as Markdown beside it; returns the Markdown."""
    write_csv(table, output)
    text = markdown(table)
    with atomic_write(output.with_suffix(".md")) as file:
        file.write_text(text, encoding="utf-8")
    return text
