"""A small picture of a result, drawn with numpy alone: an axial and a coronal slice with the mask's outline."""

from pathlib import Path

import numpy as np

from ...core.files import atomic_write
from ...core.model_grid import ModelGrid
from ...core.segmenter import BoxMask
from ...core.terminology import SEGMENT_COLOR
from ...core.volume import HU_WINDOW, CtVolume

FOLDER = "thumbnails"
SUFFIX = ".png"
PIXEL_MM = 2.0
"""Chosen by eye: a body is 200 pixels wide, and its picture has some 30 kB."""


def save_thumbnail(path: Path, ct: CtVolume, mask: BoxMask) -> None:
    """Write a PNG; the patient's right is on the left. Raises OSError with a sentence."""
    import SimpleITK as sitk

    grid = ModelGrid.of(ct.shape, ct.ijk_to_ras, PIXEL_MM, multiple=1)
    image, share = grid.down(ct.hu, clip=HU_WINDOW, fill=HU_WINDOW[0]), grid.down(mask.full())
    views = [_view(*largest_slice(image, share, normal)) for normal in (0, 1)]
    height = max(len(view) for view in views)
    padded = [np.pad(view, ((0, height - len(view)), (0, 0), (0, 0))) for view in views]
    with atomic_write(path, SUFFIX) as temporary:
        try:
            picture = sitk.GetImageFromArray(np.concatenate(padded, axis=1), isVector=True)
            sitk.WriteImage(picture, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OSError(str(error).strip().splitlines()[-1]) from error


def largest_slice(image: np.ndarray, share: np.ndarray, normal: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices of (S, A, R) arrays across the axis `normal`, where the mask is largest, or in the middle without one.

    Rows grow up or to the back as the second axis does, columns to the right of a picture: against +R, and against +A
    in a sagittal slice.
    """
    others = tuple(axis for axis in range(3) if axis != normal)
    index = int(share.sum(axis=others).argmax()) if share.any() else share.shape[normal] // 2
    return np.take(image, index, normal)[:, ::-1], np.take(share, index, normal)[:, ::-1]


def _view(slice_hu: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) uint8 with its upper row first."""
    gray = (np.clip((slice_hu - HU_WINDOW[0]) / (HU_WINDOW[1] - HU_WINDOW[0]), 0, 1) * 255).astype(np.uint8)
    color = np.repeat(gray[..., None], 3, axis=2)
    color[_outline(share > 0.5)] = np.round(np.array(SEGMENT_COLOR) * 255).astype(np.uint8)
    return color[::-1]


def _outline(inside: np.ndarray) -> np.ndarray:
    """The pixels of a mask that touch its outside."""
    inner = np.pad(inside, 1)
    return inside & ~(inner[2:, 1:-1] & inner[:-2, 1:-1] & inner[1:-1, 2:] & inner[1:-1, :-2])
