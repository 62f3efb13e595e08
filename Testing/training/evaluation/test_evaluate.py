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


@pytest.mark.parametrize("voxels, is_told", [(0, False), (0.45, True)])
def test_a_reference_beside_the_grid_is_told(tmp_path, caplog, voxels, is_told):
    liver = np.zeros((20, 30, 40), np.uint8)
    liver[5:15, 8:20, 10:30] = 1
    beside = MATRIX.copy()
    beside[2, 3] = 3 * voxels
    write_nifti(tmp_path / "ct.nii.gz", np.int16(100) * liver, MATRIX)
    write_nifti(tmp_path / "liver.nii.gz", liver, beside)
    assert Case(tmp_path / "ct.nii.gz", tmp_path / "liver.nii.gz").mask.sum() == liver.sum()
    assert ("lies 0.45 voxels beside the CT's grid" in caplog.text) == is_told
