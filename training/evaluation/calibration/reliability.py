"""Calibration near the liver's border: reliability diagram, expected calibration error, temperature.

Measured on the scan's own voxels within 15 mm of the reference's border, where the extension shows uncertainty and
takes the volume's interval from. A voxel's probability is that of the logit interpolated to it, as the mask is made.
All cases weigh the same, however fine their voxels are. Method: Guo et al., "On Calibration of
Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from LiverGTANLib.core.boxes import triple
from LiverGTANLib.core.postprocess import Analysis
from training.data.cases import Case
from training.errors import UserError

SHELL_MM = 15.0
"""Wider than the HD95 of the bundled students on the held-out cases (4 to 10 mm), so that their errors lie within."""
BINS = 15
"""As in Guo et al."""
TEMPERATURES = (0.2, 8.0)
"""Between these the best one is looked for; those of the bundled students are 0.8 and 0.9."""


@dataclass(frozen=True, eq=False)
class BorderVoxels:
    """The voxels of one case near the border: logits float32 (N,), liver bool (N,)."""

    case: str
    logits: np.ndarray
    liver: np.ndarray


@dataclass(frozen=True)
class Bin:
    """Voxels with a probability in one fifteenth of [0, 1]: their share of all, mean probability, share of liver."""

    share: float
    probability: float
    liver: float


def near_border(analysis: Analysis, case: Case) -> BorderVoxels:
    """The voxels within `SHELL_MM` of the reference's border, inside and outside."""
    from scipy.ndimage import distance_transform_edt

    spacing = case.ct.spacing[::-1]
    margin = np.ceil(SHELL_MM / spacing).astype(int) + 1
    index = np.nonzero(case.mask)
    if not len(index[0]):
        raise UserError(f"{case.name} shows no liver in its reference; give a case that does.")
    box = tuple(slice(max(0, i.min() - m), i.max() + 1 + m) for i, m in zip(index, margin, strict=True))
    box = triple(slice(b.start, min(b.stop, n)) for b, n in zip(box, case.mask.shape, strict=True))
    liver = case.mask[box]
    distance = np.where(liver, distance_transform_edt(liver, spacing), distance_transform_edt(~liver, spacing))
    near = distance <= SHELL_MM
    return BorderVoxels(case.name, analysis.grid.up(analysis.logits, box)[near], liver[near])


def bins(cases: Sequence[BorderVoxels], temperature: float = 1.0) -> list[Bin]:
    """The reliability diagram of the cases together."""
    totals = np.zeros((3, BINS))
    for near in cases:
        p = probability(near.logits, temperature)
        place = np.minimum((p * BINS).astype(int), BINS - 1)
        for row, weights in enumerate((None, p, near.liver)):
            totals[row] += np.bincount(place, weights, BINS) / len(p) / len(cases)
    shares = np.maximum(totals[0], 1e-12)
    return [Bin(float(t), float(p / s), float(y / s)) for t, p, y, s in zip(*totals, shares, strict=True)]


def calibration_error(cases: Sequence[BorderVoxels], temperature: float = 1.0) -> float:
    """Expected calibration error: mean distance of probability and share of liver over the bins' voxels."""
    return sum(b.share * abs(b.probability - b.liver) for b in bins(cases, temperature))


def cross_entropy(cases: Sequence[BorderVoxels], temperature: float = 1.0) -> float:
    """Negative log-likelihood in nats a voxel, mean over the cases."""

    def of(near: BorderVoxels) -> float:
        z = near.logits / np.float32(temperature)
        return float(np.mean(np.logaddexp(0, z) - near.liver * z))

    return float(np.mean([of(near) for near in cases]))


def best_temperature(cases: Sequence[BorderVoxels]) -> float:
    """The temperature of least cross entropy, to a thousandth, by Brent's method over its logarithm."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: cross_entropy(cases, float(np.exp(log))),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return round(float(np.exp(found.x)), 3)


def probability(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Sigmoid of the logits over the temperature."""
    return 0.5 * (1 + np.tanh(logits / np.float32(2 * temperature)))
