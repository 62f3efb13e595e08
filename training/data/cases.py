"""Real CTs with reference masks, read for validation and evaluation by the product's own reader."""

from __future__ import annotations

import filecmp
import itertools
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from LiverGTANLib.core.model_grid import ModelGrid
from LiverGTANLib.core.volume import CtVolume, to_model_grid
from LiverGTANLib.standalone.file_segmentation import reference_offset
from LiverGTANLib.standalone.image_files import read_ct, read_labels, stem_of
from training.data.scans import require_one_liver
from training.errors import UserError
from training.paths import DATA_VARIABLE, data_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One CT (file or DICOM folder) and its reference; liver is `label` in the mask, or the only value above zero."""

    ct_path: Path
    mask_path: Path
    label: int | None = None

    @classmethod
    def parse(cls, text: str) -> Case:
        """From CT=MASK or CT=MASK:LABEL; relative paths that do not exist here are looked up in LIVERGTAN_DATA."""
        ct, _, mask = text.partition("=")
        mask, _, label = mask.partition(":")
        if not mask or (label and not label.isdigit()):
            raise UserError(
                f"'{text}' does not name a case; write CT=MASK or CT=MASK:LABEL, as in ct.nii.gz=seg.nii.gz:5."
            )
        return cls(located(ct), located(mask), int(label) if label else None)

    @property
    def name(self) -> str:
        """That of the CT's file or folder."""
        return stem_of(self.ct_path)

    @cached_property
    def ct(self) -> CtVolume:
        """Raises the product's InputError for an unreadable file."""
        return read_ct(self.ct_path)

    @cached_property
    def mask(self) -> np.ndarray:
        """bool (K, J, I) on the grid of the CT. Raises InputError when it does not lie there, ScanError for a mask of
        several organs of which none is named."""
        values = read_labels(self.mask_path, self.ct)
        if apart := reference_offset(self.ct, self.mask_path):
            self._note(apart)
        found = np.unique(values)
        if self.label is None:
            require_one_liver(found[found > 0], self._note)
            return values > 0
        if self.label not in found and (found > 0).any():
            self._note(f"label {self.label} does not occur in the mask, which counts as empty")
        return values == self.label

    def _note(self, text: str) -> None:
        logger.warning("%s: %s", self.name, text)

    def read(self) -> tuple[CtVolume, np.ndarray]:
        """CT and mask."""
        return self.ct, self.mask


def parse_cases(texts: Iterable[str]) -> list[Case]:
    """`Case.parse` of each. Raises UserError for names that two of them share, as results are stored by name, and for
    two that name one CT, which would count twice."""
    cases = [Case.parse(text) for text in texts]
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"Two of the cases are called {', '.join(twice)}; rename the files of one, or leave it out.")
    for first, second in itertools.combinations(cases, 2):
        if _same_file(first.ct_path, second.ct_path):
            raise UserError(
                f"{first.ct_path} and {second.ct_path} are the same CT, which would count twice; leave one out."
            )
    return cases


def _same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file or folder, or to files of the same bytes."""
    if first.samefile(second):
        return True
    return first.is_file() and second.is_file() and filecmp.cmp(first, second, shallow=False)


def on_model_grid(
    ct: CtVolume, mask: np.ndarray, spacing_mm: float, hu_window: tuple[float, float], multiple: int
) -> tuple[np.ndarray, np.ndarray]:
    """(image in [-1, 1], liver fraction), both (D, H, W) float32; sides are multiples of the network's `multiple`."""
    image, frame = to_model_grid(ct, spacing_mm, hu_window, multiple)
    return image, fraction(mask, frame)


def fraction(mask: np.ndarray, frame: ModelGrid) -> np.ndarray:
    """The share of the mask in every cell of the model grid."""
    return frame.down(mask.astype(np.float32), fill=0.0)


def located(text: str) -> Path:
    """The path as given, or below the shared data folder. Raises UserError when neither exists."""
    path = Path(text)
    below = data_folder() / path
    for candidate in (path, below):
        if candidate.exists():
            return candidate
    raise UserError(f"There is no {path} (nor {below}); give an existing file or set {DATA_VARIABLE}.")
