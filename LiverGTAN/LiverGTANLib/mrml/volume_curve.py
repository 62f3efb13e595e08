"""Volume over the frames of a sequence: its table, its chart, and how much it flickers. On the main thread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import vtk
from slicer.util import NodeModify

TITLES = FRAME, VOLUME, LOW, HIGH, HU, DICE, VOXELS, HINT = (
    "Frame",
    "Liver [mL]",
    "From [mL]",
    "To [mL]",
    "Mean [HU]",
    "Dice with frame before",
    "Voxels",
    "Hint",
)
"""Columns of the table beside that of the sequence's own index, which comes second."""


@dataclass(frozen=True)
class CurvePoint:
    """One frame.

    index: text of its place in the sequence. volumeMl and what follows are None where they are not known; voxels is
    then 0. dice: of its mask with that of the frame before. hint: why there is no volume, or what is to be known of it.
    """

    index: str
    volumeMl: float | None = None
    lowMl: float | None = None
    highMl: float | None = None
    meanHu: float | None = None
    dice: float | None = None
    voxels: int = 0
    hint: str = ""


@dataclass(frozen=True)
class Flicker:
    """How much volumes change from frame to frame beside a smooth course. percent: of their mean."""

    ml: float
    percent: float

    def __str__(self) -> str:
        return f"{self.ml:.1f} mL ({self.percent:.1f} %)"


def flicker(times: Sequence[float], volumesMl: Sequence[float | None]) -> Flicker | None:
    """Standard deviation in mL of volumes about a locally linear course; None with fewer than three known ones.

    The estimator of Gasser, Sroka and Jennen-Steinmetz (Biometrika 73:625, 1986): each volume is compared with the
    line between those before and after it, at its own time; for errors that do not depend on each other the mean of the
    squared differences, each divided by its variance for errors of variance 1, estimates the errors' variance. times:
    in any unit, rising. Frames without a volume are left out.
    """
    known = [(t, v) for t, v in zip(times, volumesMl) if v is not None]
    if len(known) < 3:
        return None
    t, v = np.array(known, float).T
    before = (t[2:] - t[1:-1]) / (t[2:] - t[:-2])
    after = 1 - before
    differences = before * v[:-2] + after * v[2:] - v[1:-1]
    ml = math.sqrt(np.mean(differences**2 / (before**2 + after**2 + 1)))
    return Flicker(ml, 100 * ml / float(v.mean()))


def times(points: Sequence[CurvePoint]) -> list[float]:
    """Rising numbers of the frames: their indices where these are such, else 0, 1, 2 and so on."""
    found = [number for point in points if (number := _number(point.index)) is not None]
    isRising = len(found) == len(points) and all(a < b for a, b in pairwise(found))
    return found if isRising else [float(n) for n in range(len(points))]


def flickerOf(points: Sequence[CurvePoint]) -> Flicker | None:
    """See `flicker`."""
    return flicker(times(points), [point.volumeMl for point in points])


def summary(points: Sequence[CurvePoint]) -> str:
    """In a sentence or two, for the user."""
    known = [point.volumeMl for point in points if point.volumeMl is not None]
    if not known:
        return "No volume is known of any frame."
    found = flickerOf(points)
    text = f"{len(known)} of {len(points)} frames: {min(known):.0f} to {max(known):.0f} mL"
    return text + (f", flicker {found}." if found else ".")


def write(tableNode, points: Sequence[CurvePoint], indexTitle: str) -> None:
    """Set the table: one row a frame. indexTitle: heading of the sequence's index."""
    table = vtk.vtkTable()
    isNumeric = _isNumeric(points)
    _addColumn(table, FRAME, vtk.vtkIntArray(), range(1, len(points) + 1))
    indices = vtk.vtkDoubleArray() if isNumeric else vtk.vtkStringArray()
    _addColumn(table, indexTitle, indices, (float(p.index) if isNumeric else p.index for p in points))
    for title, name in ((VOLUME, "volumeMl"), (LOW, "lowMl"), (HIGH, "highMl"), (HU, "meanHu"), (DICE, "dice")):
        values = (getattr(point, name) for point in points)
        _addColumn(table, title, vtk.vtkDoubleArray(), (math.nan if v is None else v for v in values))
    _addColumn(table, VOXELS, vtk.vtkIntArray(), (point.voxels for point in points))
    _addColumn(table, HINT, vtk.vtkStringArray(), (point.hint for point in points))
    with NodeModify(tableNode):
        tableNode.SetUseColumnTitleAsColumnHeader(True)
        tableNode.SetAndObserveTable(table)


def read(tableNode, indexTitle: str) -> list[CurvePoint]:
    """What `write` has written, for another index of the same `indexKey`; empty where the index is gone.

    Columns that were deleted or renamed since, and what is no number there, count as not known.
    """

    def cells(title: str) -> list[str]:
        array = tableNode.GetTable().GetColumnByName(title)
        return [str(array.GetValue(n)) if array else "" for n in range(tableNode.GetNumberOfRows())]

    if tableNode.GetColumnIndex(indexTitle) < 0:
        return []
    numbers = [[_number(text) for text in cells(title)] for title in (VOLUME, LOW, HIGH, HU, DICE)]
    voxels = [int(_number(text) or 0) for text in cells(VOXELS)]
    return [CurvePoint(*row) for row in zip(cells(indexTitle), *numbers, voxels, cells(HINT))]


def indexKey(index: str) -> float | str:
    """Equal for texts of the same number."""
    number = _number(index)
    return index if number is None else number


def draw(chartNode, seriesNode, tableNode, points: Sequence[CurvePoint], indexTitle: str) -> None:
    """Let the chart show the volume over the table's index (over the number of the frame where that is no number)."""
    isNumeric = _isNumeric(points)
    with NodeModify(seriesNode):
        seriesNode.SetAndObserveTableNodeID(tableNode.GetID())
        seriesNode.SetXColumnName(indexTitle if isNumeric else FRAME)
        seriesNode.SetYColumnName(VOLUME)
        seriesNode.SetPlotType(seriesNode.PlotTypeScatter)
        seriesNode.SetLineStyle(seriesNode.LineStyleSolid)
        seriesNode.SetMarkerStyle(seriesNode.MarkerStyleCircle)
    found = flickerOf(points)
    with NodeModify(chartNode):
        chartNode.SetAndObservePlotSeriesNodeID(seriesNode.GetID())
        chartNode.SetTitle(f"Liver, flicker {found}" if found else "Liver")
        chartNode.SetXAxisTitle(indexTitle if isNumeric else FRAME)
        chartNode.SetYAxisTitle(VOLUME)
        chartNode.SetLegendVisibility(False)


def _isNumeric(points: Sequence[CurvePoint]) -> bool:
    return all(_number(point.index) is not None for point in points)


def _number(text: str) -> float | None:
    """None for what is no number, or not finite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _addColumn(table, title: str, array, values) -> None:
    array.SetName(title)
    for value in values:
        array.InsertNextValue(value)
    table.AddColumn(array)
