"""Is the body as long as the voxel size says? A wrong distance of slices or a wrong pixel size draws it out, or presses
it together, and makes the liver larger or smaller.

Over 10 to 20 mm all bodies change less from head to feet than across, by about the same ratio; one that is stored too
long changes less still. The network, which knows livers of the right shape, is then asked for a longer and a shorter
copy of the scan. Together they say by how much a scan is too long: log2 of the factor, right to 0.19 (standard
deviation). Of the 39 CTs, the samples among them, no student calls one too long or too short as it is. With slices
stored 0.6, 0.67 and 1.5 times as far apart as they were, student-100k does so in 26, 23 and 30 of them, student-30k in
26, 19 and 17 (for other factors: `make benchmark-proportions`).

A size that is wrong by a fifth is not told: it shifts the estimate by 0.26 to 0.32, and two thirds of right ones lie
within 0.19. A wrong size in all directions alike changes no proportion.
"""

import functools

import numpy as np

from .engines.engine import Engine
from .input_checks import Finding
from .orientation_check import TISSUE, check_orientation, liver_score
from .postprocess import Analysis
from .volume import AIR

POOLED_MM = 5.0
"""Side of the cells that the scan is averaged in, so that noise and the blur of thick slices matter little."""

DISTANCES_MM = (10.0, 15.0, 20.0)
LEAST_PAIRS = 200
"""Of cells within the body, so far apart; fewer say nothing."""

BODY_ALONE = (-0.85, -2.59)
BODY_AND_NETWORK = (-0.73, -2.00, -0.42)
"""Weights of 1, of the body's ratio and of the network's preference in log2 of the factor: least squares on the 35 CTs
as they are and with slices 0.6, 0.67 and 1.5 times as far apart, with both students."""

LARGEST_PREFERENCE = 0.8
"""A larger one counts as so much: next to no liver is left then, and the logarithm means little."""

WORTH_ASKING = 0.2
"""The network is asked where the body alone makes a scan longer or shorter by more, log2: so for a third of the CTs."""

DRAWN, LARGEST_DRAWN_ML = 2.0, 3000.0
"""A body that alone makes a scan longer by more, log2, with no more liver, is a drawn one, alike from head to feet:
phantoms have 2.2 to 2.4 and 1.3 to 1.6 L. Of three real ones stored 3, 4 and 5 times as long the first have less than
2.0, the others 4.3 L and more."""

TOO_SHORT, TOO_LONG = -0.5, 0.42
"""log2 of the factor from which a scan is called so; see the table of the benchmark."""

AROUND_LIVER_MM = 80.0
"""So much above and below the liver is in the copies, which bounds their size. Chosen: more than the network sees from
one cell."""

LEAST_LIVER_ML, LEAST_CUT_LIVER_ML, CUT_SHARE = 400.0, 1000.0, 0.8
"""A liver with less in view says little of its length, nor does one with less that an end of the scan cuts where it has
this part of its largest area: two halves of a dome, 298 and 722 mL, were the only errors on the CTs."""

MUCH_TOO_SHORT, LEAST_PART_ML = -1.0, 100.0
"""Where the liver says little, because slices too close make it small, too, the body alone says it: log2, with so much
liver. Of 37 CTs of the data folder and the samples one, half a dome, has -0.77 and all others -0.38 and more; with
slices stored three times as close as they were 27 have less than the limit."""


def check_body(analysis: Analysis, engine: Engine) -> list[Finding]:
    """A finding when the body lies otherwise than the scan says, or has another length. Found once for each analysis;
    runs the network again where that takes it."""
    return analysis.cache.findings.get_or_make(
        "body", lambda: check_orientation(analysis, engine) or check_proportions(analysis, engine)
    )


def check_proportions(analysis: Analysis, engine: Engine) -> list[Finding]:
    """A finding when the body looks longer or shorter than its voxel size says; at most two runs of the network, of
    half and of twice the size."""
    length = apparent_length(analysis, engine)
    if not length:
        return []
    return [
        Finding(
            False,
            f"The body looks about {2 ** abs(length):.1f} times too {'long' if length > 0 else 'short'} from "
            "head to feet for its width: compare the distance of slices and the pixel size with the original scan; if "
            "one is wrong, so is the liver's volume.",
        )
    ]


