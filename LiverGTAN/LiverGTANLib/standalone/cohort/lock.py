"""One run at a time writes into an output folder."""

import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from ...core.files import brief
from ...core.volume import InputError

logger = logging.getLogger(__name__)

NAME = ".lock"
LONGEST_OWNER = 200

IN_USE = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What systems answer when another process holds a lock (fcntl(2); msvcrt: EACCES, and EDEADLK after ten tries)."""

LOCKED_BYTE = 2**30
"""Far behind the text, which Windows would keep others from reading."""


@contextlib.contextmanager
def locked(folder: Path, place: Path) -> Iterator[None]:
    """Within this block no other run writes into `folder`; place: an existing folder for the file of the lock.

    The system holds the lock, also between computers that share a disk, and gives it up when the process ends, however
    it ends; the file stays. Raises InputError when another run has it, and OSError when the file cannot be written. A
    disk without locks is logged.
    """
    with (place / NAME).open("a+b") as stream:
        try:
            _lock(stream.fileno())
        except OSError as error:
            if error.errno in IN_USE:
                stream.seek(0)
                owner = brief(stream.read(LONGEST_OWNER).decode("utf-8", "replace"))
                raise InputError(
                    f"Another run writes into {folder} ({owner or 'of an unknown process'}); wait until it ends, or "
                    "give another folder."
                ) from error
            logger.warning("%s has no locks (%s): see to it that no other run writes there.", folder, error)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        stream.flush()
        yield


def _lock(descriptor: int) -> None:
    """Until it is closed. A child process does not inherit it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
