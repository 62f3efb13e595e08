"""What lies in DICOM files: which files of a folder are DICOM, and the headers of the CT images in them.

Headers are read with pydicom. highdicom's own volume reader is not used here: it wants slices that lie straight above
each other, so a tilted gantry cannot be read with it, and its errors name no file.
"""

import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.files import brief
from ...core.volume import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
MOST_FILES = 100_000
LARGEST_INFLATED_BYTES = 2**31
"""A deflated data set larger than this is refused; an enhanced CT of 1,000 slices of 512 x 512 has a quarter of it."""

LARGE_FILE_BYTES = 2**28

LONGEST_LABEL = 64
"""Characters of a description in messages, as many as the standard allows."""

CT_IMAGE, ENHANCED_CT, LEGACY_ENHANCED_CT = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "2.2"))
MULTI_FRAME_CT = (ENHANCED_CT, LEGACY_ENHANCED_CT)
DIRECTORY = "1.2.840.10008.1.3.10"
DEFLATED = b"1.2.840.10008.1.2.1.99"

PHASE_KEYWORDS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "StackID",
    "AcquisitionTime",
    "SeriesTime",
    "ContentTime",
    "ContrastBolusAgent",
    "NominalPercentageOfCardiacPhase",
    "KVP",
    "ConvolutionKernel",
    "ImageComments",
)
"""What tells images of several phases in one series apart, most telling first."""

ORIGIN_KEYWORDS = ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID")
"""What all images of one volume share; a value of its own for each image is an anonymizer's."""

MIXTURE_KEYWORDS = (
    "ImageType",
    "AcquisitionNumber",
    "ContrastBolusAgent",
    "KVP",
    "ConvolutionKernel",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "PatientPosition",
    "ManufacturerModelName",
)
"""What the images of one volume share in general; where they do not, the user is to know."""

GEOMETRY_KEYWORDS = ("SpacingBetweenSlices", "SliceThickness", "SliceLocation", "ReconstructionDiameter")
"""What says the size of voxels again, beside positions and PixelSpacing."""

PART_KEYWORDS = ("ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber")
"""Which part of a multi-frame image a file is, where it was stored in several."""

FILE = "File"
"""The file of a frame, which may tell phases apart too."""

HEADER_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "SeriesNumber",
    "SeriesDescription",
    "BodyPartExamined",
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PixelSpacing",
    "GantryDetectorTilt",
    "PhotometricInterpretation",
    "RescaleType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *PHASE_KEYWORDS,
    *ORIGIN_KEYWORDS,
    *MIXTURE_KEYWORDS,
    *GEOMETRY_KEYWORDS,
    *PART_KEYWORDS,
)


@dataclass(frozen=True, eq=False)
class CtImage:
    """One CT image: a file, or a frame of a multi-frame file.

    position: (3,) of the first pixel's center in LPS mm. axes: (2, 3) directions along a row and along a column.
    spacing: (2,) mm between rows and between columns. tilt: of the gantry as the header states it, degrees.
    attributes: those that the header has of `PHASE_KEYWORDS`, `ORIGIN_KEYWORDS`, `MIXTURE_KEYWORDS`,
    `GEOMETRY_KEYWORDS`, `PART_KEYWORDS`, RescaleType, Modality and `FILE`. fault: what is missing or wrong, empty if
    nothing.
    """

    path: Path
    frame: int | None
    series: str
    instance: str
    number: int
    series_number: int
    description: str
    body_part: str
    is_localizer: bool
    size: tuple[int, int]
    position: np.ndarray
    axes: np.ndarray
    spacing: np.ndarray
    tilt: float = 0.0
    attributes: dict[str, str] = field(default_factory=dict)
    fault: str = ""

    @property
    def name(self) -> str:
        """How messages name the image."""
        return self.path.name if self.frame is None else f"{self.path.name} (frame {self.frame + 1})"


