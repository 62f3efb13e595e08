"""Rows of the table of volumes are true of the livers that are in the scene, or say why not. On the main thread.

A liver may be edited by hand, moved, deleted or segmented again with another table, while another module is open or
before the scene was loaded. Where a figure is not true any more it is measured again, or its row says so.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import slicer

from ..core.files import require_new
from ..core.measurements import TITLES, MeasurementRow
from ..core.uncertainty import VolumeInterval
from ..core.volume import InputError, OutOfMemory
from . import scene, table
from .segment_volume import Content, segmentMl
from .session import SegmentationResult

logger = logging.getLogger(__name__)

CHANGED = "the liver or its CT was edited or moved since it was segmented; only the volume was measured again"
REGION = "the ROI was changed or removed since; the share in it is not known"
GONE = "its liver is not in the scene any more"
NOT_MEASURED = "its liver has no label map any more and cannot be measured"

ROUNDING_ML = 0.06
"""A cell holds one decimal."""

ROUNDING_SHARE = 2e-5
"""Of the volume; spacings are rounded in files."""

WARPED_SHARE = 0.005
"""Where a transform bends space, volumes of one liver measured on two grids differ by less than this (a choice)."""

Known = Callable[[object], SegmentationResult | None]
"""What a session knows of the liver in a segmentation, see `Session.resultIn`."""


def refresh(tableNode, known: Known, only: Iterable | None = None) -> None:
    """Let the rows of these segmentations (None: all rows) say what is in the scene."""
    if not table.isOurs(tableNode):
        return
    chosen = None if only is None else list(only)
    for index, segmentationNode in table.segmentations(tableNode):
        if chosen is None or segmentationNode is None or segmentationNode in chosen:
            _refreshRow(tableNode, index, segmentationNode, known)


def segmentations(mrmlScene) -> set:
    """Those that have a row in any table."""
    tables = filter(table.isOurs, slicer.util.getNodesByClass("vtkMRMLTableNode", mrmlScene))
    return {node for tableNode in tables for _, node in table.segmentations(tableNode) if node is not None}


@dataclass(frozen=True)
class StoredFigures:
    """What is known of a liver without the network.

    volumeMl: of the segment as it is. interval: None where none is stored, or it is not true any more. hint: of its
    row. hasRow: whether there is one; frames of a sequence have figures of their own. isChanged: whether the row says
    that liver or CT differ from when it was segmented.
    """

    volumeMl: float
    interval: VolumeInterval | None = None
    hint: str = ""
    hasRow: bool = False
    isChanged: bool = False


def stored(segmentationNode, preferred, known: Known) -> StoredFigures:
    """Of this module's liver in a segmentation: its row in the preferred table, else in any, after `refresh`.

    Raises InputError when the liver has no label map.
    """
    volumeMl = segmentMl(segmentationNode, scene.liverSegmentId(segmentationNode))
    tables = [preferred, *slicer.util.getNodesByClass("vtkMRMLTableNode", segmentationNode.GetScene())]
    for tableNode in filter(None, tables):
        if table.isOurs(tableNode) and table.read(tableNode, segmentationNode) is not None:
            refresh(tableNode, known, [segmentationNode])
            texts = table.read(tableNode, segmentationNode) or {}
            hint = texts.get(TITLES["hint"], "")
            return StoredFigures(volumeMl, _interval(texts, volumeMl), hint, True, CHANGED in hint)
    return StoredFigures(volumeMl)


def _interval(texts: dict[str, str], volumeMl: float) -> VolumeInterval | None:
    try:
        return VolumeInterval(float(texts[TITLES["low_ml"]]), volumeMl, float(texts[TITLES["high_ml"]]))
    except (KeyError, ValueError):  # a user may write what he likes into a cell
        return None


def export(tableNode, path, known: Known, overwrite: bool = False) -> None:
    """Write the table as CSV, after `refresh`.

    Raises InputError when the file exists and `overwrite` is False, and OSError when it cannot be written.
    """
    require_new(path, overwrite)
    refresh(tableNode, known)
    table.export(tableNode, path)


def _refreshRow(tableNode, index: int, segmentationNode, known: Known) -> None:
    segmentId = scene.liverSegmentId(segmentationNode) if segmentationNode is not None else ""
    if not segmentId:
        _mark(tableNode, index, GONE)
        return
    owner = scene.liverVolume(segmentationNode)
    if owner is not None:
        table.followName(tableNode, index, owner.GetName())
    result = known(segmentationNode)
    now, written = Content.of(segmentationNode), table.content(tableNode, segmentationNode)
    hasRegion = now is None or written is None or written.hasSameRegion(now)
    if result is not None and result.tableNode == tableNode and result.isCurrent():
        texts = table.read(tableNode, segmentationNode) or {}
        if not hasRegion:
            _forgetShare(tableNode, index)
        elif _marks(texts):  # what was changed is as it was again
            table.put(tableNode, segmentationNode, result.row())
        elif written is None:
            table.setContent(tableNode, segmentationNode, now)
        return
    try:
        volumeMl = segmentMl(segmentationNode, segmentId)
    except (InputError, OutOfMemory):
        logger.info("The row of '%s' cannot be checked.", segmentationNode.GetName(), exc_info=True)
        _mark(tableNode, index, NOT_MEASURED)
        return
    isOfSame = now is None or written is None or written.isOfSame(now)
    if isOfSame and _agrees(tableNode, index, volumeMl, scene.isWarped(segmentationNode)):
        _mark(tableNode, index, "")
        if not hasRegion:
            _forgetShare(tableNode, index)
    else:
        name = (table.read(tableNode, segmentationNode) or {})[TITLES["name"]]
        row = MeasurementRow(owner.GetName() if owner is not None else name, volumeMl, hint=CHANGED)
        table.put(tableNode, segmentationNode, row)


def _agrees(tableNode, index: int, volumeMl: float, isWarped: bool) -> bool:
    """Whether the volume in a row, where it holds one, is this one."""
    text = table.textsOf(tableNode, index)[TITLES["volume_ml"]]
    try:
        written = float(text)
    except ValueError:
        return not text
    share = WARPED_SHARE if isWarped else ROUNDING_SHARE
    return abs(written - volumeMl) <= ROUNDING_ML + share * volumeMl


def _marks(texts: dict[str, str]) -> list[str]:
    hint = texts.get(TITLES["hint"], "")
    return [mark for mark in (CHANGED, REGION, GONE, NOT_MEASURED) if mark in hint]


def _forgetShare(tableNode, index: int) -> None:
    """The share in an ROI that lies elsewhere by now is not known."""
    texts = table.textsOf(tableNode, index)
    if texts[TITLES["share_in_region"]]:
        table.setText(tableNode, index, TITLES["share_in_region"], "")
        table.setText(tableNode, index, TITLES["hint"], "; ".join(filter(None, (texts[TITLES["hint"]], REGION))))


def _mark(tableNode, index: int, mark: str) -> None:
    """Let the hint of a row say this and no other mark but `CHANGED` and `REGION`, which stay with the figures."""
    hint = table.textsOf(tableNode, index)[TITLES["hint"]]
    words = [part for part in hint.split("; ") if part and part not in (GONE, NOT_MEASURED)]
    wanted = "; ".join([*words, mark] if mark else words)
    if wanted != hint:
        table.setText(tableNode, index, TITLES["hint"], wanted)
