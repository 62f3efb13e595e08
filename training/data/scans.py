"""One CT of a data set with its patient and its liver mask, and how to read it."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from LiverGTANLib.core.volume import CtVolume, InputError
from LiverGTANLib.standalone import image_files
from LiverGTANLib.standalone.dicom.series import SeveralSeriesError
from LiverGTANLib.standalone.image_files import CtFile
from LiverGTANLib.standalone.voxel_data import read_voxels

logger = logging.getLogger(__name__)

Part = Literal["train", "validation", "test"]


class ScanError(ValueError):
    """A scan cannot be read or does not fit its mask; the message says why."""


@dataclass(frozen=True)
class Scan:
    """A CT (a file, or a folder with a DICOM series) and its mask (a file, a folder of PNGs, or None: unlabelled).

    liver: mask values that are liver; None means every value above 0. part: the split that the data set itself gives.
    """

    name: str
    patient: str
    ct: Path
    mask: Path | None = None
    liver: tuple[int, ...] | None = None
    part: Part | None = None
    may_lack_liver: bool = False

    @property
    def labelled(self) -> bool:
        """Whether there is a mask."""
        return self.mask is not None

    def read(self) -> tuple[CtVolume, np.ndarray | None]:
        """The CT, and on its grid the boolean mask (K, J, I). Raises ScanError; what a reader notes is logged."""
        try:
            source = image_files.open_ct(self.ct)
        except SeveralSeriesError as error:
            raise ScanError(f"{self.ct} holds more than one series; leave the one that belongs to the mask") from error
        except InputError as error:
            raise ScanError(str(error)) from error
        for note in source.notes:
            logger.warning("%s: %s", self.name, note)
        ct = CtVolume(source.ct.hu, source.ct.ijk_to_ras, self.name)
        if self.mask is None:
            return ct, None
        if self.mask.is_dir():
            return ct, self.is_liver(_read_pictures(self.mask, source))
        values, mask_to_ras = read_image(self.mask)
        if values.shape != ct.hu.shape:
            raise ScanError(f"the mask has {_size(values)} voxels, the CT {_size(ct.hu)}")
        if not np.allclose(mask_to_ras, ct.ijk_to_ras, atol=0.05):
            raise ScanError("mask and CT have the same size but lie elsewhere (spacing, origin or direction differ)")
        return ct, self.is_liver(values)

    def is_liver(self, values: np.ndarray) -> np.ndarray:
        """Boolean mask from label values. Raises ScanError for values that are no labels."""
        found = np.unique(values)
        if not np.array_equal(found, np.round(found)) or found[0] < 0:
            raise ScanError(f"the mask holds {found[0]:g} to {found[-1]:g}, which are no whole-numbered labels")
        return values > 0 if self.liver is None else np.isin(values, self.liver)


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array [k, j, i] and its (4, 4) IJK-to-RAS matrix, from any 3-D image file. Raises ScanError."""
    try:
        header = image_files.read_header(path)
        return read_voxels(header), header.ijk_to_ras
    except InputError as error:
        raise ScanError(str(error)) from error


def _read_pictures(folder: Path, source: CtFile) -> np.ndarray:
    """Values (K, J, I) of one PNG for each DICOM file. Raises ScanError.

    Pictures are numbered in the order of the DICOM file names, which need not be that of the positions.
    """
    paths = [image.path for image in source.images or ()]
    pictures = sorted(folder.glob("*.png"), key=lambda path: natural(path.name))
    if len(pictures) != len(paths):
        raise ScanError(f"{len(pictures)} mask pictures for {len(paths)} DICOM files")
    picture_of = dict(zip(sorted(paths, key=lambda path: natural(path.name)), pictures))
    slices = [sitk.GetArrayFromImage(sitk.ReadImage(str(picture_of[path]))) for path in paths]
    if any(values.shape != source.ct.shape[1:] for values in slices):
        raise ScanError(f"mask pictures of {slices[0].shape} pixels for slices of {source.ct.shape[1:]}")
    return np.stack(slices)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which 2 comes before 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def content_hash(ct: CtVolume) -> str:
    """SHA-256 of the HU in a fixed order of axes: the same scan under another name, format or voxel order matches."""
    columns = np.asarray(ct.ijk_to_ras, float)[:3, :3]
    nearest = np.abs(columns).argmax(axis=0)
    turned = np.asarray(ct.hu)
    if len(set(nearest)) == 3:
        axes = [int(np.flatnonzero(nearest == world)[0]) for world in (2, 1, 0)]
        flips = tuple(slice(None, None, int(np.sign(columns[w, a]))) for w, a in zip((2, 1, 0), axes, strict=True))
        turned = turned.transpose([2 - a for a in axes])[flips]
    values = np.clip(np.round(turned), -32768, 32767).astype("<i2")
    # Padding values below air differ between exports of one scan.
    values = np.ascontiguousarray(np.maximum(values, -1024))
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()


def _size(array: np.ndarray) -> str:
    return " x ".join(str(n) for n in array.shape[::-1])
