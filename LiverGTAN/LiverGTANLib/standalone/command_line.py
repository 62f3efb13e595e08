"""`python -m LiverGTANLib segment`: the engine of the Slicer module on files."""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import engines, measurements, segmenter, terminology, weight_file
from ..core.engines.engine import Engine, EngineError
from ..core.files import atomic_write
from ..core.postprocess import MaskParameters, PostprocessSettings
from ..core.segmenter import BoxMask
from ..core.volume import CtVolume, InputError, check
from ..core.weight_file import StudentError
from .image_files import OUTPUT_SUFFIXES, read_ct, read_labels, stem_of, suffix_of, write_mask

BAD_INPUT = 2
ERRORS = (InputError, StudentError, EngineError, OSError, MemoryError)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 a bad input (in a batch: at least one)."""
    options = _parser().parse_args(arguments)
    import scipy.ndimage  # noqa: F401  (masks need it; imported here, it is not counted as time of the first scan)

    try:
        engine = engines.create(weight_file.load(options.student), options.engine)
        if options.output.is_dir() or len(options.inputs) > 1:
            return _segment_many(options, engine)
        return _segment_one(options, engine)
    except ERRORS as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m LiverGTANLib", description=terminology.INTENDED_USE)
    commands = parser.add_subparsers(required=True, metavar="segment")
    command = commands.add_parser(
        "segment", help="segment the liver in one CT or several", description=terminology.INTENDED_USE
    )
    add = command.add_argument
    add("inputs", nargs="+", type=Path, metavar="INPUT", help="NIfTI, NRRD or MetaImage file, or a DICOM folder")
    add(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="OUTPUT",
        help=f"file ending in {', '.join(OUTPUT_SUFFIXES)}; for several inputs, or one, an existing folder",
    )
    add(
        "--student",
        default=weight_file.DEFAULT,
        help=f"{' or '.join(weight_file.available())}, or a file (%(default)s)",
    )
    add("--engine", default=engines.AUTOMATIC, choices=(engines.AUTOMATIC, *engines.ENGINES), help="(%(default)s)")
    add("--threshold", type=_probability, default=0.5, help="probability from which a voxel is liver (%(default)s)")
    add("--report", type=Path, metavar="FILE.json", help="volume, times, student and geometry; several inputs: a list")
    add("--picture", type=Path, metavar="FILE.png", help="slices and a 3-D view (one input; needs matplotlib)")
    add("--reference", type=_reference, metavar="MASK[:LABEL]", help="print the Dice against a mask on the same grid")
    return parser


def _probability(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _reference(text: str) -> tuple[Path, int | None]:
    """PATH or PATH:LABEL; without a label every voxel above zero counts."""
    path, _, label = text.rpartition(":")
    return (Path(path), int(label)) if path and label.isdigit() else (Path(text), None)


@dataclass(frozen=True, eq=False)
class FileResult:
    """What became of one CT."""

    ct: CtVolume
    mask: BoxMask
    report: dict[str, Any]


def _segment(path: Path, engine: Engine, parameters: MaskParameters) -> FileResult:
    start = time.perf_counter()
    ct = read_ct(path)
    read = time.perf_counter()
    analysis = segmenter.analyze(ct, engine)
    analyzed = time.perf_counter()
    mask = segmenter.mask(analysis, parameters)
    seconds = {"read": read - start, **analysis.seconds, "mask": time.perf_counter() - analyzed}
    seconds = {stage: round(value, 4) for stage, value in seconds.items()}
    return FileResult(ct, mask, _report(path, ct, mask, engine, parameters, seconds))


def _report(
    path: Path, ct: CtVolume, mask: BoxMask, engine: Engine, parameters: MaskParameters, seconds: dict[str, float]
) -> dict[str, Any]:
    return {
        "input": str(path),
        "volume_ml": round(measurements.volume_ml(mask.voxels, ct.ijk_to_ras), 2),
        "seconds": seconds,
        "engine": engine.name,
        "student": {"name": engine.student.name, "sha256": engine.student.sha256},
        "settings": vars(parameters.settings),
        "geometry": {
            "shape_kji": list(ct.shape),
            "spacing_ijk_mm": np.round(ct.spacing, 6).tolist(),
            "ijk_to_ras": np.round(ct.ijk_to_ras, 6).tolist(),
        },
        "warnings": [finding.reason for finding in check(ct)] + ([NO_LIVER] if mask.empty else []),
        "intended_use": terminology.INTENDED_USE,
    }


NO_LIVER = "No liver was found in this scan."


def _segment_one(options: argparse.Namespace, engine: Engine) -> int:
    path = options.inputs[0]
    _require_writable_name(options.output)
    if options.picture:
        from .picture import save_picture
    result = _segment(path, engine, _parameters(options))
    if options.reference:
        _add_dice(result, *options.reference)
    write_mask(options.output, result.mask, result.ct)
    if options.report:
        _write_json(options.report, result.report)
    if options.picture:
        save_picture(options.picture, result.ct, result.mask, _line(result))
    for warning in result.report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(_line(result))
    return 0


def _parameters(options: argparse.Namespace) -> MaskParameters:
    return MaskParameters(PostprocessSettings(threshold=options.threshold))


def _require_writable_name(path: Path) -> None:
    if suffix_of(path, OUTPUT_SUFFIXES) is None:
        raise InputError(
            f"{path.name} is no output this program writes; end it in {', '.join(OUTPUT_SUFFIXES)}, or "
            "name an existing folder."
        )


def _add_dice(result: FileResult, path: Path, label: int | None) -> None:
    labels = read_labels(path, result.ct)
    reference = labels > 0 if label is None else labels == label
    result.report["dice"] = round(measurements.dice(result.mask.full(), reference), 4)


def _line(result: FileResult) -> str:
    report = result.report
    seconds = sum(value for stage, value in report["seconds"].items() if stage != "read")
    line = f"Liver {report['volume_ml']:.0f} mL, {seconds:.2f} s ({report['engine']}, {report['student']['name']})"
    return line + (f", Dice {report['dice']:.4f}" if "dice" in report else "")


def _segment_many(options: argparse.Namespace, engine: Engine) -> int:
    """One mask for each input and `volumes.csv` with volumes and errors; a bad input does not stop the others."""
    if options.picture or options.reference:
        raise InputError("--picture and --reference go with a single input and an output file.")
    options.output.mkdir(parents=True, exist_ok=True)
    rows, reports = [], []
    for path, target in _with_progress(list(zip(options.inputs, _targets(options.inputs, options.output)))):
        row = {"input": str(path), "output": "", "volume_ml": "", "seconds": "", "error": ""}
        try:
            result = _segment(path, engine, _parameters(options))
            write_mask(target, result.mask, result.ct)
            row.update(
                output=target.name,
                volume_ml=result.report["volume_ml"],
                seconds=round(sum(result.report["seconds"].values()), 3),
            )
            reports.append(result.report)
        except ERRORS as error:
            row["error"] = _sentence(error)
            reports.append({"input": str(path), "error": row["error"]})
        rows.append(row)
    _write_csv(options.output / "volumes.csv", rows)
    if options.report:
        _write_json(options.report, reports)
    return _tell_failures(rows)


def _tell_failures(rows: list[dict[str, Any]]) -> int:
    failed = [row for row in rows if row["error"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} segmented")
    for row in failed:
        print(f"error: {row['error']}", file=sys.stderr)
    return BAD_INPUT if failed else 0


def _targets(inputs: list[Path], folder: Path) -> list[Path]:
    """One file name for each input; inputs of the same name are told apart by a number."""
    seen: dict[str, int] = {}
    targets = []
    for path in inputs:
        stem = stem_of(path.resolve())
        seen[stem] = seen.get(stem, 0) + 1
        number = f"-{seen[stem]}" if seen[stem] > 1 else ""
        targets.append(folder / f"{stem}{number}.seg.nrrd")
    return targets


def _with_progress(items: list) -> Iterator:
    """The items, with a bar on stderr when a person is watching."""
    for done, item in enumerate(items):
        if sys.stderr.isatty():
            filled = 30 * done // len(items)
            print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{len(items)}", end="", file=sys.stderr, flush=True)
        yield item
    if sys.stderr.isatty():
        print(f"\r[{'#' * 30}] {len(items)}/{len(items)}", file=sys.stderr)


def _write_json(path: Path, content: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory for this scan; crop it to the abdomen."
    return " ".join(str(error).split())
