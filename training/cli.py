"""The commands of `python -m training`: parse, then call the room that does the work."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from training.config import Config, UserError, from_toml


@dataclass(frozen=True)
class Fit:
    """Train a network."""

    stage: tyro.conf.Positional[Literal["teacher", "student"]]
    run: Path = Path("runs/student")
    """Folder of the run; a run that was stopped is resumed."""
    student_widths: tuple[int, ...] = (5, 10, 20, 30)
    config: tyro.conf.OmitArgPrefixes[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class Export:
    """Write a student file from a checkpoint."""

    checkpoint: Path


Command = (
    Annotated[Fit, tyro.conf.subcommand("fit")] | Annotated[Export, tyro.conf.subcommand("export")]
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0, or 2 after a message for the person."""
    try:
        run(tyro.cli(Command, prog="python -m training", args=arguments, description=__doc__))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(command: Fit | Export) -> None:
    from training import loop, stages
    from training.validate import validator

    if isinstance(command, Fit):
        task = stages.plain("student", command.student_widths)
        loop.fit(task, command.config, command.run, validator(command.config.data.validation))
