"""What a run begins from (`--start`): random weights, a checkpoint, or a student file whose norms were folded away."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.files import atomic_write
from LiverGTANLib.core.weight_file import Student
from training.data.batches import Batches
from training.errors import UserError
from training.fit import checkpoint
from training.model import folding, growth
from training.model.nets import UNet3D
from training.options import Config

logger = logging.getLogger(__name__)

COPY = "start"
"""Name of the copy in a run's folder, without its ending."""
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
    """The network of a checkpoint, or of a student file with its norms put back.

    Raises UserError for a file that is neither, and for a bundled student's name.
    """
    if bundled := weight_file.available().get(str(file)):
        raise UserError(f"{file} cannot be the start by its name; give its file, --start {bundled}.")
    if file.suffix not in checkpoint.STUDENT_SUFFIXES:
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


def keep_copy(start: Path, run: Path) -> None:
    """Copies the start into a run's folder, where `of_run` finds it when another network has taken its place."""
    files = (
        [start.with_suffix(suffix) for suffix in checkpoint.STUDENT_SUFFIXES]
        if start.suffix in checkpoint.STUDENT_SUFFIXES
        else [start]
    )
    for file in files:
        with atomic_write(run / f"{COPY}{file.suffix}") as part:
            shutil.copyfile(file, part)


def of_run(checkpoint_file: Path, content: dict[str, Any]) -> Path | None:
    """Where the network lies that a checkpoint's run began from; None for one that began from random weights.

    The file of `--start`, or its copy in the run's folder if that holds another network now. Raises UserError when
    neither is that network.
    """
    if not content["start"]:
        return None
    named = Path(content["settings"]["loop"]["start"])
    copies = [checkpoint_file.with_name(COPY + suffix) for suffix in (*checkpoint.STUDENT_SUFFIXES, named.suffix)]
    for file in (named, *copies):
        if file.exists() and _holds(file, content["start"]):
            return file
    raise UserError(
        f"{named} no longer holds the network that {checkpoint_file} began from (SHA-256 {content['start'][:16]}...); "
        f"bring that one back there, or put it beside the checkpoint as {COPY}{named.suffix}."
    )


def _holds(file: Path, sha256: str) -> bool:
    try:
        return digest(file) == sha256
    except UserError as error:
        logger.warning("%s", error)
        return False


def digest(file: Path) -> str:
    """SHA-256 of the weights of a start."""
    if file.suffix in checkpoint.STUDENT_SUFFIXES:
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
        least = " ".join(map(str, net.widths))
        raise UserError(
            f"{config.loop.start} cannot be the start: {error} Give at least its widths (of a student "
            f"--student-widths {least}), or another --start."
        ) from error
    growth.break_symmetry(wide, config.growth.asymmetry, seed)
    return wide
