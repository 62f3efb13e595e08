"""Livers that no map shows: nodular, shrunken or swollen contours, and livers after resection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from LiverGTANLib.core.boxes import triple
from training.data.tissues import DISPLACEABLE, Tissue, is_any
from training.synthesis.effects.grid_operations import signed_distance, smooth_noise
from training.synthesis.synthetic_scan import SyntheticScan, bounding_box, draw_seed


@dataclass(frozen=True)
class Contour:
    """Moves the liver's surface by `offset_mm` (outwards > 0) plus nodules of `nodule_mm` every `wavelength_mm`."""

    offset_mm: float
    nodule_mm: float
    wavelength_mm: float
    filling: int
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Contour | None:
        if not scan.liver.any():
            return None
        cirrhotic = rng.random() < 0.5
        nodules = rng.uniform(1.5, 4.5) if cirrhotic else rng.uniform(0, 1.5)
        filling = Tissue.FLUID if rng.random() < 0.25 else Tissue.CAVITY_FAT
        return cls(float(rng.uniform(-6, 4)), float(nodules), float(rng.uniform(10, 40)), int(filling), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        if not scan.liver.any():
            return
        box = bounding_box(scan.liver, margin=int(scan.voxels(16)))
        tissue = scan.tissue[box]
        distance = signed_distance(tissue == Tissue.LIVER, scan.spacing_mm)
        noise = smooth_noise(tissue.shape, scan.voxels(self.wavelength_mm), self.seed)
        inside = distance < self.offset_mm + self.nodule_mm * noise
        grown = inside & is_any(tissue, DISPLACEABLE)
        lost = ~inside & (tissue == Tissue.LIVER)
        tissue[lost], scan.label[box][lost] = self.filling, 0.0
        tissue[grown], scan.label[box][grown] = Tissue.LIVER, 1.0


@dataclass(frozen=True)
class Resection:
    """Cuts a share of the liver off along a wavy plane; fat, bowel or fluid takes its place.

    normal: unit vector in Z, Y, X. wave_mm: sd of the plane's depth, which changes over `wavelength_mm`.
    """

    normal: tuple[float, float, float]
    share: float
    wave_mm: float
    wavelength_mm: float
    filling: int
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Resection | None:
        if scan.liver.sum() < 20_000:
            return None
        # Right or left hepatectomy more often than any other plane.
        normal = np.array([rng.normal(0, 0.4), rng.normal(0, 0.5), rng.choice([-1.0, 1.0])])
        normal /= np.linalg.norm(normal)
        filling = rng.choice([Tissue.CAVITY_FAT, Tissue.BOWEL_CONTENT, Tissue.FLUID], p=[0.7, 0.2, 0.1])
        return cls(
            triple(float(v) for v in normal),
            float(rng.uniform(0.1, 0.55)),
            float(rng.uniform(2, 12)),
            float(rng.uniform(30, 80)),
            int(filling),
            draw_seed(rng),
        )

    def apply(self, scan: SyntheticScan) -> None:
        if not scan.liver.any():
            return
        part = scan.crop(bounding_box(scan.liver))
        noise = smooth_noise(part.shape, scan.voxels(self.wavelength_mm), self.seed)
        index = np.nonzero(part.liver)
        along = np.stack(index, axis=1) @ np.asarray(self.normal) + scan.voxels(self.wave_mm) * noise[index]
        cut = along > np.quantile(along, 1 - self.share)
        removed = tuple(axis[cut] for axis in index)
        part.tissue[removed], part.label[removed] = self.filling, 0.0
