"""Does the body lie as the file says? The network is asked again for mirrored copies of the scan, and, where the
outline of the body is not as it should be, for copies with other axes.

It has learned that the liver lies on the right, in front and above; in a scan whose axes are stored wrongly it finds
less, or is less sure. Measured on 27 CTs with liver, the two sample CTs among them: the sum of positive logits of the
best mirrored copy was at most 1.02 times that of the scan as it is, with both students. Of scans stored mirrored in
each of the seven ways, 183 of 189 (student-100k) and 172 of 189 (student-30k) had a copy among the first four with at
least 1.15 times as much (`make benchmark-orientation`).
"""

import itertools
from dataclasses import dataclass

import numpy as np

from .engines.engine import Engine
from .input_checks import Finding
from .postprocess import Analysis
from .volume import median

LEAST_RATIO = 1.15
"""By this factor the score of a mirrored copy must be larger; see above."""

CLEAR_LOG_ODDS, LEAST_CLEAR_ML = 5.8, 600.0
"""Mean calibrated log odds of so large a liver or a larger one from which a scan lies as it should, and is not looked
at in any mirrored copy. Chosen on the 27 CTs with student-100k: 24 have that, and none does when it is stored mirrored
in one of the seven ways (at most 5.4, and 5.5 with less liver). Of ten other CTs with tumors, effusions or part of a
liver three have it, and none stored mirrored (at most 5.5). Student-30k is never so sure."""

IN_PLACE_LOG_ODDS, LEAST_ANTERIOR_MM, LEAST_RIGHT_MM = 4.1, 10.0, 45.0
"""The same where what it takes for liver lies so far before the middle of the body and to the right of it, as the mean
places of their cells go. Chosen on the 27 CTs: student-100k is clear about all of them then, student-30k about 21.
Stored mirrored, livers that are so large and appear in that place have at most 3.9 and 3.6; but for one CT, mirrored
from head to feet, which has 4.5 and of which no copy tells it. So scans stored mirrored are told as often as before."""

LEAST_LIVER_ML = 150.0
"""Less than this in the mirrored copy is no liver to go by; a newborn's has about 120 mL."""

AXIS_WORDS = ("head and feet", "front and back", "left and right")
"""What is exchanged when the axes S, A, R of the model grid are turned round."""

FIRST_MIRRORINGS = ((2,), (1,), (0,), (1, 2))
OTHER_MIRRORINGS = ((0, 2), (0, 1), (0, 1, 2))


EVERY_MIRRORING = ((), *FIRST_MIRRORINGS, *OTHER_MIRRORINGS)

TISSUE = -0.9
"""Scaled value above which a cell is of the body and not of air, lung or their borders: -140 HU."""

CUT_CELLS = 3
"""So far within the outermost cells of a body it is looked at whether it goes on beyond."""

CUT_SHARE, UNCUT_SHARE = 0.5, 0.6
"""Least area there, in parts of the median, for a body to go on at both ends; and the largest part of it that the ends
from head to feet may have for the axes to be suspected."""

LARGEST_TURN_DEGREES, MOST_ROUND, LARGEST_SIDE = 15.0, 0.95, 0.3
"""A body that lies turned about its long axis by more draws a finding, unless its slices are rounder (depth over width,
as standard deviations along their own axes), or one of its outermost planes has so large a part of the largest area
that the field of view cuts it there. Of the 39 CTs of the data folder and the samples none has more than 8 degrees;
turned by 30 all had more than 22."""

LARGEST_DEPTH = 1.0
"""Of a body, front to back, in parts of its width, both as standard deviations of its cells: 0.91 at most."""


def check_orientation(analysis: Analysis, engine: Engine) -> list[Finding]:
    """A finding when the body looks mirrored, turned round, or stored with its axes in another order.

    No run of the network where it is sure already (`CLEAR_LOG_ODDS`); otherwise four, seven if the body looks mirrored;
    up to 16 more if its outline is that of other axes.
    """
    return _check_axes(analysis, engine) or _check_mirroring(analysis, engine) or _check_turn(analysis.image)


