"""Exit status of a command-line program whose output may go to one that ends early, such as `head`."""

import os
import sys
from collections.abc import Callable
from typing import TextIO

BROKEN_PIPE = 141
"""128 + 13 (SIGPIPE): what shells give a program that wrote to a pipe which nobody reads any more."""


def exit_status(program: Callable[[], int]) -> int:
    """The status that `program` returns; 141, without a word, when nobody reads what it prints.

    Raises what it raises, a BrokenPipeError of a pipe other than its own output too.
    """
    try:
        try:
            return program()
        finally:  # help ends with SystemExit, and what is short is written only now
            _flush()
    except BrokenPipeError:
        if not _discard_unread_output():
            raise
        return BROKEN_PIPE


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _discard_unread_output() -> bool:
    """Whether standard output or errors is a pipe that nobody reads; Python may then write the rest as it ends.

    After docs.python.org/3/library/signal.html#note-on-sigpipe.
    """
    unread = [stream for stream in (sys.stdout, sys.stderr) if _is_unread(stream)]
    if not unread and _is_unread(sys.stdout, "\n"):  # unbuffered: nothing was left to flush
        unread = [sys.stdout]
    for stream in unread:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(unread)


def _is_unread(stream: TextIO, probe: str = "") -> bool:
    try:
        stream.write(probe)
        stream.flush()
    except BrokenPipeError:
        return True
    return False
