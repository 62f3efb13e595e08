"""Checkpoints: one plain dict a run, written atomically, enough to resume bit for bit or to export."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch

from training.code_version import commit
from training.errors import UserError
from training.fit import network_file
from training.model.nets import UNet3D
from training.options import Config

FORMAT = "livergtan-checkpoint/1"


def write(
    file: Path,
    nets: dict[str, Any],
    step: int,
    config: Config,
    method: str = "",
    spent: dict[str, float] | None = None,
    teachers: dict[str, Any] | None = None,
) -> None:
    """Writes beside the file and renames, so that the last good checkpoint survives a kill or a full disk.

    teachers: widths and digest (see `weights.digest`) of the frozen ones, so that a card can tell which they were.
    """
    content = {
        "format": FORMAT,
        "step": step,
        "method": method,
        "code": commit(),
        "spent": spent or {"wall": 0.0, "cpu": 0.0},
        "teachers": teachers or {},
        "settings": json.loads(json.dumps(dataclasses.asdict(config), default=str)),
        "nets": nets,
    }
    temporary = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"The checkpoint {file} cannot be written ({error}); make room, then the same command "
            "goes on from the checkpoint before it."
        ) from error


def read(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The dict of a checkpoint, or of a network kept by itself (see `weights`). Raises UserError for anything else."""
    if file.suffix == network_file.SUFFIX:
        return network_file.read(file, device)
    try:
        content = torch.load(file, map_location=device, weights_only=True)  # plain data only: no code is run
    except FileNotFoundError as error:
        raise UserError(f"There is no checkpoint {file}; train first with `python -m training fit`.") from error
    except Exception as error:
        raise UserError(f"The checkpoint {file} cannot be read ({error}); delete it or give another one.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file} is not a LiverGTAN checkpoint ({FORMAT}).")
    return content


def beginning(file: Path) -> Path:
    """The checkpoint from which it all began: that of `--start`, of what this one began from, and so on."""
    start = read(file)["settings"]["loop"].get("start")
    return beginning(Path(start)) if start else file


def network(file: Path, role: str | None = None) -> UNet3D:
    """The averaged network of a checkpoint in eval mode; the only one, or that of the role (default: student)."""
    nets = read(file)["nets"]
    role = role or (next(iter(nets)) if len(nets) == 1 else "student")
    if role not in nets:
        raise UserError(f"{file} holds {', '.join(nets)} but no {role}.")
    net = UNet3D(tuple(nets[role]["widths"]), nets[role]["stem"])
    net.load_state_dict(nets[role]["average"])
    return net.eval()
