"""The section "Several volumes": segments the checked volumes one after the other."""

from collections.abc import Callable

from slicer.i18n import tr as _

from ..core.segmentation_job import JobResult
from ..mrml.batch import VolumeBatch
from ..mrml.parameters import ChosenParameters
from ..mrml.session import SegmentationRequest, SegmentationResult, Session
from .task_runner import TaskRunner, WorkerTask


class BatchSection:
    """ui: the widgets of the .ui file by name. chosen(): student, engine and settings for a new batch.

    It calls say(text) for the line below the button, onResult(result) for each volume that was segmented, and
    onProgress() when a volume is done or the batch ends.
    """

    def __init__(
        self,
        ui,
        session: Session,
        runner: TaskRunner,
        chosen: Callable[[], ChosenParameters],
        *,
        say: Callable[[str], None],
        onResult: Callable[[SegmentationResult], None],
        onProgress: Callable[[], None],
    ):
        self._selector, self._button = ui.volumesComboBox, ui.batchButton
        self._session, self._runner, self._chosen = session, runner, chosen
        self._say, self._onResult, self._onProgress = say, onResult, onProgress
        self._batch: VolumeBatch | None = None
        self._button.connect("clicked(bool)", self._onClicked)
        self._selector.connect("checkedNodesChanged()", self.refresh)

    @property
    def running(self) -> bool:
        """Whether volumes are still to be done."""
        return self._batch is not None

    def stop(self) -> None:
        """Drop what is still to do; what is written stays."""
        batch, self._batch = self._batch, None
        if batch is not None:
            self._say(_("Canceled.") + " " + batch.summary())
            self.refresh()

    def refresh(self) -> None:
        """Show what the button does now, or why it cannot."""
        if self.running:
            self._button.text, self._button.enabled = _("Cancel"), True
            self._button.toolTip = _("Stop; volumes that are done keep their result.")
        else:
            reason = "" if self._selector.checkedNodes() else _("Check volumes in the list first.")
            if self._runner.running:
                reason = _("Not while the liver is being segmented.")
            self._button.text = _("Segment checked volumes")
            self._button.enabled = not reason
            self._button.toolTip = reason or _(
                "Each liver becomes a segmentation of its own; livers that were edited by hand stay as they are."
            )

    def _onClicked(self) -> None:
        if self.running:
            self.stop()
            self._runner.stop()
            self._onProgress()
        elif not self._runner.running:
            self._batch = VolumeBatch(self._session, self._selector.checkedNodes(), self._chosen())
            self.refresh()
            self._next()

    def _next(self) -> None:
        request = self._batch.prepareNext()
        if request is None:
            self._say(self._batch.summary())
            self._batch = None
            self.refresh()
        else:
            self._start(request)
        self._onProgress()

    def _start(self, request: SegmentationRequest) -> None:
        name = request.volumeNode.GetName()
        self._say(_("Volume {position}: {name}").format(position=self._batch.position, name=name))
        self._runner.start(
            WorkerTask(
                request.job.segment_and_check,
                lambda found: self._onFound(request, found),
                lambda error: self._onFailed(request, error),
                request.nodesExist,
                lambda: self._onGone(name),
                analysisKey=request.job.analysis_key,
            )
        )

    def _onFound(self, request: SegmentationRequest, found: JobResult) -> None:
        result = self._batch.write(request, found, self._chosen().tableNode)
        if result is not None:
            self._onResult(result)
        self._next()

    def _onFailed(self, request: SegmentationRequest, error: BaseException) -> None:
        self._batch.addProblem(request, error)
        self._next()

    def _onGone(self, name: str) -> None:
        self._batch.skipRemoved(name)
        self._next()
