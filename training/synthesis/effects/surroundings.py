"""What lies around the liver and the patient: the wall of the trunk, the table, the arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.tissues import Tissue, is_any
from training.synthesis.effects.grid_operations import grow, signed_distance, smooth_noise
from training.synthesis.synthetic_scan import SyntheticScan, bounding_box, draw_seed

OUTER = (Tissue.LUNG, Tissue.MUSCLE, Tissue.CORTICAL_BONE, Tissue.SPONGY_BONE, Tissue.CARTILAGE)
"""What lies beyond diaphragm and abdominal wall, seen from the liver."""


@dataclass(frozen=True)
class Wall:
    """Diaphragm and muscle on the liver, one voxel thick or `thick` where the noise is high.

    A real liver lies on muscle nearly as dense as it is. Tissue maps have fat or lung there, and a network that never
    saw the muscle takes it for liver. reach_mm: how far lung, ribs or muscle may be for the wall to be there. bare:
    share of the surface that keeps its fat.
    """

    thick: int
    reach_mm: float
    bare: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Wall | None:
        if not scan.liver.any():
            return None
        return cls(int(rng.integers(1, 4)), float(rng.uniform(6, 18)), float(rng.uniform(0, 0.3)), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        if not scan.liver.any():
            return
        part = scan.crop(bounding_box(scan.liver, margin=self.thick + 1))
        noise = smooth_noise(part.shape, scan.voxels(35), self.seed)
        outer = signed_distance(is_any(part.tissue, OUTER), scan.spacing_mm) < self.reach_mm
        rim = grow(part.liver, 1) | (grow(part.liver, self.thick) & (noise > 0))
        there = noise > np.quantile(noise, self.bare) if self.bare else True
        soft = is_any(part.tissue, (Tissue.FAT, Tissue.CAVITY_FAT, Tissue.LUNG))
        part.tissue[rim & outer & soft & there] = Tissue.MUSCLE


@dataclass(frozen=True)
class Table:
    """A curved shell behind the back: gap and sag in mm, wall in voxels, HU of wall and of its foam."""

    gap_mm: float
    sag_per_mm: float
    wall: int
    wall_hu: float
    foam_hu: float
    foam_mm: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Table:
        return cls(
            float(rng.uniform(0, 15)),
            float(rng.uniform(0, 0.0016)),
            int(rng.integers(1, 3)),
            float(rng.uniform(-500, 150)),
            float(rng.uniform(-950, -700)),
            float(rng.uniform(15, 50)),
        )

    def apply(self, scan: SyntheticScan) -> None:
        body = np.flatnonzero((scan.tissue != Tissue.AIR).any(axis=(0, 2)))
        if not len(body):
            return
        _, y, x = scan.shape
        off = (np.arange(x) - x / 2) * scan.spacing_mm
        surface = body[0] - scan.voxels(self.gap_mm) + scan.voxels(1) * self.sag_per_mm * off**2
        below = surface[None, :] - np.arange(y)[:, None]
        thickness = scan.voxels(self.foam_mm)
        foam = (below >= 0) & (below < thickness)
        wall = foam & ((below < self.wall) | (below >= thickness - self.wall))
        air = scan.tissue == Tissue.AIR
        scan.hu[air & foam] = self.foam_hu
        scan.hu[air & wall] = self.wall_hu


@dataclass(frozen=True)
class Arms:
    """Arms beside the trunk: for each, center (Y, X) in voxels, drift of X along z, radius in mm; bone inside."""

    arms: tuple[tuple[float, float, float, float], ...]
    muscle_hu: float
    bone_hu: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Arms | None:
        _, y, x = scan.shape
        sides = [s for s in (-1, 1) if rng.random() < 0.75]
        if not sides:
            return None
        arms = tuple(
            (
                float(y * rng.uniform(0.3, 0.65)),
                float(x / 2 + side * x * rng.uniform(0.42, 0.5)),
                float(rng.uniform(-0.15, 0.15)),
                float(rng.uniform(28, 48)),
            )
            for side in sides
        )
        return cls(arms, float(rng.uniform(40, 70)), float(rng.uniform(300, 1000)))

    def apply(self, scan: SyntheticScan) -> None:
        free = scan.tissue == Tissue.AIR
        z, y, x = scan.axes_mm()
        for center_y, center_x, drift, radius in self.arms:
            cx = center_x * scan.spacing_mm + drift * (z - z[-1] / 2)
            distance = np.sqrt((y - center_y * scan.spacing_mm) ** 2 + (x - cx) ** 2)
            for share, hu, code in (
                (1.0, -100.0, Tissue.FAT),
                (0.85, self.muscle_hu, Tissue.MUSCLE),
                (0.28, self.bone_hu, Tissue.CORTICAL_BONE),
                (0.17, 50.0, Tissue.SPONGY_BONE),
            ):
                mask = free & (distance < share * radius)
                scan.hu[mask], scan.tissue[mask] = hu, code
