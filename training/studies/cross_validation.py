"""Leave one patient out: how far figures of one recipe spread over patients whose CTs it has not seen.

A fold trains on all scans of `--scans` but those of one patient, and measures that patient's cases at native
resolution. A folder's finished folds are taken again (see `stored_results`).
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from LiverGTANLib.core.files import atomic_write
from training.data.cases import Case, parse_cases
from training.data.scan_bank import ScanBank
from training.errors import UserError
from training.evaluation.evaluate import evaluate
from training.evaluation.markdown import markdown_table
from training.evaluation.summary import mean, mean_and_sd
from training.fit import checkpoint, train
from training.fit.loop import fit_together
from training.fit.validate import Validation
from training.options import CrossValidate
from training.studies.stored_results import Result, case_digests, result_of, write_json

FIGURES = ("dice", "nsd2", "hd95", "volume_error")
HEADINGS = ("Patient", "Cases", "Dice", "NSD 2 mm", "HD95 mm", "Volume error")


def cross_validate(options: CrossValidate) -> None:
    """Trains every missing fold and rewrites `table.md` and `table.json` after each.

    Raises UserError without scans, for a case that is not among them, and for a folder that holds another run.
    """
    folds = patients(options)
    method = train.Method.parse(options.arm)
    results = []
    for number, (patient, cases) in enumerate(folds.items(), 1):
        folder = options.folder / patient
        print(f"fold {number} of {len(folds)}: without {patient}", flush=True)
        data = dataclasses.replace(options.training.data, leave_out=(patient,), validation=())
        config = dataclasses.replace(options.training, data=data)
        unwatched = Validation({}, data.spacing_mm)
        plan = train.plan_student(method, options.roles, config, folder, folder / "assistant", unwatched)
        [trained] = fit_together([plan], unwatched)
        facts = {"patient": patient, "arm": options.arm, "steps": config.loop.steps, "seed": config.loop.seed}
        measure = partial(measured, trained, cases)
        digest = checkpoint.network_digest(trained)
        results.append(result_of(folder / "result.json", digest, case_digests(cases), measure, facts))
        write(options, results)
    print((options.folder / "table.md").read_text(encoding="utf-8"))


def patients(options: CrossValidate) -> dict[str, list[Case]]:
    """The cases by patient, as the scan bank knows them. Raises UserError for a case that is not in it."""
    if options.training.data.scans is None:
        raise UserError("Patients are left out of whole CTs: give --scans, a folder of `python -m training pack`.")
    of = {record.name: record.patient for record in ScanBank(options.training.data.scans).records}
    cases = parse_cases(options.cases)
    unknown = sorted({case.name for case in cases} - set(of))
    if unknown:
        raise UserError(
            f"{', '.join(unknown)} is not among {options.training.data.scans}, so nothing is left out for it. `pack` "
            "sets patients aside (it prints whom): pack with --validation-share 0, so that all are there."
        )
    folds: dict[str, list[Case]] = {}
    for case in cases:
        folds.setdefault(of[case.name], []).append(case)
    return folds


def measured(file: Path, cases: list[Case]) -> Result:
    """The figures of a fold's student on the cases of its patient."""
    rows = [row for row, _ in evaluate(str(file), cases, ("numpy",))]
    return {"cases": {row.case: {name: getattr(row.metrics, name) for name in FIGURES} for row in rows}}


def write(options: CrossValidate, results: list[Result]) -> None:
    """Both forms of the table."""
    write_json(options.folder / "table.json", results)
    means = [fold_means(result) for result in results]
    rows = [
        [result["patient"], str(len(result["cases"])), *(shown(name, fold[name]) for name in FIGURES)]
        for result, fold in zip(results, means, strict=True)
    ]
    spread = {name: mean_and_sd([fold[name] for fold in means]) for name in FIGURES}
    cells = [f"{shown(name, middle)} ± {shown(name, sd)}" for name, (middle, sd) in spread.items()]
    rows.append(["**mean ± sd over patients**", str(sum(len(result["cases"]) for result in results)), *cells])
    text = f"{markdown_table(HEADINGS, rows, text_columns=1)}\n\n{note(options)}\n"
    with atomic_write(options.folder / "table.md") as part:
        part.write_text(text, encoding="utf-8")


def fold_means(result: Result) -> dict[str, float]:
    """The means over a patient's cases, of the size of volume errors."""
    cases = list(result["cases"].values())
    return {name: mean([abs(case[name]) for case in cases]) for name in FIGURES}


def shown(name: str, value: float) -> str:
    """A figure as text."""
    return f"{value:.1%}" if name == "volume_error" else f"{value:.2f}" if name == "hd95" else f"{value:.4f}"


def note(options: CrossValidate) -> str:
    """What was trained, and how it was measured."""
    loop, data = options.training.loop, options.training.data
    start = f"from {loop.start.stem}" if loop.start else "from random weights"
    views = f"{data.scan_share:.0%} of the volumes" if data.bank else "all volumes"
    return (
        f"Widths {'-'.join(map(str, options.roles.student_widths))}, arm {options.arm}, {loop.steps} updates of batch "
        f"{loop.batch}, seed {loop.seed}, {start}; {views} are views of whole CTs of the other patients. Native "
        "resolution, numpy engine. A patient's figures are means over its cases, of the size of volume errors."
    )
