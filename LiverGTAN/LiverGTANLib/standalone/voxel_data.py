"""Voxels after a header, raw or compressed: read whole, with their checksum, or refused.

SimpleITK's readers are not used for this: they read past a wrong or missing checksum, take NaN in NIfTI for 0, open
`scan.nii` where `scan.nii.gz` was asked for, and accept only axes at right angles.
"""

import bz2
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from ..core.files import brief
from ..core.input_checks import FILL_HU
from ..core.volume import InputError
from .limits import MOST_VOXELS, require_size

CHUNK = 2**20
LARGEST_RATIO = 1032
"""Deflate packs at most 1032 bytes into one (zlib's technical notes)."""

MOST_TRAILING_BYTES = 4096
"""Some writers pad a file; more than this is data that the header does not know of."""

LARGEST_OFFSET = 2**26
"""Bytes before the voxels; headers and their extensions have kilobytes."""

MOST_FILES = 10_000
"""Of one volume, a slice each."""

GZIP = b"\x1f\x8b"
"""How gzip data begin (RFC 1952)."""

BEHIND_GZIP = (
    "Behind the compressed data of {}, which are whole, lie bytes that are none; they were left out: copy or download "
    "the file again if you do not know of them."
)

DIGEST = "LiverGTAN_voxels"
"""Key of the digest of its voxels (`digest_of`) in a mask that this program writes: one that was edited since is known
by it."""

Compression = Literal["none", "gzip", "zlib", "bzip2"]
_NEW_DECOMPRESSOR: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    "zlib": zlib.decompressobj,
    "bzip2": bz2.BZ2Decompressor,
}


SCALE_KEY = re.compile(r"slope|intercept|tointensityfunctionoffset$|^oldm(in|ax)$")
"""Of fields for a scale, in small letters: names of DICOM, of MetaIO, and of quantized NRRD. Elements of DICOM by
number (`0028|1052`) are no such fields: ITK, which writes them, has applied them."""

OTHER_UNIT = (
    "{0} states its positions in {1}, and is read so. 3D Slicer and other programs on ITK leave out the unit: they "
    "show this CT in another size, and the mask beside it. Write the CT in millimeters."
)
NO_UNIT = (
    "{0} states its positions in {1}, which is no length this program knows; millimeters were taken, as other programs "
    "do: if that is wrong, so is the liver's volume."
)

NO_SIZE = (
    "{} states no size of its voxels, so that no volume can be known; write it again with its spacing (other programs "
    "take 1 mm)."
)
LOST_GEOMETRY = (
    "{} has voxels of 1 x 1 x 1 mm that begin at 0, as files do whose geometry was lost (an array saved without its "
    "spacing): if that is so, the liver's volume is wrong."
)
NAN_PADDING = (
    "{1:.0%} of the voxels of {0} are NaN, all of them connected with its border: they were taken for padding (air)."
)

NO_ORIENTATION = (
    "{} stores no orientation; its axes were taken to run to the {}, the {} and the head, which may be wrong: compare "
    "left and right with the patient."
)


@dataclass(frozen=True, eq=False)
class VolumeHeader:
    """What a header says of a scalar 3-D image and of where its voxels are.

    shape_ijk: voxels along i (fastest), j, k. dtype: as stored, with its byte order. ijk_to_ras: (4, 4), mm.
    files: with the voxels, one after another. start: byte in each file where they begin, -1: at the end. skip: bytes to
    leave out after decompression. slope, intercept: from stored values to values. notes: what a user should know.
    digest: as stated in a mask of this program (`DIGEST`), empty in any other file.
    """

    path: Path
    shape_ijk: tuple[int, int, int]
    dtype: np.dtype
    ijk_to_ras: np.ndarray
    files: list[Path]
    start: int = 0
    skip: int = 0
    compression: Compression = "none"
    slope: float = 1.0
    intercept: float = 0.0
    notes: list[str] = field(default_factory=list)
    digest: str = ""


def digest_of(mask: np.ndarray) -> str:
    """Of a mask (K, J, I) of 0 and 1; empty for anything else."""
    if mask.dtype.kind not in "iub" or mask.min() < 0 or mask.max() > 1:
        return ""
    return hashlib.blake2b(np.packbits(mask.astype(np.uint8, copy=False)).data, digest_size=16).hexdigest()


