"""From logits to a mask: boxes, components, holes, threshold, smoothing; and whole scans in any orientation."""

import dataclasses

import numpy as np
import pytest
from core.test_volume import ORIENTATIONS, reoriented
from scipy import ndimage

from LiverGTANLib.core import boxes, measurements, segmenter, weight_file
from LiverGTANLib.core.boxes import Box
from LiverGTANLib.core.engines.engine import Cancelled, EngineError
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.model_grid import ModelGrid
from LiverGTANLib.core.postprocess import (
    DEFAULT_MASK_PARAMETERS,
    Analysis,
    MaskParameters,
    PostprocessSettings,
    postprocess_logits,
)
from LiverGTANLib.core.resample import Tile
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.core.volume import CtVolume, InputError
from support.cases import randomCard, randomStudent, smallCt


def ball(shape, center, radius):
    distance = np.linalg.norm(np.indices(shape).T - np.array(center), axis=-1).T
    return (radius - distance).astype(np.float32)


def analysis_of(logits, ct=None) -> Analysis:
    """An analysis whose logits are given on the core of the grid of a 3 mm scan of the same shape."""
    matrix = np.diag([3.0, 3.0, 3.0, 1.0]) if ct is None else ct.ijk_to_ras
    grid = ModelGrid.of(logits.shape, matrix, 3.0, 16)
    cells = grid.down(logits, fill=-10.0)
    return Analysis(cells, np.zeros_like(cells), grid, 3.0, "given", "none")


class CountingGrid:
    """The grid of a scan, counting the voxels that are interpolated from it."""

    def __init__(self, grid: ModelGrid):
        self._grid, self.voxels = grid, 0

    def __getattr__(self, name: str):
        return getattr(self._grid, name)

    def tiles(self, box: Box) -> list[Tile]:
        self.voxels += np.prod(boxes.shape(box))
        return self._grid.tiles(box)


def with_settings(**settings) -> MaskParameters:
    return MaskParameters(PostprocessSettings(**settings))


def segmented(analysis: Analysis, parameters: MaskParameters = DEFAULT_MASK_PARAMETERS) -> BoxMask:
    """On a scan that shows the network's input, interpolated."""
    grid = analysis.grid
    hu = grid.up(analysis.hu(boxes.whole(grid.shape)))
    return segmenter.mask(analysis, CtVolume(hu, grid.native_ijk_to_ras), parameters)


SHAPE = (30, 36, 42)
LIVER = ball(SHAPE, (15, 18, 16), 9)


def test_mask_is_the_positive_side_of_the_logits():
    mask = segmented(analysis_of(LIVER))
    np.testing.assert_array_equal(mask.full(), LIVER > 0)
    assert mask.voxels.size < 0.4 * LIVER.size, "only the liver's box is held"


def test_an_empty_answer_is_an_empty_mask():
    mask = segmented(analysis_of(LIVER - 100))
    assert mask.empty
    assert mask.full().shape == SHAPE
    assert measurements.volume_ml(mask.voxels, np.eye(4)) == 0


def test_only_the_largest_component_stays_unless_all_are_asked_for():
    logits = np.maximum(LIVER, ball(SHAPE, (15, 18, 35), 4))
    np.testing.assert_array_equal(segmented(analysis_of(logits)).full(), LIVER > 0)
    both = segmented(analysis_of(logits), with_settings(largest_component=False)).full()
    np.testing.assert_array_equal(both, logits > 0)


def test_a_lesion_inside_is_filled_and_one_at_the_rim_is_not():
    logits = np.minimum(LIVER, -ball(SHAPE, (15, 18, 18), 3))
    filled = segmented(analysis_of(logits)).full()
    assert filled[15, 18, 18] == 1
    assert segmented(analysis_of(logits), with_settings(fill_holes=False)).full()[15, 18, 18] == 0
    at_the_rim = np.minimum(LIVER, -ball(SHAPE, (15, 18, 25), 3))
    assert segmented(analysis_of(at_the_rim)).full()[15, 18, 25] == 0


def test_a_hole_open_at_the_scans_edge_stays_open():
    logits = np.minimum(ball(SHAPE, (0, 18, 16), 9), -ball(SHAPE, (0, 18, 16), 4))
    assert segmented(analysis_of(logits)).full()[0, 18, 16] == 0


def test_threshold_moves_the_border_both_ways():
    volumes = [
        np.count_nonzero(segmented(analysis_of(LIVER), with_settings(threshold=t)).voxels) for t in (0.05, 0.5, 0.95)
    ]
    assert volumes[0] > volumes[1] > volumes[2] > 0
    strict = segmented(analysis_of(LIVER), with_settings(threshold=0.95)).full()
    np.testing.assert_array_equal(strict, np.log(0.95 / 0.05) < LIVER)


