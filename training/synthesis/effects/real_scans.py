"""Changes for real CTs only: another gain and offset, and another density of the liver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis.effects.grid_operations import smooth_noise
from training.synthesis.synthetic_scan import SyntheticScan, draw_seed


@dataclass(frozen=True)
class Gain:
    """HU -> gain * (HU - pivot) + pivot + offset for soft tissue (-150 to 300 HU); fat and bone stay roughly put."""

    gain: float
    offset: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Gain:
        return cls(float(rng.uniform(0.75, 1.35)), float(rng.uniform(-15, 15)))

    def apply(self, scan: SyntheticScan) -> None:
        hu = scan.hu
        soft = np.clip(1 - np.abs(hu - 60) / 160, 0, 1)
        scan.hu += soft * ((self.gain - 1) * (hu - 40) + self.offset)


@dataclass(frozen=True)
class LiverDensity:
    """Shifts the liver by `shift` HU (fat or iron), with patches of sparing of `patchy` (share)."""

    shift: float
    patchy: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> LiverDensity:
        return cls(float(rng.uniform(-60, 35)), float(rng.uniform(0, 0.4)), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        field = 1 - self.patchy * np.clip(smooth_noise(scan.shape, 25.0, self.seed), -1, 1)
        scan.hu += self.shift * field * scan.label
