"""The real CTs with references good enough to judge by, read; see `training.data.held_out`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from LiverGTANLib.core.volume import CtVolume
from training.data import held_out
from training.data.cases import Case


@dataclass(frozen=True, eq=False)
class RealCase:
    """liver: (K, J, I) bool on the CT's grid."""

    name: str
    ct: CtVolume
    liver: np.ndarray


def load() -> list[RealCase]:
    """The cases that can be had here; says which cannot."""
    return list(map(_read, held_out.cases()))


def load_samples() -> Iterator[RealCase]:
    """The sample CT, then the sample DICOM series; says so when they cannot be had."""
    return map(_read, held_out.sample_cases())


def _read(case: Case) -> RealCase:
    return RealCase(case.name, case.ct, case.mask)
