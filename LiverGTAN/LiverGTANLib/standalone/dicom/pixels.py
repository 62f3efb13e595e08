"""Pixels of DICOM images as Hounsfield units."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.volume import InputError
from ..limits import require_size
from .files import CtImage, functional_groups, naming, read_dataset

if TYPE_CHECKING:
    from pydicom import Dataset

AIR_HU = -1024
INT16 = np.iinfo(np.int16)
PLAUSIBLE_HU = (-1024, 3071)
"""What 12 bits hold; padding outside it would look like metal or less than nothing."""

DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg pylibjpeg-openjpeg",
}
"""Transfer syntax (JPEG, JPEG-LS, JPEG 2000, high-throughput JPEG 2000) -> packages that decode it for pydicom."""

OTHER_DECODERS = "python-gdcm"
"""For lossless and 12-bit JPEG; pylibjpeg-libjpeg reads them too, but is GPL."""


def read_hu(images: list[CtImage]) -> np.ndarray:
    """HU of the images as (K, J, I), int16 where they are whole numbers that fit. Raises InputError naming the file.

    Stored values are rescaled as the file says; how they would be displayed (MONOCHROME1, windows) plays no part.
    """
    require_size((len(images), *images[0].size), 2, images[0].path.parent)
    hu = np.empty((len(images), *images[0].size), np.int16)
    for k, values in enumerate(_slices(images)):
        if values.shape != hu.shape[1:]:
            raise InputError(f"{images[k].path} holds {values.shape} pixels where its header says {hu.shape[1:]}.")
        needed = _needed_type(values, hu.dtype)
        if needed != hu.dtype:
            hu = hu.astype(needed)
        hu[k] = values
    return hu


def _needed_type(values: np.ndarray, dtype: np.dtype) -> np.dtype:
    if dtype.kind == "f" or values.dtype.kind == "f":
        return np.dtype(np.float32)
    fits = values.min() >= INT16.min and values.max() <= INT16.max
    return dtype if fits else np.dtype(np.int32)


def _slices(images: list[CtImage]) -> Iterator[np.ndarray]:
    for path, frames in itertools.groupby(images, key=lambda image: image.path):
        dataset = read_dataset(path, pixels=True)
        for image in frames:
            with naming(path):
                values = _rescaled(image, dataset, _stored(image, dataset))
            yield values


def _stored(image: CtImage, dataset: "Dataset") -> np.ndarray:
    """Stored values (J, I)."""
    from pydicom.pixels import pixel_array

    _require_decoder(image, dataset)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        _require_size_in_code(image, dataset)
    else:
        _require_fitting_pixels(image, dataset)
    return pixel_array(dataset, index=image.frame or 0)


def _require_decoder(image: CtImage, dataset: "Dataset") -> None:
    from pydicom.pixels import get_decoder
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{image.path} has no pixels: the file is cut; copy it again from its source.")
    if "TransferSyntaxUID" not in dataset.file_meta:  # written without the file meta information
        implicit, little = dataset.original_encoding
        native = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else native
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise InputError(
            f"{image.path} is stored as {syntax.name}, which cannot be read; export it uncompressed."
        ) from None
    if not available:
        package = DECODERS.get(str(syntax), OTHER_DECODERS)
        raise InputError(f"{image.path} is compressed ({syntax.name}); to read it, install {package}")


def _require_size_in_code(image: CtImage, dataset: "Dataset") -> None:
    """Refuse a compressed image whose own header claims another size: a decoder would make room for it."""
    from pydicom.encaps import get_frame

    frames = max(1, int(dataset.get("NumberOfFrames") or 1))
    size = _size_in_code(get_frame(dataset.PixelData, image.frame or 0, number_of_frames=frames))
    if size is not None and size != image.size:
        raise InputError(
            f"{image.path} says {image.size} pixels and holds a compressed image of {size}: it is damaged."
        )


def _require_fitting_pixels(image: CtImage, dataset: "Dataset") -> None:
    """Refuse uncompressed pixels of another number or with more bits than the header says; what it says of them would
    be read all the same, sheared or wrapped."""
    if "PixelData" not in dataset:
        return
    count, frames = int(np.prod(image.size)), max(1, int(dataset.get("NumberOfFrames") or 1))
    width = int(dataset.BitsAllocated) // 8
    if len(dataset.PixelData) - count * frames * width >= min(image.size) * width:  # a few bytes are padding
        raise InputError(
            f"{image.path} says {image.size[1]} x {image.size[0]} pixels (Columns, Rows) and holds more; its header is "
            "wrong: export it again."
        )
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    if int(dataset.get("HighBit", stored - 1)) != stored - 1:
        raise InputError(
            f"{image.path} has a HighBit of {dataset.HighBit} with {stored} bits stored (pixels are shifted): export "
            "the series again."
        )
    if stored < allocated and width in (1, 2, 4) and not _has_overlay_bits(dataset):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        raw = np.frombuffer(dataset.PixelData, f"{order}u{width}", count, (image.frame or 0) * count * width)
        _require_bits(image, dataset, raw, stored)


def _has_overlay_bits(dataset: "Dataset") -> bool:
    """Whether pixels' unused bits hold drawings, as old scanners stored them (groups 60xx)."""
    return any(dataset.get((group, 0x0102)) is not None for group in range(0x6000, 0x6020, 2))


