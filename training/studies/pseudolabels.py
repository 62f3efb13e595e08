"""A trained teacher outlines CTs that have no label: masks to look at, then to train on.

Accuracy must not be reported against them. `labels.json` beside the masks names the network and its uncertainty.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from LiverGTANLib.core import measurements, segmenter
from LiverGTANLib.core.engines.engine import EngineError
from LiverGTANLib.core.engines.factory import InstalledEngines
from LiverGTANLib.core.volume import AIR, CtVolume, InputError
from LiverGTANLib.core.weight_file import Student
from LiverGTANLib.standalone.dicom.files import holds_dicom
from LiverGTANLib.standalone.image_files import open_ct, read_labels, stem_of, write_mask
from training import command_line
from training.data.cases import located
from training.data.folders import atomic_folder
from training.data.held_out import HUMAN_LABELLED
from training.data.layouts import unlabelled
from training.errors import UserError, reason
from training.evaluation import evaluate, picture
from training.options import Pseudolabel
from training.studies.stored_results import write_json
from training.synthesis.source_library import EXPERT, PSEUDO

UNCERTAIN = (0.2, 0.8)
"""Between these probabilities a voxel counts as uncertain: chosen on the CTs of `results/pseudolabels.json`, only to
compare them with each other."""


class ShiftAveragedEngine:
    """An engine whose logits are the mean over the eight ways in which the grid may lie on the strides of the stem."""

    def __init__(self, network: Student, engine: str = "torch") -> None:
        self.student, self.inner = network, InstalledEngines().engine_for(network, engine)
        self.name = f"{self.inner.name}, 8 shifts"

    def forward(self, x_DHW: np.ndarray, progress=None, cancelled=None) -> np.ndarray:
        """Logits (D, H, W) float32 of an image in [-1, 1]."""
        total = np.zeros_like(x_DHW)
        for shift in itertools.product((0, 1), repeat=3):
            moved = np.full([n + self.student.multiple for n in x_DHW.shape], AIR, np.float32)
            place = tuple(slice(s, s + n) for s, n in zip(shift, x_DHW.shape, strict=True))
            moved[place] = x_DHW
            total += self.inner.forward(moved)[place] / 8
        return total


def pseudolabel(options: Pseudolabel) -> None:
    """Writes a folder with NAME.nii.gz for every CT, `labels.json` and `labels.png`, whole or not at all; prints one
    line each.

    A CT that cannot be read or outlined is left out and named.
    Raises UserError when there is no CT to outline, two have one name, something is at the output, or the disk is full.
    """
    network, files = evaluate.model(options.teacher), cts(options)
    if options.output.exists():
        raise UserError(f"{options.output} is there already; choose another --output, or delete it to replace it.")
    try:
        with atomic_folder(options.output) as part:
            write_labels(options, network, files, part)
    except OSError as error:
        raise UserError(
            f"The masks cannot be written to {options.output} ({reason(error)}); make room or choose another --output."
        ) from error


def write_labels(options: Pseudolabel, network: Student, files: dict[str, Path], folder: Path) -> None:
    """What `pseudolabel` writes, into a folder. Raises UserError when no CT could be outlined."""
    engine, columns, records, left_out = ShiftAveragedEngine(network), [], [], {}
    for name, path in files.items():
        try:
            source = open_ct(path)
            ct, analysis = source.ct, segmenter.analyze(source.ct, engine)
        except (InputError, EngineError) as error:
            left_out[name] = str(error)
            print(f"{name}: left out ({error})", flush=True)
            continue
        found = segmenter.mask(analysis, ct)
        for note in (*source.notes, *write_mask(folder / f"{name}.nii.gz", found, source, network)):
            print(f"{name}: {note}", flush=True)
        mask = found.full()
        records.append({"name": name} | figures(analysis, mask, ct, path))
        print("  ".join(f"{figure} {value}" for figure, value in records[-1].items()), flush=True)
        columns.append((name, analysis.image, analysis.grid.down(mask.astype(np.float32), fill=0.0)))
    if not records:
        raise UserError(f"No CT in {', '.join(options.cts)} could be outlined; name others with --cts.")
    about = {
        "teacher": list(network.widths),
        "weights_sha256": digest(network),
        "scans": records,
        "left_out": left_out,
        "command": command_line.command("pseudolabel", options),
    }
    write_json(folder / "labels.json", about)
    picture.sheet(columns, folder / "labels.png")


def cts(options: Pseudolabel) -> dict[str, Path]:
    """Name -> file or folder of each CT, named as `--datasets unlabelled=FOLDER` names them.

    Raises UserError for two of one name: they would share a mask.
    """
    found: dict[str, Path] = {}
    for name, path in (pair for text in options.cts for pair in named(located(text))):
        if name in options.exclude or name in HUMAN_LABELLED:
            continue
        if found.setdefault(name, path) != path:
            raise UserError(f"Two CTs are called {name} ({found[name]}, {path}); rename one of them.")
    if not found:
        raise UserError(f"There is no CT in {', '.join(options.cts)} that is not excluded; name files with --cts.")
    return found


def named(place: Path) -> list[tuple[str, Path]]:
    """Name and place of a CT, or of every CT of a folder that is no mask and has none by people beside it."""
    if not place.is_dir() or holds_dicom(place):
        return [(stem_of(place), place)]
    return [
        (scan.name, scan.ct)
        for scan in unlabelled(place)
        if not scan.ct.name.endswith((EXPERT, PSEUDO)) and not scan.ct.with_name(stem_of(scan.ct) + EXPERT).exists()
    ]


def figures(analysis: segmenter.Analysis, mask: np.ndarray, ct: CtVolume, path: Path) -> dict[str, Any]:
    """Volume, uncertain voxels as a share of those of liver, and Dice with a mask that lies beside the CT."""
    probability = 1 / (1 + np.exp(-analysis.logits))
    uncertain = ((probability > UNCERTAIN[0]) & (probability < UNCERTAIN[1])).sum() / max(1, (probability > 0.5).sum())
    found = {"ml": round(measurements.volume_ml(mask, ct.ijk_to_ras), 1), "uncertain": round(float(uncertain), 4)}
    beside = [path.with_name(stem_of(path) + ending) for ending in (EXPERT, PSEUDO)]
    for other in (read_labels(p, ct) > 0 for p in beside if p.exists()):
        found["dice_with_older"] = round(measurements.dice(other, mask), 4)
    return found


def digest(network: Student) -> str:
    """SHA-256 of the folded weights, names in order."""
    return hashlib.sha256(b"".join(network.weights[name].tobytes() for name in sorted(network.weights))).hexdigest()
