"""Every effect: drawn by seed, applied the same way twice, logged in JSON, and doing what it is named for."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from training.data.thick_slices import slice_weights
from training.data.tissues import AIR_HU, Tissue, is_any
from training.settings import CONVERTER
from training.synthesis.effects.anatomy import BowelGas, HazyFat, Mesentery
from training.synthesis.effects.field_of_view import Cut, RoundField
from training.synthesis.effects.fluid import Ascites, Consolidation, Effusion
from training.synthesis.effects.grid_operations import grow
from training.synthesis.effects.liver_inside import LESION_KINDS, GiantTumor, Lesion, Lesions, LiverVessels
from training.synthesis.effects.liver_shape import Contour, Resection
from training.synthesis.effects.phase import ENHANCEMENT, Contrast
from training.synthesis.effects.real_scans import Gain, LiverDensity
from training.synthesis.effects.scanner import Blur, Noise, Quantized, ThickSlices
from training.synthesis.effects.streaks import MetalStreaks, PhotonStarvation
from training.synthesis.effects.surroundings import OUTER, Arms, Table, Wall
from training.synthesis.phantom import tissue_phantom
from training.synthesis.replay import EFFECTS
from training.synthesis.sources import tissue_source
from training.synthesis.synthetic_scan import SyntheticScan

MM = 4.0


@pytest.fixture(scope="module")
def trunk():
    return tissue_source("phantom", tissue_phantom(3, MM), MM).tissue


@pytest.fixture
def scan(trunk):
    """A rendered portal venous phantom at 4 mm."""
    made = SyntheticScan(
        trunk.copy(),
        np.zeros(trunk.shape, np.float32),
        (trunk == Tissue.LIVER).astype(np.float32),
        MM,
        "synthetic",
        "phantom",
    )
    Contrast.typical("portal", 0).apply(made)
    return made


def copy(scan):
    return replace(scan, tissue=scan.tissue.copy(), hu=scan.hu.copy(), label=scan.label.copy())


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", EFFECTS)
def test_effect_is_reproducible_and_its_log_is_complete(name, scan):
    effect = EFFECTS[name]
    drawn = next(e for e in (effect.random(scan, rng(s)) for s in range(20)) if e is not None)
    again = next(e for e in (effect.random(scan, rng(s)) for s in range(20)) if e is not None)
    assert drawn == again
    first, second = copy(scan), copy(scan)
    drawn.apply(first)
    CONVERTER.structure(json.loads(json.dumps(asdict(drawn))), effect).apply(second)
    assert np.array_equal(first.tissue, second.tissue)
    assert np.array_equal(first.hu, second.hu) and np.array_equal(first.label, second.label)


@pytest.mark.slow
@pytest.mark.parametrize("name", EFFECTS)
def test_effect_keeps_types_and_ranges(name, scan):
    for seed in range(4):
        changed = copy(scan)
        drawn = EFFECTS[name].random(changed, rng(seed))
        if drawn is None:
            continue
        drawn.apply(changed)
        assert changed.hu.dtype == changed.label.dtype == np.float32 and changed.tissue.dtype == np.uint8
        assert np.isfinite(changed.hu).all()
        assert changed.label.min() >= 0 and changed.label.max() <= 1 + 1e-5


@pytest.mark.parametrize("name", EFFECTS)
def test_effect_survives_a_scene_without_body(name):
    shape = (12, 18, 24)
    empty = SyntheticScan(
        np.zeros(shape, np.uint8),
        np.full(shape, -1000, np.float32),
        np.zeros(shape, np.float32),
        MM,
        "synthetic",
        "air",
    )
    drawn = EFFECTS[name].random(empty, rng())
    if drawn is not None:
        drawn.apply(empty)
    assert not empty.label.any()


# --- shape of the liver ---


def liver_ml(scan):
    return scan.label.sum() * MM**3 / 1000


def test_contour_shrinks_and_swells_the_liver(scan):
    before, small, large = liver_ml(scan), copy(scan), copy(scan)
    Contour(-6, 0, 20, int(Tissue.CAVITY_FAT), 1).apply(small)
    Contour(4, 0, 20, int(Tissue.CAVITY_FAT), 1).apply(large)
    assert liver_ml(small) < 0.9 * before < before < liver_ml(large)
    assert np.array_equal(small.label > 0.5, small.liver) and np.array_equal(large.label > 0.5, large.liver)


def test_cirrhotic_contour_is_rougher(scan):
    smooth, rough = copy(scan), copy(scan)
    Contour(-2, 0, 12, int(Tissue.CAVITY_FAT), 1).apply(smooth)
    Contour(-2, 4.5, 12, int(Tissue.CAVITY_FAT), 1).apply(rough)
    assert surface(rough.liver) / liver_ml(rough) > 1.1 * surface(smooth.liver) / liver_ml(smooth)


def surface(mask):
    return sum(np.abs(np.diff(mask.astype(int), axis=a)).sum() for a in range(3))


def test_a_swollen_liver_displaces_no_bone_and_no_lung(scan):
    hard = np.isin(scan.tissue, (Tissue.CORTICAL_BONE, Tissue.SPONGY_BONE, Tissue.LUNG, Tissue.KIDNEY))
    Contour(10, 3, 20, int(Tissue.CAVITY_FAT), 1).apply(scan)
    assert not scan.liver[hard].any()


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_resection_takes_its_share(scan, share):
    before = liver_ml(scan)
    Resection((0.0, 0.0, 1.0), share, 6.0, 50.0, int(Tissue.FLUID), 1).apply(scan)
    assert liver_ml(scan) == pytest.approx((1 - share) * before, rel=0.06)
    assert (scan.tissue == Tissue.FLUID).any()


# --- fluid and lung: never liver ---


def test_ascites_surrounds_a_smaller_liver(scan):
    before = scan.liver.copy()
    Ascites(10.0, 20.0, 1).apply(scan)
    fluid = scan.tissue == Tissue.FLUID
    assert fluid.sum() * MM**3 / 1000 > 100
    assert not scan.label[fluid].any() and not (scan.liver & ~before).any()


@pytest.mark.parametrize("right", [True, False])
def test_effusion_fills_one_lung_from_the_back_and_is_not_liver(scan, right):
    lung, label = scan.tissue == Tissue.LUNG, scan.label.copy()
    Effusion(right, 0.4, 0.3, 10.0, 15.0, 10.0, 60.0, 1).apply(scan)
    fluid, collapsed = (scan.tissue == t for t in (Tissue.FLUID, Tissue.COLLAPSED_LUNG))
    assert fluid.any() and collapsed.any() and lung[fluid | collapsed].all()
    side = np.argwhere(fluid)[:, 2] > scan.shape[2] / 2
    assert side.mean() > 0.95 if right else side.mean() < 0.05
    assert np.argwhere(fluid)[:, 1].mean() < np.argwhere(scan.tissue == Tissue.LUNG)[:, 1].mean()
    assert scan.hu[fluid].mean() == pytest.approx(10, abs=2) and scan.hu[collapsed].mean() == pytest.approx(60, abs=3)
    assert np.array_equal(scan.label, label)


def test_consolidation_lies_on_the_dome_with_the_density_of_liver(scan):
    lung, label = scan.tissue == Tissue.LUNG, scan.label.copy()
    Consolidation(True, 30.0, 9.0, 40.0, 105.0, 0.1, 1).apply(scan)
    solid = scan.tissue == Tissue.COLLAPSED_LUNG
    assert solid.any() and lung[solid].all() and np.array_equal(scan.label, label)
    assert abs(scan.hu[solid].mean() - scan.hu[scan.liver].mean()) < 25


def test_no_effusion_without_lung(scan):
    scan.tissue[scan.tissue == Tissue.LUNG] = Tissue.FAT
    assert Effusion.random(scan, rng()) is None and Consolidation.random(scan, rng()) is None


# --- inside the liver: always liver ---


def test_vessels_take_the_contrast_of_the_veins(scan):
    before = scan.hu.copy()
    LiverVessels(40.0, 0.3, 30.0, 1).apply(scan)
    changed = scan.hu != before
    assert 0.01 < changed.sum() / scan.liver.sum() < 0.4 and scan.liver[changed].all()
    assert np.allclose((scan.hu - before)[changed], 40, atol=1e-3)


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_lesion_kinds(scan, kind):
    center = tuple(int(v) for v in np.argwhere(scan.liver).mean(axis=0))
    drawn = next(e for e in (Lesion.random(scan, rng(s), center, 24.0) for s in range(300)) if e.kind == kind)
    before, label = scan.hu.copy(), scan.label.copy()
    drawn.apply(scan)
    change = (scan.hu - before)[center]
    assert np.array_equal(scan.label, label)
    if kind == "hypodense":
        assert change < 0
    elif kind in ("hyperdense", "calcified"):
        assert change > 0
    elif kind in ("cyst", "necrotic"):
        assert -40 < scan.hu[center] < 50
    else:
        assert drawn.rim > 0 > drawn.body


def test_giant_tumor_is_liver_and_may_leave_its_contour(scan):
    before = liver_ml(scan)
    center = tuple(int(v) for v in np.argwhere(scan.liver)[np.argwhere(scan.liver)[:, 1].argmax()])
    lesion = Lesion("hypodense", center, (50.0, 50.0, 50.0), -40.0, -20.0, -50.0, 0.1, 5)
    GiantTumor(lesion, 10.0, 500.0, 0.8).apply(scan)
    assert liver_ml(scan) > before + 20
    assert np.array_equal(scan.label > 0.5, scan.liver)
    assert 0.02 < (scan.hu[scan.liver] > 350).mean() < 0.4  # dense deposits are liver, too


def test_giant_tumors_reach_half_of_the_liver(scan):
    shares = []
    for seed in range(60):
        tumor = GiantTumor.random(scan, rng(seed))
        shares.append(4 / 3 * np.pi * np.prod(tumor.lesion.radii_mm) / 1000 / liver_ml(scan))
    assert min(shares) < 0.15 and max(shares) > 0.4


def test_lesions_never_leave_the_liver(scan):
    label, outside = scan.label.copy(), scan.hu[~scan.liver].copy()
    Lesions.random(scan, rng(2)).apply(scan)
    assert np.array_equal(scan.label, label) and np.array_equal(scan.hu[~scan.liver], outside)


# --- densities ---


def mean_hu(contrast, tissue):
    return contrast.hu[tissue]


def draws(scan, phase, **allowed):
    made = (Contrast.random(scan, rng(s), odd=False, **allowed) for s in range(400))
    return [c for c in made if c.phase == phase]


def test_phases_order_vessels_as_physiology_does(scan):
    arterial, portal, plain = (draws(scan, p) for p in ("arterial", "portal", "non-contrast"))
    assert np.mean([c.hu[Tissue.ARTERY] - c.hu[Tissue.VEIN] for c in arterial]) > 80
    assert abs(np.mean([c.hu[Tissue.ARTERY] - c.hu[Tissue.VEIN] for c in portal])) < 30
    assert all(c.hu[Tissue.ARTERY] < 60 for c in plain)
    normal = [[c.hu[Tissue.LIVER] for c in group if c.liver_kind == "normal"] for group in (plain, arterial, portal)]
    assert np.mean(normal[0]) < np.mean(normal[1]) < np.mean(normal[2])


def test_every_phase_is_drawn(scan):
    assert {Contrast.random(scan, rng(s)).phase for s in range(60)} == set(ENHANCEMENT)


def test_fatty_livers_are_darker_than_the_spleen_and_can_be_switched_off(scan):
    fatty = [c for c in draws(scan, "non-contrast") if c.liver_kind == "fatty"]
    assert fatty and np.mean([c.hu[Tissue.LIVER] < c.hu[Tissue.SPLEEN] for c in fatty]) > 0.9
    assert not [c for c in draws(scan, "non-contrast", fatty=False) if c.liver_kind == "fatty"]


def test_iron_laden_livers_are_bright_and_can_be_switched_off(scan):
    iron = [c for c in draws(scan, "non-contrast") if c.liver_kind == "iron"]
    assert iron and all(c.hu[Tissue.LIVER] > 70 for c in iron)
    assert not [c for c in draws(scan, "non-contrast", iron=False) if c.liver_kind == "iron"]


def test_liver_density_shifts_the_labelled_part_alone(scan):
    before = scan.hu.copy()
    LiverDensity(-40.0, 0.0, 1).apply(scan)
    assert np.allclose((scan.hu - before)[scan.liver], -40, atol=1e-3)
    assert np.array_equal(scan.hu[~scan.liver], before[~scan.liver])


def test_gain_changes_soft_tissue_and_leaves_air_and_bone(scan):
    before = scan.hu.copy()
    Gain(1.3, 5.0).apply(scan)
    far = (before < -200) | (before > 300)
    assert np.array_equal(scan.hu[far], before[far])
    assert scan.hu[scan.liver].mean() > before[scan.liver].mean() + 5


# --- gut, fat ---


def test_mesentery_fills_fat_between_the_organs_only(scan):
    fat = scan.tissue == Tissue.CAVITY_FAT
    before = scan.tissue.copy()
    Mesentery(0.6, 30.0, 0.3, 24.0, int(Tissue.BOWEL_CONTENT), 1).apply(scan)
    changed = scan.tissue != before
    assert 0.05 < changed.sum() / fat.sum() < 0.9 and fat[changed].all()
    assert {Tissue.VEIN, Tissue.GUT_WALL, Tissue.BOWEL_CONTENT} <= set(scan.tissue[changed])


@pytest.mark.parametrize("thick", [1, 3])
def test_the_wall_lies_on_the_liver_near_ribs_and_lung_and_takes_only_fat_and_lung(scan, thick):
    before, label = scan.tissue.copy(), scan.label.copy()
    Wall(thick, 14.0, 0.0, 1).apply(scan)
    changed = scan.tissue != before
    assert changed.sum() > 300 and (scan.tissue[changed] == Tissue.MUSCLE).all()
    assert is_any(before, (Tissue.FAT, Tissue.CAVITY_FAT, Tissue.LUNG))[changed].all()
    assert grow(before == Tissue.LIVER, thick)[changed].all()
    # Distances are good to a coarse step of three voxels.
    assert grow(is_any(before, OUTER), 7)[changed].all()
    assert np.array_equal(scan.label, label)


def test_a_bare_liver_keeps_more_of_its_fat(scan):
    walls = []
    for bare in (0.0, 0.8):
        other = copy(scan)
        Wall(2, 14.0, bare, 1).apply(other)
        walls.append((other.tissue != scan.tissue).sum())
    assert walls[1] < 0.5 * walls[0]


def test_hazy_fat_changes_the_fat_between_the_organs_only(scan):
    fat, before = scan.tissue == Tissue.CAVITY_FAT, scan.hu.copy()
    HazyFat(80.0, 0.3, 1).apply(scan)
    assert (scan.hu - before)[fat].mean() == pytest.approx(80, rel=0.15)
    assert np.array_equal(scan.hu[~fat], before[~fat])


def test_gas_rises_to_the_front(scan):
    content = np.isin(scan.tissue, (Tissue.STOMACH_CONTENT, Tissue.BOWEL_CONTENT, Tissue.COLON_CONTENT))
    BowelGas((0.6, 0.4, 0.6), 0.5, 30.0, 1).apply(scan)
    gas, contrast = scan.tissue == Tissue.GAS, scan.tissue == Tissue.CONTRAST_FILLED
    assert gas.any() and contrast.any() and content[gas | contrast].all()
    assert np.argwhere(gas)[:, 1].mean() > np.argwhere(content)[:, 1].mean()


# --- scanner ---


def test_thick_slices_keep_the_mean_and_repeat_slices(scan):
    label = scan.label.sum()
    ThickSlices(8.0, 8.0, 0.0).apply(scan)
    assert scan.label.sum() == pytest.approx(label, rel=1e-4)
    for pair in scan.hu[:20].reshape(10, 2, *scan.shape[1:]):
        assert np.allclose(pair[0], pair[1], atol=1e-2)


def test_slices_from_seven_tenths_to_eight_millimeters_always_average(scan):
    for thickness in (0.7, 2.0, 5.0, 8.0):
        for phase in (0.0, 0.3, 0.9):
            sums = slice_weights(96, thickness / 2, thickness / 2, phase).sum(axis=1)
            assert np.allclose(sums, 1, atol=1e-5)


def test_overlapping_slices_are_smoother_than_their_interval(scan):
    weights = slice_weights(96, 4.0, 2.0, 0.0)
    assert (weights[48] > 0).sum() == 4 and np.allclose(weights.sum(axis=1), 1, atol=1e-5)


def test_noise_has_its_sd_and_grain(scan):
    before = scan.hu.copy()
    Noise(20.0, 0.8, 1).apply(scan)
    noise = scan.hu - before
    assert noise.std() == pytest.approx(20, rel=0.05) and abs(noise.mean()) < 0.5
    neighbors = np.corrcoef(noise[:, :, :-1].ravel(), noise[:, :, 1:].ravel())[0, 1]
    assert neighbors > 0.3


def test_blur_softens_edges_and_keeps_the_mean(scan):
    before = scan.hu.copy()
    Blur(1.0, 0.5).apply(scan)
    assert np.abs(np.diff(scan.hu, axis=2)).mean() < 0.8 * np.abs(np.diff(before, axis=2)).mean()
    assert scan.hu.mean() == pytest.approx(before.mean(), abs=2)


def test_quantized_has_few_values(scan):
    Quantized(7.84, -500.0, 1500.0).apply(scan)
    assert len(np.unique(scan.hu)) <= 256 and scan.hu.min() >= -500


def test_metal_is_bright_and_streaks_fade(scan):
    before = scan.hu.copy()
    center = tuple(int(v) for v in np.argwhere(scan.liver).mean(axis=0))
    MetalStreaks(center, 6.0, 3, 2000.0, 150.0, 30, 40.0, 1).apply(scan)
    assert scan.hu[center] == 2000
    change = np.abs(scan.hu - before)[center[0], center[1]]
    assert change[center[2] + 4 : center[2] + 8].mean() > change[center[2] + 14 :].mean()
    assert np.array_equal(scan.hu[center[0] + 5], before[center[0] + 5])


def test_photon_starvation_streaks_run_from_side_to_side(scan):
    before = scan.hu.copy()
    PhotonStarvation(25.0, 4).apply(scan)
    change = (scan.hu - before)[10:-10, 20:-20, 30:-30]
    assert np.abs(np.diff(change, axis=2)).mean() < 0.4 * np.abs(np.diff(change, axis=0)).mean()


# --- surroundings and field of view ---


def test_table_and_arms_lie_in_the_air(scan):
    body = scan.tissue != Tissue.AIR
    before = scan.hu.copy()
    Table(4.0, 0.0005, 1, 0.0, -900.0, 30.0).apply(scan)
    table = scan.hu != before
    assert table.any() and not table[body].any()
    assert np.argwhere(table)[:, 1].max() < np.argwhere(body)[:, 1].mean()
    Arms(((30.0, 3.0, 0.0, 35.0),), 55.0, 700.0).apply(scan)
    assert (scan.tissue != Tissue.AIR)[~body].any()
    assert np.array_equal(scan.hu[body], before[body])


@pytest.mark.parametrize("effect", [Cut((20, 3, 4), (10, 0, 5)), RoundField((33.0, 50.0), 90.0)])
def test_outside_the_field_is_air_and_no_liver(scan, effect):
    before = scan.hu.copy()
    effect.apply(scan)
    outside = scan.hu != before
    assert outside.any() and (scan.hu[outside] == AIR_HU).all() and not scan.label[outside].any()
    if isinstance(effect, Cut):
        assert (scan.hu[:20] == AIR_HU).all() and (scan.hu[-10:] == AIR_HU).all()
