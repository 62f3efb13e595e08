"""The CTs of a Sequences browser, frame by frame, as a sequence of segmentations in the same browser.

`FrameSegmentation` reads the frames, segments them in any thread, and puts all into the scene at once: a run that is
canceled or fails leaves the scene as it was. One `undo` takes a whole run back.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk
from slicer import vtkSegmentationConverter
from slicer.util import NodeModify, vtkMatrixFromArray

from ..core import boxes, input_checks, measurements, segmenter
from ..core.engines.engine import Cancelled, IsCancelled, Progress
from ..core.segmentation_job import JobResult, SegmentationCache, SegmentationJob
from ..core.segmenter import BoxMask
from ..core.volume import CtVolume, InputError, memory_errors_explained
from . import frame_state, scene, volume_curve
from .frame_state import FrameState
from .parameters import ChosenParameters
from .resection_plan import ResectionPlan
from .segment_writer import takeBack
from .session import Session, engineName
from .undo_history import GEOMETRY
from .volume_curve import CurvePoint, Flicker
from .warp import Warp

logger = logging.getLogger(__name__)

_SEGMENTATIONS, _TABLE, _CHART, _SERIES = (
    f"LiverGTAN.frames.{name}" for name in ("segmentations", "table", "chart", "series")
)
"""Node references of a sequence of CTs."""

VOLUME_CLASS = "vtkMRMLScalarVolumeNode"

_SEGMENTED = "LiverGTAN.frames.segmented"
"""Attribute of the sequence of segmentations: state and figures of each frame when it was segmented, as JSON."""

BEFORE_CHANGED = "the frame before was changed since"


@dataclass(frozen=True, eq=False)
class CtSequence:
    """Frames of CT in a browser. proxyNode: the volume in which the browser shows the frame that is selected."""

    browserNode: Any
    sequenceNode: Any
    proxyNode: Any

    @staticmethod
    def of(node) -> "CtSequence":
        """node: the volume in which a browser shows its frames, or a browser. Raises InputError."""
        if node is None or node.GetScene() is None:
            raise InputError("Choose a CT of a sequence.")
        if node.IsA("vtkMRMLSequenceBrowserNode"):
            return CtSequence._inBrowser(node)
        for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", node.GetScene()):
            sequence = browser.GetSequenceNode(node)
            if sequence is not None:
                return CtSequence(browser, sequence, node)
        raise InputError(
            f"'{node.GetName()}' is no frame of a sequence: choose the volume in which a browser of the Sequences "
            "module shows them."
        )

    @staticmethod
    def _inBrowser(browser) -> "CtSequence":
        found, nodes = vtk.vtkCollection(), []
        browser.GetSynchronizedSequenceNodes(found, True)
        for n in range(found.GetNumberOfItems()):
            sequence = found.GetItemAsObject(n)
            if sequence.GetNumberOfDataNodes() and sequence.GetDataNodeClassName() == VOLUME_CLASS:
                nodes.append(sequence)
        if len(nodes) != 1:
            many = "several sequences of volumes: give the volume that shows the one to segment"
            raise InputError(f"'{browser.GetName()}' has {many if nodes else 'no frames of a CT'}.")
        proxyNode = browser.GetProxyNode(nodes[0])
        if proxyNode is None:
            raise InputError(f"'{browser.GetName()}' does not show its CT; switch its playback on in Sequences.")
        return CtSequence(browser, nodes[0], proxyNode)

    @property
    def exists(self) -> bool:
        nodes = (self.browserNode, self.sequenceNode, self.proxyNode)
        inScene = all(node.GetScene() is not None for node in nodes)
        return inScene and self.browserNode.GetSequenceNode(self.proxyNode) == self.sequenceNode

    @property
    def count(self) -> int:
        return self.sequenceNode.GetNumberOfDataNodes()

    @property
    def indexTitle(self) -> str:
        """Heading for the index, such as "time [s]"."""
        name, unit = self.sequenceNode.GetIndexName() or "index", self.sequenceNode.GetIndexUnit()
        title = f"{name} [{unit}]" if unit else name
        return f"{title} (index)" if title in volume_curve.TITLES else title

    @property
    def segmentations(self):
        """The sequence of segmentations that was made of the frames and is in the browser, or None."""
        node = scene.owned(self.sequenceNode, _SEGMENTATIONS)
        isShown = node is not None and self.browserNode.IsSynchronizedSequenceNodeID(node.GetID(), True)
        return node if isShown else None

    @property
    def otherBrowser(self):
        """Another browser, which shows the segmentations that were made of the frames; None where none does."""
        node = scene.owned(self.sequenceNode, _SEGMENTATIONS)
        if node is None or self.segmentations is not None:
            return None
        browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", node.GetScene())
        return next((one for one in browsers if one.IsSynchronizedSequenceNodeID(node.GetID(), True)), None)

    @property
    def maskProxy(self):
        """The node whose transform the masks of all frames lie under: the one that shows them, else the CT's."""
        return self.browserNode.GetProxyNode(self.segmentations) or self.proxyNode

    def curveKey(self) -> list:
        """Equal as long as the curve of the segmentations is the same; holds no image."""
        frames = [key[:1] + key[2:] for key in (self._frameKey(n) for n in range(self.count))]
        return [maskTimes(self.segmentations), frames, _placeOf(self.proxyNode), _placeOf(self.maskProxy)]

    def key(self) -> list:
        """Equal as long as the frames show the same voxels in the same place."""
        return [self._frameKey(n) for n in range(self.count)] + [_placeOf(self.proxyNode)]

    def _frameKey(self, number: int) -> tuple:
        frame = self.sequenceNode.GetNthDataNode(number)
        image = frame.GetImageData() if frame is not None and frame.IsA("vtkMRMLVolumeNode") else None
        matrix = scene.ijkToLocal(frame).tobytes() if image is not None else b""
        return self.sequenceNode.GetNthIndexValue(number), image, image.GetMTime() if image else 0, matrix


