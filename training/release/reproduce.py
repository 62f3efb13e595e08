"""How to reproduce: the command line of a finished run, from the settings that its checkpoint holds."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.command_line import line, options
from training.errors import UserError
from training.evaluation.training_history import runs
from training.fit.run_record import MethodRecord
from training.options import Config, Pack, Soften, SynthesisConfig

ABLATION = "training/results/ablation.json"
RUNS = "runs"
SHOWN_DIGITS = 12
"""Hexadecimal digits that tell a network from the others on a card."""
WIDTH = 110
"""Characters of a line of a shown command."""


def wrapped(command: str) -> str:
    """A command in lines that a shell reads as one, broken before options, or between the values of a long one."""
    return " && \\\n".join(wrapped_alone(part) for part in command.split(" && "))


def wrapped_alone(command: str) -> str:
    """The same of a command alone."""
    lines, current = [], ""
    for group in option_groups(shlex.split(command)):
        words = [shlex.join(group)] if len(shlex.join(group)) < WIDTH else [shlex.quote(word) for word in group]
        for word in words:
            if current and len(f"{current} {word}") > WIDTH:
                lines.append(current)
                current = f"  {word}"
            else:
                current = f"{current} {word}" if current else word
    return " \\\n".join([*lines, current])


def option_groups(words: list[str]) -> list[list[str]]:
    """The program and what it takes first, then each option with its values."""
    groups: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            groups.append([])
        groups[-1].append(word)
    return groups


def synthesize(name: str, count: int, config: dict[str, Any]) -> str:
    """The command that makes a bank; `config` as its bank.json has it.

    Raises UserError for settings of another version.
    """
    unknown = sorted(set(config) - {field.name for field in dataclasses.fields(SynthesisConfig)})
    if unknown:
        raise UserError(
            f"The bank {name} was made with settings that this version does not know ({', '.join(unknown)}); "
            "synthesize it anew, or export with the code that made it."
        )
    words = ["--output", f"runs/{name}", "--count", str(count)]
    return line("synthesize", *words, *options(SynthesisConfig(), config, nested=True))


def pack(name: str, config: dict[str, Any]) -> str:
    """The command that makes a bank of whole scans; `config` as its scans.json has it."""
    return line("pack", "--output", f"runs/{name}", *options(Pack(), config, nested=True))


def softened_folder(command: str) -> str:
    """The name of the folder of scans that a command of `soften` reads."""
    words = shlex.split(command)
    return Path(words[words.index("--scans") + 1]).name if "--scans" in words else Soften.scans.name


def fit(content: dict[str, Any], name: str, teacher: str) -> str:
    """The command that trains a checkpoint's networks in `runs/NAME`; `teacher`: where its teacher is found.

    For the mean of several runs: their commands, which differ in the seed alone, and that of the mean, on one line.
    """
    loop, averaging = content["settings"]["loop"], MethodRecord.of(content["method"]).averaging
    if averaging is None:
        return one_fit(content, f"runs/{name}", teacher, loop["seed"])
    runs = {f"runs/{name}-seed{seed}": seed for seed in averaging.seeds}
    lines = [one_fit(content, run, teacher, seed) for run, seed in runs.items()]
    files, role = [f"{run}/checkpoint.pt" for run in runs], next(iter(content["nets"]))
    if averaging.ancestor:
        files.append(f"runs/{Path(averaging.ancestor).parent.name}/checkpoint.pt")
    return " && ".join([*lines, line("average", *files, "--role", role, "--run", f"runs/{name}")])


def one_fit(content: dict[str, Any], run: str, teacher: str, seed: int) -> str:
    """The command of a run with a seed."""
    method, settings = MethodRecord.of(content["method"]), content["settings"]
    stage = "kd" if method.stage == "assistant" else method.stage  # on its own, the assistant is a student by KD
    settings = settings | {"loop": settings["loop"] | {"seed": seed}, "data": with_banks_in_runs(settings["data"])}
    teachers = ["--teacher", teacher] if method.teachers else []
    return line("fit", stage, "--run", run, *roles(content, method), *teachers, *options(Config(), settings))


def with_banks_in_runs(data: dict[str, Any]) -> dict[str, Any]:
    """Settings of the data whose banks and scans lie where `synthesize` and `pack` above put them."""
    named, scans = data["bank"], data.get("scans")
    banks = [named] if isinstance(named, str) else named
    return data | {
        "bank": [f"runs/{Path(bank).name}" for bank in banks],
        "scans": f"runs/{Path(scans).name}" if scans else None,
    }


def roles(content: dict[str, Any], method: MethodRecord) -> list[str]:
    """Widths as options."""
    if method.stage == "teacher":
        return widths("teacher", content["networks"]["teacher"]["widths"])
    role = "assistant" if method.stage == "assistant" else "student"
    between = widths("assistant", method.teachers[-1]) if method.stage in ("takd", "dgkd") else []
    return widths("student", content["networks"][role]["widths"]) + between


def widths(role: str, values: Sequence[int]) -> list[str]:
    """The option with the widths of a role."""
    return [f"--{role}-widths", *map(str, values)]


def commands(cards: dict[str, dict[str, Any]], folders: Folders, committed: str | None = None) -> list[str]:
    """The commands that make all students again, in their order: banks, runs before, students, their cards.

    Each writes into one of the folders of its own, and reads what those before it wrote. committed: SHA-256 of the file
    of the teacher, which `keep` writes of its run.
    """
    lines: list[str] = []
    for name, card in cards.items():
        for part in reversed(list(runs(card["training"]))):
            for bank in part["banks"]:
                lines += [folders.placed(bank, command) for command in bank_commands(bank)]
            lines.append(folders.placed(part, part["command"]))
            if committed and part.get("sha256") == committed:
                lines.append(line("keep", f"{folders.of(part)}/checkpoint.pt"))
        lines += folders.exported(name, card)
    return list(dict.fromkeys([*lines, line("evaluate", "--bundled")]))


class Folders:
    """Folders for the runs, banks and scans of cards: many runs had one name, and none may lie in another's folder."""

    def __init__(self) -> None:
        self._of_command: dict[str, str] = {}
        self._of_weights: dict[str, str] = {}

    def of(self, part: dict[str, Any]) -> str:
        """The folder of a run, bank or packed scans, by the command that writes it."""
        command = part["command"]
        if command not in self._of_command:
            first = recorded_folder(part)
            names = itertools.chain([first], (f"{first}-{number}" for number in itertools.count(2)))
            self._of_command[command] = next(name for name in names if name not in self._of_command.values())
        return self._of_command[command]

    def placed(self, part: dict[str, Any], command: str) -> str:
        """A command of a part, with its own folder and those of what it reads."""
        if command != part["command"]:
            return command  # the labels that a bank takes in
        for bank in part.get("banks", []):
            command = with_words(command, f"{RUNS}/{bank['name']}", self.of(bank), "--bank", "--scans")
        if "start" in part:
            command = with_option(command, "--start", f"{self.of(part['start'])}/checkpoint.pt")
        if part.get("teacher"):
            command = with_option(command, "--teacher", f"{self.of_teacher(part['teacher'])}/checkpoint.pt")
        if part.get("weights_sha256"):
            self._of_weights[part["weights_sha256"]] = self.of(part)
        own = re.escape(recorded_folder(part))
        return re.sub(rf"(?<= ){own}(?=(-seed\d+(/\S*)?)?( |$))", self.of(part), command)

    def of_teacher(self, teacher: dict[str, Any]) -> str:
        """The folder of a teacher's run; one that no command makes is named by the digest of its weights."""
        if "run" in teacher:
            return self.of(teacher)
        digest = teacher.get("weights_sha256", "unknown")
        return self._of_weights.get(digest, f"{RUNS}/network-{digest[:SHOWN_DIGITS]}")

    def exported(self, name: str, card: dict[str, Any]) -> list[str]:
        """From a student's checkpoint to the extension."""
        folder, lines = self.of(card["training"]), export_commands(name, card)
        for before in (card["training"]["run"], *(model_folder(one) for one in card.get("commands", {}).values())):
            lines = [re.sub(rf"(?<= ){re.escape(before)}/", f"{folder}/", one) for one in lines]
        return lines


