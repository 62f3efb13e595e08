"""Views: reproducible, label and image together, each effect does what its parameters say."""

import numpy as np
import pytest
import torch

from training.data import augment
from training.data.augment import View
from training.options import AugmentRanges

STILL = View(shift=(0, 0, 0), gain=1.0, offset=0.0, gamma=1.0, blur=False, noise=0.0, seed=0)


def volume():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(12, 14, 16, generator=generator) * 1.8 - 0.9
    image[:, :3] = augment.AIR
    return image, (image > 0).float()


def changed(**parameters):
    image, label = volume()
    return augment.apply(image, label, View(**{**STILL.__dict__, **parameters}))


def test_the_still_view_changes_nothing():
    image, label = volume()
    seen = changed()
    assert torch.allclose(seen[0], image, atol=1e-6) and torch.equal(seen[1], label)


def test_a_seed_names_a_view():
    views = [augment.draw(AugmentRanges(), np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert views[0] == views[1] != views[2]
    image, label = volume()
    assert torch.equal(augment.apply(image, label, views[0])[0], augment.apply(image, label, views[1])[0])


@pytest.mark.parametrize("by", [(3, 0, 0), (-2, 4, -5), (0, 0, 1), (40, 0, 0)])
def test_image_and_label_shift_together_and_air_comes_in(by):
    image, label = changed(shift=by)
    expected = np.full((12, 14, 16), augment.AIR, np.float32)
    for z, y, x in np.ndindex(12, 14, 16):
        source = (z - by[0], y - by[1], x - by[2])
        if all(0 <= place < size for place, size in zip(source, (12, 14, 16), strict=True)):
            expected[z, y, x] = volume()[0][source]
    assert np.allclose(image, expected, atol=1e-6)
    assert torch.equal(label, (torch.from_numpy(expected) > 0).float())


def test_intensity_leaves_air_and_stays_in_the_window():
    image, _ = changed(gain=1.5, offset=0.3, gamma=0.8)
    assert (image[:, :3] == augment.AIR).all()
    assert image.min() >= -1 and image.max() <= 1
    assert image[:, 3:].mean() > volume()[0][:, 3:].mean()


def test_noise_has_its_size_and_blur_smooths():
    image = volume()[0]
    inner = (image.abs() < 0.5).nonzero(as_tuple=True)
    noisy = changed(noise=0.1)[0]
    assert (noisy - image)[inner].std() == pytest.approx(0.1, rel=0.1)
    assert changed(blur=True)[0][:, 4:].std() < image[:, 4:].std()


def test_zero_ranges_switch_everything_off():
    off = AugmentRanges(shift=(0, 0, 0), offset=0, gain=0, gamma=0, noise=0, noisy=0, blurred=0)
    view = augment.draw(off, np.random.default_rng(3))
    assert View(**{**view.__dict__, "seed": 0}) == STILL
