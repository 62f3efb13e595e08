"""What an engine is: it runs one student on the model grid, reports how far it is, and can be stopped."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ..weight_file import Student

Progress = Callable[[float, str], None]
"""Receives the fraction that is done, 0 to 1, and what is being done."""

IsCancelled = Callable[[], bool]


class Cancelled(Exception):
    """The user asked to stop; nothing was written."""


class EngineError(RuntimeError):
    """An engine cannot run here or gave an answer that is no logits; the message says what to choose instead."""


class Engine(Protocol):
    """Runs one student."""

    name: str
    student: Student

    def forward(
        self, x_DHW: np.ndarray, progress: Progress | None = None, cancelled: IsCancelled | None = None
    ) -> np.ndarray:
        """Logits (D, H, W) float32 of the scaled image x (D, H, W) float32 in [-1, 1].

        Raises ValueError unless the sides are multiples of `student.multiple`, and Cancelled soon after `cancelled()`
        turns true.
        """


class EngineProvider(Protocol):
    """Where students and the engines that run them come from."""

    def create(self, student: str, engine: str) -> Engine:
        """A new engine. student: name or file. Raises StudentError and EngineError with a sentence."""

    def has_torch(self) -> bool:
        """Whether torch is installed; imports nothing."""

    def describe(self) -> str:
        """What there is to run a student on, and what of it turned out not to work, for the user."""
