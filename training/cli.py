"""The commands of `python -m training`: parse, then call the room that does the work."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from training.config import Config, UserError
from training.synthesis.config import SynthesisConfig


@dataclass(frozen=True)
class Fit:
    """Train networks; a run that was stopped is resumed from its last checkpoint."""

    stage: tyro.conf.Positional[Literal["teacher", "student"]]
    run: Path = Path("runs/student")
    """Folder of the run: settings, checkpoint, log."""
    student_widths: tuple[int, ...] = (5, 10, 20, 30)
    """Channels at each level."""
    config: tyro.conf.OmitArgPrefixes[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class Evaluate:
    """Dice, NSD, HD95, ASSD and volume error on real CTs at native resolution."""

    model: tyro.conf.Positional[str]
    """A bundled student's name, a student file, a checkpoint (.pt or .pt:ROLE), or a folder of masks."""
    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL."""
    engines: tuple[Literal["numpy", "torch"], ...] = ("numpy",)
    output: Path = Path("runs/evaluation.csv")
    picture: Path | None = None
    """Also a picture of every case with both outlines."""


@dataclass(frozen=True)
class Export:
    """Write a student file and its card from a checkpoint; checks that both engines agree with the network."""

    checkpoint: tyro.conf.Positional[Path]
    name: str = "student-100k"
    output: Path | None = None
    """Folder of the student file; by default that of the checkpoint."""
    role: str | None = None
    """Which network of the checkpoint; by default the student."""


@dataclass(frozen=True)
class Card:
    """Put an evaluation's figures on a student's card."""

    student: tyro.conf.Positional[Path]
    """The student's .json or .npz."""
    metrics: Path | None = None
    """CSV written by `evaluate`."""
    install: bool = False
    """Copy the student into the extension."""


Command = (
    Annotated[SynthesisConfig, tyro.conf.subcommand("synthesize")]
    | Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Card, tyro.conf.subcommand("card")]
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0, or 2 after a message for the person."""
    try:
        run(tyro.cli(Command, prog="python -m training", args=arguments, description=__doc__))
    except (UserError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(command: SynthesisConfig | Fit | Evaluate | Export | Card) -> None:
    """Hands the command to the function of the same name; their imports wait until they are needed."""
    work = {SynthesisConfig: synthesize, Fit: fit, Evaluate: evaluate, Export: export, Card: card}
    work[type(command)](command)


def synthesize(command: SynthesisConfig) -> None:
    from training.synthesis import build

    build.synthesize(command)


def fit(command: Fit) -> None:
    from training import loop, stages
    from training.validate import validator

    task = stages.plain(command.stage, command.student_widths)
    loop.fit(task, command.config, command.run, validator(command.config.data.validation))


def evaluate(command: Evaluate) -> None:
    from training import evaluate
    from training.data.cases import Case

    rows = []
    for row in evaluate.evaluate(command.model, [Case.parse(case) for case in command.cases], command.engines):
        print("  ".join(f"{name} {value}" for name, value in row.values().items()), flush=True)
        rows.append(row)
    for name, figures in evaluate.summary(rows).items():
        print(f"{name:14s}" + "  ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    evaluate.write_csv(rows, command.output)


def export(command: Export) -> None:
    from training import cards, checkpoint, export
    from training.validate import HU_WINDOW, SPACING_MM

    net = checkpoint.network(command.checkpoint, command.role)
    content = cards.complete(export.card(command.name, net, SPACING_MM, HU_WINDOW), command.checkpoint)
    path = (command.output or command.checkpoint.parent) / f"{command.name}.npz"
    written = export.write(net, path, content)
    print(f"{path}: {written.parameters} arrays' values, SHA-256 {written.sha256}")
    for engine, difference in export.differences(net, written).items():
        print(f"{engine}: largest difference of a logit {difference:.1e}")


def card(command: Card) -> None:
    from training import cards, export

    print(cards.rewrite(command.student, command.metrics))
    if command.install:
        for path in export.install(command.student.with_suffix(".json")):
            print(f"installed {path}")
