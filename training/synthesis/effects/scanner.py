"""How the scanner sees: sharpness, noise, slice thickness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.thick_slices import slice_weights
from training.synthesis.effects.grid_operations import blur, white_noise
from training.synthesis.synthetic_scan import SyntheticScan, draw_seed


@dataclass(frozen=True)
class Blur:
    """Point spread: Gaussian sd in voxels in plane and along the body."""

    in_plane: float
    along: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Blur:
        soft = 0.35 if scan.kind == "real" else 0.0
        return cls(float(rng.uniform(0.35 - soft, 1.0 - soft)), float(rng.uniform(0.2 * (not soft), 0.8 - soft)))

    def apply(self, scan: SyntheticScan) -> None:
        scan.hu[:] = blur(scan.hu, (self.along, self.in_plane, self.in_plane))


@dataclass(frozen=True)
class Noise:
    """Quantum noise of `sd` HU; a soft kernel correlates it over `grain` voxels (sd of a Gaussian) in plane."""

    sd: float
    grain: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Noise:
        low_dose = rng.random() < 0.2
        sd = rng.uniform(25, 55) if low_dose else rng.uniform(2, 25)
        weaker = 0.6 if scan.kind == "real" else 1.0
        return cls(float(sd * weaker), float(rng.uniform(0, 0.9)), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        noise = white_noise(scan.shape, self.seed)
        if self.grain > 0.3:
            noise = blur(noise, (0.0, self.grain, self.grain))
            noise /= noise[::4, ::4, ::4].std()
        scan.hu += np.float32(self.sd) * noise


@dataclass(frozen=True)
class ThickSlices:
    """Slices of `thickness_mm` every `interval_mm`, the first one `phase` intervals before the window."""

    thickness_mm: float
    interval_mm: float
    phase: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> ThickSlices:
        thickness = float(rng.choice([3.0, 3.75, 4.25, 5.0, 5.0, 5.0, 6.0, 7.0, 8.0, 8.0]))
        interval = thickness * (rng.uniform(0.5, 0.8) if rng.random() < 0.2 else 1.0)
        return cls(thickness, float(interval), float(rng.random()))

    def apply(self, scan: SyntheticScan) -> None:
        mm = scan.spacing_mm
        weights = slice_weights(scan.shape[0], self.thickness_mm / mm, self.interval_mm / mm, self.phase)
        for array in (scan.hu, scan.label):
            array[:] = (weights @ array.reshape(len(array), -1)).reshape(array.shape)


@dataclass(frozen=True)
class Quantized:
    """HU rebuilt from an 8-bit picture: coarse steps between two limits."""

    step: float
    low: float
    high: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Quantized:
        low, high = float(rng.uniform(-600, -200)), float(rng.uniform(300, 1500))
        return cls((high - low) / 255, low, high)

    def apply(self, scan: SyntheticScan) -> None:
        np.clip(scan.hu, self.low, self.high, out=scan.hu)
        scan.hu[:] = np.round((scan.hu - self.low) / self.step) * self.step + self.low
