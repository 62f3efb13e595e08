"""The real CTs with labels good enough to judge by; none of them is trained on.

The sample CTs' references are another network's results, the two from LIVERGTAN_DATA are human-made.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from LiverGTANLib import files
from LiverGTANLib.volume import CtVolume
from training.data import samples

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LIVERGTAN_DATA", ROOT.parent / "shared" / "data")) / "ct"
HUMAN = ("crlm_ct_1100_8bit", "spl_abdominal_atlas")


@dataclass(frozen=True, eq=False)
class RealCase:
    """liver: (K, J, I) bool on the CT's grid."""

    name: str
    ct: CtVolume
    liver: np.ndarray


def load() -> list[RealCase]:
    """The cases that can be had here; says which cannot."""
    return list(load_samples()) + list(_human())


def load_samples() -> Iterator[RealCase]:
    """The sample CT, then the sample DICOM series; says so when they cannot be had."""
    try:
        samples.fetch()
    except samples.SampleError as error:
        print(f"left out: the sample CTs ({error})")
        return
    for name, ct_path, labels in (("sample CT", samples.CT, samples.CT_REFERENCE),
                                  ("sample DICOM", samples.DICOM, samples.DICOM_REFERENCE)):
        ct = files.read_ct(ct_path)
        yield RealCase(name, ct, files.read_labels(labels, ct) == samples.LIVER_LABEL)


def _human():
    for name in HUMAN:
        path = DATA / f"{name}.nii.gz"
        if not path.is_file():
            print(f"left out: {name} (set LIVERGTAN_DATA)")
            continue
        ct = files.read_ct(path)
        yield RealCase(name, ct, files.read_labels(DATA / f"{name}_liver.nii.gz", ct) > 0)
