"""One CT to test a student on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from LiverGTANLib.core.volume import CtVolume


@dataclass(frozen=True, eq=False)
class Example:
    """liver: (K, J, I) bool on the CT's grid; None without a reference. All False: no liver is in view."""

    name: str
    ct: CtVolume
    liver: np.ndarray | None = None

    def of(self, hu: np.ndarray, liver: np.ndarray | None, ijk_to_ras: np.ndarray | None = None) -> Example:
        """The same patient with other voxels and, where given, another geometry."""
        matrix = self.ct.ijk_to_ras if ijk_to_ras is None else ijk_to_ras
        return replace(self, ct=CtVolume(hu, matrix, self.ct.name), liver=liver)

    def part(self, box: tuple[slice, slice, slice]) -> Example:
        """What lies in the box (k, j, i), at its place; the slices must have starts."""
        matrix = self.ct.ijk_to_ras.copy()
        matrix[:3, 3] += matrix[:3, :3] @ [part.start for part in box[::-1]]
        return self.of(self.ct.hu[box], None if self.liver is None else self.liver[box], matrix)
