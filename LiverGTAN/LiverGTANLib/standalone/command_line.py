"""`python -m LiverGTANLib segment`: its options, what it prints, and its exit status."""

import argparse
import glob
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..core import measurements, terminology, weight_file
from ..core.engines.engine import Engine
from ..core.engines.factory import AUTOMATIC, ENGINES, InstalledEngines
from ..core.postprocess import MaskParameters, PostprocessSettings
from ..core.segmenter import BoxMask
from ..core.students import DEFAULT_STUDENT
from ..core.volume import CtVolume, InputError
from .cohort import KINDS, PAGE
from .cohort.case_list import is_case_list
from .cohort.cases import MASK_SUFFIX
from .errors import EXPECTED, sentence
from .file_segmentation import read_file, read_reference, reference_offset, segment_file, write_report
from .image_files import OUTPUT_SUFFIXES, require_output_suffix, write_mask
from .outputs import (
    FormerOutputs,
    require_own_mask,
    require_own_picture,
    require_own_report,
    require_unprotected,
    require_writable,
)

BAD_INPUT = 2
THRESHOLDS = (0.01, 0.99)
"""Chosen somewhat wider than those of the panel, 0.05 to 0.95: beyond, a mask is soon everything or nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 a bad input (in a batch: at least one). Ctrl-C is said and raised."""
    former = FormerOutputs([])
    try:
        options = _parser().parse_args(arguments)
        if not _is_folder(options.output):
            former = FormerOutputs([options.output, options.report, options.picture])
        options.inputs = _resolved(options.inputs)
        engine = InstalledEngines().create(options.student, options.engine)
        if _is_folder(options.output):
            return _segment_many(options, engine)
        return _segment_one(options, engine)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        _tell_what_is_left(former)
        raise
    except BrokenPipeError:  # `exit_status` knows what it means
        raise
    except EXPECTED as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        _tell_what_is_left(former)
        return BAD_INPUT


def _tell_what_is_left(former: FormerOutputs) -> None:
    """So that nobody takes the mask of an earlier CT for that of one that failed."""
    if left := former.left():
        print(f"note: not of this run, but there before: {', '.join(map(str, left))}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m LiverGTANLib", description=terminology.INTENDED_USE)
    commands = parser.add_subparsers(required=True, metavar="segment")
    command = commands.add_parser(
        "segment", help="segment the liver in one CT or several", description=terminology.INTENDED_USE
    )
    add = command.add_argument
    add(
        "inputs",
        nargs="+",
        type=_path,
        metavar="INPUT",
        help="NIfTI, NRRD or MetaImage file; DICOM: a folder, a multi-frame file or a DICOMDIR; with an output folder "
        "also a folder of any of these, or a CSV file with columns path and, if wanted, id and series",
    )
    add(
        "-o",
        "--output",
        required=True,
        type=_path,
        metavar="OUTPUT",
        help=f"a folder, made if need be, in which a later run goes on and {PAGE} shows all; or, for one input, a file "
        f"ending in {', '.join(OUTPUT_SUFFIXES)}",
    )
    add("--overwrite", action="store_true", help="replace an output file that was edited, or is of another program")
    add("--format", choices=OUTPUT_SUFFIXES, help=f"of the masks in an output folder ({MASK_SUFFIX})")
    add(
        "--student",
        default=DEFAULT_STUDENT,
        help=f"{' or '.join(weight_file.available())}, or a file (%(default)s)",
    )
    add("--engine", default=AUTOMATIC, choices=(AUTOMATIC, *ENGINES), help="(%(default)s)")
    add(
        "--threshold",
        type=_probability,
        default=0.5,
        help="probability from which a voxel is liver, 0.01 to 0.99 (%(default)s)",
    )
    add(
        "--series",
        type=int,
        metavar="NUMBER",
        help="which of several DICOM series; without it they are listed with the numbers to give",
    )
    add("--cluster", default="", help=f"workers for an output folder (needs Dask): {KINDS}")
    add("--report", type=_path, metavar="FILE.json", help="volume, times, student and geometry; several inputs: a list")
    add("--picture", type=_path, metavar="FILE.png", help="slices and a 3-D view (one input; needs matplotlib)")
    add(
        "--reference",
        type=_reference,
        metavar="MASK[:LABEL[+LABEL]]",
        help="print the Dice against a mask on the same grid",
    )
    return parser


