"""Does a mask agree with what the bundled student finds in its CT? What speaks against it, with a sentence for each.

Chosen on the 25 CTs with a mask in the data folder (`ct/NAME_liver.nii.gz`, `_liver_pseudo.nii.gz`): there the Dice of
mask and student-100k on the model grid is 0.912 to 0.964, and slices of which they share little follow each other over
3 mm at most. It is 0.57 to 0.68 for halves of these masks along any axis, 0.59 to 0.78 for masks eroded by 10 mm, and
0.29 to 0.73 for those of another scan with the middle in the same place. In 15 drawn bodies it is 0.86 to 0.91.
A student may be wrong, too, on what it has not seen: what is refused here can be accepted by name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from LiverGTANLib.core import proportion_check, segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.input_checks import Finding
from LiverGTANLib.core.measurements import dice
from LiverGTANLib.core.students import DEFAULT_STUDENT
from LiverGTANLib.core.volume import CtVolume
from training.data.mask_checks import longest_row

NOTED_DICE, REFUSED_DICE = 0.88, 0.7
"""Masks eroded by 6 mm lie between them: 0.78 to 0.89. Of a shrunken liver in simulated ascites the student finds one
with 0.64 (`results/stress-100k.md`): the limits are lower than what a good mask has."""
SLICE_DICE, SLICE_CM2 = 0.6, 20.0
"""A slice of which mask and student share less than this, where either has so much; small ones at the ends are left
out."""
NOTED_MM, REFUSED_MM = 10.0, 30.0
"""Length of the slices in a row that share little."""
LEAST_SHIFT_MM, MOST_SHIFT_MM = 5.0, 10.0
NOTED_GAIN, REFUSED_GAIN = 0.01, 0.03
"""Of Dice, when a mask is moved along one axis: on the 25 CTs no move gains anything. Of 101
copies of these masks moved by 4 to 8 mm along an axis, all gain 0.013 to 0.12 when they are moved by 5 mm and more, 95
more than 0.03."""
DIRECTIONS = (("down", "up"), ("back", "to the front"), ("to the left", "to the right"))
"""Of the patient, along the axes S, A, R: against and with them."""
LIVER_ML = segmenter.USUAL_LIVER_ML[0]
"""So much where the mask is empty is worth a note."""


def check_against_student(ct: CtVolume, mask: np.ndarray) -> Iterator[Finding]:
    """What speaks against a mask (K, J, I) of a CT that can be segmented."""
    engine = bundled_engine()
    analysis = segmenter.analyze(ct, engine, checked=True)
    found = segmenter.coarse_mask(analysis).full() > 0
    drawn = analysis.grid.down(mask.astype(np.float32), fill=0.0) > 0.5
    found_ml, drawn_ml = (np.count_nonzero(one) * analysis.spacing_mm**3 / 1000 for one in (found, drawn))
    name = engine.student.name
    if not drawn.any():
        if found_ml >= LIVER_ML:
            yield Finding(False, f"the mask is empty, but {name} finds {found_ml:.0f} mL of liver")
        return
    volumes = f"the mask has {drawn_ml:.0f} mL, {name} finds {found_ml:.0f} mL"
    overlap, length = float(dice(found, drawn)), longest_disagreement_mm(found, drawn, analysis.spacing_mm)
    if overlap < REFUSED_DICE or length >= REFUSED_MM:
        yield Finding(
            True, f"the mask is not the liver that {name} finds ({_facts(overlap, length)}; {volumes}): look at both"
        )
    elif shifted := _shift(found, drawn, analysis.spacing_mm):
        gain, words = shifted
        yield Finding(
            gain > REFUSED_GAIN,
            f"the mask fits better what {name} finds when it is moved by {words} (Dice {overlap + gain:.2f} instead of "
            f"{overlap:.2f}): look whether it is shifted",
        )
    elif overlap < NOTED_DICE or length >= NOTED_MM:
        yield Finding(False, f"look at the mask: {name} finds another border ({_facts(overlap, length)}; {volumes})")
    if ct.spacing.min() < proportion_check.POOLED_MM:  # of larger voxels, as of drawn bodies, the check knows nothing
        yield from proportion_check.check_proportions(analysis, engine)


def _shift(found: np.ndarray, drawn: np.ndarray, spacing_mm: float) -> tuple[float, str] | None:
    """How much the Dice gains when a mask (D, H, W) is moved, and by what; None for less than `LEAST_SHIFT_MM`."""
    least, most = (int(np.ceil(mm / spacing_mm - 1e-6)) for mm in (LEAST_SHIFT_MM, MOST_SHIFT_MM))
    moves = [(axis, way * cells) for axis in range(3) for cells in range(1, most + 1) for way in (-1, 1)]
    scores = {move: float(dice(found, np.roll(drawn, move[1], move[0]))) for move in moves}
    axis, cells = max(scores, key=lambda move: scores[move])
    gain = scores[axis, cells] - float(dice(found, drawn))
    if abs(cells) < least or gain < NOTED_GAIN:
        return None
    return gain, f"{abs(cells) * spacing_mm:.0f} mm {DIRECTIONS[axis][cells > 0]}"


def _facts(overlap: float, length_mm: float) -> str:
    return f"Dice {overlap:.2f}" + (f", hardly any overlap over {length_mm:.0f} mm" if length_mm >= NOTED_MM else "")


@functools.cache
def bundled_engine() -> NumpyEngine:
    """The engine of the default student. Raises StudentError when its file cannot be read."""
    return NumpyEngine(weight_file.load(DEFAULT_STUDENT))


def longest_disagreement_mm(found: np.ndarray, drawn: np.ndarray, spacing_mm: float) -> float:
    """Length of the longest row of slices (axis 0) of which two masks (D, H, W) share little."""
    enough = SLICE_CM2 / (spacing_mm / 10) ** 2
    apart = [
        max(np.count_nonzero(one), np.count_nonzero(other)) > enough and dice(one, other) < SLICE_DICE
        for one, other in zip(found, drawn, strict=True)
    ]
    return longest_row(apart) * spacing_mm
