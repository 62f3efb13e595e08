"""The curves of a run as a picture: losses, and Dice on the validation cases."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from LiverGTANLib.core.files import atomic_write

logger = logging.getLogger(__name__)

Curve = list[tuple[int, float]]
"""(step, value) of one figure."""


def draw(rows: Iterable[list[str]], picture: Path) -> None:
    """Losses, and where there is validation its Dice (mean and cases), by step. rows: of `log.csv`.

    A picture that fails is logged.
    """
    series: dict[str, Curve] = defaultdict(list)
    for step, name, value in rows:
        series[name].append((int(step), float(value)))
    series.pop("rate", None)
    dice = {name: points for name, points in series.items() if "/" in name}
    losses = {name: points for name, points in series.items() if name not in dice}
    if not losses:
        return
    try:
        plot(losses, dice, picture)
    except Exception:  # the training is worth more than its picture
        logger.exception("%s could not be drawn", picture)


def plot(losses: dict[str, Curve], dice: dict[str, Curve], picture: Path) -> None:
    """The two panels of `draw`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6 if dice else 3.5))
    axes = figure.subplots(2 if dice else 1, 1, sharex=True, squeeze=False)[:, 0]
    for name, points in losses.items():
        axes[0].plot(*zip(*points), label=name)
    axes[0].set(ylabel="loss", title=picture.parent.name)
    for role, cases in by_role(dice).items():
        (line,) = axes[1].plot(*zip(*mean_by_step(cases)), marker=".", label=f"{role}, mean of {len(cases)}")
        for points in cases:
            axes[1].plot(*zip(*points), color=line.get_color(), alpha=0.3, linewidth=0.8)
        axes[1].set(ylabel="validation Dice")
    axes[-1].set_xlabel("step")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    with atomic_write(picture) as part:
        figure.savefig(str(part), dpi=100)


def by_role(dice: dict[str, Curve]) -> dict[str, list[Curve]]:
    """Curves of the cases of each network."""
    found: dict[str, list[Curve]] = defaultdict(list)
    for name, points in dice.items():
        found[name.partition("/")[0]].append(points)
    return found


def mean_by_step(cases: list[Curve]) -> Curve:
    """The mean of several curves at each of their steps."""
    values: dict[int, list[float]] = defaultdict(list)
    for points in cases:
        for step, value in points:
            values[step].append(value)
    return [(step, sum(found) / len(found)) for step, found in sorted(values.items())]
