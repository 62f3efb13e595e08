"""One volume on its way from anatomy to CT, and the interface of what changes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from LiverGTANLib.core.boxes import triple
from training.data.tissues import Tissue

Kind = Literal["synthetic", "real"]


@dataclass(eq=False)
class SyntheticScan:
    """Arrays (Z, Y, X) on the fine grid; axes grow to superior, anterior and right.

    tissue: uint8 codes. hu: float32, unclipped; meaningless for a synthetic scan before `phase.Contrast`.
    label: float32 liver fraction in [0, 1]. Effects change the arrays in place: a scan serves one volume only.
    """

    tissue: np.ndarray
    hu: np.ndarray
    label: np.ndarray
    spacing_mm: float
    kind: Kind
    source: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tissue.shape

    @property
    def liver(self) -> np.ndarray:
        """Boolean mask of the liver's tissue code."""
        return self.tissue == Tissue.LIVER

    def voxels(self, mm: float) -> float:
        """A length in voxels."""
        return mm / self.spacing_mm

    def crop(self, box: tuple[slice, slice, slice]) -> SyntheticScan:
        """A scan of views: what changes there changes here."""
        return replace(self, tissue=self.tissue[box], hu=self.hu[box], label=self.label[box])

    def axes_mm(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Open grids (Z,1,1), (1,Y,1), (1,1,X) of positions in mm from the first voxel."""
        z, y, x = (np.arange(n, dtype=np.float32) * self.spacing_mm for n in self.shape)
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def set_liver(self, mask: np.ndarray) -> None:
        """Make the voxels liver, in tissue and label."""
        self.tissue[mask] = Tissue.LIVER
        self.label[mask] = 1.0

    def clear_liver(self, mask: np.ndarray, tissue: int) -> None:
        """Make the voxels another tissue, and no liver in the label."""
        self.tissue[mask] = tissue
        self.label[mask] = 0.0


class Effect(Protocol):
    """A deterministic change of a scan; its dataclass fields are the logged parameters.

    `random` draws the parameters for a scan, or returns None where the effect has no place (no lung, no liver).
    """

    @classmethod
    def random(cls, scan: SyntheticScan, rng: np.random.Generator) -> Effect | None: ...

    def apply(self, scan: SyntheticScan) -> None: ...


def draw_seed(rng: np.random.Generator) -> int:
    """A seed for the noise field of an effect, small enough for JSON readers."""
    return int(rng.integers(2**31))


def random_voxel(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
    """Index of one random true voxel; the mask must hold one."""
    flat = np.flatnonzero(mask)
    return triple(int(i) for i in np.unravel_index(flat[rng.integers(len(flat))], mask.shape))


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice, slice]:
    """Slices around the true voxels; the mask must hold one."""
    slices = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        slices.append(slice(max(0, hit[0] - margin), min(mask.shape[axis], hit[-1] + 1 + margin)))
    return triple(slices)
