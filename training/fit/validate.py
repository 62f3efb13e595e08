"""Validation during training: Dice on real CTs on the model grid, opened when they are first needed."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from LiverGTANLib.core.measurements import dice
from LiverGTANLib.core.volume import HU_WINDOW, CtVolume
from training.data.cases import Case, on_model_grid, parse_cases
from training.data.copy_checks import copies_of, sketch
from training.data.scans import Scan, content_hash
from training.data.splits import validation_scans
from training.data.training_data import TrainingData
from training.errors import UserError
from training.model.nets import UNet3D
from training.options import DataSettings

logger = logging.getLogger(__name__)

MOST_CASES = 32
"""Of a recorded split that are watched: a validation then takes seconds and 0.3 GB, and its mean is steady to about
0.005 (Dice of a case spreads by some 0.03)."""

ReadCase = Callable[[], tuple[CtVolume, np.ndarray]]


@dataclass
class Validation:
    """Called with a network: {case: Dice on the model grid}. What was read stays, for networks of the same multiple."""

    cases: dict[str, ReadCase]
    spacing_mm: float
    prepared: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self, net: UNet3D) -> dict[str, float]:
        device, found = next(net.parameters()).device, {}
        for name in self.cases:
            image, liver = self.on_grid(name, net.multiple)
            logits = net(torch.from_numpy(image.astype(np.float32))[None, None].to(device))
            found[name] = float(dice(logits[0, 0].cpu().numpy() > 0, liver))
        return found

    def on_grid(self, name: str, multiple: int) -> tuple[np.ndarray, np.ndarray]:
        """Image, float16 in [-1, 1], and liver, bool, both (D, H, W) with sides that are multiples."""
        if (name, multiple) not in self.prepared:
            ct, mask = self.cases[name]()
            image, liver = on_model_grid(ct, mask, self.spacing_mm, HU_WINDOW, multiple)
            self.prepared[name, multiple] = image.astype(np.float16), liver > 0.5
        return self.prepared[name, multiple]


def validator(data: DataSettings) -> Validation:
    """Of the cases of `--validation`, or of those that `synthesize` set aside from its data sets.

    Raises UserError for a case from which volumes of the bank were made.
    """
    trained = TrainingData(data)
    if not data.validation:
        return Validation(set_aside(trained), data.spacing_mm)
    cases = parse_cases(data.validation)
    refuse_trained(cases, trained)
    return Validation({case.name: dataclasses.replace(case).read for case in cases}, data.spacing_mm)


def set_aside(trained: TrainingData) -> dict[str, ReadCase]:
    """Scans of the recorded splits that are for validation, at most `MOST_CASES`, drawn by their names.

    Raises UserError for one that another of the banks was made of.
    """
    known = [pair for record in trained.splits for pair in validation_scans(record)]
    refuse({scan.name: content or "" for scan, content in known}, trained)
    here = {scan.name: scan for scan, _ in known if is_here(scan)}
    drawn = sorted(here, key=lambda name: hashlib.sha256(name.encode()).digest())[:MOST_CASES]
    if len(drawn) < len(here):
        logger.info("Validation is on %d of the %d CTs that the split sets aside.", len(drawn), len(here))
    return {name: reader(here[name]) for name in sorted(drawn)}


def is_here(scan: Scan) -> bool:
    """Whether the files of a scan still lie where the split says; it is logged if not."""
    gone = [path for path in (scan.ct, scan.mask) if path is not None and not Path(path).exists()]
    if gone:
        logger.warning("%s is set aside for validation, but %s is gone: it is left out.", scan.name, gone[0])
    return not gone


def reader(scan: Scan) -> ReadCase:
    """A function that reads a labelled scan."""

    def read() -> tuple[CtVolume, np.ndarray]:
        ct, mask = scan.read()
        assert mask is not None  # `validation_scans` gives labelled ones
        return ct, mask

    return read


def refuse_trained(cases: list[Case], trained: TrainingData) -> None:
    """Raises UserError for a case from which volumes or views are made, known by its voxels, or a part of them, or by
    its name."""
    cts = {case.name: dataclasses.replace(case).ct for case in cases}
    copies = copies_of({name: sketch(ct) for name, ct in cts.items()}, trained.sketches) if trained.sketches else {}
    named = {name: trained.contents.get(other, other) for name, other in copies.items()}
    refuse({name: content_hash(ct) for name, ct in cts.items()}, trained, named)


def refuse(contents: dict[str, str], trained: TrainingData, copies: dict[str, str] | None = None) -> None:
    """The same for the hashes of cases by name. copies: what each is a copy of."""
    names, known = trained.sources, trained.contents
    same = {name: known[content] for name, content in contents.items() if content in known} | (copies or {})
    found = [
        name if name in names else f"{name} (there as {same[name]})"
        for name in sorted(contents)
        if name in names or name in same
    ]
    if found:
        raise UserError(
            f"{', '.join(found)} is in the training data: a CT that is trained on cannot "
            "validate; leave it out, or synthesize a bank without it."
        )
    for folder in trained.unhashed if contents else ():
        logger.warning(
            "%s does not say what its CTs hold (an earlier version made it): validation CTs were compared with "
            "them by name alone.",
            folder,
        )
