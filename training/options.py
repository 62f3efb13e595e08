"""Typed settings of every run: defaults here, a TOML file over them, the command line over both."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomllib

from training.data.augment import Ranges
from training.errors import UserError

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class DataSettings:
    """What is trained on and what is watched."""

    bank: tuple[Path, ...] = (Path("runs/bank"),)
    """Folders made by `python -m training synthesize`; several are joined."""
    validation: tuple[str, ...] = ()
    """CT=LABEL pairs that are watched during training and never trained on."""
    augment: Ranges = field(default_factory=Ranges)


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast, how careful."""

    steps: int = 9000
    batch: int = 2
    """Volumes in one step over all processes."""
    rate: float = 4e-3
    warmup: int = 200
    """Steps in which the rate rises from zero, at the start and after every growth."""
    decay: float = 1e-4
    """AdamW's weight decay."""
    clip: float = 2.0
    """Largest norm of a gradient."""
    average: float = 0.998
    """Decay of the moving average of the weights that is validated and exported."""
    seed: int = 0
    start: Path | None = None
    """Checkpoint to begin from instead of random weights: its student, or its only network, widened where the network
    to train is wider (TAKD's and DGKD's assistant)."""
    log_every: int = 50
    validate_every: int = 500
    checkpoint_seconds: float = 120.0
    deterministic: bool = False


@dataclass(frozen=True)
class DistillSettings:
    """What a network learns from larger ones."""

    loss: Literal["kl", "cwd", "dist"] = "kl"
    weight: float = 1.0
    """Of the distillation term beside Dice + cross entropy."""
    temperature: float | None = None
    """By default 2 for kl, 4 for cwd and dist."""
    drop: float = 0.5
    """DGKD: chance that the term of one of several teachers is left out of a step."""


@dataclass(frozen=True)
class GrowthSettings:
    """How the assistant grows from the student's widths to the teacher's."""

    grow_at: tuple[float, ...] = (0.25, 0.5)
    """Shares of the run after which it grows; the last time to the teacher's widths."""
    asymmetry: float = 0.01
    """Relative noise that makes copies of a unit differ."""
    inherit: bool = True
    """Keep weights and moments at growth; without, every size starts anew (an arm of the ablation)."""
    teacher_term: bool = False
    """The student also learns from the teacher directly, as in DGKD."""


@dataclass(frozen=True)
class MachineSettings:
    """Handed to Lightning Fabric."""

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    """auto: bf16-mixed where the processor has it (2x here), else 32-true; or any precision of Fabric."""
    threads: int = 2


@dataclass(frozen=True)
class Config:
    """All that decides what a training run does; saved beside its checkpoint."""

    data: DataSettings = field(default_factory=DataSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    growth: GrowthSettings = field(default_factory=GrowthSettings)
    machine: MachineSettings = field(default_factory=MachineSettings)


def from_toml(defaults: Settings, path: Path) -> Settings:
    """The settings with the values of a TOML file over them.

    Raises UserError for an unreadable file or an unknown key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"The configuration {path} cannot be read ({error}); give a valid TOML file.") from error
    return over(defaults, values, str(path))


def over(defaults: Settings, values: dict[str, Any], origin: str) -> Settings:
    """`defaults` with nested `values` put over it; `origin` names them in messages."""
    known = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(defaults)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"{origin}: unknown setting {', '.join(unknown)}; known here are {', '.join(known)}.")
    return dataclasses.replace(defaults, **{k: adapt(known[k], v, f"{origin}: {k}") for k, v in values.items()})


def adapt(default: Any, value: Any, origin: str) -> Any:
    """A TOML value in the type of the default that it replaces."""
    if dataclasses.is_dataclass(default):
        return over(default, value, origin)
    if isinstance(value, list):
        paths = isinstance(default, tuple) and any(isinstance(one, Path) for one in default)
        return tuple(Path(v) if paths else tuple(v) if isinstance(v, list) else v for v in value)
    return Path(value) if isinstance(default, Path) else value


def to_toml(settings: Any) -> str:
    """The settings as TOML text that `from_toml` reads back; None is left out."""
    plain, tables = [], []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            tables.append((item.name, value))
        elif value is not None:
            plain.append(f"{item.name} = {literal(value)}")
    return "\n".join(plain + [indent(name, to_toml(value)) for name, value in tables]) + "\n"


def indent(name: str, text: str) -> str:
    """A sub-table's text below the table `name`."""
    return f"\n[{name}]\n" + text.replace("\n[", f"\n[{name}.")


def literal(value: Any) -> str:
    """One TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
