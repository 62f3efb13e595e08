"""A head, drawn: skin, skull, brain, ventricles, sinuses, and the neck below."""

from __future__ import annotations

import numpy as np

from LiverGTANLib.core.volume import CtVolume

_PARTS = (  # HU, center and semi-axes in mm along R, A, S from the middle of the head; later ones lie on top
    (-80, (0, -15, -120), (62, 62, 85)),  # neck: fat, muscle, spine, airway
    (55, (0, -15, -120), (55, 55, 85)),
    (500, (0, -35, -120), (20, 18, 90)),
    (-950, (0, 15, -120), (9, 8, 80)),
    (-80, (0, 0, 0), (80, 98, 105)),  # skin and its fat
    (40, (0, 0, 0), (76, 94, 101)),
    (900, (0, 0, 5), (72, 90, 96)),  # skull
    (35, (0, -3, 8), (65, 82, 88)),  # brain
    (8, (14, 5, 12), (7, 32, 14)),  # ventricles
    (8, (-14, 5, 12), (7, 32, 14)),
    (-900, (0, 72, -45), (14, 22, 22)),  # sinuses
    (-900, (26, 62, -60), (13, 16, 16)),
    (-900, (-26, 62, -60), (13, 16, 16)),
    (12, (32, 74, -28), (12, 12, 12)),  # eyes
    (12, (-32, 74, -28), (12, 12, 12)),
)


def head_ct(seed: int = 0, spacing_mm: float = 2.0) -> CtVolume:
    """int16 HU, indices growing to the left, the back and the head; size and noise differ by seed."""
    rng = np.random.default_rng([seed, 13])
    size = rng.uniform(0.92, 1.06)
    counts = [round(extent / spacing_mm) for extent in (240.0, 250.0, 220.0)]
    k, j, i = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * spacing_mm for n in counts)
    z, y, x = k[:, None, None], -j[None, :, None], -i[None, None, :]
    hu = np.full(counts, -1000, np.float32)
    for value, center, axes in _PARTS:
        inside = sum(((p - c * size) / (a * size)) ** 2 for p, c, a in zip((x, y, z), center, axes, strict=True)) < 1
        hu[inside] = value + (rng.uniform(-5, 5) if abs(value) < 100 else 0)
    hu += rng.uniform(4, 20) * rng.standard_normal(hu.shape, np.float32)
    matrix = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    matrix[:3, 3] = x[0, 0, 0], y[0, 0, 0], z[0, 0, 0]
    return CtVolume(np.rint(hu).astype(np.int16), matrix, f"drawn head {seed}")
