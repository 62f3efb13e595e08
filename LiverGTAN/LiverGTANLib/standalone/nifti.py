"""NIfTI-1, NIfTI-2 and Analyze files: what their headers say of a scan, and NIfTI-1 files written.

The matrix stays as it is stored, where SimpleITK refuses a slightly sheared one and changes it when it writes.
"""

import glob
import gzip
import re
import zlib
from pathlib import Path

import numpy as np

from ..core.files import brief
from ..core.volume import InputError
from .nifti_header import HEADER_BYTES, NiftiHeader, nifti1_header
from .nrrd import COMPRESSION_LEVEL
from .voxel_data import DIGEST, GZIP, LARGEST_OFFSET, NO_ORIENTATION, VolumeHeader, scalar_shape

SAME_PLACE_MM = 1.0
"""sform and qform that place every corner within this distance are the same; rounding makes 0.01 mm."""

SAME_SIZE = 0.02
"""Share by which sizes of a voxel may differ and be the same; programs write 0.70 for 0.7031."""

LARGEST_QFORM_ERROR = 0.25
"""Voxels; as far may a slice lie off its place in a DICOM series (`dicom.stack.LARGEST_JITTER`)."""

XFORM_CODES = range(6)
"""0: none stored; otherwise what positions refer to (nifti1.h, and 5 for other templates, as some programs write)."""

REMADE = re.compile(r"_(Tilt|Eq|Tilt_Eq)(_\d+)?")
"""What dcm2niix adds to the name of a second file where the first cannot hold the geometry of the series: there the
slices of a tilted gantry are straightened, or unevenly spaced ones made even."""

UNITS_IN_MM = {1: 1000.0, 3: 0.001}
"""Code of meters and of micrometers; 2 are millimeters, and any other is taken for them."""


def read_nifti_header(path: Path) -> VolumeHeader:
    """The header of `.nii`, `.nii.gz`, or `.hdr` with its `.img`. Raises InputError."""
    header = _parsed(path, _start(path))
    file = path if header.single else _image_beside(path)
    try:
        dtype, offset, (slope, intercept) = header.dtype, header.offset, header.scale
        sizes = header.shape
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} has a damaged header ({brief(error)}); copy or download it again.") from error
    shape = scalar_shape(path, sizes)
    if not 0 <= offset <= LARGEST_OFFSET:
        raise InputError(f"{path} has a damaged header (its voxels would begin at byte {offset}); copy it again.")
    if header.single and offset < header.size:  # programs then begin at different places, and shift the image
        raise InputError(
            f"{path} says that its voxels begin at byte {offset}, within its header; write it again with the program "
            "that made it, or with nibabel."
        )
    matrix, notes = _matrix(path, header, shape)
    notes += _remade(path)
    compressed = _begins(file) == GZIP
    return VolumeHeader(
        path,
        shape,
        dtype,
        matrix,
        [file],
        start=0 if compressed else offset,
        skip=offset if compressed else 0,
        compression="gzip" if compressed else "none",
        slope=slope,
        intercept=intercept,
        notes=notes,
        digest=_stated_digest(header),
    )


def _stated_digest(header: NiftiHeader) -> str:
    text = bytes(header["descrip"]).decode("latin-1")
    return text.removeprefix(f"{DIGEST}=").rstrip("\0") if text.startswith(f"{DIGEST}=") else ""


def _remade(path: Path) -> list[str]:
    """A second file of the same series beside this one, which dcm2niix made because this one is wrong."""
    ending = "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:])
    stem = path.name.removesuffix(ending)
    names = sorted(
        other.name
        for other in path.parent.glob(f"{glob.escape(stem)}_*")
        if other.name.endswith(ending) and REMADE.fullmatch(other.name[len(stem) : -len(ending)])
    )
    return [
        f"Beside {path.name} lies {name}: dcm2niix writes it where the slices of a series are tilted or unevenly "
        "spaced, which the first file does not show; segment the second."
        for name in names[-1:]
    ]


def write_nifti(path: Path, array_kji: np.ndarray, ijk_to_ras: np.ndarray, digest: str = "") -> None:
    """An array with exactly this matrix, as the sform, and as the qform too where it can hold it (`fits_qform`).

    digest: of a mask, see `voxel_data.DIGEST`.
    """
    shape, text = array_kji.shape[::-1], f"{DIGEST}={digest}" if digest else ""
    header = nifti1_header(shape, array_kji.dtype, ijk_to_ras, fits_qform(ijk_to_ras, shape), text)
    voxels = np.ascontiguousarray(array_kji, array_kji.dtype.newbyteorder("<"))
    content = b"".join((header, voxels.data))
    path.write_bytes(gzip.compress(content, COMPRESSION_LEVEL, mtime=0) if path.suffix == ".gz" else content)