def unapplied_scale(name: str, fields: dict[str, str]) -> list[str]:
    """What to say of a header whose fields hold a rescale slope or intercept: its format has no place for them, so
    that programs take the voxels as they are."""
    found = [f"{key} = {brief(value, 40)}" for key, value in fields.items() if _is_scale(key, value)]
    return [
        f"{name} states {', '.join(found[:4])}, which was not applied, as other programs do not either: if its voxels "
        "are no Hounsfield units yet, the mask is wrong."
    ] * bool(found)


def _is_scale(key: str, value: str) -> bool:
    """Whether a field says how voxels become values; not one that leaves them as they are."""
    name = key.casefold()
    if not SCALE_KEY.search(name):
        return False
    try:
        return float(value) != float("slope" in name)
    except ValueError:
        return bool(value)


def scalar_shape(path: Path, sizes: list[int]) -> tuple[int, int, int]:
    """The three sizes of a volume; a fourth axis of size 1 is dropped. Raises InputError for any other image."""
    sizes = [int(n) for n in sizes]
    if any(not 1 <= n <= MOST_VOXELS for n in sizes):
        raise InputError(f"{path} claims sizes of {brief(sizes)}; it is damaged or holds no voxels.")
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) < 3:
        raise InputError(
            f"{path} is flat ({' x '.join(map(str, sizes))} pixels): a single slice or a picture; give the file or "
            "folder that holds the whole volume."
        )
    if len(sizes) > 3:
        raise InputError(
            f"{path} has {len(sizes)} dimensions (a vector image, or a time series); choose one 3-D volume."
        )
    return sizes[0], sizes[1], sizes[2]


def numbered_files(folder: Path, pattern: str, first: int, last: int, step: int = 1) -> list[Path]:
    """Files whose names have a running number, as `slice%03d.raw`. Raises ValueError for any other pattern."""
    if not re.fullmatch(r"[^%]*%0?\d{0,2}d[^%]*", pattern):
        raise ValueError(f"no pattern of file names: {pattern[:80]}")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    return [folder / (pattern % number) for number in numbers[:MOST_FILES]]


def read_voxels(header: VolumeHeader) -> np.ndarray:
    """Values (K, J, I): int16 where whole numbers fit, otherwise int32 or float32.

    Raises InputError when the files hold fewer voxels, or more, than the header says, or fail their checksum.
    """
    if header.dtype.kind not in "iufb":
        raise InputError(f"{header.path} holds colors, vectors or complex numbers; choose a scalar CT.")
    if not (-1 <= header.start <= LARGEST_OFFSET and 0 <= header.skip <= LARGEST_OFFSET):
        raise InputError(f"{header.path} has a damaged header (its voxels would begin far behind it); copy it again.")
    require_size(header.shape_ijk[::-1], header.dtype.itemsize, header.path)
    for file in header.files:
        if not _is_file(file):
            raise InputError(
                f"{header.path} says that its voxels are in {brief(file)}, which does not exist or cannot be a file."
            )
    count = int(np.prod(header.shape_ijk, dtype=np.int64))
    _require_enough(header, count * header.dtype.itemsize)
    stored = np.empty(count, header.dtype)
    room = stored.view(np.uint8).data
    for file in header.files:
        room = room[_fill(room, header, file, last=file == header.files[-1]) :]
    if len(room):
        raise InputError(_incomplete(header, stored.nbytes - len(room), stored.nbytes))
    return _values(header, stored).reshape(header.shape_ijk[::-1])


