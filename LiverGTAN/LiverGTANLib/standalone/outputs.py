"""Where results may go: checked before anything is computed, so that nothing is lost."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from ..core.files import real_path
from ..core.volume import InputError


def require_writable(outputs: Iterable[Path | None], inputs: Iterable[Path]) -> None:
    """Raise InputError when an output is no ordinary file, is an input, or the place of two outputs."""
    inputs = list(inputs)
    places: dict[str, Path] = {}
    for output in outputs:
        if output is None:
            continue
        _require_no_circle(output)
        if output.exists() and not output.is_file():
            raise InputError(f"{output} is a folder or a device, not a file; give the name of a file.")
        place = os.path.normcase(real_path(output)).casefold()
        if place in places:
            raise InputError(f"{places[place]} and {output} are one file; give each output a name of its own.")
        places[place] = output
        if any(_same(output, path) for path in inputs):
            raise InputError(f"{output} is an input; it would be overwritten: give the output another name.")


def _require_no_circle(path: Path) -> None:
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(f"{path} is a link that leads to itself; give another name.") from error


def _same(output: Path, path: Path) -> bool:
    try:
        return output.samefile(path)
    except OSError:  # one of them is not there
        return real_path(output) == real_path(path)
