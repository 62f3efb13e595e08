"""How to reproduce: the command line of a finished run, from the settings that its checkpoint holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from training.command_line import line, options
from training.evaluation.training_history import runs
from training.fit import checkpoint
from training.options import TEACHER_WIDTHS, Config, SynthesisConfig

ABLATION = "training/results/ablation.json"
MEAN = re.compile(r"mean of the weights of \d+ runs \(seeds ([\d, ]+)\)( and of the network that all began from)?")
METHODS = {"Dice": "student", "KD": "kd", "DGKD": "dgkd", "GTAN": "gtan"}  # first word of a checkpoint's method


def synthesize(name: str, count: int, config: dict[str, Any]) -> str:
    """The command that makes a bank; `config` as its bank.json has it."""
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


def commands(cards: dict[str, dict[str, Any]]) -> list[str]:
    """The commands that make all students again, in their order: banks, runs before, students, their cards."""
    lines: list[str] = []
    for name, card in cards.items():
        for _, part in reversed(list(runs(card["training"]))):
            lines += [command for bank in part["banks"] for command in bank_commands(bank)] + [part["command"]]
            lines += [line("keep", checkpoint_of(part))] if "file" in part else []
        lines += export_commands(name, card)
    return list(dict.fromkeys([*lines, line("evaluate", "--bundled")]))


def bank_commands(bank: dict[str, Any]) -> list[str]:
    """The command of a bank, after that of the labels which it took in."""
    labels = bank.get("labels", {}).get("command")
    return [labels, bank["command"]] if labels else [bank["command"]]


def export_commands(name: str, card: dict[str, Any]) -> list[str]:
    """From a student's checkpoint to the extension."""
    words = ("export", checkpoint_of(card["training"]), "--name", name)
    measured = card.get("commands", {})
    if not measured:
        return [line(*words)]
    files = {command: text.split("--output ")[1] for command, text in measured.items()}
    ablation = ("--ablation", ABLATION) if card.get("ablation") else ()
    given = ("--calibration", files["calibrate"], "--stress", files["stress"])
    return [line(*words), *measured.values(), line(*words, *given, *ablation, "--install")]


def checkpoint_of(part: dict[str, Any]) -> str:
    """The checkpoint that a run's command writes: in the folder that it names last."""
    words = part["command"].rpartition("--run ")[2].split()
    return f"{words[0]}/checkpoint.pt"