def _path(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of a file or folder is empty")
    try:
        name = os.fsencode(text)
    except UnicodeEncodeError:
        name = b"\0"
    if b"\0" in name:
        raise argparse.ArgumentTypeError("the name of a file or folder has characters that no name can have")
    return Path(text)


def _resolved(inputs: list[Path]) -> list[Path]:
    """The inputs; for a pattern such as `data/*.nii.gz`, which not every shell resolves, the files that match it."""
    found: list[Path] = []
    for path in inputs:
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        found += matches or [path]
    return found


def _is_folder(output: Path) -> bool:
    """One rule for one input and for several: what is no folder yet is one if its name has no suffix."""
    return output.is_dir() or (not output.suffix and not output.exists())


def _probability(text: str) -> float:
    value = float(text)
    low, high = THRESHOLDS
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
    return value


def _reference(text: str) -> tuple[Path, list[int]]:
    """PATH, PATH:LABEL or PATH:LABEL+LABEL."""
    path, _, chosen = text.rpartition(":")
    labels = chosen.split("+")
    if path and all(label.isascii() and label.isdigit() for label in labels):
        return _path(path), [int(label) for label in labels]
    return _path(text), []


def _segment_one(options: argparse.Namespace, engine: Engine) -> int:
    path, outputs = options.inputs[0], (options.output, options.report, options.picture)
    require_output_suffix(options.output)
    if len(options.inputs) > 1 or options.format or options.cluster or is_case_list(path):
        raise InputError(
            "Several inputs, a list of cases, --format and --cluster need a folder for the masks; "
            f"{options.output} names a file."
        )
    require_writable(outputs, [path, *(options.reference[:1] if options.reference else ())])
    require_unprotected(outputs)
    save_picture = _picture_writer() if options.picture else None  # says at once that matplotlib is missing
    source, seconds = read_file(path, options.series)
    require_output_suffix(options.output, source.images is not None)
    require_writable(outputs, source.files)
    if not options.overwrite:
        require_own_mask(options.output)
        require_own_report(options.report)
        require_own_picture(options.picture)
    reference = read_reference(source.ct, *options.reference) if options.reference else None
    result = segment_file(path, source, seconds, engine, _parameters(options))
    if reference is not None:
        result.report["dice"] = round(measurements.dice(result.mask.full(), reference), 4)
        result.report["warnings"] += filter(None, [reference_offset(source.ct, options.reference[0])])
    result.report["notes"] = [*source.notes, *write_mask(options.output, result.mask, source, engine.student)]
    if options.report:
        write_report(options.report, result.report)
    if save_picture:
        save_picture(options.picture, source.ct, result.mask, str(result))
    for note in result.report["notes"]:
        print(f"note: {note}", file=sys.stderr)
    for warning in result.report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(result)
    return 0


def _picture_writer() -> Callable[[Path, CtVolume, BoxMask, str], None]:
    from .picture import save_picture

    return save_picture


def _segment_many(options: argparse.Namespace, engine: Engine) -> int:
    if options.overwrite:
        raise InputError(
            "--overwrite goes with an output file. In a folder an edited mask is never overwritten: move or delete it, "
            "and give the same command without --overwrite."
        )
    if options.picture or options.reference or options.series is not None:
        raise InputError("--picture, --reference and --series go with a single input and an output file.")
    from .cohort.cohort import CohortOptions, segment_cohort  # a fifth of all imports, which one file does not need
    from .cohort.table import TABLE

    chosen = CohortOptions(
        options.inputs,
        options.output,
        PostprocessSettings(threshold=options.threshold),
        options.format or MASK_SUFFIX,
        options.engine,
        options.cluster,
        options.report,
    )
    try:
        result = segment_cohort(chosen, engine)
    except KeyboardInterrupt:
        print("What is finished is in the output folder; the same command goes on from there.", file=sys.stderr)
        raise
    if options.report:
        write_report(options.report, result.reports)
    wrong = [case for case in result.cases if case.error]
    before = f", {result.skipped} of them before" if result.skipped else ""
    edited = f", {result.edited} edited by hand" if result.edited else ""
    empty = f", {result.without_liver} without a liver" if result.without_liver else ""
    done = f"{len(result.cases) - len(wrong)} of {len(result.cases)} segmented"
    print(f"{done}{before}{edited}{empty}; see {options.output / PAGE}, volumes with ranges in {TABLE}")
    for case in result.cases:
        for kind, said in (("note", "notes"), ("warning", "warnings")):
            if case.report and case.report[said]:
                print(f"{kind}: {_about(case.input, ' '.join(case.report[said]))}", file=sys.stderr)
        if case.error:
            print(f"error: {_about(case.input, case.error)}", file=sys.stderr)
    return BAD_INPUT if wrong else 0


def _about(path: str, text: str) -> str:
    """A text with the path that it is about in front, unless it begins with it, or with a file or folder below it."""
    return text if text.startswith((f"{path} ", f"{path}:", f"{path}{os.sep}")) else f"{path}: {text}"


def _parameters(options: argparse.Namespace) -> MaskParameters:
    return MaskParameters(PostprocessSettings(threshold=options.threshold))
