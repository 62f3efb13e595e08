"""Fluid and collapsed lung around the liver: confounders, which look like liver and are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.tissues import Tissue, is_any
from training.synthesis.effects.grid_operations import COARSE, grow, signed_distance, smooth_noise
from training.synthesis.synthetic_scan import SyntheticScan, bounding_box, draw_seed

EDGE = 2
"""Voxels over which a scanner blurs the edge of the lung."""
ONE_LUNG_MM = 190.0
"""No single lung is wider."""


@dataclass(frozen=True)
class Ascites:
    """Fluid between the organs: a rim taken from the liver's surface and the fat within reach of the organs."""

    rim_mm: float
    reach_mm: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Ascites | None:
        if not scan.liver.any():
            return None
        return cls(float(rng.uniform(0, 14)), float(rng.uniform(2, 40)), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        if not scan.liver.any():
            return
        noise = smooth_noise(scan.shape, scan.voxels(50), self.seed)
        distance = signed_distance(scan.liver, scan.spacing_mm)
        rim = scan.liver & (distance > -self.rim_mm * np.clip(0.4 + 0.6 * noise, 0, 1.5))
        scan.clear_liver(rim, Tissue.FLUID)
        organs = is_any(scan.tissue, (Tissue.LIVER, Tissue.SPLEEN, Tissue.GUT_WALL))
        near = signed_distance(organs, scan.spacing_mm) < self.reach_mm * np.clip(0.5 + 0.5 * noise, 0, 1.5)
        scan.tissue[(scan.tissue == Tissue.CAVITY_FAT) & near] = Tissue.FLUID


@dataclass(frozen=True)
class Effusion:
    """Pleural fluid in one half of the chest, with the lung next to it collapsed.

    level: height of the fluid as a share of the lung's depth from the back. base_mm: fluid below the lung.
    collapse_mm: thickness of the collapsed lung beyond the fluid.
    """

    right: bool
    level: float
    tilt: float
    base_mm: float
    collapse_mm: float
    fluid_hu: float
    collapse_hu: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Effusion | None:
        right = bool(rng.random() < 0.7)
        if _half_lung(scan, right).sum() < 3000:
            return None
        fluid_hu = rng.uniform(-5, 25) if rng.random() < 0.8 else rng.uniform(25, 60)
        massive = rng.random() < 0.25
        level = rng.uniform(0.5, 1.1) if massive else rng.uniform(0.05, 0.6)
        base = rng.uniform(20, 80) if massive else rng.uniform(0, 35)
        return cls(
            right,
            float(level),
            float(rng.uniform(0.1, 0.6)),
            float(base),
            float(rng.uniform(0, 35)),
            float(fluid_hu),
            float(rng.uniform(15, 130)),
            draw_seed(rng),
        )

    def apply(self, scan: SyntheticScan) -> None:
        lung = _half_lung(scan, self.right)
        if not lung.any():
            return
        box = bounding_box(lung, margin=EDGE)
        lung = lung[box]
        depth = _depth_mm(lung, scan.spacing_mm, self.tilt)
        noise = smooth_noise(lung.shape, scan.voxels(45), self.seed)
        above_base = np.cumsum(lung, axis=0, dtype=np.int16) * np.float32(scan.spacing_mm)
        level = self.level * lung.shape[1] * scan.spacing_mm + 5 * noise
        base = self.base_mm * np.clip(0.7 + 0.5 * noise, 0, 2)
        fluid = lung & ((depth < level) | (above_base < base))
        beyond = self.collapse_mm * np.clip(0.5 + 0.6 * noise, 0, 2)
        collapsed = lung & ~fluid & ((depth < level + beyond) | (above_base < base + beyond))
        part = scan.crop(box)
        wet_edges(part, fluid, self.fluid_hu)
        wet_edges(part, collapsed, self.collapse_hu)
        paint(part, fluid, self.fluid_hu, 4.0, Tissue.FLUID, self.seed + 1)
        paint(part, collapsed, self.collapse_hu, 9.0, Tissue.COLLAPSED_LUNG, self.seed + 2)


@dataclass(frozen=True)
class Consolidation:
    """Solid lung on the dome of the diaphragm or in a patch: density like liver, bordering on it, never liver."""

    right: bool
    thickness_mm: float
    patch: float
    wavelength_mm: float
    hu: float
    air: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Consolidation | None:
        right = bool(rng.random() < 0.75)
        if _half_lung(scan, right).sum() < 3000:
            return None
        return cls(
            right,
            float(rng.uniform(0, 40)),
            float(rng.uniform(0.8, 2.5)),
            float(rng.uniform(25, 60)),
            float(rng.uniform(10, 130)),
            float(rng.uniform(0, 0.25)),
            draw_seed(rng),
        )

    def apply(self, scan: SyntheticScan) -> None:
        lung = _half_lung(scan, self.right)
        if not lung.any():
            return
        box = bounding_box(lung, margin=EDGE)
        lung = lung[box]
        noise = smooth_noise(lung.shape, scan.voxels(self.wavelength_mm), self.seed)
        above_base = np.cumsum(lung, axis=0, dtype=np.int16) * np.float32(scan.spacing_mm)
        solid = lung & ((above_base < self.thickness_mm * np.clip(noise, 0, 1.5)) | (noise > self.patch + 1))
        bronchi = np.abs(smooth_noise(lung.shape, 6.0, self.seed + 1)) < self.air * 0.4
        part = scan.crop(box)
        wet_edges(part, solid, self.hu)
        paint(part, solid & ~bronchi, self.hu, 10.0, Tissue.COLLAPSED_LUNG, self.seed + 2)


def paint(scan: SyntheticScan, mask: np.ndarray, hu: float, sd: float, code: int, seed: int) -> None:
    """Set a region's code and, with a smooth texture of `sd`, its HU; what was liver there is no longer."""
    if not mask.any():
        return
    texture = smooth_noise(scan.shape, 3.0, seed)
    scan.hu[mask] = hu + sd * texture[mask]
    scan.tissue[mask] = code
    scan.label[mask] = 0.0


def wet_edges(scan: SyntheticScan, filled: np.ndarray, hu: float) -> None:
    """Voxels at the edge of a real lung average air and tissue; once the lung is filled they must not stay dark.

    A network would learn to recognize effusions by a dark seam to the liver, which real scans do not have.
    """
    seam = grow(filled, EDGE) & ~filled & (scan.tissue != Tissue.LUNG) & (scan.tissue != Tissue.AIR)
    scan.hu[seam] = np.maximum(scan.hu[seam], np.float32(hu))


def _half_lung(scan: SyntheticScan, right: bool) -> np.ndarray:
    """Lung of one side. A part that reaches across (lungs joined by the airways) is cut at its own middle."""
    from scipy.ndimage import label as components

    lung = scan.tissue == Tissue.LUNG
    parts, count = components(lung[::COARSE, ::COARSE, ::COARSE])
    body = np.flatnonzero((scan.tissue != Tissue.AIR).any(axis=(0, 1)))
    half = np.zeros(parts.shape, bool)
    middle_of_body = (body[0] + body[-1]) / 2 / COARSE if len(body) else 0.0
    for number in range(1, count + 1):
        part = parts == number
        columns = np.flatnonzero(part.any(axis=(0, 1)))
        if columns[-1] - columns[0] > scan.voxels(ONE_LUNG_MM) / COARSE:
            middle = (columns[0] + columns[-1]) / 2
            part[..., (np.arange(part.shape[2]) > middle) != right] = False
            half |= part
        elif (np.argwhere(part)[:, 2].mean() > middle_of_body) == right:
            half |= part
    fine = half.repeat(COARSE, 0).repeat(COARSE, 1).repeat(COARSE, 2)[tuple(slice(n) for n in lung.shape)]
    return lung & grow(fine, COARSE)


def _depth_mm(lung: np.ndarray, spacing_mm: float, tilt: float) -> np.ndarray:
    """Height above the lowest point for a patient on the back; the plane rises towards the head by `tilt`."""
    z, y, _ = lung.shape
    height = np.arange(y, dtype=np.float32)[None, :, None] + tilt * np.arange(z, dtype=np.float32)[:, None, None]
    return height * np.float32(spacing_mm)
