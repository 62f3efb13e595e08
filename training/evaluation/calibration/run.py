"""One student on real cases: probabilities and intervals as they are, and with a temperature fitted on some cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from LiverGTANLib.core import engines, measurements, segmenter, uncertainty
from LiverGTANLib.core.engines.engine import Engine
from LiverGTANLib.core.postprocess import Analysis
from LiverGTANLib.core.weight_file import Student
from training import command_line
from training.data.cases import Case
from training.errors import UserError
from training.evaluation.calibration import report
from training.evaluation.calibration.reliability import (
    BINS,
    SHELL_MM,
    BorderVoxels,
    best_temperature,
    bins,
    calibration_error,
    cross_entropy,
    near_border,
)
from training.evaluation.calibration.report import FEWEST_FOR_LEVELS
from training.evaluation.evaluate import model
from training.options import Calibrate

HELD = 0.9
"""Share of the fitted cases whose volume the interval must hold."""
LOW_LEVELS = (0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02)


@dataclass(frozen=True, eq=False)
class CalibrationCase:
    """A case with what the network says of it. Volumes in mL."""

    case: Case
    analysis: Analysis
    near: BorderVoxels
    reference_ml: float
    found_ml: float

    @classmethod
    def of(cls, case: Case, engine: Engine) -> CalibrationCase:
        analysis = segmenter.analyze(case.ct, engine)
        reference = measurements.volume_ml(case.mask, case.ct.ijk_to_ras)
        found = measurements.volume_ml(segmenter.mask(analysis).voxels, case.ct.ijk_to_ras)
        return cls(case, analysis, near_border(analysis, case), reference, found)

    def interval(self, temperature: float, low: float = uncertainty.LEVELS[0]) -> uncertainty.Interval:
        """The volume's interval with a card of this temperature and the levels `low` and one less it."""
        card = {"temperature": temperature, "levels": [low, 1 - low]}
        return uncertainty.interval(replace(self.analysis, calibration=card), self.found_ml)

    def held(self, temperature: float, low: float = uncertainty.LEVELS[0]) -> bool:
        interval = self.interval(temperature, low)
        return interval.low <= self.reference_ml <= interval.high


def calibrate_student(options: Calibrate) -> None:
    """Prints calibration errors and the temperature, writes them and the reliability diagram."""
    cases = [Case.parse(case) for case in options.cases]
    result = calibrate(model(options.model), cases, options.fit)
    result |= {"command": command_line.command("calibrate", options)}
    print(report.text(result))
    picture = options.picture or options.output.with_suffix(".png")
    report.write(result, options.output, picture)
    print(f"{options.output}, {picture}")


def calibrate(student: Student, cases: Sequence[Case], fit: Sequence[str]) -> dict[str, Any]:
    """Temperature from the cases named in `fit`, errors of all cases before and after; as JSON holds it.

    Raises UserError when `fit` names no case, or all of them: then nothing is left to tell whether it helps.
    """
    _require_split([case.name for case in cases], fit)
    engine = engines.create(student, "numpy")
    tried = [CalibrationCase.of(case, engine) for case in cases]
    parts = {"fitted": [t for t in tried if t.case.name in fit], "unseen": [t for t in tried if t.case.name not in fit]}
    near = {part: [t.near for t in group] for part, group in parts.items()}
    temperature = best_temperature(near["fitted"])
    before_after = {part: errors(group, temperature) for part, group in near.items()}
    return {
        "student": student.name,
        "sha256": student.sha256,
        "shell_mm": SHELL_MM,
        "bins": BINS,
        "temperature": temperature,
        "levels": levels(parts["fitted"], temperature),
        "fitted_on": [n.case for n in near["fitted"]],
        "measured_on": [n.case for n in near["unseen"]],
        "helps": helps(before_after["unseen"]),
        "ece_before": before_after["unseen"]["ece_before"],
        "ece_after": before_after["unseen"]["ece_after"],
        **before_after,
        "cases": {t.case.name: errors([t.near], temperature) | volumes(t, temperature) for t in tried},
        "diagram": {part: diagram(group, temperature) for part, group in near.items()},
    }


def errors(cases: Sequence[BorderVoxels], temperature: float) -> dict[str, float]:
    """Calibration error and cross entropy before and after."""
    figures = {"ece": calibration_error, "nll": cross_entropy}
    return {
        f"{name}_{when}": round(figure(cases, t), 4)
        for name, figure in figures.items()
        for when, t in (("before", 1.0), ("after", temperature))
    }


def helps(unseen: dict[str, float]) -> bool:
    """Whether both figures got better on cases that the temperature was not fitted on."""
    return unseen["ece_after"] < unseen["ece_before"] and unseen["nll_after"] < unseen["nll_before"]


def volumes(tried: CalibrationCase, temperature: float) -> dict[str, Any]:
    """Volumes in mL, with the interval at the product's usual levels before and after."""
    ends = {
        f"interval_{when}": [round(i.low, 1), round(i.high, 1)]
        for when, i in (("before", tried.interval(1.0)), ("after", tried.interval(temperature)))
    }
    held = {"held_before": tried.held(1.0), "held_after": tried.held(temperature)}
    return {"reference_ml": round(tried.reference_ml, 1), "found_ml": round(tried.found_ml, 1)} | ends | held


def levels(fitted: Sequence[CalibrationCase], temperature: float) -> list[float] | None:
    """The narrowest levels whose intervals hold most of the fitted cases' volumes; None for too few cases."""
    if len(fitted) < FEWEST_FOR_LEVELS:
        return None
    for low in LOW_LEVELS:
        if np.mean([tried.held(temperature, low) for tried in fitted]) >= HELD:
            return [low, round(1 - low, 2)]
    return None


def diagram(cases: Sequence[BorderVoxels], temperature: float) -> dict[str, list[dict[str, float]]]:
    return {when: [asdict(b) for b in bins(cases, t)] for when, t in (("before", 1.0), ("after", temperature))}


def _require_split(names: list[str], fit: Sequence[str]) -> None:
    unknown = set(fit) - set(names)
    if unknown or not fit:
        raise UserError(f"--fit names {', '.join(sorted(unknown)) or 'nothing'}; the cases are {', '.join(names)}.")
    if set(fit) >= set(names):
        raise UserError("All cases are in --fit; leave one out to tell whether the temperature helps.")
