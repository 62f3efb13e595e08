"""A body that is stored the wrong way round is told, one that is stored right is not."""

from dataclasses import replace

import numpy as np
import pytest

from LiverGTANLib.core import phantom, segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.orientation_check import (
    CLEAR_LOG_ODDS,
    FIRST_MIRRORINGS,
    IN_PLACE_LOG_ODDS,
    TISSUE,
    check_orientation,
    suspected_orders,
    turn_degrees,
)
from LiverGTANLib.core.volume import CtVolume, to_model_grid
from LiverGTANLib.standalone.image_files import read_ct


@pytest.fixture(scope="module", params=weight_file.available())
def engine(request):
    return NumpyEngine(weight_file.load(request.param))


def findings(ct: CtVolume, engine) -> list[str]:
    return [finding.reason for finding in check_orientation(segmenter.analyze(ct, engine), engine)]


@pytest.mark.slow
def test_a_body_that_lies_as_stored_draws_no_finding(sampleCt, engine):
    assert findings(sampleCt, engine) == []


@pytest.mark.parametrize("name", ["s0002", "s0003"])
def test_without_a_liver_there_is_none(engine, sharedData, name):
    ct = read_ct(sharedData / "ct" / f"totalsegmentator_{name}_no_liver.nii.gz")
    assert findings(ct, engine) == []


@pytest.mark.slow
@pytest.mark.parametrize("axes, words", [((2,), "left and right"), ((1, 2), "front and back, and left and right")])
def test_an_exchanged_axis_is_named(sampleCt, engine, axes, words):
    mirrored = CtVolume(np.flip(sampleCt.hu, axes), sampleCt.ijk_to_ras)
    (reason,) = findings(mirrored, engine)
    assert f"as if {words} were exchanged" in reason


@pytest.mark.slow
def test_it_is_the_body_that_counts_not_the_order_of_the_voxels(sampleCt, engine):
    matrix = sampleCt.ijk_to_ras @ np.diag([-1.0, 1, 1, 1])
    matrix[:3, 3] += sampleCt.ijk_to_ras[:3, 0] * (sampleCt.shape[2] - 1)
    assert findings(CtVolume(np.flip(sampleCt.hu, 2), matrix), engine) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "order, words",
    [
        ((1, 0, 2), "head and feet lie where front and back should"),
        ((0, 2, 1), "front and back lie where left and right should"),
        ((2, 1, 0), "head and feet lie where left and right should"),
    ],
)
def test_exchanged_axes_are_named(sampleCt, engine, order, words):
    stored = CtVolume(sampleCt.hu.transpose(order), sampleCt.ijk_to_ras)
    (reason,) = findings(stored, engine)
    assert words in reason


@pytest.mark.slow
def test_axes_that_are_stored_in_another_order_and_say_so_are_right(sampleCt, engine):
    assert findings(CtVolume(sampleCt.hu.transpose(1, 0, 2), sampleCt.ijk_to_ras[:, [0, 2, 1, 3]]), engine) == []


def turned(degrees: float) -> np.ndarray:
    """About the axis from feet to head."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("degrees, told", [(0, 0), (25, 25), (-25, -25), (90, 0)])
def test_the_turn_of_a_body_is_measured(sampleCt, degrees, told):
    """90 degrees are told as exchanged axes."""
    image = to_model_grid(CtVolume(sampleCt.hu, turned(degrees) @ sampleCt.ijk_to_ras))[0]
    if degrees != 90:
        assert turn_degrees(image) == pytest.approx(told, abs=6)
    assert suspected_orders(image) == ([(0, 2, 1)] if degrees == 90 else [])


def test_a_body_that_the_field_of_view_cuts_has_no_turn(sampleCt):
    cut = CtVolume(sampleCt.hu[:, :50, :60], sampleCt.ijk_to_ras)
    assert turn_degrees(to_model_grid(cut)[0]) == 0
    assert turn_degrees(np.full((32, 32, 32), -1, np.float32)) == 0


@pytest.mark.slow
def test_a_turned_body_is_told(sampleCt, engine):
    (reason,) = findings(CtVolume(sampleCt.hu, turned(25) @ sampleCt.ijk_to_ras), engine)
    assert "The body looks turned by about 2" in reason


class CountingEngine(NumpyEngine):
    runs = 0

    def forward(self, *arguments):
        self.runs += 1
        return super().forward(*arguments)


@pytest.mark.parametrize("sure, runs", [(1.02, 0), (0.98, len(FIRST_MIRRORINGS))])
def test_the_network_runs_again_only_where_it_is_not_sure(engine, sure, runs):
    analysis = segmenter.analyze(phantom.phantom_ct((5.0, 5.0, 5.0))[0], engine)
    logit = sure * CLEAR_LOG_ODDS * analysis.temperature
    everywhere = replace(analysis, logits=np.where(analysis.image > TISSUE, np.float32(logit), np.float32(-1)))
    counting = CountingEngine(engine.student)
    assert check_orientation(everywhere, counting) == []
    assert counting.runs == runs


@pytest.mark.parametrize(
    "above, right, runs", [(0.1, True, 0), (-0.1, True, len(FIRST_MIRRORINGS)), (0.1, False, len(FIRST_MIRRORINGS))]
)
def test_the_network_need_be_less_sure_of_a_liver_in_its_place(engine, above, right, runs):
    analysis = segmenter.analyze(phantom.phantom_ct((5.0, 5.0, 5.0))[0], engine)
    height, width = analysis.image.shape[1:]
    place = np.zeros(analysis.image.shape, bool)
    place[:, height // 2 :, slice(width // 2, None) if right else slice(width // 2)] = True
    logit = (IN_PLACE_LOG_ODDS + above) * analysis.temperature
    logits = np.where(place & (analysis.image > TISSUE), np.float32(logit), np.float32(-1))
    counting = CountingEngine(engine.student)
    assert check_orientation(replace(analysis, logits=logits), counting) == []
    assert counting.runs == runs
