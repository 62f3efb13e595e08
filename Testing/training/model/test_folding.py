"""A student file as a network to train on: the same function, and nearly the same while training."""

import numpy as np
import pytest
import torch

from training.model import folding
from training.model.nets import UNet3D


@pytest.fixture
def used():
    """A network whose norms have seen data."""
    net = UNet3D((4, 6, 8)).train()
    for _ in range(20):
        net(torch.randn(2, 1, 16, 16, 24))
    for norm in (module for module in net.modules() if isinstance(module, torch.nn.BatchNorm3d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    return net.eval()


def images():
    return [torch.randn(2, 1, 16, 16, 24, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]


def test_a_student_file_becomes_a_network_with_the_same_function(used):
    net = folding.unfolded(folding.in_memory(used, "net", 3.0, (-160.0, 240.0)), images())
    image = images()[0][0, 0].numpy()
    assert np.abs(folding.forward(net, image) - folding.forward(used, image)).max() < 1e-4


def test_training_begins_near_that_function(used):
    net = folding.unfolded(folding.in_memory(used, "net", 3.0, (-160.0, 240.0)), images())
    expected = net(images()[0])
    net.train()
    with_batch_statistics = net(images()[0])
    neutral = UNet3D((4, 6, 8)).train()
    assert (with_batch_statistics - expected).abs().mean() < 0.1 * expected.std()
    assert (neutral(images()[0]) - expected).abs().mean() > 0.3 * expected.std()
    net.eval()
    assert not any(module._forward_hooks for module in net.modules())


def test_a_shift_is_added_to_every_logit(used):
    image = images()[0][0, 0].numpy()
    before = folding.forward(used, image)
    assert np.allclose(folding.forward(folding.shifted(used, -0.5), image), before - 0.5, atol=1e-5)
    with pytest.raises(ValueError, match="nan"):
        folding.shifted(used, float("nan"))
