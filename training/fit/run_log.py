"""What a run reports: a progress bar on a terminal (else lines), `log.csv`, its curves; TensorBoard if it is there."""

from __future__ import annotations

import csv
import logging
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from LiverGTANLib.core.files import atomic_write
from training.errors import UserError
from training.fit import curves
from training.options import Config
from training.settings import to_toml

logger = logging.getLogger(__name__)

HEADER = ["step", "name", "value"]


class LossWindow:
    """Sums of the losses since they were last logged. It goes into the checkpoint, so that a resumed run's next line is
    of as many steps as any other (of several processes, those of the first one count for all until then)."""

    def __init__(self, state: dict[str, Any] | None = None, device: torch.device | str = "cpu") -> None:
        state = state or {"sums": {}, "count": 0}
        self.sums = {name: torch.tensor(value, device=device) for name, value in state["sums"].items()}
        self.count: int = state["count"]

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """One step's losses."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.count += 1

    def take_means(self, fabric: Fabric) -> dict[str, float]:
        """The mean losses over steps and processes; then a new window begins."""
        totals, count = self.sums, self.count
        if fabric.world_size > 1:
            totals = cast("dict[str, torch.Tensor]", fabric.all_reduce(totals, reduce_op="mean"))
        self.sums, self.count = {}, 0
        return {name: float(total) / count for name, total in totals.items()}

    def pack(self) -> dict[str, Any]:
        """As plain data."""
        return {"sums": {name: float(total) for name, total in self.sums.items()}, "count": self.count}


class RunLog:
    """Writes the mean losses every `log_every` steps, and validation figures."""

    def __init__(self, folder: Path, name: str, config: Config, first_step: int, fabric: Fabric) -> None:
        self.folder, self.name, self.fabric = folder, name, fabric
        self.loop, self.writes = config.loop, fabric.is_global_zero
        self.first_step, self.settings = first_step, to_toml(config)

    def __enter__(self) -> RunLog:
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / "config.toml") as part:
                part.write_text(self.settings, encoding="utf-8")
            drop_rows_after(self.folder / "log.csv", self.first_step)
            self.file = (self.folder / "log.csv").open("a", newline="", encoding="utf-8")
            self.rows = csv.writer(self.file)
            self.board = tensorboard(self.folder)
        self.bar = tqdm(
            desc=self.name,
            total=self.loop.steps,
            initial=self.first_step,
            unit="step",
            dynamic_ncols=True,
            disable=not (self.writes and sys.stderr.isatty()),
        )
        self.reported = (self.first_step, time.monotonic())
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()
        if self.writes:
            self.file.close()
            curves.draw(rows(self.folder / "log.csv"), self.folder / "curves.png")
            if self.board:
                self.board.close()

    def losses(self, step: int, window: LossWindow, rate: float) -> None:
        """Every so often writes the mean losses of the window. Raises UserError when one is not finite."""
        self.bar.update()
        if step % self.loop.log_every and step != self.loop.steps:
            return
        means = window.take_means(self.fabric)
        if not all(math.isfinite(v) for v in means.values()):
            raise UserError(
                f"A loss is not finite at step {step} ({means}); lower --rate or use --precision "
                "32-true, and resume from the last checkpoint."
            )
        self.write(step, means | {"rate": rate})
        self.report(step, "  ".join(f"{name} {value:.4f}" for name, value in means.items()))

    def figures(self, step: int, figures: dict[str, dict[str, float]]) -> None:
        """Writes validation figures of every role."""
        for role, values in figures.items():
            self.write(step, {f"{role}/{name}": value for name, value in values.items()})
            if values and self.writes:
                self.print_line(f"  {role} at {step}: " + "  ".join(f"{n} {v:.4f}" for n, v in values.items()))
        if self.writes and any(figures.values()):
            curves.draw(rows(self.folder / "log.csv"), self.folder / "curves.png")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Rows to the CSV (every digit, so that runs can be compared) and scalars to TensorBoard."""
        if not self.writes:
            return
        self.rows.writerows([step, name, repr(float(value))] for name, value in values.items())
        self.file.flush()
        for name, value in values.items() if self.board else ():
            self.board.add_scalar(name, value, step)

    def report(self, step: int, text: str) -> None:
        """Losses beside the bar, or a line where there is none."""
        if not self.bar.disable:
            self.bar.set_postfix_str(text)
        elif self.writes:
            (before, then), self.reported = self.reported, (step, time.monotonic())
            speed = (step - before) / max(self.reported[1] - then, 1e-9)
            left = (self.loop.steps - step) / speed / 60
            self.print_line(f"{self.name} {step}/{self.loop.steps}  {text}  {speed:.2f} steps/s  {left:.1f} min left")

    def print_line(self, text: str) -> None:
        """A line that does not tear the bar."""
        if self.bar.disable:
            print(text, flush=True)
        else:
            self.bar.write(text)


def drop_rows_after(file: Path, step: int) -> None:
    """Removes rows of steps that will be done again, so that a resumed log reads like an uninterrupted one."""
    remaining = [row for row in rows(file) if int(row[0]) <= step]
    with atomic_write(file) as part, part.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([HEADER, *remaining])


def last_figures(file: Path, role: str) -> dict[str, float]:
    """The validation figures of a role that a log holds last: {case: Dice}."""
    return {row[1].partition("/")[2]: float(row[2]) for row in rows(file) if row[1].startswith(f"{role}/")}


def watched_cases(file: Path) -> list[str]:
    """The cases that a log has validation figures of."""
    return list(dict.fromkeys(row[1].partition("/")[2] for row in rows(file) if "/" in row[1]))


def rows(file: Path) -> Iterator[list[str]]:
    """The whole rows of a log; a torn last line of a killed run is skipped."""
    if not file.exists():
        return
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            if len(row) == 3 and row != HEADER and row[2]:
                yield row


def tensorboard(folder: Path):
    """A writer where TensorBoard is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        logger.info("TensorBoard is not installed (%s); log.csv holds all figures.", error)
        return None
    return SummaryWriter(str(folder))
