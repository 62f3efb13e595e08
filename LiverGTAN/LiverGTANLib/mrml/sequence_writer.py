"""Sequences of segmentations in a scene: making them, showing them in the browser of the CTs, and taking that back.

On the main thread.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer import vtkSegmentationConverter
from slicer.util import NodeModify, vtkMatrixFromArray

from ..core.segmentation_job import JobResult
from ..core.volume import InputError
from . import frame_state, scene, sequence_curve, volume_curve
from .ct_sequence import CtSequence, Frame
from .resection_plan import ResectionPlan
from .segment_writer import takeBack
from .undo_history import GEOMETRY
from .volume_curve import CurvePoint, Flicker


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """What a run put into the scene.

    source: browser, CTs and the volume that shows them. segmentations: the sequence. segmentation: the node in which
    the browser shows the frame that is selected. points: one for each frame. undo(): take the run back, and bring back
    what it replaced; raises InputError when a frame was edited, or a resection planned on one, since.
    """

    source: CtSequence
    segmentations: Any
    segmentation: Any
    tableNode: Any
    chartNode: Any
    points: list[CurvePoint]
    undo: Callable[[], None]

    @property
    def problems(self) -> list[tuple[int, str]]:
        """(number from 1, reason) of the frames without a liver."""
        return [(n, point.hint) for n, point in enumerate(self.points, 1) if point.volumeMl is None]

    @property
    def flicker(self) -> Flicker | None:
        """See `volume_curve.flicker`."""
        return volume_curve.flickerOf(self.points)


def add(source: CtSequence):
    """A new sequence for the segmentations, with the index of the CTs."""
    mrmlScene, like = source.sequenceNode.GetScene(), source.sequenceNode
    name = mrmlScene.GenerateUniqueName(f"{like.GetName()} liver sequence")
    node = mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    node.SetIndexName(like.GetIndexName())
    node.SetIndexUnit(like.GetIndexUnit())
    node.SetIndexType(like.GetIndexType())
    node.SetNumericIndexValueTolerance(like.GetNumericIndexValueTolerance())
    return node


def segmentationOf(frame: Frame, found: JobResult | None, replaced=None):
    """A segmentation of one frame, in no scene; without a liver where there is none (None).

    replaced: the one that it replaces, whose other segments it takes over.
    """
    node = slicer.vtkMRMLSegmentationNode()
    node.GetSegmentation().SetSourceRepresentationName(scene.LABELMAP)
    if found is not None and frame.ct is not None:
        _addLiver(node, frame, found)
    if replaced is not None:
        _takeOverOthers(node, replaced)
    return node


def _addLiver(node, frame: Frame, found: JobResult) -> None:
    segmentation = node.GetSegmentation()
    extent = [end for n in frame.ct.shape[::-1] for end in (0, n - 1)]
    geometry = vtkSegmentationConverter.SerializeImageGeometry(vtkMatrixFromArray(frame.ijkToLocal), extent)
    segmentation.SetConversionParameter(GEOMETRY, geometry)
    segmentId = scene.addLiverSegment(node)
    scene.tagSegment(node, segmentId, found.student)
    segment = segmentation.GetSegment(segmentId)
    segment.AddRepresentation(scene.LABELMAP, scene.orientedImage(found.mask, frame.ijkToLocal))
    scene.noteVoxels(segment, np.linalg.inv(frame.ijkToLocal))


def _takeOverOthers(node, replaced) -> None:
    """Copy the segments that are not this module's."""
    segmentation, others = node.GetSegmentation(), replaced.GetSegmentation()
    for segmentId in others.GetSegmentIDs():
        isCopied = segmentId == scene.liverSegmentId(replaced) or _copySegment(others, segmentId, segmentation)
        if not isCopied:
            name = others.GetSegment(segmentId).GetName()
            raise InputError(
                f"The segment '{name}' of a frame could not be taken over; nothing was changed. Make 'Binary labelmap' "
                "the source representation of its segmentation in the Segmentations module."
            )


def _copySegment(source, segmentId: str, target) -> bool:
    segment = slicer.vtkSegment()
    segment.DeepCopy(source.GetSegment(segmentId))
    return target.AddSegment(segment, target.GenerateUniqueSegmentID(segmentId))


