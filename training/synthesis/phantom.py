"""A generated trunk: tissue codes from simple solids, so that everything runs without any data from elsewhere.

The anatomy is schematic: for tests and demonstrations, not for students that are used on patients. The same seed gives
the same trunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from LiverGTANLib.core.boxes import triple
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone.image_files import image_of
from training.data.tissues import Tissue as T

EXTENT_MM = (380.0, 270.0, 400.0)
"""Size of the block along S, A, R."""
BELOW_MM = 210.0
"""How far the block reaches below the origin, which lies in the middle of the liver's height, in front of the spine."""

Point = tuple[float, float, float]
"""Millimeters along R, A, S from the origin."""


@dataclass(frozen=True)
class Ellipsoid:
    """An organ: what it is made of, where, how large; an optional wall of another tissue."""

    tissue: T
    center: Point
    radii: Point
    wall: T | None = None
    wall_mm: float = 0.0


@dataclass(frozen=True)
class Tube:
    """A vessel or a loop of bowel along a polyline."""

    tissue: T
    points: tuple[Point, ...]
    radius: float
    wall: T | None = None
    wall_mm: float = 0.0


def tissue_phantom(seed: int = 0, spacing_mm: float = 2.0) -> np.ndarray:
    """Tissue codes, uint8 (Z, Y, X), axes growing to superior, anterior, right."""
    body = Body.of(seed, spacing_mm)
    codes = np.zeros(body.shape, np.uint8)
    _trunk(body, codes)
    _skeleton(body, codes)
    chest, cavity = _diaphragm(body)
    hard = np.isin(codes, (T.CORTICAL_BONE, T.SPONGY_BONE, T.CORD, T.CARTILAGE))
    codes[chest & ~hard] = T.LUNG
    for organ in _organs(body):
        allowed = chest | body.inner if organ.tissue in (T.ARTERY, T.VEIN, T.GUT_WALL, T.FAT) else cavity
        _draw(body, codes, organ, allowed & ~hard)
    _liver(body, codes, cavity)
    return codes


def ct_phantom(seed: int = 0, spacing_mm: float = 2.5) -> tuple[CtVolume, np.ndarray]:
    """A portal venous CT of the phantom and its liver mask (K, J, I) bool, stored as scanners do (LPS)."""
    from training.synthesis.effects.phase import Contrast
    from training.synthesis.effects.scanner import Blur, Noise
    from training.synthesis.synthetic_scan import SyntheticScan

    codes = tissue_phantom(seed, spacing_mm)
    scan = SyntheticScan(
        codes,
        np.zeros(codes.shape, np.float32),
        (codes == T.LIVER).astype(np.float32),
        spacing_mm,
        "synthetic",
        f"phantom-{seed}",
    )
    Contrast.typical("portal", seed).apply(scan)
    Blur(0.6, 0.4).apply(scan)
    Noise(8.0, 0.5, seed).apply(scan)
    hu = np.round(scan.hu[:, ::-1, ::-1]).astype(np.int16)
    ijk_to_ras = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    ijk_to_ras[:3, 3] = np.array([hu.shape[2], hu.shape[1], -hu.shape[0]]) * spacing_mm / 2
    return CtVolume(hu, ijk_to_ras, f"phantom-{seed}"), scan.liver[:, ::-1, ::-1]


def write_case(folder: Path, seed: int) -> str:
    """A phantom's CT and mask as files; the text CT=MASK that names the case."""
    import SimpleITK as sitk

    folder.mkdir(parents=True, exist_ok=True)
    ct, mask = ct_phantom(seed)
    files = folder / f"phantom-{seed}.nii.gz", folder / f"phantom-{seed}-liver.nii.gz"
    for file, array in zip(files, (ct.hu, mask.astype("uint8")), strict=True):
        sitk.WriteImage(image_of(array, ct.ijk_to_ras), str(file))
    return f"{files[0]}={files[1]}"


