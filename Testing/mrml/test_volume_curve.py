"""The volume over the frames of a sequence: flicker, table and chart."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.mrml import volume_curve
from LiverGTANLib.mrml.volume_curve import CurvePoint, flicker
from support.mrml_cases import mrmlScene

POINTS = [
    CurvePoint("0", 1500.04, 1400.0, 1600.0, 55.5, None, 1000, ""),
    CurvePoint("1.5", 1510.0, 1410.0, 1610.0, 80.0, 0.97, 1010, "unusually small"),
    CurvePoint("4", hint="no CT"),
]


def test_a_straight_course_does_not_flicker_however_its_frames_are_spaced():
    times = np.array([0, 1, 1.5, 4, 7, 7.2, 9])
    assert flicker(times, 1500 + 12.5 * times).ml == pytest.approx(0, abs=1e-9)
    assert flicker(times, [1500.0] * 7).percent == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("spacing", ["equal", "unequal"])
def test_flicker_is_the_standard_deviation_of_independent_errors(spacing):
    rng = np.random.default_rng(0)
    times = np.arange(4000.0) if spacing == "equal" else np.cumsum(rng.uniform(0.2, 2, 4000))
    found = flicker(times, 1000 + 0.1 * times + rng.normal(0, 8, 4000))
    assert found.ml == pytest.approx(8, rel=0.04)
    assert found.percent == pytest.approx(100 * found.ml / (1000 + 0.1 * times.mean()), rel=0.01)


def test_one_frame_that_differs_counts_in_all_three_differences():
    """Differences of 3 / 2, 3 and 3 / 2 about the frame, each of variance 3 / 2."""
    found = flicker(range(5), [100, 100, 103, 100, 100])
    assert found.ml == pytest.approx(np.sqrt((1.5**2 + 3**2 + 1.5**2) / 1.5 / 3))


def test_frames_without_a_volume_are_left_out():
    assert flicker(range(4), [1500, None, 1500, 1500]).ml == 0
    assert flicker(range(4), [1500, None, None, 1500]) is None
    assert flicker([], []) is None


@pytest.mark.parametrize("indices", [["a", "b"], ["1", "b"], ["2", "1"], ["1", "1"], ["nan", "1"]])
def test_indices_that_are_no_rising_numbers_are_taken_for_places(indices):
    assert volume_curve.times([CurvePoint(index) for index in indices]) == [0, 1]
    assert volume_curve.times([CurvePoint("-1"), CurvePoint("2.5")]) == [-1, 2.5]


def test_what_is_in_the_table_is_read_again(mrmlScene):
    table = mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    volume_curve.write(table, POINTS, "time [s]")
    assert [table.GetColumnName(n) for n in range(3)] == ["Frame", "time [s]", "Liver [mL]"]
    again = volume_curve.read(table, "time [s]")
    key = volume_curve.indexKey
    assert [key(point.index) for point in again] == [key(point.index) for point in POINTS]
    strip = [CurvePoint("", *list(vars(point).values())[1:]) for point in POINTS]
    assert [CurvePoint("", *list(vars(point).values())[1:]) for point in again] == strip
    assert volume_curve.read(table, "another index") == []
    table.RemoveColumn(table.GetColumnIndex("Mean [HU]"))
    assert [point.meanHu for point in volume_curve.read(table, "time [s]")] == [None] * 3
    assert [point.volumeMl for point in volume_curve.read(table, "time [s]")] == [1500.04, 1510.0, None]


@pytest.mark.parametrize(("indices", "x"), [(("0", "1.5", "4"), "phase"), (("a", "b", "c"), "Frame")])
def test_the_chart_shows_volume_over_the_index_or_the_number_of_the_frame(mrmlScene, indices, x):
    table, series, chart = (
        mrmlScene.AddNewNodeByClass(f"vtkMRML{name}Node") for name in ("Table", "PlotSeries", "PlotChart")
    )
    points = [CurvePoint(index, 1500.0 + n % 2) for n, index in enumerate(indices)]
    volume_curve.write(table, points, "phase")
    volume_curve.draw(chart, series, table, points, "phase")
    assert chart.GetNthPlotSeriesNode(0) == series and series.GetTableNode() == table
    assert (series.GetXColumnName(), series.GetYColumnName()) == (x, "Liver [mL]") and chart.GetXAxisTitle() == x
    assert table.GetTable().GetColumnByName(x).IsA("vtkDataArray")
    assert chart.GetTitle() == f"Liver, flicker {volume_curve.flickerOf(points)}"


def test_the_summary_says_how_many_frames_are_known():
    assert volume_curve.summary(POINTS) == "2 of 3 frames: 1500 to 1510 mL."
    text = volume_curve.summary([CurvePoint(str(n), 1500.0) for n in range(3)])
    assert text == "3 of 3 frames: 1500 to 1500 mL, flicker 0.0 mL (0.0 %)."
    assert "No volume" in volume_curve.summary([CurvePoint("0")])
