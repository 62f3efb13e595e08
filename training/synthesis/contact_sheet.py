"""A contact sheet of a bank, to look at before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from LiverGTANLib.core.files import atomic_write
from training.data.bank import Bank

COUNT, COLUMNS = 24, 8
"""Volumes on a sheet, and in a row of it."""


def contact_sheet(bank: Bank, path: Path) -> None:
    """Axial and coronal cut of the first volumes, liver outlined; each pair is titled with number and source."""
    from matplotlib.figure import Figure

    numbers = range(min(COUNT, len(bank)))
    rows = -(-len(numbers) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 4.4 * rows), facecolor="black", layout="constrained")
    axes = figure.subplots(2 * rows, COLUMNS, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for place, n in enumerate(numbers):
        row, column = 2 * (place // COLUMNS), place % COLUMNS
        image, label, _ = bank[n]
        record = bank.record(n)
        axes[row, column].set_title(f"{record['i']} {record['source'][:20]}", color="white", fontsize=8)
        for axis, picture, liver in zip(axes[row : row + 2, column], *_cuts(image, label), strict=True):
            axis.imshow(picture, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            if liver.max() > 0:
                axis.contour(liver, [0.5], colors="red", linewidths=0.6)
    with atomic_write(path, path.suffix or ".png") as part:
        figure.savefig(str(part), dpi=80, facecolor="black")


def _cuts(image: np.ndarray, label: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Axial (front up, patient's right on the left) and coronal (head up) cut through most of the liver."""
    z = int(label.sum(axis=(1, 2)).argmax()) if label.any() else label.shape[0] // 2
    y = int(label.sum(axis=(0, 2)).argmax()) if label.any() else label.shape[1] // 2
    return ([image[z, ::-1, ::-1], image[::-1, y, ::-1]], [label[z, ::-1, ::-1], label[::-1, y, ::-1]])
