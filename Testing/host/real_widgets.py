"""What the widgets of the real Slicer have, and the refusal of everything else.

`real_widgets.json` lists properties, signals and slots, read off live widgets of the versions it names, and the
methods that their headers mark as callable (Q_INVOKABLE). For Qt classes that it does not list, PySide6 decides.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from pathlib import Path

_NO_WIDGETS = {"QAction", "QShortcut"}

refused: list[str] = []
"""What was asked for since the host opened and is not in Slicer; an error even when its exception was caught."""


class NotInSlicer(AttributeError):
    """The real Slicer has no such property, signal or slot; there, at most a warning is printed."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """Signals and slots as normalized C++ signatures, the others as names."""

    className: str
    properties: frozenset[str]
    signals: frozenset[str]
    slots: frozenset[str]
    invokables: frozenset[str]

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Everything that is an attribute in Python."""
        signatures = {signature.partition("(")[0] for signature in self.signals | self.slots}
        return frozenset(signatures | self.properties | self.invokables)

    def require(self, kind: str, name: str) -> None:
        """Refuse what is not among the `kind` ("properties", "signals", "slots") of the class."""
        known = getattr(self, kind)
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"; it has {', '.join(close)}" if close else ""
            refuse(f"{self.className} has no {name} among its {kind}{hint}")


def refuse(message: str) -> None:
    refused.append(message)
    raise NotInSlicer(message)


@functools.cache
def _allFacts() -> dict[str, Facts]:
    listed = json.loads(Path(__file__).with_name("real_widgets.json").read_text(encoding="utf-8"))["widgets"]
    facts = {}
    for className, own in listed.items():
        inherited = {} if className in _NO_WIDGETS else listed["QWidget"]
        kinds = ("properties", "signals", "slots", "invokables")
        facts[className] = Facts(
            className, *(frozenset(own.get(k, [])) | frozenset(inherited.get(k, [])) for k in kinds)
        )
    return facts


@functools.cache
def factsOf(cls: type) -> Facts | None:
    """-> what the real class has, or the nearest listed one that a Python class derives from."""
    name = cls.__name__
    if name in _allFacts():
        return _allFacts()[name]
    ofCpp = cls.__module__.startswith("PySide6") or "_native" in cls.__dict__
    return None if ofCpp else next(filter(None, map(factsOf, cls.__bases__)), None)
