"""Part of the shell: the section that segments several volumes in one go."""

from slicer.i18n import tr as _

from ..mrml.batch import VolumeBatch, VolumeProblem
from .task_runner import WorkerTask


class BatchSection:
    """prepare(volumeNode, segmentationNode) -> request and apply(request, found) -> result do the work."""

    def __init__(self, selector, button, label, runner, prepare, apply, updateButtons):
        self._selector, self._button, self._label = selector, button, label
        self._runner, self._prepare, self._apply = runner, prepare, apply
        self._updateButtons = updateButtons
        self._batch = None
        button.connect("clicked(bool)", self._onClicked)
        selector.connect("checkedNodesChanged()", self.update)

    @property
    def running(self) -> bool:
        return self._batch is not None

    def stop(self) -> None:
        """Forget what is still to do; what is written stays."""
        batch, self._batch = self._batch, None
        if batch is not None:
            self._label.text = _("Canceled.") + " " + batch.summary()

    def update(self) -> None:
        if self.running:
            self._button.text, self._button.enabled = _("Cancel"), True
            self._button.toolTip = _("Stop; volumes that are done keep their result.")
        else:
            self._button.text = _("Segment checked volumes")
            self._button.enabled = bool(self._selector.checkedNodes()) and not self._runner.running
            self._button.toolTip = _("Each liver becomes a segmentation of its own.")

    def _onClicked(self) -> None:
        if self.running:
            self.stop()
            self._runner.stop()
        else:
            self._batch = VolumeBatch(self._selector.checkedNodes(), self._prepare, self._apply)
            self._next()
        self._updateButtons()

    def _next(self) -> None:
        request = self._batch.next()
        if request is None:
            self._label.text, self._batch = self._batch.summary(), None
            return
        self._label.text = _("Volume {position}: {name}").format(
            position=self._batch.position, name=request.volumeNode.GetName()
        )
        name = request.volumeNode.GetName()
        self._runner.start(
            WorkerTask(
                request.job.run,
                lambda outcome: self._onDone(request, outcome),
                request.nodesExist,
                lambda: self._onGone(name),
            )
        )

    def _onDone(self, request, outcome) -> None:
        self._batch.finish(request, lambda: _valueOf(outcome))
        self._next()
        self._updateButtons()

    def _onGone(self, name: str) -> None:
        self._batch.problems.append(VolumeProblem(name, _("The volume or its segmentation was removed meanwhile.")))
        self._next()
        self._updateButtons()


def _valueOf(outcome):
    if outcome.error is not None:
        raise outcome.error
    return outcome.value
