"""One student through all hard cases, by the product's own path: reader, numpy engine, default settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from LiverGTANLib.core import engines, measurements, segmenter
from LiverGTANLib.core.engines.engine import Engine
from LiverGTANLib.core.weight_file import Student
from training import command_line
from training.data.cases import Case
from training.evaluation.evaluate import model
from training.evaluation.metrics import measure as compare
from training.evaluation.stress import real, simulated
from training.evaluation.stress.conditions import BASELINE, Condition, all_conditions
from training.evaluation.stress.example import Example
from training.evaluation.stress.record import ConditionResult, Record
from training.evaluation.stress.report import expectation, line, write
from training.options import Stress, SynthesisConfig
from training.synthesis import source_library

ENGINE = "numpy"


def stress(options: Stress) -> None:
    """Prints a line a condition and writes the table."""
    config = SynthesisConfig(data=options.data)
    library = real.Library(source_library.data_folder(config), tuple(Case.parse(case) for case in options.cases))
    tried = all_conditions(source_library.load_maps(config), library, options.volumes)
    result = measure_conditions(model(options.model), tried) | {"command": command_line.command("stress", options)}
    print(f"{options.output}, {write(result, options.output)}")


def measure_conditions(
    student: Student, conditions: list[Condition], report: Callable[[str], None] = print
) -> dict[str, Any]:
    """The result as JSON holds it: student, note, records (with expectations, see `report.py`)."""
    engine = engines.create(student, ENGINE)
    trained = {source["name"] for source in student.card.get("training", {}).get("data", [])}
    records: list[Record] = []
    for condition in conditions:
        outcomes = [outcome(example, engine, condition, trained) for example in condition.examples()]
        if outcomes:
            records.append(_record(condition, outcomes, records))
            report(line(records[-1]))
    return {
        "student": student.name,
        "sha256": student.sha256,
        "engine": ENGINE,
        "simulated": simulated.NOTE,
        "first_seed": simulated.FIRST_SEED,
        "records": [asdict(record) | {"expectation": expectation(record)} for record in records],
    }


def outcome(example: Example, engine: Engine, condition: Condition, trained: set[str]) -> ConditionResult:
    """What the product makes of one example, against its reference if there is one."""
    analysis = segmenter.analyze(example.ct, engine)
    box = segmenter.mask(analysis)
    told = " ".join(finding.reason for finding in segmenter.check(analysis))
    found = ConditionResult(
        example.name,
        round(measurements.volume_ml(box.voxels, example.ct.ijk_to_ras), 2),
        told,
        example.name.partition(", seed")[0] in trained,
    )
    if condition.kind == "reference":
        metrics = compare(box.full(), example.liver, example.ct.ijk_to_ras)
        figures = {name: round(float(getattr(metrics, name)), 4) for name in ("dice", "nsd3", "volume_error")}
        return ConditionResult(**asdict(found) | figures)
    counts = {name: round(count(example, box.full()), 1) for name, count in condition.counts.items()}
    return ConditionResult(**asdict(found) | {"counts": counts})


def _record(condition: Condition, outcomes: list[ConditionResult], before: list[Record]) -> Record:
    figures = {"reference": _against_reference, "empty": _empty, "unlabelled": _unlabelled}[condition.kind](outcomes)
    baseline = next((r for r in before if (r.condition, r.source) == (BASELINE, condition.source)), None)
    if condition.kind == "reference" and baseline:
        figures["dice_loss"] = _loss(outcomes, baseline.cases)
    return Record(
        condition.name,
        condition.source,
        condition.kind,
        condition.tried,
        outcomes,
        {name: round(value, 4) for name, value in figures.items()},
        condition.advice,
    )


def _against_reference(outcomes: list[ConditionResult]) -> dict[str, float]:
    dice = np.array([o.dice for o in outcomes])
    errors = np.array([o.volume_error for o in outcomes])
    return {
        "dice": float(dice.mean()),
        "dice_worst": float(dice.min()),
        "nsd3": float(np.mean([o.nsd3 for o in outcomes])),
        "volume_error": float(errors.mean()),
        "volume_error_size": float(np.abs(errors).mean()),
    }


def _empty(outcomes: list[ConditionResult]) -> dict[str, float]:
    found = [o.found_ml for o in outcomes]
    return {
        "found_ml": float(np.mean(found)),
        "found_ml_worst": max(found),
        "not_empty": sum(ml > 0 for ml in found),
        "not_told": sum(ml > 0 and not o.told for ml, o in zip(found, outcomes, strict=True)),
    }


def _unlabelled(outcomes: list[ConditionResult]) -> dict[str, float]:
    names = outcomes[0].counts
    return {"found_ml": float(np.mean([o.found_ml for o in outcomes]))} | {
        name: float(np.mean([o.counts[name] for o in outcomes])) for name in names
    }


def _loss(outcomes: list[ConditionResult], ordinary: list[ConditionResult]) -> float:
    """Mean loss of Dice on the examples that both hold."""
    without = {o.case: o.dice for o in ordinary}
    return float(np.mean([without[o.case] - o.dice for o in outcomes]))
