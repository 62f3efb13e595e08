"""How to reproduce: the command line of a finished run, from the settings that it kept.

Only what differs from the defaults is written, and no path of one machine: data lie below LIVERGTAN_DATA, results in
`runs/`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

from training.data.unseen import data_folder
from training.fit import checkpoint
from training.model.nets import TEACHER_WIDTHS
from training.options import Config

PROGRAM = ("python", "-m", "training")
TEACHER = "training/weights/teacher.safetensors"
# Figures do not depend on these, or they are the machine's.
IRRELEVANT = (
    "log_every",
    "validate_every",
    "checkpoint_seconds",
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
    "threads",
)
ALWAYS = ("steps", "seed")  # written even where they are the default, because people look for them
MEAN = re.compile(r"mean of the weights of \d+ runs \(seeds ([\d, ]+)\)( and of the network that all began from)?")
METHODS = {"Dice": "student", "KD": "kd", "DGKD": "dgkd", "GTAN": "gtan"}  # first word of a checkpoint's method


def command(name: str, given: Any) -> str:
    """The command line of a command's options, its one positional argument first."""
    first, *others = dataclasses.fields(given)
    values = plain(dataclasses.asdict(given))
    words = [
        word
        for field in others
        if field.name != "output" and values[field.name] != plain(field.default)
        for word in option(field.name.replace("_", "-"), values[field.name])
    ]
    return line(name, portable(str(values[first.name])), *words, "--output", portable(values["output"]))


def synthesize(name: str, count: int, config: dict[str, Any]) -> str:
    """The command that makes a bank; `config` as its bank.json has it."""
    from training.synthesis.config import SynthesisConfig

    words = ["--output", f"runs/{name}", "--count", str(count)]
    return line("synthesize", *words, *options(SynthesisConfig(), config, nested=True))


def fit(content: dict[str, Any], name: str, teacher: str) -> str:
    """The command that trains a checkpoint's networks in `runs/NAME`; `teacher`: where its teacher is to be had.

    For the mean of several runs: their commands, which differ in the seed alone, and that of the mean, on one line.
    """
    seeds = MEAN.search(content["method"])
    if not seeds:
        return one_fit(content, f"runs/{name}", teacher, content["settings"]["loop"]["seed"])
    runs = {f"runs/{name}-seed{seed}": int(seed) for seed in seeds[1].split(", ")}
    lines = [one_fit(content, run, teacher, seed) for run, seed in runs.items()]
    files, role = [f"{run}/checkpoint.pt" for run in runs], next(iter(content["nets"]))
    if seeds[2]:
        first = checkpoint.beginning(Path(content["settings"]["loop"]["start"]))
        files.append(f"runs/{first.parent.name}/checkpoint.pt")
    return " && ".join([*lines, line("average", *files, "--role", role, "--run", f"runs/{name}")])


def one_fit(content: dict[str, Any], run: str, teacher: str, seed: int) -> str:
    """The command of a run with a seed."""
    kind, settings = stage(content), content["settings"]
    settings = settings | {"loop": settings["loop"] | {"seed": seed}}
    taught = ["--teacher", teacher] if kind not in ("teacher", "student") else []
    return line("fit", kind, "--run", run, *roles(content, kind), *taught, *options(Config(), settings))


def stage(content: dict[str, Any]) -> str:
    """The stage of `fit`, by the method and the sizes that a checkpoint holds."""
    kind = METHODS[re.match(r"\w+", content["method"])[0]]
    if kind == "student" and "teacher" in content["nets"]:
        return "teacher"
    return "takd" if kind == "kd" and taught_by(content) not in ([], list(TEACHER_WIDTHS)) else kind


def taught_by(content: dict[str, Any]) -> list[int]:
    """Widths of a checkpoint's first teacher; none when it had none."""
    return next((list(one["widths"]) for one in content.get("teachers", {}).values()), [])


def roles(content: dict[str, Any], kind: str) -> list[str]:
    """Widths as options."""
    nets = content["nets"]
    if kind == "teacher":
        return widths("teacher", nets["teacher"]["widths"])
    first = nets.get("student") or next(iter(nets.values()))
    return widths("student", first["first_widths"]) + (
        widths("assistant", taught_by(content)) if kind == "takd" else []
    )


def widths(role: str, values: list[int]) -> list[str]:
    """The option with the widths of a role."""
    return [f"--{role}-widths", *map(str, values)]


def options(defaults: Any, values: dict[str, Any], nested: bool = False, prefix: str = "") -> list[str]:
    """`--name value ...` for every setting that is not the default; nested: inner names carry the outer one's."""
    words: list[str] = []
    for field in dataclasses.fields(defaults):
        default = getattr(defaults, field.name)
        if field.name not in values or field.name in IRRELEVANT:
            continue
        value, name = values[field.name], prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(default):
            words += options(default, value, nested, f"{name}." if nested else "")
        elif isinstance(value, dict):
            changed = {f"{name}.{key}": one for key, one in value.items() if one != default.get(key)}
            words += [word for pair in changed.items() for word in option(*pair)]
        elif field.name in ALWAYS or value != plain(default):
            words += option(name, value)
    return words


def plain(value: Any) -> Any:
    """A default in JSON's types, as settings are kept."""
    return json.loads(json.dumps(value, default=str))


def option(name: str, value: Any) -> list[str]:
    """The words of one option."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", *(portable(str(one)) for one in (value if isinstance(value, list) else [value]))]


def portable(text: str) -> str:
    """Every path in a value without the folders of one machine: as below the data folder, or in `runs/`."""
    halves = [part.partition(":") for part in text.split("=")]
    return "=".join(where(path) + colon + label for path, colon, label in halves)


def where(text: str) -> str:
    """One path; anything that is not absolute stays."""
    path = Path(text)
    if not path.is_absolute():
        return text
    data = data_folder().resolve()
    return str(path.relative_to(data)) if path.is_relative_to(data) else f"runs/{path.name}"


def line(*words: str) -> str:
    """A command line that a shell reads back."""
    return shlex.join([*PROGRAM, *words])
