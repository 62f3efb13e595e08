"""The way up to the scan's grid: the border follows edges of the CT near where the logits put it, and only there."""

import dataclasses

import numpy as np
import pytest
from core.test_region import region
from core.test_segmenter import with_settings
from core.test_volume import ORIENTATIONS, reoriented
from hypothesis import given, settings
from hypothesis import strategies as st

from LiverGTANLib.core import clicks as clicking
from LiverGTANLib.core import guided_filter, measurements, segmenter
from LiverGTANLib.core.clicks import Click
from LiverGTANLib.core.guided_filter import NativeGuide
from LiverGTANLib.core.model_grid import AlignedGrid, ReslicedGrid
from LiverGTANLib.core.postprocess import Analysis, MaskParameters
from LiverGTANLib.core.volume import CtVolume, to_model_grid

pytestmark = pytest.mark.slow

CENTER = np.array([4.0, -7.0, 11.0])  # RAS mm of the ball's middle
RADIUS_MM = 32.0
LIVER_HU, AROUND_HU = 110, 40
FARTHEST_MM = 2 * 3.0 * np.sqrt(3)  # two cells along every axis

AXIAL = np.diag([-1.5, -1.5, 2.0])
TURN = np.array([[np.cos(0.5), -np.sin(0.5), 0], [np.sin(0.5), np.cos(0.5), 0], [0, 0, 1]])
GEOMETRIES = {
    "axial": AXIAL,
    "coronal": np.array([[-1.5, 0, 0], [0, 0, 2.0], [0, -1.5, 0]]),
    "thick slices": np.diag([-1.0, -1.0, 8.0]),
    "oblique": TURN @ AXIAL,
    "sheared": np.array([[1.5, 0, 0], [0, 1.5, 0.7], [0, 0, 2.0]]),
}


def positions(ct: CtVolume) -> np.ndarray:
    """(K, J, I, 3) RAS mm of the voxel centers."""
    kji = np.indices(ct.shape)
    return np.moveaxis(np.tensordot(ct.ijk_to_ras[:3, :3], kji[::-1], 1), 0, -1) + ct.ijk_to_ras[:3, 3]


def ball_ct(columns: np.ndarray = AXIAL, size_mm: float = 120.0, noise: float = 0.0, seed: int = 0) -> CtVolume:
    """A bright ball in a cube of another gray; partial volume at its border."""
    matrix = np.eye(4)
    matrix[:3, :3] = columns
    shape = tuple(round(size_mm / s) for s in np.linalg.norm(columns, axis=0)[::-1])
    matrix[:3, 3] = -columns @ ((np.array(shape[::-1]) - 1) / 2)
    ct = CtVolume(np.zeros(shape, np.int16), matrix)
    share = np.clip(RADIUS_MM - np.linalg.norm(positions(ct) - CENTER, axis=-1) + 0.5, 0, 1)
    hu = AROUND_HU + share * (LIVER_HU - AROUND_HU) + np.random.default_rng(seed).normal(0, noise, shape)
    return CtVolume(np.rint(hu).astype(np.int16), matrix)


def liver_of(ct: CtVolume, offset=(0.0, 0.0, 0.0), radius: float = RADIUS_MM) -> np.ndarray:
    return np.linalg.norm(positions(ct) - CENTER - offset, axis=-1) < radius


def analysis_of(ct: CtVolume, offset=(0.0, 0.0, 0.0), radius: float = RADIUS_MM) -> Analysis:
    """What a network would say that sees the ball `offset` mm from where it is: half a logit a millimeter."""
    image, grid = to_model_grid(ct)
    d, h, w = np.indices(grid.shape)
    ras = np.tensordot(grid.ijk_to_ras[:3, :3], np.stack([w, h, d]), 1) + grid.ijk_to_ras[:3, 3, None, None, None]
    distance = np.linalg.norm(ras - (CENTER + offset)[:, None, None, None], axis=0)
    logits = (0.5 * (radius - distance)).astype(np.float32)
    noise_hu = guided_filter.noise_hu(ct.hu, grid, logits)
    return Analysis(logits, image, grid, 3.0, "given", "none", noise_hu=noise_hu)


def trilinear(analysis: Analysis) -> np.ndarray:
    return analysis.grid.up(analysis.logits) > 0


def guided(ct: CtVolume, analysis: Analysis, parameters: MaskParameters = MaskParameters()) -> np.ndarray:  # noqa: B008
    return segmenter.mask(analysis, ct, parameters).full() > 0


