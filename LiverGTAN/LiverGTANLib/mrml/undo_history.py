"""What belongs to each undo state beside the voxels: what the person had set and what was measured."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class UndoStep:
    """choices: what was set, as the shell keeps it. result: what `Session.apply` gave."""

    choices: Any
    result: Any


class UndoHistory:
    """The steps of one segmentation; where a person is in them."""

    def __init__(self) -> None:
        self._steps: list[UndoStep] = []
        self._count = 0  # steps that are done and not undone

    def add(self, step: UndoStep) -> None:
        """A new step; what was undone before it is lost."""
        if self._steps and self._steps[-1].result.segmentation != step.result.segmentation:
            self._steps, self._count = [], 0
        self._steps = [*self._steps[: self._count], step]
        self._count += 1

    def back(self) -> UndoStep | None:
        """One step back; the step that is current then, None before the first."""
        self._count = max(0, self._count - 1)
        return self._steps[self._count - 1] if self._count else None

    def forward(self) -> UndoStep | None:
        """One step forward; the step that is current then."""
        self._count = min(len(self._steps), self._count + 1)
        return self._steps[self._count - 1] if self._count else None
