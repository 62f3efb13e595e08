"""Real CTs: those with a reference, altered one way at a time, and those that show a confounder or no liver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from LiverGTANLib.core.input_checks import check
from LiverGTANLib.core.measurements import voxel_ml
from training.data.cases import Case
from training.data.held_out import HUMAN_LABELLED
from training.evaluation.stress import alterations
from training.evaluation.stress.alterations import Alteration
from training.evaluation.stress.example import Example

TRUNKS = ("acrin_flt_breast_001", "tcga_thca_de_a4ma", "lidc_idri_0001", "lung_pet_ct_dx_a0002_thick")
"""CTs that reach far above or below the liver; their pseudo-label serves to find it."""
NO_LIVER = ("totalsegmentator_s0002_no_liver", "totalsegmentator_s0003_no_liver")
"""CTs of parts of the body without any liver."""
EFFUSION, GIANT_TUMOR = "lidc_idri_0314_effusion", "hcc_tace_seg_009_giant_tumour"
MARGIN_MM = 30.0
"""Chest and pelvis stay this far from the pseudo-label, whose ends may be a slice or two off; chosen on `TRUNKS`."""


def unaltered(example: Example) -> Example:
    """As it is."""
    return example


ALTERED: dict[str, tuple[str, Alteration]] = {
    "none": ("as it is", unaltered),
    "slices of 5 mm": (
        "contiguous slices of 5 mm averaged from its own",
        partial(alterations.thick_slices, thickness_mm=5.0),
    ),
    "slices of 8 mm": (
        "contiguous slices of 8 mm averaged from its own",
        partial(alterations.thick_slices, thickness_mm=8.0),
    ),
    "low dose": ("noise of 40 HU added, with the grain of a soft kernel", partial(alterations.low_dose, sd_hu=40.0)),
    "round field of view": ("only a circle of 260 mm reconstructed", partial(alterations.round_field, radius_mm=130.0)),
    "cropped field of view": (
        "cropped left and right to 160 mm around the liver",
        partial(alterations.narrow, width_mm=160.0),
    ),
    "liver cut at the top": ("without the upper third of the liver", partial(alterations.cut, share=1 / 3, top=True)),
    "liver cut at the bottom": (
        "without the lower third of the liver",
        partial(alterations.cut, share=1 / 3, top=False),
    ),
}
"""Condition -> (what is done to the scan, the function that does it)."""


@dataclass(frozen=True)
class Library:
    """Where real CTs are found: the folder with `ct/` (None: only the given cases), and cases with references."""

    folder: Path | None
    cases: tuple[Case, ...]

    def labelled(self) -> list[Example]:
        """The given cases, and the human-labelled CTs of the folder."""
        cases = [*self.cases, *(self._case(name, "_liver") for name in self._present(HUMAN_LABELLED))]
        once = {case.name: case for case in cases}.values()
        return [Example(case.name, case.ct, case.mask) for case in once]

    def trunks(self) -> Iterator[Example]:
        """Whole trunks, their pseudo-label as liver."""
        for name in self._present(TRUNKS):
            case = self._case(name, "_liver_pseudo")
            yield Example(name, case.ct, case.mask)

    def unlabelled(self, name: str) -> Iterator[Example]:
        """The CT of this name, if it is there."""
        from LiverGTANLib.standalone.image_files import read_ct

        for found in self._present((name,)):
            yield Example(found, read_ct(self._file(found)))

    def livers_absent(self) -> Iterator[Example]:
        """CTs without any liver, with an empty reference."""
        for name in NO_LIVER:
            for example in self.unlabelled(name):
                yield example.of(example.ct.hu, np.zeros(example.ct.shape, bool))

    def _present(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if self._file(name).is_file()] if self.folder else []

    def _file(self, name: str) -> Path:
        return (self.folder or Path()) / "ct" / f"{name}.nii.gz"

    def _case(self, name: str, suffix: str) -> Case:
        return Case(self._file(name), self._file(name + suffix))


def altered(examples: list[Example], change: Alteration) -> Iterator[Example]:
    """The examples after the change: slices can be made thicker only, and what gets too short to be run is left out."""
    thickness = getattr(change, "keywords", {}).get("thickness_mm", np.inf)
    for example in examples:
        if example.ct.spacing[2] <= thickness:
            changed = change(example)
            if not any(finding.blocking for finding in check(changed.ct)):
                yield changed


def without_liver(trunks: list[Example], above: bool) -> Iterator[Example]:
    """The chests (`above`) or pelves, with an empty reference."""
    for trunk in trunks:
        part = alterations.beside_liver(trunk, above, MARGIN_MM)
        if part is not None:
            yield part


def smoothed_hu(example: Example, sd_mm: float = 3.0) -> np.ndarray:
    """HU averaged over noise and texture by a Gaussian: (K, J, I) float32."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(example.ct.hu.astype(np.float32), sd_mm / example.ct.spacing[::-1])


Count = Callable[[Example, np.ndarray], float]
"""From an example and its mask (K, J, I) to mL of something in the mask."""


def ml_between(low_hu: float, high_hu: float) -> Count:
    """mL of the mask whose smoothed HU lie from `low_hu` to below `high_hu`."""

    def count(example: Example, mask: np.ndarray) -> float:
        hu = smoothed_hu(example)
        found = (hu >= low_hu) & (hu < high_hu) & (mask > 0)
        return float(np.count_nonzero(found) * voxel_ml(example.ct.ijk_to_ras))

    return count
