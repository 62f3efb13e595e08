"""Which CTs a command line asks for: files, folders with all below them, and lists of cases (CSV)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.volume import InputError
from ..dicom.files import is_dicom
from ..image_files import INPUT_SUFFIXES, OUTPUT_SUFFIXES, suffix_of
from .case_list import is_case_list, read_case_list

MASK_SUFFIX = OUTPUT_SUFFIXES[0]


@dataclass(frozen=True)
class CohortCase:
    """One CT. id: given by a list, empty to be named after its file. error: why it cannot be read, empty if unknown."""

    path: Path
    id: str = ""
    series: int | None = None
    error: str = ""

    @property
    def input(self) -> str:
        """Its absolute path; links in it stay links."""
        return os.path.abspath(self.path)


def find_cases(inputs: list[Path], output: Path) -> tuple[list[CohortCase], int]:
    """The cases that the inputs stand for in their order, each once, and how many were given again.

    A folder stands for every image below it and for every folder below it that holds DICOM files; nothing of the output
    folder is an input. Raises InputError with a sentence for a list that is not clear, and where masks would lie among
    the inputs.
    """
    found = [case for path in inputs for case in _cases_of(path, output)]
    single = {(case.input, case.id.casefold(), case.series): case for case in reversed(found)}
    cases = list(reversed(single.values()))
    return cases, len(found) - len(cases)


def _cases_of(path: Path, output: Path) -> Iterator[CohortCase]:
    if is_case_list(path):
        for row in read_case_list(path):
            yield CohortCase(row.path, row.id, row.series)
    elif path.is_dir():
        if output.exists() and output.samefile(path):
            raise InputError(f"{output} holds the inputs; give another folder for the masks.")
        below = list(_below(path, output))
        yield from below or [CohortCase(path)]  # which then says that there is nothing in it
    else:
        yield CohortCase(path)


def _below(top: Path, output: Path) -> Iterator[CohortCase]:
    """The images and DICOM folders of a folder. Folders that are links are followed, each once."""
    unreadable: list[CohortCase] = []

    def refuse(error: OSError) -> None:
        reason = f"{error.filename} cannot be read ({error.strerror})."
        unreadable.append(CohortCase(Path(error.filename), error=reason))

    seen = {os.path.realpath(output)}
    for place, folders, names in os.walk(top, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        files = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        yield from (CohortCase(file) for file in files if _is_image(file))
        if directory := next((file for file in files if file.name.upper() == "DICOMDIR"), None):
            folders.clear()  # it lists what lies below
            yield CohortCase(directory)
        elif any(_is_dicom_slice(file) for file in files):
            folders.clear()  # a DICOM folder is read with all below it
            yield CohortCase(Path(place))
    yield from unreadable


def _is_image(file: Path) -> bool:
    """Masks of Slicer and of this program are not taken for CTs."""
    return suffix_of(file, INPUT_SUFFIXES) is not None and not file.name.lower().endswith(MASK_SUFFIX)


def _is_dicom_slice(file: Path) -> bool:
    try:
        return suffix_of(file, INPUT_SUFFIXES) is None and file.is_file() and is_dicom(file)
    except OSError:  # a file without rights; whatever else lies in the folder decides
        return False