def show(source: CtSequence, made, proxyNode) -> None:
    """Let the browser show a sequence of segmentations in a node (None: in none), from which edits go into it."""
    browser, mrmlScene = source.browserNode, source.sequenceNode.GetScene()
    if made.GetScene() is None:
        mrmlScene.AddNode(made)
    index = browser.GetMasterSequenceNode().GetNthIndexValue(max(0, browser.GetSelectedItemNumber()))
    shown = made.GetDataNodeAtValue(index)
    with NodeModify(browser):
        if proxyNode is None:
            browser.AddSynchronizedSequenceNodeID(made.GetID())
            return
        if shown is not None:  # so that nothing else can be saved as this frame's
            proxyNode.CopyContent(shown, False)
        scene.setReference(proxyNode, scene.LIVER_ROLE, source.proxyNode)
        browser.AddSynchronizedSequenceNodeID(made.GetID())
        browser.AddProxyNode(proxyNode, made, False)
        browser.SetMissingItemMode(made, browser.MissingItemCreateFromDefault)  # not the mask of another frame
        browser.SetOverwriteProxyName(made, False)
        browser.SetSaveChanges(made, True)


def hide(source: CtSequence, made) -> None:
    """Take a sequence of segmentations out of the browser and the scene; the node that showed it stays."""
    browser = source.browserNode
    if browser.IsSynchronizedSequenceNodeID(made.GetID(), True):
        browser.RemoveSynchronizedSequenceNode(made.GetID())
    if made.GetScene() is not None:
        made.GetScene().RemoveNode(made)


class SequenceUndo:
    """Takes a run back. replaced: the segmentations before, transformId: what the node that showed them lay under, and
    curve: their table, each None for none. newProxy: the node that shows the segmentations, if the run made it."""

    def __init__(self, source: CtSequence, made, replaced, newProxy, transformId, curve):
        self._source, self._made, self._replaced = source, made, replaced
        self._newProxy, self._transformId, self._curve = newProxy, transformId, curve
        self._transformOfRun = source.maskProxy.GetTransformNodeID()
        self._noteState()

    def _noteState(self) -> None:
        self._masks = frame_state.masksOf(self._made)

    def undo(self) -> None:
        """See `SequenceResult`. After an error all is as it was; so nodes are removed when all else is done."""
        proxyNode = self._requireUndoable()
        source, made = self._source, self._made
        with ExitStack() as rollback:

            def onError(function: Callable, *arguments) -> None:
                rollback.callback(takeBack, function, *arguments)

            onError(self._noteState)  # what is shown again is a copy
            onError(source.own, made)
            onError(show, source, made, proxyNode)
            hide(source, made)
            if self._replaced is not None:
                self._showReplaced(proxyNode, onError)
            source.own(self._replaced)
            if self._curve is not None:
                onError(sequence_curve.restore, source, sequence_curve.tableCopy(source))
                sequence_curve.restore(source, self._curve)
            if self._replaced is not None and self._curve is not None and sequence_curve.nodes(source)[0] is not None:
                # CTs or transforms may have changed since the restored table was written.
                sequence_curve.measure(source)
            rollback.pop_all()
        if self._curve is None:
            sequence_curve.restore(source, None)
        if self._replaced is None and proxyNode is not None and proxyNode == self._newProxy:
            scene.removeNode(proxyNode)

    def _requireUndoable(self):
        """The node that shows the segmentations, None without one. Raises InputError, see `SequenceResult`."""
        source, made = self._source, self._made
        if not source.exists or source.segmentations != made:
            raise InputError(
                "The sequence or its segmentations were removed or replaced since; there is nothing to undo."
            )
        if frame_state.masksOf(made) != self._masks:  # an edit that was undone is none
            raise InputError(
                "A frame was edited since, which Undo would lose; to give it up, delete "
                f"'{made.GetName()}' in the Data module."
            )
        proxyNode = source.browserNode.GetProxyNode(made)
        if self._replaced is None and proxyNode is not None and proxyNode == self._newProxy:
            _requireNoPlan(proxyNode)
        return proxyNode

    def _showReplaced(self, proxyNode, onError: Callable) -> None:
        if proxyNode is None:
            proxyNode = scene.createSegmentation(self._source.proxyNode)
            onError(scene.removeNode, proxyNode)
        elif proxyNode.GetTransformNodeID() == self._transformOfRun:  # not moved since
            onError(proxyNode.SetAndObserveTransformNodeID, self._transformOfRun)
            proxyNode.SetAndObserveTransformNodeID(self._transformId)
        onError(hide, self._source, self._replaced)
        show(self._source, self._replaced, proxyNode)


def _requireNoPlan(liverNode) -> None:
    plan = ResectionPlan(liverNode)
    if plan.cutNode is not None or plan.partsNode is not None:
        raise InputError(
            f"A resection was planned in '{liverNode.GetName()}' since, which Undo would lose; to give it up, undo the "
            "plan, or delete its cut and parts in the Data module, first."
        )
