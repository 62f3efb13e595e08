"""What `evaluate` says of references that cannot be those of the CT's liver."""

import numpy as np
import pytest

from LiverGTANLib.standalone.nifti import write_nifti
from training.data.cases import Case
from training.evaluation.evaluate import against_reference

MATRIX = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.mark.parametrize(
    "reference, words",
    [
        (lambda liver: liver, ()),
        (lambda liver: liver[:, :, ::-1], ("mirrored", "is this the reference of this CT?")),
        (np.zeros_like, ("empty", "Dice of 0")),
    ],
)
def test_a_reference_that_lies_on_air_or_is_empty_is_told(tmp_path, reference, words):
    hu = np.full((50, 50, 60), -1000, np.int16)
    hu[:, 5:45, :30] = 50
    k, j, i = np.ogrid[:50, :50, :60]
    liver = ((k - 25) / 20) ** 2 + ((j - 25) / 18) ** 2 + ((i - 16) / 12) ** 2 < 1
    hu[liver] = 110
    mask = reference(liver).astype(np.uint8)
    write_nifti(tmp_path / "ct.nii.gz", hu, MATRIX)
    write_nifti(tmp_path / "liver.nii.gz", mask, MATRIX)
    said = against_reference(Case(tmp_path / "ct.nii.gz", tmp_path / "liver.nii.gz"))
    assert len(said) == bool(words) and all(word in said[0] for word in words)
