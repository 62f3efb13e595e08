"""How sure the network is: calibrated probabilities, where the border is uncertain, and the volume as an interval.

A student's card may carry "calibration": {"temperature": t, "levels": [low, high]}; logits divided by the temperature
give probabilities that mean what they say, as far as the cases tell on which it was found.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import components, segmenter
from .postprocess import DEFAULT_MASK_PARAMETERS, Analysis, MaskParameters, postprocess_logits

LEVELS = (0.25, 0.75)
"""Probabilities between which the border is taken to lie: what is liver with 0.75 belongs to the smallest volume, what
is with 0.25 still to the largest. The border's errors partly cancel over the whole surface, so levels nearer to 0 and 1
give ends that no volume comes near."""

MARGIN_CELLS = 4
"""The overlay ends this far from the liver: beyond, there is no border of it to be uncertain about."""


@dataclass(frozen=True)
class Calibration:
    """temperature: what to divide logits by. low, high: probability levels of the volume's interval."""

    temperature: float = 1.0
    low: float = LEVELS[0]
    high: float = LEVELS[1]

    @staticmethod
    def of(analysis: Analysis) -> "Calibration":
        """What the student's card says, or the defaults. Raises ValueError when that makes no sense."""
        card = analysis.calibration
        low, high = card.get("levels", LEVELS)
        found = Calibration(float(card.get("temperature", 1.0)), float(low), float(high))
        if not (found.temperature > 0 and 0 < found.low <= 0.5 <= found.high < 1):
            raise ValueError(
                f"The card's calibration {card} makes no sense: a temperature above 0 and levels around 0.5 are needed."
            )
        return found


@dataclass(frozen=True)
class VolumeInterval:
    """A volume in mL with the ends that the uncertain border allows."""

    low: float
    volume: float
    high: float

    def __str__(self) -> str:
        return f"{self.volume:.0f} mL ({self.low:.0f} to {self.high:.0f})"


@dataclass(frozen=True, eq=False)
class UncertaintyMap:
    """How uncertain each cell of the model grid is about being liver.

    percent: (d, h, w) uint8 of a box that begins at `start`; 0 sure, 100 even odds; 0 outside the box. The whole
    grid has `shape` and the matrix `ijk_to_ras`.
    """

    percent: np.ndarray
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    def full(self) -> np.ndarray:
        """Of the whole model grid, (D, H, W) uint8."""
        whole = np.zeros(self.shape, np.uint8)
        whole[tuple(slice(a, a + n) for a, n in zip(self.start, self.percent.shape))] = self.percent
        return whole


def probabilities(analysis: Analysis) -> np.ndarray:
    """Calibrated probability of liver of each cell, (D, H, W) float32, of the network alone."""
    return _sigmoid(analysis.logits / np.float32(Calibration.of(analysis).temperature))


def overlay(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> UncertaintyMap:
    """Uncertainty around the border of the mask that these parameters give: 1 - |2p - 1| in percent."""
    frame, region = analysis.frame, parameters.region
    evidence = postprocess_logits(analysis, parameters)
    box = tuple(slice(0, 0) for _ in range(3))
    if evidence.cells is not None:
        box = tuple(
            slice(max(0, c.start - MARGIN_CELLS), min(n, c.stop + MARGIN_CELLS))
            for c, n in zip(evidence.cells, frame.shape)
        )
    if region is not None:
        box = components.common(box, region.grid_box(frame.ijk_to_ras, frame.shape))
    p = _sigmoid(evidence.values[box] / np.float32(Calibration.of(analysis).temperature))
    percent = np.rint(100 * (1 - np.abs(2 * p - 1))).astype(np.uint8)
    if region is not None:
        region.clear_outside(percent, box, frame.ijk_to_ras)
    return UncertaintyMap(percent, tuple(part.start for part in box), frame.shape, frame.ijk_to_ras)


def interval(
    analysis: Analysis, volume_ml: float, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS
) -> VolumeInterval:
    """The volume of a mask (made with the same parameters) with its ends.

    The ends are counted on the model grid, in a few milliseconds, and scaled to the volume found on the scan's own.
    """
    calibration = Calibration.of(analysis)

    def cells(level: float) -> int:
        threshold = _shifted(parameters.settings.threshold, level, calibration.temperature)
        shifted = replace(parameters, settings=replace(parameters.settings, threshold=threshold))
        return int(np.count_nonzero(segmenter.coarse_mask(analysis, shifted).voxels))

    middle = cells(0.5)
    if middle == 0:
        return VolumeInterval(volume_ml, volume_ml, volume_ml)
    low, high = (volume_ml * cells(level) / middle for level in (calibration.high, calibration.low))
    return VolumeInterval(min(low, volume_ml), volume_ml, max(high, volume_ml))


def _shifted(threshold: float, level: float, temperature: float) -> float:
    """The threshold at which the calibrated odds are those of `level` times what they are at the chosen threshold."""
    if level == 0.5:
        return threshold
    threshold = min(max(threshold, 1e-6), 1 - 1e-6)
    logit = np.log(threshold / (1 - threshold)) + temperature * np.log(level / (1 - level))
    return float(_sigmoid(np.float64(logit)))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))
