"""Copies of a CT are known by its voxels; other CTs, even of one patient, are not taken for copies."""

import numpy as np
import pytest

from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone.image_files import read_ct
from training.data.copy_checks import contents_with_copies, copies_of, sketch


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


@pytest.mark.slow
def test_no_two_real_cts_are_taken_for_copies(sharedData):
    """8-bit ones, two phases and five scans of one patient among them."""
    names = ("msd_liver_06", "msd_liver_07", "hcc_tace_seg_009_pretace_4", "hcc_tace_seg_009_pretace_103")
    sketches = {
        name: sketch(read_ct(sharedData / "ct" / f"{name}.nii.gz"))
        for name in (*names, "crlm_ct_1100_8bit", "lidc_idri_0136_8bit", "adrenal_acc_052_8bit")
    }
    assert all(len(hashes) == 256 for hashes in sketches.values())
    for name, hashes in sketches.items():
        others = {value for other in sketches if other != name for value in sketches[other]}
        assert not others & set(hashes)
