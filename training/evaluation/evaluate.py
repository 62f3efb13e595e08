"""`evaluate`: real CTs at native resolution, through the engines that Slicer uses."""

from __future__ import annotations

import csv
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from LiverGTANLib.core import segmenter, weight_file
from LiverGTANLib.core.engines.factory import InstalledEngines
from LiverGTANLib.core.files import atomic_write
from LiverGTANLib.core.volume import HU_WINDOW, SPACING_MM
from training.command_line import require_suffix
from training.data.cache import resampled
from training.data.cases import Case, parse_cases
from training.data.mask_checks import check_mask
from training.errors import UserError
from training.evaluation import picture
from training.evaluation.markdown import markdown_table
from training.evaluation.metrics import Metrics, measure
from training.evaluation.summary import mean_and_sd
from training.fit import checkpoint, network_file
from training.model.folding import in_memory
from training.options import Evaluate

logger = logging.getLogger(__name__)

COLUMNS = ("dice", "nsd2", "nsd3", "hd95", "assd", "volume_ml", "reference_ml", "volume_error")
SUMMARIZED = ("dice", "nsd2", "nsd3", "hd95", "assd", "volume_error")
NOT_WRITTEN = "These figures were written to no file; --output FILE.csv does so."
TRAINED_ON = "trained_on"
"""Column of the written table: why a case counts as trained on, empty where nothing is known of that."""
LARGER_IS_BETTER = ("dice", "nsd2", "nsd3")


@dataclass(frozen=True)
class EvaluationRow:
    """One case under one engine."""

    case: str
    model: str
    engine: str
    seconds: float
    metrics: Metrics

    def values(self) -> dict[str, str]:
        """As a line of a table: names and figures as text."""
        figures = {name: getattr(self.metrics, name) for name in COLUMNS}
        head = {"case": self.case, "model": self.model, "engine": self.engine, "seconds": f"{self.seconds:.3f}"}
        return head | {name: f"{value:.4f}" for name, value in figures.items()}


def evaluate_cases(options: Evaluate, trained_on: Callable[[str, list[Case]], dict[str, str]]) -> None:
    """Prints the figures of every case and their summary; writes them, and a picture, if asked for.

    trained_on(model, cases) -> a sentence for each case, by name, that the model was trained on. They are evaluated
    all the same, but nobody is to take them for unseen ones.
    """
    if options.output:
        require_suffix(options.output, ".csv")
    if not (options.model and options.cases):
        raise UserError(
            "Give a model and cases, as in `evaluate student-100k --cases CT=MASK`, or `evaluate --bundled`."
        )
    cases = parse_cases(options.cases)
    for case in cases:
        for reason in against_reference(case):
            logger.warning("%s: %s", case.name, reason)
    trained = trained_on(options.model, cases)
    for name, reason in trained.items():
        logger.warning("%s: %s", name, reason)
    rows, masks = [], {}
    for row, mask in evaluate(options.model, cases, options.engines):
        print("  ".join(f"{name} {value}" for name, value in row.values().items()), flush=True)
        rows.append(row)
        masks[row.case] = mask
    lines = summary(rows)
    print(f"\n{markdown_table(list(lines[0]), [list(line.values()) for line in lines], text_columns=2)}\n")
    if trained:
        print(f"Not of unseen cases, in the means too: {', '.join(trained)}\n")
    written = []
    if options.output:
        written = [options.output, options.output.with_suffix(".summary.csv")]
        write_csv([row.values() | {TRAINED_ON: trained.get(row.case, "")} for row in rows], written[0])
        write_csv(lines, written[1])
    if options.picture:
        picture.outlines(cases, masks, options.picture)
        written.append(options.picture)
    print(f"Wrote {', '.join(map(str, written))}" if written else NOT_WRITTEN)


def against_reference(case: Case) -> list[str]:
    """Why a reference cannot be that of the CT's liver, by what a mask to train on is refused for."""
    hu, label = resampled(case.ct, case.mask, SPACING_MM)
    if label is None or not label.any():
        return ["the reference is empty: against it every mask counts as wrong, with a Dice of 0"]
    findings = check_mask(case.ct, case.mask, hu, label, SPACING_MM)
    return [f"{finding.reason}; is this the reference of this CT?" for finding in findings if finding.blocking]


