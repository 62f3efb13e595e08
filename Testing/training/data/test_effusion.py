"""Pleural fluid in views of real CTs: it fills lung beside the liver, and nothing else."""

import dataclasses

import numpy as np
import pytest
import torch

from LiverGTANLib.core.volume import AIR
from training.data import effusion

FLUID = effusion.Effusion(share=1.0, reach=12, tilt=0.0, value=-0.1, grain=0.0, collapsed=0.0, lung_value=0.2, seed=3)


@pytest.fixture
def chest():
    """A trunk of 24 x 30 x 36 voxels in air: lung above, liver of 0.3 below, and a lung-liver voxel of half air."""
    image, label = torch.full((24, 30, 36), AIR), torch.zeros(24, 30, 36)
    image[:, 4:26, 4:32] = 0.1
    image[12:, 7:23, 7:29] = AIR
    label[2:12, 7:23, 7:29] = 1
    image[label > 0] = 0.3
    image[12, 10, 10] = -0.65
    return image, label


def filled(chest, **changes):
    image, label = chest[0].clone(), chest[1].clone()
    effusion.add(image, label, dataclasses.replace(FLUID, **changes))
    assert torch.equal(label, chest[1])
    return image


def test_fluid_fills_lung_and_leaves_tissue_and_the_room_alone(chest):
    image = filled(chest)
    lung = torch.zeros_like(image, dtype=torch.bool)
    lung[12:, 7:23, 7:29] = True
    lung[12, 10, 10] = False
    changed = image != chest[0]
    assert torch.allclose(image[changed & lung], torch.tensor(-0.1), atol=1e-5)
    assert int((changed & lung)[12:18].sum()) > 0.9 * int(lung[12:18].sum())  # from below
    assert not changed[chest[0] > effusion.TISSUE].any() and (image[:, :4] == AIR).all()


def test_a_voxel_of_half_lung_becomes_half_fluid(chest):
    assert float(filled(chest)[12, 10, 10]) == pytest.approx(-0.65 + 0.5 * (-0.1 - AIR), abs=0.01)


@pytest.mark.parametrize("tilt, far", [(0.0, np.s_[22:, 7:23, 7:29]), (1.5, np.s_[12:, 20:23, 7:29])])
def test_a_small_effusion_lies_below_or_behind(chest, tilt, far):
    changed = filled(chest, share=0.35, tilt=tilt) != chest[0]
    assert changed.any() and changed[far].float().mean() < 0.1


def test_airless_lung_lies_in_the_fluid(chest):
    values = filled(chest, collapsed=0.3)[13:18, 7:23, 7:29]
    assert 0.1 < float((values > 0.1).float().mean()) < 0.6


@pytest.mark.parametrize("hidden", ["liver", "lung"])
def test_nothing_is_drawn_without_liver_or_lung(chest, hidden):
    image, label = chest
    if hidden == "liver":
        label.zero_()
    else:
        image[image <= effusion.TISSUE] = 0.0
    assert torch.equal(filled((image, label)), image)


def test_a_seed_names_the_fluid(chest):
    changes = {"grain": 0.5, "collapsed": 0.3}
    assert torch.equal(filled(chest, **changes), filled(chest, **changes))
    assert not torch.equal(filled(chest, **changes), filled(chest, **changes, seed=4))


@pytest.mark.parametrize("grain", [0.0, 0.5, 1.0])
def test_fluid_has_the_noise_of_the_liver(chest, grain):
    image, label = chest
    image[image > 0] += 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))[image > 0]
    fluid = filled((image, label), grain=grain)[13:18, 8:22, 8:28]
    assert float(fluid.std()) == pytest.approx(0.1, rel=0.1)
