"""Images of one size and orientation as a volume: sorted by position, with its matrix, or what is wrong with them."""

from dataclasses import dataclass

import numpy as np

from ...core.volume import LPS_TO_RAS
from .files import CtImage

SAME_POSITION_MM = 0.01
"""Images nearer than this lie at one position; the thinnest CT slices are 0.1 mm apart."""

WIDE_STEP = 1.5
"""Times the usual step, and slices are missing; rounded positions make less of a difference."""

LARGEST_JITTER = 0.25
"""A slice may lie this share of the slice distance off its regular place; positions rounded to 0.1 mm or 0.5 mm do."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Images of one size and orientation. images: in the order of positions if `fault` is empty.

    ijk_to_ras: (4, 4) matrix of the volume. fault: why the stack is no volume, empty if it is one. phase, origin: which
    phase, and which patient or place, it is of those in its series; empty if there is one.
    """

    images: list[CtImage]
    ijk_to_ras: np.ndarray
    fault: str = ""
    phase: str = ""
    origin: str = ""

    @property
    def label(self) -> str:
        """Description, size and extent in one line."""
        first = self.images[0]
        rows, columns = first.size
        text = f'series {first.series_number} "{first.description}"'
        text += f" ({first.body_part.lower()})" if first.body_part else ""
        text += "".join(f", {part}" for part in (self.origin, self.phase) if part)
        text += f", {columns} x {rows} x {len(self.images)} voxels"
        if self.fault:
            return f"{text}: {self.fault}"
        spacing = " x ".join(f"{mm:.3g}" for mm in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))
        return f"{text} of {spacing} mm"


def arrange(images: list[CtImage]) -> Stack:
    """The images in the order of their positions along the normal of the slices, with the matrix of the volume.

    The step from slice to slice is that of the positions, which a tilted gantry moves sideways too.
    """
    first = images[0]
    normal = np.cross(*first.axes)
    order = np.argsort([image.position @ normal for image in images], kind="stable")
    images = [images[n] for n in order]
    positions = np.array([image.position for image in images])
    if len(images) == 1:
        return Stack(images, np.eye(4), f"{images[0].name} is a single slice; give the folder of the whole series.")
    steps = np.diff(positions @ normal)
    fault = _fault_of_steps(images, steps) or _fault_of_places(images, positions, steps)
    matrix = np.eye(4)
    # Pixel spacing is (between rows, between columns); i runs along a row.
    matrix[:3, 0], matrix[:3, 1] = first.axes[0] * first.spacing[1], first.axes[1] * first.spacing[0]
    matrix[:3, 2] = (positions[-1] - positions[0]) / (len(images) - 1)
    matrix[:3, 3] = positions[0]
    return Stack(images, LPS_TO_RAS @ matrix, fault)


def _fault_of_steps(images: list[CtImage], steps: np.ndarray) -> str:
    same = np.flatnonzero(steps < SAME_POSITION_MM)
    if len(same):
        one, other = images[same[0]], images[same[0] + 1]
        return (
            f"{one.name} and {other.name} lie at the same position, and so do {len(same)} pairs in all: two images at "
            "each position (phases, or slices saved twice); give the folder of one phase."
            if len(same) > 1
            else f"{one.name} and {other.name} lie at the same position; remove the one that does not belong here."
        )
    usual = float(np.median(steps))
    wide = np.flatnonzero(steps > WIDE_STEP * usual)
    if 0 < len(wide) <= max(3, 0.05 * len(steps)):
        one, other = images[wide[0]], images[wide[0] + 1]
        missing = int(sum(round(steps[n] / usual) - 1 for n in wide))
        words = "1 slice is" if missing == 1 else f"{missing} slices are"
        return (
            f"{words} missing: {steps[wide[0]]:.4g} mm lie between {one.name} and {other.name} where slices are "
            f"{usual:.4g} mm apart; export the whole series."
        )
    return ""


def _fault_of_places(images: list[CtImage], positions: np.ndarray, steps: np.ndarray) -> str:
    """Uneven distances, and slices shifted sideways, measured from the straight row between first and last."""
    regular = np.linspace(positions[0], positions[-1], len(images))
    off = np.linalg.norm(positions - regular, axis=1)
    tolerance = LARGEST_JITTER * (steps.sum() / len(steps))
    if off.max() <= tolerance:
        return ""
    if steps.max() - steps.min() > 2 * tolerance or np.abs(np.diff(steps)).max() > tolerance:
        change = int(np.abs(np.diff(steps)).argmax()) + 1
        return (
            f"The slices are unevenly spaced, {steps.min():.4g} to {steps.max():.4g} mm apart (see "
            f"{images[change].name}); give a series with even slices."
        )
    worst = images[int(off.argmax())]
    return f"{worst.name} lies {off.max():.3g} mm off the row of the other slices; give a series of one volume."
