"""The network of any design on trial: the U-Net of `nets.py` with other convolutions, levels, or fewer of them.

Where a design is a plain U-Net of two full convolutions a level, names, shapes and function are those of `nets.UNet3D`.
Shapes: B batch, C channels, D/H/W = superior/anterior/right axes of the model grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.model.nets import Norm, UNet3D, conv3, unit
from training.studies.design_plan import Design


class DesignNet(UNet3D):
    """Input `x_BCDHW` of one channel in [-1, 1], output one logit a voxel; sizes are multiples of `self.multiple`."""

    def __init__(self, design: Design) -> None:
        nn.Module.__init__(self)  # the layers of its own take the place of those of `UNet3D`
        self.design, self.widths, self.stem_size = design, design.widths, design.stem
        self.levels = len(design.widths)
        self.multiple = design.stem * 2 ** (self.levels - 1)
        widths = design.widths
        self.stem = unit(nn.Conv3d(1, widths[0], design.stem, stride=design.stem, bias=False))
        for level in range(self.levels):
            if level:
                self.add_module(f"down{level}", block(design, widths[level - 1], widths[level], 2))
            if design.convolutions == 2:
                self.add_module(f"enc{level}", block(design, widths[level], widths[level]))
        for level in range(self.levels - 2, -1, -1):
            self.add_module(f"up{level}", upsampling(design, widths[level + 1], widths[level]))
            self.add_module(f"dec{level}", block(design, 2 * widths[level], widths[level]))
        self.head = nn.ConvTranspose3d(widths[0], 1, design.stem, stride=design.stem)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        x, skips = self.stem(x_BCDHW), []
        for level in range(self.levels):
            if level:
                skips.append(x)
                x = self.get_submodule(f"down{level}")(x)
            if self.design.convolutions == 2:
                x = self.get_submodule(f"enc{level}")(x)
        for level in range(self.levels - 2, -1, -1):
            x = torch.cat([self.get_submodule(f"up{level}")(x), skips[level]], dim=1)
            x = self.get_submodule(f"dec{level}")(x)
        return self.head(x)

    def architecture(self) -> dict[str, Any]:
        """What tells this network from others, in plain data."""
        return dataclasses.asdict(self.design) | {"widths": list(self.widths)}

    def like(self, widths: tuple[int, ...]) -> DesignNet:
        """A fresh network that differs from this one in widths alone."""
        return DesignNet(dataclasses.replace(self.design, widths=widths))

    def layers(self) -> Iterator[tuple[str, nn.Conv3d | nn.ConvTranspose3d, Norm | None]]:
        """(name, convolution, its batch norm or None); a block of several has `dec0.0`, `dec0.1` ..."""
        modules = dict(self.named_modules())
        for path, module in modules.items():
            if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
                name = path.removesuffix(".0")
                norm = modules.get(f"{name}.1")
                yield name, module, norm if isinstance(norm, Norm) else None


def block(design: Design, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """What stands for a 3x3x3 convolution, with batch norm and LeakyReLU behind each of its parts."""
    if design.kind == "full":
        return unit(conv3(inputs, outputs, stride))
    if design.kind == "separable":
        depthwise = nn.Conv3d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        return nn.Sequential(unit(depthwise), unit(nn.Conv3d(inputs, outputs, 1, bias=False)))
    return nn.Sequential(*(unit(line(inputs if axis == 0 else outputs, outputs, axis, stride)) for axis in range(3)))


def line(inputs: int, outputs: int, axis: int, stride: int) -> nn.Conv3d:
    """A convolution of three voxels along one axis (0: D), with its stride along that axis alone."""

    def along(value: int, other: int) -> tuple[int, int, int]:
        return (value if axis == 0 else other, value if axis == 1 else other, value if axis == 2 else other)

    return nn.Conv3d(inputs, outputs, along(3, 1), along(stride, 1), along(1, 0), bias=False)


def upsampling(design: Design, inputs: int, outputs: int) -> nn.Module:
    """To twice the size: transposed convolution, or, in the spirit of cheap parts, 1x1x1 convolution and repetition."""
    if design.kind == "full":
        return nn.ConvTranspose3d(inputs, outputs, 2, stride=2)
    return nn.Sequential(nn.Conv3d(inputs, outputs, 1), nn.Upsample(scale_factor=2))


def gmac(design: Design, shape_DHW: tuple[int, ...]) -> float:
    """Multiply-accumulates of the convolutions in one forward pass on a grid, in units of 1e9."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        DesignNet(design)(torch.empty(1, 1, *shape_DHW))
    return counter.get_total_flops() / 2e9
