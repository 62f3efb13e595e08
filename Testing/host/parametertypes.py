"""How a parameter of each type is kept in a `vtkMRMLScriptedModuleNode`, and what its annotations allow.

The form is Slicer's: numbers, texts and truth values as text, an enum by its name, a node as a node reference of
the parameter's name, an optional node with `_0` appended. Limited to these types.
"""

from __future__ import annotations

import dataclasses
import enum
import typing

import slicer


@dataclasses.dataclass(frozen=True)
class Default:
    value: typing.Any


@dataclasses.dataclass(frozen=True)
class Decimals:
    value: int


@dataclasses.dataclass(frozen=True)
class SingleStep:
    value: float


@dataclasses.dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


@dataclasses.dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is less than {self.minimum}")


@dataclasses.dataclass(frozen=True)
class Maximum:
    maximum: float

    def validate(self, value) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is greater than {self.maximum}")


@dataclasses.dataclass(frozen=True)
class Choice:
    choices: typing.Sequence

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {list(self.choices)}")


@dataclasses.dataclass(frozen=True)
class TextStorage:
    """A value as the text of a parameter."""

    kind: type
    accepted: tuple
    default: typing.Any
    fromText: typing.Callable
    toText: typing.Callable

    def isIn(self, node, name: str) -> bool:
        return node.HasParameter(name)

    def read(self, node, name: str):
        return self.fromText(node.GetParameter(name))

    def write(self, node, name: str, value) -> None:
        if not isinstance(value, self.accepted):
            raise TypeError(f"{name} takes {self.kind.__name__}, not {value!r}")
        node.SetParameter(name, self.toText(value))


@dataclasses.dataclass(frozen=True)
class NodeStorage:
    """A node (or None) as a node reference; an empty parameter of the same name says that it was set."""

    kind: type
    suffix: str = ""
    default = None

    def isIn(self, node, name: str) -> bool:
        return node.HasParameter(name + self.suffix)

    def read(self, node, name: str):
        return node.GetNodeReference(name + self.suffix)

    def write(self, node, name: str, value) -> None:
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"{name} takes {self.kind.__name__} or None, not {value!r}")
        node.SetParameter(name + self.suffix, "")
        node.SetNodeReferenceID(name + self.suffix, value.GetID() if value else None)


Storage = TextStorage | NodeStorage
_TEXTS = {
    str: TextStorage(str, (str,), "", str, str),
    int: TextStorage(int, (int,), 0, int, str),
    float: TextStorage(float, (int, float), 0.0, float, str),
    bool: TextStorage(bool, (bool,), False, lambda text: text == "True", str),
}


def storageFor(kind) -> Storage:
    """-> how values of `kind` are kept; TypeError for a type that the host does not know.

    `X | None` is refused as by Slicer up to 5.12, which knows `Optional[X]` alone.
    """
    alternatives = typing.get_args(kind) if typing.get_origin(kind) is typing.Union else ()
    if len(alternatives) == 2 and _isNode(alternatives[0]) and alternatives[1] is type(None):
        return NodeStorage(alternatives[0], suffix="_0")
    if kind in _TEXTS:
        return _TEXTS[kind]
    if _isNode(kind):
        return NodeStorage(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return TextStorage(kind, (kind,), next(iter(kind)), kind.__getitem__, lambda value: value.name)
    raise TypeError(f"The host keeps no parameter of type {kind}")


def _isNode(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)
