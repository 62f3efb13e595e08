"""NRRD headers (`.nrrd`, and `.nhdr` with its data file), and masks as NRRD files."""

import gzip
import re
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
    Compression,
    VolumeHeader,
    numbered_files,
    scalar_shape,
    unapplied_scale,
)

LONGEST_HEADER = 2**20
ENCODINGS: dict[str, Compression] = {
    "raw": "none",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
}
SPACES = {
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
"""Space -> matrix from its positions to RAS."""

UNITS_IN_MM = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimetre": 1.0,
    "cm": 10.0,
    "m": 1000.0,
    "um": 0.001,
    "": 1.0,
    "???": 1.0,
}
"""Of `space units` (the last two: not known, as writers put it); any other is taken for millimeters, with a note."""

SCALAR_KINDS = ("domain", "space", "time", "none", "???")
TYPE_NAMES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
TYPES = {name: code for code, names in TYPE_NAMES.items() for name in names.split(", ")}

COMPRESSION_LEVEL = 1
"""A mask of 512x512x129 voxels takes 50 ms and 0.2 MB, at gzip's usual level, 6, 100 ms and 0.1 MB."""


def read_nrrd_header(path: Path) -> VolumeHeader:
    """The header of `.nrrd` or `.nhdr`. Raises InputError."""
    lines, start = _lines(path)
    try:
        return _header(path, _fields(lines), _pairs(lines), start)
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path} has an incomplete or damaged header ({brief(error)}); write it again.") from error


def _lines(path: Path) -> tuple[list[str], int]:
    """Lines up to the first empty one, and the byte after it."""
    with path.open("rb") as stream:
        if stream.read(4) != b"NRRD":
            raise InputError(f"{path} cannot be read: it does not begin as NRRD does.")
        stream.seek(0)
        lines = []
        while (line := stream.readline(LONGEST_HEADER)) and line.strip():
            lines.append(line.decode("utf-8", "replace").rstrip())
            if stream.tell() > LONGEST_HEADER:
                raise InputError(f"{path} has a header that does not end; it is damaged.")
        return lines, stream.tell()


def _fields(lines: list[str]) -> dict[str, str]:
    """Field -> value; after `data file: LIST` the names of the files follow, one a line."""
    fields: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        if line.startswith("#") or ":=" in line:
            continue
        key, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"a line without a field: {line[:80]}")
        fields[key.strip().lower().replace(" ", "")] = value.strip()
        if "datafile" in fields and fields["datafile"].upper().startswith("LIST"):
            return fields | {"list": "\n".join(lines[number:])}
    return fields


