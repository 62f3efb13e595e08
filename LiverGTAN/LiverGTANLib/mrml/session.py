"""What the module does in a scene: read a CT, hand out a job, write its result, undo it. No Qt and no window."""

import time
from dataclasses import dataclass

from ..core import engines, measurements, segmenter, volume
from ..core.measurements import Attenuation, MeasurementRow
from ..core.postprocess import DEFAULT_MASK_PARAMETERS, MaskParameters
from ..core.segmentation_job import JobResult, SegmentationCache, SegmentationJob
from ..core.uncertainty import VolumeInterval
from ..core.volume import InputError
from . import labelmaps, scene, table
from .segment_writer import SegmentWriter
from .undo_history import UndoHistory, UndoStep


@dataclass(frozen=True, eq=False)
class SegmentationRequest:
    """One wish: the nodes it is about and the job to run, in any thread, between `prepare` and `apply`."""

    volumeNode: object
    segmentationNode: object
    job: SegmentationJob
    imageTime: int
    started: float
    choices: object = None  # what was set, to be set again by Undo

    def nodesExist(self) -> bool:
        """Whether the CT, and the segmentation if one was chosen, are still in the scene."""
        chosen = [node for node in (self.volumeNode, self.segmentationNode) if node is not None]
        return all(node.GetScene() is not None and node.GetScene().IsNodePresent(node) for node in chosen)


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """What is now in the segmentation.

    segmentId: its liver. volumeMl: of the segment as it is. interval: None when the Segment Editor's masking had a say.
    share: part of the liver in the ROI. seconds: time by stage, "total" from the wish to the segment.
    """

    volumeNode: object
    segmentation: object
    segmentId: str
    volumeMl: float
    interval: VolumeInterval | None
    attenuation: Attenuation | None
    share: float | None
    seconds: dict[str, float]
    engine: str
    student: str

    def row(self) -> MeasurementRow:
        """For the table."""
        interval, found = self.interval, self.attenuation
        return MeasurementRow(
            self.volumeNode.GetName(),
            self.volumeMl,
            interval and interval.low,
            interval and interval.high,
            found and found.mean_hu,
            found and found.sd_hu,
            self.share,
            measurements.hint(found),
        )


