"""Figures taken from a mask."""

from dataclasses import dataclass

import numpy as np

from .postprocess import Analysis, MaskParameters, postprocess_logits
from .segmenter import BoxMask
from .volume import CtVolume

RIM_MM = 6.0
"""Width of the rim left out of the mean HU: partial volume, and an outline that is one cell off."""

SAMPLE_MM = 2.0
"""HU are read at about this distance: tens of thousands of voxels tell mean and spread as well as all."""

FATTY_HU = 40.0
"""Plain CT: a liver below this may be fatty. With contrast the figure says nothing."""


@dataclass(frozen=True)
class Attenuation:
    """Mean and standard deviation in HU, and the number of voxels they were read from."""

    mean_hu: float
    sd_hu: float
    voxels: int


@dataclass(frozen=True)
class MeasurementRow:
    """One segmentation in a table; None is an empty cell."""

    name: str
    volume_ml: float
    low_ml: float | None = None
    high_ml: float | None = None
    mean_hu: float | None = None
    sd_hu: float | None = None
    share_in_region: float | None = None
    hint: str = ""


TITLES = {
    "name": "Volume",
    "volume_ml": "Liver [mL]",
    "low_ml": "From [mL]",
    "high_ml": "To [mL]",
    "mean_hu": "Mean [HU]",
    "sd_hu": "SD [HU]",
    "share_in_region": "Share in ROI",
    "hint": "Hint",
}
"""Field of `MeasurementRow` -> heading of its column, in the order of the columns."""


def voxel_ml(ijk_to_ras: np.ndarray) -> float:
    """Volume of one voxel in mL; right for sheared grids too."""
    return float(abs(np.linalg.det(np.asarray(ijk_to_ras, float)[:3, :3])) / 1000)


def volume_ml(mask: np.ndarray, ijk_to_ras: np.ndarray) -> float:
    """Volume in mL of the voxels that are not zero."""
    return int(np.count_nonzero(mask)) * voxel_ml(ijk_to_ras)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice coefficient of two masks of one shape; 1 when both are empty."""
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 1.0


def attenuation(ct: CtVolume, mask: BoxMask) -> Attenuation | None:
    """HU inside the mask away from its rim; None when nothing is that far inside."""
    from scipy.ndimage import minimum_filter

    steps = [max(1, round(SAMPLE_MM / s)) for s in ct.spacing[::-1]]
    sample = tuple(slice(None, None, step) for step in steps)
    inner = mask.voxels[sample]
    if inner.size == 0:
        return None
    for axis, (step, spacing) in enumerate(zip(steps, ct.spacing[::-1])):
        width = 2 * int(np.ceil(RIM_MM / (step * spacing))) + 1
        inner = minimum_filter(inner, [width if a == axis else 1 for a in range(3)], mode="constant", cval=0)
    hu = np.asarray(ct.hu[mask.box][sample][inner > 0], np.float64)
    return Attenuation(float(hu.mean()), float(hu.std()), hu.size) if hu.size else None


def share_in_region(analysis: Analysis, parameters: MaskParameters) -> float | None:
    """Part of the liver that lies in the region, 0 to 1, counted on the model grid; None without region or liver."""
    region = parameters.region
    if region is None:
        return None
    evidence = postprocess_logits(analysis, parameters)
    if evidence.cells is None:
        return None
    liver = (evidence.values[evidence.cells] > 0).view(np.uint8)
    whole = np.count_nonzero(liver)
    region.clear_outside(liver, evidence.cells, analysis.frame.ijk_to_ras)
    return np.count_nonzero(liver) / whole if whole else None


def hint(found: Attenuation | None) -> str:
    """What the attenuation may point to, in words that promise no more than a hint."""
    if found is None or found.mean_hu >= FATTY_HU:
        return ""
    return f"hint: below {FATTY_HU:.0f} HU; on a CT without contrast this can mean a fatty liver"