@dataclass(frozen=True, eq=False)
class DicomContent:
    """What was found: CT images, and how many files hold something else, by what it is."""

    images: list[CtImage]
    others: Counter[str]


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, or is named as DICOM."""
    return path.name.upper() == "DICOMDIR" or path.suffix.lower() in DICOM_SUFFIXES or _start(path)[128:132] == b"DICM"


def holds_dicom(folder: Path) -> bool:
    """Whether any file below a folder begins as DICOM does, or is named as DICOM."""
    return any(True for _ in _candidates(folder))


def read_content(path: Path) -> DicomContent:
    """The CT images in a file, in a folder with all below it, or named by a DICOMDIR.

    Raises InputError, naming the file, when one that is or should be DICOM cannot be read.
    """
    images: list[CtImage] = []
    others: Counter[str] = Counter()
    for file in _files_of(path):
        dataset = read_dataset(file, HEADER_KEYWORDS)
        with naming(file):
            if _is_ct(dataset):
                images.extend(_images_of(file, dataset))
            elif sop_class(dataset) != DIRECTORY:  # a DICOMDIR lies beside the files that it lists
                others[_kind(dataset)] += 1
    return DicomContent(images, others)


def read_dataset(path: Path, keywords: tuple[str, ...] | None = None, pixels: bool = False) -> "Dataset":
    """A file's data set, with the attributes `keywords` alone if given. Raises InputError that names the file."""
    import pydicom

    start = _start(path)
    if not start:
        raise InputError(f"{path} is empty; copy it again from its source.")
    if DEFLATED in start:
        _require_bounded(path)
    has_preamble = start[128:132] == b"DICM"
    with naming(path):
        dataset = pydicom.dcmread(
            path,
            force=not has_preamble,
            stop_before_pixels=not pixels,
            specific_tags=list(keywords) if keywords else None,
        )
        if not sop_class(dataset):
            raise ValueError("no SOP class")
    return dataset


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever pydicom and its decoders raise for damaged files, of many kinds, into an InputError.

    Their warnings, of values that break a rule of the standard, are not shown.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if isinstance(error, MemoryError) and path.stat().st_size > LARGE_FILE_BYTES:
            raise  # of a small file it is a length that makes no sense
        reason = brief(next((line for line in str(error).splitlines() if line.strip()), type(error).__name__))
        raise InputError(f"{path} is cut or damaged ({reason}); copy it again from its source.") from error


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(1024)
    except OSError as error:  # of a read, the system does not say the name
        raise OSError(error.errno, error.strerror, str(path)) from error


def _candidates(folder: Path) -> Iterator[Path]:
    """Files below the folder that are DICOM, or are named so; files that end in .txt, .png and the like are not.

    Files without a size, as in /proc, are not read, which could wait for ever.
    """
    seen = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or not path.is_file():
                continue
            seen += 1
            if seen > MOST_FILES:
                raise InputError(f"{folder} holds more than {MOST_FILES:,} files; give the folder of one study.")
            if path.suffix.lower() in DICOM_SUFFIXES or (path.stat().st_size and _starts_as_dicom(_start(path))):
                yield path


