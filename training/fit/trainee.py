"""A network in training: weights, optimizer, moving average, and how it grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from LiverGTANLib.core.files import brief
from training.errors import UserError
from training.fit import machine
from training.model import growth
from training.model.nets import UNet3D
from training.options import Config


@dataclass
class Trainee:
    """`average` is the moving average of the weights: what is validated, evaluated and exported.

    optimizer_start_step: where the optimizer began, and with it the warm-up of the rate: at the start of the run or at
    the last growth. growths: one entry a growth with step, widths and replica maps.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    average: UNet3D
    optimizer_start_step: int = 0
    growths: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def new(cls, net: UNet3D, fabric: Fabric, config: Config) -> Trainee:
        """The network on its device, with a fresh optimizer; the average begins as a copy."""
        average = machine.placed(clone(net), fabric).eval().requires_grad_(False)
        net = machine.placed(net, fabric).train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=config.loop.rate, weight_decay=config.loop.decay)
        wrapped, wrapped_optimizer = fabric.setup(net, optimizer)
        return cls(wrapped, wrapped_optimizer, average)

    @property
    def unwrapped(self) -> UNet3D:
        """The network below Fabric's and DDP's wrappers."""
        net = self.net
        while hasattr(net, "module"):
            net = cast(nn.Module, net.module)
        return cast(UNet3D, net)

    def grown(self, widths: tuple[int, ...], step: int, fabric: Fabric, config: Config) -> Trainee:
        """This trainee at larger widths: same function, average and moments, unless growth does not inherit."""
        settings, seed = config.growth, config.loop.seed + step
        maps = growth.draw_maps(self.unwrapped.widths, widths, seed)
        if settings.inherit:
            wide = growth.widen(self.unwrapped, widths, maps)
            growth.break_symmetry(wide, settings.asymmetry, seed)
            trainee = Trainee.new(wide, fabric, config)
            trainee.average.load_state_dict(growth.widen(self.average, widths, maps).state_dict())
            trainee.optimizer.load_state_dict(growth.widen_moments(self.optimizer.state_dict(), self.unwrapped, maps))
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                trainee = Trainee.new(self.unwrapped.like(widths), fabric, config)
        trainee.optimizer_start_step = step
        trainee.growths = [*self.growths, {"step": step, "widths": widths, "maps": maps}]
        return trainee

    def finite(self) -> bool:
        """Whether weights and average are numbers."""
        return all(bool(p.isfinite().all()) for net in (self.unwrapped, self.average) for p in net.parameters())

    def pack(self, resumable: bool) -> dict[str, Any]:
        """Plain data for the checkpoint; what is not to be resumed holds the average alone, a quarter of the bytes."""
        average = self.average.state_dict()
        return {
            "widths": self.average.widths,
            "stem": self.average.stem_size,
            "weights": self.unwrapped.state_dict() if resumable else average,
            "average": average,
            "optimizer": self.optimizer.state_dict() if resumable else {},
            "optimizer_start_step": self.optimizer_start_step,
            "growths": self.growths,
        }

    @classmethod
    def unpack(cls, state: dict[str, Any], start: UNet3D, fabric: Fabric, config: Config) -> Trainee:
        """The trainee that `pack` described; `start` is the network that it began as.

        Raises UserError when parts are missing or do not fit.
        """
        trainee = cls.new(start.like(tuple(state["widths"])), fabric, config)
        try:
            trainee.unwrapped.load_state_dict(state["weights"])
            trainee.average.load_state_dict(state["average"])
            trainee.optimizer.load_state_dict(state["optimizer"])
            trainee.optimizer_start_step, trainee.growths = int(state["optimizer_start_step"]), list(state["growths"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(f"The checkpoint cannot be resumed ({brief(error)}); give another folder.") from error
        return trainee

    @torch.no_grad()
    def update_average(self, decay: float, step: int) -> None:
        """Moves the average towards the weights; early on faster, so that the first weights are soon forgotten.

        The decay rises as (1 + step) / (10 + step) up to `decay`, as in TensorFlow's ExponentialMovingAverage.
        """
        decay = min(decay, (1 + step) / (10 + step))
        average, current = self.average.state_dict(), self.unwrapped.state_dict()
        names = [name for name, value in average.items() if value.is_floating_point()]
        torch._foreach_lerp_([average[n] for n in names], [current[n] for n in names], 1 - decay)


def clone(net: UNet3D) -> UNet3D:
    """An independent network with the same weights."""
    twin = net.like(net.widths)
    twin.load_state_dict(net.state_dict())
    return twin
