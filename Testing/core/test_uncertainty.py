"""Calibrated probabilities, the overlay of the uncertain border, and the volume as an interval."""

import dataclasses

import numpy as np
import pytest
from core.test_clicks import at
from core.test_region import region
from core.test_segmenter import LIVER, analysis_of, ball, segmented

from LiverGTANLib.core import components, measurements, postprocess, segmenter, uncertainty, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.postprocess import DEFAULT_MASK_PARAMETERS, MaskParameters, PostprocessSettings

MATRIX = np.diag([3.0, 3.0, 3.0, 1.0])


def interval_of(analysis, parameters=DEFAULT_MASK_PARAMETERS, levels=uncertainty.LEVELS):
    mask = segmented(analysis, parameters)
    return uncertainty.interval(analysis, measurements.volume_ml(mask.voxels, MATRIX), parameters, levels)


def test_the_temperature_calms_probabilities():
    analysis = analysis_of(LIVER)
    plain = uncertainty.probabilities(analysis)
    np.testing.assert_allclose(plain, 1 / (1 + np.exp(-analysis.logits)), atol=1e-6)
    calm = uncertainty.probabilities(dataclasses.replace(analysis, temperature=3.0))
    np.testing.assert_allclose(calm, 1 / (1 + np.exp(-analysis.logits / 3)), atol=1e-6)


def test_a_students_temperature_reaches_the_analysis(sampleCt):
    strong = weight_file.load("student-100k")
    card = {**strong.card, "calibration": {"temperature": 1.7}}
    engine = NumpyEngine(dataclasses.replace(strong, card=card))
    assert segmenter.analyze(sampleCt, engine).temperature == 1.7
    del card["calibration"]
    assert dataclasses.replace(strong, card=card).temperature == 1


def test_the_interval_holds_the_volume_and_follows_the_levels():
    """Logits of a ball grow by 1 a cell: level 0.9 lies ln 9 cells inside the border."""
    found = interval_of(analysis_of(LIVER), levels=(0.1, 0.9))
    assert found.low < found.volume < found.high
    shift = np.log(9)
    for end, radius in ((found.low, 9 - shift), (found.high, 9 + shift)):
        assert end / found.volume == pytest.approx((radius / 9) ** 3, rel=0.08)
    wider = interval_of(analysis_of(LIVER), levels=(0.05, 0.95))
    assert wider.low < found.low
    assert wider.high > found.high
    assert str(uncertainty.VolumeInterval(1440.2, 1489, 1530)) == "1489 mL (1440 to 1530)"


def test_the_border_is_what_the_ends_of_the_interval_differ_by():
    analysis = analysis_of(LIVER)
    for parameters in (DEFAULT_MASK_PARAMETERS, MaskParameters(region=region())):
        found, mask = uncertainty.border(analysis, parameters), segmenter.coarse_mask(analysis, parameters)
        volume_ml = analysis.volume_ml(mask.voxels, mask.box)
        ends = uncertainty.interval(analysis, volume_ml, parameters)
        assert analysis.volume_ml(found.voxels, found.box) == pytest.approx(ends.high - ends.low)
        assert 0 < np.count_nonzero(found.full() & mask.full()) < found.voxels.sum()
    empty = uncertainty.border(analysis, MaskParameters(region=region(center=(900, 900, 900))))
    assert empty.empty


def test_the_interval_moves_with_threshold_region_and_clicks():
    analysis = analysis_of(LIVER)
    plain = interval_of(analysis)
    strict = interval_of(analysis, MaskParameters(PostprocessSettings(threshold=0.8)))
    assert strict.low < plain.low
    assert strict.low < strict.volume < strict.high
    boxed = interval_of(analysis, MaskParameters(region=region()))
    assert boxed.high < plain.high
    clicked = interval_of(analysis, MaskParameters(clicks=(at(15, 18, 16, liver=False),)))
    assert clicked.low < plain.low


def test_components_elsewhere_do_not_widen_the_interval():
    other = ball(LIVER.shape, (15, 18, 36), 4)
    both = interval_of(analysis_of(np.maximum(LIVER, other)))
    assert both.low == pytest.approx(interval_of(analysis_of(LIVER)).low)


def test_mask_and_interval_search_the_whole_grid_once_for_all_usual_thresholds(monkeypatch):
    searched, many = [], [MaskParameters(PostprocessSettings(threshold=n)) for n in (0.5, 0.05, 0.95)]
    monkeypatch.setattr(postprocess, "runs_of", lambda mask: searched.append(mask.shape) or components.runs_of(mask))
    analysis = analysis_of(LIVER)
    found = [interval_of(analysis, parameters) for parameters in many]
    assert searched == [analysis.grid.shape]
    monkeypatch.setattr(postprocess, "LOWEST_LOGIT", np.float32(np.inf))
    assert found == [interval_of(analysis_of(LIVER), parameters) for parameters in many]
    assert len(searched) == 1 + 3 * (3 + 1)  # three levels, and what the network found


def test_volumes_of_whole_livers_are_counted_without_drawing_them(monkeypatch):
    analysis = analysis_of(LIVER)
    drawn = [
        segmenter.coarse_mask(analysis, MaskParameters(PostprocessSettings(threshold=level)))
        for level in (0.75, 0.5, 0.25)
    ]
    low, middle, high = (analysis.volume_ml(mask.voxels, mask.box) for mask in drawn)
    monkeypatch.setattr(components.Runs, "painted", None)
    found = uncertainty.interval(analysis, middle)
    assert (found.low, found.volume, found.high) == pytest.approx((low, middle, high))


def test_nothing_found_has_no_spread():
    assert interval_of(analysis_of(LIVER - 100)) == uncertainty.VolumeInterval(0, 0, 0)


def test_the_overlay_is_bright_at_the_border_and_dark_within_and_far_away():
    analysis = analysis_of(LIVER)
    shown = uncertainty.overlay(analysis).full()
    assert shown.shape == analysis.grid.shape
    border = np.abs(analysis.logits) < 0.2
    assert shown[border].min() > 80
    assert shown[np.abs(analysis.logits) > 6].max() <= 1
    assert shown.max() <= 100


def test_the_overlay_stays_in_the_region_and_is_empty_without_a_liver():
    analysis = analysis_of(LIVER)
    boxed = uncertainty.overlay(analysis, MaskParameters(region=region(size=(30, 30, 30))))
    assert boxed.percent.size < uncertainty.overlay(analysis).percent.size
    assert boxed.full().any()
    assert not uncertainty.overlay(analysis_of(LIVER - 100)).full().any()


def test_a_click_takes_away_uncertainty_where_it_was_set():
    analysis = analysis_of(LIVER)
    rim = at(15, 18, 25)
    cell = tuple(np.rint(analysis.grid.cell_of(np.array((15, 18, 25)))).astype(int))
    clicked = uncertainty.overlay(analysis, MaskParameters(clicks=(rim,)))
    assert clicked.full()[cell] < uncertainty.overlay(analysis).full()[cell]
