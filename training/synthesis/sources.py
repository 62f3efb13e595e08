"""Where volumes come from: tissue maps (whole trunks in codes) and real CTs with a liver mask, on a 2 mm grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from training.data.cache import CachedScan
from training.data.scans import read_image
from training.data.tissues import ORGANS, Tissue, is_any
from training.synthesis.effects.grid_operations import signed_distance
from training.synthesis.synthetic_scan import bounding_box


@dataclass(eq=False)
class Source:
    """A body on an isotropic grid, axes growing to superior, anterior, right.

    tissue: uint8 (Z, Y, X). hu: int16, None for a tissue map. label: uint8, liver fraction times 255, of a real CT;
    None for an unlabelled one and for a tissue map, whose label is its tissue.
    """

    name: str
    tissue: np.ndarray
    spacing_mm: float
    hu: np.ndarray | None = None
    label: np.ndarray | None = None

    @property
    def real(self) -> bool:
        """Whether it is a CT, not a tissue map."""
        return self.hu is not None

    @property
    def labelled(self) -> bool:
        """Whether it is known where the liver is."""
        return not self.real or self.label is not None

    @cached_property
    def liver_voxels(self) -> np.ndarray:
        """(N, 3) indices, thinned; empty when the source shows no liver."""
        return np.argwhere(self.tissue == Tissue.LIVER)[::37]

    @cached_property
    def body_center(self) -> np.ndarray:
        """(3,) middle of the body's box in voxels."""
        body = self.tissue != Tissue.AIR
        ranges = [np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        return np.array([(r[0] + r[-1]) / 2 if len(r) else n / 2 for r, n in zip(ranges, body.shape, strict=True)])


def read_tissue_map(path: Path, spacing_mm: float) -> Source:
    """A map of tissue codes, nearest neighbor to the fine grid, with fat in the abdominal cavity set apart."""
    codes, ijk_to_ras = read_image(path)
    if codes.max() > max(Tissue):
        raise ValueError(f"{path.name}: code {codes.max()} is not a tissue (0 to {max(Tissue)}); give a tissue map.")
    codes = _nearest(_to_axes(codes, ijk_to_ras), _spacing(ijk_to_ras), spacing_mm)
    return tissue_source(path.name.removesuffix(".nii.gz"), codes, spacing_mm)


def tissue_source(name: str, codes: np.ndarray, spacing_mm: float) -> Source:
    """A source from codes that already lie on the fine grid (Z, Y, X)."""
    tissue = np.ascontiguousarray(codes, dtype=np.uint8)
    _fill_missing_heart(tissue, spacing_mm)
    tissue[enclosed_by_liver(tissue)] = Tissue.LIVER
    cavity = (tissue == Tissue.FAT) & abdominal_cavity(tissue)
    tissue[cavity] = Tissue.CAVITY_FAT
    return Source(name, tissue, spacing_mm)


@lru_cache(maxsize=32)  # open files are few, as a process may have 1,024, and a data set thousands of CTs
def ct_source(entry: CachedScan) -> Source:
    """A real CT from the cache; its arrays stay on disk until a window is cut out of them."""
    return Source(entry.scan.name, entry.tissue, entry.spacing_mm, entry.hu, entry.label)


def abdominal_cavity(tissue: np.ndarray) -> np.ndarray:
    """Slice by slice the convex hull of the abdominal organs: an estimate of what lies inside the abdominal wall."""
    from scipy.spatial import ConvexHull, QhullError

    organs, inside = is_any(tissue, ORGANS), np.zeros(tissue.shape, bool)
    y, x = np.mgrid[: tissue.shape[1], : tissue.shape[2]].astype(np.float32)
    for z in np.flatnonzero(organs.sum(axis=(1, 2)) > 50):
        try:
            facets = ConvexHull(np.argwhere(organs[z])).equations.astype(np.float32)
        except QhullError:  # all organ voxels of the slice on one line
            continue
        inside[z] = np.all([a * y + b * x + c <= 1 for a, b, c in facets], axis=0)
    return inside


def enclosed_by_liver(tissue: np.ndarray) -> np.ndarray:
    """Vessels and fat that the liver encloses in at least two of the three cuts: intrahepatic, so part of the liver.

    The vena cava, which passes along the body, and the portal vein before the hilum stay out.
    """
    from scipy.ndimage import binary_fill_holes

    if not (tissue == Tissue.LIVER).any():
        return np.zeros(tissue.shape, bool)
    box = bounding_box(tissue == Tissue.LIVER, margin=1)
    liver = tissue[box] == Tissue.LIVER
    votes = np.zeros(liver.shape, np.uint8)
    for axis in range(3):
        for cut, vote in zip(np.moveaxis(liver, axis, 0), np.moveaxis(votes, axis, 0), strict=True):
            vote += binary_fill_holes(cut)
    enclosed = np.zeros(tissue.shape, bool)
    enclosed[box] = (votes >= 2) & is_any(tissue[box], (Tissue.VEIN, Tissue.FAT, Tissue.OTHER))
    return enclosed


def _fill_missing_heart(tissue: np.ndarray, spacing_mm: float) -> None:
    """Some maps were cut out of scans that end at the heart; thick fat between the lungs there is taken for heart."""
    chest = (tissue == Tissue.LUNG).sum(axis=(1, 2)) > 2000
    if not chest.any():
        return
    fat = (tissue == Tissue.FAT) & chest[:, None, None]
    lung_y = np.flatnonzero((tissue[chest] == Tissue.LUNG).any(axis=(0, 2)))
    fat[:, : lung_y[0]] = fat[:, lung_y[-1] :] = False
    deep = signed_distance(fat, spacing_mm) < -14
    core = signed_distance(deep, spacing_mm) < 12
    tissue[core & fat] = Tissue.HEART_WALL
    tissue[deep & fat] = Tissue.ARTERY


def _to_axes(array: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """Permute and flip to axes (S, A, R); the map's axes must be within a few degrees of the patient's."""
    directions = ijk_to_ras[:3, :3] / _spacing_ijk(ijk_to_ras)
    order = [int(np.argmax(np.abs(directions[row]))) for row in (2, 1, 0)]
    turned = np.transpose(array, [2 - axis for axis in order])
    flips = tuple(
        slice(None, None, -1 if directions[row, axis] < 0 else 1) for row, axis in zip((2, 1, 0), order, strict=True)
    )
    return turned[flips]


def _spacing_ijk(ijk_to_ras: np.ndarray) -> np.ndarray:
    return np.linalg.norm(ijk_to_ras[:3, :3], axis=0)


def _spacing(ijk_to_ras: np.ndarray) -> np.ndarray:
    """Spacing in the order of the patient axes S, A, R."""
    directions = ijk_to_ras[:3, :3] / _spacing_ijk(ijk_to_ras)
    return np.array([_spacing_ijk(ijk_to_ras)[np.argmax(np.abs(directions[row]))] for row in (2, 1, 0)])


def _nearest(array: np.ndarray, spacing: np.ndarray, target_mm: float) -> np.ndarray:
    index = []
    for size, step in zip(array.shape, spacing, strict=True):
        count = max(1, round(size * step / target_mm))
        index.append(np.clip(((np.arange(count) + 0.5) * target_mm / step).astype(int), 0, size - 1))
    return array[np.ix_(*index)]
