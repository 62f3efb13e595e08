"""`calibrate`: probabilities and volume intervals as they are, and with a temperature fitted on some of the cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from LiverGTANLib.core import measurements, segmenter, uncertainty
from LiverGTANLib.core.engines.engine import Engine
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.postprocess import Analysis
from LiverGTANLib.core.weight_file import Student
from training import command_line
from training.data.cases import Case, parse_cases
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
from training.evaluation.evaluate import model
from training.options import Calibrate


@dataclass(frozen=True, eq=False)
class CalibrationCase:
    """A case with the network's output. Volumes in mL."""

    case: Case
    analysis: Analysis
    near: BorderVoxels
    reference_ml: float
    found_ml: float

    @classmethod
    def of(cls, case: Case, engine: Engine) -> CalibrationCase:
        """Of one forward pass."""
        analysis = segmenter.analyze(case.ct, engine)
        reference = measurements.volume_ml(case.mask, case.ct.ijk_to_ras)
        found = measurements.volume_ml(segmenter.mask(analysis, case.ct).voxels, case.ct.ijk_to_ras)
        return cls(case, analysis, near_border(analysis, case), reference, found)

    def interval(self, temperature: float) -> uncertainty.VolumeInterval:
        """The volume's interval with a card of this temperature."""
        return uncertainty.interval(replace(self.analysis, temperature=temperature), self.found_ml)

    def volumes(self, temperature: float) -> dict[str, Any]:
        """Volumes in mL, the interval before and after, and whether it holds the reference."""
        figures: dict[str, Any] = {
            "reference_ml": round(self.reference_ml, 1),
            "found_ml": round(self.found_ml, 1),
        }
        for when, interval in (("before", self.interval(1.0)), ("after", self.interval(temperature))):
            figures[f"interval_{when}"] = [round(interval.low, 1), round(interval.high, 1)]
            figures[f"inside_{when}"] = interval.low <= self.reference_ml <= interval.high
        return figures


def calibrate(options: Calibrate) -> None:
    """Prints calibration errors and the temperature, writes them and the reliability diagram."""
    command_line.require_suffix(options.output, ".json")
    cases = parse_cases(options.cases)
    result = measure_calibration(model(options.model), cases, options.fit)
    result |= command_line.record("calibrate", options)
    print(report.text(result))
    picture = options.picture or options.output.with_suffix(".png")
    report.write(result, options.output, picture)
    print(f"{options.output}, {picture}")


def measure_calibration(student: Student, cases: Sequence[Case], fit: Sequence[str]) -> dict[str, Any]:
    """Temperature from the cases named in `fit`, errors of all cases before and after; as JSON holds it.

    Raises UserError when `fit` names no case, or all of them: then nothing is left to show whether it helps.
    """
    _require_split([case.name for case in cases], fit)
    engine = NumpyEngine(student)
    measured = [CalibrationCase.of(case, engine) for case in cases]
    near = {
        "fitted": [one.near for one in measured if one.case.name in fit],
        "measured": [one.near for one in measured if one.case.name not in fit],
    }
    temperature = best_temperature(near["fitted"])
    before_after = {part: errors(group, temperature) for part, group in near.items()}
    return {
        "student": student.name,
        "sha256": student.sha256,
        "shell_mm": SHELL_MM,
        "bins": BINS,
        "temperature": temperature,
        "fitted_on": [one.case for one in near["fitted"]],
        "measured_on": [one.case for one in near["measured"]],
        "helps": helps(before_after["measured"]),
        "ece_before": before_after["measured"]["ece_before"],
        "ece_after": before_after["measured"]["ece_after"],
        **before_after,
        "cases": {one.case.name: errors([one.near], temperature) | one.volumes(temperature) for one in measured},
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


def helps(measured: dict[str, float]) -> bool:
    """Whether both figures got better on cases that the temperature was not fitted on."""
    return measured["ece_after"] < measured["ece_before"] and measured["nll_after"] < measured["nll_before"]


def diagram(cases: Sequence[BorderVoxels], temperature: float) -> dict[str, list[dict[str, float]]]:
    """The bins before and after, as JSON holds them."""
    return {when: [asdict(b) for b in bins(cases, t)] for when, t in (("before", 1.0), ("after", temperature))}


def _require_split(names: list[str], fit: Sequence[str]) -> None:
    unknown = set(fit) - set(names)
    if unknown or not fit:
        raise UserError(f"--fit names {', '.join(sorted(unknown)) or 'nothing'}; the cases are {', '.join(names)}.")
    if set(fit) >= set(names):
        raise UserError("All cases are in --fit; leave one out to show whether the temperature helps.")
