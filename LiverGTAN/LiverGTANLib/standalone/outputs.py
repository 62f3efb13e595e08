"""Where results may go: checked before anything is computed, so that nothing is lost."""

import os
from collections.abc import Iterable
from pathlib import Path

from ..core.volume import InputError


def require_writable(outputs: Iterable[Path | None], inputs: Iterable[Path]) -> None:
    """Raise InputError when an output is no ordinary file, is an input, or the place of two outputs."""
    inputs = list(inputs)
    places: dict[str, Path] = {}
    for output in outputs:
        if output is None:
            continue
        if output.exists() and not output.is_file():
            raise InputError(f"{output} is a folder or a device, not a file; give the name of a file.")
        place = os.path.normcase(output.resolve()).casefold()
        if place in places:
            raise InputError(f"{places[place]} and {output} are one file; give each output a name of its own.")
        places[place] = output
        if any(_same(output, path) for path in inputs):
            raise InputError(f"{output} is an input; it would be overwritten: give the output another name.")


def _same(output: Path, path: Path) -> bool:
    try:
        return output.samefile(path)
    except OSError:  # one of them is not there
        return output.resolve() == path.resolve()
