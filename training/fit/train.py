"""What `fit` and `ablate` run: one stage, or several in a row, each on the one loop."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from training.errors import UserError
from training.fit import checkpoint, loop, methods
from training.fit.loop import Validate
from training.fit.validate import validator
from training.model.nets import UNet3D
from training.options import Config, Fit, Roles
from training.settings import to_toml

ASSISTED = ("takd", "dgkd")
KINDS = ("student", "kd", *ASSISTED, "gtan")
VARIANTS = {
    "gtan-fresh": ("gtan", ("growth", "inherit", False)),  # every size starts anew
    "gtan-dense": ("gtan", ("growth", "teacher_term", True)),  # the student also learns from the teacher itself
    "gtan-early": ("gtan", ("growth", "grow_at", (0.05, 0.15))),  # the assistant is large for most of the run
    "gtan-strong": ("gtan", ("distill", "weight", 3.0)),
    "kd-strong": ("kd", ("distill", "weight", 3.0)),
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
        changes = [("distill", "loss", loss)] if loss else []
        if kind in VARIANTS:
            kind, change = VARIANTS[kind]
            changes.append(change)
        if kind not in KINDS or loss not in ("", "kl", "cwd", "dist"):
            known = ", ".join((*KINDS, *VARIANTS))
            raise UserError(f"'{arm}' is no arm; choose from {known}, each with :kl, :cwd or :dist if wanted.")
        return cls(kind, tuple(changes))

    def configured(self, config: Config) -> Config:
        """The run's settings with this recipe's changes."""
        for part, name, value in self.changes:
            config = dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **{name: value})})
        return config


@dataclass(frozen=True)
class Sizes:
    """Widths of the three roles."""

    student: tuple[int, ...]
    assistant: tuple[int, ...]
    teacher: tuple[int, ...]


def fit(options: Fit) -> None:
    """Trains the teacher, or a student by one method."""
    config, run = options.training, options.run
    validate = validator(config.data)
    write_settings(options)
    widths = sizes(options.roles)
    if options.stage == "teacher":
        fit_teacher(widths, config, run, validate)
    else:
        method, teachers = Method.parse(options.stage), list(options.roles.teacher)
        fit_student(method, widths, teachers, config, run, run / "assistant", validate)


def write_settings(options: Fit) -> None:
    """`fit.toml` in the folder of the run: `fit --config` starts it again."""
    options.run.mkdir(parents=True, exist_ok=True)
    (options.run / "fit.toml").write_text(to_toml(options), encoding="utf-8")


def sizes(roles: Roles) -> Sizes:
    """The widths given on the command line."""
    return Sizes(roles.student_widths, roles.assistant_widths, roles.teacher_widths)


def teacher_config(roles: Roles, config: Config) -> Config:
    """The settings of a teacher that is trained on the way to a student: its own number of steps."""
    steps = roles.teacher_steps or config.loop.steps
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, steps=steps))


def fit_teacher(sizes: Sizes, config: Config, folder: Path, validate: Validate) -> Path:
    """A teacher on labels alone; its checkpoint."""
    return loop.fit(methods.plain("teacher", sizes.teacher, config), config, folder, validate)


def fit_student(
    recipe: Method,
    sizes: Sizes,
    teachers: list[Path],
    config: Config,
    folder: Path,
    assistant: Path,
    validate: Validate,
) -> Path:
    """A student by a recipe; its checkpoint. TAKD and DGKD first train (or find) their assistant in `assistant`."""
    config = recipe.configured(config)
    if recipe.kind == "student":
        return loop.fit(methods.plain("student", sizes.student, config), config, folder, validate)
    frozen = [checkpoint.network(path, only_role(path)) for path in teachers]
    if not frozen:
        raise UserError(f"'{recipe.kind}' needs --teacher CHECKPOINT; train one with `python -m training fit teacher`.")
    if recipe.kind in ASSISTED:
        between = fit_assistant(frozen, sizes, config, assistant, validate)
        frozen = [between] if recipe.kind == "takd" else [*frozen, between]
    make = {"kd": methods.distilled, "takd": methods.distilled, "dgkd": methods.densely}
    if recipe.kind == "gtan":
        task = methods.gtan(sizes.student, frozen, config)
    else:
        task = make[recipe.kind]("student", sizes.student, frozen, config)
    return loop.fit(task, config, folder, validate)


def fit_assistant(teachers: list[UNet3D], sizes: Sizes, config: Config, folder: Path, validate: Validate) -> UNet3D:
    """The assistant of TAKD and DGKD: a network between the sizes, distilled from the teachers."""
    task = methods.distilled("assistant", sizes.assistant, teachers, config)
    return checkpoint.network(loop.fit(task, config, folder, validate), "assistant")


def only_role(path: Path) -> str:
    """The role to take from a teacher's checkpoint: its only network, or the assistant of a GTAN run."""
    roles = list(checkpoint.read(path)["nets"])
    return roles[0] if len(roles) == 1 else "assistant"
