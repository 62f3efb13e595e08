"""Masks that do not lie on the liver, or not on all of it, are refused or told by case; the others are not bothered."""

import re
from dataclasses import replace

import numpy as np
import pytest

from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone.nifti import write_nifti
from support.volumes import write_image
from training.data import cache, layouts
from training.data.cache import prepare, resampled
from training.data.mask_checks import check_geometry, check_mask
from training.data.scans import Scan, ScanError
from training.data.student_check import check_against_student
from training.errors import UserError
from training.synthesis.phantom import ct_phantom

MM = 6.0


@pytest.fixture(scope="module")
def body():
    return ct_phantom(0, MM)


def findings(ct, mask):
    found = list(check_mask(ct, mask, *resampled(ct, mask, MM), MM))
    return [one.reason for one in found if one.blocking], [one.reason for one in found if not one.blocking]


def cut(ct, levels):
    matrix = ct.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2] * levels.start
    return CtVolume(ct.hu[levels], matrix)


def test_a_whole_liver_is_nothing_to_speak_of(body):
    assert findings(*body) == ([], [])


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ((0,), "head and feet"),
        ((1,), "front and back"),
        ((2,), "left and right"),
        ((1, 2), "front and back, and left and right"),
    ],
)
def test_a_mirrored_mask_is_refused_and_its_axes_are_named(body, axes, words):
    ct, mask = body
    refused, _ = findings(ct, np.flip(mask, axes))
    assert any(f"when {words} are exchanged" in reason for reason in refused)
    assert any("mirrored against each other" in reason for reason in findings(ct, np.flip(mask, 2))[0])


def test_another_scans_mask_is_refused(body):
    ct, mask = body
    everything = np.zeros_like(mask)
    everything[mask.nonzero()[0].min() :, 8:38, 10:60] = True
    assert any("air, fat or bone" in reason for reason in findings(ct, everything)[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [-5, 5])
def test_a_mask_that_lies_beside_the_liver_is_refused(body, axis, shift):
    ct, mask = body
    assert any(
        "flipped, shifted or of another scan" in reason for reason in findings(ct, np.roll(mask, shift, axis))[0]
    )


@pytest.mark.parametrize("mean", [-5.0, -20.0])
def test_a_fatty_liver_with_noise_is_told_not_refused(body, mean):
    ct, mask = body
    hu = ct.hu.astype(np.float32)
    hu[mask] = np.random.default_rng(0).normal(mean, 15, mask.sum())
    refused, told = findings(CtVolume(hu, ct.ijk_to_ras), mask)
    assert not refused and (mean > -20 or "look whether it lies on the liver" in told[0])


def test_a_mask_on_fat_is_refused(body):
    ct, mask = body
    hu = ct.hu.copy()
    hu[mask] = -100
    assert "median -100 HU" in findings(CtVolume(hu, ct.ijk_to_ras), mask)[0][0]


def test_deposits_in_a_part_of_the_liver_are_told_not_refused(body):
    ct, mask = body
    hu, dense = ct.hu.copy(), mask & (np.random.default_rng(0).random(mask.shape) < 0.2)
    hu[dense] = 900
    refused, told = findings(CtVolume(hu, ct.ijk_to_ras), mask)
    assert not refused and len(told) == 1


def test_a_lesion_alone_is_not_a_liver(body):
    ct, mask = body
    lesion = np.zeros_like(mask)
    middle = np.argwhere(mask).mean(axis=0).astype(int)
    lesion[tuple(slice(m - 3, m + 3) for m in middle)] = True
    assert any("46 mL" in reason or "47 mL" in reason for reason in findings(ct, lesion & mask)[0])


def test_a_scan_that_ends_within_the_liver_is_told(body):
    ct, mask = body
    levels = np.flatnonzero(mask.any((1, 2)))
    half = slice(int(levels.mean()), len(mask))
    refused, told = findings(cut(ct, half), mask[half])
    assert not refused and told == ["the lower end of the scan cuts the liver"]
    refused, told = findings(cut(ct, slice(0, half.start)), mask[: half.start])
    assert not refused and told == ["the upper end of the scan cuts the liver"]


def test_a_sliver_of_liver_at_the_end_of_a_scan_is_told(body):
    ct, mask = body
    top = slice(int(np.flatnonzero(mask.any((1, 2)))[-2]), len(mask))
    refused, told = findings(cut(ct, top), mask[top])
    assert not refused and any("cut by the end of the scan" in reason for reason in told)


def test_a_mask_that_was_not_drawn_to_its_end_is_refused(body):
    ct, mask = body
    half = mask.copy()
    half[: int(np.flatnonzero(mask.any((1, 2))).mean())] = False
    assert findings(ct, half)[0] == ["the mask breaks off at its lower end, where the scan goes on: it is not complete"]


def test_a_mask_on_every_third_slice_is_refused_and_one_missing_slice_is_told(body):
    ct, mask = body
    levels = np.flatnonzero(mask.any((1, 2)))
    sparse, gap = np.zeros_like(mask), mask.copy()
    sparse[levels[::3]] = mask[levels[::3]]
    gap[levels[len(levels) // 2]] = False
    assert any("some slices only" in reason for reason in findings(ct, sparse)[0])
    refused, told = findings(ct, gap)
    assert not refused and any(reason.startswith("1 of ") for reason in told)


def test_a_mask_is_looked_at_in_the_patients_axes(body):
    ct, mask = body
    upside = CtVolume(
        ct.hu[::-1], ct.ijk_to_ras @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, len(mask) - 1], [0, 0, 0, 1]])
    )
    assert findings(upside, mask[::-1]) == ([], [])
    half = int(np.flatnonzero(mask.any((1, 2))).mean())
    missing = mask.copy()
    missing[:half] = False
    assert "lower end" in findings(upside, missing[::-1])[0][0]


