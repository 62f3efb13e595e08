"""`python -m LiverGTANLib segment`: its options, what it prints, and its exit status."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ..core import engines, terminology, weight_file
from ..core.engines.engine import Engine
from ..core.postprocess import MaskParameters, PostprocessSettings
from ..core.segmenter import BoxMask
from ..core.volume import CtVolume, InputError
from .errors import EXPECTED, sentence
from .file_batch import segment_files
from .file_segmentation import add_dice, segment_file, write_report
from .image_files import OUTPUT_SUFFIXES, suffix_of, write_mask

BAD_INPUT = 2


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 a bad input (in a batch: at least one)."""
    options = _parser().parse_args(arguments)
    import scipy.ndimage  # noqa: F401  (masks need it; imported here, it is not counted as time of the first scan)

    try:
        engine = engines.create(weight_file.load(options.student), options.engine)
        if options.output.is_dir() or len(options.inputs) > 1:
            return _segment_many(options, engine)
        return _segment_one(options, engine)
    except EXPECTED as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
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


def _segment_one(options: argparse.Namespace, engine: Engine) -> int:
    if suffix_of(options.output, OUTPUT_SUFFIXES) is None:
        raise InputError(
            f"{options.output.name} is no output this program writes; end it in {', '.join(OUTPUT_SUFFIXES)}, or "
            "name an existing folder."
        )
    save_picture = _picture_writer() if options.picture else None  # says at once that matplotlib is missing
    result = segment_file(options.inputs[0], engine, _parameters(options))
    if options.reference:
        add_dice(result, *options.reference)
    write_mask(options.output, result.mask, result.ct)
    if options.report:
        write_report(options.report, result.report)
    if save_picture:
        save_picture(options.picture, result.ct, result.mask, str(result))
    for warning in result.report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(result)
    return 0


def _picture_writer() -> Callable[[Path, CtVolume, BoxMask, str], None]:
    from .picture import save_picture

    return save_picture


def _segment_many(options: argparse.Namespace, engine: Engine) -> int:
    if options.picture or options.reference:
        raise InputError("--picture and --reference go with a single input and an output file.")
    rows, reports = segment_files(options.inputs, options.output, engine, _parameters(options))
    if options.report:
        write_report(options.report, reports)
    failed = [row for row in rows if row["error"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} segmented")
    for row in failed:
        print(f"error: {row['error']}", file=sys.stderr)
    return BAD_INPUT if failed else 0


def _parameters(options: argparse.Namespace) -> MaskParameters:
    return MaskParameters(PostprocessSettings(threshold=options.threshold))