def _starts_as_dicom(start: bytes) -> bool:
    """With the usual preamble, or, as some archives write, with an element of group 2 or 8 at once."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 132:
        return False
    group, element = struct.unpack("<HH", start[:4])
    return (group, element) in ((0x0002, 0x0000), (0x0002, 0x0001), (0x0002, 0x0010)) or (
        group == 0x0008 and element <= 0x0018
    )


def _require_bounded(path: Path) -> None:
    """Refuse a deflated file that would fill the memory (1 MB may hold 1 GB)."""
    with path.open("rb") as stream:
        stream.seek(132)
        content = stream.read()
    # The file meta information is not deflated; its length is that of its first element.
    length = struct.unpack("<I", content[8:12])[0] + 12 if len(content) >= 12 else 0
    inflater, rest, total = zlib.decompressobj(-zlib.MAX_WBITS), content[length:], 0
    try:
        while rest and not inflater.eof:
            total += len(inflater.decompress(rest, 2**20))
            rest = inflater.unconsumed_tail
            if total > LARGEST_INFLATED_BYTES:
                raise InputError(f"{path} holds more than {LARGEST_INFLATED_BYTES / 1e9:.0f} GB; it was not read.")
    except zlib.error as error:
        raise InputError(f"{path} is cut or damaged ({error}); copy it again from its source.") from error


def _files_of(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return _candidates(path)
    if path.name.upper() != "DICOMDIR":
        return [path]
    listed = list(_listed(path))
    missing = [file for file in listed if not file.is_file()]
    if missing:
        raise InputError(
            f"{path} lists {len(listed)} files, of which {len(missing)} are not there (first: {missing[0]}); "
            "copy the whole disc, or give a folder of slices."
        )
    return listed


def _listed(directory: Path) -> Iterator[Path]:
    folder = directory.resolve().parent
    for record in read_dataset(directory).get("DirectoryRecordSequence") or ():
        parts = record.get("ReferencedFileID")
        if not parts:
            continue
        path = folder.joinpath(*([parts] if isinstance(parts, str) else map(str, parts)))
        if not path.resolve().is_relative_to(folder):
            raise InputError(f"{directory} lists a file outside its folder ({path}); it was not read.")
        # Names on a disc are in capitals; copies often are not.
        lower = folder.joinpath(*(part.lower() for part in path.relative_to(folder).parts))
        yield lower if not path.exists() and lower.exists() else path


def sop_class(dataset: "Dataset") -> str:
    """What kind of object a data set is; empty where neither it nor the header of its file says so."""
    return str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")


def _is_ct(dataset: "Dataset") -> bool:
    """CT images, and images of modality CT under another class that state where they lie."""
    if sop_class(dataset) in (CT_IMAGE, *MULTI_FRAME_CT):
        return True
    return str(dataset.get("Modality", "")) == "CT" and "ImagePositionPatient" in dataset and "Rows" in dataset


def _kind(dataset: "Dataset") -> str:
    modality = str(dataset.get("Modality", "") or "")
    if modality == "CT":
        return "CT pages without a position (dose report or picture)"
    return brief(modality or sop_class(dataset), LONGEST_LABEL)


def _images_of(path: Path, dataset: "Dataset") -> Iterator[CtImage]:
    if "Rows" not in dataset:
        raise InputError(f"{path} breaks off in its header: it is cut; copy it again from its source.")
    if sop_class(dataset) not in MULTI_FRAME_CT:
        yield _image(path, None, dataset)
        return
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not frames or len(frames) != _integer(dataset, "NumberOfFrames"):
        raise InputError(f"{path} does not describe each of its frames; export the series again.")
    for number in range(len(frames)):
        yield _image(path, number, dataset)


def functional_groups(dataset: "Dataset", frame: int | None) -> list["Dataset"]:
    """Where attributes of an image stand, nearest first: groups of its frame, groups shared by all, the data set."""
    if frame is None:
        return [dataset]
    per_frame, shared = dataset.PerFrameFunctionalGroupsSequence, dataset.get("SharedFunctionalGroupsSequence")
    return [*_groups(per_frame[frame]), *_groups(shared[0] if shared else None), dataset]


def _groups(item: "Dataset | None") -> list["Dataset"]:
    """The first item of each functional group."""
    return [] if item is None else [element.value[0] for element in item if element.VR == "SQ" and element.value]


def _image(path: Path, frame: int | None, dataset: "Dataset") -> CtImage:
    places = functional_groups(dataset, frame)
    faults: list[str] = []
    position = _numbers(places, "ImagePositionPatient", 3, faults)
    axes = _numbers(places, "ImageOrientationPatient", 6, faults).reshape(2, 3)
    spacing = _numbers(places, "PixelSpacing", 2, faults)
    if not faults and np.abs(axes @ axes.T - np.eye(2)).max() > 1e-2:
        faults.append("row and column directions that are not at right angles (ImageOrientationPatient)")
    if not faults and spacing.min() <= 0:
        faults.append("a pixel size that is not positive (PixelSpacing)")
    size = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    if min(size) < 1:
        faults.append("no image size (Rows, Columns)")
    if _integer(dataset, "SamplesPerPixel", 1) != 1 or "PALETTE" in str(dataset.get("PhotometricInterpretation")):
        faults.append("color pixels")
    if frame is None and _integer(dataset, "NumberOfFrames", 1) > 1:
        faults.append("several frames (NumberOfFrames), of which it does not say where they lie")
    return CtImage(
        path,
        frame,
        series=str(dataset.get("SeriesInstanceUID", "") or path.parent),
        instance=str(dataset.get("SOPInstanceUID", "")),
        number=_integer(dataset, "InstanceNumber") if frame is None else frame + 1,
        series_number=_integer(dataset, "SeriesNumber"),
        description=brief(dataset.get("SeriesDescription", "") or "", LONGEST_LABEL),
        body_part=brief(dataset.get("BodyPartExamined", "") or "", LONGEST_LABEL).upper(),
        is_localizer="LOCALIZER" in _words(_find(places, "FrameType") or dataset.get("ImageType")),
        size=size,
        position=position,
        axes=axes,
        spacing=spacing,
        tilt=float(_numbers([dataset], "GantryDetectorTilt", 1, [])[0]),
        attributes=_attributes(places) | ({} if frame is None else {FILE: path.name}),
        fault=faults[0] if faults else "",
    )


def _attributes(places: list["Dataset"]) -> dict[str, str]:
    keywords = (
        *PHASE_KEYWORDS,
        *ORIGIN_KEYWORDS,
        *MIXTURE_KEYWORDS,
        *GEOMETRY_KEYWORDS,
        *PART_KEYWORDS,
        "RescaleType",
        "Modality",
    )
    found = {keyword: _text(_find(places, keyword)) for keyword in keywords}
    if "PatientName" in found:  # one name is written in many ways
        found["PatientName"] = "".join(filter(str.isalnum, found["PatientName"])).casefold()
    return {keyword: text for keyword, text in found.items() if text}


def _text(value: Any) -> str:
    """A value such that equal ones have equal texts: 1 and 1.0 are written alike."""
    if isinstance(value, float):
        return f"{value:g}"
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return "\\".join("" if one is None else str(one).strip() for one in listed)


def _find(places: list["Dataset"], keyword: str) -> Any:
    return next((place[keyword].value for place in places if keyword in place), None)


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(word) for word in value or ()]


def _numbers(places: list["Dataset"], keyword: str, count: int, faults: list[str]) -> np.ndarray:
    """Finite numbers of an attribute; NaN and a fault when there are none."""
    try:
        value = _find(places, keyword)
        listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        numbers = np.array([float(number) for number in listed], float) if value is not None else np.empty(0)
    except (ValueError, TypeError):
        numbers = np.empty(0)
    if numbers.shape == (count,) and np.isfinite(numbers).all() and np.abs(numbers).max() < 1e6:
        return numbers
    faults.append(f"no usable {keyword}")
    return np.full(count, np.nan)


def _integer(dataset: "Dataset", keyword: str, default: int = 0) -> int:
    try:
        value = dataset.get(keyword)
        return int(value) if value is not None else default
    except (ValueError, TypeError, OverflowError):
        return default
