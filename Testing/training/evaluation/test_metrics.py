"""Metrics against known answers and against DeepMind's surface-distance."""

import math

import numpy as np
import pytest

from training.evaluation.metrics import measure


def blob(shape, center, radii, seed):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    bumps = 0.15 * np.sin(grid @ np.random.default_rng(seed).normal(0, 0.4, 3))
    return (((grid - center) / radii) ** 2).sum(-1) < 1 + bumps


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.8, 0.7), (2.5, 1.5, 1.5)])
def test_agrees_with_surface_distance(spacing):
    import surface_distance as sd

    ours = blob((24, 40, 44), (11, 20, 22), (7, 12, 14), 0)
    reference = blob((24, 40, 44), (12, 22, 21), (8, 12, 13), 1)
    found = measure(ours, reference, spacing)
    distances = sd.compute_surface_distances(reference, ours, spacing)
    assert found.nsd2 == pytest.approx(sd.compute_surface_dice_at_tolerance(distances, 2.0), abs=1e-3)
    assert found.nsd3 == pytest.approx(sd.compute_surface_dice_at_tolerance(distances, 3.0), abs=1e-3)
    assert found.hd95 == pytest.approx(sd.compute_robust_hausdorff(distances, 95), abs=1e-3)
    means = sd.compute_average_surface_distance(distances)
    areas = distances["surfel_areas_gt"].sum(), distances["surfel_areas_pred"].sum()
    assert found.assd == pytest.approx(np.average(means, weights=areas), abs=1e-3)
    assert found.dice == pytest.approx(sd.compute_dice_coefficient(reference, ours))


def test_a_shifted_cube():
    reference = np.zeros((20, 20, 20), bool)
    reference[5:15, 5:15, 5:15] = True
    found = measure(np.roll(reference, 1, 0), reference, (3.0, 1.0, 1.0))
    assert found.dice == pytest.approx(0.9)
    assert found.hd95 == pytest.approx(3.0)
    assert (found.volume_ml, found.volume_error) == (pytest.approx(3.0), 0)


def test_equal_masks_are_perfect():
    mask = blob((20, 20, 20), (10, 10, 10), (6, 6, 6), 0)
    found = measure(mask, mask, (1.0, 2.0, 3.0))
    assert (found.dice, found.nsd2, found.hd95, found.assd, found.volume_error) == (1, 1, 0, 0, 0)


def test_empty_masks():
    none, some = np.zeros((8, 8, 8), bool), np.ones((8, 8, 8), bool)
    both, missed = measure(none, none, (1, 1, 1)), measure(none, some, (1, 1, 1))
    assert both.dice == both.nsd2 == 1 and math.isnan(both.volume_error)
    assert missed.dice == missed.nsd3 == 0 and math.isnan(missed.hd95) and missed.volume_error == -1


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        measure(np.ones((2, 2, 2)), np.ones((2, 2, 3)), (1, 1, 1))
