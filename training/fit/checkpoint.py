"""Checkpoints: one plain dict a run, written atomically, enough to resume bit for bit or to export.

format, step; method, networks, teachers, data, start, precision, settings as in `run_record.RunRecord`;
code: commits of the parts of the run, joined by ", "; torch: its version; spent: seconds of wall and CPU time;
nets: role -> what `Trainee.pack` gives; digest: of all the rest (absent in files that were written before it was).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from LiverGTANLib.core.files import atomic_write, brief, open_zip, read_bytes
from training.code_version import commit
from training.errors import UserError, reason
from training.fit import network_file
from training.model.nets import UNet3D

FORMAT = "livergtan-checkpoint/2"
LARGEST_FILE = 2**30
"""Bytes; a run with a teacher of 1.26 million parameters takes 20 MB."""
MOST_VALUES, DEEPEST = 200_000, 30
"""Of a checkpoint's dicts and lists: those of a whole run hold some thousands, seven levels deep."""

STUDENT_SUFFIXES = (".json", ".npz")
"""Endings of an exported student's card and weights."""

PARTS: dict[str, type | tuple[type, ...]] = {
    "step": int,
    "nets": dict,
    "code": str,
    "spent": dict,
    "method": dict,
    "networks": dict,
    "teachers": dict,
    "data": (list, tuple),
    "start": (str, type(None)),
    "precision": str,
    "settings": dict,
}
"""What every checkpoint and every single network has, and of which type."""


UNSTATED_MM = 3.0
"""The grid of all networks that were trained before settings named one."""


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
            torch.save(content | {"digest": digest(content)}, part)
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError on a full disk
        raise UserError(
            f"The checkpoint {file} cannot be written ({reason(error)}); make room, then the same command "
            "goes on from the checkpoint before it."
        ) from error


def read(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The dict of a checkpoint, or of a single network (see `network_file`). Raises UserError for anything else."""
    if file.suffix == network_file.SUFFIX:
        return require_format(network_file.read(file, device), file)
    if file.suffix in STUDENT_SUFFIXES:
        raise UserError(
            f"{file} belongs to an exported student, which is no checkpoint: give the checkpoint.pt or best.pt of a "
            "run (`fit --start` alone takes students, to go on from them)."
        )
    try:
        data = read_bytes(file, LARGEST_FILE)
        require_plain(data)
        content = torch.load(
            io.BytesIO(data), map_location=device, weights_only=True
        )  # plain data only: no code is run
        stored = content.pop("digest", None) if isinstance(content, dict) else None
        found = digest(content, most=4 * len(data))  # a tensor may be there twice, as weights and as their average
    except FileNotFoundError as error:
        raise UserError(f"There is no checkpoint {file}; train first with `python -m training fit`.") from error
    except Exception as error:  # torch raises errors of many kinds for what is no checkpoint
        raise UserError(
            f"The checkpoint {file} cannot be read ({reason(error)}); delete it or give another one."
        ) from error
    if stored not in (None, found):
        raise UserError(
            f"The checkpoint {file} has changed since it was written (its digest differs); give another one."
        )
    return require_format(content, file)


def require_plain(data: bytes) -> None:
    """Raises ValueError unless these bytes are what torch writes: members that lie side by side, packed by nothing, and
    whole. Of others torch would unpack as many bytes as they claim."""
    with open_zip(data) as archive:
        members = archive.infolist()
        if any(one.compress_type != zipfile.ZIP_STORED or one.flag_bits & 1 for one in members):
            raise ValueError("its parts are packed or encrypted")
        if sum(one.file_size for one in members) > len(data):
            raise ValueError("its parts lie over each other")
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"{damaged[:80]} fails its checksum")


def digest(content: Any, most: int = LARGEST_FILE) -> str:
    """SHA-256 of plain data and tensors.

    Raises ValueError for anything else, and for more values, levels or bytes (`most`) than a checkpoint has.
    """
    total, values, room = hashlib.sha256(), 0, most

    def add(value: Any, level: int) -> None:
        nonlocal values, room
        values += 1
        if values > MOST_VALUES or level > DEEPEST:
            raise ValueError("far too many values or levels")
        total.update(type(value).__name__.encode())
        if isinstance(value, (dict, list, tuple)):
            total.update(f"{len(value)}".encode())
            for one in value.items() if isinstance(value, dict) else value:
                add(one, level + 1)
        elif isinstance(value, torch.Tensor):
            room -= value.numel() * value.element_size()
            if room < 0:
                raise ValueError("tensors larger than the file")
            total.update(f"{value.dtype}{tuple(value.shape)}".encode())
            total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, (str, int, float, bool, type(None))):
            total.update(repr(value).encode("utf-8", "surrogatepass"))
        else:
            raise ValueError(f"a {type(value).__name__}")

    add(content, 0)
    return total.hexdigest()


def require_format(content: Any, file: Path) -> dict[str, Any]:
    """The content, if it is a checkpoint as this code writes it. Raises UserError otherwise."""
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        what = (
            f"has the format {brief(found)}, not {FORMAT}: train it anew" if found else f"is no checkpoint ({FORMAT})"
        )
        raise UserError(f"{file} {what}, or give another one.")
    odd = [name for name, kind in PARTS.items() if not isinstance(content.get(name), kind)]
    nets = content["nets"] if "nets" not in odd else {}
    odd += [f"nets.{brief(role)}" for role, net in nets.items() if not (isinstance(role, str) and is_network(net))]
    if odd or not nets:
        raise UserError(f"{file} lacks or garbles {', '.join(odd) or 'its networks'}; give another checkpoint.")
    return content


def is_network(net: Any) -> bool:
    """Whether `network` can be made of it: the arrays are compared with those of its widths, of which none is made."""
    if not (isinstance(net, dict) and {"widths", "stem", "average"} <= set(net) and isinstance(net["average"], dict)):
        return False
    try:
        with torch.device("meta"):
            expected = UNet3D(tuple(net["widths"]), net["stem"]).state_dict()
        return expected.keys() == net["average"].keys() and all(
            array.shape == expected[name].shape and bool(array.isfinite().all())
            for name, array in net["average"].items()
        )
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False


def spacing_mm(file: Path) -> float:
    """Size of the cells of the grid that the networks of a checkpoint were trained on."""
    return float(read(file)["settings"]["data"].get("spacing_mm", UNSTATED_MM))


def network(file: Path, role: str | None = None) -> UNet3D:
    """The averaged network of a checkpoint in eval mode; the only one, or that of the role (default: student)."""
    nets = read(file)["nets"]
    role = role or (next(iter(nets)) if len(nets) == 1 else "student")
    if role not in nets:
        raise UserError(f"{file} holds {', '.join(nets)} but no {role}.")
    net = UNet3D(tuple(nets[role]["widths"]), nets[role]["stem"])
    net.load_state_dict(nets[role]["average"])
    return net.eval()


def network_digest(file: Path, role: str | None = None) -> str:
    """`network_file.digest` of the network that `network` takes from a checkpoint."""
    return network_file.digest(network(file, role).state_dict())
