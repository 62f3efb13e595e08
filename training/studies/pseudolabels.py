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
from LiverGTANLib.core.files import atomic_write
from LiverGTANLib.core.volume import AIR, CtVolume, InputError
from LiverGTANLib.core.weight_file import Student
from LiverGTANLib.standalone.dicom.files import holds_dicom
from LiverGTANLib.standalone.image_files import image_of, read_ct, read_labels, stem_of
from training import command_line
from training.data.cases import located
from training.data.held_out import HUMAN_LABELLED
from training.data.layouts import unlabelled
from training.errors import UserError
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
    """Writes NAME.nii.gz for every CT, `labels.json` and `labels.png`; prints one line each.

    A CT that cannot be read or outlined is left out and named.
    Raises UserError when there is no CT to outline, or two have one name.
    """
    network, files = evaluate.model(options.teacher), cts(options)
    engine, columns, records, left_out = ShiftAveragedEngine(network), [], [], {}
    options.output.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        try:
            ct = read_ct(path)
            analysis = segmenter.analyze(ct, engine)
        except (InputError, EngineError) as error:
            left_out[name] = str(error)
            print(f"{name}: left out ({error})", flush=True)
            continue
        mask = segmenter.mask(analysis, ct).full()
        records.append({"name": name} | figures(analysis, mask, ct, path))
        print("  ".join(f"{figure} {value}" for figure, value in records[-1].items()), flush=True)
        write(mask, ct, options.output / f"{name}.nii.gz")
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
    write_json(options.output / "labels.json", about)
    picture.sheet(columns, options.output / "labels.png")


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


def write(mask: np.ndarray, ct: CtVolume, path: Path) -> None:
    """The mask on the grid of its CT."""
    import SimpleITK as sitk

    with atomic_write(path, ".nii.gz") as part:
        sitk.WriteImage(image_of(mask.astype(np.uint8), ct.ijk_to_ras), str(part), useCompression=True)


def digest(network: Student) -> str:
    """SHA-256 of the folded weights, names in order."""
    return hashlib.sha256(b"".join(network.weights[name].tobytes() for name in sorted(network.weights))).hexdigest()
