"""What a run begins from (`--start`): random weights, a checkpoint, or a student file whose norms were folded away."""

from __future__ import annotations

from pathlib import Path

import torch

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.weight_file import Student
from training.data.batches import Batches
from training.errors import UserError
from training.fit import checkpoint
from training.model import folding, growth
from training.model.nets import UNet3D
from training.options import Config

STUDENT_SUFFIXES = (".json", ".npz")
IMAGES = 16
"""Volumes that the norms of a student file are estimated on; with 64 the first losses were the same."""


def initial_network(widths: tuple[int, ...], config: Config) -> UNet3D:
    """The network of `--start`, widened where it is narrower, or a fresh one that depends on seed and widths alone.

    Raises UserError when the start is wider.
    """
    if config.loop.start:
        return widened(network(config.loop.start, config), widths, config).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.loop.seed)
        return UNet3D(widths)


def network(file: Path, config: Config) -> UNet3D:
    """The network of a checkpoint, or of a student file with its norms put back."""
    if file.suffix not in STUDENT_SUFFIXES:
        return checkpoint.network(file)
    batches = Batches(config, rank=0, world=1)
    steps = range(-(-IMAGES // config.loop.batch))
    return folding.unfolded(student(file), (batches.at(step).image for step in steps))


def student(file: Path) -> Student:
    """The student of a .json or .npz. Raises UserError when it cannot be read."""
    try:
        return weight_file.load(file.with_suffix(".json"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be the start ({error}).") from error


def digest(file: Path) -> str:
    """SHA-256 of the weights of a start."""
    if file.suffix in STUDENT_SUFFIXES:
        return str(student(file).card["sha256"])
    return checkpoint.network_digest(file)


def widened(net: UNet3D, widths: tuple[int, ...], config: Config) -> UNet3D:
    """The network at other widths with the same function. Raises UserError when it is wider already."""
    if net.widths == widths:
        return net
    seed = config.loop.seed
    try:
        wide = growth.widen(net, widths, growth.draw_maps(net.widths, widths, seed))
    except ValueError as error:
        raise UserError(f"{config.loop.start} cannot be the start ({error})") from error
    growth.break_symmetry(wide, config.growth.asymmetry, seed)
    return wide
