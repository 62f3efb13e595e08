"""One task at a time on the worker thread, with callbacks on the main thread: runs the user waits for, and background
tasks beside them. And how the user is told that something, there or here, could not be done.
"""

import logging
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import qt
import slicer

from ..core import threads
from ..core.worker import Work, Worker
from ..mrml.refusal import isRefusal, logFailure
from ..mrml.session import SegmentationRequest

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.008
"""Python threads run only while the main thread waits in Python, so the timer's slot waits this long for the worker and
then lets the event loop have its turn: half of a frame at 60 Hz."""


@contextmanager
def explained(message: str, waitCursor: bool = False) -> Iterator[None]:
    """Show an error of this block to the user, after which goes on what stands behind the block.

    message: what could not be done. Slicer logs what it shows. An error that is no refusal is raised again, so that
    the application logs its traceback too.
    """
    refusal = None
    with slicer.util.tryWithErrorDisplay(message, waitCursor=waitCursor):
        try:
            yield
        except Exception as error:
            if not isRefusal(error):
                raise
            refusal = error
    if refusal is not None:
        slicer.util.errorDisplay(f"{message}\n\n{refusal}")


def showFailure(error: BaseException, message: str, refresh: Callable[[], None]) -> None:
    """Show and log why work on the worker thread failed, then call refresh(), whatever becomes of that.

    message: what could not be done, for the user.
    """
    try:
        with explained(message):
            raise error
    finally:
        refresh()


def _ignore(*_) -> None:
    pass


@dataclass(frozen=True, eq=False)
class WorkerTask:
    """work(progress, cancelled) runs on the worker thread; then the event loop calls onDone(value) or onFailed(error).

    exists(): whether the nodes it is about are still there; if not, the work is dropped and onGone() called.
    background: name of a task that the user does not wait for; its errors are logged. analysisKey: of the analysis that
    the work leaves in the cache; a task that is started with the same key lets it finish first.
    """

    work: Work
    onDone: Callable[[Any], None] = _ignore
    onFailed: Callable[[BaseException], None] = _ignore
    exists: Callable[[], bool] = lambda: True
    onGone: Callable[[], None] = _ignore
    background: str = ""
    analysisKey: Hashable = None


class TaskRunner:
    """Runs the newest task.

    onProgress() is called now and then while a task runs that the user waits for. onIdle() is called when no task is
    left, onReplaced(name) when another task takes the place of a background task; `BackgroundTasks` sets them.
    """

    _working: ClassVar[set["TaskRunner"]] = set()
    """Those that have a thread, for which numpy's threads are left."""

    def __init__(self, onProgress: Callable[[], None]):
        self._onProgress = onProgress
        self.onIdle: Callable[[], None] = _ignore
        self.onReplaced: Callable[[str], None] = _ignore
        self._worker: Worker | None = None
        self._started = 0.0
        self.task: WorkerTask | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)

    @property
    def running(self) -> bool:
        """Whether a task is running that the user waits for."""
        return self.task is not None and not self.task.background

    @property
    def waited(self) -> float:
        """Seconds since the running task was started."""
        return time.monotonic() - self._started

    @property
    def progress(self) -> tuple[float, str]:
        """(fraction, text) of the running work."""
        return self._worker.progress if self._worker else (0.0, "")

    def start(self, task: WorkerTask) -> None:
        """Run a task in place of the present one."""
        if self.task is not None and self.task.background:
            self.onReplaced(self.task.background)
        finishRunning = self.task is not None and self.task.analysisKey == task.analysisKey is not None
        self.task, self._started = task, time.monotonic()
        if self._worker is None:
            self._worker = Worker()
            self._working.add(self)
            self._timer.connect("timeout()", self._onTimer)  # until `close`, as it would keep the runner alive
        self._worker.submit(task.work, finishRunning)
        self._timer.start()

    def stop(self) -> None:
        """Drop the task, if there is one; its work is asked to stop."""
        self._timer.stop()
        self.task = None
        if self._worker is not None:
            self._worker.cancel()
        self.onIdle()

    def close(self) -> None:
        """Drop the task, end all threads and wait for them; the next task starts new ones."""
        self._timer.stop()
        self.task = None
        worker, self._worker = self._worker, None
        if worker is not None:
            self._timer.disconnect("timeout()", self._onTimer)
            if not worker.close():
                logger.error("The worker thread did not stop in time; it ends with the work that it has begun.")
        self._working.discard(self)
        if not self._working:
            threads.close()

    def _onTimer(self) -> None:
        if not self.task.exists():
            removed = self.task
            self.close()
            removed.onGone()
            self._checkIdle()
            return
        outcome = self._worker.poll(POLL_SECONDS)
        if outcome is not None:
            self._finish(outcome)
        elif self.running:
            self._onProgress()

    def _finish(self, outcome) -> None:
        done, self.task = self.task, None
        self._timer.stop()
        try:
            if outcome.error is None:
                done.onDone(outcome.value)
                return
            if done.background:
                logFailure(logger, f"The background task '{done.background}' failed.", outcome.error)
            done.onFailed(outcome.error)
        finally:
            self._checkIdle()

    def _checkIdle(self) -> None:
        if self.task is None:
            self.onIdle()


