"""The table of liver volumes: one row a segmentation, in a table node. On the main thread."""

import csv
import math
from pathlib import Path

import vtk
from slicer.util import NodeModify

from .measure import TITLES, Row

NAME = "Liver volumes"
_ROLE = "LiverGTAN.segmentation"
_TEXTS = ("name", "share_in_region", "hint")
_DECIMALS = {"volume_ml": 1, "low_ml": 1, "high_ml": 1, "mean_hu": 1, "sd_hu": 1}
HINT_NOTE = "SD and mean tell of fat in the liver as a hint at most, and only without contrast medium."


def create(mrmlScene):
    """A new empty table with its columns."""
    node = mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", mrmlScene.GenerateUniqueName(NAME))
    for field, title in TITLES.items():
        column = vtk.vtkStringArray() if field in _TEXTS else vtk.vtkDoubleArray()
        column.SetName(title)
        node.AddColumn(column)
    node.SetColumnDescription(TITLES["hint"], HINT_NOTE)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


def put(tableNode, segmentationNode, row: Row) -> None:
    """Set the row of a segmentation, a new one at its first time."""
    with NodeModify(tableNode):
        _dropOrphans(tableNode)
        index = _indexOf(tableNode, segmentationNode)
        if index is None:
            index = tableNode.AddEmptyRow()
            tableNode.AddNodeReferenceID(_ROLE, segmentationNode.GetID())
        for column, field in enumerate(TITLES):
            tableNode.SetCellText(index, column, _text(field, getattr(row, field)))


def drop(tableNode, segmentationNode) -> None:
    """Remove the row of a segmentation, if there is one."""
    with NodeModify(tableNode):
        index = _indexOf(tableNode, segmentationNode)
        if index is not None:
            _remove(tableNode, index)


def rows(tableNode) -> list[list[str]]:
    """Headings and cells as text; what is not known is empty."""
    table = [list(TITLES.values())]
    for index in range(tableNode.GetNumberOfRows()):
        cells = [tableNode.GetCellText(index, column) for column in range(len(TITLES))]
        table.append(["" if cell == "nan" else cell for cell in cells])
    return table


def export(tableNode, path) -> None:
    """Write the table as CSV (UTF-8, comma). Raises OSError when the file cannot be written."""
    with NodeModify(tableNode):
        _dropOrphans(tableNode)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows(tableNode))


def _indexOf(tableNode, segmentationNode) -> int | None:
    for index in range(tableNode.GetNumberOfNodeReferences(_ROLE)):
        if tableNode.GetNthNodeReference(_ROLE, index) == segmentationNode:
            return index
    return None


def _dropOrphans(tableNode) -> None:
    """Remove rows whose segmentation is gone."""
    for index in reversed(range(tableNode.GetNumberOfNodeReferences(_ROLE))):
        if tableNode.GetNthNodeReference(_ROLE, index) is None:
            _remove(tableNode, index)


def _remove(tableNode, index: int) -> None:
    tableNode.RemoveRow(index)
    tableNode.RemoveNthNodeReferenceID(_ROLE, index)


def _text(field: str, value) -> str:
    if value is None:
        return "" if field in _TEXTS else str(math.nan)
    if field == "share_in_region":
        return f"{value:.3f}"
    return str(round(value, _DECIMALS[field])) if field in _DECIMALS else str(value)
