"""NIfTI-1, NIfTI-2 and Analyze headers, read with nibabel, and NIfTI files written with it.

nibabel knows both versions, either byte order and pairs of .hdr and .img, and keeps the matrix as it is stored, where
SimpleITK refuses a slightly sheared one and changes it when it writes.
"""

import glob
import gzip
import importlib
import re
import sys
import zlib
from pathlib import Path

import numpy as np

from ..core.files import brief
from ..core.volume import InputError
from .voxel_data import DIGEST, GZIP, LARGEST_OFFSET, NO_ORIENTATION, VolumeHeader, scalar_shape

HEADER_BYTES = 540
SAME_PLACE_MM = 1.0
"""sform and qform that place every corner within this distance are the same; rounding makes 0.01 mm."""

SAME_SIZE = 0.02
"""Share by which sizes of a voxel may differ and be the same; programs write 0.70 for 0.7031."""

LARGEST_QFORM_ERROR = 0.25
"""Voxels; as far may a slice lie off its place in a DICOM series (`dicom.stack.LARGEST_JITTER`)."""

XFORM_CODES = range(6)
"""0: none stored; otherwise what positions refer to (nifti1.h, and 5 for other templates, which nibabel knows too)."""

REMADE = re.compile(r"_(Tilt|Eq|Tilt_Eq)(_\d+)?")
"""What dcm2niix adds to the name of a second file where the first cannot hold the geometry of the series: there the
slices of a tilted gantry are straightened, or unevenly spaced ones made even."""

UNITS_IN_MM = {1: 1000.0, 3: 0.001}
"""Code of meters and of micrometers; 2 are millimeters, and any other is taken for them."""


def read_nifti_header(path: Path) -> VolumeHeader:
    """The header of `.nii`, `.nii.gz`, or `.hdr` with its `.img`. Raises InputError."""
    start = _start(path)
    header = _parsed(path, start)
    single = bytes(header["magic"].item() if "magic" in header else b"")[:2] == b"n+"
    file = path if single else _image_beside(path)
    try:
        dtype, offset, (slope, intercept) = header.get_data_dtype(), header.get_data_offset(), header.get_slope_inter()
        shape = scalar_shape(path, list(header.get_data_shape()))
        if "scl_slope" in header and np.isinf(header["scl_slope"]):
            slope = float("inf")  # NaN and 0 stand for no scaling; infinite values are damage
    except InputError:
        raise
    except Exception as error:  # nibabel raises errors of many kinds for damaged headers
        raise InputError(f"{path} has a damaged header ({brief(error)}); copy or download it again.") from error
    if not 0 <= offset <= LARGEST_OFFSET:
        raise InputError(f"{path} has a damaged header (its voxels would begin at byte {offset}); copy it again.")
    if single and offset < header.sizeof_hdr:  # programs then begin at different places, and shift the image
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
        start=0 if compressed else int(offset),
        skip=int(offset) if compressed else 0,
        compression="gzip" if compressed else "none",
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        notes=notes,
        digest=_stated_digest(header),
    )


def _stated_digest(header) -> str:
    text = bytes(header["descrip"].item()).decode("latin-1") if "descrip" in header else ""
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
    nibabel = _nibabel()
    image = nibabel.Nifti1Image(array_kji.transpose(2, 1, 0), ijk_to_ras)
    image.set_sform(ijk_to_ras, code=1)
    image.set_qform(ijk_to_ras, code=int(fits_qform(ijk_to_ras, image.shape)))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"{DIGEST}={digest}" if digest else ""
    nibabel.save(image, path)


def fits_qform(ijk_to_ras: np.ndarray, shape_ijk: tuple[int, ...]) -> bool:
    """Whether a qform, which knows right angles alone, places all voxels where this matrix does, but for a part of one.

    Programs on ITK refuse a sform that is sheared by 0.01 degrees, as rounded positions of slices make it, and take
    the qform then.
    """
    header = _nibabel().Nifti1Header()
    header.set_qform(ijk_to_ras, 1)
    apart = _farthest_corner(header.get_qform(), ijk_to_ras, shape_ijk)
    return bool(apart <= LARGEST_QFORM_ERROR * _lengths(ijk_to_ras).min())


def _nibabel():
    """nibabel, without pydicom if that is not loaded yet.

    nibabel would import it, with all its decoders, for extensions that hold DICOM elements, which are not looked at
    here: 0.2 of 0.3 s of processor time.
    """
    if "nibabel" not in sys.modules and "pydicom" not in sys.modules:
        sys.modules["pydicom"] = None  # type: ignore[assignment]  # as the import system has it for "not there"
        try:
            importlib.import_module("nibabel")
        finally:
            del sys.modules["pydicom"]
    return importlib.import_module("nibabel")


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


def _parsed(path: Path, start: bytes):
    nibabel = _nibabel()
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    kind = nibabel.Nifti1Header if start[344:348] in (b"n+1\0", b"ni1\0") else nibabel.AnalyzeHeader
    if 540 in sizes:
        kind = nibabel.Nifti2Header
    elif 348 not in sizes:
        raise InputError(f"{path} cannot be read: it does not begin as NIfTI does; copy or download it again.")
    try:
        # Extensions, which follow the header itself, are not looked at.
        return kind(start[: kind.template_dtype.itemsize], check=False)
    except Exception as error:  # nibabel raises errors of many kinds for damaged headers
        raise InputError(f"{path} has a damaged header ({brief(error)}); copy or download it again.") from error


def _image_beside(path: Path) -> Path:
    """The .img (or .img.gz) that belongs to a .hdr."""
    stem = path.name[:-4]
    found = [path.with_name(stem + ending) for ending in (".img", ".IMG", ".img.gz")]
    return next((file for file in found if file.exists()), found[0])


def _matrix(path: Path, header, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """(4, 4) matrix from voxels to RAS mm, and what is to be said of it."""
    sform = header.get_sform() if _is_coded(path, header, "sform_code") else None
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


def _is_coded(path: Path, header, name: str) -> bool:
    """Whether an orientation is stored; Analyze knows none. Raises InputError for a code that does not exist."""
    code = int(header[name]) if name in header else 0
    if code not in XFORM_CODES:
        raise InputError(f"{path} has a damaged header ({name} is {code}); copy or download it again.")
    return code != 0


def _qform(path: Path, header) -> np.ndarray:
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # the standard wants 0, which many writers leave, to be read so
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    try:
        return header.get_qform()
    except Exception as error:  # nibabel raises errors of many kinds for damaged headers
        raise InputError(f"{path} has a damaged orientation (qform: {brief(error)}); correct its header.") from error


def _farthest_corner(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    corners = np.array([[*(np.array(c) * (np.array(shape) - 1)), 1] for c in np.ndindex(2, 2, 2)], float)
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())
