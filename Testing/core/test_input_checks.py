"""What a scan is refused for or warned about, each with its reason."""

import numpy as np
import pytest
from scipy import ndimage

from LiverGTANLib.core import input_checks, segmenter, volume
from LiverGTANLib.core.engines.factory import InstalledEngines
from LiverGTANLib.core.volume import CtVolume, InputError, to_model_grid
from LiverGTANLib.standalone import image_files
from support.cases import smallCt
from training.data import samples


def broken(change) -> CtVolume:
    ct = smallCt()
    hu, matrix = ct.hu.astype(np.float32), ct.ijk_to_ras.copy()
    hu, matrix = change(hu, matrix) or (hu, matrix)
    return CtVolume(hu, matrix)


def set_value(value):
    def change(hu, matrix):
        hu[3, 4, 5] = value

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (set_value(np.nan), "NaN"),
        (set_value(np.inf), "infinite"),
        (lambda hu, m: (hu[:3], m), "slices"),
        (lambda hu, m: (hu[:, :, :0], m), "no voxels"),
        (lambda hu, m: (hu[..., None], m), "dimensions"),
        (lambda hu, m: (hu, m * np.diag([0, 1, 1, 1])), "spacing"),
        (lambda hu, m: (hu, m * 100), "spacing"),
        (lambda hu, m: (hu, m * np.nan), "geometry"),
        (lambda hu, m: (hu, np.array([[3, 3, 0, 0], [0, 0.1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])), "axes"),
        (lambda hu, m: (hu + 1024, m), "1000 too high"),
        (lambda hu, m: (np.where(hu < -900, -2000, hu + 1000), m), "1000 too high"),
        (lambda hu, m: (np.clip(hu, 0, 80), m), "clipped to 0 to 80"),
        (lambda hu, m: (np.maximum(hu, 0), m), "an MR, an 8-bit, a clipped or a shifted image"),
        (lambda hu, m: (hu / 1000, m), "nothing to see"),
        (lambda hu, m: (hu * 0 - 1000 + np.arange(48) * 10, m), "soft tissue"),
        (lambda hu, m: (hu.astype(complex), m), "Hounsfield"),
    ],
)
def test_unusable_scans_are_refused_with_a_reason(change, words):
    ct = broken(change)
    with pytest.raises(InputError, match=words):
        input_checks.require_usable(ct)
    assert any(f.blocking and words in f.reason for f in input_checks.check(ct))


def joined(*parts):
    return np.concatenate(parts)


def noise(hu: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 10, hu.shape).astype(np.int16)