def model(source: str) -> weight_file.Student:
    """A student by name or by file; or a checkpoint (.pt, or .pt:ROLE) or network file, folded in memory."""
    path = checkpoint_file(source)
    if path is None:
        require_student(source)
        return weight_file.load(source)
    _, found, role = source.partition(".pt")
    net = checkpoint.network(path, role.removeprefix(":") or None)
    student = in_memory(net, path.parent.name + role if found else path.stem, checkpoint.spacing_mm(path), HU_WINDOW)
    digest = network_file.digest(net.state_dict())  # that of a file would be another, but there is none
    return dataclasses.replace(student, card=student.card | {"sha256": digest})


def checkpoint_file(source: str) -> Path | None:
    """The checkpoint or network file among what `model` takes, without a role; None for anything else."""
    file, found, _ = source.partition(".pt")
    return Path(file + found) if found or source.endswith(network_file.SUFFIX) else None


def require_student(source: str) -> None:
    """Raises UserError for what is neither a bundled student's name nor the file of a student."""
    if source not in weight_file.available() and Path(source).suffix not in checkpoint.STUDENT_SUFFIXES:
        raise UserError(
            f"{source!r} is no student: give {', '.join(weight_file.available())}, a student's .npz or .json, a "
            "checkpoint (.pt or .pt:ROLE) or a network (.safetensors)."
        )


def evaluate(
    source: str, cases: list[Case], engine_names: tuple[str, ...]
) -> Iterator[tuple[EvaluationRow, np.ndarray]]:
    """(figures, mask) of every case with every engine; `source` is what `model` takes, or a folder of masks."""
    if Path(source).is_dir():
        for case in cases:
            mask = saved_mask(Path(source), case)
            yield measured_row(case, mask, Path(source).name, "file", 0.0), mask
        return
    network = model(source)
    for name in engine_names:
        engine = InstalledEngines().engine_for(network, name)
        for case in cases:
            began = time.perf_counter()
            mask = segmenter.mask(segmenter.analyze(case.ct, engine), case.ct).full()
            yield measured_row(case, mask, network.name, engine.name, time.perf_counter() - began), mask


def measured_row(case: Case, mask: np.ndarray, model_name: str, engine: str, seconds: float) -> EvaluationRow:
    """The metrics of one mask on the case's grid."""
    metrics = measure(mask, case.mask, case.ct.ijk_to_ras)
    return EvaluationRow(case.name, model_name, engine, seconds, metrics)


def saved_mask(folder: Path, case: Case) -> np.ndarray:
    """The case's mask from a folder of masks named like the CTs."""
    for suffix in (".nii.gz", ".nii", ".nrrd", ".mha"):
        path = folder / (case.name + suffix)
        if path.exists():
            return dataclasses.replace(case, mask_path=path, label=None).mask
    raise UserError(f"{folder} does not hold a mask named {case.name} (.nii.gz, .nii, .nrrd or .mha).")


def summary(rows: list[EvaluationRow]) -> list[dict[str, str]]:
    """One line for each engine and metric: mean, sd, and mean of the worst tenth (at least one case).

    cases: of how many; undefined: how many more have no such figure, as distances to an empty mask.
    """
    lines = []
    for engine in dict.fromkeys(row.engine for row in rows):
        for name in SUMMARIZED:
            values = np.array([getattr(row.metrics, name) for row in rows if row.engine == engine], float)
            known = values[np.isfinite(values)]
            mean, sd = mean_and_sd(known.tolist())
            worst = worst_tenth(known, name in LARGER_IS_BETTER) if len(known) else float("nan")
            counted = {"engine": engine, "metric": name, "cases": len(known), "undefined": len(values) - len(known)}
            figures = {"mean": mean, "sd": sd, "worst_decile": worst}
            lines.append(
                {key: str(value) for key, value in counted.items()}
                | {key: f"{value:.4f}" for key, value in figures.items()}
            )
    return lines


def worst_tenth(values: np.ndarray, larger_is_better: bool) -> float:
    """Mean of the worst tenth: the smallest, or those farthest from zero."""
    ordered = np.sort(values) if larger_is_better else values[np.argsort(-np.abs(values))]
    return float(ordered[: max(1, len(values) // 10)].mean())


def write_csv(lines: list[dict[str, str]], path: Path) -> None:
    """The lines as a CSV file."""
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
