"""A trained network as engines take it: batch norms folded into the convolutions, and what an engine must know."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from LiverGTANLib.core import weight_file
from training.model.nets import NEGATIVE_SLOPE, Norm, UNet3D, parameters


def fold(net: UNet3D) -> dict[str, np.ndarray]:
    """Arrays of the student file, float32: every batch norm folded into the convolution before it (eval statistics)."""
    arrays = {}
    with torch.no_grad():
        for name, convolution, norm in net.layers():
            weight = convolution.weight.double()
            bias = torch.zeros(convolution.out_channels) if convolution.bias is None else convolution.bias
            if norm is not None:
                scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
                weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
                bias = norm.bias.double() + (bias - norm.running_mean.double()) * scale
            arrays[f"{name}.weight"] = weight.float().contiguous().numpy()
            arrays[f"{name}.bias"] = bias.float().numpy()
    return arrays


def unfolded(student: weight_file.Student, images: Iterable[torch.Tensor]) -> UNet3D:
    """A network to train on that computes what a student file computes: the inverse of `fold`.

    images: batches (B, 1, D, H, W) to estimate the mean and variance before each norm on, without which training
    would begin with another function.
    """
    architecture = student.card["architecture"]
    net = UNet3D(tuple(architecture["widths"]), architecture["stem"]).eval()
    moments: dict[str, list[torch.Tensor]] = {}
    with torch.no_grad():
        for name, convolution, norm in net.layers():
            convolution.weight.copy_(torch.from_numpy(student.weights[f"{name}.weight"]))
            bias = torch.from_numpy(student.weights[f"{name}.bias"])
            if convolution.bias is not None:
                convolution.bias.copy_(bias)
            if norm is None:
                continue
            norm.running_var.fill_(1 - norm.eps)
            norm.bias.copy_(bias)
            convolution.register_forward_hook(partial(keep_moments, moments.setdefault(name, [])))
        for image in images:
            net(image)
        for name, convolution, norm in net.layers():
            convolution._forward_hooks.clear()
            if norm is not None:
                put_back(norm, torch.stack(moments[name]).mean(0))
    return net


def keep_moments(moments: list[torch.Tensor], module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
    """Adds mean and mean square of a convolution's channels, (2, C)."""
    moments.append(torch.stack([output.mean((0, 2, 3, 4)), output.square().mean((0, 2, 3, 4))]))


def put_back(norm: Norm, moments: torch.Tensor) -> None:
    """Gives a norm that adds its bias alone the statistics of what it gets, with the same function."""
    average, square = moments
    variance = (square - average**2).clamp_min(0)
    norm.running_mean.copy_(average)
    norm.running_var.copy_(variance)
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.add_(average)


def shifted(net: UNet3D, by: float) -> UNet3D:
    """The network with a number added to each of its logits, in place. Raises ValueError when it is not finite."""
    if not math.isfinite(by):
        raise ValueError(f"Logits cannot be shifted by {by}.")
    with torch.no_grad():
        cast(torch.Tensor, net.head.bias).add_(by)
    return net


def card(name: str, net: UNet3D, spacing_mm: float, hu_window: tuple[float, float]) -> dict[str, Any]:
    """What an engine must know; training and metrics are added by `student_card`."""
    return {
        "name": name,
        "architecture": {
            "type": "unet3d",
            "widths": list(net.widths),
            "stem": net.stem_size,
            "negative_slope": NEGATIVE_SLOPE,
        },
        "input": {"spacing_mm": spacing_mm, "hu_window": list(hu_window)},
        "parameters_before_folding": parameters(net),
    }


def in_memory(net: UNet3D, name: str, spacing_mm: float, hu_window: tuple[float, float]) -> weight_file.Student:
    """The network as engines take it, in float32, without a file."""
    return weight_file.Student(name, card(name, net, spacing_mm, hu_window), fold(net))


def forward(net: UNet3D, image_DHW: np.ndarray) -> np.ndarray:
    """Logits (D, H, W) of the network in eval mode and float32."""
    with torch.no_grad():
        return net.eval()(torch.from_numpy(image_DHW)[None, None])[0, 0].numpy()
