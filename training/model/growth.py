"""Function-preserving widening (Net2Wider): an assistant grows from the student's widths to the teacher's.

A unit of the wide network copies a unit of the narrow one; what reads the copies divides by their number. Batch norm is
a unit's own affair, so its statistics and affine are copied, never divided. At a concatenation the two halves bring
their own maps. In eval mode the wide network computes what the narrow one did, up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from training.model.nets import UNet3D

Maps = dict[int, list[int]]
"""Level -> for each of its wide channels, the narrow channel that it copies."""


@dataclass(frozen=True)
class Side:
    """How one side of a convolution grows: the channels copied and, for a reader, the share of each copy."""

    source: torch.Tensor  # (wide,) long
    share: torch.Tensor  # (wide,) 1 / number of copies

    @classmethod
    def of(cls, *maps: list[int]) -> Side:
        """Of a concatenation of the mapped channels."""
        sources, shares, start = [], [], 0
        for one in maps:
            source = torch.tensor(one)
            sources.append(source + start)
            shares.append(1.0 / torch.bincount(source)[source].double())
            start += max(one) + 1
        return cls(torch.cat(sources), torch.cat(shares))


def draw_maps(narrow: tuple[int, ...], wide: tuple[int, ...], seed: int) -> Maps:
    """Every old channel once, then old channels drawn evenly for the new ones."""
    if len(narrow) != len(wide) or any(w < n for n, w in zip(narrow, wide, strict=True)):
        raise ValueError(f"Widths can only grow, level by level: not from {narrow} to {wide}.")
    generator = torch.Generator().manual_seed(seed)
    maps = {}
    for level, (old, new) in enumerate(zip(narrow, wide, strict=True)):
        rounds = [torch.randperm(old, generator=generator) for _ in range(-(-(new - old) // old))]
        maps[level] = list(range(old)) + torch.cat([torch.empty(0, dtype=torch.long), *rounds])[: new - old].tolist()
    return maps


def widen(net: UNet3D, widths: tuple[int, ...], maps: Maps) -> UNet3D:
    """A network of these widths that computes the same function (eval mode), by copies along `maps`."""
    wide = net.like(widths).to(next(net.parameters()))
    wide.load_state_dict({name: grown(name, value, maps, divide=True) for name, value in net.state_dict().items()})
    return wide.train(net.training)


def widen_moments(state: dict, narrow: UNet3D, maps: Maps) -> dict:
    """An Adam state dict for the widened network: moments copied like the weights they belong to.

    An outgoing weight w/n has a gradient that is the same as that of w (every copy sees the same input and the same
    output gradient), while the incoming gradients are divided by n, because each copy feeds on a share. Adam's update
    is nearly free of that scale, but second moments must match first ones, so both are carried over exactly.
    """
    names = [name for name, _ in narrow.named_parameters()]
    moments = {}
    for index, entry in state["state"].items():
        gradient = [
            gradient_growth(names[index], value, maps, power)
            for value, power in ((entry["exp_avg"], 1), (entry["exp_avg_sq"], 2))
        ]
        moments[index] = entry | {"exp_avg": gradient[0], "exp_avg_sq": gradient[1]}
    return {"state": moments, "param_groups": state["param_groups"]}


def grown(name: str, value: torch.Tensor, maps: Maps, divide: bool) -> torch.Tensor:
    """One entry of a state dict, widened: outputs copied, inputs copied and (if `divide`) shared out."""
    layer = name.split(".")[0]
    outputs, inputs = sides(layer, maps)
    if value.ndim == 0:
        return value.clone()
    if value.ndim == 1:
        return value[outputs.source.to(value.device)] if outputs else value.clone()
    out_axis, in_axis = (1, 0) if layer.startswith(("up", "head")) else (0, 1)
    if outputs:
        value = value.index_select(out_axis, outputs.source.to(value.device))
    if inputs:
        value = value.index_select(in_axis, inputs.source.to(value.device))
        if divide:
            value = value * along(in_axis, inputs.share, value)
    return value.contiguous()


def gradient_growth(name: str, value: torch.Tensor, maps: Maps, power: int) -> torch.Tensor:
    """A gradient-like tensor widened: each copy of an output receives its share of the gradient, to this power."""
    layer = name.split(".")[0]
    outputs, _ = sides(layer, maps)
    wide = grown(name, value, maps, divide=False)
    if outputs is None:
        return wide
    axis = 0 if value.ndim == 1 or not layer.startswith(("up", "head")) else 1
    return wide * along(axis, outputs.share**power, wide)


def along(axis: int, factors: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The factors, shaped to multiply one axis of a tensor."""
    return factors.to(like).reshape([-1 if a == axis else 1 for a in range(like.ndim)])


def sides(layer: str, maps: Maps) -> tuple[Side | None, Side | None]:
    """(outputs, inputs) of a layer by its name; None for the image and for the logit, which do not grow."""
    if layer == "stem":
        return Side.of(maps[0]), None
    if layer == "head":
        return None, Side.of(maps[0])
    kind = layer.rstrip("0123456789")
    level = int(layer.removeprefix(kind))
    levels = {
        "enc": (level,),
        "dec": (level, level),  # concatenation of the layer below and the skip
        "down": (level - 1,),
        "up": (level + 1,),
    }
    return Side.of(maps[level]), Side.of(*(maps[n] for n in levels[kind]))


@torch.no_grad()
def break_symmetry(net: nn.Module, noise: float, seed: int) -> None:
    """Adds noise relative to each weight tensor's spread: copies that are equal would stay equal for ever."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            random = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.add_(random, alpha=noise * float(parameter.std()))
