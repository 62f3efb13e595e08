"""Which functions of the extension are called, on which thread ever, without changing one of them.

Python's own profiling hook sees every call. It is set on threads as they start, so a recorder is made before the
threads that it is to watch.
"""

import inspect
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from LiverGTANLib.core import threads

EXTENSION = Path(__file__).resolve().parents[2] / "LiverGTAN"


class CallRecorder:
    """Between `start` and `stop`: `calls` counts calls by code object, `files` names the extension's files."""

    def __init__(self):
        self.calls: Counter = Counter()
        self._watched: dict = {}
        self._active = False

    def start(self) -> None:
        self.calls.clear()
        self._active = True
        sys.setprofile(self._onEvent)

    def stop(self) -> None:
        self._active = False
        sys.setprofile(None)

    @contextmanager
    def recording(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.stop()

    def watch(self, function: Callable, onCall: Callable) -> None:
        """Call onCall(local variables, caller's frame) whenever the function is entered."""
        self._watched[inspect.unwrap(function).__code__] = onCall

    def count(self, function: Callable) -> int:
        return self.calls[inspect.unwrap(function).__code__]

    @property
    def functions(self) -> set:
        """Code objects of the extension's functions that were called; what runs at import is none."""
        return {
            code
            for code in list(self.calls)
            if code.co_flags & inspect.CO_OPTIMIZED and Path(code.co_filename).is_relative_to(EXTENSION)
        }

    @property
    def files(self) -> list[str]:
        return sorted({Path(code.co_filename).relative_to(EXTENSION).as_posix() for code in self.functions})

    def _onEvent(self, frame, event, argument) -> None:
        if event == "call" and self._active:
            onCall = self._watched.get(frame.f_code)
            if onCall is not None:
                onCall(frame.f_locals, frame.f_back)
            self.calls[frame.f_code] += 1


@pytest.fixture
def recorder():
    """To be asked for before the panel, so that the panel's threads are seen too."""
    threads.close()  # the pool of an earlier test
    found = CallRecorder()
    threading.setprofile(found._onEvent)
    yield found
    found.stop()
    threading.setprofile(None)