def _check_axes(analysis: Analysis, engine: Engine) -> list[Finding]:
    """The outline is telling enough for the network only to have to agree."""
    orders = suspected_orders(analysis.image)
    copies = [(mirrored_copy(analysis, engine, axes, order), order) for order in orders for axes in EVERY_MIRRORING]
    if not copies:
        return []
    best, order = max(copies, key=lambda copy: copy[0].score)
    if best.liver_ml < LEAST_LIVER_ML or best.score <= liver_score(analysis.logits):
        return []
    words = ", and ".join(
        f"{AXIS_WORDS[true]} lie where {AXIS_WORDS[axis]} should" for true, axis in enumerate(order) if true != axis
    )
    return [
        Finding(
            False,
            f"The body looks as if its axes were exchanged ({words}): so the network sees a liver best. Compare the "
            "scan with the patient; if its axes are wrong, correct them and segment again.",
        )
    ]


def suspected_orders(image: np.ndarray) -> list[tuple[int, ...]]:
    """Other orders of the axes that the outline of the body speaks for; empty for one that lies as it should.

    A body runs through the scan from head to feet, and is wider than deep. order: the axes of the image (D, H, W) that
    would be S, A and R.
    """
    inside = image > TISSUE
    if not inside.any():
        return []
    areas = _areas(inside)
    ends = [_least_end(along) for along in areas]
    through = int(np.argmax(ends))
    if ends[through] > CUT_SHARE and ends[0] < UNCUT_SHARE * ends[through]:
        return [order for order in itertools.permutations(range(3)) if order[0] == through]
    return [(0, 2, 1)] if _spread(areas[1]) > LARGEST_DEPTH * _spread(areas[2]) else []


def _areas(inside: np.ndarray) -> list[np.ndarray]:
    """Cells of the body in each plane across each axis."""
    # Bytes are added a dozen times as fast as wider numbers, and hold the sum of so many.
    columns = np.zeros(inside.shape[1:], int)
    for part in range(0, len(inside), 255):
        columns += inside[part : part + 255].view(np.uint8).sum(axis=0, dtype=np.uint8)
    return [np.array([np.count_nonzero(plane) for plane in inside]), columns.sum(axis=1), columns.sum(axis=0)]


