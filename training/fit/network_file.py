"""One network of a checkpoint as a safetensors file in float16, with the record of its training.

`checkpoint.read` takes such a file for a checkpoint with this one network, so that it can be a teacher or a start and
can be evaluated; it cannot be resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from LiverGTANLib.core.files import atomic_write, brief, parse_json, to_json
from training.errors import UserError, reason

SUFFIX = ".safetensors"
ENTRY = "livergtan"  # of the file's metadata: JSON of the checkpoint without its arrays
DIGEST = "sha256"  # in that record, of the rest of it and the arrays; absent in files that were written before it was
LARGEST_HEADER, LARGEST_FILE = 2**20, 2**30
"""Bytes; the teacher's header has 16 KB and its file 2.5 MB."""


def write(file: Path, content: dict[str, Any], role: str, watched: dict[str, float]) -> str:
    """Writes the averaged network of a role of a checkpoint's content; returns the SHA-256 of the file.

    watched: Dice of the validation cases at the last step. The same network gives the same bytes.
    Raises UserError for a role that is not there and for weights that float16 cannot hold.
    """
    if role not in content["nets"]:
        raise UserError(f"This checkpoint holds {', '.join(content['nets'])} but no {role}; choose one by --role.")
    net = content["nets"][role]
    arrays = {name: halved(name, array) for name, array in net["average"].items()}
    sizes = {name: net[name] for name in ("widths", "stem")}
    known = {name: value for name, value in content.items() if name != "nets"}
    record = parse_json(to_json(known | {"role": role, "sizes": sizes, "watched": watched}))  # as it will be read
    text = to_json(record | {DIGEST: whole_digest(record, arrays)})
    try:
        with atomic_write(file) as part:
            # One entry: their order is random. `save_file` would make a file that nobody else may read.
            part.write_bytes(save(arrays, metadata={ENTRY: text}))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be written ({reason(error)}); make room or choose another --output.") from error
    return sha256(file)


def halved(name: str, array: torch.Tensor) -> torch.Tensor:
    """A float array in float16, counters as they are. Raises UserError for values that float16 cannot hold."""
    if not array.is_floating_point():
        return array.contiguous()
    half = array.detach().cpu().to(torch.float16).contiguous()
    if not torch.isfinite(half).all():
        raise UserError(
            f"{name} has values that are not finite or too large for float16; this network cannot be written."
        )
    return half


def read(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The content of a checkpoint that holds the one network, in float32, with `watched` beside the rest."""
    try:
        require_small(file)
        with safe_open(file, framework="pt", device=str(device)) as source:
            about = source.metadata() or {}
            arrays = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118  not a dict
        content = parse_json(about[ENTRY])
        expected = content.pop(DIGEST, None)
        same = expected is None or expected == whole_digest(content, arrays)
        role = content.pop("role")
        nets = {role: dict(content.pop("sizes"))}
    except FileNotFoundError as error:
        raise UserError(f"There is no {file}; write it with `python -m training keep`.") from error
    # Of metadata that are no record of a checkpoint, and of tensors of types that numpy does not know.
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{file} is damaged or was not written by `python -m training keep` ({brief(error)})."
        ) from error
    if not same:
        raise UserError(f"{file} has changed since it was written (its digest differs); write or copy it again.")
    single = {name: array.float() if array.is_floating_point() else array for name, array in arrays.items()}
    nets[role]["average"] = single
    return content | {"nets": nets}


def require_small(file: Path) -> None:
    """Raises ValueError for a file or a header larger than any network's, OSError when it cannot be read."""
    with file.open("rb") as stream:
        header, size = int.from_bytes(stream.read(8), "little"), os.fstat(stream.fileno()).st_size
    if header > LARGEST_HEADER or size > LARGEST_FILE:
        raise ValueError("larger than any network")


def digest(arrays: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a state in float16, names in order: a network, its checkpoint and its file have the same one."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name].detach().cpu()
        total.update((array.to(torch.float16) if array.is_floating_point() else array).contiguous().numpy().tobytes())
    return total.hexdigest()


def whole_digest(record: dict[str, Any], arrays: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the record and the network."""
    return hashlib.sha256((json.dumps(record, sort_keys=True) + digest(arrays)).encode("utf-8")).hexdigest()


def sha256(file: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