def _require_bits(image: CtImage, dataset: "Dataset", raw: np.ndarray, stored: int) -> None:
    """Refuse values that need more bits than BitsStored. raw: (N,) all allocated bits, unsigned."""
    padding = dataset.get("PixelPaddingValue")
    if isinstance(padding, int):
        raw = raw[raw != padding % 2 ** (8 * raw.itemsize)]
    unused = raw >> stored
    allowed = [0]
    if dataset.PixelRepresentation == 1:
        negative = (raw >> (stored - 1)) & 1 == 1
        unused, below_zero = unused[~negative], unused[negative]
        signs = [0, 2 ** (8 * raw.itemsize - stored) - 1]  # not extended, or extended, but one way throughout
        allowed = [sign for sign in signs if (below_zero == sign).all()]
    if not allowed or unused.any():
        raise InputError(
            f"{image.path} says {stored} bits (BitsStored) and holds values that need more; its header is wrong: "
            "export it again."
        )


def _size_in_code(code: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS or JPEG 2000 code stream, None for another one."""
    if code[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SIZ follows at once, with the size and the place of its origin
        right, bottom, left, top = (int.from_bytes(code[n : n + 4], "big") for n in (8, 12, 16, 20))
        return bottom - top, right - left
    at = 2 if code[:2] == b"\xff\xd8" else len(code)
    while at + 9 <= len(code) and code[at] == 0xFF:
        marker = code[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(code[at + 5 : at + 7], "big"), int.from_bytes(code[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(code[at + 2 : at + 4], "big")
    return None


def _rescaled(image: CtImage, dataset: "Dataset", stored: np.ndarray) -> np.ndarray:
    places = functional_groups(dataset, image.frame)
    if any("ModalityLUTSequence" in place for place in places):
        from pydicom.pixels import apply_modality_lut

        return apply_modality_lut(stored, dataset).astype(np.float32)
    slope, intercept = _number(image, places, "RescaleSlope", 1), _number(image, places, "RescaleIntercept", 0)
    if slope == 0:
        raise InputError(f"{image.path} has a RescaleSlope of 0: its Hounsfield units are lost; export it again.")
    whole = stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    if whole and max(abs(slope), abs(intercept)) < 2**14:
        values: np.ndarray = stored.astype(np.int32) * np.int32(slope) + np.int32(intercept)
    else:
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return _without_padding(image, places, stored, values)


def _without_padding(image: CtImage, places: list["Dataset"], stored: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Padding (the corners outside the field of view) as air where its value is none that tissue has."""
    padding = _value(places, "PixelPaddingValue")
    if isinstance(padding, int):
        limit = _value(places, "PixelPaddingRangeLimit")
        first, last = sorted((padding, limit if isinstance(limit, int) else padding))
        low, high = PLAUSIBLE_HU
        values[(stored >= first) & (stored <= last) & ((values < low) | (values > high))] = AIR_HU
    return values


def _value(places: list["Dataset"], keyword: str) -> Any:
    return next((place[keyword].value for place in places if keyword in place), None)


def _number(image: CtImage, places: list["Dataset"], keyword: str, default: float) -> float:
    value = _value(places, keyword)
    try:
        number = float(default if value is None else value)
    except (ValueError, TypeError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(f"{image.path} has no usable {keyword}; export the series again.")
    return number
