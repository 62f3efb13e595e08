"""What the module does in a scene: read a CT, hand out a job, write its result, undo it. No Qt and no window."""

import time
from dataclasses import dataclass

from . import engines, scene, volume
from .job import Found, Job, Memory
from .segment_writer import SegmentWriter
from .volume import InputError


@dataclass(frozen=True, eq=False)
class Request:
    """One click: the nodes it is about and the job to run, in any thread, between `prepare` and `apply`."""

    volumeNode: object
    segmentationNode: object
    job: Job
    imageTime: int
    started: float

    def nodesExist(self) -> bool:
        """Whether the CT, and the segmentation if one was chosen, are still in the scene."""
        chosen = [node for node in (self.volumeNode, self.segmentationNode) if node is not None]
        return all(node.GetScene() is not None and node.GetScene().IsNodePresent(node) for node in chosen)


@dataclass(frozen=True, eq=False)
class Result:
    """segmentation: the node; segmentId: its liver. seconds: time by stage, "total" from click to segment."""

    segmentation: object
    segmentId: str
    volumeMl: float
    seconds: dict[str, float]
    engine: str
    student: str


class Session:
    """Segments volumes of one scene and remembers engines, analyses and undo states."""

    def __init__(self, mrmlScene):
        self._scene = mrmlScene
        self._memory = Memory()
        self._writer = None
        self._checked = (None, [])

    def findings(self, volumeNode, engine: str = "automatic") -> list[volume.Finding]:
        """What speaks against segmenting this volume with this engine, worst first."""
        if volumeNode is None:
            return [volume.Finding(True, "Choose a CT volume.")]
        if engine == "torch" and not engines.has_torch():
            return [volume.Finding(True, "torch is not installed in this Slicer; choose another engine.")]
        return self._findingsOf(volumeNode)

    def _findingsOf(self, volumeNode) -> list[volume.Finding]:
        try:
            ct = scene.readCt(volumeNode)
        except InputError as error:
            return [volume.Finding(True, str(error))]
        key = scene.imageKey(volumeNode)
        if self._checked[0] != key:
            self._checked = key, volume.check(ct)
        return self._checked[1]

    def obstacles(self, volumeNode, engine: str) -> tuple[str, str]:
        """Why this cannot be segmented, and what else the person should know; empty when there is nothing."""
        found = self.findings(volumeNode, engine)
        return tuple(" ".join(f.reason for f in found if f.blocking == blocking) for blocking in (True, False))

    def prepare(self, volumeNode, segmentationNode, student: str, engine: str) -> Request:
        """Read the CT and describe the work on it. Raises InputError when it cannot be segmented."""
        started = time.monotonic()
        reason, _ = self.obstacles(volumeNode, engine)
        if reason:
            raise InputError(reason)
        ct = scene.readCt(volumeNode)
        job = Job(ct, scene.imageKey(volumeNode), self._memory, student, _engineName(engine))
        return Request(volumeNode, segmentationNode, job, scene.imageTime(volumeNode), started)

    def warmUp(self, student: str, engine: str) -> None:
        """Load what a first click would otherwise wait for; safe in any thread. torch is not loaded for this."""
        if engine != "torch":
            self._memory.warm_up(student, _engineName(engine))

    def apply(self, request: Request, found: Found) -> Result:
        """Write what was found. Raises InputError when no liver was found and WriteError when it cannot be written."""
        if not request.nodesExist():
            raise InputError("The volume or the segmentation was removed meanwhile; nothing was changed.")
        if request.imageTime != scene.imageTime(request.volumeNode):
            raise InputError("The image changed while it was segmented; nothing was written. Segment it again.")
        if found.mask.empty:
            raise InputError(f"No liver was found in '{request.volumeNode.GetName()}'; nothing was changed. "
                             "Check that it is a CT of the abdomen and that its orientation is right.")
        segmentationNode = request.segmentationNode or scene.createSegmentation(request.volumeNode)
        start = time.monotonic()
        try:
            segmentId = self._writerOfScene().write(
                request.volumeNode, found.mask, segmentationNode, found.student)
        except Exception:
            if request.segmentationNode is None:
                self._scene.RemoveNode(segmentationNode)
            raise
        end = time.monotonic()
        seconds = {**found.seconds, "write": end - start, "total": end - request.started}
        return Result(segmentationNode, segmentId, found.volume_ml, seconds, found.engine, found.student)

    def findSegmentation(self, volumeNode):
        """The segmentation that holds this volume's liver from an earlier run, or None."""
        return scene.findSegmentation(volumeNode) if volumeNode else None

    def engineDescription(self) -> str:
        """What was found to run the network on, for the person."""
        return "; ".join(engines.describe().values())

    def canUndo(self, segmentationNode) -> bool:
        return self._writer is not None and self._writer.canUndo(segmentationNode)

    def canRedo(self, segmentationNode) -> bool:
        return self._writer is not None and self._writer.canRedo(segmentationNode)

    def undo(self) -> None:
        self._writerOfScene().undo()

    def redo(self) -> None:
        self._writerOfScene().redo()

    def forgetScene(self) -> None:
        """After a scene was closed: its undo states and analyses mean nothing any more."""
        self._writer = None
        self._memory.forget_analyses()
        self._checked = (None, [])

    def _writerOfScene(self) -> SegmentWriter:
        if self._writer is None:
            self._writer = SegmentWriter(self._scene)
        return self._writer


def _engineName(choice: str) -> str:
    """The panel's word for an engine as the engines know it."""
    return engines.AUTOMATIC if choice == "automatic" else choice
