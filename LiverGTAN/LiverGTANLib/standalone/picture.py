"""A picture of a result: three slices with the mask's outline and a shaded view from the front."""

from pathlib import Path

import numpy as np

from ..core.files import atomic_write
from ..core.model_grid import ModelGrid
from ..core.segmenter import BoxMask
from ..core.terminology import SEGMENT_COLOR
from ..core.volume import HU_WINDOW, CtVolume, InputError
from .cohort.thumbnail import largest_slice
from .outputs import PICTURE_SOFTWARE

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise InputError("A picture needs matplotlib, which this Python lacks; leave out the picture.") from error

FINE_MM = 1.5
"""Spacing of the pictures. Chosen by eye, as all below."""

SMOOTH_MM = 2.5
"""Of the shaded surface alone: it hides the steps of the voxels."""

TURN_DEGREES, TILT_DEGREES = 20.0, 10.0
"""The view comes from the front, turned to the patient's right and from above."""


def save_picture(path: str | Path, ct: CtVolume, mask: BoxMask, title: str) -> None:
    """Write axial, coronal and sagittal slices through the liver and a 3-D view as one PNG.

    Slices are shown in radiological convention (the patient's right is on the left).
    """
    grid = ModelGrid.of(ct.shape, ct.ijk_to_ras, FINE_MM, multiple=1)
    image = grid.down(ct.hu, clip=HU_WINDOW, fill=HU_WINDOW[0])
    share = grid.down(mask.full())
    figure = Figure(figsize=(14, 4.2), facecolor="black", layout="constrained")
    figure.suptitle(title, color="white")
    axes = figure.subplots(1, 4)
    _draw_slices(axes[:3], image, share)
    axes[3].imshow(shaded(share), origin="lower")
    axes[3].set_title("front", color="white", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    FigureCanvasAgg(figure)
    path = Path(path)
    with atomic_write(path, ".png") as temporary:
        figure.savefig(temporary, dpi=100, facecolor="black", metadata={"Software": PICTURE_SOFTWARE})


def _draw_slices(axes, image: np.ndarray, share: np.ndarray) -> None:
    """Axes S, A, R of the arrays; each slice cuts where the mask is largest."""
    planes = (("axial", 0, "R", "L"), ("coronal", 1, "R", "L"), ("sagittal", 2, "A", "P"))
    for axis, (name, normal, left, right) in zip(axes, planes):
        view, outline = largest_slice(image, share, normal)
        axis.imshow(view, cmap="gray", origin="lower", vmin=HU_WINDOW[0], vmax=HU_WINDOW[1])
        if (outline > 0.5).any():
            axis.contour(outline, [0.5], colors=[SEGMENT_COLOR], linewidths=1.2)
        axis.set_title(f"{left}      {name}      {right}", color="white", fontsize=9)


def shaded(share: np.ndarray) -> np.ndarray:
    """The half-full surface of a (S, A, R) array seen from the front, lit from the viewer: (rows, columns, 3)."""
    from scipy.ndimage import affine_transform, gaussian_filter

    if not (share > 0.5).any():
        return np.zeros((64, 64, 3))
    inside = [np.flatnonzero((share > 0.5).any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    crop = share[tuple(slice(max(0, i[0] - 3), i[-1] + 4) for i in inside)]
    side = int(np.ceil(np.linalg.norm(crop.shape)))
    turn = _rotation()
    offset = (np.array(crop.shape) - 1) / 2 - turn @ np.full(3, (side - 1) / 2)
    turned = gaussian_filter(affine_transform(crop, turn, offset, (side,) * 3, order=1), SMOOTH_MM / FINE_MM)
    return _light(turned[:, ::-1, ::-1])


def _rotation() -> np.ndarray:
    a, b = np.deg2rad(TURN_DEGREES), np.deg2rad(-TILT_DEGREES)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    tilt = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return turn @ tilt


def _light(volume: np.ndarray) -> np.ndarray:
    """Rays run along the middle axis from its start; brightness follows the surface's slope."""
    hit: np.ndarray = volume > 0.5
    seen = np.asarray(hit.any(axis=1))
    if not seen.any():  # of a few voxels, smoothing leaves nothing
        return np.zeros((64, 64, 3))
    depth = hit.argmax(axis=1)
    slopes = [np.take_along_axis(np.gradient(volume, axis=axis), depth[:, None], axis=1)[:, 0] for axis in range(3)]
    length = np.linalg.norm(slopes, axis=0) + 1e-6
    facing = np.clip((slopes[1] + 0.35 * -slopes[0]) / length, 0, 1)
    brightness = np.where(seen, 0.25 + 0.75 * facing, 0)
    used = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    box = tuple(slice(max(0, u[0] - 4), u[-1] + 5) for u in used)
    return (brightness[..., None] * np.array(SEGMENT_COLOR))[box]
