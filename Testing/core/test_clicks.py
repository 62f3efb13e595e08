"""Clicks: what is asked happens, where it is asked, and nowhere else."""

import dataclasses

import numpy as np
import pytest
from benchmarks import simulated_clicks
from core.test_region import region
from core.test_segmenter import LIVER, SHAPE, CountingGrid, analysis_of, ball, segmented
from core.test_volume import rotated
from scipy import ndimage

from LiverGTANLib.core import clicks, measurements, segmenter, weight_file
from LiverGTANLib.core.clicks import Click
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.model_grid import ModelGrid
from LiverGTANLib.core.postprocess import Analysis, MaskParameters, PostprocessSettings, neighborhoods
from LiverGTANLib.core.volume import SPACING_MM, CtVolume
from support.cases import smallCt
from support.real_cases import RealCase

NOT_REACHED_MM = clicks.REACH_MM + 2 * 3.0  # interpolation carries a change up to two cells farther


def at(k, j, i, liver=True) -> Click:
    """A click on a voxel of the 3 mm scan of `analysis_of`."""
    return Click((3.0 * i, 3.0 * j, 3.0 * k), liver)


def on_tissue(field: np.ndarray, seen: bool = True) -> Analysis:
    """An image with 80 HU between the positive side of the field and the rest; the network sees it or nothing."""
    analysis = analysis_of(field if seen else np.full_like(field, -2))
    inside = analysis.grid.down((field > 0).astype(np.float32))
    return dataclasses.replace(analysis, image=(0.4 * inside - 0.1).astype(np.float32))


def clicked(analysis, *points) -> np.ndarray:
    return segmented(analysis, MaskParameters(clicks=points)).full()


def clicked_on(ct, analysis, *points) -> np.ndarray:
    return segmenter.mask(analysis, ct, MaskParameters(clicks=points)).full()


@pytest.fixture(scope="module")
def sampleAnalysis(sampleCt):
    return segmenter.analyze(sampleCt, NumpyEngine(weight_file.load("student-100k")))


def random_clicks(mask: np.ndarray, ct, count: int, seed: int) -> list[tuple[tuple[int, ...], Click]]:
    """(voxel, click) on random voxels in and near the liver, each asking for the opposite of the mask."""
    rng = np.random.default_rng(seed)
    low, high = np.argwhere(mask).min(axis=0) - 5, np.argwhere(mask).max(axis=0) + 6
    voxels = [tuple(np.clip(rng.integers(low, high), 0, np.array(mask.shape) - 1)) for _ in range(count)]
    return [(v, Click(tuple((ct.ijk_to_ras @ [*v[::-1], 1])[:3]), not mask[v])) for v in voxels]


@pytest.mark.slow
def test_on_a_real_ct_every_clicked_voxel_is_as_asked_and_far_ones_are_as_before(sampleCt, sampleAnalysis):
    before = segmenter.mask(sampleAnalysis, sampleCt).full()
    position = np.indices(sampleCt.shape).T
    for voxel, click in random_clicks(before, sampleCt, 25, seed=1):
        after = clicked_on(sampleCt, sampleAnalysis, click)
        assert after[voxel] == click.liver
        distance = np.abs((position - np.array(voxel)) * sampleCt.spacing[::-1]).max(axis=-1).T
        far = distance > NOT_REACHED_MM
        np.testing.assert_array_equal(after[far], before[far])
        assert (after != before).any()


@pytest.mark.slow
def test_a_click_takes_only_one_direction(sampleCt, sampleAnalysis):
    before = segmenter.mask(sampleAnalysis, sampleCt).full().astype(int)
    for _, click in random_clicks(before, sampleCt, 10, seed=2):
        change = clicked_on(sampleCt, sampleAnalysis, click).astype(int) - before
        assert (change >= 0).all() if click.liver else (change <= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [0, 12, 30])
