"""Painting a region with density and texture."""

import numpy as np

from training.synthesis.effects.fields import smooth_noise
from training.synthesis.synthetic_scan import SyntheticScan


def paint(scene: SyntheticScan, mask: np.ndarray, hu: float, sd: float, code: int, seed: int) -> None:
    """Set a region's code and, with a smooth texture of `sd`, its HU; what was liver there is no longer."""
    if not mask.any():
        return
    texture = smooth_noise(scene.shape, 3.0, seed)
    scene.hu[mask] = hu + sd * texture[mask]
    scene.tissue[mask] = code
    scene.label[mask] = 0.0
