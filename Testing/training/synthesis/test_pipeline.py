"""The way of one volume: the product's preprocessing, replay from the log, switches that disturb nothing else."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from LiverGTANLib.core.volume import CtVolume, to_model_grid
from training.data.tissues import Tissue, coarse_tissue
from training.options import Effects, SynthesisConfig
from training.synthesis.effects.grid_operations import resize, signed_distance, smooth_noise
from training.synthesis.phantom import ct_phantom, tissue_phantom
from training.synthesis.pipeline import apply_effects, average_areas, make_volume, to_grid
from training.synthesis.placement import Bulge, Placement, place
from training.synthesis.replay import EFFECTS, replay
from training.synthesis.sources import Source, enclosed_by_liver, tissue_source
from training.synthesis.synthetic_scan import SyntheticScan

CONFIG = SynthesisConfig(shape=(16, 24, 28), spacing_mm=9.0, fine_mm=6.0)
MM = 6.0
ALL = replace(Effects(), **{f.name: 1.0 for f in fields(Effects)})


@pytest.fixture(scope="module")
def trunk():
    return tissue_source("phantom-0", tissue_phantom(0, MM), MM)


@pytest.fixture(scope="module")
def ct():
    """The phantom's CT as a real source, at 6 mm."""
    volume, mask = ct_phantom(0, MM)
    hu, label = volume.hu[:, ::-1, ::-1].astype(np.int16), mask[:, ::-1, ::-1].astype(np.uint8) * 255
    return Source("phantom-ct", coarse_tissue(hu.astype(np.float32), label / 255), MM, hu, label)


def scan_of(hu, label):
    return SyntheticScan(np.zeros(hu.shape, np.uint8), hu, label, 2.0, "synthetic", "x")


def test_the_model_grid_is_that_of_the_product():
    rng = np.random.default_rng(0)
    shape = (48, 72, 96)
    hu = rng.uniform(-1000, 1000, shape).astype(np.float32)
    image, _ = to_grid(scan_of(hu, np.zeros(shape, np.float32)), (-160, 240))
    # As a scanner stores it: rows to the left, columns to the back.
    native = CtVolume(hu[:, ::-1, ::-1], np.diag([-2.0, -2.0, 2.0, 1.0]))
    expected, frame = to_model_grid(native, 3.0, (-160, 240))
    assert frame.shape == image.shape == (32, 48, 64)
    assert np.abs(image - expected).max() < 1e-4


def test_average_areas_keeps_sums():
    array = np.random.default_rng(0).random((6, 9, 12)).astype(np.float32)
    assert average_areas(array).sum() * 1.5**3 == pytest.approx(array.sum(), rel=1e-5)


@pytest.mark.parametrize("effects", [Effects(), ALL])
def test_volumes_are_in_range_with_liver_and_log(trunk, effects):
    image, label, parameters = make_volume(trunk, replace(CONFIG, effects=effects, no_liver_share=0), 5)
    assert image.shape == label.shape == CONFIG.shape and image.dtype == label.dtype == np.float32
    assert image.min() >= -1 and image.max() <= 1 and label.min() >= 0 and label.max() <= 1 + 1e-5
    assert label.sum() > 0
    assert {"placement", "contrast", "blur"} <= set(parameters)
    json.dumps(parameters)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("real", [False, True])
def test_a_volume_is_made_again_from_its_log(trunk, ct, seed, real):
    config, source = replace(CONFIG, effects=ALL), ct if real else trunk
    image, label, parameters = make_volume(source, config, seed)
    again = replay(source, config, json.loads(json.dumps(parameters)))
    assert np.array_equal(image, again[0]) and np.array_equal(label, again[1])


