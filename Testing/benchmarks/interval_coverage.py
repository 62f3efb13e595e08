"""Does the volume's interval hold the true volume? On the real CTs with good labels, with the bundled students.

`make benchmark-interval_coverage [ARGUMENTS="--write FILE.md"]`. Also prints the temperature that these cases favor
(least cross entropy near the border, where probabilities are read), and how many volumes each choice of
`uncertainty.LEVELS` would hold.
"""

import argparse
from pathlib import Path

import numpy as np

from LiverGTANLib.core import measurements, segmenter, uncertainty, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.postprocess import Analysis
from support import real_cases
from support.real_cases import RealCase

NEAR_BORDER = 0.02
"""Cells whose probability lies between this and one less this."""

TEMPERATURES = np.round(np.geomspace(0.4, 4, 37), 2)
LOW_LEVELS = (0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)


def cross_entropy(cases: list[tuple[RealCase, Analysis]], temperature: float) -> float:
    """Mean over the cases, of cells that are not decided."""
    losses = []
    for case, analysis in cases:
        truth = analysis.grid.down(case.liver.astype(np.float32))
        near = np.abs(analysis.logits) < np.log(1 / NEAR_BORDER - 1)
        z, y = analysis.logits[near] / temperature, truth[near]
        losses.append(np.mean(np.logaddexp(0, z) - y * z))
    return float(np.mean(losses))


def interval_at(analysis: Analysis, found_ml: float, low_level: float | None = None) -> uncertainty.VolumeInterval:
    """The interval with the usual levels, or with `low_level` and one less it."""
    levels = uncertainty.LEVELS if low_level is None else (low_level, 1 - low_level)
    return uncertainty.interval(analysis, found_ml, levels=levels)


def report(name: str, cases: list[RealCase]) -> tuple[list[str], int]:
    """(lines about one student, cases whose volume its intervals hold)."""
    engine = NumpyEngine(weight_file.load(name))
    analyzed = [(case, segmenter.analyze(case.ct, engine)) for case in cases]
    lines, held = [], 0
    figures = []
    for case, analysis in analyzed:
        found_ml = measurements.volume_ml(segmenter.mask(analysis, case.ct).voxels, case.ct.ijk_to_ras)
        true_ml = measurements.volume_ml(case.liver, case.ct.ijk_to_ras)
        figures.append((analysis, found_ml, true_ml))
        interval = interval_at(analysis, found_ml)
        inside = interval.low <= true_ml <= interval.high
        held += inside
        lines.append(f"| {name} | {case.name} | {true_ml:.0f} | {interval} | {'yes' if inside else 'no'} |")
    best = min(TEMPERATURES, key=lambda t: cross_entropy(analyzed, t))
    print(
        f"{name}: temperature in the card {analyzed[0][1].temperature:g}, "
        f"favored here {best:g}; held by level (in the card's temperature): "
        + ", ".join(f"{level:g}: {sum(holds(*figure, level) for figure in figures)}" for level in LOW_LEVELS)
    )
    return lines, held


def holds(analysis: Analysis, found_ml: float, true_ml: float, level: float) -> bool:
    interval = interval_at(analysis, found_ml, level)
    return interval.low <= true_ml <= interval.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="also write the table here")
    parser.add_argument("--labelled", action="store_true", help="on every expert-labelled CT, trained on or not")
    options = parser.parse_args()
    cases = [real_cases.read(case) for case in real_cases.expert_labelled()] if options.labelled else real_cases.load()
    lines, held = ["| Student | Case | Reference mL | Found mL (interval) | Held |", "|---|---|---|---|---|"], 0
    for name in weight_file.available():
        more, count = report(name, cases)
        lines, held = lines + more, held + count
    lines += ["", f"The interval holds the reference volume in {held} of {len(lines) - 2} answers."]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
