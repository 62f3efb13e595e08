"""The real CTs with references good enough to judge by, read; see `training.data.held_out`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from LiverGTANLib.core.volume import CtVolume
from training.data import held_out
from training.data.cases import Case
from training.paths import DATA_VARIABLE, data_folder

NOT_COUNTED = ("spl_abdominal_atlas",)
"""Its label is about a slice off."""


@dataclass(frozen=True, eq=False)
class RealCase:
    """liver: (K, J, I) bool on the CT's grid."""

    name: str
    ct: CtVolume
    liver: np.ndarray


def load() -> list[RealCase]:
    """The cases that can be had here; says which cannot."""
    return list(map(read, held_out.cases()))


def load_samples() -> Iterator[RealCase]:
    """The sample CT, then the sample DICOM series; says so when they cannot be had."""
    return map(read, held_out.sample_cases())


def expert_labelled(samples: bool = False) -> list[Case]:
    """Every CT of the data folder whose liver was labelled by people, trained on or not, by name; then the samples.

    Says what is missing.
    """
    found = []
    for mask in sorted((data_folder() / "ct").glob("*_liver.nii.gz")):
        case = Case(mask.with_name(mask.name.replace("_liver.nii.gz", ".nii.gz")), mask)
        if case.ct_path.is_file() and case.name not in NOT_COUNTED:
            found.append(case)
    if not found:
        print(f"No expert-labelled CT is below {data_folder()}; set {DATA_VARIABLE} to the folder that has them.")
    return [*found, *held_out.sample_cases()] if samples else found


def read(case: Case) -> RealCase:
    return RealCase(case.name, case.ct, case.mask)
