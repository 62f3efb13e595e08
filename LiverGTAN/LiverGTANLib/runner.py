"""Part of the shell: runs one request at a time on the worker thread and calls back on the main thread."""

import time

import qt

from .live import Worker

# Python threads run only while the main thread waits in Python, so the timer's slot waits this long for the worker
# and then lets the event loop have its turn.
POLL_SECONDS = 0.02


class Runner:
    """start(request) runs request.job; then, from the event loop,

    onWaiting() is called now and then, and at the end either onDone(request, outcome) or, when a node of the request
    left the scene, onGone(). After stop() nothing is called.
    """

    def __init__(self, onWaiting, onDone, onGone):
        self._onWaiting, self._onDone, self._onGone = onWaiting, onDone, onGone
        self._worker = None
        self._request = None
        self._started = 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._onTimer)

    @property
    def running(self) -> bool:
        return self._request is not None

    @property
    def waited(self) -> float:
        """Seconds since the running request was started."""
        return time.monotonic() - self._started

    @property
    def progress(self) -> tuple[float, str]:
        """(fraction, text) of the running job."""
        return self._worker.progress if self._worker else (0.0, "")

    def start(self, request) -> None:
        self._request, self._started = request, time.monotonic()
        self._submit(request.job.run)

    def warmUp(self, function) -> None:
        """Call function() on the worker thread while nothing is asked for; its result and errors do not matter."""
        if not self.running:
            self._submit(lambda progress, cancelled: function())

    def _submit(self, job) -> None:
        if self._worker is None:
            self._worker = Worker()
        self._worker.submit(job)
        self._timer.start()

    def stop(self, waitForThread: bool = False) -> None:
        """Drop the run, if there is one; with waitForThread also end the thread and wait for it."""
        self._timer.stop()
        self._request = None
        if self._worker is None:
            return
        self._worker.cancel()
        if waitForThread:
            self._worker.close()
            self._worker = None

    def _onTimer(self):
        if self.running and not self._request.nodesExist():
            self.stop(waitForThread=True)
            self._onGone()
            return
        outcome = self._worker.poll(POLL_SECONDS)
        if outcome is not None:
            self._timer.stop()
        if self.running:
            self._tell(outcome)

    def _tell(self, outcome) -> None:
        if outcome is None:
            self._onWaiting()
            return
        request, self._request = self._request, None
        self._onDone(request, outcome)
