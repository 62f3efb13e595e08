"""One CT file from reading to mask, and the report on it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import measurements, segmenter, terminology
from ..core.engines.engine import Engine
from ..core.files import atomic_write
from ..core.postprocess import MaskParameters
from ..core.segmenter import BoxMask
from ..core.volume import CtVolume, check
from .image_files import read_ct, read_labels

NO_LIVER = "No liver was found in this scan."


@dataclass(frozen=True, eq=False)
class FileResult:
    """What was found in one file. report: what `--report` writes."""

    ct: CtVolume
    mask: BoxMask
    report: dict[str, Any]

    def __str__(self) -> str:
        """One line; the seconds are those from the CT in memory to the mask."""
        report = self.report
        seconds = sum(value for stage, value in report["seconds"].items() if stage != "read")
        line = f"Liver {report['volume_ml']:.0f} mL, {seconds:.2f} s ({report['engine']}, {report['student']['name']})"
        return line + (f", Dice {report['dice']:.4f}" if "dice" in report else "")


def segment_file(path: Path, engine: Engine, parameters: MaskParameters) -> FileResult:
    """Read a CT and find its liver. Raises InputError or EngineError with a sentence."""
    start = time.perf_counter()
    ct = read_ct(path)
    read = time.perf_counter()
    analysis = segmenter.analyze(ct, engine)
    analyzed = time.perf_counter()
    mask = segmenter.mask(analysis, parameters)
    seconds = {"read": read - start, **analysis.seconds, "mask": time.perf_counter() - analyzed}
    report = {
        "input": str(path),
        "volume_ml": round(measurements.volume_ml(mask.voxels, ct.ijk_to_ras), 2),
        "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
        "engine": engine.name,
        "student": {"name": engine.student.name, "sha256": engine.student.sha256},
        "settings": vars(parameters.settings),
        "geometry": _geometry(ct),
        "warnings": [finding.reason for finding in check(ct)] + ([NO_LIVER] if mask.empty else []),
        "intended_use": terminology.INTENDED_USE,
    }
    return FileResult(ct, mask, report)


def add_dice(result: FileResult, reference: Path, label: int | None) -> None:
    """Put the Dice coefficient with a mask file into the report; without a label every voxel above zero counts."""
    labels = read_labels(reference, result.ct)
    truth = labels > 0 if label is None else labels == label
    result.report["dice"] = round(measurements.dice(result.mask.full(), truth), 4)


def write_report(path: Path, content: dict[str, Any] | list[dict[str, Any]]) -> None:
    """As JSON. Raises OSError with a sentence."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _geometry(ct: CtVolume) -> dict[str, Any]:
    return {
        "shape_kji": list(ct.shape),
        "spacing_ijk_mm": np.round(ct.spacing, 6).tolist(),
        "ijk_to_ras": np.round(ct.ijk_to_ras, 6).tolist(),
    }
