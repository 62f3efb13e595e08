"""Views of a real CT: where voxels come from, what happens to image and label, and that a seed names a view."""

import dataclasses

import numpy as np
import pytest
import torch

from LiverGTANLib.core.volume import AIR
from training.data import augment, scan_views
from training.data.scan_views import ScanView, Tumor, Window
from training.options import AugmentRanges, ViewRanges

CPU = torch.device("cpu")
WINDOW = Window((16, 20, 24), 3.0)
STILL = augment.View((0, 0, 0), 1.0, 0.0, 1.0, False, 0.0, 0)
PLAIN = ScanView(
    center=(11.5, 14.5, 17.5),
    matrix=np.eye(3, dtype=np.float32) * 1.5,
    bend=0.0,
    nodes=(3, 3, 3),
    seed=1,
    contrast=(1.0, 0.0),
    density=0.0,
    patches=0.0,
    tumors=(),
    slices=None,
    shown=(0, 16),
    field=None,
    look=STILL,
    effusion=None,
)
"""The window of 3 mm in the middle of a scan of 2 mm, and nothing else."""


@pytest.fixture
def scan():
    """A ramp along S and R in a scan of 24 x 30 x 36 voxels, and a liver in its middle."""
    z, _, x = np.meshgrid(np.arange(24), np.arange(30), np.arange(36), indexing="ij")
    label = np.zeros((24, 30, 36), np.uint8)
    label[6:18, 8:22, 10:26] = 255
    return (100 + 4 * z + x).astype(np.uint8), label


def rendered(scan, **changes):
    return scan_views.render(*scan, dataclasses.replace(PLAIN, **changes), WINDOW, CPU)


def middle(label):
    return (torch.nonzero(label > 0.5).float().mean(0)).numpy()


def test_a_plain_view_reads_the_scan_where_its_voxels_lie(scan):
    image, label = rendered(scan)
    z, x = np.arange(16) * 1.5 + 0.25, np.arange(24) * 1.5 + 0.25  # the middle of voxel 0 of 3 mm, in voxels of 2 mm
    expected = (100 + 4 * z[:, None] + x) / 127.5 - 1
    assert np.allclose(image[1:-1, 10, 1:-1], expected[1:-1, 1:-1], atol=1e-4)
    assert float(label.sum()) * 3**3 == pytest.approx(scan[1].sum() / 255 * 2**3, rel=0.05)


def test_a_shift_by_a_part_of_a_voxel_moves_image_and_label_by_it(scan):
    still, moved = rendered(scan)[1], rendered(scan, center=(11.5, 14.5, 17.5 + 0.75))[1]
    weights = torch.arange(24.0)
    position = [float((label.sum((0, 1)) * weights).sum() / label.sum()) for label in (still, moved)]
    assert position[0] - position[1] == pytest.approx(0.5, abs=0.02)  # 1.5 mm of 3 mm


def test_turning_moves_image_and_label_together(scan):
    bright = scan[1] // 2 + 64
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    image, label = rendered((bright, scan[1]), matrix=(turn * 1.5).astype(np.float32), bend=1.0)
    inside, outside = image[label > 0.9], image[(label < 0.1) & (image > AIR)]
    assert len(inside) > 300 and inside.min() > 0.3 > outside.max()


def test_beyond_the_scan_there_is_air_and_no_liver(scan):
    image, label = rendered(scan, center=(200.0, 14.5, 17.5))
    assert (image == AIR).all() and not label.any()
    image, _ = rendered(scan, center=(0.0, 14.5, 17.5))
    assert (image[:7] == AIR).all() and (image[9:, 5:15, 5:15] > AIR).all()


def test_an_unlabelled_scan_has_no_liver(scan):
    image, label = scan_views.render(scan[0], None, PLAIN, WINDOW, CPU)
    assert torch.equal(image, rendered(scan)[0]) and not label.any()


def test_a_cut_scan_and_a_round_field_show_air_and_no_liver(scan):
    image, label = rendered(scan, shown=(5, 12), field=6.0)
    assert (image[:5] == AIR).all() and (image[12:] == AIR).all() and not label[:5].any()
    assert (image[:, 0, 0] == AIR).all() and image[8, 10, 12] > AIR and label[8, 10, 12] == 1


def test_a_tumor_changes_the_liver_alone_and_stays_in_the_label(scan):
    still, label = rendered(scan)
    image, same = rendered(scan, tumors=(Tumor(0.5, (4.0, 4.0, 4.0), -0.3, 0.1),))
    changed = (image - still).abs() > 0.01
    assert torch.equal(same, label) and changed.sum() > 50 and not (changed & (label == 0)).any()
    assert float((image - still).min()) == pytest.approx(-0.3, abs=0.02)
    without = (scan[0], np.zeros_like(scan[1]))
    assert torch.equal(rendered(without, tumors=(Tumor(0.5, (4.0, 4.0, 4.0), -0.3, 0.1),))[0], rendered(without)[0])


def test_another_density_moves_the_liver_and_nothing_else(scan):
    still, label = rendered(scan)
    image, _ = rendered(scan, density=-0.2)
    assert torch.allclose(image - still, -0.2 * label, atol=1e-5)


def test_contrast_spreads_soft_tissue_and_leaves_fat_and_bone(scan):
    for value, expected in ((140, 0.098), (150, 0.175), (20, -0.843), (250, 0.961)):
        flat = (np.full_like(scan[0], value), scan[1])
        change = float(rendered(flat, contrast=(1.3, 0.0))[0][8, 10, 12]) - expected
        if value == 150:
            assert change > 0.01
        else:
            assert abs(change) < 0.003


def test_thick_slices_average_along_the_body_only(scan):
    image, label = rendered(scan, slices=(4.0, 0.0))
    steps = (image[1:, 10, 12] - image[:-1, 10, 12]).abs()
    assert int((steps < 1e-5).sum()) >= 10 and float(label.sum()) == pytest.approx(
        float(rendered(scan)[1].sum()), rel=0.1
    )


def drawn(seed, ranges=None, looks=None):
    random = np.random.default_rng(seed)
    ranges, looks = ranges or ViewRanges(), looks or AugmentRanges()
    return scan_views.draw((11.0, 14.0, 17.0), (24, 30, 36), 2.0, WINDOW, ranges, looks, random)


def test_a_seed_names_a_view(scan):
    first, again, other = (scan_views.render(*scan, drawn(seed), WINDOW, CPU) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_every_view_is_finite_and_within_the_window(scan):
    for seed in range(40):
        image, label = scan_views.render(*scan, drawn(seed), WINDOW, CPU)
        assert image.shape == label.shape == WINDOW.shape
        assert image.min() >= -1 and image.max() <= 1 and label.min() >= 0 and label.max() <= 1 + 1e-6


def test_an_effect_that_is_switched_off_leaves_the_others_alone():
    with_all = drawn(5, dataclasses.replace(ViewRanges(), thick=1.0, round_fields=1.0))
    without = drawn(5, dataclasses.replace(ViewRanges(), thick=0.0, round_fields=1.0))
    assert with_all.slices is not None and without.slices is None
    assert with_all.field == without.field and with_all.center == without.center and with_all.look == without.look
