"""The network: sizes, shapes, and the arithmetic that `describe` prints."""

import pytest
import torch

from training.model import nets
from training.options import STUDENT_WIDTHS, TEACHER_WIDTHS


@pytest.mark.parametrize(
    ("widths", "count"),
    [((16, 32, 64, 128), 1_255_697), ((5, 10, 20, 30), 97_021), ((4, 6, 12, 16), 33_151), ((4, 6, 12, 13), 29_530)],
)
def test_parameter_counts(widths, count):
    assert nets.parameters(nets.UNet3D(widths)) == count


def test_roles_keep_their_budgets():
    assert nets.parameters(nets.UNet3D(STUDENT_WIDTHS["student-100k"])) <= 100_000
    assert nets.parameters(nets.UNet3D(STUDENT_WIDTHS["student-30k"])) <= 30_000
    assert nets.parameters(nets.UNet3D(TEACHER_WIDTHS)) == pytest.approx(1.25e6, rel=0.01)


@pytest.mark.parametrize(("widths", "stem"), [((2, 3), 2), ((2, 3, 4), 2), ((2, 2, 3, 5), 2), ((2, 3), 3)])
def test_output_has_the_size_of_the_input(widths, stem):
    net = nets.UNet3D(widths, stem)
    shape = (1, 1, net.multiple, 2 * net.multiple, 3 * net.multiple)
    assert net(torch.zeros(shape)).shape == shape


def test_macs_agree_with_a_count_on_the_running_network():
    net, counted = nets.UNet3D((3, 5, 7)), 0

    def count(layer, inputs, output):
        nonlocal counted
        # A transposed kernel is applied at every input position, a plain one at every output position.
        positions = (inputs[0] if isinstance(layer, torch.nn.ConvTranspose3d) else output)[0, 0].numel()
        counted += layer.weight.numel() * positions

    for _, convolution, _ in net.layers():
        convolution.register_forward_hook(count)
    net(torch.zeros(1, 1, 16, 24, 8))
    assert nets.gmac(net, (16, 24, 8)) == pytest.approx(counted / 1e9)


def test_nonsense_widths_are_refused():
    with pytest.raises(ValueError, match="two positive widths"):
        nets.UNet3D((4,))
