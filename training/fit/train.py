"""`fit`: the teacher, or a student by one method with the networks that this needs, each on the one loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from LiverGTANLib.core.files import atomic_write
from training.command_line import plain
from training.errors import UserError
from training.fit import checkpoint, loop, methods, related
from training.fit.loop import Began, TrainingTask, Validate, do_nothing
from training.fit.run_record import decisive, require_same_facts
from training.fit.validate import validator
from training.model.nets import UNet3D
from training.model.related_losses import TERMS
from training.options import Config, Fit, LossName, Roles
from training.settings import from_toml, to_toml

ASSISTED = ("takd", "dgkd")
KINDS = ("student", "kd", *ASSISTED, "gtan", *TERMS, "mutual")
VARIANTS = {
    "gtan-fresh": ("gtan", ("growth", "inherit", False)),  # every size starts anew
    "gtan-dense": ("gtan", ("growth", "teacher_term", True)),  # the student also learns from the teacher itself
    "gtan-early": ("gtan", ("growth", "grow_at", (0.05, 0.15))),  # the assistant is large for most of the run
    "gtan-strong": ("gtan", ("distill", "weight", 3.0)),
}


@dataclass(frozen=True)
class Method:
    """How a student is made: the kind, and settings that differ from the run's (for the ablation)."""

    kind: str
    changes: tuple[tuple[str, str, object], ...] = ()  # (part of Config, setting, value)

    @classmethod
    def parse(cls, arm: str) -> Method:
        """From "kind" or "kind:loss", a kind being one of KINDS or VARIANTS."""
        kind, _, loss = arm.partition(":")
        changes: list[tuple[str, str, object]] = [("distill", "loss", loss)] if loss else []
        if kind in VARIANTS:
            kind, change = VARIANTS[kind]
            changes.append(change)
        if kind not in KINDS or loss not in ("", *get_args(LossName)):
            kinds, losses = ", ".join((*KINDS, *VARIANTS)), ", ".join(f":{name}" for name in get_args(LossName))
            raise UserError(f"'{arm}' is not an arm; choose from {kinds}, each with one of {losses} if wanted.")
        return cls(kind, tuple(changes))

    def configured(self, config: Config) -> Config:
        """The run's settings with this method's changes."""
        for part, name, value in self.changes:
            config = dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **{name: value})})
        return config


def fit(options: Fit) -> None:
    """Trains the teacher, or a student by one method."""
    config, run = options.training, options.run
    validate = validator(config.data)
    require_same_command(options)
    began = partial(write_settings, options)
    if options.stage == "teacher":
        fit_teacher(options.roles, config, run, validate, began)
    else:
        method, roles, assistant = Method.parse(options.stage), options.roles, run / "assistant"
        loop.fit_together([plan_student(method, roles, config, run, assistant, validate, began)], validate)


def require_same_command(options: Fit) -> None:
    """Raises UserError that names each difference when the folder holds a run that other settings began."""
    file = options.run / "fit.toml"
    if file.exists() and any(options.run.rglob("checkpoint.pt")):
        require_same_facts(command_facts(from_toml(Fit("all"), file)), command_facts(options), file)


def write_settings(options: Fit) -> None:
    """`fit.toml`, from which `fit --config` goes on; written as steps are about to be taken, never by a refused run."""
    with atomic_write(options.run / "fit.toml") as part:
        part.write_text(to_toml(options), encoding="utf-8")


def command_facts(options: Fit) -> dict[str, object]:
    """Name -> value of the options of `fit` that decide what it gives; files are compared by content in the loop."""
    values = plain(dataclasses.asdict(options))
    roles = {name: value for name, value in values["roles"].items() if name != "teacher"}
    return {"stage": options.stage, **roles, **decisive(values["training"])}


def teacher_config(roles: Roles, config: Config) -> Config:
    """The settings of a teacher that is trained on the way to a student: its own number of steps."""
    steps = roles.teacher_steps or config.loop.steps
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, steps=steps))


def fit_teacher(roles: Roles, config: Config, folder: Path, validate: Validate, began: Began = do_nothing) -> Path:
    """A teacher on labels alone; its checkpoint."""
    return loop.fit(methods.supervised("teacher", roles.teacher_widths, config), config, folder, validate, began)


def plan_student(
    method: Method,
    roles: Roles,
    config: Config,
    folder: Path,
    assistant: Path,
    validate: Validate,
    began: Began = do_nothing,
) -> loop.Planned:
    """A student by a method, ready to be trained by `loop.fit_together`; the assistant of TAKD and DGKD is trained (or
    found) first. Raises UserError when the method needs a teacher and `roles` names none."""
    config, between = method.configured(config), None
    if method.kind in ASSISTED:
        task = assistant_task(method, roles, config)
        between = checkpoint.network(loop.fit(task, config, assistant, validate, began), "assistant")
    return loop.Planned(student_task(method, roles, config, between), config, folder, began)


def require_same_student(method: Method, roles: Roles, config: Config, folder: Path, assistant: Path) -> None:
    """Raises UserError, before anything is trained or written, where a folder holds another run than planned."""
    config, between = method.configured(config), None
    if method.kind in ASSISTED:
        task, file = assistant_task(method, roles, config), assistant / loop.CHECKPOINT
        if not loop.is_finished(task, config, file):
            return  # what the student's folder holds cannot be compared before there is an assistant
        between = checkpoint.network(file, "assistant")
    if (folder / loop.CHECKPOINT).exists():
        loop.is_finished(student_task(method, roles, config, between), config, folder / loop.CHECKPOINT)


def student_task(method: Method, roles: Roles, config: Config, between: UNet3D | None) -> TrainingTask:
    """What the student's run trains. between: the assistant of TAKD and DGKD. config: with the method's changes."""
    if method.kind == "student":
        return methods.supervised("student", roles.student_widths, config)
    teachers = teachers_of(method, roles, config)
    if between is not None:
        teachers = [between] if method.kind == "takd" else [*teachers, between]
    make: dict[str, Callable[..., TrainingTask]] = {
        "kd": partial(methods.kd, "kd"),
        "takd": partial(methods.kd, "takd"),
        "dgkd": methods.dgkd,
        "gtan": methods.gtan,
        "mutual": related.mutual,
        **{name: partial(related.kd_with_features, name) for name in TERMS},
    }
    return make[method.kind](roles.student_widths, teachers, config)


def assistant_task(method: Method, roles: Roles, config: Config) -> TrainingTask:
    """That of TAKD's and DGKD's assistant: a network between the sizes, distilled from the teachers."""
    return methods.kd("assistant", roles.assistant_widths, teachers_of(method, roles, config), config)


def teachers_of(method: Method, roles: Roles, config: Config) -> list[UNet3D]:
    """The frozen teachers. Raises UserError when the method needs one and there is none, or one of another grid."""
    if not roles.teacher:
        raise UserError(f"'{method.kind}' needs --teacher CHECKPOINT; train one with `python -m training fit teacher`.")
    for path in roles.teacher:
        if (theirs := checkpoint.spacing_mm(path)) != (ours := config.data.spacing_mm):
            raise UserError(
                f"The teacher {path} was trained on cells of {theirs:g} mm and the data have {ours:g} mm; train it on "
                f"(`fit teacher --start {path} --spacing-mm {ours:g}`), or give data of its grid."
            )
    return [checkpoint.network(path, teacher_role(path)) for path in roles.teacher]


def teacher_role(path: Path) -> str:
    """The role to take from a teacher's checkpoint: its only network, or the assistant of a GTAN run."""
    roles = list(checkpoint.read(path)["nets"])
    return roles[0] if len(roles) == 1 else "assistant"