@dataclass(frozen=True)
class BackgroundTaskKind:
    """prepare() -> the request, None when there is nothing to do (any more). work(request): what runs on the worker.

    onDone(request, value) and onFailed(request, error) are called on the main thread. analyzes: whether the work is
    the analysis itself, which other tasks then let finish. yields: whether it is stopped for a kind that is given
    before it, and begun again afterwards.
    """

    prepare: Callable[[], SegmentationRequest | None]
    work: Callable[[SegmentationRequest], Work]
    onDone: Callable[[SegmentationRequest, Any], None] = _ignore
    onFailed: Callable[[SegmentationRequest, BaseException], None] = _ignore
    analyzes: bool = False
    yields: bool = False


class BackgroundTasks:
    """Small tasks beside the runs that the user starts: one at a time, and nothing queues.

    Each kind is pending or not. What exactly is to be done is asked when its turn comes, so that only the newest state
    is ever worked on. Pending kinds run in the order in which the kinds are given.
    """

    def __init__(self, runner: TaskRunner, kinds: dict[str, BackgroundTaskKind]):
        self._runner, self._kinds = runner, kinds
        self.pending: set[str] = set()
        runner.onIdle = self.resume
        runner.onReplaced = self._onReplaced

    def request(self, *names: str) -> None:
        """Have tasks of these kinds done, each with what is set when it begins."""
        self.pending.update(names)
        self.resume()

    def drop(self, *names: str) -> None:
        """Nothing of these kinds is pending any more (of all kinds without names); what runs already goes on."""
        self.pending.difference_update(names or self._kinds)

    def stop(self) -> None:
        """Nothing of any kind is pending nor runs any more."""
        self.drop()
        if self._runner.task is not None and self._runner.task.background in self._kinds:
            self._runner.stop()

    def _onReplaced(self, name: str) -> None:
        if name in self._kinds:
            self.pending.add(name)

    def resume(self) -> None:
        """Start the next pending kind if nothing runs but what yields to it."""
        while name := next((kind for kind in self._kinds if kind in self.pending and self._mayStart(kind)), ""):
            self.pending.discard(name)
            request = self._kinds[name].prepare()
            if request is not None:
                self._start(name, request)

    def _mayStart(self, name: str) -> bool:
        running = self._runner.task
        if running is None:
            return True
        order, background = list(self._kinds), running.background
        return background in order and self._kinds[background].yields and order.index(name) < order.index(background)

    def _start(self, name: str, request: SegmentationRequest) -> None:
        kind = self._kinds[name]
        self._runner.start(
            WorkerTask(
                kind.work(request),
                lambda value: kind.onDone(request, value),
                lambda error: kind.onFailed(request, error),
                request.nodesExist,
                background=name,
                analysisKey=request.job.analysis_key if kind.analyzes else None,
            )
        )
