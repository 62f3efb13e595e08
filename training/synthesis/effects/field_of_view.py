"""What the scan shows of the body: cut anywhere along z, cropped in plane, round reconstruction field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis.synthetic_scan import SyntheticScan

OUTSIDE_HU = -1024.0


@dataclass(frozen=True)
class Cut:
    """Voxels missing at the low and high end of axes Z, Y, X, as if the scan ended there."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @classmethod
    def random(cls, scene: SyntheticScan, rng: np.random.Generator) -> Cut:
        low, high = np.zeros(3, int), np.zeros(3, int)
        strong = rng.random() < 0.3
        for side in (low, high):
            if rng.random() < 0.6:
                side[0] = rng.integers(0, int(scene.shape[0] * (0.4 if strong else 0.2)))
        if rng.random() < 0.25:
            for side in (low, high):
                side[1:] = [rng.integers(0, int(n * 0.25)) for n in scene.shape[1:]]
        return cls(tuple(int(v) for v in low), tuple(int(v) for v in high))

    def apply(self, scene: SyntheticScan) -> None:
        outside = np.ones(scene.shape, bool)
        outside[tuple(slice(a, n - b) for a, b, n in zip(self.low, self.high, scene.shape, strict=True))] = False
        _blank(scene, outside)


@dataclass(frozen=True)
class RoundField:
    """A cylinder along z: center (Y, X) in voxels and radius in mm."""

    center: tuple[float, float]
    radius_mm: float

    @classmethod
    def random(cls, scene: SyntheticScan, rng: np.random.Generator) -> RoundField:
        _, y, x = scene.shape
        center = (float(y / 2 + rng.uniform(-12, 12)), float(x / 2 + rng.uniform(-15, 15)))
        return cls(center, float(rng.uniform(105, 185)))

    def apply(self, scene: SyntheticScan) -> None:
        _, y, x = scene.shape
        radius = scene.voxels(self.radius_mm)
        far = ((np.arange(y)[:, None] - self.center[0]) ** 2 + (np.arange(x) - self.center[1]) ** 2) > radius**2
        _blank(scene, np.broadcast_to(far, scene.shape))


def _blank(scene: SyntheticScan, outside: np.ndarray) -> None:
    scene.hu[outside] = OUTSIDE_HU
    scene.label[outside] = 0.0