def _least_end(areas: np.ndarray) -> float:
    """The smaller of the areas near the two ends of the body, in parts of the median one."""
    areas = np.trim_zeros(areas)
    near = min(CUT_CELLS, (len(areas) - 1) // 2)
    return float(min(areas[near], areas[-1 - near]) / median(areas))


def _middle(areas: np.ndarray) -> float:
    return float(np.average(np.arange(len(areas)), weights=areas))


def _spread(areas: np.ndarray) -> float:
    return float(np.sqrt(np.average((np.arange(len(areas)) - _middle(areas)) ** 2, weights=areas)))


def _check_turn(image: np.ndarray) -> list[Finding]:
    degrees = turn_degrees(image)
    if abs(degrees) <= LARGEST_TURN_DEGREES:
        return []
    return [
        Finding(
            False,
            f"The body looks turned by about {abs(degrees):.0f} degrees about its length: if the patient did not lie "
            "so, correct the scan's directions; the network has seen few such bodies, look at the mask closely.",
        )
    ]


def _largest_end(areas: np.ndarray) -> float:
    """The larger of the areas at the two ends of the body, in parts of the largest one."""
    areas = np.trim_zeros(areas)
    return float(max(areas[0], areas[-1]) / areas.max())


def turn_degrees(image: np.ndarray) -> float:
    """Angle between the width of the body in its slices and the axis R; 0 where it is too round or cut to say so."""
    inside = (image > TISSUE)[::2, ::2, ::2]
    rows, columns = np.count_nonzero(inside, axis=2), np.count_nonzero(inside, axis=1)
    cells, h, w = rows.sum(axis=1), np.arange(rows.shape[1]), np.arange(columns.shape[1])
    if not cells.any() or max(map(_largest_end, (rows.sum(axis=0), columns.sum(axis=0)))) > LARGEST_SIDE:
        return 0.0
    filled = np.maximum(cells, 1)
    hh = (rows @ h**2 - (rows @ h) ** 2 / filled).sum()
    ww = (columns @ w**2 - (columns @ w) ** 2 / filled).sum()
    hw = ((inside @ w) @ h - (rows @ h) * (columns @ w) / filled).sum()
    narrow, wide = np.linalg.eigvalsh([[hh, hw], [hw, ww]])
    if narrow > MOST_ROUND**2 * wide:
        return 0.0
    return float(np.rad2deg(np.arctan2(2 * hw, ww - hh)) / 2)


def _check_mirroring(analysis: Analysis, engine: Engine) -> list[Finding]:
    as_it_is = measured(analysis, analysis.image, analysis.logits)
    if as_it_is.is_clear:
        return []
    least = LEAST_RATIO * as_it_is.score
    copies = [mirrored_copy(analysis, engine, axes) for axes in FIRST_MIRRORINGS]
    if max(copy.score for copy in copies) <= least:
        return []
    copies += [mirrored_copy(analysis, engine, axes) for axes in OTHER_MIRRORINGS]
    best = max(copies, key=lambda copy: copy.score)
    if best.liver_ml < LEAST_LIVER_ML:
        return []
    words = ", and ".join(AXIS_WORDS[axis] for axis in best.axes)
    return [
        Finding(
            False,
            f"The body looks as if {words} were exchanged: so the network sees a liver best. Compare the scan with the "
            "patient; if its orientation is wrong, correct it and segment again.",
        )
    ]


@dataclass(frozen=True)
class MirroredCopy:
    """What the network finds in a copy of the model grid that is mirrored along some axes, or along none.

    score: see `liver_score`. log_odds: calibrated, mean of what it takes for liver; 0 where that is nothing. is_clear:
    whether the network is so sure of so much liver that this copy lies as a body should.
    """

    axes: tuple[int, ...]
    score: float
    liver_ml: float
    log_odds: float
    is_clear: bool


def mirrored_copy(
    analysis: Analysis, engine: Engine, axes: tuple[int, ...], order: tuple[int, ...] = (0, 1, 2)
) -> MirroredCopy:
    """The network's answer for the copy mirrored along these axes (0: S, 1: A, 2: R), which are first put in order."""
    image = np.ascontiguousarray(np.flip(analysis.image.transpose(order), axes))
    return measured(analysis, image, engine.forward(image), axes)


def measured(analysis: Analysis, image: np.ndarray, logits: np.ndarray, axes: tuple[int, ...] = ()) -> MirroredCopy:
    """The network's answer for a copy of the scan, mirrored along these axes."""
    cells, score = int(np.count_nonzero(logits > 0)), liver_score(logits)
    log_odds, liver_ml = score / max(cells, 1) / analysis.temperature, cells * analysis.spacing_mm**3 / 1000
    is_clear = liver_ml >= LEAST_CLEAR_ML and (
        log_odds >= CLEAR_LOG_ODDS
        or (log_odds >= IN_PLACE_LOG_ODDS and _in_place(image > TISSUE, logits > 0, analysis.spacing_mm))
    )
    return MirroredCopy(axes, score, liver_ml, log_odds, is_clear)


def _in_place(body: np.ndarray, liver: np.ndarray, spacing_mm: float) -> bool:
    """Whether the liver, which has some cells, lies in front in the body, and on the right; (D, H, W) bool."""
    if not body.any():
        return False
    _, anterior, right = (
        spacing_mm * (_middle(liver_areas) - _middle(body_areas))
        for liver_areas, body_areas in zip(_areas(liver), _areas(body))
    )
    return bool(anterior >= LEAST_ANTERIOR_MM and right >= LEAST_RIGHT_MM)


def liver_score(logits: np.ndarray) -> float:
    """How much liver there is and how sure the network is of it: the sum of positive logits."""
    return float(np.maximum(logits, 0).sum())