def apparent_length(analysis: Analysis, engine: Engine) -> float:
    """log2 of the factor by which the body is longer than its voxel size says; 0 where that is not sure."""
    body = body_ratio(analysis.image, analysis.spacing_mm)
    if body is None:
        return 0.0
    alone = float(np.dot(BODY_ALONE, [1, body]))
    if not shows_length(analysis):
        return alone if alone < MUCH_TOO_SHORT and analysis.network_volume_ml > LEAST_PART_ML else 0.0
    if abs(alone) < WORTH_ASKING or (alone > DRAWN and analysis.network_volume_ml < LARGEST_DRAWN_ML):
        return 0.0
    together = float(np.dot(BODY_AND_NETWORK, [1, body, preference(analysis, engine)]))
    return 0.0 if TOO_SHORT < together < TOO_LONG or together * alone < 0 else together


def shows_length(analysis: Analysis) -> bool:
    """Whether enough of a liver is in view."""
    areas = (analysis.logits > 0).sum(axis=(1, 2))
    scan = np.flatnonzero((analysis.image > AIR).any(axis=(1, 2)))
    if analysis.network_volume_ml < LEAST_LIVER_ML or not len(scan):
        return False
    ends = max(areas[scan[:3]].max(), areas[scan[-3:]].max())
    return bool(analysis.network_volume_ml >= LEAST_CUT_LIVER_ML or ends < CUT_SHARE * areas.max())


def body_ratio(image: np.ndarray, spacing_mm: float) -> float | None:
    """log of how much the body changes from head to feet, over what it does across; None where too little is in view.

    image: (D, H, W), axes S, A, R, scaled to [-1, 1].
    """
    size = max(1, round(POOLED_MM / spacing_mm))
    values, inside = _pooled(image, size)
    changes = [
        [_change(values, inside, axis, max(1, round(distance / (size * spacing_mm)))) for distance in DISTANCES_MM]
        for axis in range(3)
    ]
    if np.isnan(changes).any():
        return None
    along, front, side = np.log(np.maximum(changes, 1e-6))
    return float((along - (front + side) / 2).mean())


def _pooled(image: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of cubes of cells, and whether all cells of a cube are tissue."""
    whole = image[tuple(slice(n // size * size) for n in image.shape)]
    return _over_cubes(np.add, whole, size) / np.float32(size**3), _over_cubes(np.minimum, whole, size) > TISSUE


def _over_cubes(combine: np.ufunc, values: np.ndarray, size: int) -> np.ndarray:
    """All cells of each cube combined, axis by axis: numpy's own reduction over three axes takes ten times as long."""
    for axis in range(3):
        along = np.moveaxis(values, axis, 0)
        parts = (along[first::size] for first in range(size))
        values = np.moveaxis(functools.reduce(combine, parts), 0, axis)
    return values


def _change(values: np.ndarray, inside: np.ndarray, axis: int, cells: int) -> float:
    """Mean difference of two places in the body that are so many cells apart; NaN for too few."""
    values, inside = np.moveaxis(values, axis, 0), np.moveaxis(inside, axis, 0)
    both = inside[cells:] & inside[:-cells]
    if np.count_nonzero(both) < LEAST_PAIRS:
        return float("nan")
    differences = values[cells:] - values[:-cells]
    np.abs(differences, out=differences)
    differences *= both  # picking those that count takes twice as long
    return float(differences.sum(dtype=float) / np.count_nonzero(both))


def preference(analysis: Analysis, engine: Engine) -> float:
    """log of how much liver the network sees in a copy of twice the length over one of half, for the same body."""
    longer, shorter = (
        liver_score(engine.forward(copy)) for copy in lengthened_and_shortened(analysis, engine.student.multiple)
    )
    found = np.log(max(longer, 1.0) / 2) - np.log(max(shorter, 1.0) * 2)
    return float(np.clip(found, -LARGEST_PREFERENCE, LARGEST_PREFERENCE))


def lengthened_and_shortened(analysis: Analysis, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """The scan around what the network takes for liver, twice and half as long; with air up to a multiple of cells."""
    levels = np.flatnonzero((analysis.logits > 0).any(axis=(1, 2)))
    around = round(AROUND_LIVER_MM / analysis.spacing_mm)
    image = _padded(analysis.image[max(0, levels[0] - around) : levels[-1] + 1 + around], multiple)
    longer = np.repeat(image, 2, axis=0)
    longer[1:-1:2] = image[:-1] * np.float32(0.75) + image[1:] * np.float32(0.25)
    longer[2::2] = image[1:] * np.float32(0.75) + image[:-1] * np.float32(0.25)
    shorter = image.reshape(len(image) // 2, 2, *image.shape[1:]).mean(axis=1, dtype=np.float32)
    return longer, _padded(shorter, multiple)


def _padded(image: np.ndarray, multiple: int) -> np.ndarray:
    return np.pad(image, ((0, -len(image) % multiple), (0, 0), (0, 0)), constant_values=AIR)
