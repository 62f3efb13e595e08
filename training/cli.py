"""The commands of `python -m training`. Settings: defaults, over them `--config FILE.toml`, over that the options."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import tyro

from training import commands
from training.errors import UserError
from training.model.nets import STUDENT_WIDTHS, TEACHER_WIDTHS
from training.options import Config, from_toml
from training.paths import TEACHER
from training.synthesis.config import SynthesisConfig

Flat = tyro.conf.OmitArgPrefixes
First = tyro.conf.Positional


@dataclass(frozen=True)
class Roles:
    """Widths of the three roles and the frozen teachers."""

    student_widths: tuple[int, ...] = STUDENT_WIDTHS["student-100k"]
    assistant_widths: tuple[int, ...] = (9, 18, 36, 62)
    """Of TAKD's and DGKD's assistant; GTAN's grows to the teacher's widths."""
    teacher_widths: tuple[int, ...] = TEACHER_WIDTHS
    teacher: tuple[Path, ...] = ()
    """Checkpoints of trained teachers, or networks kept as .safetensors; several are averaged."""
    teacher_steps: int | None = None
    """Steps of the teacher in `fit all` and `ablate`; by default as many as the student's."""


@dataclass(frozen=True)
class Fit:
    """Train networks; a run that was stopped goes on from its last checkpoint."""

    stage: First[Literal["teacher", "student", "kd", "takd", "dgkd", "gtan", "all"]]
    """all: a teacher, then GTAN with its student, then export and, given --cases, evaluation."""
    run: Path = Path("runs/run")
    """Folder of the run: settings, checkpoint, log."""
    name: str = "student"
    """Name of the student that `all` exports."""
    cases: tuple[str, ...] = ()
    """CT=MASK or CT=MASK:LABEL that `all` evaluates on."""
    roles: Flat[Roles] = field(default_factory=Roles)
    training: Flat[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class Pseudolabel:
    """A teacher outlines CTs without labels; look at the picture before `synthesize --labels` takes them in."""

    teacher: First[str]
    """A checkpoint (.pt or .pt:ROLE)."""
    cts: tuple[str, ...] = ("ct",)
    """CT files, or folders of .nii.gz; relative ones are also looked up in LIVERGTAN_DATA."""
    exclude: tuple[str, ...] = ("crlm_ct_1100_8bit", "spl_abdominal_atlas")
    """Names to leave out: those that have a label of a person."""
    output: Path = Path("runs/labels")


@dataclass(frozen=True)
class Ablate:
    """The table of arms x students x seeds at equal student updates; finished runs are kept."""

    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL that no step has seen."""
    arms: tuple[str, ...] = ("student", "kd", "takd", "dgkd", "gtan", "gtan-fresh", "kd:dist", "gtan:dist")
    students: tuple[str, ...] = ("student-100k", "student-30k")
    """Known names, or widths like 5-10-20-30."""
    seeds: tuple[int, ...] = (0, 1, 2)
    starts: tuple[Path, ...] = ()
    """A checkpoint for each student that all its arms begin from; without, they begin from random weights."""
    also: tuple[str, ...] = ()
    """LABEL=CHECKPOINT of finished students to show in the table, too, as those that are bundled."""
    folder: Path = Path("runs/ablation")
    roles: Flat[Roles] = field(default_factory=Roles)
    training: Flat[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class Average:
    """The mean of the weights of runs that began from one network (`--start`)."""

    checkpoints: First[tuple[Path, ...]]
    run: Path = Path("runs/average")
    """Folder of the new checkpoint."""
    role: str = "student"


@dataclass(frozen=True)
class Designs:
    """The trade-off between accuracy and time of several students' designs, by short equal runs; finished ones stay."""

    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL that no step has seen; times are taken on the first."""
    designs: tuple[str, ...] = ()
    """Names of `designs_plan.py`; by default all. Give --bank one folder for each of their grids."""
    folder: Path = Path("runs/designs")
    rounds: int = 9
    """Timed forward passes of each design on each engine."""
    training: Flat[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class Evaluate:
    """Dice, NSD, HD95, ASSD and volume error on real CTs at native resolution."""

    model: First[str] = ""
    """A bundled student's name, a student file, a checkpoint (.pt or .pt:ROLE), or a folder of masks."""
    cases: tuple[str, ...] = ()
    """CT=MASK or CT=MASK:LABEL."""
    engines: tuple[Literal["numpy", "torch"], ...] = ("numpy",)
    output: Path = Path("runs/evaluation.csv")
    picture: Path | None = None
    """Also a picture of every case with both outlines."""
    bundled: bool = False
    """Instead of model and cases: all bundled students with both engines on every real case that can be had here."""


@dataclass(frozen=True)
class Stress:
    """The hard cases one by one, simulated and real, through the product's own path; JSON and Markdown."""

    model: First[str]
    """A bundled student's name, a student file, or a checkpoint (.pt or .pt:ROLE)."""
    cases: tuple[str, ...] = ()
    """CT=MASK or CT=MASK:LABEL to alter, besides the human-labelled CTs of `data`."""
    output: Path = Path("runs/stress/student.json")
    """A table is written beside it (.md)."""
    data: Path | None = None
    """Folder with `tissue_maps/` and `ct/`; by default LIVERGTAN_DATA or ../shared/data; without it the phantom."""
    volumes: int = 8
    """Simulated volumes a condition."""


@dataclass(frozen=True)
class Calibrate:
    """How far the student's probabilities near the border can be believed; fits a temperature on some of the cases."""

    model: First[str]
    """A bundled student's name, a student file, or a checkpoint (.pt or .pt:ROLE)."""
    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL."""
    fit: tuple[str, ...]
    """Names of the cases to fit the temperature on; the others tell whether it helps."""
    output: Path = Path("runs/calibration/student.json")
    picture: Path | None = None
    """The reliability diagram; by default beside `output` (.png)."""


@dataclass(frozen=True)
class Export:
    """Write a student file and its card from a checkpoint; checks that both engines agree with the network."""

    checkpoint: First[Path]
    name: str = "student"
    output: Path | None = None
    """Folder of the student file; by default that of the checkpoint."""
    role: str | None = None
    """Which network of the checkpoint; by default the student."""
    calibration: Path | None = None
    """JSON that `calibrate` wrote about this student, for the card."""
    stress: Path | None = None
    """JSON that `stress` wrote about this student, for the card."""
    ablation: Path | None = None
    """table.json of an ablation with a student of this name, for the card."""
    install: bool = False
    """Evaluate on the real cases and replace the bundled student and the model card; nothing, when a step fails."""


@dataclass(frozen=True)
class Keep:
    """Keep one network of a checkpoint, in float16 with its settings and seed, to teach others."""

    checkpoint: First[Path]
    output: Path = Path(TEACHER)
    role: str = "teacher"
    """Which network of the checkpoint."""


@dataclass(frozen=True)
class Card:
    """Show a student's card, put an evaluation's figures on it, or write MODEL_CARD.md of the bundled ones anew."""

    student: First[Path | None] = None
    """The student's .json or .npz."""
    metrics: Path | None = None
    """CSV written by `evaluate`."""
    bundled: bool = False
    """Instead of a student: write the model card of the bundled ones from their JSON cards."""


@dataclass(frozen=True)
class Describe:
    """Parameters and multiply-accumulates of teacher, assistant and students."""

    roles: Flat[Roles] = field(default_factory=Roles)
    shape: tuple[int, int, int] = (64, 96, 112)
    """Model grid for the multiply-accumulates."""


@dataclass(frozen=True)
class Demo:
    """The whole path on the built-in phantom alone, in about five minutes on two cores."""

    output: Path = Path("runs/demo")


COMMANDS: dict[str, type] = {
    "synthesize": SynthesisConfig,
    "fit": Fit,
    "pseudolabel": Pseudolabel,
    "evaluate": Evaluate,
    "stress": Stress,
    "calibrate": Calibrate,
    "ablate": Ablate,
    "average": Average,
    "designs": Designs,
    "export": Export,
    "keep": Keep,
    "card": Card,
    "describe": Describe,
    "demo": Demo,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0, or 2 after a message for the person."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        name, options = parse(arguments)
        getattr(commands, name)(options)
    except (UserError, ValueError) as error:  # the readers' and the product's own errors are ValueErrors
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(arguments: list[str]) -> tuple[str, Any]:
    """(command, its options) from the command line. Exits with help or usage like any command-line program."""
    if not arguments or arguments[0] not in COMMANDS:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m training", description=__doc__, args=arguments)
    name, rest = arguments[0], arguments[1:]
    kind, default = COMMANDS[name], None
    if "--config" in rest:
        place = rest.index("--config")
        file, rest = rest[place + 1 : place + 2], rest[:place] + rest[place + 2 :]
        if not file:
            raise UserError("--config needs a TOML file.")
        default = from_toml(blank(kind), Path(file[0]))
    return name, tyro.cli(kind, prog=f"python -m training {name}", args=rest, default=default)


def blank(kind: type) -> Any:
    """The command's defaults, with tyro's mark where an option has none."""
    required = {f.name: tyro.MISSING for f in fields(kind) if not has_default(f)}
    return kind(**required)


def has_default(option: Any) -> bool:
    """Whether a dataclass field has a default."""
    return len({repr(option.default), repr(option.default_factory)}) > 1
