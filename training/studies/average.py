"""The mean of the weights of several runs that began from one network: often better than each of them.

Wortsman et al., "Model soups", ICML 2022. Networks that began apart have nothing to do with each other weight by
weight, so they are refused.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from training.command_line import plain
from training.errors import UserError
from training.fit import checkpoint, network_file, start
from training.fit.run_record import NOT_RECORDED, Averaging, MethodRecord, RunRecord, differences
from training.options import Average

RECORD = tuple(field.name for field in dataclasses.fields(RunRecord))


def average(options: Average) -> None:
    """Writes the checkpoint of the mean of all runs' networks of a role.

    Raises UserError unless the runs go back to one network, which may be among them, and differ in the seed alone.
    """
    file = options.run / "checkpoint.pt"
    if file.exists():
        raise UserError(f"{file} is there already; give a new folder with --run, so that nothing is lost.")
    contents = [checkpoint.read(one) for one in options.checkpoints]
    require_one_size(contents, options.role)
    require_finished(options.checkpoints, contents)
    runs, ancestor = runs_and_ancestor(options.checkpoints, contents, options.role)
    require_same_training(runs)
    nets = [content["nets"][options.role] for content in contents]
    mean = averaged([net["average"] for net in nets])
    sizes = {name: nets[0][name] for name in ("widths", "stem")}
    net = sizes | {"weights": mean, "average": mean, "optimizer": {}, "optimizer_start_step": 0, "growths": []}
    spent = {kind: sum(one["spent"][kind] for one in runs) for kind in ("wall", "cpu")}
    code = ", ".join(one["code"] for one in runs)
    first = next(one for one, content in zip(options.checkpoints, contents, strict=True) if content is runs[0])
    if before := start.of_run(first, runs[0]):
        start.keep_copy(before, options.run)
    checkpoint.write(file, {options.role: net}, runs[0]["step"], record(runs, ancestor), spent, code)
    print(f"wrote {file}")


def averaged(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Element by element the mean of the floats; counters as in the first."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if first.is_floating_point() else first
        for name, first in states[0].items()
    }


def require_one_size(contents: list[dict[str, Any]], role: str) -> None:
    """Raises UserError unless there are several, and all hold the role at one size."""
    if len(contents) < 2:
        raise UserError("Give at least two checkpoints to average.")
    if any(role not in one["nets"] for one in contents):
        raise UserError(f"Not every checkpoint holds a {role}; choose another --role.")
    if len({tuple(one["nets"][role]["widths"]) for one in contents}) > 1:
        raise UserError("The networks differ in widths; average networks of one size.")


def require_finished(files: tuple[Path, ...], contents: list[dict[str, Any]]) -> None:
    """Raises UserError for a run that was stopped before its last step."""
    for file, one in zip(files, contents, strict=True):
        steps = one["settings"]["loop"]["steps"]
        if one["step"] < steps:
            raise UserError(f"{file} is at step {one['step']} of {steps}; let the run finish first.")


def runs_and_ancestor(
    files: tuple[Path, ...], contents: list[dict[str, Any]], role: str
) -> tuple[list[dict[str, Any]], Path | None]:
    """The runs, and the checkpoint among the files, if any, of a network that they go back to.

    Raises UserError when they do not all go back to one network.
    """
    lines = [ancestors(file, content) for file, content in zip(files, contents, strict=True)]
    digests = [network_file.digest(content["nets"][role]["average"]) for content in contents]
    if len(set(digests)) < len(digests):
        raise UserError("Two of the checkpoints hold the same network; give each run once.")
    before = {digest for line in lines for digest in line}
    runs = [n for n, digest in enumerate(digests) if digest not in before]
    roots = {lines[n][-1] if lines[n] else None for n in runs}
    if len(roots) != 1 or None in roots:
        raise UserError("The runs did not begin from one network (--start); the mean of their weights means nothing.")
    others = [file for n, file in enumerate(files) if n not in runs]
    if len(others) > 1:
        raise UserError(f"The runs go back to {', '.join(map(str, others))}; give one of these at most.")
    return [contents[n] for n in runs], (others[0] if others else None)


def ancestors(file: Path, content: dict[str, Any]) -> list[str]:
    """Digests of the network that a run began from, of what that one began from, and so on, the first one last.

    Raises UserError when a file no longer holds the network that was begun from.
    """
    found = []
    while content["start"] and content["start"] != NOT_RECORDED:
        file = start.of_run(file, content) or file
        found.append(content["start"])
        if file.suffix in checkpoint.STUDENT_SUFFIXES:
            break  # whose card describes what came before, without its weights
        content = checkpoint.read(file)
    return found


def require_same_training(runs: list[dict[str, Any]]) -> None:
    """Raises UserError when runs differ in more than the seed: no card could say how their mean was trained."""
    found = [one for run in runs[1:] for one in differences(runs[0], run, ignored=("loop.seed",))]
    if found:
        raise UserError(f"The runs differ in more than the seed ({'; '.join(dict.fromkeys(found))}).")


def record(runs: list[dict[str, Any]], ancestor: Path | None) -> dict[str, Any]:
    """The record of the first run, with the seeds of all."""
    seeds = tuple(one["settings"]["loop"]["seed"] for one in runs)
    averaging = Averaging(seeds, str(ancestor) if ancestor else None)
    method = dataclasses.replace(MethodRecord.of(runs[0]["method"]), averaging=averaging)
    return {name: runs[0][name] for name in RECORD} | {"method": plain(dataclasses.asdict(method))}
