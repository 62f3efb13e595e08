"""The tissue codes of the maps that synthesis starts from, and groups of them."""

from enum import IntEnum

import numpy as np


class Tissue(IntEnum):
    """Codes 0 to 23 come with the maps; the rest are made on the way to a CT."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    LIVER = 3
    SPLEEN = 4
    KIDNEY = 5
    CORTICAL_BONE = 6
    SPONGY_BONE = 7
    LUNG = 8
    ARTERY = 9
    VEIN = 10
    HEART_WALL = 11
    GUT_WALL = 12
    STOMACH_CONTENT = 13
    BOWEL_CONTENT = 14
    COLON_CONTENT = 15
    PANCREAS = 16
    GALLBLADDER = 17
    SKIN = 18
    OTHER = 19
    GAS = 20
    CORD = 21
    URINE = 22
    CARTILAGE = 23
    CAVITY_FAT = 24
    """Fat between the organs: mesentery, omentum, retroperitoneum. Fluid and bowel may take its place."""
    FLUID = 25
    COLLAPSED_LUNG = 26
    CONTRAST_FILLED = 27
    METAL = 28


COUNT = len(Tissue)
AIR_HU = -1024
"""What scanners write outside the field of view, and where a scan was cut."""

ORGANS = (
    Tissue.LIVER,
    Tissue.SPLEEN,
    Tissue.KIDNEY,
    Tissue.GUT_WALL,
    Tissue.STOMACH_CONTENT,
    Tissue.BOWEL_CONTENT,
    Tissue.COLON_CONTENT,
    Tissue.PANCREAS,
    Tissue.GALLBLADDER,
)
"""What the abdominal cavity holds; its fat is the fat between them."""

SOFT = tuple(t for t in Tissue if t not in (Tissue.AIR, Tissue.CORTICAL_BONE, Tissue.LUNG, Tissue.GAS, Tissue.METAL))

DISPLACEABLE = (
    Tissue.CAVITY_FAT,
    Tissue.GUT_WALL,
    Tissue.STOMACH_CONTENT,
    Tissue.BOWEL_CONTENT,
    Tissue.COLON_CONTENT,
    Tissue.PANCREAS,
    Tissue.GALLBLADDER,
    Tissue.OTHER,
    Tissue.FLUID,
)
"""What a growing liver or tumor pushes aside."""


def is_any(tissue: np.ndarray, codes: tuple[int, ...]) -> np.ndarray:
    """Boolean mask, the shape of `tissue`, of the voxels with one of the codes."""
    table = np.zeros(256, bool)
    table[list(codes)] = True
    return table[tissue]


def coarse_tissue(hu: np.ndarray, label: np.ndarray | None) -> np.ndarray:
    """Air, lung, fat, soft tissue, bone and liver by thresholds: enough for effects to find their place."""
    from scipy.ndimage import binary_fill_holes, binary_opening
    from scipy.ndimage import label as components

    tissue = np.full(hu.shape, Tissue.OTHER, np.uint8)
    tissue[hu < -20] = Tissue.FAT
    tissue[hu > 250] = Tissue.SPONGY_BONE
    body = binary_opening(hu > -300, iterations=2)
    parts, count = components(body)
    if count:
        body = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    body = np.stack([binary_fill_holes(slice_) for slice_ in body])
    tissue[hu < -300] = Tissue.GAS
    tissue[_large_parts((hu < -300) & body, 12_000)] = Tissue.LUNG
    tissue[~body] = Tissue.AIR
    if label is not None:
        tissue[label > 0.5] = Tissue.LIVER
    return tissue


def _large_parts(mask: np.ndarray, voxels: int) -> np.ndarray:
    from scipy.ndimage import label as components

    parts, _ = components(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes > voxels)[parts]
