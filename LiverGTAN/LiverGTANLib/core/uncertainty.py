"""How sure the network is: calibrated probabilities, where the border is uncertain, and the volume as an interval.

Logits divided by the temperature in the student's card give calibrated probabilities (Guo et al., "On Calibration of
Modern Neural Networks", ICML 2017), as far as the few cases show on which it was fitted.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import boxes, segmenter
from .postprocess import DEFAULT_MASK_PARAMETERS, Analysis, MaskParameters, postprocess_logits
from .segmenter import BoxMask

LEVELS = (0.25, 0.75)
"""Probabilities between which the border is taken to lie: what is liver with 0.75 belongs to the smallest volume, what
is with 0.25 still to the largest. Errors along the border partly cancel over the whole surface, so levels nearer to 0
and 1 give ends that no volume comes near. Chosen on the four held-out CTs, where these levels hold the reference volume
in 8 of 8 answers; on the 13 expert-labelled CTs of the data folder, none of which the bundled students were trained on,
they hold it in 26 of 26, 0.3 with 0.7 in as many, 0.35 with 0.65 in 24 and 0.4 with 0.6 in 16 (`make
benchmark-interval_coverage`, with ARGUMENTS=--labelled for the 13)."""

MARGIN_CELLS = 4
"""The overlay ends this far from the liver (12 mm at 3 mm), beyond all of its border that is uncertain."""


@dataclass(frozen=True)
class VolumeInterval:
    """A volume in mL with the ends that the uncertain border allows."""

    low: float
    volume: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether the network is sure of any liver; without, the ends say nothing."""
        return self.low > 0 and self.volume > 0

    def __str__(self) -> str:
        return f"{self.volume:.0f} mL ({self.low:.0f} to {self.high:.0f})"


@dataclass(frozen=True, eq=False)
class UncertaintyMap:
    """How uncertain each cell of the model grid is.

    percent: (d, h, w) uint8 of a box that begins at `start`; 0 is sure, 100 is a probability of 0.5; 0 outside the box.
    The whole grid has `shape` and the matrix `ijk_to_ras`.
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
    """Calibrated probability of liver of each cell by the network alone, (D, H, W) float32."""
    return _sigmoid(analysis.logits / np.float32(analysis.temperature))


def overlay(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> UncertaintyMap:
    """Uncertainty around the border of the mask that these parameters give: 1 - |2p - 1| in percent."""
    grid, region = analysis.grid, parameters.region
    postprocessed = postprocess_logits(analysis, parameters)
    box = boxes.whole((0, 0, 0))
    if postprocessed.cells is not None:
        box = boxes.grown(postprocessed.cells, MARGIN_CELLS, grid.shape)
    if region is not None:
        box = boxes.intersection(box, region.grid_box(grid.ijk_to_ras, grid.shape))
    p = _sigmoid(postprocessed.values_in(box) / np.float32(analysis.temperature))
    percent = np.rint(100 * (1 - np.abs(2 * p - 1))).astype(np.uint8)
    if region is not None:
        region.clear_outside(percent, box, grid.ijk_to_ras)
    return UncertaintyMap(percent, boxes.start(box), grid.shape, grid.ijk_to_ras)


def interval(
    analysis: Analysis,
    volume_ml: float,
    parameters: MaskParameters = DEFAULT_MASK_PARAMETERS,
    levels: tuple[float, float] = LEVELS,
) -> VolumeInterval:
    """The volume of a mask, made with the same parameters, with its ends.

    The ends are measured on the model grid, in a few milliseconds, and scaled to the volume found on the scan's own.
    """

    def coarse_ml(level: float) -> float:
        return segmenter.coarse_ml(analysis, _at_level(analysis, parameters, level))

    middle = coarse_ml(0.5)
    if middle == 0:
        return VolumeInterval(volume_ml, volume_ml, volume_ml)
    high, low = (volume_ml * coarse_ml(level) / middle for level in levels)
    return VolumeInterval(min(low, volume_ml), volume_ml, max(high, volume_ml))


def border(
    analysis: Analysis,
    parameters: MaskParameters = DEFAULT_MASK_PARAMETERS,
    levels: tuple[float, float] = LEVELS,
) -> BoxMask:
    """The uncertain border: cells of the model grid in the largest volume of `interval`, but not in the smallest."""
    high, low = (segmenter.coarse_mask(analysis, _at_level(analysis, parameters, level)) for level in levels)
    box = boxes.enclosing(high.box, low.box)
    voxels = np.zeros(boxes.shape(box), np.uint8)
    voxels[boxes.relative_to(box, high.box)] = high.voxels
    voxels[boxes.relative_to(box, low.box)] ^= low.voxels
    return BoxMask(voxels, boxes.start(box), high.shape)


def _at_level(analysis: Analysis, parameters: MaskParameters, level: float) -> MaskParameters:
    threshold = _shifted(parameters.settings.threshold, level, analysis.temperature)
    return replace(parameters, settings=replace(parameters.settings, threshold=threshold))


def _shifted(threshold: float, level: float, temperature: float) -> float:
    """The threshold at which the calibrated odds are those of `level` times what they are at the chosen threshold."""
    if level == 0.5:
        return threshold
    threshold = min(max(threshold, 1e-6), 1 - 1e-6)
    logit = np.log(threshold / (1 - threshold)) + temperature * np.log(level / (1 - level))
    return float(_sigmoid(np.asarray(logit)))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))
