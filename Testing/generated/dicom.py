"""DICOM series and multi-frame files: whole, with odd attributes, and with damaged bytes, packed and not."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from LiverGTANLib.core.volume import InputError
from LiverGTANLib.standalone.image_files import CtFile, open_ct
from support.dicom_cases import SPACING, ctSlices, enhancedCt, ijkToRas, save, smallHu

from .mutation import choice, damaged
from .outcome import READ, REFUSED, require, require_sentence

SMALL, PACKED = (6, 8, 10), (5, 64, 64)
"""(K, J, I); JPEG 2000 is not written for smaller images than the latter."""

ODD = (
    *("", "0", "-1", "1", "2", "7", "nan", "1e308", "99999999999999999999", "x", "1\\2", "1\\0\\0\\0\\1\\0", "0\\0\\0"),
    *("CT", "MR", "LOCALIZER", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7", "\x00", "ü" * 300, "1" * 70),
)


TELLING = {
    *("SOPClassUID", "Modality", "ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PixelSpacing"),
    *(
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "RescaleSlope",
        "RescaleIntercept",
        "BitsAllocated",
        "HighBit",
    ),
    *("BitsStored", "PixelRepresentation", "PixelData", "PhotometricInterpretation", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "PlanarConfiguration", "SeriesInstanceUID", "SOPInstanceUID"),
}
"""Attributes on which geometry, values, or the choice of slices depend; any other may say what it likes."""


def whole(rng: np.random.Generator, folder: Path) -> str:
    """A series or a multi-frame file that nothing is wrong with gives its values at their places."""
    hu, matrix, source = written(rng, folder)
    found = open_ct(source).ct
    require(np.array_equal(found.hu, hu), "other values than written")
    require(np.allclose(found.ijk_to_ras, matrix, atol=1e-3), "another place than written")
    return READ


def odd_attributes(rng: np.random.Generator, folder: Path) -> str:
    """One to three attributes of one file or of all are missing or have odd values."""
    hu, matrix, source = written(rng, folder, packed=rng.random() < 0.1)
    files = sorted(folder.rglob("*.dcm"))
    chosen = [choice(rng, files)] if rng.random() < 0.6 else files
    datasets = {file: pydicom.dcmread(file) for file in chosen}
    keywords = [element.keyword for element in next(iter(datasets.values())) if element.keyword]
    changed = set()
    for _ in range(int(rng.integers(1, 4))):
        keyword, value = str(choice(rng, keywords)), choice(rng, (None, *ODD))
        changed.add(keyword)
        for dataset in datasets.values():
            change(dataset, keyword, value)
    for file, dataset in datasets.items():
        try:
            dataset.save_as(file)
        except Exception:  # pydicom writes no such value; the file that it left is an input too
            continue
    return given(source, hu, matrix, {files.index(file) for file in chosen}, changed)


def change(dataset: Dataset, keyword: str, value: str | None) -> None:
    """Drop or set an attribute; values that pydicom does not let in are left."""
    if keyword not in dataset:
        return
    if value is None:
        del dataset[keyword]
        return
    with pydicom.config.disable_value_validation():
        try:
            element = dataset[keyword]
            numbers = element.VR in ("US", "SS", "UL", "SL", "FD", "FL")
            dataset[keyword].value = int(value) if numbers else value
        except (ValueError, TypeError, OverflowError):
            return


def damaged_bytes(rng: np.random.Generator, folder: Path) -> str:
    """Bytes of one file are changed, packed pixels and the header alike."""
    hu, matrix, source = written(rng, folder)
    files = sorted(folder.rglob("*.dcm"))
    number = int(rng.integers(len(files)))
    data = files[number].read_bytes()
    files[number].write_bytes(damaged(rng, data, 0, choice(rng, (200, 800, None, None))))
    return given(source, hu, matrix, {number}, None)


def written(rng: np.random.Generator, folder: Path, packed: bool | None = None) -> tuple[np.ndarray, np.ndarray, Path]:
    """(values, matrix, what to open) of a series, in order or not, or of a multi-frame file."""
    packed = bool(rng.random() < 0.3) if packed is None else packed
    hu = smallHu(PACKED if packed else SMALL, seed=int(rng.integers(1000)))
    if not packed and rng.random() < 0.2:
        path = folder / "enhanced.dcm"
        enhancedCt(hu).save_as(path, enforce_file_format=True)
        return hu, ijkToRas(), choice(rng, (path, folder))
    tilt = float(choice(rng, (0, 0, 5, -12, 25)))
    slices = ctSlices(hu, tilt=tilt)
    if packed:
        syntax = UID(choice(rng, (JPEG2000Lossless, JPEGLSLossless, RLELossless)))
        for dataset in slices:
            dataset.compress(syntax, generate_instance_uid=False)
    save(folder / "ct", slices)
    return hu, ijkToRas(tilt), folder / "ct"


def given(source: Path, hu: np.ndarray, matrix: np.ndarray, touched: set[int], changed: set[str] | None) -> str:
    """Refused with a sentence, or read with every untouched slice as it was, at its place, unless a note says more."""
    try:
        found = open_ct(source)
    except InputError as error:
        require_sentence(error)
        return REFUSED
    require_same(found, hu, matrix, touched, changed)
    return READ


def require_same(
    found: CtFile, hu: np.ndarray, matrix: np.ndarray, touched: set[int], changed: set[str] | None
) -> None:
    ct = found.ct
    alike = len(touched) > 1 or source_is_one_file(found)
    if alike and (changed is None or changed & TELLING):
        return  # all slices were changed alike: another scan, for all that anybody can say
    touched = set() if alike else touched
    if ct.shape != hu.shape:
        require(found.notes, f"{hu.shape} voxels were written, {ct.shape} read, and nothing is said of it")
        return
    for k in set(range(len(hu))) - touched:
        require(np.array_equal(ct.hu[k], hu[k]), f"slice {k} has other values, though another one was changed")
    last = np.array([*(np.array(hu.shape[::-1]) - 1), 1.0])
    for voxel in (np.array([0, 0, 0, 1.0]), last):
        moved = np.abs((ct.ijk_to_ras - matrix) @ voxel).max()
        require(moved < max(SPACING) / 2 or found.notes, f"voxel {voxel} lies {moved:.1f} mm elsewhere, without a note")


def source_is_one_file(found: CtFile) -> bool:
    return len(set(found.files)) == 1
