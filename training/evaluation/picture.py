"""Pictures to look at: outlines on cases, and the ablation's bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from LiverGTANLib.core.files import atomic_write
from LiverGTANLib.core.volume import to_model_grid
from training.data.cases import Case, fraction

MASK_COLOR, REFERENCE_COLOR = "#ff5040", "#40d0ff"


def outlines(cases: list[Case], masks: dict[str, np.ndarray], path: Path) -> None:
    """One column a case: the axial and the coronal cut with most liver, the mask red and the reference blue."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(cases), 6), facecolor="black", layout="constrained")
    axes = figure.subplots(2, len(cases), squeeze=False)
    for column, case in enumerate(cases):
        image, frame = to_model_grid(case.ct)
        mask, reference = fraction(masks[case.name], frame), fraction(case.mask, frame)
        level = int(reference.sum((1, 2)).argmax()), int(reference.sum((0, 2)).argmax())
        axes[0, column].set_title(case.name, color="white", fontsize=8)
        draw(axes[0, column], *(v[level[0], ::-1, ::-1] for v in (image, mask, reference)))
        draw(axes[1, column], *(v[::-1, level[1], ::-1] for v in (image, mask, reference)))
    save(figure, path)


def draw(axis, image: np.ndarray, mask: np.ndarray, reference: np.ndarray) -> None:
    """One cut with both outlines."""
    axis.axis("off")
    axis.imshow(image, cmap="gray", vmin=-1, vmax=1)
    for share, color in ((reference, REFERENCE_COLOR), (mask, MASK_COLOR)):
        if share.max() > 0.5 > share.min():
            axis.contour(share, [0.5], colors=color, linewidths=0.8)


def sheet(columns: list[tuple[str, np.ndarray, np.ndarray]], path: Path, axial: int = 4) -> None:
    """One column for each (name, image, liver fraction) on the model grid: axial cuts through the liver, a coronal one.

    A grid without liver is cut evenly.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(columns), 2.2 * (axial + 1)), facecolor="black", layout="constrained")
    axes = figure.subplots(axial + 1, len(columns), squeeze=False)
    for column, (name, image, liver) in enumerate(columns):
        levels, fronts = (np.flatnonzero(liver.max(other) > 0.5) for other in ((1, 2), (0, 2)))
        levels = levels if len(levels) else np.arange(len(liver))
        fronts = fronts if len(fronts) else np.arange(liver.shape[1])
        axes[0, column].set_title(name, color="white", fontsize=7)
        for row, share in enumerate(np.linspace(0.92, 0.12, axial)):
            level = levels[int(share * (len(levels) - 1))]
            draw(axes[row, column], *(v[level, ::-1, ::-1] for v in (image, liver, liver)))
        front = fronts[len(fronts) // 2]
        draw(axes[axial, column], *(v[::-1, front, ::-1] for v in (image, liver, liver)))
    save(figure, path)


def points(names: list[str], groups: dict[str, list[tuple[float, float]]], label: str, path: Path) -> None:
    """Points with error bars: `groups` maps a student to (mean, sd) for each name; NaN leaves a gap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 + 0.6 * len(names), 4), layout="constrained")
    axis = figure.subplots()
    for number, (group, values) in enumerate(groups.items()):
        means, deviations = np.array(values).T
        places = np.arange(len(names)) + 0.2 * (number - (len(groups) - 1) / 2)
        axis.errorbar(places, means, yerr=deviations, fmt="o", capsize=3, label=group)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set_ylabel(label)
    axis.grid(axis="y", alpha=0.3)
    axis.legend()
    save(figure, path)


def save(figure, path: Path) -> None:
    """Writes the figure without a display. Raises OSError with a sentence."""
    with atomic_write(path, path.suffix or ".png") as part:
        figure.savefig(str(part), dpi=110, facecolor=figure.get_facecolor())
