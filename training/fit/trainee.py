"""A network in training: weights, optimizer, moving average, and how it grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from training.fit import machine
from training.model import growth
from training.model.nets import UNet3D
from training.options import Config


@dataclass
class Trainee:
    """`average` is the moving average of the weights: what is validated, evaluated and exported.

    born: step of its start or last growth. history: one entry a growth with step, widths and replica maps.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    average: UNet3D
    born: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def new(cls, net: UNet3D, fabric: Fabric, config: Config) -> Trainee:
        """The network on its device, with a fresh optimizer; the average begins as a copy."""
        average = machine.placed(copy_of(net), fabric).eval().requires_grad_(False)
        net = machine.placed(net, fabric).train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=config.loop.rate, weight_decay=config.loop.decay)
        return cls(*fabric.setup(net, optimizer), average)

    @property
    def plain(self) -> UNet3D:
        """The network below Fabric's and DDP's wrappers."""
        net = self.net
        while hasattr(net, "module"):
            net = net.module
        return net

    def grown(self, widths: tuple[int, ...], step: int, fabric: Fabric, config: Config) -> Trainee:
        """This learner at larger widths: same function, average and moments, unless growth does not inherit."""
        settings, seed = config.growth, config.loop.seed + step
        maps = growth.draw_maps(self.plain.widths, widths, seed)
        history = [*self.history, {"step": step, "widths": widths, "maps": maps}]
        if not settings.inherit:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                fresh = Trainee.new(self.plain.like(widths), fabric, config)
            fresh.born, fresh.history = step, history
            return fresh
        wide = growth.widen(self.plain, widths, maps)
        growth.break_symmetry(wide, settings.asymmetry, seed)
        grown = Trainee.new(wide, fabric, config)
        grown.average.load_state_dict(growth.widen(self.average, widths, maps).state_dict())
        grown.optimizer.load_state_dict(growth.widen_moments(self.optimizer.state_dict(), self.plain, maps))
        grown.born, grown.history = step, history
        return grown

    def finite(self) -> bool:
        """Whether weights and average are numbers."""
        return all(bool(p.isfinite().all()) for net in (self.plain, self.average) for p in net.parameters())

    def pack(self) -> dict[str, Any]:
        """Everything as plain data for the checkpoint."""
        return {
            "widths": self.average.widths,
            "first_widths": self.first_widths,
            "stem": self.average.stem_size,
            "weights": self.plain.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "born": self.born,
            "history": self.history,
        }

    @property
    def first_widths(self) -> tuple[int, ...]:
        """The widths before any growth: every map's highest source names a level's old width."""
        if not self.history:
            return self.average.widths
        return tuple(max(one) + 1 for one in self.history[0]["maps"].values())

    @classmethod
    def unpack(cls, state: dict[str, Any], start: UNet3D, fabric: Fabric, config: Config) -> Trainee:
        """The learner that `pack` described; `start` is the network that it began as."""
        learner = cls.new(start.like(tuple(state["widths"])), fabric, config)
        learner.plain.load_state_dict(state["weights"])
        learner.average.load_state_dict(state["average"])
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.born, learner.history = state["born"], state["history"]
        return learner


@torch.no_grad()
def follow(learner: Trainee, decay: float, step: int) -> None:
    """Moves the average towards the weights; early on it follows faster, so that the start is forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    average, current = learner.average.state_dict(), learner.plain.state_dict()
    names = [name for name, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in names], [current[n] for n in names], 1 - decay)


def copy_of(net: UNet3D) -> UNet3D:
    """An independent network with the same weights."""
    twin = net.like(net.widths)
    twin.load_state_dict(net.state_dict())
    return twin
