"""Streaks: from metal and dense deposits, and between shoulders or arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.tissues import Tissue, is_any
from training.synthesis.effects.grid_operations import smooth_noise
from training.synthesis.synthetic_scan import SyntheticScan, draw_seed, random_voxel


@dataclass(frozen=True)
class MetalStreaks:
    """Metal or calcification at a voxel, over some slices; rays of `strength` HU that fade over `reach_mm`."""

    center: tuple[int, int, int]
    radius_mm: float
    slices: int
    hu: float
    strength: float
    rays: int
    reach_mm: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> MetalStreaks | None:
        places = [
            m
            for m in (
                scan.liver,
                is_any(scan.tissue, (Tissue.SPONGY_BONE, Tissue.CORTICAL_BONE)),
                scan.tissue == Tissue.GUT_WALL,
            )
            if m.any()
        ]
        if not places:
            return None
        center = random_voxel(places[rng.integers(len(places))], rng)
        return cls(
            center,
            float(rng.uniform(1.5, 7)),
            int(rng.integers(2, 14)),
            float(rng.uniform(500, 2500)),
            float(rng.uniform(30, 250)),
            int(rng.integers(10, 50)),
            float(rng.uniform(20, 90)),
            draw_seed(rng),
        )

    def apply(self, scan: SyntheticScan) -> None:
        z, y, x = self.center
        rows = slice(max(0, z - self.slices), z + self.slices + 1)
        dy = (np.arange(scan.shape[1], dtype=np.float32) - y)[:, None] * scan.spacing_mm
        dx = (np.arange(scan.shape[2], dtype=np.float32) - x)[None, :] * scan.spacing_mm
        distance = np.hypot(dy, dx)
        turn = ((np.arctan2(dy, dx) / np.pi) % 1.0 * (self.rays - 1)).astype(int)
        rays = np.random.default_rng(self.seed).normal(size=(rows.stop - rows.start, self.rays)).astype(np.float32)
        fade = self.strength * np.exp(-distance / self.reach_mm)
        seen = (scan.tissue[rows] != Tissue.AIR) & (scan.tissue[rows] != Tissue.LUNG)
        count = seen.shape[0]
        scan.hu[rows] += np.where(seen, rays[:count][:, turn] * fade, 0).astype(np.float32)
        dot = np.zeros(scan.shape, bool)
        core = slice(max(0, z - self.slices // 2), z + self.slices // 2 + 1)
        dot[core] = distance < self.radius_mm
        scan.hu[dot & (scan.tissue != Tissue.AIR)] = self.hu


@dataclass(frozen=True)
class PhotonStarvation:
    """Horizontal streaks where arms or shoulders take the light: noise stretched from side to side."""

    strength: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> PhotonStarvation:
        return cls(float(rng.uniform(5, 35)), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        band = smooth_noise(scan.shape, (2.0, 2.0, scan.shape[2] * 0.8), self.seed)
        where = np.clip(smooth_noise(scan.shape, (20.0, 40.0, 300.0), self.seed + 1), 0, 2)
        scan.hu += np.float32(self.strength) * band * where * (scan.tissue != Tissue.AIR)
