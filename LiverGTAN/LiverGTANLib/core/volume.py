"""The CT and the way to and from the model grid: the one preprocessing of training and use.

Arrays are indexed [k, j, i] as Slicer's `arrayFromVolume` gives them, positions are RAS millimetres.
The model grid is isotropic with array axes growing to +S (superior), +A (anterior) and +R (right).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .model_grid import LARGEST_SHEAR_DEGREES, Box, ModelGrid

SPACING_MM = 3.0
"""Side of a cell of the bundled students' grid."""

HU_WINDOW = (-160.0, 240.0)
"""HU that the bundled students tell apart: what lies beyond is limited to it."""

AIR = -1.0
"""Scaled value of the window's lower end, and so of everything outside the scan."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From DICOM's and ITK's positions (left, posterior, superior) to Slicer's (right, anterior, superior), or back."""

FEWEST_SLICES = 4
SHORTEST_EXTENT_MM = 30.0
SPACING_RANGE_MM = (0.05, 20.0)
THICK_SLICES_MM = 7.5
HIGHEST_MINIMUM_HU = -60.0  # a CT of the body, however cropped, has fat and noise below this


class InputError(ValueError):
    """The scan cannot be segmented; the message says what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class CtVolume:
    """A CT in Hounsfield units with its place in the patient.

    hu: (K, J, I), any real dtype. ijk_to_ras: (4, 4) matrix from voxel-center indices (i, j, k) to RAS mm.
    """

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hu.shape

    @cached_property
    def spacing(self) -> np.ndarray:
        """Voxel size in mm along i, j, k."""
        return np.linalg.norm(np.asarray(self.ijk_to_ras, float)[:3, :3], axis=0)


@dataclass(frozen=True)
class Finding:
    """Something about a scan that a person should know before it is segmented."""

    blocking: bool
    reason: str


def check(ct: CtVolume) -> list[Finding]:
    """What speaks against segmenting this scan, worst first; an empty list is a clean bill."""
    shape_findings = list(_check_shape(ct))
    if any(finding.blocking for finding in shape_findings):
        return shape_findings
    findings = shape_findings + list(_check_values(ct))
    return sorted(findings, key=lambda finding: not finding.blocking)


def require_usable(ct: CtVolume) -> None:
    """Raise `InputError` with every blocking reason, if there is one."""
    reasons = [finding.reason for finding in check(ct) if finding.blocking]
    if reasons:
        raise InputError(" ".join(reasons))


def scale_hu(hu: np.ndarray, hu_window: tuple[float, float]) -> np.ndarray:
    """HU, already clipped to the window, as float32 in [-1, 1]."""
    low, high = hu_window
    return (np.asarray(hu, np.float32) - np.float32((low + high) / 2)) * np.float32(2 / (high - low))


def to_model_grid(
    ct: CtVolume, spacing_mm: float = SPACING_MM, hu_window: tuple[float, float] = HU_WINDOW
) -> tuple[np.ndarray, ModelGrid]:
    """The student's input: (D, H, W) float32 in [-1, 1], and the frame that leads back.

    HU are clipped before they are averaged: at a border with lung or air, where the window saturates,
    the average then tells how much of a cell is tissue. Outside the scan there is air.
    """
    frame = ModelGrid.of(ct.shape, ct.ijk_to_ras, spacing_mm)
    averaged = frame.down(ct.hu, clip=hu_window, fill=hu_window[0])
    return scale_hu(averaged, hu_window), frame


def _check_shape(ct: CtVolume) -> Iterator[Finding]:
    if ct.hu.ndim != 3:
        yield Finding(True, f"The image has {ct.hu.ndim} dimensions; choose a single 3-D scalar volume.")
        return
    if 0 in ct.hu.shape:
        yield Finding(True, "The volume holds no voxels; load the CT again.")
        return
    matrix = np.asarray(ct.ijk_to_ras, float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        yield Finding(True, "The volume's geometry is not finite; correct its spacing and directions.")
        return
    low, high = SPACING_RANGE_MM
    if not ((ct.spacing >= low) & (ct.spacing <= high)).all():
        spacing = " x ".join(f"{s:.3g}" for s in ct.spacing)
        yield Finding(True, f"A voxel of {spacing} mm is not a CT's; correct the volume's spacing.")
        return
    if abs(np.linalg.det(matrix[:3, :3] / ct.spacing)) < 0.2:
        yield Finding(True, "The volume's axes do not span space; correct its directions.")
        return
    yield from _check_extent(ct)
    tilt = tilt_degrees(matrix)
    if tilt > LARGEST_SHEAR_DEGREES:
        yield Finding(
            False,
            f"The slices are tilted by {tilt:.0f} degrees against the table (gantry tilt): the scan "
            "is straightened for the network, which takes longer; look at the mask closely.",
        )


def tilt_degrees(ijk_to_ras: np.ndarray) -> float:
    """How far the voxel axes are from standing at right angles (gantry tilt shears them)."""
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    return float(np.rad2deg(np.arcsin(min(cosines, 1.0))))


def _check_extent(ct: CtVolume) -> Iterator[Finding]:
    extent = np.asarray(ct.shape[::-1]) * ct.spacing
    if min(ct.shape) < FEWEST_SLICES or extent.min() < SHORTEST_EXTENT_MM:
        size = " x ".join(f"{e:.0f}" for e in extent)
        yield Finding(
            True,
            f"The volume is {size} mm with {min(ct.shape)} slices: too little for a liver; "
            "choose a volume that covers the upper abdomen.",
        )
    elif ct.spacing.max() > THICK_SLICES_MM:
        yield Finding(False, f"Slices are {ct.spacing.max():.1f} mm apart: the mask will be rough between them.")


def _check_values(ct: CtVolume) -> Iterator[Finding]:
    if ct.hu.dtype.kind not in "iufb":
        yield Finding(True, f"Voxels of type {ct.hu.dtype} are no Hounsfield units; choose a scalar CT volume.")
        return
    # Float scans are small enough to look at whole: one bad voxel spoils a layer of the network.
    if ct.hu.dtype.kind == "f" and not np.isfinite(ct.hu).all():
        yield Finding(True, "The volume has voxels that are NaN or infinite; replace them (air is -1000 HU) first.")
        return
    yield from _check_hu(_sample(ct.hu))


def _sample(hu: np.ndarray, per_axis: int = 64) -> np.ndarray:
    """A regular sample of the voxels, enough for a histogram and read in a millisecond."""
    steps = [max(1, n // per_axis) for n in hu.shape]
    return np.asarray(hu[:: steps[0], :: steps[1], :: steps[2]], np.float32)


def _check_hu(hu: np.ndarray) -> Iterator[Finding]:
    """Soft tissue, fat and something at -200 HU or less are in every body CT; MR and rescaled data lack them."""
    low, high = float(hu.min()), float(hu.max())
    if high - low < 50:
        yield Finding(True, f"All voxels lie between {low:.0f} and {high:.0f}: there is nothing to see in this volume.")
        return
    if low > HIGHEST_MINIMUM_HU:
        yield Finding(
            True,
            f"The smallest value is {low:.0f}, but air and fat are below -60 HU: this is an "
            "MR, an 8-bit or a shifted image; choose a CT in Hounsfield units (apply its rescale slope "
            "and intercept).",
        )
        return
    body = hu[(hu > -250) & (hu < 400)]
    if body.size < 0.01 * hu.size or not ((body > -20) & (body < 250)).any():
        yield Finding(
            True, "There is hardly any soft tissue (-20 to 250 HU); choose a CT of the body in Hounsfield units."
        )
        return
    fat = ((body > -140) & (body < -60)).mean()
    if fat < 0.002:
        yield Finding(
            False,
            "The values do not look like the Hounsfield units of a body CT (no fat near -100 HU): "
            "the mask may be wrong.",
        )


__all__ = [
    "AIR",
    "Box",
    "CtVolume",
    "Finding",
    "InputError",
    "ModelGrid",
    "check",
    "require_usable",
    "scale_hu",
    "tilt_degrees",
    "to_model_grid",
]
