"""Contrast phase and density of every tissue, then the texture within tissues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.tissues import COUNT, SOFT
from training.data.tissues import Tissue as T
from training.synthesis.effects.grid_operations import smooth_noise, white_noise
from training.synthesis.synthetic_scan import SyntheticScan, draw_seed

PHASES = {"non-contrast": 0.34, "arterial": 0.2, "portal": 0.34, "delayed": 0.12}

ENHANCEMENT = {  # HU added by contrast medium: (low, high) by tissue group
    "non-contrast": {},
    "arterial": {
        "artery": (100, 340),
        "vein": (0, 60),
        "liver": (0, 22),
        "spleen": (30, 120),
        "kidney": (50, 160),
        "pancreas": (25, 75),
        "wall": (10, 60),
        "muscle": (0, 12),
    },
    "portal": {
        "artery": (70, 150),
        "vein": (75, 160),
        "liver": (28, 75),
        "spleen": (50, 95),
        "kidney": (90, 190),
        "pancreas": (30, 70),
        "wall": (20, 60),
        "muscle": (5, 25),
    },
    "delayed": {
        "artery": (35, 85),
        "vein": (35, 85),
        "liver": (15, 50),
        "spleen": (25, 60),
        "kidney": (60, 160),
        "pancreas": (15, 45),
        "wall": (15, 45),
        "muscle": (5, 25),
    },
}

LIVERS = {"normal": (0.62, (45, 68)), "fatty": (0.24, (-15, 42)), "iron": (0.06, (72, 115)), "any": (0.08, (20, 85))}

TEXTURE_SD = {
    T.FAT: 10,
    T.CAVITY_FAT: 14,
    T.MUSCLE: 12,
    T.LIVER: 5,
    T.SPLEEN: 6,
    T.KIDNEY: 20,
    T.CORTICAL_BONE: 200,
    T.SPONGY_BONE: 60,
    T.LUNG: 70,
    T.ARTERY: 9,
    T.VEIN: 9,
    T.HEART_WALL: 12,
    T.GUT_WALL: 15,
    T.STOMACH_CONTENT: 22,
    T.BOWEL_CONTENT: 25,
    T.COLON_CONTENT: 90,
    T.PANCREAS: 12,
    T.GALLBLADDER: 5,
    T.SKIN: 20,
    T.OTHER: 20,
    T.GAS: 15,
    T.CORD: 5,
    T.URINE: 5,
    T.CARTILAGE: 20,
    T.FLUID: 4,
    T.COLLAPSED_LUNG: 10,
    T.CONTRAST_FILLED: 60,
}


@dataclass(frozen=True)
class Contrast:
    """Mean HU and texture sd by tissue code; `phase` and `liver_kind` say how they were drawn."""

    phase: str
    liver_kind: str
    hu: tuple[float, ...]
    sd: tuple[float, ...]
    grain: float
    seed: int

    @classmethod
    def random(
        cls,
        scan: SyntheticScan,
        rng: np.random.Generator,
        fatty: bool = True,
        iron: bool = True,
        odd: bool = True,
        phase: str | None = None,
        liver_kind: str | None = None,
    ) -> Contrast:
        """`fatty` and `iron` allow such livers; `odd` shifts soft tissues by up to 40 HU in a fifth of the scans.

        `phase` and `liver_kind`, where given, take the place of the drawn ones.
        """
        drawn = str(rng.choice(list(PHASES), p=list(PHASES.values()))), _liver_kind(rng, fatty, iron)
        phase, kind = phase or drawn[0], liver_kind or drawn[1]
        hu = _means(phase, kind, rng)
        if odd and rng.random() < 0.2:
            hu[list(SOFT)] += rng.uniform(-40, 40, len(SOFT))
        sd = np.zeros(COUNT)
        for code, value in TEXTURE_SD.items():
            sd[code] = value * rng.uniform(0.3, 1.4)
        return cls(phase, kind, _rounded(hu), _rounded(sd), float(rng.uniform(1.5, 6)), draw_seed(rng))

    @classmethod
    def typical(cls, phase: str, seed: int) -> Contrast:
        """A phase with a normal liver and the texture of a clean scan: for phantoms."""
        hu = _means(phase, "normal", np.random.default_rng([seed, 7]))
        sd = [0.5 * TEXTURE_SD.get(code, 0.0) for code in T]
        return cls(phase, "normal", _rounded(hu), _rounded(np.array(sd)), 2.0, seed)

    def apply(self, scan: SyntheticScan) -> None:
        texture = 0.75 * smooth_noise(scan.shape, self.grain, self.seed)
        texture += 0.4 * white_noise(scan.shape, self.seed + 1)
        scan.hu[:] = np.asarray(self.hu, np.float32)[scan.tissue]
        scan.hu += np.asarray(self.sd, np.float32)[scan.tissue] * texture


def _liver_kind(rng: np.random.Generator, fatty: bool, iron: bool) -> str:
    weights = {kind: share for kind, (share, _) in LIVERS.items()}
    weights["fatty"] *= fatty
    weights["iron"] *= iron
    total = sum(weights.values())
    return str(rng.choice(list(weights), p=[w / total for w in weights.values()]))


def _means(phase: str, liver_kind: str, rng: np.random.Generator) -> np.ndarray:
    # A low tube voltage makes the same iodine brighter.
    iodine = rng.uniform(0.85, 1.2)
    add = {group: iodine * rng.uniform(*bounds) for group, bounds in ENHANCEMENT[phase].items()}
    blood = rng.uniform(30, 55)

    def plus(group: str, low: float, high: float) -> float:
        return rng.uniform(low, high) + add.get(group, 0.0)

    hu = np.zeros(COUNT)
    hu[[T.AIR, T.GAS, T.METAL]] = -1000, -990, 2500
    hu[[T.FAT, T.SKIN, T.OTHER]] = rng.uniform(-120, -80), rng.uniform(0, 60), plus("muscle", 15, 60)
    hu[T.CAVITY_FAT] = hu[T.FAT] + rng.uniform(0, 25)
    hu[[T.MUSCLE, T.CORD]] = plus("muscle", 35, 68), rng.uniform(20, 45)
    hu[T.LIVER] = rng.uniform(*LIVERS[liver_kind][1]) + add.get("liver", 0.0)
    hu[[T.SPLEEN, T.KIDNEY]] = plus("spleen", 40, 58), plus("kidney", 25, 40)
    hu[[T.ARTERY, T.VEIN]] = blood + add.get("artery", 0.0), blood + add.get("vein", 0.0)
    hu[[T.HEART_WALL, T.GUT_WALL]] = plus("wall", 35, 55), plus("wall", 25, 50)
    hu[[T.PANCREAS, T.GALLBLADDER]] = plus("pancreas", 20, 48), rng.uniform(-5, 28)
    hu[[T.CORTICAL_BONE, T.SPONGY_BONE, T.CARTILAGE]] = (
        rng.uniform(350, 1100),
        rng.uniform(60, 280),
        rng.uniform(70, 180),
    )
    hu[[T.LUNG, T.FLUID, T.COLLAPSED_LUNG]] = rng.uniform(-920, -650), rng.uniform(-5, 28), plus("wall", 20, 60)
    hu[[T.STOMACH_CONTENT, T.BOWEL_CONTENT, T.COLON_CONTENT]] = _gut_contents(rng)
    hu[T.CONTRAST_FILLED] = rng.uniform(100, 420)
    hu[T.URINE] = rng.uniform(-5, 20) + (rng.uniform(50, 400) if phase == "delayed" else 0.0)
    return hu


def _gut_contents(rng: np.random.Generator) -> tuple[float, float, float]:
    stomach = rng.choice([rng.uniform(-10, 25), rng.uniform(10, 70), rng.uniform(100, 350)], p=[0.45, 0.4, 0.15])
    bowel = rng.choice([rng.uniform(0, 50), rng.uniform(20, 80), rng.uniform(100, 350)], p=[0.5, 0.35, 0.15])
    colon = rng.choice(
        [rng.uniform(-100, 40), rng.uniform(0, 60), rng.uniform(-500, -100), rng.uniform(100, 400)],
        p=[0.35, 0.35, 0.2, 0.1],
    )
    return stomach, bowel, colon


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(v), 1) for v in values)