def test_slices_of_another_scan_are_refused(body):
    """Half of the slices are those of a mask that lies 90 mm to the left: most of the mask fits."""
    ct, mask = body
    levels, moved = np.flatnonzero(mask.any((1, 2))), np.roll(mask, 15, 2)
    mixed = mask.copy()
    mixed[levels[: len(levels) // 2]] = moved[levels[: len(levels) // 2]]
    assert any("of another scan" in reason for reason in findings(ct, mixed)[0])


def test_a_wide_spread_of_values_does_not_excuse_a_mask(body):
    """A mask on liver, fat and lung by turns has a standard deviation that would reach down to air."""
    ct, mask = body
    hu = ct.hu.astype(np.float32)
    hu[mask] = np.random.default_rng(0).choice([-120.0, -60.0, 60.0, 140.0], mask.sum(), p=[0.2, 0.2, 0.3, 0.3])
    assert findings(CtVolume(hu, ct.ijk_to_ras), mask)[0]


def test_some_slices_off_the_liver_are_refused_and_one_is_not(body):
    ct, mask = body
    levels = np.flatnonzero(mask.any((1, 2)))[3:]
    for count, refused in ((1, False), (3, True)):
        hu = ct.hu.copy()
        hu[levels[:count]] = np.where(mask[levels[:count]], -80, hu[levels[:count]])
        assert bool(findings(CtVolume(hu, ct.ijk_to_ras), mask)[0]) == refused


def test_a_mask_that_jumps_between_slices_is_refused(body):
    ct, mask = body
    hu, jumping = np.where(ct.hu > -300, 60, ct.hu), mask.copy()
    jumping[::2] = np.roll(mask, 12, 2)[::2]
    assert any("jumps from one slice to the next" in one for one in findings(CtVolume(hu, ct.ijk_to_ras), jumping)[0])


# --- against the bundled student ---


def against_student(ct, mask):
    return [(one.blocking, one.reason) for one in check_against_student(ct, mask)]


def test_the_student_agrees_with_the_liver(body):
    assert against_student(*body) == []


def volumeOf(ct, mask) -> float:
    """mL."""
    return float(mask.sum() * abs(np.linalg.det(ct.ijk_to_ras[:3, :3])) / 1000)


def said(words: str, reason: str) -> int:
    """The mL that a message has behind some words."""
    return int(re.search(rf"{words} (\d+) mL", reason)[1])


def test_half_a_liver_is_refused_and_the_volumes_are_named(body):
    ct, mask = body
    half = mask.copy()
    half[:, :, : int(np.median(np.nonzero(mask)[2]))] = False
    [(refused, reason)] = against_student(ct, half)
    assert refused and said("the mask has", reason) == pytest.approx(volumeOf(ct, half), rel=0.03)  # of coarser cells
    assert said("student-100k finds", reason) == pytest.approx(volumeOf(ct, mask), rel=0.15)


def test_an_eroded_liver_is_told(body):
    from scipy.ndimage import binary_erosion

    ct, mask = body
    [(refused, reason)] = against_student(ct, binary_erosion(mask))
    assert not refused and "look at the mask" in reason


@pytest.mark.parametrize(
    ("axis", "move", "words"),
    [(0, 1, "mm down"), (1, -1, "mm back"), (1, 1, "mm to the front"), (2, 1, "mm to the right")],
)
def test_a_shifted_mask_is_told_with_the_way_back(body, axis, move, words):
    """Voxels of 6 mm, whose axes run to the head, the back and the left."""
    ct, mask = body
    [(_, reason)] = against_student(ct, np.roll(mask, move, axis))
    assert "look whether it is shifted" in reason and words in reason


@pytest.mark.slow
def test_slices_that_are_too_far_apart_are_told(sampleCt):
    drawn_out = CtVolume(sampleCt.hu, np.diag([1, 1, 2, 1]) @ sampleCt.ijk_to_ras)
    mask = np.indices(sampleCt.hu.shape)[0] > 60  # whatever it is
    assert any("too long from head to feet" in reason for _, reason in against_student(drawn_out, mask))


def test_an_empty_mask_where_the_student_finds_a_liver_is_told(body):
    ct, mask = body
    [(refused, reason)] = against_student(ct, np.zeros_like(mask))
    assert not refused and reason.startswith("the mask is empty, but student-100k finds ")
    assert said("student-100k finds", reason) == pytest.approx(volumeOf(ct, mask), rel=0.15)


@pytest.mark.parametrize(
    ("spacing", "origin", "shape", "refused"),
    [
        (1.0, (0, 0, 0), (60, 90, 90), True),
        (1.0, (0, 0, 0), (40, 512, 512), True),
        (1.0, (-180.0, -170.0, 40.0), (40, 512, 512), True),
        (1.0, (-180.0, -170.0, 40.0), (300, 350, 360), False),
        (0.8, (0, 0, 0), (60, 90, 90), False),
    ],
)
def test_a_header_without_geometry_is_refused(spacing, origin, shape, refused):
    matrix = np.diag([-spacing, -spacing, spacing, 1.0])
    matrix[:3, 3] = origin
    ct = CtVolume(np.broadcast_to(np.int16(0), shape), matrix)
    assert bool(list(check_geometry(ct))) == refused


# --- in a data set ---


def write_pair(folder, name, hu, mask, spacing=MM, **where):
    write_image(folder / "images" / f"{name}.nii.gz", hu, spacing, **where)
    write_image(folder / "labels" / f"{name}.nii.gz", mask.astype(np.uint8), spacing, **where)


def written_scan(folder, mask_to_ras, mask):
    """A CT of 2 mm voxels, and a mask with this matrix beside it."""
    ct_to_ras = np.diag([2.0, 2.0, 2.0, 1.0])
    for name, values, matrix in (("ct", np.zeros((20, 30, 40), np.int16), ct_to_ras), ("mask", mask, mask_to_ras)):
        write_nifti(folder / f"{name}.nii", values, matrix)
    return Scan("a", "a", folder / "ct.nii", folder / "mask.nii")


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_mask_may_be_stored_in_another_order_of_axes(tmp_path, axes, flipped):
    drawn = np.random.default_rng(0).random((20, 30, 40)) > 0.5
    matrix, stored = np.diag([2.0, 2.0, 2.0, 1.0]), drawn
    if flipped:
        matrix[0, 0], matrix[0, 3], stored = -2.0, 2.0 * 39, drawn[:, :, ::-1]
    matrix = matrix[:, [2 - axis for axis in axes[::-1]] + [3]]
    told = []
    scan = written_scan(tmp_path, matrix, np.ascontiguousarray(stored.transpose(axes)).astype(np.uint8))
    _, mask = scan.read(told.append)
    assert np.array_equal(mask, drawn) and told == []


@pytest.mark.parametrize(
    ("size", "origin", "words"),
    [
        (2.0001, 0.0, ""),
        (2.01, 0.0, "the mask lies up to 0.19 voxels beside the CT"),
        (2.0, 0.4, "the mask lies up to 0.2 voxels beside the CT"),
        (2.03, 0.0, "refused"),  # 0.6 mm at the last of 40 voxels
        (2.0, 2.0, "refused"),
    ],
)
def test_a_mask_beside_the_ct_is_told_and_farther_away_refused(tmp_path, size, origin, words):
    matrix, told = np.diag([size, size, size, 1.0]), []
    matrix[0, 3] = origin
    scan = written_scan(tmp_path, matrix, np.ones((20, 30, 40), np.uint8))
    if words == "refused":
        with pytest.raises(ScanError, match=r"lie elsewhere \(up to .* voxels apart"):
            scan.read(told.append)
    else:
        scan.read(told.append)
        assert len(told) == bool(words) and all(words in text for text in told)


def test_bad_scans_can_be_left_out_and_are_named(tmp_path, body):
    ct, mask = body
    write_pair(tmp_path, "good", ct.hu, mask)
    write_pair(tmp_path, "mirrored", ct.hu, mask[:, :, ::-1])
    write_pair(tmp_path, "stripped", ct.hu, mask, spacing=1.0)
    scans, reports, left_out = layouts.read(f"pairs={tmp_path}"), [], {}
    with pytest.raises(UserError, match="2 of 3 scans cannot be used") as caught:
        prepare(scans, tmp_path / "cache", MM, report=reports.append)
    assert "mirrored:" in str(caught.value) and "stripped:" in str(caught.value) and "--skip-bad" in str(caught.value)
    [entry] = prepare(scans, tmp_path / "cache", MM, report=reports.append, left_out=left_out)
    assert entry.name == "good" and set(left_out) == {"mirrored", "stripped"}
    assert any("2 of 3 scans cannot be used and are left out" in text for text in reports)


def test_a_mask_that_was_looked_at_is_accepted_by_name(tmp_path, body, caplog):
    ct, mask = body
    half = mask & (np.arange(mask.shape[2]) > np.median(np.nonzero(mask)[2]))
    write_pair(tmp_path, "half", ct.hu, half)
    [scan] = layouts.read(f"pairs={tmp_path}")
    with pytest.raises(UserError, match="half: the mask is not the liver that student-100k finds") as caught:
        prepare([scan], tmp_path / "cache", MM, report=str)
    assert "--accept NAME" in str(caught.value)
    [entry] = prepare([replace(scan, accepted=True)], tmp_path / "cache", MM, report=str)
    assert entry.notes[0].startswith("accepted, though the mask is not the liver")
    with pytest.raises(UserError):  # what was accepted once is not for those who did not
        prepare([scan], tmp_path / "cache", MM, report=str)


def test_an_unforeseen_error_of_one_scan_does_not_stop_the_others(tmp_path, body, monkeypatch, caplog):
    ct, mask = body
    for name in ("a", "b"):
        write_pair(tmp_path, name, ct.hu, mask)
    read = Scan.read

    def fail(scan, note=None):
        if scan.name == "a":
            raise ZeroDivisionError("by nothing")
        return read(scan, note)

    monkeypatch.setattr(Scan, "read", fail)
    left_out = {}
    [entry] = prepare(layouts.read(f"pairs={tmp_path}"), tmp_path / "cache", MM, report=print, left_out=left_out)
    assert entry.name == "b" and left_out == {"a": "it cannot be read (ZeroDivisionError: by nothing)"}
    assert "Traceback" in caplog.text


def test_what_is_told_of_a_scan_stays_with_its_entry(tmp_path, body):
    ct, mask = body
    write_pair(tmp_path, "a", ct.hu, mask.astype(np.uint8) * (1 + (np.arange(mask.shape[2]) > 30)))
    reports = []
    for _ in range(2):
        [entry] = prepare(layouts.read(f"pairs={tmp_path}"), tmp_path / "cache", MM, report=reports.append)
        assert entry.notes == ("labels 1 and 2 were both taken for liver (liver and tumor)",)
    assert len(reports) == 1 and "both taken for liver" in reports[0]


def test_a_cache_that_cannot_be_written_is_no_fault_of_a_scan(tmp_path, body, monkeypatch):
    write_pair(tmp_path, "a", *(body[0].hu, body[1]))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "save", full)
    with pytest.raises(UserError, match="cache cannot be written"):
        prepare(layouts.read(f"pairs={tmp_path}"), tmp_path / "cache", MM, report=print, left_out={})
