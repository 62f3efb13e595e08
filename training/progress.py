"""What a run tells: a progress line, `log.csv` always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import math
import sys
import time
from pathlib import Path

import torch

from training.config import LoopSettings, UserError


class Log:
    """Collects losses and writes their mean every `every` steps."""

    def __init__(self, folder: Path, name: str, loop: LoopSettings, done: int, enabled: bool = True) -> None:
        self.folder, self.name, self.enabled = folder, name, enabled
        self.steps, self.every = loop.steps, loop.log_every
        self.sums: dict[str, torch.Tensor] = {}
        self.count, self.first, self.began = 0, done, time.monotonic()

    def __enter__(self) -> Log:
        if self.enabled:
            self.file = (self.folder / "log.csv").open("a", newline="")
            self.rows = csv.writer(self.file)
        return self

    def __exit__(self, *_: object) -> None:
        if self.enabled:
            self.file.close()

    def losses(self, step: int, losses: dict[str, torch.Tensor], rate: float) -> None:
        """Adds one step's losses; every so often writes their mean."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.count += 1
        if step % self.every == 0 or step == self.steps:
            means = {name: float(total) / self.count for name, total in self.sums.items()}
            self.sums, self.count = {}, 0
            if not all(math.isfinite(v) for v in means.values()):
                raise UserError(f"A loss is not finite at step {step} ({means}); lower --rate or use --precision "
                                "32-true, and resume from the last checkpoint.")
            self.row(step, means | {"rate": rate})
            self.tell(step, means)

    def figures(self, step: int, figures: dict[str, dict[str, float]]) -> None:
        """Writes validation figures of every role."""
        for role, values in figures.items():
            self.row(step, {f"{role}/{name}": value for name, value in values.items()})
            if values and self.enabled:
                print(f"  {role}: " + "  ".join(f"{n} {v:.4f}" for n, v in values.items()), flush=True)

    def row(self, step: int, values: dict[str, float]) -> None:
        if self.enabled:
            self.rows.writerows([step, name, f"{value:.6g}"] for name, value in values.items())
            self.file.flush()

    def tell(self, step: int, means: dict[str, float]) -> None:
        """One line: position, losses, rate, time left."""
        if not self.enabled:
            return
        speed = (step - self.first) / (time.monotonic() - self.began)
        left = (self.steps - step) / max(speed, 1e-9)
        text = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        print(f"{self.name} {step}/{self.steps}  {text}  {speed:.2f} steps/s  {left / 60:.1f} min left",
              flush=True, file=sys.stdout)
