"""One worker thread on which the newest request wins. No Qt and no MRML: the caller polls."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .engines.engine import Cancelled, IsCancelled, Progress

logger = logging.getLogger(__name__)

Work = Callable[[Progress, IsCancelled], Any]


@dataclass(frozen=True)
class WorkerOutcome:
    """How a request ended: exactly one of `value` and `error` counts. Superseded and canceled requests have none."""

    ticket: int
    value: Any = None
    error: BaseException | None = None


class Worker:
    """Does one work at a time; a new request cancels the running one and replaces the waiting one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: tuple[int, Work] | None = None
        self._current = 0  # ticket of the newest request, 0 when none counts
        self._finishing = 0  # ticket of a superseded one that may finish all the same, for what it caches
        self._running = 0
        self._tickets = 0
        self._outcome: WorkerOutcome | None = None
        self._progress: tuple[float, str] = (0.0, "")
        self._closed = False

    def submit(self, work: Work, finish_running: bool = False) -> int:
        """Ask for `work(progress, cancelled)`; returns the request's ticket. Earlier requests no longer count.

        finish_running: let the running work finish first, though its outcome is dropped.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("The worker is closed.")
            self._tickets += 1
            self._finishing = self._running if finish_running else 0
            self._current = self._tickets
            self._waiting = (self._tickets, work)
            self._outcome, self._progress = None, (0.0, "")
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="LiverGTAN worker", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return self._tickets

    @property
    def busy(self) -> bool:
        """Whether a request that counts is waiting or running."""
        with self._changed:
            return self._current != 0 and self._outcome is None

    @property
    def progress(self) -> tuple[float, str]:
        """(fraction, text) that the running work reported last."""
        with self._changed:
            return self._progress

    def poll(self, timeout: float = 0.0) -> WorkerOutcome | None:
        """The newest request's outcome, once; waits up to `timeout` seconds for it and meanwhile lets threads run."""
        with self._changed:
            self._changed.wait_for(lambda: self._outcome is not None, timeout)
            outcome, self._outcome = self._outcome, None
            if outcome is not None:
                self._current = 0
            return outcome

    def cancel(self) -> None:
        """No request counts any longer; the running work is asked to stop and its result dropped."""
        with self._changed:
            self._current, self._finishing, self._waiting, self._outcome = 0, 0, None, None

    def close(self, timeout: float = 10.0) -> bool:
        """Cancel, end the thread and wait for it up to `timeout` seconds; True when it has ended."""
        self.cancel()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                if self._closed or self._waiting is None:
                    return
                ticket, work = self._waiting
                self._waiting, self._running = None, ticket
            self._do(ticket, work)
            with self._changed:
                self._running = 0

    def _do(self, ticket: int, work: Work) -> None:
        def progress(fraction: float, text: str) -> None:
            with self._changed:
                if ticket in (self._current, self._finishing):
                    self._progress = (fraction, text)

        def cancelled() -> bool:
            return ticket not in (self._current, self._finishing)

        try:
            outcome = WorkerOutcome(ticket, work(progress, cancelled))
        except Cancelled:
            return
        except BaseException as error:  # handed to the caller, who shows it
            outcome = WorkerOutcome(ticket, error=error)
        with self._changed:
            if self._current == ticket:
                self._outcome = outcome
                self._changed.notify_all()
            elif outcome.error is not None:
                logger.warning("A request that no longer counts failed.", exc_info=outcome.error)
