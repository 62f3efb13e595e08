"""What lies inside a liver: vessels, lesions and large tumors. All of it belongs to the liver."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from LiverGTANLib.core.boxes import triple
from training.data.tissues import DISPLACEABLE, Tissue, is_any
from training.synthesis.effects.anatomy import tubes
from training.synthesis.effects.grid_operations import smooth_noise
from training.synthesis.synthetic_scan import SyntheticScan, bounding_box, draw_seed, random_voxel

LESION_KINDS = {"hypodense": 0.45, "hyperdense": 0.13, "ring": 0.14, "cyst": 0.14, "necrotic": 0.1, "calcified": 0.04}
"""Share of each kind among lesions; hypodense ones, as most metastases in the portal phase are, come most often."""


@dataclass(frozen=True)
class LiverVessels:
    """Winding vessels in the liver, `delta` HU away from it; air or a stent makes some very dark or bright."""

    delta: float
    radius: float
    wavelength_mm: float
    seed: int

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> LiverVessels | None:
        liver = scan.liver
        if not liver.any():
            return None
        veins, inside = scan.hu[scan.tissue == Tissue.VEIN], scan.hu[liver].mean()
        expected = float(veins.mean() - inside) if len(veins) and rng.random() < 0.7 else rng.uniform(-30, 70)
        delta = float(np.clip(expected, -50, 120) * rng.uniform(0.6, 1.0))
        if rng.random() < 0.03:  # air in the bile ducts
            delta = float(rng.uniform(-600, -200))
        return cls(delta, float(rng.uniform(0.12, 0.32)), float(rng.uniform(20, 42)), draw_seed(rng))

    def apply(self, scan: SyntheticScan) -> None:
        if not scan.liver.any():
            return
        part = scan.crop(bounding_box(scan.liver))
        wavelength = scan.voxels(self.wavelength_mm)
        vessel = tubes(part.shape, wavelength, self.radius, self.seed)
        vessel |= tubes(part.shape, wavelength / 2, self.radius * 0.8, self.seed + 1)
        part.hu[vessel & part.liver] += np.float32(self.delta)


@dataclass(frozen=True)
class Lesion:
    """One lesion: center in voxels, radii in mm, HU difference of its body, of its rim and of its core to the liver."""

    kind: str
    center: tuple[int, int, int]
    radii_mm: tuple[float, float, float]
    body: float
    rim: float
    core: float
    roughness: float
    seed: int

    @classmethod
    def random(
        cls, scan: SyntheticScan, rng: np.random.Generator, center: tuple[int, int, int], radius_mm: float
    ) -> Lesion:
        kind = str(rng.choice(list(LESION_KINDS), p=list(LESION_KINDS.values())))
        body, rim, core = _contrast(kind, float(np.mean(scan.hu[scan.liver])), rng)
        radii = triple(float(radius_mm * rng.uniform(0.75, 1.3)) for _ in range(3))
        return cls(kind, center, radii, body, rim, core, float(rng.uniform(0, 0.25)), draw_seed(rng))

    def apply(self, scan: SyntheticScan, exophytic: bool = False) -> None:
        """Add the differences; an exophytic one turns what it displaces outside the liver into liver."""
        part, reach = self._part(scan)
        body = (reach < 1) & (part.liver | (exophytic & is_any(part.tissue, DISPLACEABLE)))
        if not body.any():
            return
        grown = body & ~part.liver
        part.hu[grown] = np.float32(np.mean(scan.hu[scan.liver]))
        part.set_liver(grown)
        change = np.where(reach > 0.8, self.rim, np.where(reach < 0.55, self.core, self.body)).astype(np.float32)
        change += 0.12 * abs(self.body) * smooth_noise(part.shape, 4.0, self.seed + 1)
        part.hu[body] += change[body]

    def _part(self, scan: SyntheticScan) -> tuple[SyntheticScan, np.ndarray]:
        """The box around the lesion and, in it, the distance to the center in units of the (rough) radius."""
        radii = np.maximum(1.0, np.asarray(self.radii_mm) / scan.spacing_mm)
        box = triple(
            slice(max(0, int(c - 1.6 * r)), min(n, int(c + 1.6 * r) + 2))
            for c, r, n in zip(self.center, radii, scan.shape, strict=True)
        )
        part = scan.crop(box)
        z, y, x = (
            ((np.arange(s.start, s.stop) - c) / r).astype(np.float32) ** 2
            for s, c, r in zip(box, self.center, radii, strict=True)
        )
        reach = np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :])
        reach *= 1 + self.roughness * smooth_noise(part.shape, max(3.0, float(radii.mean()) * 0.8), self.seed)
        return part, reach


@dataclass(frozen=True)
class Lesions:
    """Several small to middling lesions."""

    lesions: tuple[Lesion, ...]

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Lesions | None:
        liver = scan.liver
        if liver.sum() < 500:
            return None
        count = int(rng.integers(1, 5)) if rng.random() < 0.7 else int(rng.integers(5, 14))
        largest = 25.0 if count < 5 else 12.0
        first = Lesion.random(scan, rng, random_voxel(liver, rng), float(rng.uniform(3, largest)))
        lesions = [first]
        for _ in range(count - 1):
            made = Lesion.random(scan, rng, random_voxel(liver, rng), float(rng.uniform(2.5, largest)))
            # Metastases of one patient resemble each other.
            lesions.append(made if rng.random() < 0.3 else _like(made, first))
        return cls(tuple(lesions))

    def apply(self, scan: SyntheticScan) -> None:
        for lesion in self.lesions:
            lesion.apply(scan)


@dataclass(frozen=True)
class GiantTumor:
    """A mass of up to half of the liver, heterogeneous, which may push out of its contour.

    deposit: HU of dense deposits (iodized oil after embolization, calcium) where smooth noise exceeds `sparse` sd.
    """

    lesion: Lesion
    mottle: float
    deposit: float
    sparse: float

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> GiantTumor | None:
        liver = scan.liver
        voxels = int(liver.sum())
        if voxels < 15_000:
            return None
        share = rng.uniform(0.08, 0.5)
        radius = (share * voxels * 3 / (4 * np.pi)) ** (1 / 3) * scan.spacing_mm
        lesion = Lesion.random(scan, rng, random_voxel(liver, rng), float(radius))
        deposit = float(rng.uniform(60, 700)) if rng.random() < 0.25 else 0.0
        return cls(lesion, float(rng.uniform(0, 30)), deposit, float(rng.uniform(0.3, 1.8)))

    def apply(self, scan: SyntheticScan) -> None:
        self.lesion.apply(scan, exophytic=True)
        part, reach = self.lesion._part(scan)
        inside = (reach < 1) & part.liver
        part.hu[inside] += self.mottle * smooth_noise(part.shape, 8.0, self.lesion.seed + 2)[inside]
        if self.deposit:
            speckle = smooth_noise(part.shape, 3.0, self.lesion.seed + 3) > self.sparse
            part.hu[inside & speckle] += np.float32(self.deposit)


def _contrast(kind: str, liver_hu: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """HU differences (body, rim, core) to a liver of `liver_hu`."""
    if kind == "hyperdense":
        body = rng.uniform(8, 60)
        return body, body, body * rng.uniform(0.3, 1)
    if kind == "ring":
        body = rng.uniform(-60, -10)
        return body, rng.uniform(5, 50), body - rng.uniform(0, 20)
    if kind == "cyst":
        body = rng.uniform(-5, 20) - liver_hu
        return body, body, body
    if kind == "necrotic":
        return rng.uniform(-35, 20), rng.uniform(-20, 40), rng.uniform(-10, 25) - liver_hu
    if kind == "calcified":
        return rng.uniform(-30, 30), rng.uniform(0, 200), rng.uniform(100, 800)
    body = rng.uniform(-70, -8)
    return body, body * rng.uniform(0.3, 1), body * rng.uniform(0.8, 1.3)


def _like(lesion: Lesion, model: Lesion) -> Lesion:
    return replace(lesion, kind=model.kind, body=model.body, rim=model.rim, core=model.core)
