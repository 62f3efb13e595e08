"""One CT of a data set with its patient and its liver mask, and how to read it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from LiverGTANLib.core.volume import LPS_TO_RAS, CtVolume, InputError
from LiverGTANLib.standalone import image_files
from LiverGTANLib.standalone.voxel_data import read_voxels

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
        return self.mask is not None

    def read(self) -> tuple[CtVolume, np.ndarray | None]:
        """The CT, and on its grid the boolean mask (K, J, I). Raises ScanError."""
        if self.ct.is_dir():
            return self._read_series()
        hu, ijk_to_ras = read_image(self.ct)
        if self.mask is None:
            return CtVolume(hu, ijk_to_ras, self.name), None
        values, mask_to_ras = read_image(self.mask)
        if values.shape != hu.shape:
            raise ScanError(f"the mask has {_size(values)} voxels, the CT {_size(hu)}")
        if not np.allclose(mask_to_ras, ijk_to_ras, atol=0.05):
            raise ScanError("mask and CT have the same size but lie elsewhere (spacing, origin or direction differ)")
        return CtVolume(hu, ijk_to_ras, self.name), self.is_liver(values)

    def is_liver(self, values: np.ndarray) -> np.ndarray:
        """Boolean mask from label values. Raises ScanError for values that are no labels."""
        found = np.unique(values)
        if not np.array_equal(found, np.round(found)) or found[0] < 0:
            raise ScanError(f"the mask holds {found[0]:g} to {found[-1]:g}, which are no whole-numbered labels")
        return values > 0 if self.liver is None else np.isin(values, self.liver)

    def _read_series(self) -> tuple[CtVolume, np.ndarray | None]:
        files = series_files(self.ct)
        order, ijk_to_ras = series_geometry(files)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([str(files[i]) for i in order])
        ct = CtVolume(sitk.GetArrayFromImage(reader.Execute()), ijk_to_ras, self.name)
        if self.mask is None:
            return ct, None
        pictures = sorted(self.mask.glob("*.png"))
        if len(pictures) != len(files):
            raise ScanError(f"{len(pictures)} mask pictures for {len(files)} DICOM files")
        # Pictures are numbered in the order of the DICOM file names, which need not be that of the positions.
        slices = [sitk.GetArrayFromImage(sitk.ReadImage(str(pictures[i]))) for i in order]
        if any(s.shape != ct.shape[1:] for s in slices):
            raise ScanError(f"mask pictures of {slices[0].shape} pixels for slices of {ct.shape[1:]}")
        return ct, self.is_liver(np.stack(slices))


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array [k, j, i] and its (4, 4) IJK-to-RAS matrix, from any 3-D image file. Raises ScanError."""
    try:
        header = image_files.read_header(path)
        return read_voxels(header), header.ijk_to_ras
    except InputError as error:
        raise ScanError(str(error)) from error


def series_files(folder: Path) -> list[Path]:
    """DICOM files of a folder by name; numbers in names count as numbers."""
    files = [p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in (".dcm", ".ima", "")]
    if len(files) < 2:
        raise ScanError(f"{folder} holds {len(files)} DICOM files")
    return sorted(files, key=lambda p: natural(p.name))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which 2 comes before 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def series_geometry(files: list[Path]) -> tuple[list[int], np.ndarray]:
    """Order of the files along the slice normal, and the (4, 4) IJK-to-RAS matrix of the stack. Raises ScanError.

    Files are read by position and not by series identifier, because anonymized series often lost a common one.
    """
    headers = [_header(path) for path in files]
    positions = np.array([h[0] for h in headers])
    axes, spacing = headers[0][1], headers[0][2]
    if any(not np.allclose(h[1], axes, atol=1e-3) or not np.allclose(h[2], spacing, atol=1e-3) for h in headers):
        raise ScanError("the DICOM files have different directions or pixel sizes (more than one series?)")
    normal = np.cross(axes[0], axes[1])
    along = positions @ normal
    order = np.argsort(along)
    steps = np.diff(along[order])
    if steps.min() < 1e-3 or steps.max() > 1.5 * np.median(steps):
        raise ScanError(f"the slices are {steps.min():.2f} to {steps.max():.2f} mm apart: some are missing or doubled")
    step = (positions[order[-1]] - positions[order[0]]) / (len(files) - 1)
    matrix = np.eye(4)
    # Pixel spacing is (between rows, between columns); i runs along a row.
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = axes[0] * spacing[1], axes[1] * spacing[0], step
    matrix[:3, 3] = positions[order[0]]
    return [int(i) for i in order], LPS_TO_RAS @ matrix


def _header(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position (3,), row and column directions (2, 3), pixel spacing (2,)."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        position, orientation, spacing = (
            np.array([float(v) for v in reader.GetMetaData(tag).split("\\")])
            for tag in ("0020|0032", "0020|0037", "0028|0030")
        )
    except RuntimeError:
        raise ScanError(f"{path.name} is no DICOM slice with position, orientation and pixel spacing") from None
    return position, orientation.reshape(2, 3), spacing


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
