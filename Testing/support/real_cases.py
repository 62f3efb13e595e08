"""The real CTs with references good enough to judge by, read; see `training.data.unseen`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone import image_files
from training.data import unseen


@dataclass(frozen=True, eq=False)
class RealCase:
    """liver: (K, J, I) bool on the CT's grid."""

    name: str
    ct: CtVolume
    liver: np.ndarray


def load() -> list[RealCase]:
    """The cases that can be had here; says which cannot."""
    return list(_read(unseen.found()))


def load_samples() -> Iterator[RealCase]:
    """The sample CT, then the sample DICOM series; says so when they cannot be had."""
    return _read(unseen.sample_cases())


def _read(found: Iterable[unseen.Files]) -> Iterator[RealCase]:
    for ct_path, mask_path, label in found:
        ct = image_files.read_ct(ct_path)
        values = image_files.read_labels(mask_path, ct)
        yield RealCase(ct.name, ct, values > 0 if label is None else values == label)
