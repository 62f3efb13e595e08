"""Options written as the command line that gives them again.

Only what differs from the defaults is written, and no path of one machine: data lie below LIVERGTAN_DATA, results in
`runs/`, and what a user brings from elsewhere has its name alone.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import tempfile
from pathlib import Path
from typing import Any

from training.errors import UserError
from training.paths import ROOT, data_folder

PROGRAM = ("python", "-m", "training")
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
    "workers",
)
RESULTS = "runs"
BROUGHT = ("cases", "cts", "datasets", "validation")
"""Options whose paths are not results of the project."""
LONGEST_SHOWN = 200
"""Characters of a path in a message."""
ALWAYS = ("steps", "seed")  # written even where they are the default, because readers look for them


def command(name: str, given: Any) -> str:
    """The command line of a command's options, its positional argument, one or several words, first."""
    first, *others = dataclasses.fields(given)
    values = plain(dataclasses.asdict(given))
    words = [
        word
        for field in others
        if field.name not in ("output", "data") and values[field.name] != plain(field.default)
        for word in option(field.name.replace("_", "-"), values[field.name])
    ]
    positional = values[first.name] if isinstance(values[first.name], list) else [values[first.name]]
    return line(
        name, *(portable(str(word)) for word in positional), *words, "--output", portable_output(name, values["output"])
    )


def record(name: str, given: Any) -> dict[str, str]:
    """What a result holds of the command that wrote it: its line, and the file that it writes."""
    return {"command": command(name, given), "output": portable_output(name, str(given.output))}


def portable_output(name: str, output: str) -> str:
    """Where a command writes, without the folders of one machine: a file that lies elsewhere in a folder of this
    command, because another command's may have the same name."""
    return portable_path(output, f"{RESULTS}/{name}/" if Path(output).suffix else f"{RESULTS}/")


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
    """A value in JSON's types, as records hold settings."""
    return json.loads(json.dumps(value, default=str))


def option(name: str, value: Any) -> list[str]:
    """The words of one option."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    elsewhere = "" if name in BROUGHT else f"{RESULTS}/"
    return [f"--{name}", *(portable(str(one), elsewhere) for one in (value if isinstance(value, list) else [value]))]


def portable(text: str, elsewhere: str = f"{RESULTS}/") -> str:
    """Every path in a value, as in CT=MASK:LABEL, without the folders of one machine; see `portable_path`."""
    halves = [part.partition(":") for part in text.split("=")]
    return "=".join(portable_path(path, elsewhere) + colon + label for path, colon, label in halves)


def portable_path(text: str, elsewhere: str) -> str:
    """One path as below the data folder, the repository, or a folder of results; else its name after `elsewhere`.

    Anything that is not absolute stays.
    """
    path = Path(text)
    if not path.is_absolute():
        return text
    for folder in (data_folder(), ROOT):
        for place, top in ((path, folder), (path.resolve(), folder.resolve())):
            if place.is_relative_to(top):
                return str(place.relative_to(top))
    if RESULTS in path.parts:
        last = len(path.parts) - 1 - path.parts[::-1].index(RESULTS)
        return str(Path(*path.parts[last:]))
    return elsewhere + path.name


def line(*words: str) -> str:
    """A command line that a shell reads back."""
    return shlex.join([*PROGRAM, *words])


def require_suffix(output: Path, suffix: str) -> None:
    """Raises UserError for an output that is not a plain file of this kind, which would overwrite an input, and for one
    that cannot be written: that is known before any work is done."""
    try:
        if output.suffix != suffix or (output.exists() and not output.is_file()):
            raise UserError(
                f"{output} cannot be the output: name a file {suffix}, so that nothing else is overwritten."
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise UserError(
            f"{str(output)[:LONGEST_SHOWN]} cannot be the output ({error.strerror}); name another file {suffix}."
        ) from error
