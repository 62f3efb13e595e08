"""The runs behind the students as tables of the model card: each once and numbered, so that one points at another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from training.evaluation.markdown import markdown_table
from training.evaluation.training_history import runs
from training.fit.run_record import MethodRecord
from training.release.provenance import NOT_RECORDED
from training.release.reproduce import RUNS, SHOWN_DIGITS, Folders

Part = dict[str, Any]
UNKNOWN = "-"
"""In a cell: there is none, or it was not recorded."""


def unique_runs(training: Part) -> list[Part]:
    """A run, those that it began from and those of its teachers, each once, the earliest first."""
    found: dict[str, Part] = {}
    for part in reversed(list(runs(training))):  # of a teacher the cards know more than of the same run as a start
        found[part["command"]] = found.get(part["command"], {}) | part
    return list(found.values())


class RunHistory:
    """All runs of all cards.

    folders: name them as the commands on the card do, which are written before. committed: SHA-256 of the file of the
    teacher that is in the repository.
    """

    def __init__(self, cards: dict[str, Part], folders: Folders, committed: str | None) -> None:
        self._cards, self._folders, self._committed = cards, folders, committed
        parts = {one["command"]: one for card in cards.values() for one in unique_runs(card["training"])}
        self._parts = list(parts.values())
        self._numbers = {folders.of(part): number for number, part in enumerate(self._parts, 1)}

    def banks(self) -> dict[str, Part]:
        """Name of its folder -> each bank, as the runs used them one after another."""
        used = [bank for part in self._parts for bank in part["banks"]]
        return {self._folders.of(bank).removeprefix(f"{RUNS}/"): bank for bank in used}

    def methods(self) -> str:
        """The table of how each run learned, and from what."""
        head = ["Run", "Folder", "Learns from", "Begins as", "Teacher", "Updates", "Batch", "Seeds"]
        return self._table(head, self._method_row, text_columns=5)

    def origins(self) -> str:
        """The table of what each run was made with."""
        head = ["Run", "Volumes", "Code", "Weights", "Wall min", "CPU min"]
        return self._table(head, self._origin_row, text_columns=4)

    def notes(self) -> Iterator[str]:
        """What the tables have no room for, by run."""
        for part in self._parts:
            method = MethodRecord.of(part["method"])
            if "file" in part:
                here = part["sha256"] == self._committed
                yield (
                    f"Run {self._number(part)}: its network {'is' if here else 'was in an earlier commit'} "
                    f"`{part['file']}`{'' if here else ', where another lies today'}; SHA-256 `{part['sha256']}`."
                )
            if method.growth or method.averaging or method.stage in ("takd", "dgkd"):
                yield f"Run {self._number(part)}: {method.sentence}."
            if part["teacher"] and self._folders.of_teacher(part["teacher"]) not in self._numbers:
                widths = "-".join(map(str, part["teacher"]["widths"]))
                yield f"Run {self._number(part)}: of its teacher, of widths {widths}, only the digest is known."
            if "chosen_by" in part:
                of_steps, dice = part["chosen_by"]["of_steps"], part["chosen_by"]["validation_dice"]
                yield f"Run {self._number(part)}: the best step of {of_steps:,} by validation (mean Dice {dice:.4f})."

    def chains(self) -> Iterator[str]:
        """Of each student the runs one after another, and what all that it rests on took."""
        for name, card in self._cards.items():
            chain = [self._number(part) for part in reversed(list(own_runs(card["training"])))]
            yield f"{name}: {' -> '.join(map(str, chain))}. {self._compute(card['training'])}."

    def _table(self, head: list[str], row: Callable[[Part], list[str]], text_columns: int) -> str:
        return markdown_table(head, [[str(self._number(part)), *row(part)] for part in self._parts], text_columns)

    def _method_row(self, part: Part) -> list[str]:
        start = str(self._number(part["start"])) if "start" in part else "random weights"
        return [
            self._folders.of(part).removeprefix(f"{RUNS}/"),
            short_method(MethodRecord.of(part["method"])),
            start,
            self._teacher(part["teacher"]) if part["teacher"] else UNKNOWN,
            f"{part['steps']:,}",
            str(part["batch"]),
            ", ".join(map(str, part["seeds"])),
        ]

    def _origin_row(self, part: Part) -> list[str]:
        banks = [self._folders.of(bank).removeprefix(f"{RUNS}/") for bank in part["banks"]]
        minutes = part["minutes"] or {}
        return [
            ", ".join(banks),
            part["code"],
            part.get("weights_sha256", UNKNOWN)[:SHOWN_DIGITS],
            *(f"{minutes[kind]:.1f}" if kind in minutes else UNKNOWN for kind in ("wall", "cpu")),
        ]

    def _number(self, part: Part) -> int:
        return self._numbers[self._folders.of(part)]

    def _teacher(self, teacher: Part) -> str:
        folder = self._folders.of_teacher(teacher)
        return str(self._numbers.get(folder, folder.removeprefix(f"{RUNS}/")))

    def _compute(self, training: Part) -> str:
        """Minutes of all that had to be trained, and what is not among them."""
        parts = unique_runs(training)
        known = [part["minutes"] for part in parts if part["minutes"]]
        absent = [f"run {self._number(part)} ({NOT_RECORDED})" for part in parts if not part["minutes"]]
        absent += [
            f"the teacher of run {self._number(part)}"
            for part in parts
            if part["teacher"] and "minutes" not in part["teacher"]
        ]
        wall, cpu = (sum(one[kind] for one in known) for kind in ("wall", "cpu"))
        without = f", without {', '.join(absent)}" if absent else ""
        return f"With all teachers' runs {wall:.1f} min wall, {cpu:.1f} min CPU{without}"


def own_runs(training: Part) -> Iterator[Part]:
    """The last run, the one that it began from, and so on."""
    yield training
    if "start" in training:
        yield from own_runs(training["start"])


def short_method(method: MethodRecord) -> str:
    """A method in a word or two: what a run learned from besides its volumes."""
    if method.loss is None:
        return "labels"
    name = "KD" if method.stage == "assistant" else method.stage.upper()
    return f"{name} ({method.loss})" + (", mean" if method.averaging else "")
