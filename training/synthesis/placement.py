"""Position of the training window in the body, and how the body is turned, scaled, bent and its liver enlarged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from LiverGTANLib.core.boxes import triple
from training.data.tissues import AIR_HU, Tissue
from training.synthesis.effects.grid_operations import smooth_noise
from training.synthesis.sources import Source
from training.synthesis.synthetic_scan import SyntheticScan, draw_seed

COARSE = 4
"""The deformation is computed on every fourth voxel and interpolated."""
CLEAR_MM = 40.0
"""A window without liver stays this far from it, because bending and turning may bring the liver nearer."""


@dataclass(frozen=True)
class Bulge:
    """Local magnification (strength > 0) or shrinkage around a point of the source, in voxels of the source."""

    center: tuple[float, float, float]
    strength: float
    radius: float


@dataclass(frozen=True)
class Placement:
    """Window center in the source (voxels), scale and rotation (degrees) by axis Z, Y, X, elastic waves and bulges."""

    center: tuple[float, float, float]
    scale: tuple[float, float, float]
    degrees: tuple[float, float, float]
    waves: tuple[tuple[float, float], ...]
    """(amplitude, wavelength) in voxels."""
    bulges: tuple[Bulge, ...]
    seed: int

    @classmethod
    def random(
        cls,
        source: Source,
        shape: tuple[int, ...],
        rng: np.random.Generator,
        without_liver: bool = False,
        gentle: bool = False,
    ) -> Placement:
        """`gentle` keeps a real CT's anatomy plausible: half the deformation."""
        weaker = 0.5 if gentle else 1.0
        size = rng.uniform(0.74, 1.12)
        scale = triple(float(size * rng.uniform(0.92, 1.08)) for _ in range(3))
        turn = 25.0 if rng.random() < 0.1 else 9.0
        degrees = triple(float(rng.uniform(-a, a)) for a in (turn, 7.0, 7.0))
        mm = 1 / source.spacing_mm
        waves = (
            (float(rng.uniform(0, 9) * weaker * mm), float(rng.uniform(40, 90) * mm)),
            (float(rng.uniform(0, 1.6) * weaker * mm), float(rng.uniform(16, 28) * mm)),
        )
        center = _center(source, shape, scale, rng, without_liver)
        return cls(center, scale, degrees, waves, _bulges(source, rng, weaker), draw_seed(rng))

    def coordinates(self, shape: tuple[int, ...]) -> np.ndarray:
        """(3, z, y, x) float32 on a coarse grid over the window: where it comes from, in voxels of the source."""
        coarse = tuple((n - 1) // COARSE + 2 for n in shape)
        axes = [np.linspace(-n / 2 + 0.5, n / 2 - 0.5, m, dtype=np.float32) for n, m in zip(shape, coarse, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        points = points @ (_rotation(self.degrees) @ np.diag(self.scale)).T.astype(np.float32)
        for wave, (amplitude, wavelength) in enumerate(self.waves):
            for axis in range(3):
                noise = smooth_noise(coarse, wavelength / COARSE, self.seed + 3 * wave + axis)
                points[..., axis] += np.float32(amplitude) * noise
        points += np.asarray(self.center, np.float32)
        for bulge in self.bulges:
            offset = points - np.asarray(bulge.center, np.float32)
            near = np.exp(-(offset**2).sum(-1, keepdims=True) / (2 * bulge.radius**2))
            points -= np.float32(bulge.strength) * near * offset
        return np.ascontiguousarray(points.transpose(3, 0, 1, 2))


def place(source: Source, placement: Placement, shape: tuple[int, ...]) -> SyntheticScan:
    """Sample the source in the window: codes by nearest neighbor, HU and label of a real CT linearly."""
    coordinates = placement.coordinates(shape)
    box = _reach(coordinates, source.tissue.shape)
    grid = _grid(coordinates, box, shape)
    tissue = _sample(source.tissue[box], grid, "nearest").astype(np.uint8)
    if source.hu is None:
        return SyntheticScan(
            tissue,
            np.zeros(shape, np.float32),
            (tissue == Tissue.LIVER).astype(np.float32),
            source.spacing_mm,
            "synthetic",
            source.name,
        )
    hu = _sample(source.hu[box], grid, "bilinear")
    hu[(grid.abs() > 1).any(-1)[0].numpy()] = AIR_HU
    label: np.ndarray = np.zeros(shape, np.float32)
    if source.label is not None:
        label = _sample(source.label[box], grid, "bilinear") / np.float32(255)
    return SyntheticScan(tissue, hu, label, source.spacing_mm, "real", source.name)


def _reach(coordinates: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """The part of the source that the window can see; only that is read and converted."""
    box = []
    for along, size in zip(coordinates, shape, strict=True):
        first = int(np.clip(np.floor(along.min()), 0, size - 1))
        box.append(slice(first, int(np.clip(np.ceil(along.max()) + 1, first + 1, size))))
    return triple(box)


def _grid(coordinates: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> torch.Tensor:
    """The fine grid of `grid_sample` (1, Z, Y, X, 3) for an array that was cut to the box."""
    first = np.array([s.start for s in box], np.float32).reshape(3, 1, 1, 1)
    scale = np.array([2 / max(1, s.stop - s.start - 1) for s in box], np.float32).reshape(3, 1, 1, 1)
    field = torch.from_numpy(np.ascontiguousarray(((coordinates - first) * scale - 1)[::-1]))[None]
    return F.interpolate(field, size=tuple(shape), mode="trilinear", align_corners=True).permute(0, 2, 3, 4, 1)


def _sample(array: np.ndarray, grid: torch.Tensor, mode: str) -> np.ndarray:
    values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None]
    return F.grid_sample(values, grid, mode=mode, padding_mode="zeros", align_corners=True)[0, 0].numpy()


def _rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation about the axes Z, Y, X of the (Z, Y, X) frame."""
    (cz, sz), (cy, sy), (cx, sx) = ((np.cos(a), np.sin(a)) for a in np.deg2rad(degrees))
    about_z = np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _center(
    source: Source, shape: tuple[int, ...], scale: tuple[float, ...], rng: np.random.Generator, without_liver: bool
) -> tuple[float, float, float]:
    """Around the liver along the body, or clear of it; in plane near the middle, sometimes far off (a tight crop)."""
    _, y, x = source.body_center
    mm = 1 / source.spacing_mm
    wide = 2.5 if rng.random() < 0.15 else 1.0
    y, x = y + wide * rng.uniform(-24, 24) * mm, x + wide * rng.uniform(-34, 34) * mm
    levels = source.liver_voxels[:, 0] if len(source.liver_voxels) else np.array([source.tissue.shape[0] / 2])
    half = shape[0] / 2 * scale[0]
    low, high = levels.min() - 0.35 * half, levels.max() + 0.55 * half
    z = rng.uniform(low, high)
    if without_liver:
        clear = half + CLEAR_MM * mm
        choices = [(half, levels.min() - clear), (levels.max() + clear, source.tissue.shape[0] - 0.6 * half)]
        choices = [c for c in choices if c[1] > c[0]]
        if choices:
            z = rng.uniform(*choices[rng.integers(len(choices))])
    return float(z), float(y), float(x)


def _bulges(source: Source, rng: np.random.Generator, weaker: float) -> tuple[Bulge, ...]:
    if not len(source.liver_voxels):
        return ()
    centers = source.liver_voxels[rng.integers(len(source.liver_voxels), size=rng.integers(0, 4))]
    return tuple(
        Bulge(
            triple(float(v) for v in center),
            float(rng.uniform(-0.45, 0.45) * weaker),
            float(rng.uniform(28, 64) / source.spacing_mm),
        )
        for center in centers
    )
