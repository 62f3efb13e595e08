"""A CT of the upper abdomen made of ellipsoids, for tests and for a first try without a file or a connection.

It shows that the way from a CT to a segment works. It says nothing about the quality of masks of patients. Shapes are
drawn by eye; HU are those of the portal venous phase.
"""

from functools import lru_cache

import numpy as np

from .volume import CtVolume

# (HU, center in mm, semi-axes in mm), later ones painted over earlier ones; x to the patient's right, y to the front,
# z up, all from the middle of the body.
_BODY = (
    (-100, (0, 0, 0), (165, 115, 400)),  # fat under the skin
    (55, (0, 0, 0), (150, 100, 400)),  # muscle
    (-90, (0, 8, -20), (132, 78, 230)),  # fat within the abdomen
    (-850, (68, 5, 150), (62, 70, 105)),  # lungs
    (-850, (-68, 5, 150), (62, 70, 105)),
    (45, (-25, 30, 135), (55, 45, 50)),  # heart
    (300, (0, -62, 0), (22, 22, 400)),  # spine
    (150, (-10, -32, 0), (10, 10, 400)),  # aorta
    (120, (-85, -28, 38), (28, 42, 48)),  # spleen
    (170, (58, -45, -45), (27, 25, 52)),  # kidneys
    (170, (-58, -45, -40), (27, 25, 52)),
    (20, (-48, 32, 28), (40, 34, 45)),  # stomach
)
_LIVER = (
    ((72, 8, 28), (66, 70, 78)),  # right lobe
    ((5, 42, 48), (62, 30, 34)),  # left lobe
)
_LIVER_HU = 110
_GALLBLADDER = (10, (52, 38, -22), (15, 20, 24))


def phantom_ct(spacing_mm: tuple[float, float, float] = (2.0, 2.0, 3.0)) -> tuple[CtVolume, np.ndarray]:
    """A CT (int16 HU, indices growing to the left, the back and the head, as scanners write it) and its liver mask.

    spacing_mm: voxel size along i, j, k. The mask is (K, J, I) uint8. Both are the caller's own.
    """
    ct, liver = _drawn(tuple(spacing_mm))
    return CtVolume(ct.hu.copy(), ct.ijk_to_ras.copy(), ct.name), liver.copy()


@lru_cache(maxsize=2)
def _drawn(spacing_mm: tuple[float, float, float]) -> tuple[CtVolume, np.ndarray]:
    """The phantom of `phantom_ct`, drawn once: tests ask for it some hundred times. It has 6 MB at 2x2x3 mm."""
    size_mm = (360.0, 260.0, 270.0)
    counts = [round(size / step) for size, step in zip(size_mm, spacing_mm)]
    x, y, z = (sign * (np.arange(n) - (n - 1) / 2) * step for sign, n, step in zip((-1, -1, 1), counts, spacing_mm))
    place = _Ellipsoids(x, y, z)
    hu = np.full(counts[::-1], -1000, np.int16)
    for value, center, axes in _BODY:
        place.paint(hu, value, center, axes)
    liver = np.zeros(hu.shape, np.uint8)
    for center, axes in _LIVER:
        place.paint(liver, 1, center, axes)
    hu[liver.view(bool)] = _LIVER_HU
    place.paint(hu, *_GALLBLADDER)
    place.paint(liver, 0, *_GALLBLADDER[1:])
    noise = np.random.default_rng(0).normal(0, 10, hu.shape)
    corner = (x[0], y[0], z[0])
    return CtVolume((hu + noise).astype(np.int16), _matrix(spacing_mm, corner), "LiverGTAN phantom"), liver


class _Ellipsoids:
    """Ellipsoids on one grid. x, y, z: places of the voxels in mm."""

    def __init__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
        self._places = (z, y, x)

    def paint(
        self, array: np.ndarray, value: int, center: tuple[float, float, float], axes: tuple[float, float, float]
    ) -> None:
        """Give the voxels of (K, J, I) whose centers lie in the ellipsoid a value."""
        squares = [((p - c) / a) ** 2 for p, c, a in zip(self._places, center[::-1], axes[::-1])]
        near = [np.flatnonzero(square < 1) for square in squares]
        if all(len(indices) for indices in near):
            box = tuple(slice(indices[0], indices[-1] + 1) for indices in near)
            z, y, x = (square[part] for square, part in zip(squares, box))
            array[box][x + y[:, None] + z[:, None, None] < 1] = value


def _matrix(spacing_mm: tuple[float, float, float], first_voxel: tuple[float, float, float]) -> np.ndarray:
    ijk_to_ras = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    ijk_to_ras[:3, 3] = first_voxel
    return ijk_to_ras
