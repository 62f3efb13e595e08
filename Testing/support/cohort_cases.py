"""Small CTs for tests of many, and the hand-made student that finds a liver in each."""

import csv
from pathlib import Path

import numpy as np
import pytest

from LiverGTANLib.standalone import command_line
from support import band_student
from support.volumes import write_image

LIVER_ML = 332
"""Of 8 x 12 x 16 voxels of 0.216 mL, with a stretch of 1."""


def write_ct(path: Path, stretch: float = 1.0, liver: bool = True) -> Path:
    """A block of 110 HU, unless left out, in soft tissue, fat and air; all of it stretched, its volume by the cube."""
    hu = np.random.default_rng(0).normal(20, 8, (16, 28, 30))
    hu[:, :4] -= 120
    hu[:, :, :4] = -1000
    if liver:
        hu[4:12, 8:20, 8:24] = 110
    return write_image(path, hu.round().astype(np.int16), 6.0 * stretch)


@pytest.fixture(scope="session")
def bandStudent(tmp_path_factory) -> Path:
    return band_student.save(tmp_path_factory.mktemp("student"), "band", temperature=0.5)


def segment(student: Path, *arguments) -> int:
    """Exit status of the command line."""
    words = ["segment", "--engine", "numpy", "--student", student, *arguments]
    return command_line.main([str(word) for word in words])


def rowsOf(folder: Path) -> dict[str, dict[str, str]]:
    """Of the table, by id."""
    with (folder / "volumes.csv").open(newline="", encoding="utf-8") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}