def _placeOf(volumeNode) -> tuple:
    """Equal as long as the transforms above a volume are the same."""
    transform = above = volumeNode.GetParentTransformNode()
    chain = []  # the time alone stays when a transform is put under an older one
    while above is not None:
        chain.append(above.GetID())
        above = above.GetParentTransformNode()
    return *chain, transform.GetTransformToWorldMTime() if transform else 0


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame as it was read. ct: None where it cannot be, for the reason `problem`. ijkToLocal: (4, 4), in mm as
    stored in its node."""

    index: str
    ct: CtVolume | None
    ijkToLocal: np.ndarray
    problem: str = ""


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What was found in a frame. found: None where there is no liver, for the reason that `point.hint` says."""

    frame: Frame
    found: JobResult | None
    point: CurvePoint


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


class FrameSegmentation:
    """One run over the frames of a sequence.

    node: see `CtSequence.of`. chosen: student, engine and settings; ROI and points belong to one frame and are not
    used. mayReplace: whether segmentations that were made of these frames before may be replaced. Raises InputError.
    """

    @memory_errors_explained()
    def __init__(self, session: Session, node, chosen: ChosenParameters, mayReplace: bool = False):
        self.source, self._chosen = CtSequence.of(node), chosen
        source = self.source
        if source.browserNode.GetRecordingActive():
            raise InputError(f"'{source.browserNode.GetName()}' is recording; stop that first.")
        if not source.count:
            raise InputError(f"The sequence '{source.sequenceNode.GetName()}' has no frames.")
        if source.sequenceNode.GetDataNodeClassName() != VOLUME_CLASS:
            raise InputError(f"'{source.sequenceNode.GetName()}' is no sequence of CTs; choose one of scalar volumes.")
        _requireOwnIndex(source)
        _requireFixedTransforms(source)
        _requireNoOtherBrowser(source)
        self._replaced = source.segmentations
        if self._replaced is not None and not mayReplace:
            raise InputError(replacing(source) + " Allow that (replace=True), or take them out of the browser first.")
        self._key = source.key()
        self._frames = _read(source)
        self._cache = SegmentationCache(session.engines)

    # In any thread

    def segment(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> list[FrameResult]:
        """Find the liver in each frame. Raises Cancelled, and what concerns all frames, such as StudentError."""
        results: list[FrameResult] = []
        count = len(self._frames)
        for number, frame in enumerate(self._frames):

            def report(fraction: float, text: str, number=number) -> None:
                if progress:
                    progress((number + fraction) / count, f"Frame {number + 1} of {count}")

            report(0.0, "")
            if cancelled and cancelled():
                raise Cancelled
            results.append(self._segment(frame, number, results, report, cancelled))
        return results

    def _segment(self, frame: Frame, number: int, done: list[FrameResult], progress, cancelled) -> FrameResult:
        if frame.ct is None:
            return FrameResult(frame, None, CurvePoint(frame.index, hint=frame.problem))
        findings = input_checks.check(frame.ct)
        blocking = " ".join(finding.reason for finding in findings if finding.blocking)
        if blocking:
            return FrameResult(frame, None, CurvePoint(frame.index, hint=blocking))
        job = SegmentationJob(
            frame.ct, number, self._cache, self._chosen.student, engineName(self._chosen.engine), self._parameters
        )
        found = job.segment(progress, cancelled)
        hints = [finding.reason for finding in findings + segmenter.check(self._cache.analyses.get(job.analysis_key))]
        if found.mask.empty:
            return FrameResult(frame, None, CurvePoint(frame.index, hint=" ".join(hints) or "No liver was found."))
        isFirst = all(one.found is None for one in done)
        ends = measurements.cut_ends(found.mask, frame.ct) if isFirst else []
        hints += filter(None, (measurements.unusual_size(found.interval.volume), measurements.incomplete(ends)))
        isSure = found.interval.low > 0
        point = CurvePoint(
            frame.index,
            found.interval.volume,
            found.interval.low if isSure else None,
            found.interval.high if isSure else None,
            found.attenuation.mean_hu if found.attenuation else None,
            _dice(done[-1], frame, found.mask) if done else None,
            int(np.count_nonzero(found.mask.voxels)),
            "; ".join(hints),
        )
        return FrameResult(frame, found, point)

    @property
    def _parameters(self):
        return replace(self._chosen, roiNode=None, liverNode=None, notLiverNode=None).maskParameters()

    # In the scene

    @property
    def nodesExist(self) -> bool:
        """Whether browser, sequence and volume are still there."""
        return self.source.exists

    @memory_errors_explained()
    def apply(self, results: list[FrameResult]) -> SequenceResult:
        """Put what was found into the scene, all at once; after an error all is as it was.

        Raises InputError when no frame holds a liver, or the sequence was removed or changed meanwhile.
        """
        self._requireUnchanged(results)
        source = self.source
        mrmlScene, points = source.sequenceNode.GetScene(), [result.point for result in results]
        selected = source.browserNode.GetSelectedItemNumber()
        with ExitStack() as rollback:

            def onError(function: Callable, *arguments) -> None:
                rollback.callback(takeBack, function, *arguments)

            made = _addSequence(source)
            onError(scene.removeNode, made)
            for result in results:
                made.SetDataNodeAtValue(_segmentationOf(result), result.frame.index)
            onError(self._restoreOwned, self._replaced)
            proxyNode = source.browserNode.GetProxyNode(self._replaced) if self._replaced is not None else None
            isNew = proxyNode is None
            if isNew:
                proxyNode = scene.createSegmentation(source.proxyNode)
                proxyNode.SetName(mrmlScene.GenerateUniqueName(f"{source.sequenceNode.GetName()} liver"))
                onError(scene.removeNode, proxyNode)
            if self._replaced is not None:
                onError(_show, source, self._replaced, proxyNode)
                _hide(source, self._replaced)
            onError(_hide, source, made)
            _show(source, made, proxyNode)
            transformBefore = proxyNode.GetTransformNodeID()
            onError(proxyNode.SetAndObserveTransformNodeID, transformBefore)
            proxyNode.SetAndObserveTransformNodeID(source.proxyNode.GetTransformNodeID())
            _own(source, made)
            _remember(source, points)
            curveBefore = _tableCopy(scene.owned(source.sequenceNode, _TABLE))
            onError(restoreCurve, source, curveBefore)
            writeCurve(source, points)
            source.browserNode.SetSelectedItemNumber(selected)
            rollback.pop_all()
        scene.useSegmentation(source.proxyNode, proxyNode)
        undo = _Undo(source, made, self._replaced, proxyNode if isNew else None, transformBefore, curveBefore)
        return SequenceResult(source, made, proxyNode, *curveNodes(source), points, undo.undo)

    def _requireUnchanged(self, results: list[FrameResult]) -> None:
        source = self.source
        if not source.exists:
            raise InputError("The sequence, its browser or its volume was removed meanwhile; nothing was changed.")
        if source.key() != self._key:
            raise InputError(
                f"The frames of '{source.sequenceNode.GetName()}' changed while they were segmented; nothing was "
                "written. Segment them again."
            )
        _requireNoOtherBrowser(source)
        if source.segmentations != self._replaced:
            raise InputError("Other segmentations of these frames came meanwhile; nothing was changed. Try again.")
        if all(result.found is None for result in results):
            reason = results[0].point.hint
            raise InputError(f"No frame holds a liver that can be segmented; nothing was changed. Frame 1: {reason}")

    def _restoreOwned(self, node) -> None:
        if self.source.sequenceNode.GetScene() is not None:
            _own(self.source, node)


class _Undo:
    """Takes a run back. replaced: the segmentations before, transformId: what the node that showed them lay under, and
    curve: their table, each None for none. newProxy: the node that shows the segmentations, if the run made it."""

    def __init__(self, source: CtSequence, made, replaced, newProxy, transformId, curve):
        self._source, self._made, self._replaced = source, made, replaced
        self._newProxy, self._transformId, self._curve = newProxy, transformId, curve
        self._transformOfRun = source.maskProxy.GetTransformNodeID()
        self._noteState()

    def _noteState(self) -> None:
        self._state = maskTimes(self._made)

    def undo(self) -> None:
        """See `SequenceResult`. After an error all is as it was; so nodes are removed when all else is done."""
        proxyNode = self._requireUndoable()
        source, made = self._source, self._made
        with ExitStack() as rollback:

            def onError(function: Callable, *arguments) -> None:
                rollback.callback(takeBack, function, *arguments)

            onError(self._noteState)  # what is shown again is a copy
            onError(_own, source, made)
            onError(_show, source, made, proxyNode)
            _hide(source, made)
            if self._replaced is not None:
                self._showReplaced(proxyNode, onError)
            _own(source, self._replaced)
            if self._curve is not None:
                onError(restoreCurve, source, _tableCopy(scene.owned(source.sequenceNode, _TABLE)))
                restoreCurve(source, self._curve)
            if self._replaced is not None and self._curve is not None and curveNodes(source)[0] is not None:
                measure(source)  # CTs or transforms may have changed since the restored table was written
            rollback.pop_all()
        if self._curve is None:
            restoreCurve(source, None)
        if self._replaced is None and proxyNode is not None and proxyNode == self._newProxy:
            scene.removeNode(proxyNode)

    def _requireUndoable(self):
        """The node that shows the segmentations, None without one. Raises InputError, see `SequenceResult`."""
        source, made = self._source, self._made
        if not source.exists or source.segmentations != made:
            raise InputError(
                "The sequence or its segmentations were removed or replaced since; there is nothing to undo."
            )
        if maskTimes(made) != self._state:
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
        onError(_hide, self._source, self._replaced)
        _show(self._source, self._replaced, proxyNode)


def replacing(source: CtSequence) -> str:
    """What a run would replace, for the user."""
    return (
        f"The frames of '{source.sequenceNode.GetName()}' are segmented already, in '{source.segmentations.GetName()}'."
    )


def _requireNoOtherBrowser(source: CtSequence) -> None:
    """Raise InputError where another browser of the same frames shows their segmentations, which would be lost."""
    other = source.otherBrowser
    if other is not None:
        shown = other.GetProxyNode(source.sequenceNode)
        raise InputError(
            f"The frames of '{source.sequenceNode.GetName()}' are segmented already, in the browser "
            f"'{other.GetName()}'; choose '{shown.GetName() if shown else 'its CT'}', the volume in which that browser "
            "shows them."
        )


def _requireNoPlan(liverNode) -> None:
    plan = ResectionPlan(liverNode)
    if plan.cutNode is not None or plan.partsNode is not None:
        raise InputError(
            f"A resection was planned in '{liverNode.GetName()}' since, which Undo would lose; to give it up, undo the "
            "plan, or delete its cut and parts in the Data module, first."
        )


def _requireOwnIndex(source: CtSequence) -> None:
    """Raise InputError where the browser also selects items at which there is no frame of the CT: no mask belongs
    there, but the CT of the item before is shown."""
    master, sequence = source.browserNode.GetMasterSequenceNode(), source.sequenceNode
    indices = (master.GetNthIndexValue(n) for n in range(master.GetNumberOfDataNodes()))
    if master != sequence and any(sequence.GetItemNumberFromIndexValue(index, True) < 0 for index in indices):
        raise InputError(
            f"'{sequence.GetName()}' has other items than '{master.GetName()}', by which "
            f"'{source.browserNode.GetName()}' is browsed; make it the browser's master sequence in Sequences first."
        )


def _requireFixedTransforms(source: CtSequence) -> None:
    """Raise InputError where a transform above the CT is one of the frames of a sequence itself."""
    transform = source.proxyNode.GetParentTransformNode()
    while transform is not None:
        for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", transform.GetScene()):
            if browser.GetSequenceNode(transform) is not None:
                raise InputError(
                    f"'{source.proxyNode.GetName()}' lies under the transform '{transform.GetName()}', which is "
                    "another one in each frame; take it off in the Transforms module first."
                )
        transform = transform.GetParentTransformNode()


def _read(source: CtSequence) -> list[Frame]:
    """The voxels are not copied. What a transform that bends space does to a grid is measured once for each grid."""
    mrmlScene = source.sequenceNode.GetScene()
    warps: dict[tuple, Warp] = {}
    reader = scene.addHiddenNode(mrmlScene, VOLUME_CLASS, "LiverGTAN frame")
    try:
        reader.SetAndObserveTransformNodeID(source.proxyNode.GetTransformNodeID())
        return [_readFrame(source.sequenceNode, number, reader, warps) for number in range(source.count)]
    finally:
        mrmlScene.RemoveNode(reader)


def _readFrame(sequenceNode, number: int, reader, warps: dict) -> Frame:
    index, node = sequenceNode.GetNthIndexValue(number), sequenceNode.GetNthDataNode(number)
    try:
        if node is None or not node.IsA(VOLUME_CLASS):
            raise InputError("The frame holds no volume.")
        scene.readCt(node)  # refuses what the copy would not show: a label map
        reader.CopyContent(node, False)
        ct, ijkToLocal = scene.readCt(reader), scene.ijkToLocal(reader)
        if scene.isWarped(reader):
            key = ijkToLocal.tobytes(), ct.shape
            if key not in warps:
                warps[key] = Warp.of(reader)
            ct = replace(ct, ijk_to_ras=warps[key].ijkToRas, voxel_volumes=warps[key].voxelVolumes)
        return Frame(index, ct, ijkToLocal)
    except InputError as error:
        return Frame(index, None, np.eye(4), str(error))


def _dice(before: FrameResult, frame: Frame, mask: BoxMask) -> float | None:
    """Overlap with the mask of the frame before, None where that has none or another grid."""
    if before.found is None or before.frame.ct is None or frame.ct is None:
        return None
    other = before.found.mask
    sameGrid = other.shape == mask.shape and np.allclose(before.frame.ijkToLocal, frame.ijkToLocal, atol=1e-4)
    if not sameGrid:
        return None
    shared = boxes.intersection(mask.box, other.box)
    both = np.count_nonzero(
        mask.voxels[boxes.relative_to(mask.box, shared)] & other.voxels[boxes.relative_to(other.box, shared)]
    )
    return 2 * int(both) / int(np.count_nonzero(mask.voxels) + np.count_nonzero(other.voxels))


def _addSequence(source: CtSequence):
    """A new sequence for the segmentations, with the index of the CTs."""
    mrmlScene, like = source.sequenceNode.GetScene(), source.sequenceNode
    name = mrmlScene.GenerateUniqueName(f"{like.GetName()} liver sequence")
    node = mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    node.SetIndexName(like.GetIndexName())
    node.SetIndexUnit(like.GetIndexUnit())
    node.SetIndexType(like.GetIndexType())
    node.SetNumericIndexValueTolerance(like.GetNumericIndexValueTolerance())
    return node


def _segmentationOf(result: FrameResult):
    """A segmentation of one frame, in no scene; without a segment where there is no liver."""
    node = slicer.vtkMRMLSegmentationNode()
    segmentation, frame = node.GetSegmentation(), result.frame
    segmentation.SetSourceRepresentationName(scene.LABELMAP)
    if result.found is None or frame.ct is None:
        return node
    extent = [end for n in frame.ct.shape[::-1] for end in (0, n - 1)]
    geometry = vtkSegmentationConverter.SerializeImageGeometry(vtkMatrixFromArray(frame.ijkToLocal), extent)
    segmentation.SetConversionParameter(GEOMETRY, geometry)
    segmentId = scene.addLiverSegment(node)
    scene.tagSegment(node, segmentId, result.found.student)
    segment = segmentation.GetSegment(segmentId)
    segment.AddRepresentation(scene.LABELMAP, scene.orientedImage(result.found.mask, frame.ijkToLocal))
    scene.noteVoxels(segment)
    return node


def _show(source: CtSequence, made, proxyNode) -> None:
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


def _own(source: CtSequence, made) -> None:
    """Let a sequence of segmentations (None: none) be the one that was made of the frames."""
    scene.setOwned(source.sequenceNode, _SEGMENTATIONS, made)


def _hide(source: CtSequence, made) -> None:
    """Take a sequence of segmentations out of the browser and the scene; the node that showed it stays."""
    browser = source.browserNode
    if browser.IsSynchronizedSequenceNodeID(made.GetID(), True):
        browser.RemoveSynchronizedSequenceNode(made.GetID())
    if made.GetScene() is not None:
        made.GetScene().RemoveNode(made)


def maskTimes(made) -> dict:
    """Changes when the mask of a frame does; frames without segments, which browsing adds for new CTs, are left out."""
    states = {
        made.GetNthIndexValue(n): _labelmapState(made.GetNthDataNode(n)) for n in range(made.GetNumberOfDataNodes())
    }
    return {index: state for index, state in states.items() if state}


def _labelmapState(node) -> tuple:
    segmentation = node.GetSegmentation()
    ids = segmentation.GetSegmentIDs()
    return tuple((i, _time(segmentation.GetSegment(i).GetRepresentation(scene.LABELMAP))) for i in ids)


def _time(labelmap) -> int:
    return labelmap.GetMTime() if labelmap is not None else 0


# The curve


def writeCurve(source: CtSequence, points: list[CurvePoint]) -> None:
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


def restoreCurve(source: CtSequence, before) -> None:
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


def _tableCopy(tableNode):
    if tableNode is None:
        return None
    table = vtk.vtkTable()
    table.DeepCopy(tableNode.GetTable())
    return table


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
    writeCurve(source, points)
    return points


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


def _remember(source: CtSequence, points: list[CurvePoint]) -> None:
    """Save the states of all frames, which are those that their points were measured in, with the segmentations."""
    byKey = {volume_curve.indexKey(point.index): point for point in points}
    rows = [(asdict(state), asdict(byKey[volume_curve.indexKey(index)])) for index, _, state in _states(source)]
    source.segmentations.SetAttribute(_SEGMENTED, json.dumps(rows))


def _segmented(made) -> dict[float | str, _Segmented]:
    """What `_remember` saved, by key of the index; empty where that is not there or cannot be read."""
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


def curveNodes(source: CtSequence) -> tuple[Any, Any]:
    """Table and chart, None each where they were deleted or not made."""
    return scene.owned(source.sequenceNode, _TABLE), scene.owned(source.sequenceNode, _CHART)
