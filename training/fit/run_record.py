"""What decides the result of a training run. Its checkpoint holds it, and a folder is resumed by the same alone.

May differ between the parts of a run, because weights do not depend on it: where banks, teachers and the start lie
(their content is compared), how often is logged, validated and saved, and the machine (accelerator, devices, strategy,
threads, `deterministic`) apart from its precision. The number of steps must be the same: the learning rate and the
growth depend on it. To train a finished run further, begin a new one from it with `--start`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.command_line import plain
from training.errors import UserError
from training.options import Config, FeatureStage
from training.settings import CONVERTER, changes, flat

Stage = Literal["teacher", "student", "assistant", "kd", "takd", "dgkd", "gtan", FeatureStage, "mutual"]
MAY_DIFFER = (
    "data.bank",
    "loop.start",
    "loop.log_every",
    "loop.validate_every",
    "loop.checkpoint_seconds",
    "loop.deterministic",
    "machine",
)
NOT_RECORDED = "not recorded"
"""In place of a fact of a network that was trained before it was recorded."""
SHOWN_DIGITS = 16
"""Hexadecimal digits of a digest that are compared and shown: 64 bits."""


@dataclass(frozen=True)
class GrowthStep:
    """The widths that the assistant has from a step on."""

    step: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Averaging:
    """The runs whose mean a network is. ancestor: the checkpoint of a network before them all that takes part, too."""

    seeds: tuple[int, ...]
    ancestor: str | None = None


@dataclass(frozen=True)
class MethodRecord:
    """How a network was trained.

    stage: what was trained and by which method. loss: the distillation loss, None without a teacher. teachers: widths
    of the frozen networks, those of the assistant of TAKD and DGKD last. growth: GTAN's assistant from its first size
    on. teacher_term: GTAN's student also learns from the teacher itself.
    """

    stage: Stage
    loss: str | None = None
    teachers: tuple[tuple[int, ...], ...] = ()
    growth: tuple[GrowthStep, ...] = ()
    inherit: bool = True
    teacher_term: bool = False
    averaging: Averaging | None = None

    @classmethod
    def of(cls, values: dict[str, Any]) -> MethodRecord:
        """From the plain data of a checkpoint."""
        return CONVERTER.structure(values, cls)

    @property
    def sentence(self) -> str:
        """One line for a card."""
        text = self._single_run()
        if self.averaging is None:
            return text
        seeds = ", ".join(map(str, self.averaging.seeds))
        start = " and of the network that all began from" if self.averaging.ancestor else ""
        return f"{text}; mean of the weights of {len(self.averaging.seeds)} runs (seeds {seeds}){start}"

    def _single_run(self) -> str:
        if self.loss is None:
            return "Dice + cross entropy on labels, no distillation"
        if self.stage == "gtan":
            sizes = " -> ".join(str(one.widths) for one in self.growth)
            weights = "inheriting" if self.inherit else "not inheriting"
            directly = ", and a term of the teacher itself" if self.teacher_term else ""
            return f"GTAN ({self.loss}): assistant grown {sizes} beside the student, {weights} weights{directly}"
        name = "KD" if self.stage == "assistant" else self.stage.upper()
        if self.stage == "dgkd":
            return f"{name} ({self.loss}) from widths {list(self.teachers)}"
        return f"{name} ({self.loss}) from {len(self.teachers)} teacher(s) of widths {self.teachers[0]}"


@dataclass(frozen=True)
class BankRecord:
    """A bank by its folder's name and its content."""

    name: str
    volumes: int
    sha256: str


@dataclass(frozen=True)
class TeacherRecord:
    """A frozen network; sha256 as `network_file.digest` has it."""

    widths: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class RunRecord:
    """All that decides what a run gives.

    networks: role -> architecture of the network that it begins as. start: digest of the network of `--start`.
    precision: the one in which it really computes.
    """

    method: MethodRecord
    networks: dict[str, dict[str, Any]]
    teachers: dict[str, TeacherRecord]
    data: tuple[BankRecord, ...]
    start: str | None
    precision: str
    settings: Config

    def plain(self) -> dict[str, Any]:
        """In JSON's types, as a checkpoint holds it."""
        return plain(dataclasses.asdict(self))


def differences(before: dict[str, Any], now: dict[str, Any], ignored: tuple[str, ...] = ()) -> list[str]:
    """What two records (in plain data) differ in, as "name: before -> now"; empty for runs that give the same.

    ignored: names of facts that may differ besides `MAY_DIFFER`.
    """
    return changes(facts(before), facts(now), ignored)


def require_same(before: dict[str, Any], now: dict[str, Any], file: Path) -> None:
    """Raises UserError that names each difference between the run in a file and the one to be trained."""
    require_same_facts(facts(before), facts(now), file)


def require_same_facts(old: dict[str, Any], new: dict[str, Any], file: Path) -> None:
    """The same for tables of facts."""
    found = changes(old, new)
    if found:
        raise UserError(
            f"{file} belongs to another run ({'; '.join(found)}); give the settings with which it began, "
            "or another folder."
        )


def facts(record: dict[str, Any]) -> dict[str, Any]:
    """Name -> value of everything in a record (in plain data) that decides the result."""
    found: dict[str, Any] = {"stage": record["method"]["stage"]}
    averaging = record["method"]["averaging"]
    if averaging:
        found["averaged seeds"] = averaging["seeds"]
    for role, architecture in record["networks"].items():
        found |= {f"{role}.{name}": value for name, value in architecture.items()}
    for role, teacher in record["teachers"].items():
        found[role] = f"widths {teacher['widths']}, SHA-256 {teacher['sha256'][:SHOWN_DIGITS]}"
    for number, bank in enumerate(record["data"], 1):
        found[f"bank {number}"] = f"{bank['volumes']} volumes, SHA-256 {bank['sha256'][:SHOWN_DIGITS]}"
    if record["start"]:
        found["start"] = f"SHA-256 {record['start'][:SHOWN_DIGITS]}"
    return found | {"precision": record["precision"]} | decisive(record["settings"])


def decisive(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted name, without those that may differ."""
    compared = {name: value for name, value in flat(settings).items() if name not in MAY_DIFFER}
    return {name: value for name, value in compared.items() if name.partition(".")[0] not in MAY_DIFFER}
