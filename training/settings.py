"""Options as TOML text, read over their defaults."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import tomllib

from training.errors import UserError

Settings = TypeVar("Settings")


def from_toml(defaults: Settings, path: Path) -> Settings:
    """The settings with the values of a TOML file over them.

    Raises UserError for an unreadable file or an unknown key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"The configuration {path} cannot be read ({error}); give a valid TOML file.") from error
    return over(defaults, values, str(path))


def over(defaults: Settings, values: dict[str, Any], origin: str) -> Settings:
    """`defaults` with nested `values` put over it; `origin` names them in messages."""
    known = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(defaults)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"{origin}: unknown setting {', '.join(unknown)}; known here are {', '.join(known)}.")
    return dataclasses.replace(defaults, **{k: adapt(known[k], v, f"{origin}: {k}") for k, v in values.items()})


def adapt(default: Any, value: Any, origin: str) -> Any:
    """A TOML value in the type of the default that it replaces."""
    if dataclasses.is_dataclass(default):
        return over(default, value, origin)
    if isinstance(value, list):
        paths = isinstance(default, tuple) and any(isinstance(one, Path) for one in default)
        return tuple(Path(v) if paths else tuple(v) if isinstance(v, list) else v for v in value)
    return Path(value) if isinstance(default, Path) else value


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
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
