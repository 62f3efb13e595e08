"""The mean of the weights of several runs that began from one network: often better than each of them.

Wortsman et al., "Model soups", ICML 2022. Networks that began apart have nothing to do with each other weight by
weight, so they are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from training.errors import UserError
from training.fit import checkpoint
from training.options import Average, Config
from training.settings import over


def average(options: Average) -> None:
    """Writes the checkpoint of the mean of all runs' networks of a role."""
    contents = [checkpoint.read(file) for file in options.checkpoints]
    require_kin(options.checkpoints, contents, options.role)
    runs = [content for content in contents if content["settings"]["loop"].get("start")]
    nets = [content["nets"][options.role] for content in contents]
    mean = averaged([net["average"] for net in nets])
    sizes = {name: nets[0][name] for name in ("widths", "first_widths", "stem")}
    net = sizes | {"weights": mean, "average": mean, "optimizer": {}, "born": 0, "history": []}
    file = options.run / "checkpoint.pt"
    spent = {kind: sum(one["spent"][kind] for one in runs) for kind in ("wall", "cpu")}
    checkpoint.write(
        file,
        {options.role: net},
        runs[0]["step"],
        settings(runs[0]),
        method(runs, len(runs) < len(contents)),
        spent,
        runs[0]["teachers"],
    )
    print(f"wrote {file}")


def averaged(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Element by element the mean of the floats; counters as in the first."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if first.is_floating_point() else first
        for name, first in states[0].items()
    }


def require_kin(files: tuple[Path, ...], contents: list[dict[str, Any]], role: str) -> None:
    """Raises UserError unless all hold the role, at one size, and go back to one network, which may be among them."""
    if len(contents) < 2:
        raise UserError("Give at least two checkpoints to average.")
    if any(role not in one["nets"] for one in contents):
        raise UserError(f"Not every checkpoint holds a {role}; choose another --role.")
    if len({tuple(one["nets"][role]["widths"]) for one in contents}) > 1:
        raise UserError("The networks differ in widths; average networks of one size.")
    if len({checkpoint.beginning(file).resolve() for file in files}) > 1:
        raise UserError("The runs did not begin from one network (--start); the mean of their weights means nothing.")


def settings(content: dict[str, Any]) -> Config:
    """The settings of a run, from its checkpoint."""
    return over(Config(), content["settings"], "checkpoint")


def method(runs: list[dict[str, Any]], with_beginning: bool) -> str:
    """What a card says of the mean; `rerun.fit` reads it back."""
    seeds = ", ".join(str(one["settings"]["loop"]["seed"]) for one in runs)
    ways = "; ".join(dict.fromkeys(one["method"] for one in runs))
    beginning = " and of the network that all began from" if with_beginning else ""
    return f"{ways}; mean of the weights of {len(runs)} runs (seeds {seeds}){beginning}"
