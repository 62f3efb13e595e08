"""What a map leaves out around the organs: mesentery, bowel and haze in the fat, gas and contrast in the gut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from LiverGTANLib.core.boxes import triple
from training.data.tissues import Tissue
from training.synthesis.effects.grid_operations import smooth_noise
from training.synthesis.synthetic_scan import SyntheticScan, bounding_box, draw_seed


@dataclass(frozen=True)
class Mesentery:
    """Bowel loops (wall, then content) and vessel strands in the fat between the organs.

    loops: share-like level, higher fills more. strands: radius in sd of the noise.
    content: tissue code of the loops' inside.
    """

    loops: float
    loop_wavelength_mm: float
    strands: float
    strand_wavelength_mm: float
    content: int
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Mesentery | None:
        if not (scan.tissue == Tissue.CAVITY_FAT).any():
            return None
        contents = (Tissue.BOWEL_CONTENT, Tissue.BOWEL_CONTENT, Tissue.COLON_CONTENT, Tissue.OTHER, Tissue.GUT_WALL)
        return cls(
            float(rng.uniform(-0.5, 1.0)),
            float(rng.uniform(18, 36)),
            float(rng.uniform(0, 0.4)),
            float(rng.uniform(16, 28)),
            int(rng.choice(contents)),
            draw_seed(rng),
        )

    def apply(self, scan: SyntheticScan) -> None:
        box = bounding_box(scan.tissue == Tissue.CAVITY_FAT)
        tissue = scan.tissue[box]
        fat = tissue == Tissue.CAVITY_FAT
        loop = smooth_noise(tissue.shape, scan.voxels(self.loop_wavelength_mm), self.seed)
        strand = tubes(tissue.shape, scan.voxels(self.strand_wavelength_mm), self.strands, self.seed + 1)
        tissue[fat & strand] = Tissue.VEIN
        tissue[fat & (loop > 1.3 - self.loops)] = Tissue.GUT_WALL
        tissue[fat & (loop > 1.65 - self.loops)] = self.content


@dataclass(frozen=True)
class BowelGas:
    """Gas rises to the front of stomach, bowel and colon; contrast pools in some loops.

    gas: level by content code (higher is more); contrast: level of positive oral contrast, or None.
    """

    gas: tuple[float, float, float]
    contrast: float | None
    wavelength_mm: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> BowelGas:
        gas = triple(float(rng.uniform(-1.6, low)) for low in (1.2, 0.4, 1.2))
        contrast = float(rng.uniform(-1.0, 1.5)) if rng.random() < 0.3 else None
        return cls(gas, contrast, float(rng.uniform(12, 32)), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        contents = (Tissue.STOMACH_CONTENT, Tissue.BOWEL_CONTENT, Tissue.COLON_CONTENT)
        inside = np.isin(scan.tissue, contents)
        if not inside.any():
            return
        box = bounding_box(inside)
        tissue = scan.tissue[box]
        noise = smooth_noise(tissue.shape, scan.voxels(self.wavelength_mm), self.seed)
        front = np.linspace(-1.3, 1.3, tissue.shape[1], dtype=np.float32)[None, :, None]
        height = 0.5 * noise + front
        pools = smooth_noise(tissue.shape, scan.voxels(50), self.seed + 1)
        for code, level in zip(contents, self.gas, strict=True):
            lumen = tissue == code
            if self.contrast is not None:
                tissue[lumen & (pools < self.contrast)] = Tissue.CONTRAST_FILLED
            tissue[lumen & (height > 1.0 - level)] = Tissue.GAS


@dataclass(frozen=True)
class HazyFat:
    """Fat between the organs denser by `more` HU, unevenly: edema, inflammation, or hardly any fat at all."""

    more: float
    uneven: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> HazyFat | None:
        if not (scan.tissue == Tissue.CAVITY_FAT).any():
            return None
        return cls(float(rng.uniform(20, 140)), float(rng.uniform(0, 0.6)), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        fat = scan.tissue == Tissue.CAVITY_FAT
        haze = 1 + self.uneven * np.clip(smooth_noise(scan.shape, scan.voxels(30), self.seed), -1.5, 1)
        scan.hu[fat] += self.more * haze[fat]


def tubes(shape: tuple[int, ...], wavelength: float, radius: float, seed: int) -> np.ndarray:
    """Winding tubes: where two smooth noises are near zero at once. `radius` in sd of the noise."""
    if radius <= 0:
        return np.zeros(shape, bool)
    first = smooth_noise(shape, wavelength, seed)
    second = smooth_noise(shape, wavelength, seed + 7919)
    return first * first + second * second < radius * radius
