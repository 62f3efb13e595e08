"""An oriented box restricts the mask, and its cost, on the scan's grid and on the model's."""

import dataclasses

import numpy as np
import pytest
from core.test_segmenter import LIVER, SHAPE, CountingGrid, analysis_of, ball, segmented

from LiverGTANLib.core import measurements, segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.postprocess import MaskParameters
from LiverGTANLib.core.region import Region

CENTER = np.array([16, 18, 15]) * 3.0  # RAS mm of LIVER's middle


def region(center=CENTER, size=(30.0, 36.0, 42.0), turn=None) -> Region:
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if turn is None else turn
    matrix[:3, 3] = center
    return Region(matrix, size)


def turned(degrees: float) -> np.ndarray:
    """A rotation about an axis that is none of the grid's."""
    axis = np.array([1, 2, 3]) / np.sqrt(14)
    cross = np.cross(np.eye(3), axis)
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def inside(box: Region, shape, ijk_to_ras) -> np.ndarray:
    """Every voxel asked on its own."""
    kji = np.indices(shape).reshape(3, -1)
    ras = ijk_to_ras @ np.vstack([kji[::-1], np.ones(kji.shape[1])])
    place = np.linalg.inv(box.object_to_ras) @ ras
    within = (np.abs(place[:3]) <= np.array(box.size_mm)[:, None] / 2 * (1 + 1e-6)).all(axis=0)
    return within.reshape(shape)


@pytest.mark.parametrize("degrees", [0, 90, 33, 180, 270.0001])
def test_the_mask_is_the_liver_within_the_box(degrees):
    analysis, box = analysis_of(LIVER), region(turn=turned(degrees))
    found = segmented(analysis, MaskParameters(region=box))
    expected = (LIVER > 0) & inside(box, SHAPE, np.diag([3.0, 3.0, 3.0, 1.0]))
    assert expected.any()
    np.testing.assert_array_equal(found.full(), expected)
    assert found.voxels.size <= segmented(analysis).voxels.size


def test_a_scaled_box_is_as_large_as_its_matrix_says():
    """A markups ROI below a scaling transform keeps its size and has the scale in its matrix."""
    doubled = region(turn=2 * turned(20), size=(15.0, 18.0, 21.0))
    same = region(turn=turned(20))
    analysis = analysis_of(LIVER)
    np.testing.assert_array_equal(
        segmented(analysis, MaskParameters(region=doubled)).full(),
        segmented(analysis, MaskParameters(region=same)).full(),
    )


@pytest.mark.parametrize("center, size", [((1000, 0, 0), (50, 50, 50)), (CENTER + 40, (9, 9, 9))])
def test_a_box_without_liver_gives_an_empty_mask(center, size):
    analysis, box = analysis_of(LIVER), region(center, size)
    assert segmented(analysis, MaskParameters(region=box)).empty
    assert segmenter.coarse_mask(analysis, MaskParameters(region=box)).empty
    assert segmented(analysis, MaskParameters(region=box)).full().shape == SHAPE


def test_a_box_around_everything_changes_nothing():
    analysis = analysis_of(LIVER)
    everything = segmented(analysis, MaskParameters(region=region(size=(1e4, 1e4, 1e4))))
    np.testing.assert_array_equal(everything.full(), segmented(analysis).full())


def test_a_box_thinner_than_a_cell_still_shows_the_liver():
    analysis = analysis_of(LIVER)
    thin = segmented(analysis, MaskParameters(region=region(CENTER, (60, 60, 0.5))))
    np.testing.assert_array_equal(thin.full()[15], LIVER[15] > 0)


def test_the_component_is_chosen_by_its_part_in_the_box():
    other = ball(SHAPE, (15, 18, 35), 4)
    analysis = analysis_of(np.maximum(LIVER, other))
    around_other = region(np.array([35, 18, 15]) * 3.0, (24, 24, 24))
    np.testing.assert_array_equal(segmented(analysis, MaskParameters(region=around_other)).full(), other > 0)