def _pairs(lines: list[str]) -> dict[str, str]:
    """Key -> value of the lines that are no fields of the format, but of whoever wrote them (`key:=value`)."""
    pairs = (line.split(":=", 1) for line in lines[1:] if ":=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def _header(path: Path, fields: dict[str, str], pairs: dict[str, str], start: int) -> VolumeHeader:
    compression = ENCODINGS.get(fields["encoding"].lower())
    if compression is None:
        raise InputError(f"{path} is encoded as {brief(fields['encoding'])}; write it as raw or gzip.")
    kinds = fields.get("kinds", "").split()
    if any(kind.lower() not in SCALAR_KINDS for kind in kinds):
        raise InputError(f"{path} is a color or vector image ({brief(', '.join(kinds))}); choose a scalar CT.")
    dtype = np.dtype(TYPES[fields["type"].lower()]).newbyteorder(">" if fields.get("endian") == "big" else "<")
    sizes = [int(n) for n in fields["sizes"].split()]
    if int(fields.get("dimension", len(sizes))) != len(sizes):
        raise ValueError(f"dimension: {fields['dimension'][:20]} for {len(sizes)} sizes")
    shape = scalar_shape(path, sizes)
    files, detached = _files(path, fields)
    skip = int(fields.get("byteskip", 0))
    if skip < -1 or int(fields.get("lineskip", 0)) != 0:
        raise InputError(f"{path} skips lines before its voxels, which is not supported; write it again.")
    matrix, notes = _matrix(path, fields)
    quantized = {key: value for key, value in fields.items() if key in ("oldmin", "oldmax")}
    notes += unapplied_scale(path.name, {**quantized, **pairs})
    raw = compression == "none"
    begin = 0 if detached else start
    return VolumeHeader(
        path,
        shape,
        dtype,
        matrix,
        files,
        start=(-1 if skip < 0 else begin + skip) if raw else begin,
        skip=0 if raw else max(skip, 0),
        compression=compression,
        notes=notes,
        digest=pairs.get(DIGEST, ""),
    )


def _files(path: Path, fields: dict[str, str]) -> tuple[list[Path], bool]:
    text = fields.get("datafile", "")
    if not text:
        return [path], False
    if text.upper().startswith("LIST"):
        return [path.parent / name.strip() for name in fields["list"].splitlines()[:MOST_FILES] if name.strip()], True
    words = text.split()
    if "%" in words[0] and len(words) >= 4:
        return numbered_files(path.parent, words[0], *(int(word) for word in words[1:4])), True
    return [path.parent / text], True


def _matrix(path: Path, fields: dict[str, str]) -> tuple[np.ndarray, list[str]]:
    to_ras = SPACES.get(fields.get("space", "").lower())
    directions = _vectors(fields.get("spacedirections", ""))
    matrix = np.eye(4)
    if directions:
        matrix[:3, :3] = np.array(directions[:3]).T
    elif "spacings" in fields:
        matrix[:3, :3] = np.diag([float(n) for n in fields["spacings"].split()[:3]])
    else:
        raise InputError(NO_SIZE.format(path))
    scale, notes = _unit(path, fields.get("spaceunits" if directions else "units", ""))
    if not directions or to_ras is None:
        matrix[:3] *= scale
        return LPS_TO_RAS @ matrix, [NO_ORIENTATION.format(path.name, "left", "back"), *notes]
    if "spaceorigin" in fields:
        matrix[:3, 3] = _vectors(fields["spaceorigin"])[0]
    matrix[:3] *= scale
    return to_ras @ matrix, notes


def _unit(path: Path, text: str) -> tuple[float, list[str]]:
    """Millimeters in the unit of the positions, and what is to be said of it. Raises InputError for several units."""
    units = list(dict.fromkeys(unit.strip() for unit in re.findall(r'"([^"]*)"', text)[:3]))
    if len(units) > 1:
        raise InputError(f"{path} has axes in several units ({brief(', '.join(units))}); write it in millimeters.")
    unit = units[0] if units else ""
    scale = UNITS_IN_MM.get(unit.lower().removesuffix("s"))
    if scale is None:
        return 1.0, [NO_UNIT.format(path.name, brief(repr(unit), 40))]
    return scale, [OTHER_UNIT.format(path.name, unit)] * (scale != 1)


def _vectors(text: str) -> list[list[float]]:
    return [[float(n) for n in vector.split(",")] for vector in re.findall(r"\(([^)]*)\)", text)]


def write_nrrd(path: Path, mask_kji: np.ndarray, ijk_to_ras: np.ndarray, metadata: dict[str, str]) -> None:
    """(K, J, I) uint8 with exactly this matrix. metadata: key/value pairs of the header.

    SimpleITK, which could do it, takes longer to import than a small scan's whole network takes to run.
    """
    matrix = LPS_TO_RAS @ ijk_to_ras
    lines = [
        "NRRD0004",
        "type: unsigned char",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in mask_kji.shape[::-1])}",
        f"space directions: {' '.join(_vector(column) for column in matrix[:3, :3].T)}",
        "kinds: domain domain domain",
        "encoding: gzip",
        f"space origin: {_vector(matrix[:3, 3])}",
        *(f"{key}:={value}" for key, value in metadata.items()),
    ]
    voxels = np.ascontiguousarray(mask_kji, np.uint8)
    with path.open("wb") as stream:
        stream.write("\n".join([*lines, "", ""]).encode())
        stream.write(gzip.compress(voxels.data, COMPRESSION_LEVEL, mtime=0))


def _vector(numbers: np.ndarray) -> str:
    return f"({','.join(repr(float(number)) for number in numbers + 0.0)})"