@dataclass(frozen=True, eq=False)
class Body:
    """The frame in which everything is drawn: coordinates, how deep a voxel lies below the skin, random proportions."""

    shape: tuple[int, int, int]
    spacing: float
    z: np.ndarray
    y: np.ndarray
    x: np.ndarray
    depth: np.ndarray
    """(1, Y, X) mm below the skin, about; negative outside."""
    fat_mm: float
    rng: np.random.Generator

    @classmethod
    def of(cls, seed: int, spacing: float) -> Body:
        rng = np.random.default_rng([seed, 51])
        shape = triple(round(extent / spacing) for extent in EXTENT_MM)
        z = (np.arange(shape[0], dtype=np.float32)[:, None, None] + 0.5) * spacing - BELOW_MM
        y = (np.arange(shape[1], dtype=np.float32)[None, :, None] + 0.5) * spacing - EXTENT_MM[1] / 2
        x = (np.arange(shape[2], dtype=np.float32)[None, None, :] + 0.5) * spacing - EXTENT_MM[2] / 2
        wide, thick, fat = rng.uniform(155, 185), rng.uniform(100, 122), rng.uniform(10, 26)
        radius = (np.abs(x / wide) ** 2.4 + np.abs(y / thick) ** 2.4) ** (1 / 2.4)
        return cls(shape, spacing, z, y, x, (1 - radius) * (thick + wide) / 2, fat, rng)

    @property
    def inner(self) -> np.ndarray:
        """(1, Y, X): inside the muscle wall."""
        return self.depth > self.fat_mm + 14

    def jitter(self, values: Sequence[float], share: float) -> Point:
        return triple(float(v * self.rng.uniform(1 - share, 1 + share)) for v in values)


def _trunk(body: Body, codes: np.ndarray) -> None:
    """Skin, fat, muscle wall, and fat within."""
    for depth, tissue in ((0, T.SKIN), (2.5, T.FAT), (body.fat_mm, T.MUSCLE), (body.fat_mm + 14, T.FAT)):
        codes[np.broadcast_to(body.depth > depth, codes.shape)] = tissue


def _skeleton(body: Body, codes: np.ndarray) -> None:
    """Back muscles, vertebrae with discs, cord, ribs in the wall, iliac wings."""
    x, y, z = body.x, body.y, body.z
    for side in (-1, 1):
        codes[_inside(body, (38.0 * side, -78.0, 0.0), (30.0, 20.0, 400.0)) & (body.depth > body.fat_mm)] = T.MUSCLE
        codes[_inside(body, (48.0 * side, -48.0, -150.0), (22.0, 22.0, 90.0))] = T.MUSCLE
    vertebra = np.hypot(x / 21, (y + 58) / 16) + 0 * z
    disc = np.abs((z % 34) - 17) > 12
    codes[vertebra < 1] = T.CORTICAL_BONE
    codes[(vertebra < 0.88) & ~disc] = T.SPONGY_BONE
    codes[(vertebra < 1) & disc] = T.CARTILAGE
    arch = np.hypot(x, y + 83) + 0 * z
    codes[arch < 13] = T.CORTICAL_BONE
    codes[arch < 8] = T.CORD
    codes[(np.abs(x) < 4) & (y < -94) & (y > -112) & ~disc & (body.depth > 8)] = T.CORTICAL_BONE
    middle = np.abs(body.depth - body.fat_mm - 8)
    along = (z + 0.35 * y - 0.1 * np.abs(x)) % 26
    rib = (middle < 4) & (along < 10) & (z > -70) & (np.hypot(x, np.maximum(y - 70, 0)) > 30)
    codes[rib] = T.CORTICAL_BONE
    codes[rib & (middle < 2) & (np.abs(along - 5) < 3)] = T.SPONGY_BONE
    for side in (-1, 1):
        wing = (85.0 * side, -30.0, -190.0)
        codes[
            _inside(body, wing, (50.0, 60.0, 75.0))
            & ~_inside(body, wing, (42.0, 52.0, 75.0))
            & (z < -140)
            & (body.depth > body.fat_mm)
        ] = T.SPONGY_BONE


