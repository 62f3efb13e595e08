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


SWITCHED_OFF = {
    "scale": ({"scale": (1.0, 1.0)}, {"matrix"}),
    "stretch": ({"stretch": 0.0}, {"matrix"}),
    "turn": ({"degrees": 0.0}, {"matrix"}),
    "shift": ({"shift_mm": 0.0}, {"center"}),
    "bend": ({"bend_mm": 0.0}, {"bend"}),
    "contrast": ({"contrast": (1.0, 1.0), "offset_hu": 0.0}, {"contrast"}),
    "density": ({"densities": 0.0}, {"density"}),
    "tumors": ({"tumors": 0.0}, {"tumors"}),
    "thick slices": ({"thick": 0.0}, {"slices"}),
    "cut": ({"cut": 0.0}, {"shown"}),
    "round field": ({"round_fields": 0.0}, {"field"}),
    "effusion": ({"effusions": 0.0}, {"effusion"}),
}
"""Ranges that switch an effect off, and the parts of a view that it is."""
ALWAYS = ViewRanges(densities=1, tumors=1, thick=1, cut=1, round_fields=1, effusions=1)


def parts(view: ScanView) -> dict:
    return vars(view) | {"matrix": view.matrix.tolist()}


@pytest.mark.parametrize("effect", SWITCHED_OFF)
def test_an_effect_that_is_switched_off_leaves_the_others_alone(effect):
    off, expected = SWITCHED_OFF[effect]
    for seed in range(5, 10):
        with_all, without = parts(drawn(seed, ALWAYS)), parts(drawn(seed, dataclasses.replace(ALWAYS, **off)))
        assert {name for name in with_all if with_all[name] != without[name]} == expected


@pytest.mark.parametrize(
    "off, expected",
    [
        ({"shift": (0, 0, 0)}, {"shift"}),
        ({"gain": 0.0}, {"gain"}),
        ({"offset": 0.0}, {"offset"}),
        ({"gamma": 0.0}, {"gamma"}),
        ({"noisy": 0.0}, {"noise"}),
        ({"blurred": 0.0}, {"blur"}),
    ],
)
def test_a_look_that_is_switched_off_leaves_the_others_and_the_view_alone(off, expected):
    looks = AugmentRanges(noisy=1, blurred=1)
    with_all, without = drawn(7, ALWAYS, looks), drawn(7, ALWAYS, dataclasses.replace(looks, **off))
    changed = {name for name, value in vars(with_all.look).items() if value != vars(without.look)[name]}
    assert changed == expected
    assert parts(dataclasses.replace(with_all, look=STILL)) == parts(dataclasses.replace(without, look=STILL))


def test_a_scan_without_a_known_liver_changes_where_its_views_lie_and_nothing_else():
    random = [np.random.default_rng(3) for _ in range(2)]
    seen = [
        parts(scan_views.draw(around, (24, 30, 36), 2.0, WINDOW, ALWAYS, AugmentRanges(), one))
        for around, one in zip([(11.0, 14.0, 17.0), None], random, strict=True)
    ]
    assert {name for name in seen[0] if seen[0][name] != seen[1][name]} == {"center"}