def flat(ct: CtVolume) -> CtVolume:
    return dataclasses.replace(ct, hu=np.full(ct.shape, AROUND_HU, np.int16))


@pytest.mark.parametrize("columns", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("offset", [(1.6, 0, 0), (-0.7, 1.1, 1.3), (0, -1.5, -0.4), (0.2, 0.9, -1.9)])
def test_the_border_follows_an_edge_between_the_cells(columns, offset):
    ct = ball_ct(columns, noise=10)
    analysis, liver = analysis_of(ct, offset), liver_of(ct)
    assert type(analysis.grid) is (AlignedGrid if columns is not TURN @ AXIAL and is_square(columns) else ReslicedGrid)
    plain, found = measurements.dice(trilinear(analysis), liver), measurements.dice(guided(ct, analysis), liver)
    assert found > plain + 0.4 * (1 - plain)


def is_square(columns: np.ndarray) -> bool:
    return bool((np.count_nonzero(columns, axis=0) == 1).all())


@pytest.mark.parametrize("columns", GEOMETRIES.values(), ids=GEOMETRIES)
def test_on_one_gray_the_mask_is_the_trilinear_one(columns):
    ct = flat(ball_ct(columns))
    analysis = analysis_of(ct, (0.3, 0.2, 0.1))
    np.testing.assert_array_equal(guided(ct, analysis), trilinear(analysis))


def test_all_48_orientations_give_the_same_mask():
    ct = ball_ct(noise=15)
    expected = guided(ct, analysis_of(ct, (1, 1, 1)))
    for axes, flips in ORIENTATIONS:
        other = reoriented(ct, axes, flips)
        found = np.transpose(guided(other, analysis_of(other, (1, 1, 1))), np.argsort(axes))
        found = np.flip(found, [axis for axis in range(3) if flips[axis]])
        assert np.count_nonzero(found != expected) <= 3  # rounding


@given(st.integers(0, 10**6), st.sampled_from(sorted(GEOMETRIES)), st.floats(0, 200), st.sampled_from([0.5, 3.0]))
@settings(max_examples=25, deadline=None)
def test_whatever_the_ct_shows_no_voxel_changes_far_from_the_trilinear_border(seed, geometry, noise, slope):
    """Among tissue of the liver's own gray and metal, at random."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    ct = ball_ct(GEOMETRIES[geometry])
    rng = np.random.default_rng(seed)
    grain = gaussian_filter(rng.normal(0, 1, ct.shape), 3 / ct.spacing[::-1])
    hu = ct.hu + noise * grain / grain.std()
    hu[rng.random(ct.shape) < 0.001] = 3000
    ct = dataclasses.replace(ct, hu=hu.astype(np.int16))
    analysis = analysis_of(ct)
    analysis = dataclasses.replace(analysis, logits=analysis.logits * np.float32(slope))
    plain, found = trilinear(analysis), guided(ct, analysis)
    spacing = ct.spacing[::-1]
    distance = np.where(plain, distance_transform_edt(plain, spacing), distance_transform_edt(~plain, spacing))
    assert distance[plain != found].max(initial=0) <= FARTHEST_MM + np.linalg.norm(spacing)


def test_an_organ_of_the_same_gray_that_touches_the_liver_is_not_taken():
    ct = flat(ball_ct())
    ct.hu[...] = np.where(liver_of(ct) | (positions(ct)[..., 0] < CENTER[0]), LIVER_HU, AROUND_HU)
    analysis = analysis_of(ct)
    found = guided(ct, analysis)
    assert measurements.dice(found, liver_of(ct)) > measurements.dice(trilinear(analysis), liver_of(ct)) - 0.005


@pytest.mark.parametrize("noise", [0, 20, 40, 80])
def test_noise_is_measured_and_does_not_make_the_border_worse_than_trilinear(noise):
    ct = ball_ct(np.diag([-0.8, -0.8, 1.5]), noise=noise)
    analysis = analysis_of(ct, (0.8, -0.8, 0.8))
    assert analysis.noise_hu == pytest.approx(noise, rel=0.1, abs=1)
    liver = liver_of(ct)
    assert measurements.dice(guided(ct, analysis), liver) > measurements.dice(trilinear(analysis), liver)


def test_noise_of_nothing_is_none():
    ct = ball_ct(noise=30)
    analysis = analysis_of(ct)
    assert guided_filter.noise_hu(ct.hu, analysis.grid, analysis.logits - 100) == 0
    assert guided_filter.noise_hu(ct.hu, analysis.grid, analysis.logits - 14) == 0  # a few cells


def test_vessels_and_lesions_do_not_count_as_noise():
    ct = ball_ct(noise=12)
    hu = ct.hu.copy()
    hu[::7, :, ::5] += 80
    found = guided_filter.noise_hu(hu, *(lambda a: (a.grid, a.logits))(analysis_of(ct)))
    assert found < 25


def test_thick_slices_are_smoothed_in_plane_only():
    rng = np.random.default_rng(0)
    hu = rng.normal(60, 30, (6, 40, 40)).astype(np.int16)
    whole = tuple(slice(0, n) for n in hu.shape)
    guide = NativeGuide(hu, np.array([5.0, 0.7, 0.7]), 30.0)
    smooth = guide.at(whole)
    assert (smooth * guide.unit).std() < 0.5 * hu.std()
    for k in range(len(hu)):
        alone = NativeGuide(hu[k : k + 1], np.array([5.0, 0.7, 0.7]), 30.0).at((slice(0, 1), *whole[1:]))
        np.testing.assert_array_equal(smooth[k], alone[0])


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (0.7, 0.7, 0.7), (3.0, 0.6, 0.9), (3.0, 3.0, 3.0)])
def test_the_smoothed_ct_is_a_gaussian_mean_up_to_the_faces_and_a_box_is_a_part_of_it(spacing):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(1)
    hu = np.clip(gaussian_filter(rng.normal(0, 900, (20, 30, 26)), 1) + 80, -300, 500).astype(np.int16)
    guide = NativeGuide(hu, np.array(spacing), 30.0)
    whole = guide.at(tuple(slice(0, n) for n in hu.shape))
    sigma = [1.0 / s if 1.0 / s >= 0.5 else 0.0 for s in spacing]
    expected = gaussian_filter(np.clip(hu, *guided_filter.GUIDE_HU).astype(np.float32), sigma, mode="nearest")
    assert np.abs(whole * guide.unit - expected).mean() < 4
    box = (slice(3, 9), slice(0, 11), slice(13, 26))
    np.testing.assert_array_equal(guide.at(box), whole[box])


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64, np.uint16, np.uint8])
def test_every_type_of_voxels_gives_the_same_mask(dtype):
    ct = ball_ct(noise=10)
    other = dataclasses.replace(ct, hu=ct.hu.astype(dtype))
    np.testing.assert_array_equal(guided(other, analysis_of(other)), guided(ct, analysis_of(ct)))


def test_the_fit_is_finite_whatever_the_numbers():
    rng = np.random.default_rng(2)
    for scale in (0, 1e-20, 1, 1e6):
        field = (rng.normal(size=(5, 6, 7)) * scale).astype(np.float32)
        for hu in (np.zeros_like(field), field * 1e3, np.full_like(field, 3e4)):
            slope, offset = guided_filter.fit(field, hu)
            assert np.isfinite(slope).all() and np.isfinite(offset).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 5), (3, 2, 6)])
def test_means_are_those_of_the_cells_that_there_are(shape):
    values = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    around = guided_filter.CellNeighborhoods(shape)
    flat = around.flat(values)
    means, sums = around.cells(around.mean(flat)), around.cells(around.sum(flat))
    for place in np.ndindex(shape):
        beside = tuple(slice(max(0, p - 1), p + 2) for p in place)
        assert means[place] == pytest.approx(values[beside].mean(), abs=1e-6)
        assert sums[place] == pytest.approx(values[beside].sum(), abs=1e-5)


def test_a_liver_cut_by_the_scans_edge_is_outlined_up_to_it():
    ct = ball_ct(noise=10)
    cut = CtVolume(ct.hu[35:, :, 20:], ct.ijk_to_ras.copy())
    cut.ijk_to_ras[:3, 3] += ct.ijk_to_ras[:3, :3] @ [20, 0, 35]
    analysis, liver = analysis_of(cut, (1.2, -0.8, 0.9)), liver_of(cut)
    assert liver[0].any() and liver[:, :, 0].any()
    found = guided(cut, analysis)
    assert measurements.dice(found, liver) > measurements.dice(trilinear(analysis), liver)
    assert measurements.dice(found[0], liver[0]) > 0.95


def test_no_liver_gives_an_empty_mask_and_liver_everywhere_a_full_one():
    ct = ball_ct()
    analysis = analysis_of(ct)
    empty = segmenter.mask(dataclasses.replace(analysis, logits=analysis.logits - 100), ct)
    assert empty.empty and empty.full().shape == ct.shape
    everywhere = dataclasses.replace(analysis, logits=np.full_like(analysis.logits, 5))
    assert guided(ct, everywhere).all()


def test_a_scan_of_another_shape_is_refused():
    ct = ball_ct()
    with pytest.raises(ValueError, match="analyzed"):
        segmenter.mask(analysis_of(ct), dataclasses.replace(ct, hu=ct.hu[1:]))


@pytest.mark.parametrize("columns", [AXIAL, TURN @ AXIAL], ids=["aligned", "oblique"])
def test_a_region_shows_its_part_of_the_whole(columns):
    ct = ball_ct(columns, noise=20)
    analysis = analysis_of(ct, (1, 1, 1))
    box = region(CENTER + 9, (40.0, 50.0, 33.0), TURN)
    inside = (np.abs((positions(ct) - CENTER - 9) @ TURN) <= np.array([20, 25, 16.5]) * (1 + 1e-6)).all(axis=-1)
    expected = guided(ct, analysis) & inside
    np.testing.assert_array_equal(guided(ct, analysis, MaskParameters(region=box)), expected)


@pytest.mark.parametrize("columns", [AXIAL, TURN @ AXIAL], ids=["aligned", "oblique"])
def test_a_click_is_answered_as_from_a_fresh_start_and_only_where_it_reaches(columns):
    ct = ball_ct(columns, noise=20)
    analysis = analysis_of(ct, (1, 1, 1))
    rng = np.random.default_rng(4)
    before, places = guided(ct, analysis), positions(ct)
    clicks = []
    for _ in range(4):
        voxel = tuple(rng.integers(np.argwhere(before).min(axis=0) - 2, np.argwhere(before).max(axis=0) + 3))
        clicks.append(Click(tuple(places[voxel]), not before[voxel]))
        after = guided(ct, analysis, MaskParameters(clicks=tuple(clicks)))
        fresh = guided(ct, dataclasses.replace(analysis), MaskParameters(clicks=tuple(clicks)))
        np.testing.assert_array_equal(after, fresh)
        assert after[voxel] == clicks[-1].liver
        changed = after != before
        assert (after[changed] == clicks[-1].liver).all()
        reach = np.abs(places - places[voxel]).max(axis=-1)
        assert reach[changed].max(initial=0) < clicking.REACH_MM + 4 * 3
        before = after


def test_threshold_moves_the_guided_border_both_ways():
    ct = ball_ct(noise=10)
    analysis = analysis_of(ct)
    sizes = [guided(ct, analysis, with_settings(threshold=t)).sum() for t in (0.02, 0.5, 0.98)]
    assert sizes[0] > sizes[1] > sizes[2] > 0


@pytest.mark.parametrize("columns", [AXIAL, TURN @ AXIAL], ids=["aligned", "oblique"])
def test_no_specks_and_no_tiny_holes_are_left_unless_they_were_clicked(columns):
    """In fat full of small vessels, where every second voxel beside the border looks like the liver."""
    from scipy.ndimage import label

    ct = ball_ct(columns)
    rng = np.random.default_rng(5)
    ct.hu[(rng.random(ct.shape) < 0.3) & ~liver_of(ct)] = LIVER_HU
    ct.hu[(rng.random(ct.shape) < 0.1) & liver_of(ct)] = AROUND_HU
    analysis = analysis_of(ct)
    found = guided(ct, analysis)
    assert label(found)[1] == 1 and label(~found)[1] == 1
    raw = guided(ct, analysis, with_settings(largest_component=False, fill_holes=False))
    assert label(raw)[1] > 1 and label(~raw)[1] > 1
    outside = tuple(np.argwhere(~found & (np.linalg.norm(positions(ct) - CENTER, axis=-1) > RADIUS_MM + 15))[0])
    inside = tuple(np.argwhere(np.linalg.norm(positions(ct) - CENTER, axis=-1) < 5)[0])
    clicks = Click(tuple(positions(ct)[outside]), True), Click(tuple(positions(ct)[inside]), False)
    clicked = guided(ct, analysis, MaskParameters(clicks=clicks))
    assert clicked[outside] and not clicked[inside]
