"""What goes on without a click while the panel is open: the mask follows what is set, its uncertainty is shown, and
scans are analyzed ahead of the first click.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import qt

from ..core.input_checks import Finding
from ..core.segmentation_job import JobResult
from ..core.volume import InputError
from ..mrml import points, scene
from ..mrml.overlay import UncertaintyOverlay
from ..mrml.parameters import ChosenParameters, SetState
from ..mrml.preview import PreviewSegment
from ..mrml.session import SegmentationRequest, SegmentationResult, Session
from ..mrml.surface import MaskSurface
from .change_tracker import REST_MILLISECONDS, ChangeTracker
from .task_runner import BackgroundTaskKind, BackgroundTasks, TaskRunner

EDITED = "The liver was edited by hand and is left as it is; press Segment to replace it by what is set now."


class LiveUpdate:
    """Works between `open` and `close`; outside nothing is observed and nothing runs.

    chosen(): what is set now, without what is being dragged. It calls write(request, found, surfaceOfMask) when a mask
    is finished, fail(error) when none can be made, say(text) for the line of the result, and refresh() when an analysis
    has ended, or the ROI can be used, or not, from now on.
    """

    def __init__(
        self,
        mrmlScene,
        session: Session,
        runner: TaskRunner,
        chosen: Callable[[], ChosenParameters],
        *,
        write: Callable[[SegmentationRequest, JobResult, MaskSurface | None], None],
        fail: Callable[[BaseException], None],
        say: Callable[[str], None],
        refresh: Callable[[], None],
    ):
        self._session, self._chosen = session, chosen
        self._write, self._fail, self._say, self._refresh = write, fail, say, refresh
        self._preview, self._overlay = PreviewSegment(mrmlScene), UncertaintyOverlay(mrmlScene)
        self.isAnalyzedElsewhere: Callable[[Any], bool] = lambda volumeNode: False
        """Whether this volume is analyzed at each change by something else, so that doing it here would do it twice."""
        self._isOpen = False
        self._isPreviewed = False  # what moves; not any more where it was released and no mask is made of it
        self._dragged: dict[str, float] = {}
        self._obstacle = ""  # of the ROI
        self._stateOfMask: SetState | None = None
        self._imageRest = qt.QTimer()
        self._imageRest.setSingleShot(True)
        self._imageRest.setInterval(REST_MILLISECONDS)
        self._imageRest.connect("timeout()", self._onImageRest)
        self._tracker = ChangeTracker(self._key, self._lastWritten, self._onMoving, self._onReleased, self._onReturned)
        self.background: BackgroundTasks = BackgroundTasks(
            runner,
            {
                "mask": BackgroundTaskKind(
                    self._prepareMask, SegmentationRequest.maskAndSurface, self._onMask, self._onMaskFailed
                ),
                "preview": BackgroundTaskKind(self._preparePreview, self._preview.find, self._onPreview, yields=True),
                "uncertainty": BackgroundTaskKind(
                    self._prepareUncertainty,
                    lambda request: request.job.uncertainty_map,
                    self._onUncertainty,
                    yields=True,
                ),
                "analysis": BackgroundTaskKind(
                    self._prepareAnalysis,
                    SegmentationRequest.analysis,
                    self._onAnalysis,
                    self._onAnalysis,
                    analyzes=True,
                ),
                "body": BackgroundTaskKind(
                    self._prepareBody, lambda request: request.job.check_body, self._onBody, yields=True
                ),
            },
        )

    def open(self) -> None:
        """Follow from now on."""
        self._isOpen = True
        self._observe()
        self._resume()

    def _resume(self) -> None:
        """Follow again. What was changed meanwhile becomes the mask, unless a script made it with something else."""
        result = self._lastWritten()
        if result is None or _sameMarkups(result.request.chosen, self._chosen()):
            self._tracker.resume()
        else:
            self._tracker.settle()
        self._stateOfMask = self._stateNow()
        self.background.request("analysis", "uncertainty", "body")

    def finish(self) -> None:
        """What is set now is about to be left: make the mask of a change that is on its way, and wait for it.

        Where that would take long it is made when the volume is chosen again.
        """
        chosen = self._chosen()
        waits = self._isOpen and self._tracker.moving and not self._tracker.isDragging and not self._dragged
        if not waits or not _isPresent(chosen.volumeNode) or not _isPresent(chosen.segmentationNode):
            return
        if not self._hasMask() or self._session.isEdited(chosen.segmentationNode):
            return
        if not self._session.isAnalyzed(chosen):
            return
        self.background.drop("mask", "preview")
        request = self._request()
        if request is not None:
            try:
                found = request.job.segment()
            except Exception as error:
                self._onMaskFailed(request, error)
            else:
                self._onMask(request, (found, None))

    def close(self) -> None:
        """Follow nothing any more; preview and overlay are removed."""
        self._isOpen = False
        self._tracker.close()
        self._imageRest.stop()
        self.background.drop()
        self._preview.remove()
        self._overlay.remove()
        self._dragged = {}

    # What the panel reports

    def onParametersChanged(self) -> None:
        """Something in the parameter node changed: a slider was released, another ROI chosen."""
        if not self._isOpen:
            return
        self._dragged = {}
        self._observe()
        self._tracker.release()
        self.updateUncertainty()

    def onVolumeChanged(self) -> None:
        """Another volume, or other voxels in it: what is set belongs to it, and no mask is to be written for that."""
        if not self._isOpen:
            return
        self._preview.remove()
        self._overlay.remove()
        self.background.stop()
        self._observe()
        self._resume()

    def drag(self, name: str, value: float | None) -> None:
        """A slider is held at this value; its parameter changes when it is released. None: not held, or back."""
        if not self._isOpen:
            return
        if value is not None:
            self._dragged[name] = value
        elif self._dragged.pop(name, None) is None:
            return  # the parameter itself is set, and tells of it
        self._tracker.onChange()

    def onImageChanged(self) -> None:
        """The volume or its voxels were changed, perhaps not for the last time."""
        if self._isOpen:
            self._imageRest.start()

    def onWritten(self, request: SegmentationRequest) -> None:
        """A mask was written: where it is that of what is set now, no other is to be made, and none previewed."""
        if self._isOpen and request.volumeNode == self._chosen().volumeNode:
            self._stateOfMask = request.state
            self._tracker.accept(request.asked.key)
            if not self._tracker.moving:
                self.background.drop("mask", "preview")
                self._preview.remove()
            self.background.request("body")

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """What is set within this block is what Undo or Redo made of the mask."""
        self.background.drop("mask", "preview")
        self._preview.remove()
        with self._tracker.ignoringChanges():
            yield
        self._stateOfMask = self._stateNow()

    def stateOfMask(self, request: SegmentationRequest) -> SetState | None:
        """What was set for the mask that a request will replace, None when that is not known."""
        chosen = self._chosen()
        same = (request.volumeNode, request.chosen.segmentationNode) == (chosen.volumeNode, chosen.segmentationNode)
        return self._stateOfMask if same else None

    def _stateNow(self) -> SetState | None:
        try:
            return SetState.of(self._chosen()) if self._hasMask() else None
        except ValueError:  # an ROI that is no box
            return None

    def updateUncertainty(self) -> None:
        """Show the uncertainty of the present mask, if it is to be shown."""
        if self._isOpen and self._chosen().showUncertainty:
            self.background.request("uncertainty")
        else:
            self._overlay.remove()

    # Following what is set

    def _observe(self) -> None:
        chosen = self._chosen()
        self._tracker.observe(chosen.roiNode, chosen.liverNode, chosen.notLiverNode)

    def _key(self):
        chosen = self._chosen()
        points.numberPoints(chosen.liverNode, chosen.notLiverNode)
        before, self._obstacle = self._obstacle, chosen.roiObstacle
        if self._obstacle != before:
            self._refresh()
        return self._obstacle or chosen.maskParameters(self._dragged).key

    def _lastWritten(self) -> SegmentationResult | None:
        """The last mask that was written, if it is the one that the panel shows."""
        chosen = self._chosen()
        result = self._session.resultIn(chosen.segmentationNode)
        return result if result is not None and result.volumeNode == chosen.volumeNode else None

    def _onMoving(self) -> None:
        self.background.drop("mask")
        self._isPreviewed = self._tracker.moving
        if self._isPreviewed:
            self.background.request("preview")
        else:
            self._preview.remove()  # what is dragged is back where it was

    def _onReleased(self) -> None:
        self.background.drop("preview")
        self.background.request("mask")

    def _onReturned(self) -> None:
        self.background.drop("mask", "preview")
        self._preview.remove()

    def _onImageRest(self) -> None:
        self._overlay.removeIfMoved()
        self.background.request("analysis", "uncertainty", "body")

    # Background tasks

    def _request(self) -> SegmentationRequest | None:
        """What is set now as a request, None when it cannot be carried out; why is said, of an ROI by the panel."""
        chosen = self._chosen()
        if not self._isOpen or chosen.volumeNode is None or chosen.roiObstacle:
            return None
        try:
            reason, _ = self._session.obstacles(chosen)
            if reason:
                raise InputError(reason)
            return self._session.prepare(chosen, self._dragged)
        except ValueError as error:  # InputError is one
            self._say(str(error))
            return None

    def _hasMask(self) -> bool:
        """Whether the chosen segmentation holds the chosen volume's liver; another one's is not replaced unasked."""
        chosen = self._chosen()
        return chosen.volumeNode is not None and scene.liverVolume(chosen.segmentationNode) == chosen.volumeNode

    def _prepareMask(self) -> SegmentationRequest | None:
        request = self._request() if self._hasMask() else None
        if request is not None and self._isEdited(request):
            request = None
        if request is None:
            self._isPreviewed = False
            self._preview.remove()
        return request

    def _isEdited(self, request: SegmentationRequest) -> bool:
        """Whether the liver was edited by hand, so that no mask replaces it unasked; that is said."""
        isEdited = self._session.isEdited(request.chosen.segmentationNode)
        if isEdited:
            self._say(EDITED)
        return isEdited

    def _preparePreview(self) -> SegmentationRequest | None:
        isMoving = self._isPreviewed and self._tracker.moving
        wanted = isMoving and (self._hasMask() or self._session.isAnalyzed(self._chosen()))
        return self._request() if wanted else None

    def _prepareUncertainty(self) -> SegmentationRequest | None:
        chosen = self._chosen()
        wanted = self._isOpen and chosen.showUncertainty and self._session.isAnalyzed(chosen)
        return self._request() if wanted else None

    def _prepareAnalysis(self) -> SegmentationRequest | None:
        chosen = self._chosen()
        if not self._isOpen or chosen.volumeNode is None or self._session.obstacles(chosen)[0]:
            return None
        if chosen.engine == "torch" and "torch" not in sys.modules:
            return None  # importing it takes seconds, which nobody asked for yet
        if self._session.isLarge(chosen) or self.isAnalyzedElsewhere(chosen.volumeNode):
            return None  # the analysis takes long, too
        return None if self._session.isAnalyzed(chosen) else self._request()

    def _prepareBody(self) -> SegmentationRequest | None:
        """Once for each analysis; of a large scan after the user asked for its mask alone, as this takes longer."""
        chosen = self._chosen()
        if not self._isOpen or not self._session.isAnalyzed(chosen) or self._session.isBodyChecked(chosen):
            return None
        last = self._lastWritten()
        return last.request if last is not None and last.imageIsUnchanged() else self._request()

    def _onBody(self, request: SegmentationRequest, findings: list[Finding]) -> None:
        if findings:
            self._session.tellOfBody(request)
            self._refresh()

    def _isWanted(self, request: SegmentationRequest) -> bool:
        """Whether a finished mask is what is still set and not shown yet."""
        return self._tracker.moving and self._tracker.isCurrent(request.asked.key)

    def _onMask(self, request: SegmentationRequest, outcome: tuple[JobResult, MaskSurface | None]) -> None:
        found, surfaceOfMask = outcome
        if not self._isWanted(request):
            return  # the next one is on its way
        self._preview.remove()
        self._tracker.accept(request.asked.key)
        if found.mask.empty:
            self._say("No liver is left with what is set; the segment was not changed.")
        elif not self._isEdited(request):
            self._write(request, found, surfaceOfMask)

    def _onMaskFailed(self, request: SegmentationRequest, error: BaseException) -> None:
        if self._isWanted(request):
            self._preview.remove()
            self._tracker.accept(request.asked.key)
            self._fail(error)

    def _onPreview(self, request: SegmentationRequest, outcome: tuple) -> None:
        if self._isPreviewed and self._tracker.moving and request.imageIsUnchanged():
            preview, polyData = outcome
            self._preview.show(preview, request, polyData=polyData)

    def _onUncertainty(self, request: SegmentationRequest, uncertainty) -> None:
        if self._isOpen and self._chosen().showUncertainty and request.imageIsUnchanged():
            self._overlay.show(uncertainty, request)

    def _onAnalysis(self, request: SegmentationRequest, outcome) -> None:
        """A problem is logged here, and shown when the user asks for the mask."""
        self._refresh()
        self.background.request("uncertainty", "body")


def _sameMarkups(before: ChosenParameters, now: ChosenParameters) -> bool:
    """Whether the settings, the ROI and the lists are those of before; what was in them may have changed."""
    pairs = [
        (before.roiNode, now.roiNode),
        (before.liverNode, now.liverNode),
        (before.notLiverNode, now.notLiverNode),
    ]
    same = all(one == other or (one is not None and not _isPresent(one)) for one, other in pairs)
    return same and before.settings == now.settings


def _isPresent(node) -> bool:
    return node is not None and node.GetScene() is not None
