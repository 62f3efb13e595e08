"""The section "Sequence": the liver in every frame of a sequence of CTs, its volume over time, and Undo of a run."""

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from ..core.volume import InputError
from ..mrml import frame_state, sequence_curve, volume_curve
from ..mrml.ct_sequence import CtSequence
from ..mrml.parameters import ChosenParameters
from ..mrml.sequence_segmentation import FrameResult, FrameSegmentation
from ..mrml.sequence_writer import SequenceResult
from ..mrml.session import Session
from ..mrml.volume_curve import CurvePoint
from .appearance import WidgetStates
from .task_runner import TaskRunner, WorkerTask, explained, showFailure


class SequenceSection:
    """ui: the widgets of the .ui file by name. chosen(): the CT, student, engine and settings for a new run.
    setText(label, text) shows a text that may have long words. While the section is collapsed nothing is looked at.

    It calls onResult(result) when a run is in the scene, and onProgress() when a run begins or ends.
    """

    def __init__(
        self,
        ui,
        session: Session,
        runner: TaskRunner,
        chosen: Callable[[], ChosenParameters],
        setText: Callable,
        *,
        onResult: Callable[[SequenceResult], None],
        onProgress: Callable[[], None],
    ):
        self._ui, self._session, self._runner = ui, session, runner
        self._chosen, self._setText = chosen, setText
        self._onResult, self._onProgress = onResult, onProgress
        self._task: WorkerTask | None = None
        self._results: dict[str, SequenceResult] = {}  # ID of the sequence -> its last run that can be undone
        self._said: tuple[object, str] = (None, "")  # the volume that it is about, and the text
        self._measured: dict[str, list] = {}  # ID of the sequence -> key of masks, CTs and places of its curve
        self._widgets = WidgetStates(ui)
        ui.segmentFramesButton.connect("clicked(bool)", lambda: self._onSegment())
        ui.undoFramesButton.connect("clicked(bool)", lambda: self._onUndo())
        ui.showCurveButton.connect("clicked(bool)", lambda: self._onShowCurve())
        ui.sequenceCollapsibleButton.connect("contentsCollapsed(bool)", lambda collapsed: self.refresh())

    @property
    def running(self) -> bool:
        """Whether frames are being segmented."""
        return self._task is not None and self._runner.task is self._task

    def forget(self) -> None:
        """The scene was closed."""
        self._results, self._measured, self._said = {}, {}, (None, "")

    def refresh(self) -> None:
        """Show what is true of the chosen CT by now."""
        if self._ui.sequenceCollapsibleButton.collapsed:
            return
        source, reason = self._source()
        if source is not None:
            self._measureChanged(source)
        if self.running:
            self._widgets.enable("segmentFramesButton", "", _("Cancel"), _("Stop; nothing is changed."))
        else:
            running = _("Not while the liver is being segmented.") if self._runner.running else ""
            self._widgets.enable("segmentFramesButton", reason or running, _("Segment all frames"))
        result = self._results.get(source.sequenceNode.GetID()) if source else None
        canUndo = result is not None and source.segmentations == result.segmentations
        self._widgets.enable("undoFramesButton", self._busy() or ("" if canUndo else _("There is nothing to undo.")))
        isMade = source is not None and source.segmentations is not None
        self._widgets.enable("showCurveButton", self._busy() or ("" if isMade else _("Segment the frames first.")))
        volume, text = self._said
        said = text if volume == self._chosen().volumeNode else ""
        self._setText(self._ui.sequenceLabel, said or reason or self._about(source))

    def _measureChanged(self, source: CtSequence) -> None:
        """Measure anew where masks, CTs or transforms have changed since the curve was made."""
        before = self._measured.get(source.sequenceNode.GetID())
        if before is not None and source.segmentations is not None and source.curveKey() != before:
            self._showCurve(source, sequence_curve.measure(source))

    def _showCurve(self, source: CtSequence, points: list[CurvePoint], *remarks: str) -> None:
        """Say what the curve shows, and remember what it is of."""
        self._measured[source.sequenceNode.GetID()] = source.curveKey()
        hints = {hint for point in points for hint in point.hint.split("; ")}
        changes = {
            frame_state.CT_CHANGED: _("The CT has changed since: segment the frames again."),
            frame_state.MOVED: _("The CT or its liver was moved or scaled since: segment the frames again."),
        }
        said = [text for hint, text in changes.items() if hint in hints]
        if (missing := source.count - len(points)) > 0:
            said.append(
                _("Frames of the CT without a mask: {count}; go there and press Segment.").format(count=missing)
            )
        self._said = source.proxyNode, " ".join([volume_curve.summary(points), *remarks, *said])

    def _busy(self) -> str:
        return _("Not while frames are being segmented.") if self.running else ""

    def _source(self) -> tuple[CtSequence | None, str]:
        """The sequence of the chosen CT, and why there is none."""
        try:
            return CtSequence.of(self._chosen().volumeNode), ""
        except InputError as error:
            return None, str(error)

    def _about(self, source: CtSequence) -> str:
        return _("{count} frames in '{name}'.").format(count=source.count, name=source.sequenceNode.GetName())

    # A run

    def _onSegment(self) -> None:
        if self.running:
            self._runner.stop()
            self._say(_("Canceled; nothing was changed."))
            self._onProgress()
        elif not self._runner.running:
            with explained(_("The frames could not be segmented."), waitCursor=True):
                self._start()

    def _start(self) -> None:
        source = CtSequence.of(self._chosen().volumeNode)
        if source.segmentations is not None and not slicer.util.confirmOkCancelDisplay(
            sequence_curve.replacing(source) + " " + _("Replace them? Undo brings them back."),
            windowTitle=_("Segment all frames"),
        ):
            return
        chosen = self._chosen()
        frames = FrameSegmentation(self._session, source.proxyNode, chosen, mayReplace=True, mayReplaceEdited=True)
        self._say("")
        self._task = WorkerTask(
            frames.segment,
            lambda results: self._onDone(frames, results),
            self._onFailed,
            lambda: frames.nodesExist,
            self._onGone,
        )
        self._runner.start(self._task)
        self._onProgress()

    def _onDone(self, frames: FrameSegmentation, results: list[FrameResult]) -> None:
        try:
            with explained(_("The frames could not be segmented."), waitCursor=True):
                result = frames.apply(results)
                self._results[result.source.sequenceNode.GetID()] = result
                self._onResult(result)
                self._showCurve(result.source, result.points, *self._remarks(result))
        finally:
            self._onProgress()

    def _remarks(self, result: SequenceResult) -> list[str]:
        chosen, said = self._chosen(), []
        if result.problems:
            number, reason = result.problems[0]
            said.append(
                _("Without a liver: {count}, first frame {n}. {reason}").format(
                    count=len(result.problems), n=number, reason=reason
                )
            )
        hints = [
            (n, point.hint) for n, point in enumerate(result.points, 1) if point.hint and point.volumeMl is not None
        ]
        if hints:
            number, hint = hints[0]
            text = _("Hints: {count} frames (see the table), first frame {n}: {hint}.")
            said.append(text.format(count=len(hints), n=number, hint=hint.rstrip(".")))
        if chosen.roiNode or chosen.liverNode or chosen.notLiverNode:
            said.append(_("ROI and points belong to one frame and were not used."))
        return said

    def _onFailed(self, error: BaseException) -> None:
        showFailure(error, _("The frames could not be segmented."), self._onProgress)

    def _onGone(self) -> None:
        self._say(_("Canceled: the sequence, its browser or its volume was removed; nothing was changed."))
        self._onProgress()

    def _onUndo(self) -> None:
        source, _reason = self._source()
        if source is None:
            return
        try:
            with explained(_("The step could not be taken.")):
                self._results[source.sequenceNode.GetID()].undo()
                del self._results[source.sequenceNode.GetID()]
                self._measured.pop(source.sequenceNode.GetID(), None)
                self._say(_("The segmentations of the frames are as they were before."))
        finally:
            self._onProgress()

    def _onShowCurve(self) -> None:
        source, _reason = self._source()
        if source is None or source.segmentations is None:  # deleted since
            self.refresh()
            return
        with explained(_("The curve could not be shown.")):
            self._showCurve(source, sequence_curve.measure(source))
            _table, chart = sequence_curve.nodes(source)
            logic = slicer.app.applicationLogic()
            logic.GetSelectionNode().SetActivePlotChartID(chart.GetID())
            logic.PropagatePlotChartSelection()
            slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
        self.refresh()

    # What is shown

    def _say(self, text: str) -> None:
        self._said = self._chosen().volumeNode, text
        self.refresh()