class Session:
    """Segments volumes of one scene and remembers engines, analyses and undo states."""

    def __init__(self, mrmlScene):
        self._scene = mrmlScene
        self._memory = SegmentationCache()
        self._writer = None
        self._history = UndoHistory()
        self._checked = (None, [])
        self._viewed = (None, [])

    # Before

    def findings(self, volumeNode, student: str, engine: str) -> list[volume.Finding]:
        """What speaks against segmenting this volume with this engine, worst first."""
        if volumeNode is None:
            return [volume.Finding(True, "Choose a CT volume.")]
        if engine == "torch" and not engines.has_torch():
            return [volume.Finding(True, "torch is not installed in this Slicer; choose another engine.")]
        found = self._findingsOf(volumeNode)
        if any(finding.blocking for finding in found):
            return found
        return found + self._findingsOfAnalysis(volumeNode, student, engine)

    def _findingsOf(self, volumeNode) -> list[volume.Finding]:
        try:
            ct = scene.readCt(volumeNode)
        except InputError as error:
            return [volume.Finding(True, str(error))]
        key = scene.imageKey(volumeNode)
        if self._checked[0] != key:
            self._checked = key, volume.check(ct)
        return self._checked[1]

    def _findingsOfAnalysis(self, volumeNode, student: str, engine: str) -> list[volume.Finding]:
        """What an analysis that is already there knows, for instance that no liver is in view."""
        analysis = self._memory.analysis((scene.imageKey(volumeNode), student, _engineName(engine)))
        if analysis is None:
            return []
        if self._viewed[0] is not analysis:
            self._viewed = analysis, segmenter.check(analysis)
        return self._viewed[1]

    def obstacles(self, volumeNode, student: str, engine: str) -> tuple[str, str]:
        """Why this cannot be segmented, and what else the person should know; empty when there is nothing."""
        found = self.findings(volumeNode, student, engine)
        return tuple(" ".join(f.reason for f in found if f.blocking == blocking) for blocking in (True, False))

    def prepare(
        self,
        volumeNode,
        segmentationNode,
        student: str,
        engine: str,
        recipe: MaskParameters = DEFAULT_MASK_PARAMETERS,
        choices=None,
    ) -> SegmentationRequest:
        """Read the CT and describe the work on it. Raises InputError when it cannot be segmented."""
        started = time.monotonic()
        reason, _ = self.obstacles(volumeNode, student, engine)
        if reason:
            raise InputError(reason)
        ct = scene.readCt(volumeNode)
        job = SegmentationJob(ct, scene.imageKey(volumeNode), self._memory, student, _engineName(engine), recipe)
        return SegmentationRequest(volumeNode, segmentationNode, job, scene.imageTime(volumeNode), started, choices)

    def isAnalyzed(self, request: SegmentationRequest) -> bool:
        """Whether the request's scan needs no network any more."""
        return self._memory.analysis(request.job.analysis_key) is not None

    def warmUp(self, student: str, engine: str) -> None:
        """Load what a first click would otherwise wait for; safe in any thread. torch is not loaded for this."""
        if engine != "torch":
            self._memory.warm_up(student, _engineName(engine))

    # After

    def apply(self, request: SegmentationRequest, found: JobResult, surfaceLater: bool = False) -> SegmentationResult:
        """Write what was found. Raises InputError when no liver was found and WriteError when it cannot be written.

        surfaceLater: leave a surface shown in 3D to the caller's `makeSurface`.
        """
        _requireStillValid(request, found)
        segmentationNode = request.segmentationNode or scene.createSegmentation(request.volumeNode)
        start = time.monotonic()
        writer = self._writerOfScene()
        try:
            segmentId = writer.write(request.volumeNode, found.mask, segmentationNode, found.student, surfaceLater)
        except Exception:
            if request.segmentationNode is None:
                self._scene.RemoveNode(segmentationNode)
            raise
        end = time.monotonic()
        seconds = {**found.seconds, "write": end - start, "total": end - request.started}
        makeResult = _maskedResult if writer.masking else _result
        result = makeResult(request, found, segmentationNode, segmentId, seconds)
        self._history.add(UndoStep(request.choices, result))
        return result

    def makeSurface(self) -> None:
        """Make the surface again that a write left to be made."""
        self._writerOfScene().makeSurface()

    def tabulate(self, tableNode, result: SegmentationResult) -> None:
        """Put a result into its row of the table."""
        table.put(tableNode, result.segmentation, result.row())

    def findSegmentation(self, volumeNode):
        """The segmentation that holds this volume's liver from an earlier run, or None."""
        return scene.findSegmentation(volumeNode) if volumeNode else None

    def engineDescription(self) -> str:
        """What was found to run the network on, for the person."""
        return "; ".join(engines.describe().values())

    # Back and forth

    def canUndo(self, segmentationNode) -> bool:
        return self._writer is not None and self._writer.canUndo(segmentationNode)

    def canRedo(self, segmentationNode) -> bool:
        return self._writer is not None and self._writer.canRedo(segmentationNode)

    def undo(self) -> UndoStep | None:
        """Take the last write back; the step that is current then, if it is known."""
        self._writerOfScene().undo()
        return self._history.back()

    def redo(self) -> UndoStep | None:
        """Bring back what undo took; the step that is current then, if it is known."""
        self._writerOfScene().redo()
        return self._history.forward()

    def forgetScene(self) -> None:
        """After a scene was closed: its undo states and analyses mean nothing any more."""
        self._writer = None
        self._history = UndoHistory()
        self._memory.forget_analyses()
        self._checked = self._viewed = (None, [])

    def _writerOfScene(self) -> SegmentWriter:
        if self._writer is None:
            self._writer = SegmentWriter(self._scene)
        return self._writer


def _requireStillValid(request: SegmentationRequest, found: JobResult) -> None:
    if not request.nodesExist():
        raise InputError("The volume or the segmentation was removed meanwhile; nothing was changed.")
    if request.imageTime != scene.imageTime(request.volumeNode):
        raise InputError("The image changed while it was segmented; nothing was written. Segment it again.")
    if found.mask.empty:
        where = "in the ROI of" if found.recipe.region else "in"
        raise InputError(
            f"No liver was found {where} '{request.volumeNode.GetName()}'; nothing was changed. "
            "Check that it is a CT of the abdomen and that its orientation is right."
        )


def _result(
    request: SegmentationRequest, found: JobResult, segmentationNode, segmentId: str, seconds
) -> SegmentationResult:
    return SegmentationResult(
        request.volumeNode,
        segmentationNode,
        segmentId,
        found.interval.volume,
        found.interval,
        found.attenuation,
        found.share,
        seconds,
        found.engine,
        found.student,
    )


def _maskedResult(
    request: SegmentationRequest, found: JobResult, segmentationNode, segmentId: str, seconds
) -> SegmentationResult:
    """Masking has changed what was found, so only what is really in the segment is told."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    labelmap = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    toWorld = scene.localToWorld(segmentationNode) @ labelmaps.imageToWorld(labelmap)
    volumeMl = labelmaps.segmentVoxels(segment) * measurements.voxel_ml(toWorld)
    return SegmentationResult(
        request.volumeNode,
        segmentationNode,
        segmentId,
        volumeMl,
        None,
        None,
        None,
        seconds,
        found.engine,
        found.student,
    )


def _engineName(choice: str) -> str:
    """The panel's word for an engine as the engines know it."""
    return engines.AUTOMATIC if choice == "automatic" else choice
