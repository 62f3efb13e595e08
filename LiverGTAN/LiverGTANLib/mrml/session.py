"""What the module does in a scene: read a CT, hand out a job, write and measure its result, undo it. No window."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..core import input_checks, measurements, segmenter
from ..core.engines import factory
from ..core.engines.engine import EngineProvider, IsCancelled, Progress
from ..core.input_checks import Finding
from ..core.lru_cache import LruCache
from ..core.measurements import Attenuation, MeasurementRow
from ..core.postprocess import MaskParameters, PostprocessSettings
from ..core.segmentation_job import CACHED_ANALYSES, JobResult, SegmentationCache, SegmentationJob
from ..core.uncertainty import VolumeInterval
from ..core.volume import CtVolume, InputError, OutOfMemory, memory_errors_explained
from ..core.worker import Work
from . import parameters, scene, segment_writer, surface, table, warp
from .parameters import ChosenParameters, SetState
from .segment_volume import Content, areSame, regionOf, segmentMl
from .segment_writer import SegmentWriter, takeBack
from .surface import MaskSurface
from .undo_history import NOTHING_TO_REDO, NOTHING_TO_UNDO, UndoHistory
from .warp import Warp

CHECKED_IMAGES = 32
"""Images whose findings are remembered: more than a batch commonly has; they are a few sentences each."""

LEAST_DICE = 0.98
"""A mask on the grid of other segments that is less like what was found is worth a remark. Chosen on the liver of the
sample CT of 2 mm slices: on the CT's grid half a voxel away or in voxels of 3 mm it had 0.985 and more, in voxels of
5 mm 0.97, of 10 mm 0.95, of 20 mm 0.90."""

EDITED = "edited since it was segmented"
"""Said of the liver of a frame that was edited after this module wrote it."""


@dataclass(frozen=True, eq=False)
class SegmentationRequest:
    """What was asked: the nodes it is about, and the job that may run in any thread between `prepare` and `apply`.

    state: settings, ROI and points as they are in the scene; those of the job are in the geometry of its CT.
    liver: state of the liver in the chosen segmentation, which the user agreed to replace; empty without one.
    """

    state: SetState
    job: SegmentationJob
    started: float
    liver: str

    def __repr__(self) -> str:
        return f"<SegmentationRequest: '{self.volumeNode.GetName()}'>"

    @property
    def chosen(self) -> ChosenParameters:
        """The nodes, the student and the engine that it is about."""
        return self.state.chosen

    @property
    def asked(self) -> MaskParameters:
        """Settings, ROI and points as they are in the scene."""
        return self.state.asked

    @property
    def volumeNode(self):
        """The CT."""
        return self.chosen.volumeNode

    def gridToLocal(self, ijkToRas: np.ndarray) -> np.ndarray:
        """(4, 4), in mm, of a grid in the geometry of the job's CT, as it lies under the volume's parent transform."""
        return scene.ijkToLocal(self.volumeNode) @ np.linalg.inv(self.job.ct.ijk_to_ras) @ ijkToRas

    def maskAndSurface(self) -> Work:
        """Work for any thread that finds the liver; gives a JobResult, and its surface where the segmentation shows one
        in 3D, else None."""
        node = self.chosen.segmentationNode
        place = surface.placeIn(node, self.volumeNode) if node is not None else None
        digest = scene.digestOf(self.volumeNode.GetImageData())

        def work(progress: Progress, cancelled: IsCancelled) -> tuple[JobResult, MaskSurface | None]:
            found = self.job.segment(progress, cancelled)
            digest()  # here, as the row of the mask holds it
            with memory_errors_explained():
                return found, None if place is None else surface.ofMask(found.mask, place, cancelled)

        return work

    def analysis(self) -> Work:
        """Work for any thread after which the first mask takes no network any more."""
        digest = scene.digestOf(self.volumeNode.GetImageData())

        def work(progress: Progress, cancelled: IsCancelled) -> None:
            self.job.analyze_ahead(progress, cancelled)
            digest()

        return work

    def nodesExist(self) -> bool:
        """Whether the CT, and the segmentation if one was chosen, are still in the scene."""
        nodes = [node for node in (self.chosen.volumeNode, self.chosen.segmentationNode) if node is not None]
        return all(node.GetScene() is not None and node.GetScene().IsNodePresent(node) for node in nodes)

    def imageIsUnchanged(self) -> bool:
        """Whether the CT still shows the same voxels in the same place."""
        return self.job.image_key == scene.imageKey(self.volumeNode)


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """What was asked, what was found, and what is now in the scene.

    segmentId: the liver in `segmentation`. tableNode: holds its measurements. volumeMl: of the segment as it is.
    masked: whether the Segment Editor's masking applied to what was found, so that only the volume is known of it.
    place: `scene.relativeKey` of CT and segment. region: where the CT's ROI lay in it, see `segment_volume.regionOf`.
    content: what was measured. seconds: time by stage, "total" from the request to the segment. rowBefore,
    contentBefore: what the table said of `segmentation`, and of what. stateBefore: what was set for the mask that was
    there before, None when that is not known. aboutImage: what `input_checks` found in the CT. kept: see
    `SegmentWriter.kept`.
    """

    request: SegmentationRequest
    found: JobResult
    segmentation: Any
    segmentId: str
    tableNode: Any
    volumeMl: float
    masked: bool
    place: tuple
    region: list[float]
    content: Content | None
    seconds: dict[str, float]
    rowBefore: dict[str, str] | None
    contentBefore: Content | None
    stateBefore: SetState | None = None
    aboutImage: tuple[str, ...] = ()
    kept: float | None = None

    def __repr__(self) -> str:
        names = f"'{self.volumeNode.GetName()}' in '{self.segmentation.GetName()}'"
        told = "; ".join([f"liver of {names}, {self.volumeMl:.0f} mL", *self.remarks, *self.warnings])
        return f"<SegmentationResult: {told}>"

    @property
    def warnings(self) -> list[str]:
        """What the user should know of the CT, of all that looks like liver in it, and of the body; of that when it was
        checked."""
        return [*self.aboutImage, *self.found.warnings]

    @property
    def volumeNode(self):
        """The CT."""
        return self.request.volumeNode

    @property
    def interval(self) -> VolumeInterval | None:
        """Of the segment as it is; None where masking changed it, or the network is too unsure of all of it."""
        found = self.found.interval
        if self.masked or not found.is_known:
            return None
        written = self.volumeMl / found.volume  # not 1 where the segmentation has another grid than the CT
        return VolumeInterval(found.low * written, self.volumeMl, found.high * written)

    @property
    def attenuation(self) -> Attenuation | None:
        """Of the segment as it is; None where masking changed it, or too little of it is away from its rim."""
        return None if self.masked else self.found.attenuation

    @property
    def share(self) -> float | None:
        """Part of the liver that is in the ROI."""
        return None if self.masked else self.found.share

    def imageIsUnchanged(self) -> bool:
        """Whether the CT still has the voxels that were segmented."""
        image = self.volumeNode.GetImageData()
        return image is not None and (self.volumeNode.GetID(), image.GetMTime()) == self.place[:2]

    def isCurrent(self) -> bool:
        """Whether CT and segment are still there, unchanged and in the same place to each other.

        The segment's voxels are compared by its history, see `Session.resultIn`.
        """
        if self.volumeNode.GetScene() is None or self.segmentation.GetScene() is None:
            return False
        return self.place == scene.relativeKey(self.volumeNode, self.segmentation)

    def hasSameRegion(self) -> bool:
        """Whether the ROI that was asked for, if one was, still lies in the CT where it did."""
        return self.request.asked.region is None or areSame(self.region, regionOf(self.volumeNode))

    @cached_property
    def remarks(self) -> list[str]:
        """See `remarksOn`; where masking applied to what was found, that and what points did is all that can be said.

        Before them, whether the grid of other segments lost some of it.
        """
        found, foundMl = self.found, self.found.interval.volume
        if self.masked:
            left = f"this is what the Segment Editor's masking left of {foundMl:.0f} mL that were found"
            about = [*found.click_remarks, measurements.apart(found.apart_ml, is_exact=False)]
            return [left, *measurements.asking_once(about)]
        remarks = remarksOn(found, self.volumeMl)
        dice = 1.0 if self.kept is None else 2 * self.kept * foundMl / (foundMl + self.volumeMl)
        if dice >= LEAST_DICE:
            return remarks
        name = self.segmentation.GetName()
        return [
            f"Dice {dice:.2f} with the {foundMl:.0f} mL that were found, as '{name}' keeps the voxels of its other "
            "segments: choose a new segmentation for those of the CT",
            *remarks,
        ]

    @property
    def engine(self) -> str:
        """Name of the engine that ran."""
        return self.found.engine

    @property
    def student(self) -> str:
        """Name of the student."""
        return self.found.student

    def restoreRow(self) -> None:
        """Let the table say what it said before."""
        table.restore(self.tableNode, self.segmentation, self.rowBefore, self.contentBefore)

    def row(self) -> MeasurementRow:
        """For the table."""
        interval, attenuation = self.interval, self.attenuation
        return MeasurementRow(
            self.volumeNode.GetName(),
            self.volumeMl,
            interval.low if interval else None,
            interval.high if interval else None,
            attenuation.mean_hu if attenuation else None,
            attenuation.sd_hu if attenuation else None,
            self.share,
            "; ".join(filter(None, (*self.remarks, measurements.hint(attenuation), *self.warnings))),
        )


@dataclass(frozen=True, eq=False)
class HistoryMove:
    """What Undo or Redo did.

    result: what is known of the mask that is there now. state: what was set for it. Both None when that is not known.
    left: names of segments that the write had changed, but the user has since, so that they were left alone.
    """

    result: SegmentationResult | None
    state: SetState | None
    left: list[str]


class Session:
    """Segments volumes of one scene and remembers engines, analyses and undo states.

    engineProvider: where students and engines come from. makeWriter: `SegmentWriter` or what works like it; called at
    the first write, as it may find that this Slicer is too old.
    """

    def __init__(self, mrmlScene, engineProvider: EngineProvider | None = None, makeWriter=SegmentWriter):
        self._scene = mrmlScene
        self.engines = engineProvider or factory.InstalledEngines()
        self._cache = SegmentationCache(self.engines)
        self._makeWriter = makeWriter
        self._writer: SegmentWriter | None = None
        self._imageFindings = LruCache(CHECKED_IMAGES)
        self._warps = LruCache(CACHED_ANALYSES)

    # Before a run

    def obstacles(self, chosen: ChosenParameters) -> tuple[str, str]:
        """Why this cannot be segmented, and what else the user should know; empty when there is nothing."""
        found = self._findings(chosen)
        return _reasons(found, blocking=True), _reasons(found, blocking=False)

    @memory_errors_explained()
    def prepare(self, chosen: ChosenParameters, dragged: dict | None = None) -> SegmentationRequest:
        """Read the CT and describe the work on it.

        dragged: see `ChosenParameters.maskParameters`. Raises InputError when the CT cannot be segmented, or
        for an `roi.obstacle`.
        """
        started = time.monotonic()
        parameters.requireChosen(chosen, self._scene)
        ct = self._read(chosen.volumeNode) if chosen.volumeNode else None
        reason = _reasons(self._missing(chosen) or self._findingsInImage(chosen.volumeNode, ct), blocking=True)
        if reason or ct is None:
            raise InputError(reason)
        state = SetState.of(chosen, dragged)
        inScan = state.asked if ct.voxel_volumes is None else warp.inScan(state.asked, chosen.volumeNode, ct)
        job = SegmentationJob(
            ct,
            scene.imageKey(chosen.volumeNode),
            self._cache,
            chosen.student,
            engineName(chosen.engine),
            inScan,
        )
        return SegmentationRequest(state, job, started, liverState(chosen.segmentationNode))

    def isAnalyzed(self, chosen: ChosenParameters) -> bool:
        """Whether the chosen scan needs no network any more."""
        return chosen.volumeNode is not None and self._analysis(chosen) is not None

    def isBodyChecked(self, chosen: ChosenParameters) -> bool:
        """Whether it is known that the body in the chosen scan lies as it should, or does not."""
        analysis = self._analysis(chosen) if chosen.volumeNode is not None else None
        return analysis is not None and analysis.cache.findings.get("body") is not None

    def isLarge(self, chosen: ChosenParameters) -> bool:
        """Whether the network takes so long on the chosen scan that it is not to be started unasked."""
        return self._read(chosen.volumeNode).cells() > input_checks.MOST_CELLS_UNASKED

    def warmUp(self, student: str, engine: str, cancelled: IsCancelled | None = None) -> None:
        """Load what a first click would otherwise wait for; safe in any thread. torch is not loaded for this."""
        if engine != "torch":
            self._cache.warm_up(student, engineName(engine), cancelled)

    def _read(self, volumeNode) -> CtVolume:
        """Where a transform bends space, it is measured once for each state of an image."""
        ct = scene.readCt(volumeNode)
        if not scene.isWarped(volumeNode):
            return ct
        found = self._warps.get_or_make(scene.imageKey(volumeNode), lambda: Warp.of(volumeNode))
        return replace(ct, ijk_to_ras=found.ijkToRas, voxel_volumes=found.voxelVolumes)

    def _missing(self, chosen: ChosenParameters) -> list[Finding]:
        if chosen.volumeNode is None:
            return [Finding(True, "Choose a CT volume.")]
        if chosen.engine == "torch" and not self.engines.has_torch():
            return [Finding(True, "torch is not installed in this Slicer; choose another engine.")]
        return [Finding(True, chosen.roiObstacle)] if chosen.roiObstacle else []

    def _findings(self, chosen: ChosenParameters) -> list[Finding]:
        """What speaks against segmenting this volume with this engine, worst first."""
        found = self._missing(chosen) or self._findingsInImage(chosen.volumeNode)
        if any(finding.blocking for finding in found):
            return found
        isEdited = self.isEdited(chosen.segmentationNode)
        return found + list(_findingsInOutputs(chosen, isEdited)) + self._findingsInAnalysis(chosen)

    def _findingsInImage(self, volumeNode, ct: CtVolume | None = None) -> list[Finding]:
        """ct: what was read of the node, if that was done already. Each state of an image is checked once."""

        def check() -> list[Finding]:
            try:
                return input_checks.check(ct if ct is not None else self._read(volumeNode))
            except InputError as error:
                return [Finding(True, str(error))]

        try:
            with memory_errors_explained():
                return self._imageFindings.get_or_make(scene.imageKey(volumeNode), check)
        except OutOfMemory as error:
            return [Finding(True, str(error))]  # not remembered: next time there may be enough

    def _findingsInAnalysis(self, chosen: ChosenParameters) -> list[Finding]:
        """What an analysis that is already there shows, for instance that no liver is in view, and what is known of the
        body by now."""
        analysis = self._analysis(chosen)
        return [] if analysis is None else segmenter.check(analysis) + (analysis.cache.findings.get("body") or [])

    def _analysis(self, chosen: ChosenParameters) -> segmenter.Analysis | None:
        key = scene.imageKey(chosen.volumeNode), chosen.student, engineName(chosen.engine)
        return self._cache.analyses.get(key)

    # After a run

    @memory_errors_explained()
    def apply(
        self,
        request: SegmentationRequest,
        found: JobResult,
        surfaceLater: bool = False,
        stateBefore: SetState | None = None,
        tableNode=None,
        surfaceOfMask: MaskSurface | None = None,
    ) -> SegmentationResult:
        """Write what was found and put it into the table; segmentation and table are made when none was chosen.

        surfaceLater: leave a surface shown in 3D to the caller's `makeSurface`. stateBefore: what was set for the mask
        that is there, if the caller knows, so that Undo can set it again. tableNode: the table that is chosen by now,
        for a request that was made before there was one. surfaceOfMask: of `found.mask`, shown where the segmentation
        shows surfaces in 3D; where it is None or does not fit, Slicer makes one. Raises InputError when no liver was
        found, or another one is there than at the request, and WriteError when it cannot be written. After
        any error all is as it was before.
        """
        requireStillValid(request, found)
        _requireNoOtherLiver(request)
        start, chosen, writer = time.monotonic(), request.chosen, self._writerOfScene()
        with ExitStack() as rollback:
            segmentationNode = chosen.segmentationNode
            if segmentationNode is None:
                segmentationNode = scene.createSegmentation(chosen.volumeNode)
                rollback.callback(takeBack, scene.removeNode, segmentationNode)
            assisted = bool(found.parameters.clicks or found.parameters.region)
            segmentId = writer.write(
                chosen.volumeNode, found.mask, segmentationNode, found.student, surfaceLater, assisted, surfaceOfMask
            )
            rollback.callback(takeBack, writer.takeBack)
            end = time.monotonic()
            tableNode = next(filter(_holdsRows, (chosen.tableNode, tableNode)), None)
            if tableNode is None:
                tableNode = table.create(self._scene)
                rollback.callback(takeBack, scene.removeNode, tableNode)
            result = SegmentationResult(
                request,
                found,
                segmentationNode,
                segmentId,
                tableNode,
                found.interval.volume if writer.wroteExactly else segmentMl(segmentationNode, segmentId),
                writer.masking,
                scene.relativeKey(chosen.volumeNode, segmentationNode),
                regionOf(chosen.volumeNode),
                Content.of(segmentationNode),
                {**found.seconds, "write": end - start, "total": end - request.started},
                table.read(tableNode, segmentationNode),
                table.content(tableNode, segmentationNode),
                stateBefore,
                tuple(finding.reason for finding in self._findingsInImage(chosen.volumeNode)),
                writer.kept,
            )
            writer.lastHistory.note = result
            rollback.callback(takeBack, result.restoreRow)
            table.put(tableNode, segmentationNode, result.row(), result.content)
            writer.keep()
            rollback.pop_all()
        scene.useSegmentation(chosen.volumeNode, segmentationNode)
        return result

    @memory_errors_explained()
    def makeSurface(self) -> None:
        """Make the surface again that a write left to be made."""
        self._writerOfScene().makeSurface()

    @memory_errors_explained()
    def tellOfBody(self, request: SegmentationRequest) -> None:
        """Put what was found in the body by now into the row of the mask that was made of this analysis."""
        result = self.resultIn(scene.findSegmentation(request.volumeNode))
        if result is None or result.request.job.analysis_key != request.job.analysis_key or not result.found.warnings:
            return
        if _holdsRows(result.tableNode) and table.read(result.tableNode, result.segmentation) is not None:
            table.put(result.tableNode, result.segmentation, result.row(), result.content)

    # Undo

    @property
    def current(self) -> SegmentationResult | None:
        """What was written last, in whatever segmentation, and neither undone nor edited since."""
        history = self._writer.lastHistory if self._writer else None
        return history.note if history else None

    def resultIn(self, segmentationNode) -> SegmentationResult | None:
        """What is known of the liver in a segmentation; None where it was edited since."""
        history = self._historyOf(segmentationNode)
        return history.note if history else None

    def isEdited(self, segmentationNode) -> bool:
        """Whether the liver in a segmentation was edited after this module wrote it, also before it was loaded."""
        return scene.isLiverEdited(segmentationNode)

    def undoObstacle(self, segmentationNode) -> str:
        """Why nothing can be undone in a segmentation; empty when something can."""
        history = self._historyOf(segmentationNode)
        return history.undoObstacle if history else NOTHING_TO_UNDO

    def redoObstacle(self, segmentationNode) -> str:
        """Why nothing can be redone in a segmentation; empty when something can."""
        history = self._historyOf(segmentationNode)
        return history.redoObstacle if history else NOTHING_TO_REDO

    @memory_errors_explained()
    def undo(self, segmentationNode=None) -> HistoryMove:
        """Take the last write into a segmentation (None: the last one of all) and its row back.

        After an error segment and row are as before, as after one in `redo`.
        """
        history = self._historyToMove(segmentationNode)
        undone = history.lastNote
        left = history.undo()
        with ExitStack() as rollback:
            rollback.callback(takeBack, history.redo)
            if undone.tableNode.GetScene() is not None:
                undone.restoreRow()
            rollback.pop_all()
        result = history.note
        return HistoryMove(result, result.request.state if result else undone.stateBefore, left)

    @memory_errors_explained()
    def redo(self, segmentationNode=None) -> HistoryMove:
        """Bring back what undo took."""
        history = self._historyToMove(segmentationNode)
        left = history.redo()
        redone = history.lastNote
        with ExitStack() as rollback:
            rollback.callback(takeBack, history.undo)
            if redone.tableNode.GetScene() is not None:
                table.put(redone.tableNode, redone.segmentation, redone.row(), redone.content)
            rollback.pop_all()
        return HistoryMove(history.note, redone.request.state, left)

    def _historyOf(self, segmentationNode) -> UndoHistory | None:
        return self._writer.historyOf(segmentationNode) if self._writer and segmentationNode else None

    def _historyToMove(self, segmentationNode) -> UndoHistory:
        writer = self._writerOfScene()
        history = writer.lastHistory if segmentationNode is None else writer.historyOf(segmentationNode)
        if history is None:
            raise InputError(NOTHING_TO_UNDO)
        return history

    def reset(self) -> None:
        """After the scene was closed: its undo states and analyses mean nothing any more."""
        self._writer = None
        self._cache.clear_analyses()
        self._imageFindings = LruCache(CHECKED_IMAGES)
        self._warps = LruCache(CACHED_ANALYSES)

    def _writerOfScene(self) -> SegmentWriter:
        if self._writer is None:
            self._writer = self._makeWriter(self._scene)
        return self._writer


def _holdsRows(tableNode) -> bool:
    return tableNode is not None and tableNode.GetScene() is not None and table.isOurs(tableNode)


def _reasons(found: list[Finding], blocking: bool) -> str:
    return " ".join(finding.reason for finding in found if finding.blocking == blocking)


def _findingsInOutputs(chosen: ChosenParameters, isEdited: bool) -> Iterator[Finding]:
    """What would be replaced in the chosen segmentation, and what will not be written into."""
    owner = scene.liverVolume(chosen.segmentationNode)
    if owner is not None and owner != chosen.volumeNode:
        yield Finding(
            False,
            f"'{chosen.segmentationNode.GetName()}' holds the liver of '{owner.GetName()}', which that of "
            f"'{chosen.volumeNode.GetName()}' would replace; to keep it, choose another segmentation "
            "(none makes a new one).",
        )
    elif isEdited:
        yield Finding(False, _editedByHand(chosen.segmentationNode))
    reason = segment_writer.surfacesInTheWay(chosen.segmentationNode) if chosen.segmentationNode is not None else ""
    if reason:
        yield Finding(True, reason)
    elif chosen.segmentationNode is not None:
        larger = segment_writer.largerVoxels(chosen.volumeNode, chosen.segmentationNode)
        if larger and segment_writer.keepsItsGrid(chosen.segmentationNode):
            yield Finding(False, larger)
    if chosen.tableNode is not None and not table.isOurs(chosen.tableNode):
        name = chosen.tableNode.GetName()
        yield Finding(False, f"'{name}' is no table of liver volumes: the measurements will go into a new one.")


def _editedByHand(segmentationNode) -> str:
    return (
        f"The liver in '{segmentationNode.GetName()}' was edited by hand, and a new mask would replace it; "
        "to keep it, choose another segmentation (none makes a new one)."
    )


def liverState(segmentationNode) -> str:
    """What this module's liver in a segmentation is, and where; empty without one."""
    segment = scene.liverSegment(segmentationNode)
    return "" if segment is None else scene.voxelState(segment)


