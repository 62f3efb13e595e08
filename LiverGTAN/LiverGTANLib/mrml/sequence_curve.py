"""The volume curve of a sequence of segmentations: table, chart, and what of it is still true. On the main thread."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import vtk

from ..core import measurements
from ..core.volume import InputError
from . import frame_state, scene, volume_curve
from .ct_sequence import CtSequence
from .frame_state import EDITED, FrameState
from .volume_curve import CurvePoint
from .warp import Warp

logger = logging.getLogger(__name__)

_TABLE, _CHART, _SERIES = (f"LiverGTAN.frames.{name}" for name in ("table", "chart", "series"))
"""Node references of a sequence of CTs."""

_SEGMENTED = "LiverGTAN.frames.segmented"
"""Attribute of the sequence of segmentations: state and figures of each frame when it was segmented, as JSON."""

BEFORE_CHANGED = "the frame before was changed since"


def write(source: CtSequence, points: list[CurvePoint]) -> None:
    """Put a curve into its table and chart, which are made where they are missing."""
    owner = source.sequenceNode
    mrmlScene = owner.GetScene()
    for role, className, what in (
        (_TABLE, "vtkMRMLTableNode", "liver volumes"),
        (_SERIES, "vtkMRMLPlotSeriesNode", "liver volume"),
        (_CHART, "vtkMRMLPlotChartNode", "liver volume curve"),
    ):
        if scene.owned(owner, role) is None:
            name = mrmlScene.GenerateUniqueName(f"{owner.GetName()} {what}")
            scene.setOwned(owner, role, mrmlScene.AddNewNodeByClass(className, name))
    table, series, chart = (scene.owned(owner, role) for role in (_TABLE, _SERIES, _CHART))
    volume_curve.write(table, points, source.indexTitle)
    volume_curve.draw(chart, series, table, points, source.indexTitle)


def restore(source: CtSequence, before) -> None:
    """Set the table to what it was (a vtkTable), or remove table and chart (None)."""
    owner = source.sequenceNode
    table, series, chart = (scene.owned(owner, role) for role in (_TABLE, _SERIES, _CHART))
    if before is None:
        for node in filter(None, (chart, series)):
            owner.GetScene().RemoveNode(node)
        if table is not None:
            scene.removeNode(table)
    elif table is not None:
        table.SetAndObserveTable(before)
        if chart is not None and series is not None:
            volume_curve.draw(chart, series, table, volume_curve.read(table, source.indexTitle), source.indexTitle)


def tableCopy(source: CtSequence):
    """The table as it is (a vtkTable), for `restore`; None without one."""
    tableNode = nodes(source)[0]
    if tableNode is None:
        return None
    table = vtk.vtkTable()
    table.DeepCopy(tableNode.GetTable())
    return table


def nodes(source: CtSequence) -> tuple[Any, Any]:
    """Table and chart, None each where they were deleted or not made."""
    return scene.owned(source.sequenceNode, _TABLE), scene.owned(source.sequenceNode, _CHART)


def measure(source: CtSequence) -> list[CurvePoint]:
    """The curve of the masks as they are by now, which table and chart then show; empty where nothing is segmented.

    Of a frame that was edited or moved since, or whose CT has changed, the volume alone is known. Frames whose CT was
    deleted are left out.
    """
    made = source.segmentations
    if made is None:
        return []
    segmented, points = _segmented(made), []
    before = None  # key of the frame before, if its mask is still the one that was segmented
    for index, node, state in _states(source):
        key = volume_curve.indexKey(index)
        former = segmented.get(key)
        changes = state.changesSince(former.state) if former is not None else []
        if former is None or changes:
            point = _measured(source, node, index, changes)
        elif former.point.dice is not None and former.before != before:
            hint = "; ".join(filter(None, (former.point.hint, BEFORE_CHANGED)))
            point = replace(former.point, dice=None, hint=hint)
        else:
            point = former.point
        points.append(replace(point, index=index))
        before = key if former is not None and set(changes) <= {frame_state.CT_CHANGED} else None
    write(source, points)
    return points


def editedFrames(source: CtSequence) -> list[int]:
    """Numbers, from 1, of frames of the CT whose liver has other voxels than those that were remembered."""
    segmented, found = _segmented(source.segmentations), []
    for index, _, state in _states(source):
        former = segmented.get(volume_curve.indexKey(index))
        isEdited = EDITED in state.changesSince(former.state) if former else bool(state.maskGrid)
        if isEdited:
            found.append(source.sequenceNode.GetItemNumberFromIndexValue(index, True) + 1)
    return found


def replacing(source: CtSequence) -> str:
    """What a run would replace, for the user."""
    edited = editedFrames(source)
    said = (
        f"The frames of '{source.sequenceNode.GetName()}' are segmented already, in '{source.segmentations.GetName()}'."
    )
    return f"{said} {framesNamed(edited)} edited since." if edited else said


def framesNamed(numbers: list[int]) -> str:
    """ "Frame 2 was" or "Frames 2, 5 and 9 were"; the first ten (a choice) by number."""
    named = [*map(str, numbers[:10]), *([f"{len(numbers) - 10} more"] if len(numbers) > 10 else [])]
    return f"Frame {named[0]} was" if len(named) == 1 else f"Frames {', '.join(named[:-1])} and {named[-1]} were"


@dataclass(frozen=True)
class _Segmented:
    """A frame when it was segmented. before: key of the index of the frame before it, None in the first."""

    state: FrameState
    point: CurvePoint
    before: float | str | None


def _states(source: CtSequence) -> Iterator[tuple[str, Any, FrameState]]:
    """(index, segmentation, state) of each frame of which there are a mask and a CT."""
    made, cts = source.segmentations, source.sequenceNode
    for number in range(made.GetNumberOfDataNodes()):
        index, node = made.GetNthIndexValue(number), made.GetNthDataNode(number)
        item = cts.GetItemNumberFromIndexValue(index, True)
        if item >= 0:
            frame = cts.GetNthDataNode(item)
            ct = frame if frame is not None and frame.IsA("vtkMRMLVolumeNode") else None
            yield index, node, frame_state.of(node, ct, source.maskProxy, source.proxyNode)


def remember(source: CtSequence, points: list[CurvePoint]) -> None:
    """Save the states of all frames, which are those that their points were measured in, with the segmentations."""
    byKey = {volume_curve.indexKey(point.index): point for point in points}
    rows = [(asdict(state), asdict(byKey[volume_curve.indexKey(index)])) for index, _, state in _states(source)]
    source.segmentations.SetAttribute(_SEGMENTED, json.dumps(rows))


def _segmented(made) -> dict[float | str, _Segmented]:
    """What `remember` saved, by key of the index; empty where that is not there or cannot be read."""
    found: dict[float | str, _Segmented] = {}
    before = None
    try:
        for state, values in json.loads(made.GetAttribute(_SEGMENTED) or "[]"):
            point = CurvePoint(**values)
            key = volume_curve.indexKey(point.index)
            found[key] = _Segmented(FrameState(**state), point, before)
            before = key
    except (ValueError, TypeError, AttributeError):
        logger.exception("What the frames in '%s' were segmented as cannot be read.", made.GetName())
        return {}
    return found


def _measured(source: CtSequence, node, index: str, changes: list[str]) -> CurvePoint:
    """The volume alone, under the transform that the mask lies under."""
    segment = node.GetSegmentation().GetSegment(scene.liverSegmentId(node))
    voxels = scene.segmentVoxels(segment) if segment is not None else 0
    if not voxels:
        return CurvePoint(index, hint="; ".join(changes))
    labelmap, proxy = segment.GetRepresentation(scene.LABELMAP), source.maskProxy
    if not scene.isWarped(proxy):
        toWorld = scene.localToWorld(proxy) @ scene.imageToWorld(labelmap)
        volumeMl = voxels * measurements.voxel_ml(toWorld)
    else:
        inside = scene.labelmapArray(labelmap) == segment.GetLabelValue()
        try:
            volumeMl = Warp.ofLabelmap(proxy, labelmap).voxelVolumes.sum_ml(inside, (0, 0, 0))
        except InputError as error:
            return CurvePoint(index, voxels=voxels, hint="; ".join([*changes, str(error)]))
    return CurvePoint(index, volumeMl, voxels=voxels, hint="; ".join(changes))
