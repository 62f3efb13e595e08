"""A trained teacher outlines CTs that nobody has outlined: masks to look at, then to train on.

Nobody should report accuracy against them. `labels.json` beside the masks says who made them and how sure it was.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from LiverGTANLib.core import measurements, segmenter
from LiverGTANLib.core.engines.factory import InstalledEngines
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.core.weight_file import Student
from LiverGTANLib.standalone.image_files import image_of, read_ct, read_labels, stem_of
from training import command_line
from training.data.cases import located
from training.data.held_out import HUMAN_LABELLED
from training.evaluation import evaluate, picture
from training.options import Pseudolabel

AIR = -1.0
DOUBT = (0.2, 0.8)


class Averaged:
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
    """Writes NAME.nii.gz for every CT, `labels.json` and `labels.png`; prints one line each."""
    network = evaluate.model(options.teacher)
    engine, columns, records = Averaged(network), [], []
    options.output.mkdir(parents=True, exist_ok=True)
    for ct, path in scans(options):
        analysis = segmenter.analyze(ct, engine)
        mask = segmenter.mask(analysis, ct).full()
        records.append({"name": ct.name} | figures(analysis, mask, ct, path))
        print("  ".join(f"{name} {value}" for name, value in records[-1].items()), flush=True)
        write(mask, ct, options.output / f"{ct.name}.nii.gz")
        columns.append((ct.name, analysis.image, analysis.grid.down(mask.astype(np.float32), fill=0.0)))
    about = {
        "teacher": list(network.widths),
        "weights_sha256": digest(network),
        "scans": records,
        "command": command_line.command("pseudolabel", options),
    }
    (options.output / "labels.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    picture.sheet(columns, options.output / "labels.png")


def scans(options: Pseudolabel) -> Iterator[tuple[CtVolume, Path]]:
    """The CTs; folders stand for every .nii.gz in them that is no mask."""
    for text in options.cts:
        found = located(text)
        many = [p for p in sorted(found.glob("*.nii.gz")) if "_liver" not in p.name] if found.is_dir() else [found]
        for path in many:
            if stem_of(path) not in {*options.exclude, *HUMAN_LABELLED}:
                yield read_ct(path), path


def figures(analysis: segmenter.Analysis, mask: np.ndarray, ct: CtVolume, path: Path) -> dict[str, Any]:
    """Volume, share of liver voxels of which the teacher is unsure, and overlap with a mask that lies beside the CT."""
    probability = 1 / (1 + np.exp(-analysis.logits))
    unsure = ((probability > DOUBT[0]) & (probability < DOUBT[1])).sum() / max(1, (probability > 0.5).sum())
    found = {"ml": round(measurements.volume_ml(mask, ct.ijk_to_ras), 1), "unsure": round(float(unsure), 4)}
    beside = [path.with_name(f"{ct.name}{end}.nii.gz") for end in ("_liver", "_liver_pseudo")]
    for other in (read_labels(p, ct) > 0 for p in beside if p.exists()):
        found["overlap_with_older"] = round(measurements.dice(other, mask), 4)
    return found


def write(mask: np.ndarray, ct: CtVolume, path: Path) -> None:
    """The mask on the grid of its CT."""
    import SimpleITK as sitk

    sitk.WriteImage(image_of(mask.astype(np.uint8), ct.ijk_to_ras), str(path), useCompression=True)


def digest(network: Student) -> str:
    """SHA-256 of the folded weights, names in order."""
    return hashlib.sha256(b"".join(network.weights[name].tobytes() for name in sorted(network.weights))).hexdigest()
