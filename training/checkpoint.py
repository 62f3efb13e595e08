"""Checkpoints: one plain dict a run, written atomically, enough to resume bit for bit or to export."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch

from training.config import Config, UserError, to_toml
from training.nets import UNet3D

FORMAT = "livergtan-checkpoint/1"


def write(file: Path, learners: dict[str, Any], step: int, config: Config) -> None:
    """Writes beside the file and renames, so that the last good checkpoint survives a kill or a full disk."""
    content = {
        "format": FORMAT,
        "step": step,
        "config": to_toml(config),
        "settings": dataclasses.asdict(config),
        "nets": {role: pack(learner) for role, learner in learners.items()},
    }
    temporary = file.with_suffix(".tmp")
    try:
        with temporary.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"The checkpoint {file} cannot be written ({error}); make room and start the same "
                        "command again, it resumes from the last checkpoint.") from error


def pack(learner: Any) -> dict[str, Any]:
    """A learner as plain data."""
    return {
        "widths": learner.average.widths,
        "stem": learner.average.stem_size,
        "weights": learner.net.state_dict(),
        "average": learner.average.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
    }


def read(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The dict of a checkpoint. Raises UserError when it is not one."""
    try:
        content = torch.load(file, map_location=device, weights_only=False)
    except FileNotFoundError as error:
        raise UserError(f"There is no checkpoint {file}; train first with `python -m training fit`.") from error
    except Exception as error:
        raise UserError(f"The checkpoint {file} cannot be read ({error}); delete it or give another one.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file} is not a LiverGTAN checkpoint ({FORMAT}).")
    return content


def restore(file: Path, learners: dict[str, Any], device: torch.device) -> int:
    """Loads the learners from the file if it exists; the number of steps done."""
    if not file.exists():
        return 0
    content = read(file, device)
    for role, learner in learners.items():
        state = content["nets"][role]
        if tuple(state["widths"]) != learner.average.widths:
            raise UserError(f"{file} holds widths {state['widths']}, not {learner.average.widths}; use another --run.")
        learner.net.load_state_dict(state["weights"])
        learner.average.load_state_dict(state["average"])
        learner.optimizer.load_state_dict(state["optimizer"])
    return content["step"]


def network(file: Path, role: str | None = None) -> UNet3D:
    """The averaged network of a checkpoint in eval mode; the only one, or that of the role (default: student)."""
    nets = read(file)["nets"]
    role = role or (next(iter(nets)) if len(nets) == 1 else "student")
    if role not in nets:
        raise UserError(f"{file} holds {', '.join(nets)} but no {role}.")
    net = UNet3D(tuple(nets[role]["widths"]), nets[role]["stem"])
    net.load_state_dict(nets[role]["average"])
    return net.eval()
