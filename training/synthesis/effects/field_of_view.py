"""What the scan shows of the body: cut anywhere along z, cropped in plane, round reconstruction field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from LiverGTANLib.core.boxes import triple
from training.data.tissues import AIR_HU
from training.synthesis.synthetic_scan import SyntheticScan


@dataclass(frozen=True)
class Cut:
    """Voxels missing at the low and high end of axes Z, Y, X, as if the scan ended there."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Cut:
        low, high = np.zeros(3, int), np.zeros(3, int)
        strong = rng.random() < 0.3
        for side in (low, high):
            if rng.random() < 0.6:
                side[0] = rng.integers(0, int(scan.shape[0] * (0.4 if strong else 0.2)))
        if rng.random() < 0.25:
            for side in (low, high):
                side[1:] = [rng.integers(0, int(n * 0.25)) for n in scan.shape[1:]]
        return cls(triple(int(v) for v in low), triple(int(v) for v in high))

    def apply(self, scan: SyntheticScan) -> None:
        outside = np.ones(scan.shape, bool)
        outside[tuple(slice(a, n - b) for a, b, n in zip(self.low, self.high, scan.shape, strict=True))] = False
        _blank(scan, outside)


@dataclass(frozen=True)
class RoundField:
    """A cylinder along z: center (Y, X) in voxels and radius in mm."""

    center: tuple[float, float]
    radius_mm: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> RoundField:
        _, y, x = scan.shape
        center = (float(y / 2 + rng.uniform(-12, 12)), float(x / 2 + rng.uniform(-15, 15)))
        return cls(center, float(rng.uniform(105, 185)))

    def apply(self, scan: SyntheticScan) -> None:
        _, y, x = scan.shape
        radius = scan.voxels(self.radius_mm)
        far = ((np.arange(y)[:, None] - self.center[0]) ** 2 + (np.arange(x) - self.center[1]) ** 2) > radius**2
        _blank(scan, np.broadcast_to(far, scan.shape))


def _blank(scan: SyntheticScan, outside: np.ndarray) -> None:
    scan.hu[outside] = AIR_HU
    scan.label[outside] = 0.0
