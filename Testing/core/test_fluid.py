"""What of a mask is as dark as fluid."""

from dataclasses import replace

import numpy as np
import pytest
from core.test_segmenter import analysis_of, ball

from LiverGTANLib.core import measurements
from LiverGTANLib.core.postprocess import DEFAULT_MASK_PARAMETERS, Analysis, MaskParameters
from LiverGTANLib.core.region import Region

SHAPE, LIVER, FLUID = (48, 48, 48), ((24, 24, 24), 20), ((24, 24, 16), 9)
"""Cells of 3 mm; the fluid has 82 mL, of which its part without the rim to the liver is smaller."""


def scan(liver_hu: float, fluid_hu: float, noise_hu: float = 12.0, fluid_ball=FLUID) -> Analysis:
    """A liver in fat, with a ball of something in it that the network takes for liver."""
    logits = ball(SHAPE, *LIVER)
    analysis = analysis_of(logits)
    hu = np.where(logits > 0, liver_hu, -100.0)
    hu[ball(SHAPE, *fluid_ball) > 0] = fluid_hu
    hu += np.random.default_rng(0).normal(0, noise_hu, SHAPE)
    low, high = analysis.hu_window
    image = (2 * np.clip(hu, low, high) - (low + high)) / (high - low)
    return replace(analysis, image=analysis.grid.down(image.astype(np.float32), fill=-1.0))


def found(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> float:
    return measurements.dark_ml(analysis, parameters)


@pytest.mark.parametrize("liver_hu", [55, 110])
def test_fluid_is_found_and_told(liver_hu):
    volume_ml = found(scan(liver_hu, 8))
    assert 40 < volume_ml < 85
    assert measurements.dark(volume_ml).startswith(f"{volume_ml:.0f} mL are as dark as fluid")


def test_more_fluid_than_liver_is_found():
    share = np.count_nonzero(ball(SHAPE, (24, 24, 24), 18) > 0) / np.count_nonzero(ball(SHAPE, *LIVER) > 0)
    assert share > 0.7
    assert found(scan(100, 10, fluid_ball=((24, 24, 24), 18))) > 400


@pytest.mark.parametrize(
    "analysis",
    [
        pytest.param(scan(100, 100), id="nothing"),
        pytest.param(scan(15, 15), id="fatty liver"),
        pytest.param(scan(60, 60, noise_hu=35.0), id="noise"),
        pytest.param(scan(100, 50), id="tumor that is not fluid"),
        pytest.param(scan(100, -90), id="fat"),
        pytest.param(scan(100, 8, fluid_ball=((24, 24, 16), 4)), id="little fluid"),
        pytest.param(scan(100, 8, fluid_ball=((24, 24, 24), 0)), id="none"),
    ],
)
def test_nothing_is_said_without_much_fluid(analysis):
    assert found(analysis) == 0 and measurements.dark(0) == ""


def test_only_fluid_within_the_mask_counts():
    analysis = scan(100, 8)
    assert found(replace(analysis, logits=np.full_like(analysis.logits, -10))) == 0
    matrix, (depth, height, width) = analysis.grid.ijk_to_ras, analysis.logits.shape
    for first, last, is_there in ((0, width / 2, True), (width / 2, width, False)):
        half = np.eye(4)
        half[:3, 3] = (matrix @ [(first + last - 1) / 2, (height - 1) / 2, (depth - 1) / 2, 1])[:3]
        region = Region(half, tuple(3.0 * n for n in (last - first, height, depth)))
        assert (found(analysis, MaskParameters(region=region)) > 0) == is_there


def test_a_region_of_fluid_alone_is_told():
    analysis = scan(100, 8)
    place = np.eye(4)
    place[:3, 3] = (analysis.grid.native_ijk_to_ras @ [16, 24, 24, 1])[:3]
    region = Region(place, (36.0, 36.0, 36.0))
    assert 20 < found(analysis, MaskParameters(region=region)) < found(analysis)
