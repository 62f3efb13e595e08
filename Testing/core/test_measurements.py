"""Attenuation inside the mask, the hint at fat, and findings about a missing liver."""

from dataclasses import replace

import numpy as np
import pytest
from core.test_segmenter import LIVER, analysis_of, ball, segmented, with_settings

from LiverGTANLib.core import boxes, measurements, segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.postprocess import Analysis
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.core.volume import CtVolume, VoxelVolumes, to_model_grid
from support.cases import smallCt


def mask_of(inside: np.ndarray) -> BoxMask:
    return BoxMask(inside.astype(np.uint8), (0, 0, 0), inside.shape)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (3.0, 3.0, 3.0)])
def test_attenuation_is_that_of_the_inside_and_not_of_the_rim(spacing):
    shape = tuple(round(90 / s) for s in spacing[::-1])
    place = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing[::-1])]
    radius = np.sqrt(place[0][:, None, None] ** 2 + place[1][:, None] ** 2 + place[2] ** 2)
    rng = np.random.default_rng(0)
    hu = rng.normal(60, 12, shape)
    hu[radius > 28] = -100  # the mask is 4 mm too wide all around
    found = measurements.attenuation(CtVolume(hu.astype(np.float32), np.diag([*spacing, 1])), mask_of(radius < 32))
    assert found.mean_hu == pytest.approx(60, abs=1)
    assert found.sd_hu == pytest.approx(12, abs=1)


def test_attenuation_of_a_part_is_read_at_its_place():
    ct = smallCt()
    whole = np.zeros(ct.shape, bool)
    whole[4:20, 12:36, 12:40] = True
    box = (slice(4, 20), slice(12, 36), slice(12, 40))
    part = BoxMask(whole[box].astype(np.uint8), (4, 12, 12), ct.shape)
    assert measurements.attenuation(ct, part) == measurements.attenuation(ct, mask_of(whole))


def test_attenuation_of_a_real_liver_is_that_of_all_its_inner_voxels(sampleCt, sampleLiver):
    from scipy.ndimage import distance_transform_edt

    found = measurements.attenuation(sampleCt, mask_of(sampleLiver))
    inner = sampleCt.hu[distance_transform_edt(sampleLiver, sampling=sampleCt.spacing[::-1]) > measurements.RIM_MM]
    assert found.mean_hu == pytest.approx(inner.mean(), abs=1)
    assert found.sd_hu == pytest.approx(inner.std(), rel=0.1)


def test_a_mask_that_is_all_rim_has_no_attenuation():
    thin = np.zeros(smallCt().shape, bool)
    assert measurements.attenuation(smallCt(), mask_of(thin)) is None
    thin[12, 10:30, 10:40] = True
    assert measurements.attenuation(smallCt(), mask_of(thin)) is None
    assert measurements.attenuation(smallCt(), BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), thin.shape)) is None


