"""Segmentation metrics in native millimetres, for two masks on one grid.

Surfaces come from DeepMind's surface-distance: it measures in mm and weighs every surface element by its area, in NSD,
HD95 and ASSD alike. MONAI does so for NSD alone; its HD95 and ASSD count a small element as much as a large one. A
test compares the two.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from LiverGTANLib.core.measurements import dice, voxel_ml


@dataclass(frozen=True)
class Metrics:
    """Of one case. Distances are mm and NaN where one mask is empty; volume_error is (volume - reference) / reference.

    nsd2, nsd3: share of both surfaces within 2 or 3 mm of the other one (Nikolov et al., J Med Internet Res 2021).
    """

    dice: float
    nsd2: float
    nsd3: float
    hd95: float
    assd: float
    volume_ml: float
    reference_ml: float

    @property
    def volume_error(self) -> float:
        """Relative, signed; NaN without a reference volume."""
        return (self.volume_ml - self.reference_ml) / self.reference_ml if self.reference_ml else math.nan


def measure(mask: np.ndarray, reference: np.ndarray, ijk_to_ras: np.ndarray) -> Metrics:
    """All metrics of two masks (K, J, I) with one (4, 4) matrix from voxel indices to mm. Two empty masks agree fully.

    Volumes hold for sheared grids, too; distances take the voxel axes as orthogonal. Raises ValueError for masks of
    different shapes.
    """
    mask, reference = np.asarray(mask, bool), np.asarray(reference, bool)
    if mask.shape != reference.shape:
        raise ValueError(f"The masks differ in shape: {mask.shape} and {reference.shape}.")
    overlap, voxel = dice(mask, reference), voxel_ml(ijk_to_ras)
    volumes = int(np.count_nonzero(mask)) * voxel, int(np.count_nonzero(reference)) * voxel
    if not all(volumes):
        agreement = 0.0 if any(volumes) else 1.0
        return Metrics(overlap, agreement, agreement, math.nan, math.nan, *volumes)
    spacing_mm = np.linalg.norm(np.asarray(ijk_to_ras, float)[:3, :3], axis=0)[::-1]
    surfaces = surface_metrics(mask, reference, spacing_mm)
    return Metrics(overlap, *surfaces, *volumes)


class SurfaceMetrics(NamedTuple):
    """NSD at 2 and 3 mm; HD95 and ASSD in mm."""

    nsd2: float
    nsd3: float
    hd95: float
    assd: float


def surface_metrics(mask: np.ndarray, reference: np.ndarray, spacing_mm: np.ndarray) -> SurfaceMetrics:
    """Of two masks that are not empty; `spacing_mm` along the arrays' axes."""
    import surface_distance as surfaces

    with warnings.catch_warnings():
        # Version 0.1 calls scipy.ndimage by its old module names.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = surfaces.compute_surface_distances(reference, mask, spacing_mm)
    areas = found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()
    return SurfaceMetrics(
        float(surfaces.compute_surface_dice_at_tolerance(found, 2.0)),
        float(surfaces.compute_surface_dice_at_tolerance(found, 3.0)),
        float(surfaces.compute_robust_hausdorff(found, 95)),
        float(np.average(surfaces.compute_average_surface_distance(found), weights=areas)),
    )
