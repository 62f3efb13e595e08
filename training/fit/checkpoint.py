"""Checkpoints: one plain dict a run, written atomically, enough to resume bit for bit or to export.

format, step; method, networks, teachers, data, start, precision, settings as in `run_record.RunRecord`;
code: commits of the parts of the run, joined by ", "; torch: its version; spent: seconds of wall and CPU time;
nets: role -> what `Trainee.pack` gives.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from LiverGTANLib.core.files import atomic_write
from training.code_version import commit
from training.errors import UserError
from training.fit import network_file
from training.model.nets import UNet3D

FORMAT = "livergtan-checkpoint/2"


def write(
    file: Path, nets: dict[str, Any], step: int, record: dict[str, Any], spent: dict[str, float], code: str = ""
) -> None:
    """Writes the checkpoint whole, or leaves the last good one as it is.

    record: the run's, in plain data. code: commits of earlier parts of the run. Raises UserError when there is no room.
    """
    content = {
        "format": FORMAT,
        "step": step,
        "code": ", ".join(dict.fromkeys(filter(None, (*code.split(", "), commit())))),
        "torch": version("torch"),
        "spent": spent,
        **record,
        "nets": nets,
    }
    try:
        with atomic_write(file) as part:
            torch.save(content, part)
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError on a full disk
        raise UserError(
            f"The checkpoint {file} cannot be written ({error}); make room, then the same command "
            "goes on from the checkpoint before it."
        ) from error


def read(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The dict of a checkpoint, or of a single network (see `network_file`). Raises UserError for anything else."""
    if file.suffix == network_file.SUFFIX:
        return require_format(network_file.read(file, device), file)
    try:
        content = torch.load(file, map_location=device, weights_only=True)  # plain data only: no code is run
    except FileNotFoundError as error:
        raise UserError(f"There is no checkpoint {file}; train first with `python -m training fit`.") from error
    except Exception as error:
        raise UserError(f"The checkpoint {file} cannot be read ({error}); delete it or give another one.") from error
    return require_format(content, file)


def require_format(content: Any, file: Path) -> dict[str, Any]:
    """The content, if it is a checkpoint as this code writes it. Raises UserError otherwise."""
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        what = f"has the format {found}, not {FORMAT}: train it anew" if found else f"is no checkpoint ({FORMAT})"
        raise UserError(f"{file} {what}, or give another one.")
    return content


def network(file: Path, role: str | None = None) -> UNet3D:
    """The averaged network of a checkpoint in eval mode; the only one, or that of the role (default: student)."""
    nets = read(file)["nets"]
    role = role or (next(iter(nets)) if len(nets) == 1 else "student")
    if role not in nets:
        raise UserError(f"{file} holds {', '.join(nets)} but no {role}.")
    net = UNet3D(tuple(nets[role]["widths"]), nets[role]["stem"])
    net.load_state_dict(nets[role]["average"])
    return net.eval()


def network_digest(file: Path) -> str:
    """`network_file.digest` of the network that `network` takes from a checkpoint."""
    return network_file.digest(network(file).state_dict())