def test_smoothing_calms_a_ragged_border():
    ragged = LIVER + np.random.default_rng(0).normal(0, 2, SHAPE).astype(np.float32)

    def surface(smoothing_mm):
        full = segmented(analysis_of(ragged), with_settings(smoothing_mm=smoothing_mm)).full().astype(int)
        return sum(np.abs(np.diff(full, axis=axis)).sum() for axis in range(3))

    assert surface(4.0) < 0.8 * surface(0.0)


def test_settings_leave_the_analysis_as_it_was():
    analysis = analysis_of(LIVER)
    before = analysis.logits.copy()
    segmented(analysis, with_settings(threshold=0.3, smoothing_mm=3.0))
    np.testing.assert_array_equal(analysis.logits, before)


def test_edges_are_smooth_at_native_resolution():
    """A 3 mm answer on a 1 mm scan: volume and surface of the ball, not of its 3 mm steps."""
    ct = CtVolume(np.zeros((90, 108, 126), np.int16), np.eye(4))
    grid = ModelGrid.of(ct.shape, ct.ijk_to_ras, 3.0, 16)
    fine = ball(ct.shape, (45, 54, 48), 27)
    cells = grid.down(fine, fill=-30.0)
    mask = segmented(Analysis(cells, np.zeros_like(cells), grid, 3.0, "given", "none"))
    assert measurements.dice(mask.full(), fine > 0) > 0.995


def test_unusable_scans_do_not_reach_the_network():
    ct = smallCt()
    with pytest.raises(InputError, match="Hounsfield"):
        segmenter.analyze(CtVolume(ct.hu + 2000, ct.ijk_to_ras), NumpyEngine(randomStudent()))


def test_analyze_reports_progress_and_can_be_canceled():
    engine, reported = NumpyEngine(randomStudent()), []
    analysis = segmenter.analyze(smallCt(), engine, lambda fraction, text: reported.append((fraction, text)))
    assert reported[0] == (0.0, "Resampling")
    assert reported[-1][1] == "Network"
    assert set(analysis.seconds) == {"resample", "network"}
    with pytest.raises(Cancelled):
        segmenter.analyze(smallCt(), engine, cancelled=lambda: True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_an_error_and_no_mask(value):
    """One value is enough; it may come from weights that overflow or from a broken library."""
    network = randomStudent()
    network.weights["head.bias"][:] = value
    with pytest.raises(EngineError, match="not finite with random; choose another engine"):
        segmenter.analyze(smallCt(), NumpyEngine(network))


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(2, 3), (2, 3, 4), (2, 3, 4, 5, 6), (2, 3, 4, 5, 6, 7)])
def test_networks_of_any_number_of_levels_run_on_any_scan(widths, tmp_path):
    """The grid's sides follow the student's levels: multiples of 4 to 64 cells."""
    student = weight_file.load(weight_file.save(tmp_path / "deep", randomStudent(widths).weights, randomCard(widths)))
    analysis = segmenter.analyze(smallCt(), NumpyEngine(student))
    assert all(n % 2 ** len(widths) == 0 for n in analysis.logits.shape)
    assert segmented(analysis).full().shape == smallCt().shape
    torch = pytest.importorskip("torch")
    from LiverGTANLib.core.engines.torch_engine import TorchEngine

    again = segmenter.analyze(smallCt(), TorchEngine(student, "cpu", torch.float32))
    np.testing.assert_allclose(again.logits, analysis.logits, atol=1e-3)


