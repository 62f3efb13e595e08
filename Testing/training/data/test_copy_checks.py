"""Copies of a CT are known by its voxels; other CTs, even of one patient, are not taken for copies."""

import numpy as np
import pytest
from scipy import ndimage

from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone.image_files import read_ct
from training.data.copy_checks import LEAST_BLOCKS, contents_with_copies, copies_of, sketch


def noisy(seed: int, shape=(20, 40, 60)) -> CtVolume:
    hu = np.random.default_rng(seed).normal(50, 15, shape).astype(np.int16)
    return CtVolume(hu, np.diag([3.0, 3, 3, 1]))


def one_voxel_changed(hu):
    hu = hu.copy()
    hu[10, 20, 30] += 1
    return hu


COPIES = {
    "one slice less": lambda hu: np.delete(hu, 7, axis=0),
    "every second slice": lambda hu: hu[::2],
    "cropped": lambda hu: hu[5:15, 10:30, 20:50],
    "one voxel changed": one_voxel_changed,
    "padded": lambda hu: np.pad(hu, 9, constant_values=-1024),
    "another type": lambda hu: hu.astype(np.float64),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_known_by_its_voxels(kind):
    first, second = noisy(1), noisy(2)
    known = {"first": sketch(first), "second": sketch(second)}
    copy = sketch(CtVolume(COPIES[kind](first.hu), first.ijk_to_ras))
    assert copies_of({"copy": copy, "other": sketch(noisy(3))}, known) == {"copy": "first"}


def test_the_order_of_the_axes_does_not_matter():
    ct = noisy(1)
    turned = CtVolume(ct.hu.transpose(1, 2, 0)[::-1], ct.ijk_to_ras[:, [2, 0, 1, 3]] @ np.diag([1, 1, -1.0, 1]))
    assert sketch(turned) == sketch(ct)


@pytest.mark.parametrize("hu", [np.zeros((4, 20, 20)), np.full((4, 20, 8), 50), np.full((4, 20, 40), -1000)])
def test_scans_without_tissue_or_noise_are_copies_of_nothing(hu):
    empty = sketch(CtVolume(hu.astype(np.int16), np.diag([3.0, 3, 3, 1])))
    assert empty == [] and copies_of({"a": empty}, {"b": empty}) == {}


def test_copies_get_one_hash_so_that_a_split_keeps_them_together():
    first, other = noisy(1), noisy(2)
    sketches = {"a": sketch(first), "b": sketch(CtVolume(first.hu[:-1], first.ijk_to_ras)), "c": sketch(other)}
    assert contents_with_copies({"b": "2", "a": "1", "c": "3"}, sketches) == {"a": "1", "b": "1", "c": "3"}


def anatomy(seed: int) -> CtVolume:
    """Organs of some cm, 150 x 180 x 180 mm in voxels of 3 mm, with noise."""
    random = np.random.default_rng(seed)
    organs = ndimage.gaussian_filter(random.normal(0, 1, (50, 60, 60)), 4, truncate=2)
    return with_noise(CtVolume(50 + organs * (60 / organs.std()), PLACED), 10, seed)


PLACED = np.array([[3.0, 0, 0, -91.7], [0, 3, 0, -88], [0, 0, 3, 1004.4], [0, 0, 0, 1]])


def with_noise(ct: CtVolume, sd: float, seed: int = 9) -> CtVolume:
    noisy = ct.hu + np.random.default_rng([seed, 1]).normal(0, sd, ct.hu.shape)
    return CtVolume(np.round(noisy).astype(np.int16), ct.ijk_to_ras)


def resampled(ct: CtVolume, factor: float) -> CtVolume:
    """On voxels `factor` times as large, the first of them in the same place."""
    hu = ndimage.affine_transform(
        ct.hu.astype(np.float32),
        np.full(3, factor),
        output_shape=tuple(int((n - 1) / factor) + 1 for n in ct.hu.shape),
        order=1,
    )
    return CtVolume(hu, ct.ijk_to_ras @ np.diag([factor] * 3 + [1]))


def cropped(ct: CtVolume) -> CtVolume:
    matrix = ct.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [7, 5, 3]
    return CtVolume(ct.hu[3:, 5:, 7:], matrix)


CHANGES = {
    "noise": lambda ct: with_noise(ct, 20),
    "larger voxels": lambda ct: resampled(ct, 1.3),
    "smaller voxels and noise": lambda ct: with_noise(resampled(ct, 0.8), 15),
    "smoothed": lambda ct: CtVolume(ndimage.uniform_filter(ct.hu, 3), ct.ijk_to_ras),
    "a window in 8 bits": lambda ct: CtVolume(np.round((np.clip(ct.hu, -160, 240) + 160) * 0.6375), ct.ijk_to_ras),
    "cropped and noise": lambda ct: with_noise(cropped(ct), 20),
    "values of another offset": lambda ct: with_noise(CtVolume(ct.hu + 7, ct.ijk_to_ras), 5),
    "other axes and noise": lambda ct: with_noise(
        CtVolume(ct.hu.transpose(1, 2, 0), ct.ijk_to_ras[:, [2, 0, 1, 3]]), 15
    ),
}


@pytest.fixture(scope="module")
def first():
    return anatomy(1)


@pytest.fixture(scope="module")
def known(first):
    return {"first": sketch(first), "second": sketch(anatomy(2))}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_of_which_every_voxel_is_another_is_known_by_its_anatomy_in_its_place(change, first, known):
    copy = sketch(CHANGES[change](first))
    assert copies_of({"copy": copy, "other": sketch(anatomy(3))}, known) == {"copy": "first"}


def test_the_same_table_and_noise_under_other_bodies_make_no_copies():
    def on_table(seed: int) -> CtVolume:
        body = anatomy(seed)
        body.hu[:, :20] = -1000
        body.hu[:, 5:8, 10:50:2] = 300
        return body

    sketches = {str(seed): sketch(on_table(seed)) for seed in (4, 5)}
    assert all(len(hashes) > 256 + LEAST_BLOCKS for hashes in sketches.values())
    assert not set(sketches["4"]) & set(sketches["5"])


@pytest.mark.slow
def test_no_two_real_cts_are_taken_for_copies(sharedData):
    """8-bit ones, two phases and five scans of one patient among them."""
    names = ("msd_liver_06", "msd_liver_07", "hcc_tace_seg_009_pretace_4", "hcc_tace_seg_009_pretace_103")
    sketches = {
        name: sketch(read_ct(sharedData / "ct" / f"{name}.nii.gz"))
        for name in (*names, "crlm_ct_1100_8bit", "lidc_idri_0136_8bit", "adrenal_acc_052_8bit")
    }
    for name, hashes in sketches.items():
        others = {other: hashes for other, hashes in sketches.items() if other != name}
        assert len(hashes) == 512 and not copies_of({name: hashes}, others)
    phases = [set(sketches[f"hcc_tace_seg_009_pretace_{number}"]) for number in (4, 103)]
    assert len(phases[0] & phases[1]) < LEAST_BLOCKS / 2
    ct = read_ct(sharedData / "ct" / "msd_liver_07.nii.gz")
    assert copies_of({"copy": sketch(with_noise(ct, 30))}, sketches) == {"copy": "msd_liver_07"}
