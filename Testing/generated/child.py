"""The child of `python -m generated`: KIND SEED FIRST COUNT; a line of JSON, (outcome, text), for each input."""

import faulthandler
import json
import logging
import os
import resource
import sys
import tempfile
import traceback
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np

from . import __main__ as parent
from .outcome import Kind, Wrong

KINDS = {
    "images, whole": "images:whole",
    "images, damaged": "images:broken",
    "DICOM, whole": "dicom:whole",
    "DICOM, odd attributes": "dicom:odd_attributes",
    "DICOM, damaged bytes": "dicom:damaged_bytes",
    "student cards": "students:cards",
    "student archives": "students:archives",
    "checkpoints": "training:checkpoints",
    "single networks": "training:networks",
    "settings": "training:settings",
    "training command lines": "training:command_lines",
    "command lines": "command_lines:options",
    "faults": "command_lines:faults",
}
assert list(KINDS) == list(parent.SHARES)

MEMORY = 2**30
"""Bytes that inputs may take beyond what the program takes before the first one."""
LARGEST_FILE = 2**28


def main(kind: str, seed: int, first: int, count: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the program prints is no answer
    faulthandler.enable()
    logging.disable()
    warnings.simplefilter("ignore")
    module, _, name = KINDS[kind].partition(":")
    give: Kind = getattr(import_module(f"generated.{module}"), name)
    for number in range(first, first + count):
        if number == first + 1:  # what is loaded at first use is loaded
            limit()
        place = list(KINDS).index(kind)
        with tempfile.TemporaryDirectory(prefix="generated-") as folder:
            answer = outcome(give, np.random.default_rng([seed, place, number]), Path(folder))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def outcome(give: Kind, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
    try:
        return give(rng, folder), ""
    except Wrong as wrong:
        return "wrong", str(wrong)
    except BaseException:  # whatever else comes out would be shown to a user as a traceback
        return "traceback", traceback.format_exc()[-3000:]


def limit() -> None:
    with open("/proc/self/statm") as stream:
        now = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    main(kind, *map(int, numbers))