def without_nan(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values (K, J, I) with padding instead of NaN, and the share that was NaN.

    Only where all NaN are connected with the border of the volume, as what resampling or masking pads is: NaN within
    the body stay, and are refused later.
    """
    if values.dtype.kind != "f" or not (holes := np.isnan(values)).any():
        return values, 0.0
    from scipy import ndimage

    parts, count = ndimage.label(holes)
    border = np.ones(holes.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    if np.count_nonzero(np.unique(parts[border])) < count:
        return values, 0.0
    return np.where(holes, np.float32(FILL_HU), values), float(holes.mean())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name of a thousand characters
        return False


def _require_enough(header: VolumeHeader, needed: int) -> None:
    """Before room is made: can the files hold so much at all?"""
    size = sum(file.stat().st_size for file in header.files)
    if header.compression in ("gzip", "zlib"):
        size *= LARGEST_RATIO
    if header.compression != "bzip2" and size < needed:
        raise InputError(_incomplete(header, size, needed))


def _incomplete(header: VolumeHeader, found: int, needed: int) -> str:
    return (
        f"{header.path} is incomplete: its header says {needed:,} bytes of voxels, at most {found:,} are there; copy "
        "or download it again."
    )


def _fill(room: memoryview, header: VolumeHeader, file: Path, last: bool) -> int:
    """Copy the voxels of one file; how many bytes they were."""
    filled, skip, excess = 0, header.skip, 0
    try:
        for chunk in _chunks(header, file, len(room)):
            if skip:
                skip, chunk = max(0, skip - len(chunk)), chunk[skip:]
            part = chunk[: len(room) - filled]
            room[filled : filled + len(part)] = part
            filled += len(part)
            excess += len(chunk) - len(part)
            if excess > MOST_TRAILING_BYTES or (excess and not last):
                raise InputError(f"{header.path} holds more voxels than its header says; it is damaged.")
    except (zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(
            f"{header.path} is incomplete or damaged (its compressed data break off or fail their checksum); copy or "
            "download it again."
        ) from error
    return filled


def _chunks(header: VolumeHeader, file: Path, needed: int) -> Iterator[bytes]:
    """The content of a file from its start on, decompressed, at most a MiB at a time."""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - needed) if header.start < 0 else header.start)
        if header.compression == "none":
            yield from iter(lambda: stream.read(CHUNK), b"")
        else:
            yield from _decompressed(stream, header)


def _decompressed(stream: BinaryIO, header: VolumeHeader) -> Iterator[bytes]:
    """Raises EOFError when the stream breaks off; the decompressors themselves check checksums.

    What follows whole gzip data and is none is left out with a note, as gzip does it.
    """
    new = _NEW_DECOMPRESSOR[header.compression]
    decompressor, packed = new(), stream.read(CHUNK)
    while True:
        chunk = decompressor.decompress(packed, CHUNK)
        yield chunk
        if decompressor.eof:  # gzip files may have several parts
            packed = decompressor.unused_data.lstrip(b"\0") or stream.read(CHUNK).lstrip(b"\0")
            if len(packed) < len(GZIP):
                packed += stream.read(CHUNK)
            if packed and header.compression == "gzip" and not packed.startswith(GZIP):
                header.notes.append(BEHIND_GZIP.format(header.path.name))
                return
            if not packed:
                return
            decompressor = new()
            continue
        # zlib hands back what it had no room for; bz2 keeps it and says that it needs no more.
        packed = getattr(decompressor, "unconsumed_tail", b"")
        if not packed and getattr(decompressor, "needs_input", True):
            packed = stream.read(CHUNK)
        if not packed and not chunk:
            raise EOFError


def _values(header: VolumeHeader, stored: np.ndarray) -> np.ndarray:
    slope, intercept = header.slope, header.intercept
    if not (np.isfinite(slope) and np.isfinite(intercept)) or slope == 0:
        raise InputError(f"{header.path} scales its values by {slope} and adds {intercept}; correct its header.")
    if (slope, intercept) == (1, 0):
        return _compact(stored)
    whole = float(slope).is_integer() and float(intercept).is_integer() and max(abs(slope), abs(intercept)) < 2**14
    if whole and stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        return _compact(stored.astype(np.int32) * np.int32(slope) + np.int32(intercept))
    scaled = stored.astype(np.float32)
    scaled *= np.float32(slope)
    scaled += np.float32(intercept)
    return scaled


def _compact(values: np.ndarray) -> np.ndarray:
    """int16, int32 or float32 in the byte order of this computer, whichever keeps the values."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused later
            return values.astype(np.float32, copy=False)
    if values.dtype.itemsize == 1 or values.dtype.kind == "b":
        return values.astype(np.int16)
    low, high = int(values.min()), int(values.max())
    for smaller in (np.int16, np.int32):
        if np.iinfo(smaller).min <= low and high <= np.iinfo(smaller).max:
            return values.astype(smaller, copy=False)
    return values.astype(np.float32)