def _diaphragm(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Lungs above the two domes, abdominal cavity below them: boolean masks of the whole block."""
    # Between the domes it lies lower, and at the back it reaches far down.
    top = np.broadcast_to(np.clip(25 + 0.9 * (body.y + 10), -60, 25), (1, *body.shape[1:]))
    for side, height in ((1, body.rng.uniform(62, 80)), (-1, body.rng.uniform(45, 65))):
        dome = height - 110 * (((body.x - 72 * side) / 95) ** 2 + ((body.y - 8) / 95) ** 2)
        top = np.maximum(top, dome)
    above = body.z - top
    return (above > 2) & (body.depth > body.fat_mm + 12), (above < -2) & body.inner


def _organs(body: Body) -> Iterator[Ellipsoid | Tube]:
    """In drawing order; later ones lie on top. The liver comes after all of them."""
    yield Ellipsoid(T.FAT, (-5.0, 0.0, 130.0), (38.0, 75.0, 90.0))
    yield Ellipsoid(T.ARTERY, (-32.0, 32.0, 98.0), body.jitter((52, 42, 44), 0.1), T.HEART_WALL, 9)
    yield from _bowel(body)
    yield Ellipsoid(T.STOMACH_CONTENT, (-62.0, 22.0, 18.0), body.jitter((36, 38, 52), 0.15), T.GUT_WALL, 4)
    yield Ellipsoid(T.SPLEEN, (-104.0, -38.0, 18.0), body.jitter((26, 40, 48), 0.2))
    for side in (-1.0, 1.0):
        yield Ellipsoid(T.KIDNEY, (63.0 * side, -52.0, -52.0 - 8 * side), body.jitter((27, 27, 52), 0.12))
    yield Tube(T.PANCREAS, ((35.0, 12.0, -32.0), (0.0, 22.0, -22.0), (-45.0, -5.0, -8.0), (-82.0, -28.0, 8.0)), 11.0)
    yield Tube(T.GUT_WALL, ((-8.0, -30.0, 170.0), (-12.0, -25.0, 80.0), (-35.0, 0.0, 50.0)), 9.0)
    yield Tube(T.ARTERY, ((-14.0, -30.0, 170.0), (-12.0, -28.0, 0.0), (0.0, -30.0, -130.0)), 11.0)
    yield Tube(T.VEIN, ((24.0, -18.0, 80.0), (24.0, -26.0, 0.0), (14.0, -30.0, -130.0)), 12.0)
    yield Tube(T.VEIN, ((-80.0, -25.0, 2.0), (5.0, 5.0, -24.0), (45.0, 10.0, -2.0)), 7.0)
    yield Ellipsoid(T.URINE, (0.0, 25.0, -185.0), body.jitter((36, 30, 26), 0.2), T.GUT_WALL, 3)


def _bowel(body: Body) -> Iterator[Tube]:
    """Colon as a frame, small bowel as a winding path within it."""
    colon = (
        (98.0, 0.0, -170.0),
        (100.0, 5.0, -85.0),
        (75.0, 45.0, -78.0),
        (0.0, 68.0, -95.0),
        (-80.0, 45.0, -55.0),
        (-108.0, -5.0, -40.0),
        (-106.0, -15.0, -150.0),
        (-60.0, -10.0, -185.0),
    )
    shift = [float(v) for v in body.rng.uniform(0, 2 * np.pi, 3)]
    steps = np.linspace(0, 1, 90)
    path = tuple(
        (
            float(72 * np.sin(23 * s + shift[0])),
            float(28 + 34 * np.sin(41 * s + shift[1])),
            float(-160 + 95 * s + 8 * np.sin(60 * s + shift[2])),
        )
        for s in steps
    )
    yield Tube(T.BOWEL_CONTENT, path, 12.0, T.GUT_WALL, 3.0)
    yield Tube(T.COLON_CONTENT, colon, body.rng.uniform(17, 24), T.GUT_WALL, 3.0)


def _liver(body: Body, codes: np.ndarray, cavity: np.ndarray) -> None:
    """Two lobes under the diaphragm, hollowed by kidney, stomach and gallbladder; its portal branches are liver."""
    right = _inside(body, (72.0, 5.0, 0.0), body.jitter((88, 88, 88), 0.1))
    left = _inside(body, (-5.0, 58.0, 22.0), body.jitter((82, 34, 32), 0.15))
    under = body.z > -62 + 0.45 * (body.y - 20) - 0.5 * (body.x - 70)
    room = np.isin(codes, (T.FAT, T.STOMACH_CONTENT, T.BOWEL_CONTENT, T.COLON_CONTENT, T.GUT_WALL, T.VEIN))
    cava = _inside(body, (24.0, -22.0, 20.0), (14.0, 16.0, 120.0)) & (codes == T.VEIN)
    stomach = (codes == T.STOMACH_CONTENT) & ~left
    codes[(right | left) & under & cavity & room & ~cava & ~stomach] = T.LIVER
    gallbladder = _inside(body, (58.0, 52.0, -38.0), body.jitter((13, 22, 24), 0.2))
    codes[gallbladder & cavity & np.isin(codes, (T.LIVER, T.FAT))] = T.GALLBLADDER


def _draw(body: Body, codes: np.ndarray, organ: Ellipsoid | Tube, allowed: np.ndarray) -> None:
    codes[_within(body, organ, 0.0) & allowed] = organ.tissue if organ.wall is None else organ.wall
    if organ.wall is not None:
        codes[_within(body, organ, organ.wall_mm) & allowed] = organ.tissue


def _within(body: Body, organ: Ellipsoid | Tube, less_mm: float) -> np.ndarray:
    if isinstance(organ, Ellipsoid):
        return _inside_ellipsoid(body, organ, less_mm)
    return _inside_tube(body, organ, less_mm)


def _inside(body: Body, center: Point, radii: Point) -> np.ndarray:
    return (
        ((body.x - center[0]) / radii[0]) ** 2
        + ((body.y - center[1]) / radii[1]) ** 2
        + ((body.z - center[2]) / radii[2]) ** 2
    ) < 1


def _inside_ellipsoid(body: Body, organ: Ellipsoid, less_mm: float) -> np.ndarray:
    return _inside(body, organ.center, triple(r - less_mm for r in organ.radii))


def _inside_tube(body: Body, organ: Tube, less_mm: float) -> np.ndarray:
    """Union of rounded cylinders, each computed in its own box."""
    inside = np.zeros(body.shape, bool)
    radius = organ.radius - less_mm
    for start, end in zip(organ.points, organ.points[1:], strict=False):
        box = _box(body, start, end, radius)
        gx, gy, gz = body.x[..., box[2]], body.y[:, box[1]], body.z[box[0]]
        step = np.subtract(end, start)
        along = ((gx - start[0]) * step[0] + (gy - start[1]) * step[1] + (gz - start[2]) * step[2]) / (step @ step)
        along = np.clip(along, 0, 1)
        distance = sum((g - s - along * d) ** 2 for g, s, d in zip((gx, gy, gz), start, step, strict=True))
        inside[box] |= distance < radius**2
    return inside


def _box(body: Body, start: Point, end: Point, radius: float) -> tuple[slice, slice, slice]:
    box = []
    for axis, first in zip((2, 1, 0), (body.z.flat[0], body.y.flat[0], body.x.flat[0]), strict=True):
        low, high = min(start[axis], end[axis]) - radius, max(start[axis], end[axis]) + radius
        count = body.shape[2 - axis]
        box.append(
            slice(
                int(np.clip((low - first) / body.spacing, 0, count)),
                int(np.clip((high - first) / body.spacing + 2, 0, count)),
            )
        )
    return triple(box)
