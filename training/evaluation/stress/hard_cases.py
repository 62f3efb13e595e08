"""`stress`: one student on all hard cases, as the extension segments: numpy engine, default settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from LiverGTANLib.core import measurements, segmenter
from LiverGTANLib.core.engines.engine import Engine
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.weight_file import Student
from training import command_line
from training.data.cases import parse_cases
from training.evaluation.evaluate import model
from training.evaluation.metrics import measure
from training.evaluation.stress import real, simulated
from training.evaluation.stress.conditions import BASELINE, Condition, all_conditions
from training.evaluation.stress.example import Example
from training.evaluation.stress.record import ConditionResult, Record
from training.evaluation.stress.report import expectation, line, write
from training.evaluation.training_history import sources
from training.options import Stress, SynthesisConfig
from training.synthesis import source_library


def stress(options: Stress) -> None:
    """Prints a line a condition and writes the table."""
    command_line.require_suffix(options.output, ".json")
    student = model(options.model)  # first, as what follows takes longer
    config = SynthesisConfig(data=options.data, phantom=options.phantom)
    maps = source_library.load_maps(config) if options.volumes else []
    folder = None if options.phantom else source_library.data_folder(config)
    library = real.Library(folder, tuple(parse_cases(options.cases)))
    conditions = all_conditions(maps, library, options.volumes)
    result = measure_conditions(student, conditions) | command_line.record("stress", options)
    print(f"{options.output}, {write(result, options.output)}")


def measure_conditions(
    student: Student, conditions: list[Condition], report: Callable[[str], None] = print
) -> dict[str, Any]:
    """The result as JSON holds it: student, note, records (with expectations, see `report.py`)."""
    engine = NumpyEngine(student)
    trained = sources(student.card)
    records: list[Record] = []
    for condition in conditions:
        results = [condition_result(example, engine, condition, trained) for example in condition.examples()]
        if not results:
            report(f"{condition.name} ({condition.source}): left out, no example is here.")
            continue
        records.append(_record(condition, results, records))
        report(line(records[-1]))
    return {
        "student": student.name,
        "sha256": student.sha256,
        "engine": engine.name,
        "simulated": simulated.NOTE,
        "first_seed": simulated.FIRST_SEED,
        "records": [asdict(record) | {"expectation": expectation(record)} for record in records],
    }


def condition_result(example: Example, engine: Engine, condition: Condition, trained: set[str]) -> ConditionResult:
    """The extension's mask of one example, against the reference if there is one."""
    analysis = segmenter.analyze(example.ct, engine)
    box = segmenter.mask(analysis, example.ct)
    message = " ".join(finding.reason for finding in segmenter.check(analysis))
    found = ConditionResult(
        example.name,
        round(measurements.volume_ml(box.voxels, example.ct.ijk_to_ras), 2),
        message,
        example.name.partition(", seed")[0] in trained,
    )
    if condition.kind == "reference" and example.liver is not None:
        metrics = measure(box.full(), example.liver, example.ct.ijk_to_ras)
        figures = {name: round(float(getattr(metrics, name)), 4) for name in ("dice", "nsd3", "volume_error")}
        return ConditionResult(**asdict(found) | figures)
    counts = {name: round(count(example, box.full()), 1) for name, count in condition.counts.items()}
    return ConditionResult(**asdict(found) | {"counts": counts})


def _record(condition: Condition, results: list[ConditionResult], before: list[Record]) -> Record:
    figures = {"reference": _against_reference, "empty": _empty, "unlabelled": _unlabelled}[condition.kind](results)
    baseline = next((r for r in before if (r.condition, r.source) == (BASELINE, condition.source)), None)
    if condition.kind == "reference" and baseline:
        figures["dice_loss"] = _loss(results, baseline.cases)
    return Record(
        condition.name,
        condition.source,
        condition.kind,
        condition.setup,
        results,
        {name: round(value, 4) for name, value in figures.items()},
        condition.advice,
    )


def _against_reference(results: list[ConditionResult]) -> dict[str, float]:
    dice = np.array([one.dice for one in results])
    errors = np.array([one.volume_error for one in results])
    return {
        "dice": float(dice.mean()),
        "dice_worst": float(dice.min()),
        "nsd3": float(np.mean([one.nsd3 for one in results])),
        "volume_error": float(errors.mean()),
        "volume_error_size": float(np.abs(errors).mean()),
    }


def _empty(results: list[ConditionResult]) -> dict[str, float]:
    found = [one.found_ml for one in results]
    return {
        "found_ml": float(np.mean(found)),
        "found_ml_worst": max(found),
        "not_empty": sum(ml > 0 for ml in found),
        "without_warning": sum(ml > 0 and not one.message for ml, one in zip(found, results, strict=True)),
    }


def _unlabelled(results: list[ConditionResult]) -> dict[str, float]:
    names = results[0].counts
    return {"found_ml": float(np.mean([one.found_ml for one in results]))} | {
        name: float(np.mean([one.counts[name] for one in results])) for name in names
    }


def _loss(results: list[ConditionResult], ordinary: list[ConditionResult]) -> float:
    """Mean loss of Dice on the examples that both hold."""
    without = {one.case: one.dice for one in ordinary if one.dice is not None}
    return float(np.mean([without[one.case] - one.dice for one in results if one.dice is not None]))
