"""The table of liver volumes: one row a segmentation, in a table node. On the main thread."""

import csv
import math
import uuid
from pathlib import Path

import vtk
from slicer.util import NodeModify, getNodesByClass

from ..core.measurements import TITLES, MeasurementRow

NAME = "Liver volumes"
_KEY = "LiverGTAN.row"
"""Attribute of a segmentation: the key of its row. The table node keeps the keys of its rows, in order, under the same
name: node references would not do, as the scene deletes those to a removed node and the rows would shift.
"""
_TEXTS = ("name", "share_in_region", "hint")
_DECIMALS = {"volume_ml": 1, "low_ml": 1, "high_ml": 1, "mean_hu": 1, "sd_hu": 1}
HINT_NOTE = "Mean and SD are a hint of fat in the liver at most, and only without contrast medium."


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


def put(tableNode, segmentationNode, row: MeasurementRow) -> None:
    """Set the row of a segmentation, a new one at its first time."""
    with NodeModify(tableNode):
        _removeOrphans(tableNode)
        index = _indexOf(tableNode, segmentationNode)
        if index is None:
            index = tableNode.AddEmptyRow()
            if not segmentationNode.GetAttribute(_KEY):
                segmentationNode.SetAttribute(_KEY, uuid.uuid4().hex)
            _setKeys(tableNode, [*_keys(tableNode), segmentationNode.GetAttribute(_KEY)])
        for column, field in enumerate(TITLES):
            tableNode.SetCellText(index, column, _text(field, getattr(row, field)))


def remove(tableNode, segmentationNode) -> None:
    """Remove the row of a segmentation, if there is one."""
    with NodeModify(tableNode):
        index = _indexOf(tableNode, segmentationNode)
        if index is not None:
            _removeRow(tableNode, index)


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
        _removeOrphans(tableNode)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows(tableNode))


def _keys(tableNode) -> list[str]:
    return (tableNode.GetAttribute(_KEY) or "").split()


def _setKeys(tableNode, keys: list[str]) -> None:
    tableNode.SetAttribute(_KEY, " ".join(keys))


def _indexOf(tableNode, segmentationNode) -> int | None:
    keys, key = _keys(tableNode), segmentationNode.GetAttribute(_KEY)
    return keys.index(key) if key in keys else None


def _removeOrphans(tableNode) -> None:
    """Remove rows whose segmentation is gone."""
    segmentations = getNodesByClass("vtkMRMLSegmentationNode", tableNode.GetScene())
    present = {node.GetAttribute(_KEY) for node in segmentations}
    for index, key in reversed(list(enumerate(_keys(tableNode)))):
        if key not in present:
            _removeRow(tableNode, index)


def _removeRow(tableNode, index: int) -> None:
    tableNode.RemoveRow(index)
    keys = _keys(tableNode)
    _setKeys(tableNode, keys[:index] + keys[index + 1 :])


def _text(field: str, value) -> str:
    if value is None:
        return "" if field in _TEXTS else str(math.nan)
    if field == "share_in_region":
        return f"{value:.3f}"
    return str(round(value, _DECIMALS[field])) if field in _DECIMALS else str(value)