def test_measures():
    mask = segmented(analysis_of(LIVER))
    tilted = np.array([[3, 0, 0, 5], [0, 3, 1, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
    assert measurements.volume_ml(mask.voxels, tilted) == pytest.approx(np.count_nonzero(LIVER > 0) * 0.027)
    assert measurements.dice(LIVER > 0, LIVER > 0) == 1
    assert measurements.dice(np.zeros(3), np.zeros(3)) == 1
    assert measurements.dice([1, 1, 0, 0], [1, 0, 1, 0]) == 0.5


@pytest.fixture(scope="module")
def segment():
    engine = NumpyEngine(weight_file.load("student-100k"))
    return lambda ct: segmenter.mask(segmenter.analyze(ct, engine), ct).full()


@pytest.mark.slow
def test_orientations_of_a_real_ct_give_the_same_liver(sampleCt, segment):
    """A few, with each order and both directions of the axes; all 48 are tested on the model grid."""
    expected = segment(sampleCt)
    assert expected.any()
    for axes, flips in ORIENTATIONS[::7]:
        found = segment(reoriented(sampleCt, axes, flips))
        back = np.transpose(found, np.argsort(axes))
        for axis in np.flatnonzero(flips):
            back = np.flip(back, axis)
        assert measurements.dice(back, expected) >= 0.99


def resliced_onto(ct: CtVolume, matrix: np.ndarray, shape: tuple[int, int, int]) -> CtVolume:
    """The scan sampled on another grid, as a scanner set up that way would have stored it."""
    from scipy.ndimage import affine_transform

    to_source = np.linalg.inv(ct.ijk_to_ras) @ matrix
    order = [2, 1, 0]
    hu = affine_transform(
        ct.hu.astype(np.float32),
        to_source[:3, :3][np.ix_(order, order)],
        to_source[order, 3],
        shape,
        order=1,
        cval=-1000,
    )
    return CtVolume(hu.astype(np.int16), matrix, ct.name)


def standard_answer(ct: CtVolume, expected: np.ndarray, matrix: np.ndarray, shape) -> np.ndarray:
    return resliced_onto(CtVolume(expected * 100, ct.ijk_to_ras), matrix, shape).hu > 50


def on_grid(ct: CtVolume, columns: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A matrix with these columns (mm for i, j, k) centered on the scan."""
    matrix = np.eye(4)
    matrix[:3, :3] = columns
    center = ct.ijk_to_ras @ [*((np.array(ct.shape[::-1]) - 1) / 2), 1]
    matrix[:3, 3] = center[:3] - columns @ ((np.array(shape[::-1]) - 1) / 2)
    return matrix


TILT = np.tan(np.deg2rad(15))
TURN = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6), 0], [np.sin(np.pi / 6), np.cos(np.pi / 6), 0], [0, 0, 1]])


@pytest.mark.slow
@pytest.mark.parametrize(
    "columns, shape, least",
    [
        (3 * TURN, (112, 140, 140), 0.97),
        (np.array([[3, 0, 0], [0, 3, 3 * TILT], [0, 0, 3]]), (112, 130, 122), 0.97),
    ],
    ids=["oblique 30 degrees", "gantry tilt 15 degrees"],
)
def test_oblique_and_sheared_scans_give_the_same_liver(sampleCt, segment, columns, shape, least):
    matrix = on_grid(sampleCt, columns, shape)
    expected = standard_answer(sampleCt, segment(sampleCt), matrix, shape)
    found = segment(resliced_onto(sampleCt, matrix, shape))
    assert measurements.dice(found, expected) >= least


@pytest.mark.slow
def test_an_anisotropic_scan_gives_the_same_liver_in_other_orientations(sampleCt, sampleLiver, segment):
    columns, shape = np.diag([0.7, 0.7, 5.0]), (67, 430, 512)
    ct = resliced_onto(sampleCt, on_grid(sampleCt, columns, shape), shape)
    expected = segment(ct)
    truth = standard_answer(sampleCt, sampleLiver, ct.ijk_to_ras, shape)
    assert measurements.dice(expected, truth) > 0.85
    for axes, flips in (((2, 1, 0), (1, 0, 1)), ((1, 0, 2), (0, 1, 1))):
        found = np.transpose(segment(reoriented(ct, axes, flips)), np.argsort(axes))
        found = np.flip(found, [axis for axis in range(3) if flips[axis]])
        assert measurements.dice(found, expected) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    "zoom, words",
    [(2.1, "more than a liver has"), (0.5, "less than an adult's liver has"), (0.35, "as a child's does"), (1, "")],
)
def test_a_liver_too_large_and_a_body_too_small_are_told(sampleCt, zoom, words):
    engine = NumpyEngine(weight_file.load("student-100k"))
    ct = CtVolume(sampleCt.hu, sampleCt.ijk_to_ras @ np.diag([zoom, zoom, zoom, 1]))
    reasons = [finding.reason for finding in segmenter.check(segmenter.analyze(ct, engine))]
    assert len(reasons) == bool(words)
    assert not words or words in reasons[0]


@pytest.mark.parametrize("smoothing_mm", [2.0, 7.0])
def test_logits_are_smoothed_around_the_liver_alone_with_the_same_result(monkeypatch, smoothing_mm):
    analysis, read = analysis_of(LIVER), []
    noise = np.random.default_rng(0).normal(0, 1, analysis.logits.shape).astype(np.float32)
    analysis = dataclasses.replace(analysis, logits=analysis.logits + noise)
    expected = ndimage.gaussian_filter(analysis.logits, smoothing_mm / 3, truncate=3)
    plain = with_settings(smoothing_mm=smoothing_mm, largest_component=False, fill_holes=False)
    whole = postprocess_logits(analysis, plain)
    monkeypatch.setattr(ndimage, "gaussian_filter", lambda array, *_, **__: read.append(array.shape))
    assert whole.cells == boxes.bounding_box(expected > 0)
    np.testing.assert_array_equal(whole.values_in(whole.cells), expected[whole.cells])
    monkeypatch.undo()
    assert not read
    for box in (boxes.whole(expected.shape), boxes.triple(slice(n - 3, n) for n in expected.shape)):
        np.testing.assert_array_equal(whole.values_in(box), expected[box])