@pytest.mark.parametrize("spacing", [(0.8, 0.9, 5.0), (3.0, 3.0, 3.0), (4.0, 4.0, 7.0)])
def test_the_clicked_voxel_is_as_asked_on_any_grid(degrees, spacing):
    """Also where cells are larger or smaller than voxels and turned against them, up to the scan's corners."""
    ct = rotated(smallCt(), degrees)
    matrix = ct.ijk_to_ras @ np.diag([*(np.array(spacing) / 3), 1])
    grid = ModelGrid.of((24, 40, 48), matrix, 3.0, 16)
    logits = np.random.default_rng(0).normal(0, 6, grid.shape).astype(np.float32)
    analysis = Analysis(logits, np.zeros_like(logits), grid, 3.0, "given", "none")
    for voxel in ((12, 20, 24), (0, 0, 0), (23, 39, 47), (5, 33, 8)):
        for liver in (True, False):
            click = Click(tuple((matrix @ [*voxel[::-1], 1])[:3] + 0.1), liver)
            assert clicked(analysis, click)[voxel] == liver


def test_a_click_outside_the_scan_changes_nothing():
    analysis = analysis_of(LIVER)
    for point in ((-50.0, 0, 0), (0, 1e9, 0), (np.nan, 0, 0)):
        np.testing.assert_array_equal(clicked(analysis, Click(point, True)), LIVER > 0)


def test_a_component_that_was_dropped_comes_back_where_it_is_clicked():
    other = ball(SHAPE, (15, 18, 35), 4)
    analysis = on_tissue(np.maximum(LIVER, other))
    assert clicked(analysis)[15, 18, 35] == 0
    after = clicked(analysis, at(15, 18, 35))
    assert after[15, 18, 35] == 1
    assert measurements.dice(after, (LIVER > 0) | (other > 0)) > 0.95


def test_liver_is_found_where_the_network_saw_none():
    after = clicked(analysis_of(LIVER - 100), at(15, 18, 16))
    assert after[15, 18, 16] == 1


def remarks(analysis, *points) -> str:
    return "; ".join(segmenter.check_clicks(analysis, MaskParameters(clicks=points)))


def apart_of(analysis, *points, box=None, **settings) -> tuple[np.ndarray, np.ndarray]:
    """(what points added apart from the liver, the mask that they lead to)"""
    parameters = MaskParameters(PostprocessSettings(**settings), box, points)
    ct = CtVolume(np.zeros(analysis.grid.native_shape, np.float32), analysis.grid.native_ijk_to_ras)
    found = segmenter.mask(analysis, ct, parameters)
    return segmenter.added_apart(analysis, ct, parameters, found).full(), found.full()


@pytest.mark.parametrize("settings", [{}, {"smoothing_mm": 2.0}, {"largest_component": False}])
@pytest.mark.parametrize("size", [None, (60.0, 90.0, 60.0)])
def test_what_points_added_apart_from_the_liver_is_what_the_mask_holds_of_it(settings, size):
    """Also in the scan's corner, beyond which the network's grid has cells of its own."""
    analysis, box = analysis_of(np.maximum(LIVER, -3)), size and region((60.0, 54.0, 30.0), (200.0, *size[1:]))
    corner, beside = at(0, 0, 0), at(15, 18, 26)
    before = apart_of(analysis, box=box, **settings)[1]
    for points in ((corner,), (beside, corner), (at(5, 5, 38),)):
        apart, after = apart_of(analysis, *points, box=box, **settings)
        labels, _ = ndimage.label(after)
        expected = (labels > 0) & ~np.isin(labels, np.unique(labels[before > 0]))
        np.testing.assert_array_equal(apart > 0, expected)
        assert size or apart.any()
    for points in ((), (beside,), (at(5, 5, 38), at(5, 5, 38, liver=False))):
        assert not apart_of(analysis, *points, box=box, **settings)[0].any()
    assert not apart_of(analysis_of(LIVER - 100), corner)[0].any()  # there is no liver that it could be apart from


