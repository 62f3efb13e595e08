"""Part of the shell: runs one task at a time on the worker thread and calls back on the main thread."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt

from ..core import threads
from ..core.worker import Worker

# Python threads run only while the main thread waits in Python, so the timer's slot waits this long for the worker
# and then lets the event loop have its turn.
POLL_SECONDS = 0.008


@dataclass(frozen=True, eq=False)
class WorkerTask:
    """work(progress, cancelled) runs on the worker thread; then, from the event loop, onDone(outcome) is called.

    exists(): whether what it is about is still there; if not, the work is dropped and onGone() called.
    quiet: not shown as a run: a person need not know of it.
    """

    work: Callable[..., Any]
    onDone: Callable[[Any], None]
    exists: Callable[[], bool] = lambda: True
    onGone: Callable[[], None] = lambda: None
    quiet: bool = False


class TaskRunner:
    """Runs the newest task. onWaiting() is called now and then while one runs that is not quiet, onIdle() then."""

    def __init__(self, onWaiting, onIdle):
        self._onWaiting, self._onIdle = onWaiting, onIdle
        self._worker = None
        self._started = 0.0
        self.task: WorkerTask | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._onTimer)

    @property
    def running(self) -> bool:
        """Whether a task is at work that a person waits for."""
        return self.task is not None and not self.task.quiet

    @property
    def waited(self) -> float:
        """Seconds since the running task was started."""
        return time.monotonic() - self._started

    @property
    def progress(self) -> tuple[float, str]:
        """(fraction, text) of the running work."""
        return self._worker.progress if self._worker else (0.0, "")

    def start(self, task: WorkerTask, sparing: bool = False) -> None:
        """Run a task instead of the present one. sparing: let the present work finish first, unheard."""
        self.task, self._started = task, time.monotonic()
        if self._worker is None:
            self._worker = Worker()
        self._worker.submit(task.work, sparing)
        self._timer.start()

    def stop(self, waitForThread: bool = False) -> None:
        """Drop the task, if there is one; with waitForThread also end all threads and wait for them."""
        self._timer.stop()
        self.task = None
        if self._worker is not None:
            self._worker.cancel()
            if waitForThread:
                self._worker.close()
                self._worker = None
        if waitForThread:
            threads.close()

    def _onTimer(self):
        if not self.task.exists():
            gone = self.task
            self.stop(waitForThread=True)
            gone.onGone()
            self._rest()
            return
        outcome = self._worker.poll(POLL_SECONDS)
        if outcome is not None:
            done, self.task = self.task, None
            self._timer.stop()
            try:
                done.onDone(outcome)
            finally:
                self._rest()
        elif self.running:
            self._onWaiting()

    def _rest(self) -> None:
        if self.task is None:
            self._onIdle()
