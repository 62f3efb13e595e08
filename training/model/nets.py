"""One network for every role: teacher, assistant and student differ in `widths` alone.

Attribute names (`stem`, `enc0`, `down1` ...) are the array names of the student file, so the export is a plain loop.
Shapes: B batch, C channels, D/H/W = superior/anterior/right axes of the model grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import distributed, nn
from torch.distributed.nn.functional import all_reduce

from training.errors import UserError
from training.options import STUDENT_WIDTHS, WINDOW, Describe

Convolution = nn.Conv3d | nn.ConvTranspose3d

NEGATIVE_SLOPE = 0.01
STRIDE = 2
"""Of the stem, and of every level below it."""
STEM = 2
"""Side of the stem's kernels: 2 for patches side by side, which the extension runs; 3 for overlapping ones."""
STEMS = (STEM, 3)


class UNet3D(nn.Module):
    """U-Net on half the resolution: input `x_BCDHW` of one channel in [-1, 1], output one logit a voxel, same size.

    Every input size must be a multiple of `self.multiple`. Raises ValueError for widths or a stem that it cannot have.
    """

    def __init__(self, widths: tuple[int, ...], stem: int = STEM) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"A network needs at least two positive widths, not {widths}.")
        if stem not in STEMS:
            raise ValueError(f"A stem has kernels of {' or '.join(map(str, STEMS))} voxels, not {stem}.")
        self.widths, self.stem_size, self.levels = tuple(widths), stem, len(widths)
        self.multiple = STRIDE**self.levels
        self.stem = unit(nn.Conv3d(1, widths[0], stem, STRIDE, padding=(stem - 1) // 2, bias=False))
        self.enc0 = unit(conv3(widths[0], widths[0]))
        for level in range(1, self.levels):
            self.add_module(f"down{level}", unit(conv3(widths[level - 1], widths[level], stride=2)))
            self.add_module(f"enc{level}", unit(conv3(widths[level], widths[level])))
        for level in range(self.levels - 2, -1, -1):
            self.add_module(f"up{level}", nn.ConvTranspose3d(widths[level + 1], widths[level], 2, stride=2))
            self.add_module(f"dec{level}", unit(conv3(2 * widths[level], widths[level])))
        self.head = nn.ConvTranspose3d(widths[0], 1, STRIDE, stride=STRIDE)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        x, skips = self.enc0(self.stem(x_BCDHW)), []
        for level in range(1, self.levels):
            skips.append(x)
            x = self.get_submodule(f"enc{level}")(self.get_submodule(f"down{level}")(x))
        for level in range(self.levels - 2, -1, -1):
            x = torch.cat([self.get_submodule(f"up{level}")(x), skips[level]], dim=1)
            x = self.get_submodule(f"dec{level}")(x)
        return self.head(x)

    def architecture(self) -> dict[str, Any]:
        """What tells this network from others, in plain data."""
        return {"widths": list(self.widths), "stem": self.stem_size}

    def like(self, widths: tuple[int, ...]) -> UNet3D:
        """A fresh network that differs from this one in widths alone."""
        return UNet3D(widths, self.stem_size)

    def layers(self) -> Iterator[tuple[str, Convolution, Norm | None]]:
        """(name, convolution, its batch norm or None) in the order of the forward pass."""
        for name, module in self.named_children():
            if isinstance(module, nn.Sequential):
                yield name, cast(Convolution, module[0]), cast(Norm, module[1])
            else:
                yield name, cast(Convolution, module), None


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv3d:
    """3x3x3 convolution without bias: the batch norm behind it has one."""
    return nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def unit(convolution: nn.Conv3d) -> nn.Sequential:
    """Convolution, batch norm, LeakyReLU."""
    return nn.Sequential(convolution, Norm(convolution.out_channels), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))


class Norm(nn.BatchNorm3d):
    """Batch norm over the batches of all processes, on any device (torch's own works on GPUs only).

    So a run on two processes sees the statistics, and the loss, of one process with the whole batch.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        if not (self.training and distributed.is_initialized() and distributed.get_world_size() > 1):
            return super().forward(x_BCDHW)
        x, world = x_BCDHW.float(), distributed.get_world_size()
        over, like = (0, 2, 3, 4), (1, -1, 1, 1, 1)
        mean = all_reduce(x.mean(over)) / world
        variance = all_reduce((x - mean.reshape(like)).square().mean(over)) / world
        self.remember(mean.detach(), variance.detach(), world * x[:, 0].numel())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (x * scale.reshape(like) + (self.bias - mean * scale).reshape(like)).to(x_BCDHW.dtype)

    @torch.no_grad()
    def remember(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        """Running statistics, the variance unbiased, as torch keeps them."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked.add_(1)


def parameters(net: nn.Module) -> int:
    """Number of trained parameters (before folding)."""
    return sum(p.numel() for p in net.parameters())


def gmac(net: UNet3D, shape_DHW: tuple[int, int, int] = WINDOW) -> float:
    """Multiply-accumulates of the convolutions in one forward pass, in units of 1e9."""
    total, voxels = 0, 1
    for size in shape_DHW:
        voxels *= size
    for name, convolution, _ in net.layers():
        taps = convolution.weight.numel()
        total += taps * voxels // positions_per_weight(name)
    return total / 1e9


def describe(options: Describe) -> None:
    """Prints one line a network: widths, parameters, multiply-accumulates.

    Raises UserError for a grid whose sides a network cannot halve often enough.
    """
    plans = {"teacher": options.teacher_widths, "assistant": options.assistant_widths, **STUDENT_WIDTHS}
    if options.student_widths not in plans.values():
        plans["student"] = options.student_widths
    with torch.device("meta"):  # sizes alone: no weights are made
        nets = {name: UNet3D(widths) for name, widths in plans.items()}
    grid = " x ".join(map(str, options.shape))
    for name, net in nets.items():
        if any(n < 1 or n % net.multiple for n in options.shape):
            raise UserError(
                f"The {name} cannot take a grid of {grid}: every side must be a multiple of {net.multiple}."
            )
    print(f"{'network':14s}{'widths':>16s}{'parameters':>12s}{'of teacher':>12s}{'GMAC':>9s}   (grid {grid})")
    whole = parameters(nets["teacher"])
    for name, net in nets.items():
        count = parameters(net)
        print(
            f"{name:14s}{'-'.join(map(str, net.widths)):>16s}{count:12,d}{count / whole:12.1%}"
            f"{gmac(net, options.shape):9.3f}"
        )


def positions_per_weight(name: str) -> int:
    """Input voxels for each position where a layer's kernel is applied (a transposed one: each of its inputs)."""
    level = int(name[-1]) + 1 if name.startswith("up") else 0 if name in ("stem", "head") else int(name[-1])
    return STRIDE ** (3 * (level + 1))
