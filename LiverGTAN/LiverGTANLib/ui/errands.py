"""Part of the shell: small jobs beside the runs that a person starts. One at a time, and nothing queues.

Of each kind there is a wish or there is none. What exactly is done is asked when its turn comes, so that only the
newest state of things is ever worked on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..mrml.session import SegmentationRequest
from .task_runner import TaskRunner, WorkerTask


@dataclass(frozen=True)
class BackgroundTaskKind:
    """prepare() -> the request, None when there is nothing to do (any more). work(job): what runs on the worker.

    done(request, outcome) is called on the main thread.
    """

    prepare: Callable[[], SegmentationRequest | None]
    work: Callable[[Any], Callable[..., Any]]
    done: Callable[[SegmentationRequest, Any], None]


class BackgroundTasks:
    """Does what is wished, in the order in which the kinds are given, whenever the runner has nothing else to do."""

    def __init__(self, runner: TaskRunner, kinds: dict[str, BackgroundTaskKind]):
        self._runner, self._kinds = runner, kinds
        self._wishes: set[str] = set()
        self._task: WorkerTask | None = None
        self._name, self._request = "", None

    def wish(self, *names: str) -> None:
        self._wishes.update(names)
        self.goOn()

    def forget(self, *names: str) -> None:
        """Drop wishes (all of them without names); what is at work already goes on."""
        self._wishes.difference_update(names or self._kinds)

    @property
    def atWork(self) -> tuple[str, SegmentationRequest | None]:
        """(kind, request) of what is being done, ("", None) when nothing is."""
        busy = self._task is not None and self._runner.task is self._task
        return (self._name, self._request) if busy else ("", None)

    def goOn(self) -> None:
        """Start the next wish if nothing is at work; to be called when the runner comes to rest."""
        while self._runner.task is None and self._wishes:
            name = next(kind for kind in self._kinds if kind in self._wishes)
            self._wishes.discard(name)
            request = self._kinds[name].prepare()
            if request is not None:
                self._start(name, request)

    def _start(self, name: str, request: SegmentationRequest) -> None:
        kind = self._kinds[name]
        self._name, self._request = name, request
        self._task = WorkerTask(
            kind.work(request.job), lambda outcome: kind.done(request, outcome), request.nodesExist, quiet=True
        )
        self._runner.start(self._task)
