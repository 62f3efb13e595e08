"""Segments CTs unasked, for users who want that: as a preview, which becomes a segment when the user accepts it."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..core import segmenter
from ..core.input_checks import Finding
from ..core.segmentation_job import JobResult, Preview
from ..core.volume import InputError
from ..mrml import follow, parameters
from ..mrml.follow import FolderVolumes, FolderWatch, VolumeWatch
from ..mrml.parameters import ChosenParameters
from ..mrml.preview import PreviewSegment
from ..mrml.refusal import logFailure
from ..mrml.session import SegmentationRequest, SegmentationResult, Session
from .task_runner import TaskRunner, WorkerTask

logger = logging.getLogger(__name__)

GATHER_MILLISECONDS = 30
"""After the first sign of a change. A choice: Slicer sends several for one, all within one turn of the event loop."""

POLL_MILLISECONDS = 1000
"""A folder is looked at so often, and a file in it is complete when it did not change in between. Chosen: file systems
tell times by the second or finer, and changes are not announced on network drives."""


def _ignore(*_arguments) -> None:
    pass


class Follower(VTKObservationMixin):
    """Follows nothing until a method `follow...` is called, and nothing again when the scene is closed.

    chosen(): student, engine, settings and table. It calls onChanged() when `state`, the preview or what is followed is
    another one, and onAccepted(result) after a preview became a segment. The newest change counts: while one image is
    segmented, only the last of those that come is waiting.

    state: what goes on, for the user. latency: seconds from the last change to its preview.
    """

    def __init__(
        self, session: Session, chosen: Callable[[], ChosenParameters], onChanged: Callable[[], None] = _ignore
    ):
        VTKObservationMixin.__init__(self)
        self._session, self._chosen, self.onChanged = session, chosen, onChanged
        self.onAccepted: Callable[[SegmentationResult], None] = _ignore
        self._scene = slicer.mrmlScene
        self._watch = VolumeWatch(self._scene, self._onVolume)
        self._folderWatch: FolderWatch | None = None
        self._folderVolumes = FolderVolumes()
        self._preview = PreviewSegment(self._scene)
        self._runner = TaskRunner(self._onProgress)
        self._running: SegmentationRequest | None = None
        self._found: tuple[SegmentationRequest, JobResult] | None = None
        self._volume = ""  # of the preview, as the user reads it
        self._waiting: list[tuple[Any, float]] = []  # volume, time of its first change; the newest comes last
        self._problem = ""
        self._left: list[str] = []  # names of volumes that gave way to newer ones
        self._namesTold: dict = {}
        self._body: tuple = ((), None)  # place of the images of a followed volume, and what was found in their body
        self.state, self.latency = "", 0.0
        self._gather = qt.QTimer()
        self._gather.setSingleShot(True)
        self._gather.setInterval(GATHER_MILLISECONDS)
        self._gather.connect("timeout()", self._next)
        self._poll = qt.QTimer()
        self._poll.setInterval(POLL_MILLISECONDS)
        self._poll.connect("timeout()", self._onPoll)

    # What is followed

    @property
    def loaded(self) -> bool:
        """Whether CTs are segmented when they are loaded."""
        return self._watch.loaded

    @property
    def volumeNode(self):
        """The volume that is segmented again when its voxels change, or None."""
        return self._watch.volumeNode

    @property
    def folder(self) -> Path | None:
        """The folder whose new image files are loaded and segmented, or None."""
        return self._folderWatch.folder if self._folderWatch else None

    @property
    def isOn(self) -> bool:
        """Whether anything is followed."""
        return self.loaded or self.volumeNode is not None or self.folder is not None

    @property
    def isRunning(self) -> bool:
        """Whether something is being segmented."""
        return self._running is not None

    def followLoaded(self, on: bool = True) -> None:
        """Segment CTs that are loaded from now on, or no longer."""
        self._watch.watchLoaded(on)
        self._update()

    def followVolume(self, volumeNode) -> None:
        """Segment this volume now, and again when its voxels change; None: none. Raises InputError for no scan."""
        if volumeNode is not None and volumeNode.GetClassName() != "vtkMRMLScalarVolumeNode":
            raise InputError(_("'{name}' is no scalar volume; choose a CT.").format(name=volumeNode.GetName()))
        self._watch.watchVolume(volumeNode)
        self._body = (), None
        self._update()
        if volumeNode is not None and volumeNode.GetImageData() is not None:
            self._onVolume(volumeNode)

    def followFolder(self, folder: str | Path | None) -> None:
        """Load and segment image files that come into a folder from now on, the newest; None: no folder.

        Raises InputError when it cannot be read.
        """
        self._folderWatch = FolderWatch(folder) if folder else None
        if self._folderWatch:
            self._poll.start()
        else:
            self._poll.stop()
        self._update()

    def stop(self) -> None:
        """Follow nothing any more; the preview is removed and all threads end."""
        self._watch.watchLoaded(False)
        self._watch.watchVolume(None)
        self._folderWatch, self._folderVolumes = None, FolderVolumes()
        self._poll.stop()
        self._gather.stop()
        self._runner.close()
        self._waiting, self._running, self._left = [], None, []
        self._removePreview()
        self._update()

    def _update(self, problem: str = "") -> None:
        """Tell of what has changed. problem: why the last images have no preview."""
        self._problem = problem
        self._observe()
        self._tell()

    def _observe(self) -> None:
        """Observe the scene while there is something to look after."""
        self.removeObservers()
        if self.isOn or self.hasPreview:
            self.addObserver(self._scene, self._scene.StartCloseEvent, self._onSceneStartClose)
            self.addObserver(self._scene, self._scene.NodeRemovedEvent, self._onNodeRemoved)
        for node in self._named:
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onModified)

    @property
    def _named(self) -> dict:
        """Volumes that the state may name, and their names."""
        requests = self._running, self._found[0] if self._found else None
        nodes = {self.volumeNode, *(request.volumeNode for request in requests if request)}
        return {node: node.GetName() for node in nodes if node is not None}

    def _onModified(self, caller, event) -> None:
        if self._named != self._namesTold:
            self._tell()

    def _onSceneStartClose(self, caller, event) -> None:
        self.stop()

    def _tell(self) -> None:
        left = ", ".join(f"'{name}'" for name in self._left)
        left = _("Left for newer ones: {names}.").format(names=left) if left else ""
        self._namesTold = self._named
        self.state = " ".join(filter(None, (self._work(), self._problem, left, self._awaited())))
        self.onChanged()

    def _work(self) -> str:
        """What runs or is shown."""
        if self._running is not None and self._found is None:
            return _("Segmenting '{name}'...").format(name=self._running.volumeNode.GetName())
        if self._found is None:
            return ""
        request, _found = self._found
        name = request.volumeNode.GetName()
        text = _("Preview of '{name}': liver {volume}.").format(name=name, volume=self._volume)
        if not request.imageIsUnchanged():
            return f"{text} " + _("It is of the image before the last change.")
        chosen = replace(request.chosen, segmentationNode=None)
        return " ".join(filter(None, (text, self._session.obstacles(chosen)[1])))

    def _awaited(self) -> str:
        """What is waited for."""
        texts = []
        if self.volumeNode is not None:
            texts.append(_("new voxels in '{name}'").format(name=self.volumeNode.GetName()))
        if self._folderWatch is not None:
            waiting = self._folderWatch.waiting
            kind = _("'{name}', which is being written,").format(name=waiting) if waiting else _("a new image file")
            texts.append(_("{file} in '{folder}'").format(file=kind, folder=self._folderWatch.folder))
        if self.loaded:
            texts.append(_("a CT to be loaded"))
        return _("Waiting for {what}.").format(what=_(" or ").join(texts)) if texts else ""

    # Changes

    def _onVolume(self, volumeNode) -> None:
        since = next((since for waiting, since in self._waiting if waiting is volumeNode), time.monotonic())
        others = [one for one in self._waiting if one[0] is not volumeNode]
        self._waiting = [*others, (volumeNode, since)]
        if not self._gather.active:
            self._gather.start()

    def _leave(self, volumeNode) -> None:
        """A volume is not segmented, as a newer one came."""
        if volumeNode.GetScene() is not None and (volumeNode is self.volumeNode or follow.isLoaded(volumeNode)):
            self._left = [*(name for name in self._left if name != volumeNode.GetName()), volumeNode.GetName()]

    def _next(self) -> None:
        """Segment the newest of what is waiting that can be, in place of what is running; the others are left."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._problem = ""
        while waiting:
            volumeNode, since = waiting.pop()
            if self._running is not None and self._running.volumeNode is volumeNode:
                # That ends first: images that come faster than they are segmented would never be seen.
                self._waiting = [(volumeNode, since)]
                request = self._running
            else:
                request = self._requestFor(volumeNode)
            if request is not None:
                for left, _since in waiting:
                    self._leave(left)
                if request is not self._running:
                    self._start(request, since)
                break
        self._tell()

    def _requestFor(self, volumeNode) -> SegmentationRequest | None:
        """None where a volume is not to be segmented; why is said where it was chosen to be followed, or loaded."""
        if volumeNode.GetScene() is None:
            return None
        isFollowed = volumeNode is self.volumeNode
        if volumeNode.GetImageData() is None:
            if isFollowed:
                self._refuse(volumeNode, _("It holds no image now."))
            else:
                self._watch.expect(volumeNode)
            return None
        if not isFollowed and not follow.isLoaded(volumeNode):
            return None  # made by a module
        chosen = replace(parameters.forVolume(self._chosen(), volumeNode), segmentationNode=None)
        try:
            reason = follow.obstacle(self._session, chosen)
            if reason:
                raise InputError(reason)
            request = self._session.prepare(chosen)
            if isFollowed:  # its voxels may be overwritten in place meanwhile
                ct = replace(request.job.ct, hu=request.job.ct.hu.copy())
                request = replace(request, job=replace(request.job, ct=ct))
        except (ValueError, MemoryError) as error:  # InputError and OutOfMemory, which say what is wrong
            self._refuse(volumeNode, str(error))
            return None
        return request

    def _start(self, request: SegmentationRequest, since: float) -> None:
        if self._running is not None:
            self._leave(self._running.volumeNode)
        if self._found is not None and self._found[0].volumeNode is not request.volumeNode:
            self._removePreview()
        self._running = request
        self._runner.start(
            WorkerTask(
                self._preview.segmentAndDescribe(request, body=self._bodyOf(request)),
                lambda outcome: self._onFound(request, since, *outcome),
                lambda error: self._onFailed(request, error),
                request.nodesExist,
                self._onGone,
                analysisKey=request.job.analysis_key,
            )
        )
        self._observe()

    def _bodyOf(self, request: SegmentationRequest) -> list[Finding] | None:
        """What was found in the body of a followed volume, all images of which show the same; None if nothing was."""
        return self._body[1] if request.volumeNode is self.volumeNode and self._body[0] == _placeOf(request) else None

    def _knowBody(self, request: SegmentationRequest, found: JobResult) -> None:
        if self._bodyOf(request) is None and request.volumeNode is self.volumeNode:
            self._body = _placeOf(request), found.findings.get("body")

    def _onProgress(self) -> None:
        pass  # the state says what runs; a percentage of a moment's work would only flicker

    def _onFound(self, request: SegmentationRequest, since: float, found: JobResult, volume: str, polyData) -> None:
        self._running = None
        self._knowBody(request, found)
        reason = "" if not found.mask.empty else _noLiver(request)
        if not request.imageIsUnchanged() and request.volumeNode is not self.volumeNode:
            reason = _("It was changed meanwhile.")
        if reason:
            self._refuse(request.volumeNode, reason)
        else:
            self._show(request, found, volume, polyData, since)
        self._next()

    def _show(self, request: SegmentationRequest, found: JobResult, volume: str, polyData, since: float) -> None:
        try:
            self._preview.show(Preview(found.mask, request.job.ct.ijk_to_ras), request, polyData=polyData)
        except MemoryError as error:
            self._refuse(request.volumeNode, str(error))
            return
        self._found, self._volume = (request, found), volume
        self.latency = time.monotonic() - since
        self._observe()

    def _onFailed(self, request: SegmentationRequest, error: BaseException) -> None:
        logFailure(logger, f"'{request.volumeNode.GetName()}' was not segmented.", error)
        self._running = None
        self._refuse(request.volumeNode, str(error) or type(error).__name__)
        self._next()

    def _onGone(self) -> None:
        self._running, self._problem = None, _("The volume was removed.")
        self._next()

    def _refuse(self, volumeNode, reason: str) -> None:
        """There is no preview of what is in this volume now; that of another one stays."""
        if self._found is not None and self._found[0].volumeNode is volumeNode:
            self._removePreview()
        problem = _("'{name}' was not segmented: {reason}").format(name=volumeNode.GetName(), reason=reason)
        self._problem = f"{self._problem} {problem}".strip()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node) -> None:
        if node is self.volumeNode:
            self._watch.watchVolume(None)
        if self._found is not None and node is self._found[0].volumeNode:
            self._removePreview()
        if node.IsA("vtkMRMLVolumeNode"):
            self._update(self._problem)

    def _removePreview(self) -> None:
        self._preview.remove()
        self._found = None

    # Folder

    def _onPoll(self) -> None:
        waiting = self._folderWatch.waiting
        try:
            path = self._folderWatch.poll()
            if path is not None:
                self._load(path)
            elif waiting != self._folderWatch.waiting:
                self._tell()
        except InputError as error:
            if self._problem != str(error):
                self._update(str(error))

    def _load(self, path: Path) -> None:
        volumeNode = self._folderVolumes.read(path)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveVolumeID(volumeNode.GetID())
        slicer.app.applicationLogic().PropagateVolumeSelection(1)
        self._onVolume(volumeNode)

    # The preview

    @property
    def hasPreview(self) -> bool:
        """Whether there is something to accept."""
        return self._found is not None

    def accept(self) -> SegmentationResult:
        """Make the preview a segment, in a new segmentation: nothing is replaced, and one Undo takes it back.

        Raises InputError when there is no preview, the volume has changed since, or its frames have livers of their
        own, and WriteError.
        """
        if self._found is None:
            raise InputError(_("There is no preview to accept."))
        request, found = self._found
        if not request.imageIsUnchanged():
            raise InputError(
                _(
                    "The preview is of the image of '{name}' before its last change. Accept the next one; where the "
                    "images come faster than they are segmented, stop them first."
                ).format(name=request.volumeNode.GetName())
            )
        framesNode = follow.liverOfFrames(request.volumeNode)
        if framesNode is not None:
            raise InputError(
                _(
                    "'{name}' shows the frames of a sequence, whose livers are in '{livers}'; an accepted preview "
                    "would be shown with every frame. Press Segment to replace the liver of this frame alone."
                ).format(name=request.volumeNode.GetName(), livers=framesNode.GetName())
            )
        result = self._session.apply(request, found, tableNode=self._chosen().tableNode)
        self._left = []
        self._removePreview()
        self._update()
        self.onAccepted(result)
        return result

    def discard(self) -> None:
        """Take the preview away, and stop what runs; what is followed stays followed."""
        self._waiting, self._running, self._left = [], None, []
        self._gather.stop()
        self._runner.stop()
        self._removePreview()
        self._update()


def _placeOf(request: SegmentationRequest) -> tuple:
    ct = request.job.ct
    return ct.shape, ct.ijk_to_ras.tobytes()


def _noLiver(request: SegmentationRequest) -> str:
    """What the analysis says of a scan in which nothing was found."""
    analysis = request.job.cache.analyses.get(request.job.analysis_key)
    found = segmenter.check(analysis) if analysis is not None else []
    return " ".join(finding.reason for finding in found) or _("No liver was found with what is set.")
