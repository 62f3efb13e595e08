"""One CT of a data set with its patient and its liver mask, and how to read it."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from LiverGTANLib.core.volume import CtVolume, InputError
from LiverGTANLib.standalone import image_files
from LiverGTANLib.standalone.dicom.series import SeveralSeriesError
from LiverGTANLib.standalone.image_files import LARGEST_LABEL_FRACTION, CtFile
from LiverGTANLib.standalone.voxel_data import read_voxels

logger = logging.getLogger(__name__)

Part = Literal["train", "validation", "test"]


class ScanError(ValueError):
    """A scan cannot be read or does not fit its mask; the message says why."""


@dataclass(frozen=True)
class Scan:
    """A CT (a file, or a folder with a DICOM series) and its mask (a file, a folder of PNGs, or None: unlabelled).

    liver: mask values that are liver; None means the only value above 0. known: values that masks of the data set may
    hold, None where it does not say. ignore: value of voxels that were left undecided. part: the split that the data
    set itself gives. fault: what is wrong with its files by their names alone. accepted: a user has looked at its mask,
    so that what speaks against the mask is noted but does not refuse it. weight: how often it is drawn compared with
    others.
    """

    name: str
    patient: str
    ct: Path
    mask: Path | None = None
    liver: tuple[int, ...] | None = None
    part: Part | None = None
    may_lack_liver: bool = False
    known: tuple[int, ...] | None = None
    ignore: int | None = None
    fault: str | None = None
    accepted: bool = False
    weight: float = 1.0

    @property
    def labelled(self) -> bool:
        """Whether there is a mask."""
        return self.mask is not None

    def read(self, note: Callable[[str], None] | None = None) -> tuple[CtVolume, np.ndarray | None]:
        """The CT, and on its grid the boolean mask (K, J, I). Raises ScanError.

        note: gets what a user should know of the way it was read; by default it is logged.
        """
        note = note or (lambda text: logger.warning("%s: %s", self.name, text))
        try:
            source = image_files.open_ct(self.ct)
        except SeveralSeriesError as error:
            raise ScanError(f"{self.ct} holds more than one series; leave the one that belongs to the mask") from error
        except InputError as error:
            raise ScanError(str(error)) from error
        for text in source.notes:
            note(text)
        ct = CtVolume(source.ct.hu, source.ct.ijk_to_ras, self.name)
        if self.mask is None:
            return ct, None
        if self.mask.is_dir():
            return ct, self.is_liver(_read_pictures(self.mask, source), note)
        return ct, self.is_liver(_values_on_grid(self.mask, ct, note), note)

    def is_liver(self, values: np.ndarray, note: Callable[[str], None]) -> np.ndarray:
        """Boolean mask from label values. Raises ScanError for values that are not labels, or not of this data set."""
        labels = whole_numbers(values, note)
        found = np.unique(labels)
        if self.ignore is not None and self.ignore in found:
            count = np.count_nonzero(labels == self.ignore)
            raise ScanError(f'the mask leaves {count:,} voxels undecided (label "ignore"): decide them first')
        strange = [int(one) for one in found if self.known is not None and one not in self.known]
        if strange:
            raise ScanError(f"the mask holds the labels {_listed(strange)}, which its data set does not name")
        if self.liver is not None:
            return np.isin(labels, self.liver)
        require_one_liver(found[found > 0], note)
        return labels > 0


def whole_numbers(values: np.ndarray, note: Callable[[str], None]) -> np.ndarray:
    """Labels, rounded where they are nearly whole. Raises ScanError for fractions and negative values."""
    low, high = float(values.min()), float(values.max())
    labels = np.round(values)
    if not (np.isfinite([low, high]).all() and low > -0.5):
        raise ScanError(f"the mask holds values from {low:g} to {high:g}, which are not labels")
    largest = float(np.abs(values - labels).max()) if values.dtype.kind == "f" else 0.0
    if largest > LARGEST_LABEL_FRACTION:
        raise ScanError(f"the mask holds fractions (from {low:g} to {high:g}), which are not whole-numbered labels")
    if largest > 0:
        note(f"labels up to {largest:.1g} beside whole numbers were rounded")
    return labels.astype(np.int32) if values.dtype.kind == "f" else labels


def require_one_liver(found: np.ndarray, note: Callable[[str], None]) -> None:
    """Raises ScanError for a mask of several organs where every value above 0 would be taken for liver.

    Liver 1 with tumor 2 is common, and both are liver: that is noted.
    """
    if len(found) > 1 and found.tolist() != [1, 2]:
        raise ScanError(
            f"the mask holds the labels {_listed(found.tolist())}, and nothing says which is the liver: name it, as in "
            "pairs=FOLDER:5 or CT=MASK:5"
        )
    if len(found) > 1:
        note("labels 1 and 2 were both taken for liver (liver and tumor)")


def _listed(values: list[int]) -> str:
    """The first few of many."""
    return ", ".join(map(str, values[:8])) + (" and others" if len(values) > 8 else "")


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array [k, j, i] and its (4, 4) IJK-to-RAS matrix, from any 3-D image file. Raises ScanError."""
    try:
        header = image_files.read_header(path)
        return read_voxels(header), header.ijk_to_ras
    except InputError as error:
        raise ScanError(str(error)) from error


