"""MetaImage headers (`.mha`, and `.mhd` with its data file)."""

from pathlib import Path

import numpy as np

from ..core.files import brief
from ..core.volume import LPS_TO_RAS, InputError
from .voxel_data import (
    DIGEST,
    MOST_FILES,
    NO_ORIENTATION,
    NO_SIZE,
    NO_UNIT,
    OTHER_UNIT,
    VolumeHeader,
    numbered_files,
    scalar_shape,
    unapplied_scale,
)

LONGEST_HEADER = 2**20
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i8",
    "MET_ULONG": "u8",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
UNITS_IN_MM = {"um": 0.001, "mm": 1.0, "cm": 10.0, "": 1.0, "?": 1.0}
"""Of `DistanceUnits` (MetaIO, metaObject.h: `?` for not known); any other is taken for millimeters, with a note."""

LARGEST_SCALE = 0.02
"""By which the length of an axis may differ from 1; as sizes in a NIfTI header may (`nifti.SAME_SIZE`)."""

MATRIX_KEYS, ORIGIN_KEYS = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Position", "Origin")


def read_metaimage_header(path: Path) -> VolumeHeader:
    """The header of `.mha` or `.mhd`. Raises InputError."""
    fields, names, start = _fields(path)
    try:
        return _header(path, fields, names, start)
    except InputError:
        raise
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path} has an incomplete or damaged header ({brief(error)}); write it again.") from error


def _fields(path: Path) -> tuple[dict[str, str], list[str], int]:
    """Fields, the names in a LIST of files, and the byte after the header."""
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        while line := stream.readline(LONGEST_HEADER):
            key, sign, value = line.decode("utf-8", "replace").partition("=")
            if not sign or stream.tell() > LONGEST_HEADER:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                names = stream.read(LONGEST_HEADER) if value.strip().upper().startswith("LIST") else b""
                return fields, names.decode("utf-8", "replace").splitlines(), stream.tell()
    raise InputError(f"{path} cannot be read: it has no whole MetaImage header (its last field is ElementDataFile).")


def _header(path: Path, fields: dict[str, str], names: list[str], start: int) -> VolumeHeader:
    if int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise InputError(f"{path} is a color or vector image; choose a scalar CT.")
    if not _is_true(fields, "BinaryData", "True"):
        raise InputError(f"{path} holds its voxels as text, which is not supported; write it as binary data.")
    big = _is_true(fields, "BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    dtype = np.dtype(TYPES[fields["ElementType"]]).newbyteorder(">" if big else "<")
    sizes = [int(n) for n in fields["DimSize"].split()]
    if int(fields.get("NDims", len(sizes))) != len(sizes):
        raise ValueError(f"NDims = {fields['NDims'][:20]} for {len(sizes)} sizes")
    shape = scalar_shape(path, sizes)
    files, local = _files(path, fields["ElementDataFile"], names)
    matrix, notes = _matrix(path, fields)
    notes += unapplied_scale(path.name, fields)
    compressed = _is_true(fields, "CompressedData", "False")
    header_size = int(fields.get("HeaderSize", "0"))
    return VolumeHeader(
        path,
        shape,
        dtype,
        matrix,
        files,
        start=start if local else header_size,
        compression="zlib" if compressed else "none",
        notes=notes,
        digest=fields.get(DIGEST, ""),
    )


def _is_true(fields: dict[str, str], key: str, default: str) -> bool:
    value = fields.get(key, default).lower()
    if value not in ("true", "false", "1", "0"):
        raise ValueError(f"{key} = {value}")
    return value in ("true", "1")


def _files(path: Path, text: str, names: list[str]) -> tuple[list[Path], bool]:
    if text.upper() == "LOCAL":
        return [path], True
    if text.upper().startswith("LIST"):
        return [path.parent / name.strip() for name in names[:MOST_FILES] if name.strip()], False
    words = text.split()
    if "%" in words[0] and len(words) >= 3:
        return numbered_files(path.parent, words[0], *(int(word) for word in words[1:4])), False
    return [path.parent / text], False


def _matrix(path: Path, fields: dict[str, str]) -> tuple[np.ndarray, list[str]]:
    """The rows of the stored matrix are the directions of the axes; positions are LPS."""
    directions = next((fields[key] for key in MATRIX_KEYS if key in fields), None)
    origin = next((fields[key] for key in ORIGIN_KEYS if key in fields), None)
    stated = fields.get("ElementSpacing", fields.get("ElementSize"))
    if stated is None:
        raise InputError(NO_SIZE.format(path))
    spacing = [float(n) for n in stated.split()[:3]]
    matrix = np.eye(4)
    axes = np.eye(3)
    if directions is not None:
        numbers = np.array([float(n) for n in directions.split()])
        side = round(len(numbers) ** 0.5)
        axes = numbers.reshape(side, side)[:3, :3]
    matrix[:3, :3] = axes.T * spacing
    if origin is not None:
        matrix[:3, 3] = [float(n) for n in origin.split()[:3]]
    unit = fields.get("DistanceUnits", "")
    scale = UNITS_IN_MM.get(unit.lower())
    matrix[:3] *= scale or 1.0
    notes = [] if directions is not None else [NO_ORIENTATION.format(path.name, "left", "back")]
    notes += [NO_UNIT.format(path.name, brief(repr(unit), 40))] * (scale is None)
    notes += [OTHER_UNIT.format(path.name, unit)] * (scale not in (1.0, None))
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > LARGEST_SCALE:
        written, taken = (" x ".join(f"{mm:.3g}" for mm in some) for some in (spacing, lengths * spacing))
        notes.append(
            f"{path.name} states voxels of {written} mm, and axes that are not of length 1; voxels of {taken} mm were "
            "taken, which other programs may not do: if that is wrong, so is the liver's volume."
        )
    return LPS_TO_RAS @ matrix, notes