def unequal(ct: CtVolume, factor: float = 3.0) -> CtVolume:
    """The same voxels, of which those of the upper half of the slices are larger."""
    voxel, (k, j, i) = measurements.voxel_ml(ct.ijk_to_ras), ct.shape
    blocks = (np.arange(k) >= k // 2).astype(int), np.zeros(j, int), np.zeros(i, int)
    return replace(ct, voxel_volumes=VoxelVolumes(np.array([voxel, factor * voxel]).reshape(2, 1, 1), blocks))


def test_larger_voxels_count_more_in_volume_and_attenuation():
    ct = smallCt()
    hu = np.zeros(ct.shape, np.int16)
    hu[ct.shape[0] // 2 :] = 100
    ct, whole = replace(ct, hu=hu), mask_of(np.ones(ct.shape, bool))
    part = BoxMask(whole.voxels[3:, 5:, 7:], (3, 5, 7), ct.shape)
    equal, larger = measurements.attenuation(ct, part), measurements.attenuation(unequal(ct), part)
    share = equal.mean_hu / 100  # of the voxels that are in the upper half
    assert larger.mean_hu == pytest.approx(100 * 3 * share / (1 + 2 * share))
    assert larger.sd_hu == pytest.approx(np.sqrt(larger.mean_hu * (100 - larger.mean_hu)))
    assert measurements.mask_ml(unequal(ct), whole) == pytest.approx(2 * measurements.mask_ml(ct, whole))
    voxels = np.prod(part.voxels.shape[1:]) * (part.voxels.shape[0] + 2 * ct.shape[0] // 2)
    assert measurements.mask_ml(unequal(ct), part) == pytest.approx(voxels * measurements.voxel_ml(ct.ijk_to_ras))


def test_larger_voxels_count_more_in_the_volume_that_the_network_found():
    engine = NumpyEngine(weight_file.load("student-100k"))
    equal, larger = (segmenter.analyze(ct, engine, checked=True) for ct in (smallCt(), unequal(smallCt())))
    np.testing.assert_array_equal(equal.logits, larger.logits)
    inside, cells = np.ones(equal.grid.shape, bool), boxes.whole(equal.grid.shape)
    assert larger.volume_ml(inside, cells) == pytest.approx(2 * equal.volume_ml(inside, cells))
    upper = (slice(equal.grid.shape[0] // 2, equal.grid.shape[0]), *cells[1:])
    assert larger.volume_ml(inside[upper], upper) == pytest.approx(3 * equal.volume_ml(inside[upper], upper))


def test_low_attenuation_is_called_a_hint_and_nothing_more():
    assert measurements.hint(measurements.Attenuation(25, 10, 1000)).startswith("hint:")
    assert measurements.hint(measurements.Attenuation(60, 10, 1000)) == ""
    assert measurements.hint(None) == ""


@pytest.mark.parametrize(
    "liters, words",
    [
        (0.12, "Less than 300 mL look like liver to the network (12"),
        (0.29, "Less than 300 mL look like liver to the network (2"),
        (0.31, ""),
        (4.4, ""),
        (4.6, "More than 4.5 L look like liver to the network (46"),
    ],
)
def test_a_liver_of_unusual_size_is_to_be_looked_at(liters, words):
    """Beside it lies something else, which does not count."""
    radius = (liters * 1e6 / 27 / (4 / 3 * np.pi)) ** (1 / 3)
    logits = np.maximum(ball((80, 80, 96), (40, 40, 40), radius), ball((80, 80, 96), (6, 6, 88), 6))
    reasons = [finding.reason for finding in segmenter.check(analysis_of(logits)) if not finding.blocking]
    assert len(reasons) == bool(words)
    assert all(words in reason and "look at the mask" in reason for reason in reasons)
    hint = measurements.unusual_size(1000 * liters)
    assert measurements.asking_once([hint, "", "cut"]) == [*filter(None, [hint]), "cut"]
    assert bool(hint) == bool(words) and (("small" in hint) == (liters < 0.3) and ("large" in hint) == (liters > 4.5))


@pytest.mark.parametrize("radius, told", [(15, True), (12, False)])
def test_a_second_place_that_looks_like_liver_is_told(radius, told):
    """A ball of 1.0 L, and one of 382 or 195 mL: two bodies in one scan."""
    logits = np.maximum(ball((64, 64, 96), (32, 32, 30), 21), ball((64, 64, 96), (32, 32, 78), radius))
    found = segmenter.check(analysis_of(logits))
    assert ["two bodies" in finding.reason for finding in found] == [True] * told


def test_what_is_said_of_a_second_place_holds_for_a_mask_that_has_it():
    """It is said of the scan, once, whatever the settings are."""
    shape = (64, 64, 96)
    analysis = analysis_of(np.maximum(ball(shape, (32, 32, 30), 21), ball(shape, (32, 32, 78), 15)))
    alone, both = (segmented(analysis, with_settings(largest_component=one)) for one in (True, False))
    assert np.count_nonzero(both.voxels) > 1.3 * np.count_nonzero(alone.voxels)
    (finding,) = segmenter.check(analysis)
    assert "which masks leave out by default" in finding.reason and "are left out" not in finding.reason


@pytest.mark.parametrize("noise_hu, told", [(60, True), (0, False)])
def test_a_scan_so_noisy_that_liver_is_missed_is_told(sampleCt, noise_hu, told):
    hu = sampleCt.hu + np.random.default_rng(0).normal(0, noise_hu, sampleCt.shape)
    image, grid = to_model_grid(CtVolume(hu, sampleCt.ijk_to_ras))
    (finding,) = segmenter.check(Analysis(np.full_like(image, -9), image, grid, 2.5, "given", "none"))
    assert ("very noisy (2" in finding.reason) == told


ENDS_OF_AXES = [(0, -1, "upper"), (0, 0, "lower"), (1, -1, "front"), (1, 0, "back"), (2, -1, "right"), (2, 0, "left")]


@pytest.mark.parametrize("axis, end, name", ENDS_OF_AXES)
@pytest.mark.parametrize("turned", [False, True])
def test_a_liver_that_the_scan_cuts_is_told_by_the_end(axis, end, name, turned):
    """A ball of 12 voxels' radius whose center lies 4 voxels from one end of the scan, stored either way round."""
    center, shape, matrix = [20, 20, 20], (40, 40, 40), np.diag([3.0, 3, 3, 1])
    center[axis] = 4 if end == 0 else 35
    voxels = (ball(shape, center, 12) > 0).astype(np.uint8)
    if turned:
        voxels, matrix = np.flip(voxels, axis), matrix @ np.diag([-1.0 if a == 2 - axis else 1 for a in range(3)] + [1])
    ends = measurements.cut_ends(BoxMask(voxels, (0, 0, 0), shape), CtVolume(np.zeros(shape), matrix))
    assert ends == [name]
    assert f"cut by the {name} end" in measurements.incomplete(ends)


@pytest.mark.parametrize("center, ends", [(17, []), (13, []), (12, []), (10, ["lower"]), (-20, [])])
def test_a_complete_liver_that_touches_the_last_slice_is_not_called_cut(center, ends):
    """Scans may show no more than the slices that hold liver, whose outermost are small."""
    voxels = (ball((40, 40, 40), (center, 20, 20), 12) > 0).astype(np.uint8)
    ct = CtVolume(np.zeros(voxels.shape), np.eye(4))
    assert measurements.cut_ends(BoxMask(voxels, (0, 0, 0), voxels.shape), ct) == ends
    assert measurements.incomplete([]) == ""


def padded_scan(kind: str, padding: float) -> tuple[CtVolume, BoxMask]:
    """A ball of liver in noisy tissue, in a scan of 40 voxels a side, and what of it a padded region leaves."""
    shape = (40, 40, 40)
    hu = np.random.default_rng(0).normal(50, 15, shape)
    k, j, i = np.indices(shape)
    outside = {
        "circle": (i - 26) ** 2 + (j - 20) ** 2 > 14**2,
        "third": i < 14,
        "upper slices": k > 25,
        "corner": i + j < 20,
    }[kind]
    hu[outside] = padding
    voxels = ((ball(shape, (20, 20, 20), 12) > 0) & ~outside).astype(np.uint8)
    box = boxes.bounding_box(voxels)
    return CtVolume(hu, np.diag([2.0, 2, 3, 1])), BoxMask(voxels[box], boxes.start(box), shape)


@pytest.mark.parametrize("kind", ["circle", "third", "upper slices"])
@pytest.mark.parametrize("padding", [-1024, -3024, -500, -200])
def test_a_liver_that_padding_inside_the_scan_cuts_is_told(kind, padding):
    ct, mask = padded_scan(kind, padding)
    ct.hu[:, :, -3:] = np.random.default_rng(1).normal(-1000, 10, ct.hu[:, :, -3:].shape)
    ends = measurements.cut_ends(mask, ct)
    assert ends == [measurements.FIELD_OF_VIEW]
    assert "cut by the edge of the field of view" in measurements.incomplete(ends)
    both = measurements.incomplete(["upper", *ends])
    assert "cut by the upper end of the scan and by the edge of the field of view" in both


@pytest.mark.parametrize("kind, padding", [("corner", -1024), ("third", -500)])
def test_padding_beside_the_body_and_clipped_lung_do_not_cut_a_liver(kind, padding):
    """Images of 8 bits may end at -500 HU, which is lung too, and lung lies beside the liver."""
    ct, mask = padded_scan(kind, padding)
    assert measurements.cut_ends(mask, ct) == []


def test_air_with_noise_is_no_padding():
    ct, mask = padded_scan("third", -1024)
    noise = np.random.default_rng(1).normal(-1000, 10, ct.shape).round()
    assert measurements.cut_ends(mask, CtVolume(np.where(ct.hu == -1024, noise, ct.hu), ct.ijk_to_ras)) == []


def test_every_column_of_a_row_has_a_heading():
    assert list(measurements.TITLES) == list(vars(measurements.MeasurementRow("CT", 1489.0)))


def test_no_liver_and_hardly_any_are_reported():
    assert "Less than 300 mL" in segmenter.check(analysis_of(LIVER))[0].reason
    assert "No liver is in view" in segmenter.check(analysis_of(LIVER - 100))[0].reason
    [hardly] = segmenter.check(analysis_of(LIVER - 4))
    assert not hardly.blocking
    assert "Hardly any" in hardly.reason
    assert segmented(analysis_of(LIVER - 4)).empty  # what is reported as none is not outlined
    assert not segmented(analysis_of(LIVER - 4), with_settings(largest_component=False)).empty


def test_a_real_scan_with_a_liver_has_no_finding(sampleCt):
    engine = NumpyEngine(weight_file.load("student-100k"))
    assert segmenter.check(segmenter.analyze(sampleCt, engine)) == []


def test_the_mask_is_to_be_looked_at_once_however_many_remarks_ask_for_it():
    remarks = ["outside", measurements.apart(12.34), measurements.unusual_size(100), measurements.apart(0.04), "cut"]
    told = measurements.asking_once(remarks)
    first = "12.3 mL that points added lie apart from the liver"
    assert told == ["outside", first, "unusually small, look at the mask", "cut"]
    assert "12.3" not in measurements.apart(12.34, False) and "apart" in measurements.apart(12.34, False)