def test_a_box_that_cuts_the_liver_in_two_keeps_both_parts():
    bent = np.max([ball(SHAPE, (15, j, 16), radius) for j, radius in ((10, 6), (18, 5), (26, 6))], axis=0)
    analysis = analysis_of(bent)
    no_middle = region(np.array([11, 18, 15]) * 3.0, (15, 90, 90))
    full = segmented(analysis, MaskParameters(region=no_middle)).full()
    assert full[15, 10, 12] == 1
    assert full[15, 26, 12] == 1


@pytest.mark.parametrize("degrees", [0, 33])
def test_the_coarse_mask_is_the_same_on_the_model_grid(degrees):
    analysis, box = analysis_of(LIVER), region(turn=turned(degrees))
    coarse = segmenter.coarse_mask(analysis, MaskParameters(region=box))
    grid = analysis.grid
    assert coarse.shape == grid.shape
    expected = (analysis.logits > 0) & inside(box, grid.shape, grid.ijk_to_ras)
    np.testing.assert_array_equal(coarse.full(), expected)


@pytest.mark.parametrize("cut", [False, True])
def test_coarse_logits_are_above_0_in_the_coarse_mask_alone(cut):
    """One cell farther to each side, also where the grid ends."""
    liver = LIVER.copy()
    liver[:, 10:20, 10:20] = 1
    analysis, parameters = analysis_of(liver), MaskParameters(region=region(turn=turned(33)) if cut else None)
    coarse = segmenter.coarse_mask(analysis, parameters)
    logits = segmenter.coarse_logits(analysis, parameters, coarse)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits > 0, np.pad(coarse.voxels, 1) > 0)


@pytest.mark.parametrize(
    "matrix, size",
    [
        (np.diag([1.0, 1, 0, 1]), (10, 10, 10)),
        (np.full((4, 4), np.nan), (10, 10, 10)),
        (np.eye(4), (10, 0, 10)),
        (np.eye(3), (10, 10, 10)),
        (np.eye(4), (10, 10)),
        (np.eye(4), (10, np.inf, 10)),
    ],
)
def test_a_box_that_is_none_is_refused_with_a_reason(matrix, size):
    with pytest.raises(ValueError, match="ROI"):
        Region(matrix, size)


@pytest.fixture(scope="module")
def sampleAnalysis(sampleCt):
    return segmenter.analyze(sampleCt, NumpyEngine(weight_file.load("student-100k")))


def test_half_a_real_liver_and_the_other_half_are_the_whole(sampleCt, sampleAnalysis):
    whole = segmenter.mask(sampleAnalysis, sampleCt)
    kji = np.argwhere(whole.full()).mean(axis=0)
    # Between two voxels, so that no center lies on the face that the halves share.
    middle = (sampleCt.ijk_to_ras @ [np.floor(kji[2]) + 0.5, kji[1], kji[0], 1])[:3]
    halves = [region(middle + np.array([side * 500, 0, 0]), (1000, 1000, 1000)) for side in (-1, 1)]
    parts = [segmenter.mask(sampleAnalysis, sampleCt, MaskParameters(region=half)) for half in halves]
    np.testing.assert_array_equal(parts[0].full() + parts[1].full(), whole.full())


def test_dragging_a_box_costs_less_than_a_mask(sampleCt, sampleAnalysis):
    """Voxels interpolated: none while the box is dragged, then only its own, an eighth of those of the liver's box."""
    counted = CountingGrid(sampleAnalysis.grid)
    analysis = dataclasses.replace(sampleAnalysis, grid=counted)
    whole = segmenter.mask(analysis, sampleCt)
    of_the_whole, counted.voxels = counted.voxels, 0
    assert of_the_whole >= whole.voxels.size
    center = (sampleCt.ijk_to_ras @ [*np.argwhere(whole.full()).mean(axis=0)[::-1], 1])[:3]
    box = MaskParameters(region=region(center, np.array(whole.voxels.shape[::-1]) * 1.5))
    assert not segmenter.coarse_mask(analysis, box).empty
    assert counted.voxels == 0
    assert not segmenter.mask(analysis, sampleCt, box).empty
    assert counted.voxels < 0.2 * of_the_whole
