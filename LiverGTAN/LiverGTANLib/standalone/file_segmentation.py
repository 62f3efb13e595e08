"""One CT file from reading to mask, and the report on it."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import measurements, segmenter, terminology, uncertainty
from ..core.engines.engine import Engine
from ..core.files import atomic_write, real_path, to_json
from ..core.input_checks import require_usable
from ..core.postprocess import MaskParameters, PostprocessSettings
from ..core.proportion_check import check_body
from ..core.segmenter import BoxMask
from ..core.volume import CtVolume, InputError
from .image_files import (
    LARGEST_OFFSET_VOXELS,
    CtFile,
    is_dicom_file,
    open_ct,
    read_header,
    read_labels,
    voxels_apart,
)


@dataclass(frozen=True, eq=False)
class FileResult:
    """What was found in one file. report: what `--report` writes."""

    source: CtFile
    mask: BoxMask
    report: dict[str, Any]

    def __str__(self) -> str:
        """One line; the seconds are those from the CT in memory to the mask."""
        report = self.report
        seconds = sum(value for stage, value in report["seconds"].items() if stage not in ("read", "check"))
        ends = report["volume_range_ml"]
        range_ml = f" ({ends[0]:.0f} to {ends[1]:.0f})" if ends else ""
        by = f"{report['engine']}, {report['student']['name']}"
        line = f"Liver {report['volume_ml']:.0f} mL{range_ml}, {seconds:.2f} s ({by})"
        return line + (f", Dice {report['dice']:.4f}" if "dice" in report else "")


def read_file(path: Path, series: int | None = None) -> tuple[CtFile, float]:
    """The CT in a file, and the seconds that reading took. Raises InputError with a sentence."""
    start = time.perf_counter()
    source = open_ct(path, series)
    return source, time.perf_counter() - start


def segment_file(
    path: Path, source: CtFile, read_seconds: float, engine: Engine, parameters: MaskParameters
) -> FileResult:
    """Find the liver in a CT that was read. Raises InputError or EngineError with a sentence."""
    start = time.perf_counter()
    about_scan = require_usable(source.ct)
    checking = time.perf_counter() - start
    analysis = segmenter.analyze(source.ct, engine, checked=True)
    analyzed = time.perf_counter()
    mask = segmenter.mask(analysis, source.ct, parameters)
    masked = time.perf_counter()
    findings = [
        *about_scan,
        *segmenter.check(analysis),
        *check_body(analysis, engine),
    ]
    reasons = [finding.reason for finding in findings]
    volume_ml = measurements.volume_ml(mask.voxels, source.ct.ijk_to_ras)
    interval = uncertainty.interval(analysis, volume_ml, parameters)
    unusual = measurements.unusual_size(volume_ml)
    if unusual and parameters.settings.threshold != PostprocessSettings.threshold:  # what is said else is of this one
        reasons.insert(0, f"At a threshold of {parameters.settings.threshold:g} the liver is {unusual}.")
    if dark := measurements.dark(measurements.dark_ml(analysis, parameters)):
        reasons.insert(0, f"Of the mask {dark}.")
    cut = measurements.cut_ends(mask, source.ct)
    seconds = {
        "read": read_seconds,
        **analysis.seconds,
        "mask": masked - analyzed,
        "check": checking + time.perf_counter() - masked,
    }
    report = {
        "input": str(path),
        "volume_ml": round(volume_ml, 2),
        "volume_range_ml": [round(interval.low, 2), round(interval.high, 2)] if interval.is_known else None,
        "cut_by_end_of_scan": cut,
        "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
        "engine": engine.name,
        "student": {"name": engine.student.name, "sha256": engine.student.sha256},
        "settings": vars(parameters.settings),
        "geometry": _geometry(source.ct),
        "notes": source.notes,
        "warnings": [f"The liver is {measurements.incomplete(cut)}."] * bool(cut) + reasons,
        "intended_use": terminology.INTENDED_USE,
    }
    return FileResult(source, mask, report)


def read_reference(ct: CtVolume, path: Path, chosen: Collection[int]) -> np.ndarray:
    """A mask file as (K, J, I) bool on the CT's grid. chosen: labels that are liver; empty for the only one.

    Raises InputError when one of them is not in it, when it holds several and none was chosen, or nothing at all.
    """
    labels = read_labels(path, ct)
    held = np.unique(labels).tolist()
    found, above = (", ".join(map(str, some[:20])) for some in (held, [label for label in held if label > 0]))
    if not above:
        raise InputError(f"{path} is empty: it holds no label above 0; give the mask of this scan.")
    if 0 in chosen:
        raise InputError(f"Label 0 of {path} is what is not marked; choose of {above}.")
    missing = [label for label in chosen if label not in held]
    if missing:
        raise InputError(f"{path} has no label {missing[0]}; it holds {found}.")
    if not chosen and "," in above:
        raise InputError(
            f"{path} holds the labels {above}; say which is the liver, as in --reference {path}:1, or :1+2 for liver "
            "and tumor."
        )
    return np.isin(labels, sorted(chosen)) if chosen else labels > 0


def reference_offset(ct: CtVolume, path: Path) -> str:
    """What to say of a reference that does not lie exactly on the CT's grid; empty when it does. Raises InputError."""
    apart = 0.0 if is_dicom_file(path) else voxels_apart(read_header(path), ct)
    if apart <= LARGEST_OFFSET_VOXELS:
        return ""
    return (
        f"{path} lies {apart:.2g} voxels beside the CT's grid; the Dice is that of masks laid upon each other, and "
        "wrong if the difference is real."
    )


def write_report(path: Path, content: dict[str, Any] | list[dict[str, Any]]) -> None:
    """As JSON. Raises OSError with a sentence."""
    with atomic_write(real_path(path)) as temporary:
        # Names of files may hold bytes that are no text, which only escapes can stand for.
        temporary.write_text(to_json(content, indent=2, ascii_only=True) + "\n", encoding="utf-8")


def _geometry(ct: CtVolume) -> dict[str, Any]:
    return {
        "shape_kji": list(ct.shape),
        "spacing_ijk_mm": np.round(ct.spacing, 6).tolist(),
        "ijk_to_ras": np.round(ct.ijk_to_ras, 6).tolist(),
    }
