"""Large spleens, which no map shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.tissues import DISPLACEABLE, Tissue, is_any
from training.synthesis.effects.grid_operations import signed_distance
from training.synthesis.synthetic_scan import SyntheticScan

FARTHEST_MM = 60.0
"""A spleen farther from the liver than this is left alone: it would have to fill the whole abdomen."""


@dataclass(frozen=True)
class Splenomegaly:
    """A spleen that has grown by `reach_mm` on all sides over whatever gives way, up to the liver."""

    reach_mm: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Splenomegaly | None:
        """Far enough to lie broadly against the liver."""
        spleen = scan.tissue == Tissue.SPLEEN
        if spleen.sum() < 2000 or not scan.liver.any():
            return None
        gap = max(0.0, float(signed_distance(spleen, scan.spacing_mm)[scan.liver].min()))
        return cls(gap + float(rng.uniform(12, 25))) if gap < FARTHEST_MM else None

    def apply(self, scan: SyntheticScan) -> None:
        near = signed_distance(scan.tissue == Tissue.SPLEEN, scan.spacing_mm) < self.reach_mm
        scan.tissue[near & is_any(scan.tissue, DISPLACEABLE)] = Tissue.SPLEEN
