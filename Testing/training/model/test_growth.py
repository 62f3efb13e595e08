"""Widening keeps the function, the gradients' meaning and the optimizer's moments."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.model import growth
from training.model.nets import UNet3D


def trained_like(widths, seed=0, stem=2):
    """A float64 network whose batch norms have statistics and affine far from their defaults."""
    torch.manual_seed(seed)
    net = UNet3D(widths, stem).double()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return net


def image(net, batch=1):
    return torch.randn(batch, 1, net.multiple, 2 * net.multiple, net.multiple, dtype=torch.float64)


@st.composite
def growing_widths(draw):
    narrow = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    return tuple(narrow), tuple(width + draw(st.integers(0, 6)) for width in narrow)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(growing_widths(), st.integers(0, 1000))
def test_widening_keeps_the_function(pair, seed):
    narrow, wide = pair
    net = trained_like(narrow, seed).eval()
    grown = growth.widen(net, wide, growth.draw_maps(narrow, wide, seed))
    x = image(net)
    assert grown.widths == wide
    assert (grown(x) - net(x)).abs().max() < 1e-10


def test_from_student_to_teacher_in_two_steps():
    plan = [(5, 10, 20, 30), (9, 18, 36, 62), (16, 32, 64, 128)]
    net = trained_like(plan[0]).eval()
    x = image(net)
    grown = net
    for old, new in itertools.pairwise(plan):
        grown = growth.widen(grown, new, growth.draw_maps(old, new, 3))
    assert (grown(x) - net(x)).abs().max() < 1e-10


def test_training_mode_and_gradients_follow_the_maps():
    narrow, wide = (2, 3, 4), (5, 3, 9)
    net = trained_like(narrow).train()
    maps = growth.draw_maps(narrow, wide, 1)
    grown = growth.widen(net, wide, maps)
    x = image(net, batch=2)
    net(x).square().sum().backward()
    grown(x).square().sum().backward()
    for (name, ours), (_, theirs) in zip(net.named_parameters(), grown.named_parameters()):
        assert torch.allclose(growth.gradient_growth(name, ours.grad, maps, 1), theirs.grad, atol=1e-9), name


def test_moments_of_a_widened_network_are_those_it_would_have_gathered():
    narrow, wide = (2, 3), (4, 5)
    net = trained_like(narrow).train()
    maps = growth.draw_maps(narrow, wide, 1)
    grown = growth.widen(net, wide, maps)
    optimizers = [torch.optim.AdamW(n.parameters(), lr=0.0) for n in (net, grown)]
    for _ in range(3):
        x = image(net, batch=2)
        for network, optimizer in zip((net, grown), optimizers):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    carried = growth.widen_moments(optimizers[0].state_dict(), net, maps)
    for index, entry in optimizers[1].state_dict()["state"].items():
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.allclose(carried["state"][index][name], entry[name], rtol=1e-6, atol=1e-15), (index, name)
    optimizers[1].load_state_dict(carried)


def test_symmetry_is_broken_and_the_function_hardly_changes():
    net = trained_like((2, 3)).eval()
    grown = growth.widen(net, (4, 6), growth.draw_maps((2, 3), (4, 6), 0))
    before = grown.stem[0].weight.clone()
    x = image(net)
    growth.break_symmetry(grown, 0.01, seed=5)
    copies = [source for source in range(2) if torch.equal(before[source], before[source + 2])]
    assert not any(torch.equal(grown.stem[0].weight[c], grown.stem[0].weight[c + 2]) for c in copies)
    assert 0 < (grown(x) - net(x)).abs().mean() < 0.1 * net(x).std()


@pytest.mark.parametrize("wide", [(1, 3), (2, 3, 4)])
def test_shrinking_is_refused(wide):
    with pytest.raises(ValueError, match="only grow"):
        growth.draw_maps((2, 3), wide, 0)
