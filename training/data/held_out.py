"""The held-out cases: real CTs that nothing is trained on and that every table is measured on. The one list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training.data import samples
from training.data.cases import Case
from training.paths import DATA_VARIABLE, data_folder

CONSTANTS = "constants of corrective clicks and of the guided filter"
FIT = "validation of training, fit of the temperature and of what is added to the logits"
DESIGN = "choice of the design and its grid"
SEEN = "trial of what is added to the logits"


@dataclass(frozen=True)
class HeldOutCase:
    """A held-out CT.

    reference: who made its mask. watched: what was chosen while looking at it; empty when nothing was.
    in_samples: part of the sample data that anyone can download; the others lie in the data folder.
    """

    name: str
    origin: str
    license: str
    reference: str
    watched: str = ""
    in_samples: bool = False

    @property
    def case(self) -> Case:
        """Its files, whether or not they are here."""
        if self.in_samples:
            files = {Case(*pair).name: pair for pair in samples.CASES}
            return Case(*files[self.name], samples.LIVER_LABEL)
        ct, mask = (data_folder() / "ct" / f"{self.name}{ending}.nii.gz" for ending in ("", "_liver"))
        return Case(ct, mask)


HELD_OUT = (
    HeldOutCase(
        "example_ct",
        "TotalSegmentator 2.13.0 source archive, tests/reference_files",
        "Apache-2.0",
        "another network's output (TotalSegmentator), not a radiologist's",
        f"{CONSTANTS}, {SEEN}",
        in_samples=True,
    ),
    HeldOutCase(
        "example_ct_dicom",
        "TotalSegmentator 2.13.0 source archive, tests/reference_files",
        "Apache-2.0",
        "another network's output (TotalSegmentator), not a radiologist's",
        f"{CONSTANTS}, {SEEN}",
        in_samples=True,
    ),
    HeldOutCase(
        "crlm_ct_1100_8bit",
        "TCIA Colorectal-Liver-Metastases CRLM-CT-1100, HU rebuilt from 8 bits",
        "CC BY 4.0",
        "human-corrected, liver and tumors together",
        f"{FIT}, {DESIGN}, {CONSTANTS}",
    ),
    *(
        HeldOutCase(
            f"msd_liver_{number}",
            f"Medical Segmentation Decathlon Task03_Liver (LiTS training case), liver_{int(number)}; 8-bit, "
            "HU clipped to -160..240, slices with liver only",
            "CC BY-SA 4.0",
            "expert, lesions included",
            watched,
        )
        for number, watched in (
            ("05", f"{FIT}, {DESIGN}, {CONSTANTS}"),
            ("12", f"validation of training, {DESIGN}, {SEEN}"),
        )
    ),
)
BY_NAME = {one.name: one for one in HELD_OUT}
HUMAN_LABELLED = tuple(one.name for one in HELD_OUT if not one.in_samples)
"""Those with a reference by people, the measure of accuracy; they lie in the data folder."""


def cases(report: Callable[[str], None] = print) -> list[Case]:
    """The held-out cases that are here or can be downloaded; `report` gets a sentence for those that cannot."""
    return [*sample_cases(report), *human_labelled_cases(report)]


def sample_cases(report: Callable[[str], None] = print) -> list[Case]:
    """The sample CT and the sample DICOM series."""
    try:
        samples.fetch()
    except samples.SampleError as error:
        report(f"Left out: the two sample CTs. {error}")
        return []
    return [one.case for one in HELD_OUT if one.in_samples]


def human_labelled_cases(report: Callable[[str], None] = print) -> list[Case]:
    """Those of the data folder."""
    found = []
    for name in HUMAN_LABELLED:
        case = BY_NAME[name].case
        if case.ct_path.is_file() and case.mask_path.is_file():
            found.append(case)
        else:
            report(
                f"Left out: {name}, which is not below {data_folder()}; set {DATA_VARIABLE} to the folder that has it."
            )
    return found


def reference_maker(name: str) -> str:
    """Who made the mask of a case; "not stated" for one that is not in the list."""
    return BY_NAME[name].reference if name in BY_NAME else "not stated"
