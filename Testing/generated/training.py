"""Checkpoints, single networks and settings of `training`: damaged, altered, and given on its command lines."""

import contextlib
import copy
import io
import json
import struct
from functools import cache
from pathlib import Path

import numpy as np
import torch

from training.__main__ import main
from training.errors import UserError
from training.fit import checkpoint, network_file
from training.model.nets import UNet3D
from training.options import Config
from training.settings import from_toml, to_toml

from .mutation import ODD_TEXTS, ODD_VALUES, altered, choice, damaged, reworded
from .outcome import READ, REFUSED, require, require_sentence

ROLE = "student"


@cache
def original() -> dict:
    """The content of a small run's checkpoint."""
    net = UNet3D((2, 3))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.zeros(1, 1, 8, 8, 8)).sum().backward()
    optimizer.step()
    packed = {
        "widths": net.widths,
        "stem": net.stem_size,
        "weights": net.state_dict(),
        "average": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "optimizer_start_step": 0,
        "growths": [{"step": 2, "widths": (2, 3), "maps": {"0": torch.arange(3)}}],
    }
    return {
        "format": checkpoint.FORMAT,
        "step": 3,
        "code": "abc",
        "torch": torch.__version__[:5],
        "spent": {"wall": 1.5, "cpu": 2.0},
        "method": {"stage": "student", "averaging": None},
        "networks": {ROLE: {"widths": [2, 3], "stem": 2}},
        "teachers": {},
        "data": [{"name": "bank", "volumes": 4, "sha256": "0" * 64}],
        "start": None,
        "precision": "32-true",
        "settings": {"loop": {"steps": 3, "rate": 0.01}},
        "nets": {ROLE: packed},
    }


def checkpoints(rng: np.random.Generator, folder: Path) -> str:
    """Bytes of a checkpoint are damaged, or values of its content altered (then its digest is left out)."""
    content, file, buffer = original(), folder / "checkpoint.pt", io.BytesIO()
    damage = rng.random() < 0.5
    if damage:
        content = content | {"digest": checkpoint.digest(content)}
    else:
        content = altered(rng, content)
        if rng.random() < 0.5:
            content = altered_tensor(rng, content)
    try:
        torch.save(content, buffer)
    except (RuntimeError, UnicodeEncodeError):  # a text that cannot be stored
        return REFUSED
    file.write_bytes(damaged(rng, buffer.getvalue()) if damage else buffer.getvalue())
    return given(file, damage)


def altered_tensor(rng: np.random.Generator, content: dict) -> dict:
    """The content with one array of the network replaced by another one, or by something else."""
    content = copy.deepcopy(content)
    with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):  # it has been altered before
        average = content["nets"][ROLE]["average"]
        name = choice(rng, list(average))
        arrays = (torch.zeros(3), torch.zeros(1).expand(10**9), torch.full_like(average[name].double(), 3e38))
        average[name] = choice(rng, (*arrays, torch.zeros(0), torch.eye(2).to_sparse(), *ODD_VALUES))
    return content


def networks(rng: np.random.Generator, folder: Path) -> str:
    """Bytes of a single network's file, or of its header alone, are damaged, or its record altered."""
    file = folder / "network.safetensors"
    network_file.write(file, original(), ROLE, {"case": 0.9})
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    kind = choice(rng, ("bytes", "header", "record", "record"))
    if kind == "bytes":
        file.write_bytes(damaged(rng, data))
    elif kind == "header":
        header = damaged(rng, data[8 : 8 + length])
        file.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
    else:
        header = json.loads(data[8 : 8 + length])
        metadata = header["__metadata__"]
        about = json.loads(metadata[network_file.ENTRY])
        del about[network_file.DIGEST]
        record = json.dumps(altered(rng, about))
        header["__metadata__"] = {network_file.ENTRY: record.encode("utf-8", "replace").decode()}
        text = json.dumps(altered(rng, header) if rng.random() < 0.3 else header).encode("utf-8", "replace")
        file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return given(file, kind == "bytes")


def given(file: Path, damage: bool) -> str:
    """Refused with a sentence; or read, and after damage with the same content as before."""
    try:
        net = checkpoint.network(file)
        content = checkpoint.read(file)
    except UserError as error:
        require_sentence(error, file.name)
        return REFUSED
    require(all(array.isfinite().all() for array in net.state_dict().values()), "weights that are not finite")
    if damage and file.suffix == ".pt":
        require(checkpoint.digest(content) == checkpoint.digest(original()), "another content than was written")
    if damage and file.suffix != ".pt":
        expected = network_file.digest(original()["nets"][ROLE]["average"])
        require(network_file.digest(net.state_dict()) == expected, "another network than was written")
    return READ


def settings(rng: np.random.Generator, folder: Path) -> str:
    """A settings file is reworded or damaged: refused, or read, written and read again as the same."""
    file, text = folder / "settings.toml", to_toml(Config())
    if rng.random() < 0.7:
        file.write_bytes(reworded(rng, text).encode("utf-8", "surrogatepass"))
    else:
        file.write_bytes(damaged(rng, text.encode()))
    try:
        found = from_toml(Config(), file)
    except (UserError, ValueError) as error:
        require(isinstance(error, UserError) or type(error) is ValueError, f"{type(error).__name__}: {error}")
        require(len(str(error)) < 200_000, "no end of a sentence")
        return REFUSED
    file.write_text(to_toml(found), encoding="utf-8")
    require(from_toml(Config(), file) == found, "other settings after they were written and read again")
    return READ


GIVEN = (
    "fit",
    "export",
    "keep",
    "average",
    "ablate",
    "designs",
    "effects",
    "calibrate",
    "stress",
    "pseudolabel",
    "fi",
    "",
)
"""Commands that do nothing without sensible options, where others begin minutes of work; and two that are none."""


def command_lines(rng: np.random.Generator, folder: Path) -> str:
    """Words that are no sensible command: the usage, or one sentence, and status 2; nothing is written."""
    words = [str(choice(rng, GIVEN))]
    odd = (*ODD_TEXTS, "--run", "--name", "--steps", "--bank", "--config", "--output", "--widths", "--help", "student")
    words += [str(choice(rng, odd))[:2000] for _ in range(int(rng.integers(0, 5)))]
    words = [word.replace("student-", "x") for word in words]
    told, errors = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(told), contextlib.redirect_stderr(errors):
        try:
            status = main(words)
        except SystemExit as left:
            status = left.code
    require(status in (0, 2), f"status {status} of {words}"[:500])
    require(status == 0 or (told.getvalue() + errors.getvalue()).strip(), "no word of what is wrong")
    return REFUSED if status else READ
