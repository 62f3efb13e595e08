"""The runs that led to a student, from its card: its own, those that it began from, and its teacher's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from training.errors import UserError
from training.evaluation.card_parts import whole


def runs(training: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The training part of a card of a run, of its start, its teacher and those of its soft labels, and of theirs; some
    come several times.

    A teacher of which only the widths are known is left out.
    """
    yield training
    softened = [one for bank in training.get("banks", []) for one in bank.get("soft_labels", {}).get("teachers", [])]
    for before in (*(training.get(role, {}) for role in ("start", "teacher")), *softened):
        if "data" in before:
            yield from runs(before)


def entries(training: dict[str, Any]) -> Iterator[dict[str, str]]:
    """What the runs say of each scan and tissue map that they were trained on, see `runs`; some come several times."""
    for part in runs(training):
        yield from part.get("data", [])


def sources(card: dict[str, Any]) -> set[str]:
    """The names of all scans and tissue maps that the runs on a card, as its file holds it, were trained on."""
    return {entry["name"] for entry in entries(whole(card).get("training", {}))}


def refuse_if_trained_on(cases: Iterable[str], card: dict[str, Any]) -> None:
    """Raises UserError when a case, by name, is among what the student of the card was trained on."""
    trained = sources(card) & set(cases)
    if trained:
        raise UserError(f"{', '.join(sorted(trained))} was trained on; evaluate on other cases.")
