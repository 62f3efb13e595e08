"""Parts of the body without a liver that no tissue map shows, drawn of ellipsoids: heads and limbs.

A network that has seen trunks alone finds a liver in a brain: large, soft, even, and of its density.
"""

from __future__ import annotations

import numpy as np

from training.data.tissues import Tissue
from training.synthesis.sources import Source

COUNT = 6
"""Bodies of each kind; placement, densities and the scanner make every volume different."""
Part = tuple[int, tuple[float, float, float], tuple[float, float, float]]  # code, center, semi-axes (Z, Y, X) in mm


def drawn_sources(spacing_mm: float) -> list[Source]:
    """Heads and limbs on the fine grid."""
    kinds = {"head": head, "limb": limbs}
    return [
        Source(f"drawn-{kind}-{number}", draw(parts(np.random.default_rng([number, 41])), spacing_mm), spacing_mm)
        for kind, parts in kinds.items()
        for number in range(COUNT)
    ]


def draw(parts: list[Part], spacing_mm: float) -> np.ndarray:
    """Tissue codes (Z, Y, X) of ellipsoids around the middle of a box; later ones lie on top."""
    shape = tuple(round(extent / spacing_mm) for extent in (300.0, 300.0, 300.0))
    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * spacing_mm for n in shape]
    tissue = np.zeros(shape, np.uint8)
    for code, center, radii in parts:
        terms = [((axis - c) / r) ** 2 for axis, c, r in zip(axes, center, radii, strict=True)]
        tissue[terms[0][:, None, None] + terms[1][None, :, None] + terms[2][None, None, :] < 1] = code
    return tissue


def head(rng: np.random.Generator) -> list[Part]:
    """Neck with spine and airway, skin, muscle, skull, brain, ventricles, sinuses, eyes, jaw."""
    size, wall = rng.uniform(0.85, 1.1), rng.uniform(4, 9)
    long, wide, high = 96 * size, 76 * size * rng.uniform(0.9, 1.1), 100 * size
    brain = int(rng.choice([Tissue.CORD, Tissue.CORD, Tissue.OTHER, Tissue.MUSCLE]))
    neck_back = -rng.uniform(5, 30)
    parts: list[Part] = [
        (Tissue.SKIN, (-110, neck_back, 0), (110, 64, 64)),
        (Tissue.FAT, (-110, neck_back, 0), (108, 61, 61)),
        (Tissue.MUSCLE, (-110, neck_back, 0), (108, 53, 53)),
        (Tissue.SPONGY_BONE, (-110, neck_back - 20, 0), (90, 19, 21)),
        (Tissue.GAS, (-110, neck_back + 28, 0), (80, 9, 10)),
        (Tissue.SKIN, (0, 0, 0), (high + 12, long + 9, wide + 9)),
        (Tissue.FAT, (0, 0, 0), (high + 9, long + 7, wide + 7)),
        (Tissue.MUSCLE, (-20, 0, 0), (high - 14, long + 3, wide + 4)),
        (Tissue.CORTICAL_BONE, (5, 0, 0), (high, long, wide)),
        (brain, (6, -3, 0), (high - wall, long - wall - 3, wide - wall)),
    ]
    for side in (-1, 1):
        parts += [
            (Tissue.URINE, (12, 5, side * 14), (14 * rng.uniform(0.5, 1.6), 32, 7 * rng.uniform(0.5, 1.8))),
            (Tissue.GAS, (-55, 62 * size, side * 26), (17, 16, 13)),
            (Tissue.URINE, (-25, 76 * size, side * 32), (12, 12, 12)),
            (Tissue.CORTICAL_BONE, (-82, 45 * size, side * 38), (14, 42, 7)),
        ]
    return [*parts, (Tissue.GAS, (-40, 72 * size, 0), (22, 22, 13 * rng.uniform(0.5, 1.3)))]


def limbs(rng: np.random.Generator) -> list[Part]:
    """One or two limbs along the body: skin, fat, muscle, one or two bones with marrow."""
    radius, count = rng.uniform(35, 85), int(rng.integers(1, 3))
    parts: list[Part] = []
    for number in range(count):
        middle = (number - (count - 1) / 2) * 2.15 * radius
        fat, muscle = radius * rng.uniform(0.9, 0.97), radius * rng.uniform(0.65, 0.88)
        bones = [(0.0, 0.0)] if rng.random() < 0.6 else [(-0.2, -0.25), (0.1, 0.3)]
        parts += [
            (code, (0, 0, middle), (1000, r, r))
            for code, r in ((Tissue.SKIN, radius), (Tissue.FAT, fat), (Tissue.MUSCLE, muscle))
        ]
        for dy, dx in bones:
            at = (0, dy * radius, middle + dx * radius)
            parts += [
                (Tissue.CORTICAL_BONE, at, (1000, 0.24 * radius, 0.24 * radius)),
                (Tissue.FAT, at, (1000, 0.13 * radius, 0.13 * radius)),
            ]
    return parts