@pytest.mark.parametrize(
    "change, blocking, words",
    [
        (lambda hu: hu + 300, False, "HU too high (fat lies near 1"),
        (lambda hu: hu + 100, False, "80 HU too high"),
        (lambda hu: hu - 100, False, "120 HU too low"),
        (lambda hu: hu // 2, False, "may be scaled"),
        (lambda hu: hu * 2, False, "may be scaled"),
        (lambda hu: hu // 10, False, "air is near -1000 HU"),
        (lambda hu: np.maximum(hu, -90), False, "air is near -1000 HU"),
        (lambda hu: (hu + 1024) * 2 - 1024, True, "the values are scaled; check the rescale slope"),
        (lambda hu: hu.astype(np.uint16), True, "without their sign"),
        (lambda hu: hu.astype(np.uint32), True, "without their sign"),
        (lambda hu: np.where(hu < 0, hu, hu.astype(np.int32) - 2**16), True, "a sign that was not stored"),
        (lambda hu: hu.astype(np.int8), True, "as 8 bits hold"),
        (lambda hu: np.repeat(hu[::2], 2, axis=0), False, "56 slices (the first: slice 2) repeat the one before"),
        (lambda hu: joined(hu[:50], hu[49:50], hu[50:]), False, "Slice 51 repeats the one before"),
        (lambda hu: joined(hu[:50], hu[50:53] * 0 - 1024, hu[53:]), False, "3 slices (the first: slice 51) are empty"),
        (lambda hu: hu.reshape(56, 2, *hu.shape[1:])[:, ::-1].reshape(hu.shape), False, "exchanged in pairs"),
        (lambda hu: joined(hu[:44], hu[45:]), False, "From slice 44 to 45 the body changes more"),
        (lambda hu: joined(hu[:50], hu[49:50] + noise(hu[0]), hu[51:]), False, "Slices 50 and 51 are more alike"),
        (lambda hu: joined(hu[:50], hu[50:80][::-1], hu[80:]), False, "do not fit together"),
        (lambda hu: joined(hu[:60], hu[60:, :, ::-1]), False, "Slices 60 and 61 do not fit together"),
        (lambda hu: joined(hu[:60], hu[72:]), False, "Slices 60 and 61 do not fit together"),
        (lambda hu: joined(hu[:60], hu[60:] + 100), False, "Slices 60 and 61 do not fit together"),
        (lambda hu: np.stack([hu, np.roll(hu, 4, 2)], 1).reshape(-1, *hu.shape[1:]), False, "series seem to be mixed"),
        (lambda hu: hu[np.random.default_rng(0).permutation(len(hu))], False, "out of order"),
    ],
)
def test_a_real_ct_with_wrong_values_or_slices_is_noticed(sampleCt, change, blocking, words):
    (finding,) = input_checks.check(CtVolume(change(sampleCt.hu), sampleCt.ijk_to_ras))
    assert finding.blocking == blocking
    assert words in finding.reason


UPRIGHT = {"left to right": (2, 0, 1), "front to back": (1, 0, 2)}


def upright(ct: CtVolume, order: str) -> CtVolume:
    """The same CT, its slices stored from left to right, or from front to back."""
    axes = UPRIGHT[order]
    columns = [2 - axis for axis in axes[::-1]]
    return CtVolume(np.ascontiguousarray(ct.hu.transpose(axes)), ct.ijk_to_ras[:, [*columns, 3]])


@pytest.mark.parametrize("order", UPRIGHT)
def test_table_arms_and_skin_are_no_fault_of_upright_slices(sampleFolder, order):
    assert input_checks.check(upright(image_files.read_ct(samples.DICOM), order)) == []


@pytest.mark.parametrize("order", UPRIGHT)
@pytest.mark.parametrize("name", ["acrin_flt_breast_001", "hcc_tace_seg_006", "hcc_tace_seg_048", "tcga_thca_de_a4ma"])
@pytest.mark.slow
def test_whole_cts_have_no_finding_in_whatever_order_they_are_stored(sharedData, order, name):
    assert input_checks.check(upright(image_files.read_ct(sharedData / "ct" / f"{name}.nii.gz"), order)) == []


def beside_air(ct: CtVolume, value: int) -> CtVolume:
    """With 15 slices before and behind that show nothing of the body."""
    return CtVolume(np.pad(ct.hu, ((15, 15), (0, 0), (0, 0)), constant_values=value), ct.ijk_to_ras)


@pytest.mark.parametrize("order", UPRIGHT)
@pytest.mark.parametrize("value", [-1024, -3024])
def test_empty_upright_slices_beside_the_body_are_not_missing(sampleCt, order, value):
    assert input_checks.check(beside_air(upright(sampleCt, order), value)) == []


@pytest.mark.parametrize("order", UPRIGHT)
@pytest.mark.parametrize(
    "change, words",
    [
        (lambda hu: joined(hu[:60], hu[60:, :, ::-1]), "Slices 60 and 61 do not fit together"),
        (lambda hu: joined(hu[:60], hu[66:]), "Slices 60 and 61 do not fit together"),
        (lambda hu: joined(hu[:60], hu[60:] + 100), "Slices 60 and 61 do not fit together"),
        (lambda hu: joined(hu[:50], hu[50:80][::-1], hu[80:]), "do not fit together"),
        (lambda hu: joined(hu[:60], np.roll(hu, 30, 1)[60:]), "Slices 60 and 61 do not fit together"),
        (lambda hu: joined(hu[:70], hu[60:61], hu[71:]), "do not fit together"),
        (lambda hu: np.stack([hu, np.roll(hu, 4, 2)], 1).reshape(-1, *hu.shape[1:]), "series seem to be mixed"),
        (lambda hu: joined(hu[:30], hu[np.random.default_rng(0).permutation(70) + 30], hu[100:]), "out of order"),
        (lambda hu: joined(hu[:60], hu[59:60], hu[60:]), "Slice 61 repeats the one before"),
        (lambda hu: joined(hu[:50], hu[50:53] * 0 - 1024, hu[53:]), "3 slices (the first: slice 51) are empty"),
        (lambda hu: joined(hu[:60] * 0 - 1024, hu[60:]), "60 slices (the first: slice 1) are empty"),
        (lambda hu: joined(hu[:60], hu[60:] * 0 - 1024), "(the first: slice 61) are empty"),
    ],
)
def test_faults_of_upright_slices_are_told(sampleCt, order, change, words):
    ct = beside_air(upright(sampleCt, order), -1024)
    noise_of_air = np.random.default_rng(0).normal(-1000, 10, (15, *ct.shape[1:]))  # so that it is not empty
    ct.hu[:15] = ct.hu[-15:] = noise_of_air
    (finding,) = input_checks.check(CtVolume(change(ct.hu), ct.ijk_to_ras))
    assert not finding.blocking and words in finding.reason


def filled(shape, kind: str) -> np.ndarray:
    """(K, J, I) bool, what a resampled, registered or masked CT may hold a constant in."""
    k, j, i = (index / n - 0.5 for index, n in zip(np.indices(shape), shape))
    return {
        "rotated": (abs(j + 0.15 * i) > 0.45) | (abs(i + 0.2 * k) > 0.45),
        "circle": j**2 + i**2 > 0.25,
        "lower slices": k < -0.2,
        "slices inside": abs(k) < 0.05,
    }[kind]


@pytest.mark.parametrize("kind", ["rotated", "circle", "lower slices", "slices inside"])
@pytest.mark.parametrize("value", [0, 40])
def test_areas_filled_with_what_looks_like_tissue_are_refused(kind, value):
    ct = smallCt((40, 80, 80))
    ct.hu[filled(ct.shape, kind)] = value
    (finding,) = input_checks.check(ct)
    assert finding.blocking
    assert f"filled with {value} HU" in finding.reason and "set them to -1024" in finding.reason


@pytest.mark.parametrize("kind", ["rotated", "circle"])
def test_areas_filled_with_air_are_as_good_as_air(kind):
    ct = smallCt((40, 80, 80))
    ct.hu[filled(ct.shape, kind)] = -1024
    assert input_checks.check(ct) == []


def test_a_real_ct_whose_background_is_zero_is_refused(sampleCt):
    (finding,) = input_checks.check(CtVolume(np.where(sampleCt.hu < -200, 0, sampleCt.hu), sampleCt.ijk_to_ras))
    assert finding.blocking and "filled with 0 HU" in finding.reason


@pytest.mark.parametrize(
    "value, low, words",
    [(0, 0.52, "0 HU, which looks like tissue"), (-100, 0.4, "-100 HU, which looks like fat"), (-500, 0.4, "")],
)
def test_thin_wedges_and_fills_that_look_like_fat_are_told(sampleCt, value, low, words):
    _, j, i = (index / n - 0.5 for index, n in zip(np.indices(sampleCt.shape), sampleCt.shape))
    wedge = abs(i + 0.1 * j) > low
    findings = input_checks.check(CtVolume(np.where(wedge, value, sampleCt.hu), sampleCt.ijk_to_ras))
    assert len(findings) == bool(words)
    assert all(not finding.blocking and words in finding.reason for finding in findings)


def test_a_part_that_was_painted_over_is_told(sampleCt):
    hu = sampleCt.hu.copy()
    hu[40:60, 40:60, 40:60] = 30
    (finding,) = input_checks.check(CtVolume(hu, sampleCt.ijk_to_ras))
    assert not finding.blocking and "nothing but 30 HU" in finding.reason and "painted over" in finding.reason


def test_one_slice_filled_with_tissue_is_not_called_missing(sampleCt):
    hu = sampleCt.hu.copy()
    hu[51] = 0
    (finding,) = input_checks.check(CtVolume(hu, sampleCt.ijk_to_ras))
    assert not finding.blocking
    assert "Slice 52 is filled with 0 HU" in finding.reason and "missing" not in finding.reason


@pytest.mark.parametrize("value", [3071, 120])
def test_text_that_is_drawn_into_all_slices_is_told(sampleCt, value):
    hu = sampleCt.hu.copy()
    hu[:, 50:57:2, 40:49] = value
    (finding,) = input_checks.check(CtVolume(hu, sampleCt.ijk_to_ras))
    assert "36 pixels hold the same values in all slices" in finding.reason and not finding.blocking


@pytest.mark.parametrize(
    "factors, order, words",
    [
        ((1.5, 1, 1), "kji", "4.5 x 3 x 3 mm"),
        ((1.5, 1, 1), "jki", ""),  # slices that stand upright may be farther apart than pixels
        ((0.8, 1, 0.5), "kji", "2.4 x 3 x 1.5 mm"),
        ((0.8, 1, 0.5), "jki", "2.4 x 1.5 x 3 mm"),
        ((0.95, 1, 2), "kji", "2.85 x 3 x 6 mm"),
        ((0.99, 1, 2), "kji", ""),
    ],
)
def test_pixels_that_are_not_square_are_told(sampleCt, factors, order, words):
    axes = ["kji".index(axis) for axis in order]
    columns = [2 - axis for axis in axes[::-1]]
    matrix = (sampleCt.ijk_to_ras @ np.diag([*factors, 1]))[:, [*columns, 3]]
    findings = input_checks.check(CtVolume(sampleCt.hu.transpose(axes), matrix))
    assert len(findings) == bool(words)
    assert all(words in finding.reason and not finding.blocking for finding in findings)


@pytest.mark.slow
@pytest.mark.parametrize("factor, words", [(1, ""), (1.6, "more than nearly all do"), (0.6, "as a child's does")])
def test_a_body_that_is_too_large_or_too_small_is_told(sampleCt, factor, words):
    engine = InstalledEngines().create("student-30k", "numpy")
    scaled = CtVolume(sampleCt.hu, sampleCt.ijk_to_ras @ np.diag([factor] * 3 + [1]))
    reasons = " ".join(finding.reason for finding in segmenter.check(segmenter.analyze(scaled, engine)))
    assert words in reasons and bool(words) == bool(reasons)


def test_a_real_ct_has_no_finding(sampleCt):
    assert input_checks.check(sampleCt) == []


def test_a_real_mr_is_refused(sampleFolder):
    with pytest.raises(InputError, match="MR"):
        input_checks.require_usable(image_files.read_ct(samples.MR))


@pytest.mark.parametrize(
    "low, high, words",
    [(-160, 240, ""), (-1000, 300, ""), (-100, 240, "clipped at -100 and 240 HU"), (-57, 164, "clipped to -57 to 164")],
)
def test_a_clipped_ct_is_called_clipped_where_it_matters(sampleCt, low, high, words):
    findings = input_checks.check(CtVolume(np.clip(sampleCt.hu, low, high), sampleCt.ijk_to_ras))
    assert [finding.blocking for finding in findings] == ([low > -60] if words else [])
    assert not words or words in findings[0].reason


@pytest.mark.parametrize("shift, words", [(1000, "1000 too high"), (1024, "1000 too high"), (-1024, "hardly any soft")])
def test_a_real_ct_with_a_wrong_intercept_is_refused(sampleCt, shift, words):
    shifted = sampleCt.hu.astype(np.int32) + shift
    shifted[:, :10] = -3024  # padding hides that there is nothing between it and 0
    with pytest.raises(InputError, match=words):
        input_checks.require_usable(CtVolume(shifted, sampleCt.ijk_to_ras))


def huge(matrix: np.ndarray) -> CtVolume:
    """512 x 512 x 40 voxels of 20 mm, which take no memory."""
    geometry = np.eye(4)
    geometry[:3, :3] = 20 * matrix
    return CtVolume(np.broadcast_to(np.int16(0), (40, 512, 512)), geometry)


@pytest.mark.parametrize("matrix", [np.eye(3), [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]], ids=["aligned", "oblique"])
def test_a_scan_too_large_for_the_memory_is_refused_before_anything_is_allocated(matrix):
    ct = huge(np.asarray(matrix))
    assert ct.cells() > 3e9
    (finding,) = input_checks.check(ct)
    assert (
        finding.blocking and "10240 x 10240 x 800 mm" in finding.reason and "correct its voxel size" in finding.reason
    )
    engine = InstalledEngines().create("student-30k", "numpy")
    with pytest.raises(InputError, match="more than fits into memory"):
        segmenter.analyze(ct, engine)


def test_a_whole_body_is_not_too_large_and_finer_cells_count():
    body = CtVolume(np.broadcast_to(np.int16(0), (400, 512, 512)), np.diag([800 / 512, 800 / 512, 5, 1.0]))
    reasons = " ".join(finding.reason for finding in input_checks.check(body))
    assert "fits into memory" not in reasons
    with pytest.raises(InputError, match=r"in cells of 1\.5 mm"):
        to_model_grid(body, spacing_mm=1.5)


def test_very_thick_slices_are_a_warning_only():
    findings = input_checks.check(smallCt(spacing=8.0))
    assert [f.blocking for f in findings] == [False]
    assert "8.0 mm apart" in findings[0].reason


@pytest.mark.parametrize("degrees", [3, 12, 25])
def test_gantry_tilt_is_reported_with_its_angle_and_does_not_block(degrees):
    sheared = smallCt().ijk_to_ras.copy()
    sheared[1, 2] = np.tan(np.deg2rad(degrees)) * sheared[2, 2]
    findings = input_checks.check(CtVolume(smallCt().hu, sheared))
    assert [f.blocking for f in findings] == [False]
    assert f"{degrees} degrees" in findings[0].reason


def test_an_oblique_scan_is_not_tilted():
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    assert input_checks.check(CtVolume(smallCt().hu, turn @ smallCt().ijk_to_ras)) == []


@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 128, 129])
def test_no_more_voxels_are_sampled_than_said(count):
    axes = [np.zeros(np.roll([count, 2, 2], axis), np.int16) for axis in range(3)]
    found = [volume.sampled(hu).shape[axis] for axis, hu in enumerate(axes)]
    assert found == [found[0]] * 3 and min(count, volume.SAMPLED_PER_AXIS / 2) <= found[0]
    assert found[0] <= volume.SAMPLED_PER_AXIS


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_flat_areas_are_those_whose_surroundings_hold_one_value(dtype):
    rng, side = np.random.default_rng(0), np.arange(5) - 2
    hu = rng.integers(0, 90, (3, 30, 41)) // 30 * 40 - (0 if dtype == np.uint8 else 200)
    for value in (40, 80, hu.max()):
        low = rng.integers(0, 20, 2)
        hu[:, low[0] : low[0] + 9, low[1] : low[1] + 15] = value
    hu, around = hu.astype(dtype), side[:, None] ** 2 + side**2 <= 4
    low, high = (
        np.stack([extreme(one, footprint=around, mode="nearest") for one in hu])
        for extreme in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    values = hu[(low == high) & (hu > -160) & (hu < hu.max())]
    expected = {float(v): np.count_nonzero(values == v) / hu.size for v in np.unique(values)}
    assert expected and input_checks.flat_values(hu) == pytest.approx(expected)
