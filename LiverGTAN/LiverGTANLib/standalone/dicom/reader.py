"""A CT from DICOM: a folder with one series or more, a multi-frame file, or a DICOMDIR."""

from dataclasses import dataclass
from pathlib import Path

from ...core.volume import CtVolume
from . import series
from .files import CtImage, read_content
from .pixels import read_hu


@dataclass(frozen=True, eq=False)
class DicomCt:
    """A CT with the images it came from, in the order of its slices, and what is to be told about the choice."""

    ct: CtVolume
    images: list[CtImage]
    notes: list[str]


def read_dicom(path: Path, number: int | None = None) -> DicomCt:
    """The CT volume in a folder (with all folders below it), a DICOM file or a DICOMDIR.

    number: which one, as the error lists them when there are several.
    Raises InputError with a sentence that names the fault and the file.
    """
    choice = series.choose(read_content(path), path, number)
    images = choice.stack.images
    return DicomCt(CtVolume(read_hu(images), choice.stack.ijk_to_ras, path.name), images, choice.notes)
