"""The table of liver volumes: one row a segmentation, in a table node. On the main thread.

A row is known by the text in its column "Row ID", under which the table node refers to the segmentation, and a column
by its name: rows and columns may be deleted, sorted and renamed, and the scene saved and imported, which gives nodes
other IDs. Whether rows are still true of the livers in the scene is found by `row_check`.
"""

import csv
import json
import logging
import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

import vtk
from slicer.util import NodeModify

from ..core.files import atomic_write
from ..core.measurements import TITLES, MeasurementRow
from ..core.volume import InputError
from . import scene
from .segment_volume import Content

logger = logging.getLogger(__name__)

NAME = "Liver volumes"
ROW_ID = "Row ID"
_PHASE = "as scanned: only on a non-contrast CT does it say anything of fat in the liver."
_NOTES = {
    TITLES["mean_hu"]: f"Mean of the liver without its rim, {_PHASE}",
    TITLES["sd_hu"]: f"Standard deviation of the liver without its rim, {_PHASE}",
    TITLES["hint"]: "Mean and SD are a hint of fat in the liver at most, and only without contrast medium.",
    ROW_ID: "Belongs to the segmentation of this row; where it is changed, the next result gets a new row.",
}
_MARK = "LiverGTAN.measurements"
"""Attribute of the tables that this module writes into."""
_ROLE = "LiverGTAN.row."
"""Node reference of a table to a segmentation, followed by the ID of its row."""
_CONTENT = "LiverGTAN.content."
"""Attribute of a table, followed by the ID of a row: what its figures were measured on, as JSON."""
_NAMED = "LiverGTAN.name."
"""Attribute of a table, followed by the ID of a row: the name of the CT that this module wrote into it."""
_TEXTS = ("name", "share_in_region", "hint")
_DECIMALS = {"volume_ml": 1, "low_ml": 1, "high_ml": 1, "mean_hu": 1, "sd_hu": 1}


def create(mrmlScene):
    """A new empty table with its columns."""
    node = mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", mrmlScene.GenerateUniqueName(NAME))
    with scene.removedOnError(node):
        _addMissingColumns(node)
    return node


def isOurs(tableNode) -> bool:
    """Whether this is a table of liver volumes, or a new one without columns, and not one of another purpose."""
    return bool(tableNode.GetAttribute(_MARK)) or tableNode.GetNumberOfColumns() == 0


def put(tableNode, segmentationNode, row: MeasurementRow, measured: Content | None = None) -> None:
    """Set the row of a segmentation, a new one at its first time. After an error the table is as it was before.

    measured: what the figures were measured on; None: on what is there now.
    """
    texts = {title: _text(field, getattr(row, field)) for field, title in TITLES.items()}
    restore(tableNode, segmentationNode, texts, measured or Content.of(segmentationNode))


def followName(tableNode, index: int, name: str) -> None:
    """Let a row say by what name its CT goes by now, unless the user has written something else there."""
    written = tableNode.GetAttribute(_NAMED + _rowId(tableNode, index))
    if written not in (None, name) and textsOf(tableNode, index)[TITLES["name"]] == written:
        setText(tableNode, index, TITLES["name"], name)
        tableNode.SetAttribute(_NAMED + _rowId(tableNode, index), name)


def content(tableNode, segmentationNode) -> Content | None:
    """What the figures in the row of a segmentation were measured on; None where that is not known."""
    index = _indexOf(tableNode, segmentationNode)
    text = tableNode.GetAttribute(_contentName(tableNode, index)) if index is not None else None
    try:
        return Content(*json.loads(text)) if text else None
    except (ValueError, TypeError):
        logger.exception("What a row of '%s' was measured on cannot be read.", tableNode.GetName())
        return None


def setContent(tableNode, segmentationNode, found: Content | None) -> None:
    """Say what the figures in the row of a segmentation were measured on."""
    index = _indexOf(tableNode, segmentationNode)
    if index is not None:
        text = json.dumps(astuple(found)) if found is not None else None
        tableNode.SetAttribute(_contentName(tableNode, index), text)


def _contentName(tableNode, index: int) -> str:
    return _CONTENT + _rowId(tableNode, index)


def _rowId(tableNode, index: int) -> str:
    return tableNode.GetCellText(index, tableNode.GetColumnIndex(ROW_ID))


def read(tableNode, segmentationNode) -> dict[str, str] | None:
    """Texts of the row of a segmentation by heading, None when there is none."""
    index = _indexOf(tableNode, segmentationNode)
    return None if index is None else textsOf(tableNode, index)


def restore(tableNode, segmentationNode, texts: dict[str, str] | None, measured: Content | None = None) -> None:
    """Set the row of a segmentation to what `read` and `content` gave; None for the texts removes it."""
    _requireOurs(tableNode)
    setContent(tableNode, segmentationNode, None)
    with _unchangedByErrors(tableNode), NodeModify(tableNode):
        index = _indexOf(tableNode, segmentationNode)
        if texts is not None:
            _addMissingColumns(tableNode)
            index = _addRow(tableNode, segmentationNode) if index is None else index
            for title, text in texts.items():
                _setCell(tableNode, index, title, text)
            tableNode.SetAttribute(_NAMED + _rowId(tableNode, index), texts.get(TITLES["name"]))
        elif index is not None:
            tableNode.RemoveRow(index)
    if texts is not None:
        setContent(tableNode, segmentationNode, measured)