def recorded_folder(part: dict[str, Any]) -> str:
    """The folder that a run, a bank or packed scans have in their own command."""
    return str(part["run"]) if "run" in part else f"{RUNS}/{part['name']}"


def with_option(command: str, name: str, value: str) -> str:
    """A command with another value of an option that it has, wherever it has it."""
    return re.sub(rf"(?<= {name} )\S+", value, command)


def with_words(command: str, word: str, other: str, *names: str) -> str:
    """A command in which a word is another one among the values of some options."""
    words, current = [], ""
    for one in command.split(" "):
        current = one if one.startswith("--") else current
        words.append(other if one == word and current in names else one)
    return " ".join(words)


def model_folder(measured: dict[str, str]) -> str:
    """The folder of the student that `calibrate` or `stress` measured."""
    return str(Path(measured["command"].split(" ")[4]).parent)


def bank_commands(bank: dict[str, Any]) -> list[str]:
    """The command of a bank, after those of the labels which it took in and of the scans that it softened."""
    before = (bank.get("labels", {}).get("command"), bank.get("packed"))
    return [*filter(None, before), bank["command"]]


def export_commands(name: str, card: dict[str, Any]) -> list[str]:
    """From a student's checkpoint to the extension."""
    file = card["training"].get("checkpoint", "checkpoint.pt")
    shift = card["training"].get("logit_shift", 0.0)
    moved = ("--shift", str(shift)) if shift else ()
    words = ("export", f"{card['training']['run']}/{file}", "--name", name, *moved)
    measured = card.get("commands", {})
    if not measured:
        return [line(*words)]
    ablation = ("--ablation", ABLATION) if card.get("ablation") else ()
    given = ("--calibration", measured["calibrate"]["output"], "--stress", measured["stress"]["output"])
    return [line(*words), *(one["command"] for one in measured.values()), line(*words, *given, *ablation, "--install")]