def test_a_point_that_the_network_contradicts_surely_or_that_lies_nowhere_is_told():
    analysis = analysis_of(np.where(LIVER > 0, LIVER, -9))
    beside = at(15, 18, 27)
    assert remarks(analysis, beside).startswith("1 point said to be liver where the network is sure that there is none")
    assert remarks(dataclasses.replace(analysis, temperature=4.0), beside) == ""
    assert remarks(analysis, at(15, 18, 27, liver=False)) == remarks(analysis, at(15, 18, 16)) == ""
    outside = at(15, 18, 16), Click((-50.0, 0, 0), True), Click((0, 1e9, 0), False)
    assert remarks(analysis, *outside) == "2 points outside the scan changed nothing"


def test_a_hole_that_is_asked_for_is_not_filled():
    hole = ball(SHAPE, (15, 18, 18), 3)
    for analysis in (analysis_of(LIVER), on_tissue(np.minimum(LIVER, -hole))):
        assert clicked(analysis)[15, 18, 18] == 1
        assert clicked(analysis, at(15, 18, 18, liver=False))[15, 18, 18] == 0
    assert measurements.dice(clicked(analysis, at(15, 18, 18, liver=False)), np.minimum(LIVER, -hole) > 0) > 0.95


def test_cutting_a_bridge_leaves_what_lies_behind_it():
    """Dropping the component behind would change voxels far from the click."""
    bridge = ball(SHAPE, (15, 18, 27), 3)
    logits = np.maximum(np.maximum(LIVER, ball(SHAPE, (15, 18, 35), 6)), bridge)
    after = clicked(analysis_of(logits), at(15, 18, 27, liver=False))
    assert after[15, 18, 27] == 0
    assert after[15, 18, 38] == 1


def test_the_later_click_wins_and_both_stay_when_they_are_apart():
    analysis = analysis_of(LIVER)
    for last in (True, False):
        same_place = at(15, 18, 16, not last), at(15, 18, 16, last)
        assert clicked(analysis, *same_place)[15, 18, 16] == last
        apart = at(15, 18, 12, not last), at(15, 18, 20, last)
        after = clicked(analysis, *apart)
        assert after[15, 18, 12] == (not last)
        assert after[15, 18, 20] == last


def test_a_click_stops_at_another_tissue():
    """An organ that the network did not see, 80 HU from all around, and the same place in one gray."""
    organ = ball(SHAPE, (15, 18, 16), 6)
    seen_by_the_click = on_tissue(organ, seen=False)
    one_gray = dataclasses.replace(seen_by_the_click, image=np.zeros_like(seen_by_the_click.image))
    stopped, spilled = (clicked(analysis, at(15, 18, 16)) > 0 for analysis in (seen_by_the_click, one_gray))
    assert stopped[organ > 0].mean() > 0.95
    assert stopped[organ <= 0].sum() < 0.2 * spilled[organ <= 0].sum()


@pytest.mark.slow
def test_threshold_and_smoothing_do_not_overrule_a_click(sampleCt, sampleAnalysis):
    before = segmenter.mask(sampleAnalysis, sampleCt).full()
    for voxel, click in random_clicks(before, sampleCt, 4, seed=3):
        for settings in (
            PostprocessSettings(0.02),
            PostprocessSettings(0.98),
            PostprocessSettings(smoothing_mm=4.0),
            PostprocessSettings(fill_holes=False),
        ):
            after = segmenter.mask(sampleAnalysis, sampleCt, MaskParameters(settings, clicks=(click,))).full()
            assert after[voxel] == click.liver


def test_nothing_outside_the_region_is_liver_whatever_is_clicked():
    analysis = analysis_of(LIVER)
    box = region(size=(15.0, 15.0, 15.0))
    points = at(15, 18, 26), at(15, 18, 16, liver=False)
    after = segmented(analysis, MaskParameters(region=box, clicks=points)).full()
    assert after[15, 18, 26] == 0
    assert after[15, 18, 16] == 0
    assert after[13:18, 16:21, 14:19].sum() == after.sum()


