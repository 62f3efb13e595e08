"""A real CT as another scanner, dose or planning would have shown it, at its own resolution.

All functions take and give an `Example`; its reference mask goes along. They need scans whose slices lie one above the
other, as those of CT do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from LiverGTANLib.core.resample import CellAverages
from training.data.tissues import AIR_HU
from training.errors import UserError
from training.evaluation.stress.example import Example

Alteration = Callable[[Example], Example]


def thick_slices(example: Example, thickness_mm: float) -> Example:
    """Contiguous slices of `thickness_mm`, averaged from the scan's own; a voxel is liver when most of it was.

    Extent and middle stay (up to one slice). Raises UserError when the scan's slices are thicker already.
    """
    own = float(example.ct.spacing[2])
    if own > thickness_mm:
        raise UserError(f"{example.name} has slices of {own:g} mm; {thickness_mm:g} mm ones cannot be made of them.")
    count = len(example.ct.hu)
    slices = max(1, round(count * own / thickness_mm))
    used, weights = CellAverages(count, slices, own, thickness_mm).weights(slice(0, slices))
    matrix = example.ct.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2] * ((count - 1) / 2 - (slices - 1) / 2 * thickness_mm / own)
    matrix[:3, 2] *= thickness_mm / own
    hu = np.rint(_along_slices(weights, example.ct.hu[used])).astype(np.int16)
    liver = None if example.liver is None else _along_slices(weights, example.liver[used]) > 0.5
    return example.of(hu, liver, matrix)


def low_dose(example: Example, sd_hu: float, seed: int = 0, grain_mm: float = 1.2) -> Example:
    """Noise of `sd_hu` added, correlated in plane over `grain_mm` (sd of a Gaussian) as a soft kernel leaves it."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng([seed, 77]).standard_normal(example.ct.shape, np.float32)
    spacing = example.ct.spacing[::-1]
    noise = gaussian_filter(noise, (0, grain_mm / spacing[1], grain_mm / spacing[2]))
    noise *= sd_hu / noise.std()
    hu = np.rint(np.clip(example.ct.hu + noise, AIR_HU, 3071)).astype(np.int16)
    return example.of(hu, example.liver)


def round_field(example: Example, radius_mm: float) -> Example:
    """Only a cylinder around the middle of the picture is reconstructed; there is air beyond, and no liver."""
    _, rows, columns = example.ct.shape
    i_mm, j_mm, _ = example.ct.spacing
    y = (np.arange(rows) - (rows - 1) / 2)[:, None] * j_mm
    x = (np.arange(columns) - (columns - 1) / 2) * i_mm
    beyond = np.broadcast_to(x**2 + y**2 > radius_mm**2, example.ct.shape)
    liver = None if example.liver is None else example.liver & ~beyond
    return example.of(np.where(beyond, AIR_HU, example.ct.hu), liver)


def narrow(example: Example, width_mm: float) -> Example:
    """Cropped left and right to `width_mm` around the liver's middle. Raises UserError without a liver."""
    columns = _liver_range(example, axis=2)
    middle = (columns[0] + columns[-1]) / 2
    half = width_mm / 2 / example.ct.spacing[0]
    first = max(0, round(middle - half))
    last = min(example.ct.shape[2], round(middle + half))
    return example.part((slice(0, None), slice(0, None), slice(first, last)))


def cut(example: Example, share: float, top: bool) -> Example:
    """The scan ends within the liver: without the upper (`top`) or lower `share` of the liver's height."""
    levels = _liver_range(example, axis=0)
    lost = round(share * (levels[-1] - levels[0] + 1))
    # Slices may be stored from the head or from the feet.
    if top == _upwards(example):
        return example.part((slice(0, levels[-1] + 1 - lost), slice(0, None), slice(0, None)))
    return example.part((slice(levels[0] + lost, None), slice(0, None), slice(0, None)))


def beside_liver(example: Example, above: bool, margin_mm: float) -> Example | None:
    """The part of the scan at least `margin_mm` above or below the liver; None where that is less than 60 mm."""
    levels = _liver_range(example, axis=0)
    step = float(example.ct.spacing[2])
    margin = int(np.ceil(margin_mm / step))
    last = len(example.ct.hu)
    part = slice(levels[-1] + 1 + margin, last) if above == _upwards(example) else slice(0, levels[0] - margin)
    if (part.stop - part.start) * step < 60:
        return None
    return example.part((part, slice(0, None), slice(0, None)))


def _along_slices(weights: np.ndarray, array: np.ndarray) -> np.ndarray:
    flat = array.reshape(len(array), -1).astype(np.float32)
    return (weights @ flat).reshape(-1, *array.shape[1:])


def _upwards(example: Example) -> bool:
    """Whether slices are stored from the feet to the head. Raises UserError for a scan that is not axial."""
    direction = example.ct.ijk_to_ras[:3, 2] / example.ct.spacing[2]
    if abs(direction[2]) < 0.8:
        raise UserError(f"{example.name} has no axial slices; give a CT that has.")
    return bool(direction[2] > 0)


def _liver_range(example: Example, axis: int) -> np.ndarray:
    """Indices along an axis at which there is liver."""
    if example.liver is None or not example.liver.any():
        raise UserError(f"{example.name} shows no liver in its reference; it cannot be cut at the liver.")
    return np.flatnonzero(example.liver.any(axis=tuple(a for a in range(3) if a != axis)))
