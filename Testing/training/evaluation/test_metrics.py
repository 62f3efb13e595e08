"""Metrics against known answers and, where it measures the same, against MONAI."""

import math

import numpy as np
import pytest

from training.evaluation.metrics import measure


def blob(shape, center, radii, seed):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    bumps = 0.15 * np.sin(grid @ np.random.default_rng(seed).normal(0, 0.4, 3))
    return (((grid - center) / radii) ** 2).sum(-1) < 1 + bumps


def matrix(*spacing_kji):
    """IJK-to-RAS of a grid along the patient's axes; spacing along the array's axes."""
    return np.diag([*spacing_kji[::-1], 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.8, 0.7), (2.5, 1.5, 1.5)])
def test_the_share_of_the_surfaces_within_a_tolerance_is_that_of_monai(spacing):
    """MONAI's NSD with sub-voxels weighs surface elements by area, too; its other distances do not."""
    import torch
    from monai.metrics import compute_surface_dice

    ours = blob((24, 40, 44), (11, 20, 22), (7, 12, 14), 0)
    reference = blob((24, 40, 44), (12, 22, 21), (8, 12, 13), 1)
    found = measure(ours, reference, matrix(*spacing))
    tensors = (torch.from_numpy(one)[None, None] for one in (ours, reference))
    theirs = compute_surface_dice(
        *tensors, class_thresholds=[2.0], include_background=True, spacing=list(spacing), use_subvoxels=True
    )
    assert found.nsd2 == pytest.approx(float(theirs), abs=1e-6)


def test_distances_do_not_depend_on_how_finely_slices_cut_the_same_bodies():
    """Thin slices have many small surface elements on the sides; counted by number they would outweigh the others."""
    mask, reference = np.zeros((2, 20, 40, 40), bool)
    reference[5:15, 15:25, 15:25] = True
    mask[5:15, 15:25, 15:28] = True
    coarse = measure(mask, reference, matrix(3.0, 3.0, 3.0))
    fine = measure(mask.repeat(6, 0), reference.repeat(6, 0), matrix(0.5, 3.0, 3.0))
    assert fine.assd == pytest.approx(coarse.assd, rel=0.05) and fine.hd95 == pytest.approx(coarse.hd95, rel=0.05)
    assert fine.nsd2 == pytest.approx(coarse.nsd2, abs=0.02)


def test_a_shifted_cube():
    reference = np.zeros((20, 20, 20), bool)
    reference[5:15, 5:15, 5:15] = True
    found = measure(np.roll(reference, 1, 0), reference, matrix(3.0, 1.0, 1.0))
    assert found.dice == pytest.approx(0.9)
    assert found.hd95 == pytest.approx(3.0)
    assert (found.volume_ml, found.volume_error) == (pytest.approx(3.0), 0)


def test_a_volume_on_a_sheared_grid_is_that_of_its_cells():
    mask = np.zeros((10, 10, 10), bool)
    mask[2:8, 2:8, 2:8] = True
    sheared = matrix(2.0, 1.0, 1.0)
    sheared[1, 2] = 1.5  # a gantry tilt: slices slide along the patient, their distance stays
    assert measure(mask, mask, sheared).volume_ml == pytest.approx(6**3 * 2 / 1000)


def test_equal_masks_are_perfect():
    mask = blob((20, 20, 20), (10, 10, 10), (6, 6, 6), 0)
    found = measure(mask, mask, matrix(1.0, 2.0, 3.0))
    assert (found.dice, found.nsd2, found.hd95, found.assd, found.volume_error) == (1, 1, 0, 0, 0)


def test_a_mask_that_ends_with_the_scan_has_a_surface_there():
    mask, reference = np.zeros((2, 12, 20, 20), bool)
    mask[:, 5:15, 5:15] = True
    reference[2:, 5:15, 5:15] = True
    assert measure(mask, reference, matrix(4.0, 1.0, 1.0)).hd95 == pytest.approx(8.0)


def test_empty_masks():
    none, some = np.zeros((8, 8, 8), bool), np.ones((8, 8, 8), bool)
    both, missed = measure(none, none, np.eye(4)), measure(none, some, np.eye(4))
    assert both.dice == both.nsd2 == 1 and math.isnan(both.volume_error)
    assert missed.dice == missed.nsd3 == 0 and math.isnan(missed.hd95) and missed.volume_error == -1


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        measure(np.ones((2, 2, 2)), np.ones((2, 2, 3)), np.eye(4))