def _values_on_grid(path: Path, ct: CtVolume, note: Callable[[str], None]) -> np.ndarray:
    """Values (K, J, I) of an image that has the CT's voxels, whatever the order in which they are stored."""
    try:
        header = image_files.read_header(path)
        apart = image_files.voxels_apart(header, ct)
        if sorted(header.shape_ijk) != sorted(ct.hu.shape):
            raise ScanError(f"the mask has {_size(header.shape_ijk)} voxels, the CT {_size(ct.hu.shape[::-1])}")
        if not image_files.on_grid(header, ct):
            raise ScanError(
                f"mask and CT have the same size but lie elsewhere (up to {apart:.2g} voxels apart: spacing, origin or "
                "direction differ)"
            )
        if apart > image_files.LARGEST_OFFSET_VOXELS:
            note(f"the mask lies up to {apart:.2g} voxels beside the CT by their headers; it was taken voxel by voxel")
        return image_files.in_order_of(ct, header, read_voxels(header))
    except InputError as error:
        raise ScanError(str(error)) from error


def _read_pictures(folder: Path, source: CtFile) -> np.ndarray:
    """Values (K, J, I) of one PNG for each DICOM file. Raises ScanError.

    Pictures are numbered in the order of the DICOM file names, which need not be that of the positions.
    """
    paths = [image.path for image in source.images or ()]
    pictures = sorted(folder.glob("*.png"), key=lambda path: natural(path.name))
    if len(pictures) != len(paths):
        raise ScanError(f"there are {len(pictures)} mask pictures for {len(paths)} DICOM files")
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
    values = np.ascontiguousarray(in_order_of_axes(ct))
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()


def in_order_of_axes(ct: CtVolume) -> np.ndarray:
    """HU (S, A, R) as int16, -1024 at least, of a scan whose axes lie nearest to these."""
    columns = np.asarray(ct.ijk_to_ras, float)[:3, :3]
    nearest = np.abs(columns).argmax(axis=0)
    turned = np.asarray(ct.hu)
    if len(set(nearest)) == 3:
        axes = [int(np.flatnonzero(nearest == world)[0]) for world in (2, 1, 0)]
        flips = tuple(slice(None, None, int(np.sign(columns[w, a]))) for w, a in zip((2, 1, 0), axes, strict=True))
        turned = turned.transpose([2 - a for a in axes])[flips]
    values = np.clip(np.round(turned), -32768, 32767).astype("<i2")
    # Padding values below air differ between exports of one scan.
    return np.maximum(values, -1024)


def _size(shape_ijk: Sequence[int]) -> str:
    return " x ".join(map(str, shape_ijk))
