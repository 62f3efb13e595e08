"""Options from TOML or JSON, structured by their type annotations over the defaults, and written as TOML."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import cattrs
import tomllib
from cattrs.errors import CattrsError

from LiverGTANLib.core.files import read_bytes
from training.errors import UserError, reason

LARGEST_FILE, MOST_DOTS = 2**20, 20_000
"""Of a TOML file; all settings of a command take 3 KB, and a thousand cases 200 KB. A key of very many dots takes
quadratic time, with this many about a second."""

Settings = TypeVar("Settings", bound=Any)


def from_toml(defaults: Settings, path: Path) -> Settings:
    """The settings with the values of a TOML file over them.

    Raises UserError for an unreadable file, an unknown key, or a value of the wrong type.
    """
    try:
        text = read_bytes(path, LARGEST_FILE).decode("utf-8")
        if text.count(".") > MOST_DOTS:
            raise ValueError(f"more than {MOST_DOTS:,} dots")
        values = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # ValueError also for a number of thousands of digits
        raise UserError(
            f"The configuration {path} cannot be read ({reason(error)}); give a valid TOML file."
        ) from error
    return over(defaults, values, str(path))


def over(defaults: Settings, values: dict[str, Any], origin: str, prefix: str = "") -> Settings:
    """`defaults` with nested `values` put over it, each in the type that the field declares.

    origin: where the values come from, for messages; prefix: what stands before the keys there ("loop.").
    Raises UserError for an unknown key or a value of the wrong type.
    """
    hints = get_type_hints(type(defaults))
    known = [field.name for field in dataclasses.fields(defaults)]
    unknown = [prefix + name for name in sorted(set(values) - set(known))]
    if unknown:
        raise UserError(f"{origin}: unknown setting {', '.join(unknown)}; known here are {', '.join(known)}.")
    found: dict[str, Any] = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            found[name] = over(getattr(defaults, name), value, origin, f"{prefix}{name}.")
        else:
            found[name] = structured(hints[name], value, f"{origin}: {prefix}{name}")
    try:
        return dataclasses.replace(defaults, **found)
    except ValueError as error:  # what the settings themselves refuse
        raise UserError(f"{origin}: {error}") from error


def structured(kind: Any, value: Any, origin: str) -> Any:
    """One value in the type that its field declares. Raises UserError when it does not fit."""
    try:
        if dataclasses.is_dataclass(kind):
            raise TypeError("Only a table holds settings.")
        if get_origin(kind) is tuple and not isinstance(value, (list, tuple)):
            raise TypeError("A text is not a list of its characters.")
        return CONVERTER.structure(value, kind)
    except (TypeError, ValueError, AttributeError, CattrsError) as error:
        raise UserError(f"{origin} must be {in_words(kind)}, not {shown(value)}.") from error


WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path (a text)"}
PLURALS = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths (texts)"}
LONGEST_SHOWN = 60
"""Characters of a wrong value in a message."""


def in_words(kind: Any) -> str:
    """What a setting of this type takes, for the user: "a list of 3 whole numbers"."""
    arguments = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if get_origin(kind) is tuple:
        count = "" if Ellipsis in arguments else f"{len(arguments)} "
        return f"a list of {count}{PLURALS.get(arguments[0], 'texts')}"
    if get_origin(kind) is dict:
        return f"a table of {PLURALS.get(arguments[1], 'values')}"
    if dataclasses.is_dataclass(kind):
        return "a table with settings, under one heading in single brackets"
    return WORDS[kind] if kind in WORDS else " or ".join(map(in_words, arguments))


def shown(value: Any) -> str:
    """A wrong value as TOML writes it, cut where it is long."""
    text = literal(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def changes(old: dict[str, Any], new: dict[str, Any], ignored: tuple[str, ...] = ()) -> list[str]:
    """What two tables of facts differ in, as "name: before -> now"; without the names to be ignored."""
    return [
        f"{name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name) and name not in ignored
    ]


def to_toml(settings: Any) -> str:
    """The settings as TOML text that `from_toml` reads back; None is left out."""
    plain, tables = [], []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            tables.append((item.name, value))
        elif value is not None:
            plain.append(f"{item.name} = {literal(value)}")
    return "\n".join(plain + [indent(name, to_toml(value)) for name, value in tables]) + "\n"


def indent(name: str, text: str) -> str:
    """A sub-table's text below the table `name`."""
    return f"\n[{name}]\n" + text.replace("\n[", f"\n[{name}.")


def literal(value: Any) -> str:
    """One TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)} = {literal(one)}" for key, one in value.items()) + "}"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


LARGEST_NUMBER = 2**63 - 1
"""Of a whole number, which may stand where a float is expected."""


def _strict(kind: type, *accepted: type) -> None:
    """Takes values of these types alone: by itself cattrs would turn "3" into 3 and 1.5 into 1."""

    def hook(value: Any, _: type) -> Any:
        if type(value) not in accepted:
            raise TypeError(f"{value!r} is not of the type {kind.__name__}.")
        if type(value) is int and abs(value) > LARGEST_NUMBER:
            raise ValueError("a number that large is not taken.")
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{value!r} is not finite.")
        return kind(value)

    CONVERTER.register_structure_hook(kind, hook)


CONVERTER = cattrs.Converter(detailed_validation=False, forbid_extra_keys=True)
for _kind, _accepted in ((bool, (bool,)), (int, (int,)), (float, (float, int)), (str, (str,)), (Path, (str,))):
    _strict(_kind, *_accepted)