@pytest.mark.slow
def test_adding_moving_and_deleting_give_what_a_fresh_start_gives(sampleCt, sampleAnalysis):
    points = [click for _, click in random_clicks(segmenter.mask(sampleAnalysis, sampleCt).full(), sampleCt, 5, seed=4)]
    edits = [points[:1], points[:3], points, points[:2] + points[3:], [points[4], *points[1:4]], []]
    box = region(np.array(points[0].ras), (150.0, 90.0, 120.0))
    for edit in edits:
        for where in (None, box):
            fresh = dataclasses.replace(sampleAnalysis)
            parameters = MaskParameters(region=where, clicks=tuple(edit))
            for make in (
                lambda analysis, p=parameters: segmenter.mask(analysis, sampleCt, p),
                lambda analysis, p=parameters: segmenter.coarse_mask(analysis, p),
            ):
                np.testing.assert_array_equal(make(sampleAnalysis).full(), make(fresh).full())


@pytest.mark.slow
def test_the_analysis_stays_untouched(sampleCt, sampleAnalysis):
    before = sampleAnalysis.logits.copy(), sampleAnalysis.image.copy()
    plain = segmenter.mask(sampleAnalysis, sampleCt).full()
    for _, click in random_clicks(plain, sampleCt, 3, seed=5):
        clicked_on(sampleCt, sampleAnalysis, click)
    np.testing.assert_array_equal(sampleAnalysis.logits, before[0])
    np.testing.assert_array_equal(sampleAnalysis.image, before[1])
    np.testing.assert_array_equal(segmenter.mask(sampleAnalysis, sampleCt).full(), plain)


def test_each_of_ten_clicks_costs_its_own_surroundings_and_no_more(sampleCt, sampleAnalysis):
    """Cells whose distance is computed, and voxels that are interpolated again."""
    counted = CountingGrid(sampleAnalysis.grid)
    analysis = dataclasses.replace(sampleAnalysis, grid=counted)
    before = segmenter.mask(analysis, sampleCt)
    whole = counted.voxels
    points = tuple(click for _, click in random_clicks(before.full(), sampleCt, 10, seed=6))
    width = int(2 * (clicks.REACH_MM // SPACING_MM + 1))
    for count in range(1, len(points) + 1):
        counted.voxels = 0
        segmenter.mask(analysis, sampleCt, MaskParameters(clicks=points[:count]))
        assert len(analysis.cache.neighborhoods) == count
        [near] = neighborhoods(analysis, points[count - 1 : count])
        assert near.geodesic_mm.size <= width**3
        assert 0 < counted.voxels <= min((width + 2) ** 3, 0.2 * whole)  # the scan is no finer than the grid


def test_a_moved_last_click_costs_its_own_cells_alone_even_if_all_were_computed_at_once(sampleCt, sampleAnalysis):
    """A click beside the border changes few of the cells that it could reach."""
    counted = CountingGrid(sampleAnalysis.grid)
    analysis = dataclasses.replace(sampleAnalysis, grid=counted)
    plain = segmenter.mask(analysis, sampleCt).full()
    points = [click for _, click in random_clicks(plain, sampleCt, 4, seed=7)]
    first = np.argwhere(plain)[0]
    shallow = Click(tuple((sampleCt.ijk_to_ras @ [*first[::-1], 1])[:3]), False)
    segmenter.mask(analysis, sampleCt, MaskParameters(clicks=tuple(points)))
    counted.voxels = 0
    segmenter.mask(analysis, sampleCt, MaskParameters(clicks=(*points[:-1], shallow)))
    [near] = neighborhoods(analysis, [shallow])
    assert 0 < counted.voxels < 0.5 * near.geodesic_mm.size


@pytest.mark.slow
def test_clicks_at_the_largest_error_mend_a_weakened_student(sampleCt, sampleLiver):
    case = RealCase("sample CT", sampleCt, sampleLiver)
    weak = simulated_clicks.weakened(weight_file.load("student-100k"), 0.3, seed=21)
    run = simulated_clicks.simulate(case, segmenter.analyze(sampleCt, NumpyEngine(weak)), "weak")
    dice = [run.dice[n] for n in simulated_clicks.CLICKS]
    assert (np.diff(dice) > 0).all()


def test_a_point_outlines_a_liver_too_small_to_be_outlined_by_itself():
    analysis = on_tissue(LIVER - 4)
    assert segmented(analysis).empty and segmenter.check(analysis)
    assert clicked(analysis, at(15, 18, 16))[15, 18, 16]
