"""How well scans of a wrong length are told from scans as they are: the figures of `core.proportion_check`.

On every CT of the data folder and the samples, as it is and with slices nearer to each other or farther apart than
they were: how many draw the finding, by student. Then the same where the weights are fitted to the CTs of other
patients alone, and the weights that fit all.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from LiverGTANLib.core import segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.proportion_check import (
    TOO_LONG,
    TOO_SHORT,
    body_ratio,
    check_proportions,
    preference,
    shows_length,
)
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone.image_files import read_ct
from support import real_cases
from training.paths import data_folder

FACTORS = (0.5, 2 / 3, 1.0, 1.5, 2.0)
MASK = re.compile(r"_liver(_pseudo)?\.nii\.gz$")
SAME_PATIENT = {"msd_liver_06_to_10": re.compile(r"msd_liver_(0[6-9]|10)"), "hcc_009": re.compile("hcc_tace_seg_009")}


@dataclass(frozen=True)
class Measured:
    """A CT with slices `factor` times as far apart. body, preference: None where there is too little to go by."""

    patient: str
    factor: float
    told: bool
    body: float | None
    preference: float | None

    @property
    def parts(self) -> list[float]:
        """What the weights stand before."""
        return [1.0, self.body or 0.0, self.preference or 0.0]


def scans() -> Iterator[tuple[str, CtVolume]]:
    """Name and CT: all of the data folder, with and without a liver, and the samples."""
    for path in sorted((data_folder() / "ct").glob("*.nii.gz")):
        if not MASK.search(path.name) or path.name.endswith("_no_liver.nii.gz"):
            yield path.name.removesuffix(".nii.gz"), read_ct(path)
    for case in real_cases.load_samples():
        yield case.name, case.ct


def measure(name: str, ct: CtVolume, factor: float, engine: NumpyEngine) -> Measured:
    """The check on one scan, and what it goes by."""
    ct = CtVolume(ct.hu, np.diag([1.0, 1.0, factor, 1.0]) @ ct.ijk_to_ras, name)
    analysis = segmenter.analyze(ct, engine, checked=True)
    patient = next((key for key, names in SAME_PATIENT.items() if names.match(name)), name)
    body = body_ratio(analysis.image, analysis.spacing_mm)
    usable = body is not None and shows_length(analysis)
    return Measured(
        patient,
        factor,
        bool(check_proportions(analysis, engine)),
        body if usable else None,
        preference(analysis, engine) if usable else None,
    )


def fitted(measured: list[Measured]) -> np.ndarray:
    """Weights by least squares."""
    usable = [one for one in measured if one.body is not None]
    parts = np.array([one.parts for one in usable])
    return np.linalg.lstsq(parts, np.log2([one.factor for one in usable]), rcond=None)[0]


def estimates_for_the_left_out(measured: list[Measured]) -> Iterator[tuple[float, float]]:
    """Factor and estimated log2 of each, by weights that its patient had no part in."""
    for patient in sorted({one.patient for one in measured}):
        weights = fitted([one for one in measured if one.patient != patient])
        for one in measured:
            if one.patient == patient and one.body is not None:
                yield one.factor, float(np.dot(weights, one.parts))


def main() -> None:
    cts = list(scans())
    for name in weight_file.available():
        engine = NumpyEngine(weight_file.load(name))
        measured = [measure(*scan, factor, engine) for scan in cts for factor in FACTORS]
        left_out = list(estimates_for_the_left_out(measured))
        print(f"{name}, {len(measured) // len(FACTORS)} CTs")
        for factor in FACTORS:
            here = [one for one in measured if one.factor == factor]
            others = np.array([estimate for one, estimate in left_out if one == factor])
            print(
                f"slices {factor:.2f} times as far apart: told of {sum(one.told for one in here)}, nothing to go by "
                f"in {sum(one.body is None for one in here)}; with weights of other patients {others.min():.2f} to "
                f"{others.max():.2f}, beyond a limit in "
                f"{np.count_nonzero((others <= TOO_SHORT) | (others >= TOO_LONG))}.",
                flush=True,
            )
        print(f"weights that fit all: {np.round(fitted(measured), 2).tolist()}")


if __name__ == "__main__":
    main()