def test_the_same_seed_gives_the_same_volume(trunk):
    first, second, other = (make_volume(trunk, CONFIG, seed) for seed in (7, 7, 8))
    assert np.array_equal(first[0], second[0]) and first[2] == second[2]
    assert not np.array_equal(first[0], other[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", [f.name for f in fields(Effects) if f.name not in ("fatty", "iron", "odd")])
def test_switching_an_effect_off_leaves_the_draws_of_the_others(trunk, ct, name):
    source = ct if name in ("gain", "liver_density") else trunk
    with_it = make_volume(source, replace(CONFIG, effects=ALL), 11)[2]
    without = make_volume(source, replace(CONFIG, effects=ALL.without(name)), 11)[2]
    assert name not in without
    for other in ("placement", "noise", "blur", "quantized", "table"):
        if other != name:
            assert with_it[other] == without[other]


def test_effects_follow_their_probability(trunk):
    shape = (4, 6, 8)
    air = SyntheticScan(
        np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.float32), 2.0, "real", "x"
    )
    config = replace(CONFIG, effects=replace(Effects(), noise=0.3))
    hits = sum("noise" in apply_effects(air, {"noise": EFFECTS["noise"]}, config, seed) for seed in range(300))
    assert 60 < hits < 120


def test_scans_without_liver_are_made(trunk):
    config = replace(CONFIG, shape=(8, 24, 28), no_liver_share=1.0)
    labels = [make_volume(trunk, config, seed)[1].sum() for seed in range(8)]
    assert sum(total == 0 for total in labels) >= 6


def test_liver_density_differs_from_case_to_case(trunk):
    means = []
    for seed in range(12):
        image, label, _ = make_volume(trunk, replace(CONFIG, no_liver_share=0), seed)
        if (label > 0.99).any():
            means.append(image[label > 0.99].mean())
    assert np.ptp(means) > 0.4


def still(center, **changes):
    return replace(Placement(center, (1, 1, 1), (0, 0, 0), (), (), 0), **changes)


def test_a_placement_without_changes_cuts_the_window_out(trunk):
    shape = (12, 20, 24)
    first = [(n - w) // 2 for n, w in zip(trunk.tissue.shape, shape, strict=True)]
    center = tuple(f + (w - 1) / 2 for f, w in zip(first, shape, strict=True))
    scan = place(trunk, still(center), shape)
    assert np.array_equal(scan.tissue, trunk.tissue[tuple(slice(f, f + w) for f, w in zip(first, shape, strict=True))])


def test_the_window_beyond_the_scan_is_air(ct):
    scan = place(ct, still((-40.0, 10.0, 10.0)), (12, 20, 24))
    assert (scan.hu == -1024).all() and not scan.label.any()


def test_a_bulge_enlarges_the_liver_locally(trunk):
    center = tuple(float(v) for v in np.argwhere(trunk.tissue == Tissue.LIVER).mean(axis=0))
    shape = (40, 40, 50)
    plain, large, small = (
        place(trunk, still(center, bulges=b), shape).label.sum()
        for b in ((), (Bulge(center, 0.4, 10.0),), (Bulge(center, -0.4, 10.0),))
    )
    assert small < 0.9 * plain < plain * 1.1 < large


def test_real_labels_follow_the_image(ct):
    """The median HU under the label is the liver's, however the volume was bent."""
    quiet = replace(Effects(), **{f.name: 0.0 for f in fields(Effects)})
    for seed in range(4):
        image, label, _ = make_volume(ct, replace(CONFIG, effects=quiet), seed)
        if (label > 0.95).sum() > 20:
            assert np.median(image[label > 0.95]) * 200 + 40 == pytest.approx(np.median(ct.hu[ct.label > 0]), abs=12)


def test_unlabelled_sources_say_so(ct):
    bare = Source("bare", ct.tissue, MM, ct.hu, None)
    assert not bare.labelled and ct.labelled
    assert not make_volume(bare, CONFIG, 1)[1].any()


def test_vessels_within_the_liver_become_liver_and_the_vena_cava_does_not():
    tissue = np.full((30, 30, 30), Tissue.FAT, np.uint8)
    tissue[5:25, 5:25, 5:25] = Tissue.LIVER
    tissue[12:18, 12:15, 12:15] = Tissue.VEIN
    tissue[:, 20:23, 20:23] = Tissue.VEIN
    inside = enclosed_by_liver(tissue)
    assert inside[12:18, 12:15, 12:15].all() and not inside[:, 20:23, 20:23].any() and not inside[0].any()


def test_fields_have_unit_variance_and_distances_are_right():
    noise = smooth_noise((60, 60, 60), 4.0, 0)
    assert noise.std() == pytest.approx(1, abs=0.12) and abs(noise.mean()) < 0.1
    mask = np.zeros((40, 40, 40), bool)
    mask[10:30, 10:30, 10:30] = True
    distance = signed_distance(mask, 2.0)
    assert distance[20, 20, 20] == pytest.approx(-17, abs=4) and distance[20, 20, 38] == pytest.approx(17, abs=4)
    assert (signed_distance(np.zeros((9, 9, 9), bool), 2.0) > 100).all()
    assert np.allclose(resize(np.full((3, 3, 3), 2.5), (9, 8, 7)), 2.5)


def test_unlikely_settings_are_refused():
    with pytest.raises(ValueError, match="probability"):
        SynthesisConfig(effects=replace(Effects(), noise=1.5))
    with pytest.raises(ValueError, match="two thirds"):
        SynthesisConfig(fine_mm=1.0)