def segmentations(tableNode) -> list[tuple[int, Any]]:
    """(index, segmentation) of each row that this module made; None where its segmentation is not known any more."""
    column, found = tableNode.GetColumnIndex(ROW_ID), []
    roles = [tableNode.GetNthNodeReferenceRole(n) for n in range(tableNode.GetNumberOfNodeReferenceRoles())]
    for index in range(tableNode.GetNumberOfRows() if column >= 0 else 0):
        role = _ROLE + tableNode.GetCellText(index, column)
        if role != _ROLE:
            found.append((index, tableNode.GetNodeReference(role) if role in roles else None))
    return found


def textsOf(tableNode, index: int) -> dict[str, str]:
    """Texts of a row by heading; empty where a column is missing or nothing is known."""
    texts = {}
    for title in TITLES.values():
        column = tableNode.GetColumnIndex(title)
        text = tableNode.GetCellText(index, column) if column >= 0 else ""
        texts[title] = "" if text == "nan" else text
    return texts


def setText(tableNode, index: int, title: str, text: str) -> None:
    """Set one cell of a row; a column that is missing is made again. After an error the table is as it was before."""
    _requireOurs(tableNode)
    with _unchangedByErrors(tableNode), NodeModify(tableNode):
        _addMissingColumns(tableNode)
        _setCell(tableNode, index, title, text)


def rows(tableNode) -> list[list[str]]:
    """Headings and cells as text; what is not known is empty."""
    cells = [list(textsOf(tableNode, index).values()) for index in range(tableNode.GetNumberOfRows())]
    return [list(TITLES.values()), *cells]


def export(tableNode, path) -> None:
    """Write the table as it is as CSV (UTF-8, comma); see `row_check.export`. Raises OSError when that fails."""
    _requireOurs(tableNode)
    writeCsv(path, rows(tableNode))


def writeCsv(path, lines: list[list]) -> None:
    """Headings and cells. Raises OSError when the file cannot be written."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def _requireOurs(tableNode) -> None:
    if not isOurs(tableNode):
        raise InputError(f"'{tableNode.GetName()}' is no table of liver volumes; choose another one, or none.")


def _addMissingColumns(tableNode) -> None:
    """Deleted and renamed columns are made again, so that each figure stands under its own heading."""
    columns = {title: vtk.vtkStringArray if field in _TEXTS else vtk.vtkDoubleArray for field, title in TITLES.items()}
    for title, arrayClass in {**columns, ROW_ID: vtk.vtkStringArray}.items():
        if tableNode.GetColumnIndex(title) < 0:
            _addColumn(tableNode, title, arrayClass())
        elif not tableNode.GetTable().GetColumnByName(title).IsA("vtkStringArray"):
            _letHoldFractions(tableNode, title)
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.SetAttribute(_MARK, "1")


def _letHoldFractions(tableNode, title: str) -> None:
    """A column that was made one of whole numbers would take 1155.3 for 0."""
    column = tableNode.GetTable().GetColumnByName(title)
    if not column.IsA("vtkDoubleArray"):
        wider = vtk.vtkDoubleArray()
        wider.DeepCopy(column)
        wider.SetName(title)
        tableNode.SetColumnType(title, vtk.VTK_DOUBLE)
        for index in range(tableNode.GetNumberOfRows()):
            tableNode.SetCellText(index, tableNode.GetColumnIndex(title), str(wider.GetValue(index)))


def _addColumn(tableNode, title: str, array) -> None:
    """Nothing is known in it of the rows that there are."""
    array.SetName(title)
    array.SetNumberOfValues(tableNode.GetNumberOfRows())
    for index in range(tableNode.GetNumberOfRows()):
        array.SetValue(index, "" if array.IsA("vtkStringArray") else math.nan)
    tableNode.AddColumn(array)
    if title in _NOTES:
        tableNode.SetColumnDescription(title, _NOTES[title])


def _addRow(tableNode, segmentationNode) -> int:
    rowId = next(_idsOf(tableNode, segmentationNode), uuid.uuid4().hex[:8])
    index = tableNode.AddEmptyRow()
    tableNode.SetNodeReferenceID(_ROLE + rowId, segmentationNode.GetID())
    _setCell(tableNode, index, ROW_ID, rowId)
    return index


def _idsOf(tableNode, segmentationNode) -> Iterator[str]:
    """IDs of the rows that belong to a segmentation."""
    roles = [tableNode.GetNthNodeReferenceRole(n) for n in range(tableNode.GetNumberOfNodeReferenceRoles())]
    for role in roles:
        if role.startswith(_ROLE) and tableNode.GetNodeReference(role) == segmentationNode:
            yield role.removeprefix(_ROLE)


def _indexOf(tableNode, segmentationNode) -> int | None:
    ids = set(_idsOf(tableNode, segmentationNode))
    column = tableNode.GetColumnIndex(ROW_ID)
    indices = range(tableNode.GetNumberOfRows()) if ids and column >= 0 else ()
    return next((index for index in indices if tableNode.GetCellText(index, column) in ids), None)


def _setCell(tableNode, index: int, title: str, text: str) -> None:
    column = tableNode.GetColumnIndex(title)
    isText = tableNode.GetTable().GetColumn(column).IsA("vtkStringArray")
    tableNode.SetCellText(index, column, text if text or isText else str(math.nan))


def _text(field: str, value) -> str:
    if value is None:
        return ""
    if field == "share_in_region":
        return f"{value:.3f}"
    return str(round(value, _DECIMALS[field])) if field in _DECIMALS else str(value)


@contextmanager
def _unchangedByErrors(tableNode) -> Iterator[None]:
    """Take everything back that is done to the table within this block when it ends with an error."""
    before = vtk.vtkTable()
    before.DeepCopy(tableNode.GetTable())
    try:
        yield
    except BaseException:
        tableNode.GetTable().DeepCopy(before)
        tableNode.Modified()
        raise
