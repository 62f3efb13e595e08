"""The liver in the source volume of a Segment Editor: found beside the user's work, shown until it is applied."""

import logging
from collections.abc import Callable
from dataclasses import replace

import slicer
from slicer.i18n import tr as _

from ..core.segmentation_job import JobResult, Preview
from ..mrml.editor_segment import EditorSegment
from ..mrml.parameters import ChosenParameters
from ..mrml.preview import PreviewSegment
from ..mrml.refusal import logFailure
from ..mrml.segment_writer import largerVoxels
from ..mrml.session import SegmentationRequest, Session, requireStillValid
from .task_runner import TaskRunner, WorkerTask

logger = logging.getLogger(__name__)

SAY_PROGRESS_AFTER_SECONDS = 0.5
"""A run that is over before this tells no progress: it would only flicker. A choice, as in the panel."""


class EditorPreview:
    """One preview, of what was asked last. It calls say(text) with its state for the user, and onChanged() when other
    things can be done than before.
    """

    def __init__(self, session: Session, say: Callable[[str], None], onChanged: Callable[[], None]):
        self._session, self._say, self._onChanged = session, say, onChanged
        self._shown = PreviewSegment(slicer.mrmlScene)
        self._runner = TaskRunner(self._onProgress)
        self._target: EditorSegment | None = None
        self._found: tuple[SegmentationRequest, JobResult] | None = None

    @property
    def isRunning(self) -> bool:
        """Whether the liver is being looked for."""
        return self._runner.running

    @property
    def isShown(self) -> bool:
        """Whether there is something to apply."""
        return self._found is not None

    def isOf(self, chosen: ChosenParameters) -> bool:
        """Whether this was asked for last: the same settings and points, of the voxels that are there now."""
        if self._found is None:
            return False
        request, _found = self._found
        same = request.chosen.volumeNode == chosen.volumeNode and request.chosen.student == chosen.student
        return same and request.asked.key == chosen.maskParameters().key and request.imageIsUnchanged()

    def start(self, target: EditorSegment, chosen: ChosenParameters, asked: bool = True) -> bool:
        """Find the liver and show it; what was shown before stays until then.

        asked: whether the user asked for it, so that it may take long; False where it would and is left.
        """
        self._target, self._found = target, None
        try:
            request = self._prepare(target, chosen)
            isLarge = not asked and self._session.isLarge(chosen) and not self._session.isAnalyzed(chosen)
        except (ValueError, MemoryError) as error:  # InputError and OutOfMemory, which say what to do
            self.stop(str(error))
            return True
        if isLarge:
            self.stop(_("The scan is large: press Preview to segment it."))
            return False
        self._say(_("Looking for the liver..."))
        self._runner.start(
            WorkerTask(
                self._shown.segmentAndDescribe(request, target.segmentId),
                lambda outcome: self._onFound(request, *outcome),
                self._onFailed,
                request.nodesExist,
                lambda: self.stop(_("The volume or the segmentation was removed.")),
                analysisKey=request.job.analysis_key,
            )
        )
        self._onChanged()
        return True

    def result(self, target: EditorSegment, chosen: ChosenParameters) -> tuple[SegmentationRequest, JobResult]:
        """What is to be written for what is chosen now: what is shown, or found here if that takes place only now.

        Raises InputError and the errors of `SegmentationJob.segment`.
        """
        if self._found is None or (self._found[0].imageIsUnchanged() and not self.isOf(chosen)):
            self._runner.stop()
            request = self._prepare(target, chosen)
            self._found = request, request.job.segment()
        requireStillValid(*self._found)
        return self._found

    def retarget(self, target: EditorSegment) -> None:
        """Another segment is selected: the liver will go into that one."""
        self._target = target
        if self._shown.shown:
            self._shown.replace(target.segmentationNode, target.segmentId)

    def dropIfOutdated(self) -> None:
        """Take the preview away where the volume shows other voxels by now, or the same in another place."""
        if self._found is not None and not self._found[0].imageIsUnchanged():
            self.stop(_("The volume has changed since: press Preview to segment it again."))

    def stop(self, reason: str = "") -> None:
        """Nothing is computed nor shown any more. reason: said to the user."""
        self._runner.stop()
        self._shown.remove()
        self._found = None
        self._say(reason)
        self._onChanged()

    def close(self) -> None:
        """As `stop`, in silence; all threads end."""
        self._runner.close()
        self._shown.remove()
        self._found = None

    def _prepare(self, target: EditorSegment, chosen: ChosenParameters) -> SegmentationRequest:
        return self._session.prepare(replace(chosen, segmentationNode=target.segmentationNode))

    def _onProgress(self) -> None:
        if self._runner.waited > SAY_PROGRESS_AFTER_SECONDS:
            fraction, text = self._runner.progress
            self._say(f"{text} {100 * fraction:.0f} %")

    def _onFound(self, request: SegmentationRequest, found: JobResult, volume: str, polyData) -> None:
        try:
            requireStillValid(request, found)
            mask = Preview(found.mask, request.job.ct.ijk_to_ras)
            self._shown.show(mask, request, self._target.segmentId, polyData)
        except (ValueError, MemoryError) as error:
            self.stop(str(error))
            return
        self._found = request, found
        unusual = self._session.obstacles(replace(request.chosen, segmentationNode=None))[1]
        larger = largerVoxels(request.volumeNode, request.chosen.segmentationNode)
        self._say(" ".join(filter(None, (_("Preview: liver {volume}.").format(volume=volume), larger, unusual))))
        self._onChanged()

    def _onFailed(self, error: BaseException) -> None:
        logFailure(logger, "The liver could not be segmented.", error)
        self.stop(_("The liver could not be segmented: {reason}").format(reason=str(error) or type(error).__name__))