def _requireNoOtherLiver(request: SegmentationRequest) -> None:
    """Raises InputError where the liver that would be replaced is not the one of the request."""
    segmentationNode = request.chosen.segmentationNode
    if liverState(segmentationNode) in ("", request.liver):
        return
    if scene.isLiverEdited(segmentationNode):
        raise InputError(_editedByHand(segmentationNode))
    raise InputError(
        f"Another liver was put into '{segmentationNode.GetName()}' while this one was segmented; nothing was changed. "
        "Segment it again to replace that one."
    )


def remarksOn(found: JobResult, volumeMl: float) -> list[str]:
    """What to say of points that did something odd, of what may be fluid, and of a liver that is smaller or larger than
    livers are, or cut by an end of the scan; nothing of the size and the ends of a part of one.

    volumeMl: of what was found, in whatever grid it was written.
    """
    remarks = [*found.click_remarks, measurements.apart(found.apart_ml, volumeMl == found.interval.volume)]
    if not found.parameters.region:
        remarks += [measurements.unusual_size(volumeMl), measurements.incomplete(found.cut_ends)]
    return measurements.asking_once([*remarks, measurements.dark(found.dark_ml)])


def requireStillValid(request: SegmentationRequest, found: JobResult) -> None:
    """Raises InputError when what was found is not of what is there now, or is nothing."""
    if not request.nodesExist():
        raise InputError("The volume or the segmentation was removed meanwhile; nothing was changed.")
    if not request.imageIsUnchanged():
        raise InputError(
            f"The voxels, the geometry or the transform of '{request.volumeNode.GetName()}' changed while it was "
            "segmented; nothing was written. Segment it again."
        )
    if found.mask.empty:
        where = "in the ROI of" if found.parameters.region else "in"
        raise InputError(
            f"No liver was found {where} '{request.volumeNode.GetName()}'; nothing was changed. {_advice(found)}"
        )


def _advice(found: JobResult) -> str:
    """What may have left nothing of the liver, the settings first."""
    asked, usual = found.parameters, PostprocessSettings()
    if asked.settings.threshold > usual.threshold:
        return f"The threshold is {asked.settings.threshold:.2f}: lower it to {usual.threshold:.2f} first."
    if asked.settings.smoothing_mm > usual.smoothing_mm:
        return f"Smoothing over {asked.settings.smoothing_mm:.1f} mm may leave nothing: lower it first."
    if not all(click.liver for click in asked.clicks):
        return "Points say of what there is that it is not liver: remove them first."
    if asked.region:
        return "Move the ROI over the liver, or take it off."
    return " ".join(found.warnings) or "Check that it is a CT of the abdomen and that its orientation is right."


def engineName(choice: str) -> str:
    """The panel's word for an engine as the engines know it."""
    return factory.AUTOMATIC if choice == parameters.AUTOMATIC else choice