def fits_qform(ijk_to_ras: np.ndarray, shape_ijk: tuple[int, ...]) -> bool:
    """Whether a qform, which knows right angles alone, places all voxels where this matrix does, but for a part of one.

    Programs on ITK refuse a sform that is sheared by 0.01 degrees, as rounded positions of slices make it, and take
    the qform then.
    """
    header = NiftiHeader(nifti1_header(shape_ijk, np.dtype(np.uint8), ijk_to_ras))
    apart = _farthest_corner(header.qform, ijk_to_ras, shape_ijk)
    return bool(apart <= LARGEST_QFORM_ERROR * _lengths(ijk_to_ras).min())


def _start(path: Path) -> bytes:
    try:
        if _begins(path) == GZIP:
            with gzip.open(path) as stream:
                return stream.read(HEADER_BYTES)
        with path.open("rb") as stream:
            return stream.read(HEADER_BYTES)
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path} cannot be read: it is incomplete or damaged; copy or download it again.") from error


def _begins(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as stream:
        return stream.read(2)


def _parsed(path: Path, start: bytes) -> NiftiHeader:
    try:
        return NiftiHeader(start)
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}; copy or download it again.") from error


def _image_beside(path: Path) -> Path:
    """The .img (or .img.gz) that belongs to a .hdr."""
    stem = path.name[:-4]
    found = [path.with_name(stem + ending) for ending in (".img", ".IMG", ".img.gz")]
    return next((file for file in found if file.exists()), found[0])


def _matrix(path: Path, header: NiftiHeader, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """(4, 4) matrix from voxels to RAS mm, and what is to be said of it."""
    sform = header.sform if _is_coded(path, header, "sform_code") else None
    qform = _qform(path, header) if _is_coded(path, header, "qform_code") else None
    unit = UNITS_IN_MM.get(int(header["xyzt_units"]) & 7, 1.0) if "xyzt_units" in header else 1.0
    if sform is None and qform is None:
        sizes = np.abs(np.asarray(header["pixdim"][1:4], float)) * unit
        return np.diag([*sizes, 1.0]), [NO_ORIENTATION.format(path.name, "right", "front")]
    notes = []
    sizes = np.abs(np.asarray(header["pixdim"][1:4], float))
    if sform is not None and qform is None and not _same_sizes(sform, sizes):
        lengths, stated = (" x ".join(f"{mm * unit:.3g}" for mm in some) for some in (_lengths(sform), sizes))
        notes.append(
            f"{path.name} stores voxels of {lengths} mm in its sform and of {stated} mm beside it (pixdim); the sform "
            "was taken, which other programs may not do: if it is wrong, so is the liver's volume."
        )
    if sform is not None and qform is not None:
        apart = _farthest_corner(sform, qform, shape) * unit
        if not apart < SAME_PLACE_MM:
            notes.append(
                f"{path.name} stores two orientations, up to {apart:.0f} mm apart (sform and qform); the sform was "
                "taken, which other programs may not do."
            )
    matrix = np.array(qform if sform is None else sform, float)
    matrix[:3] *= unit
    return matrix, notes


def _lengths(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.norm(matrix[:3, :3], axis=0)


def _same_sizes(matrix: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether voxels have these sizes; those that are all 0 were left out, and are not compared."""
    return bool(np.allclose(_lengths(matrix), sizes, rtol=SAME_SIZE) or not sizes.any())


def _is_coded(path: Path, header: NiftiHeader, name: str) -> bool:
    """Whether an orientation is stored; Analyze knows none. Raises InputError for a code that does not exist."""
    code = int(header[name]) if name in header else 0
    if code not in XFORM_CODES:
        raise InputError(f"{path} has a damaged header ({name} is {code}); copy or download it again.")
    return code != 0


def _qform(path: Path, header: NiftiHeader) -> np.ndarray:
    try:
        return header.qform
    except ValueError as error:
        raise InputError(f"{path} has a damaged orientation (qform: {brief(error)}); correct its header.") from error


def _farthest_corner(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    corners = np.array([[*(np.array(c) * (np.array(shape) - 1)), 1] for c in np.ndindex(2, 2, 2)], float)
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())
