"""The section "Review": from one uncertain slice to the next, what was reviewed, and how much of the liver that is."""

from collections.abc import Callable

from slicer.i18n import tr as _

from ..core.volume import InputError, OutOfMemory
from ..mrml import review
from ..mrml.parameters import ChosenParameters
from ..mrml.review import Review, ReviewSlice
from ..mrml.session import SegmentationRequest, Session
from .appearance import WidgetStates
from .task_runner import TaskRunner, WorkerTask, explained, showFailure


class ReviewSection:
    """ui: the widgets of the .ui file by name. chosen(): what is chosen now. setText(label, text) shows a text that may
    have long words. While the section is collapsed nothing is looked at.
    """

    def __init__(
        self,
        ui,
        session: Session,
        runner: TaskRunner,
        chosen: Callable[[], ChosenParameters],
        setText: Callable,
    ):
        self._ui, self._session, self._runner = ui, session, runner
        self._chosen, self._setText = chosen, setText
        self._review: Review | None = None
        self._shown: ReviewSlice | None = None
        self._widgets = WidgetStates(ui)
        ui.nextSliceButton.connect("clicked(bool)", lambda: self._act(self._onNext))
        ui.previousSliceButton.connect("clicked(bool)", lambda: self._act(self._onPrevious))
        ui.reviewedCheckBox.connect("clicked(bool)", lambda checked: self._act(lambda: self._onReviewed(checked)))
        ui.undoReviewButton.connect("clicked(bool)", lambda: self._act(self._onUndo))
        ui.startOverButton.connect("clicked(bool)", lambda: self._act(self._onStartOver))
        ui.reviewCollapsibleButton.connect("contentsCollapsed(bool)", lambda collapsed: self.refresh())

    def refresh(self) -> None:
        """Show what is true of the chosen segmentation by now."""
        if self._ui.reviewCollapsibleButton.collapsed:
            return
        try:
            self._follow()
            reason = self._obstacle()
        except (InputError, OutOfMemory) as error:
            reason = str(error)
        self._show(reason)

    def forget(self) -> None:
        """The scene was closed."""
        self._review = self._shown = None

    def _follow(self) -> None:
        node = self._chosen().segmentationNode
        if self._review is not None and (self._review.node != node or not self._review.exists):
            self.forget()
        if self._review is None and node is not None:
            self._review = Review(node)

    def _obstacle(self) -> str:
        """Why nothing can be reviewed; empty when something can. Raises InputError."""
        if self._review is None:
            return _("Segment the liver first.")
        if self._review.share is None:
            return _("The segment has no voxels.")
        return ""

    # Buttons

    def _act(self, action: Callable) -> None:
        try:
            with explained(_("The review could not go on.")):
                self._follow()
                if self._review is not None:
                    action()
        finally:
            self.refresh()

    def _onNext(self) -> None:
        """The network may still have to look at the CT, for instance after a scene was loaded."""
        request = review.networkRequest(self._session, self._chosen(), self._review)
        if request is None:
            self._review.useOutline()
            self._goOn(self._review)
        elif self._session.isAnalyzed(request.chosen):
            self._useNetwork(self._review, request)
        else:
            self._analyze(self._review, request)

    def _analyze(self, asked: Review, request: SegmentationRequest) -> None:
        def onDone(border) -> None:
            if asked is self._review and asked.exists and request.imageIsUnchanged():
                self._act(lambda: self._useNetwork(asked, request, border))

        self._runner.start(
            WorkerTask(
                request.job.uncertain_border,
                onDone,
                self._onFailed,
                request.nodesExist,
                self.refresh,
                analysisKey=request.job.analysis_key,
            )
        )

    def _onFailed(self, error: BaseException) -> None:
        showFailure(error, _("The review could not go on."), self.refresh)

    def _useNetwork(self, asked: Review, request: SegmentationRequest, border=None) -> None:
        asked.useNetwork(border if border is not None else request.job.uncertain_border(), request)
        self._goOn(asked)

    def _goOn(self, asked: Review) -> None:
        self._shown = asked.next()

    def _onPrevious(self) -> None:
        self._shown = self._review.previous() or self._shown

    def _onReviewed(self, checked: bool) -> None:
        if self._shown is not None:
            self._review.mark(self._shown.number, checked)

    def _onUndo(self) -> None:
        self._review.undo()

    def _onStartOver(self) -> None:
        self._review.startOver()
        self._shown = None

    # What is shown

    def _show(self, reason: str) -> None:
        current, shown = (None, None) if reason else (self._review, self._shown)
        running = _("Not while the liver is being segmented.") if self._runner.running else ""
        isDone = current is not None and not current.open()
        noSlice = reason or ("" if shown else _("Go to a slice first."))
        self._widgets.enable("nextSliceButton", reason or running or (_("All slices are reviewed.") if isDone else ""))
        canGoBack, canUndo = current is not None and current.canGoBack, current is not None and current.canUndo
        self._widgets.enable("previousSliceButton", reason or ("" if canGoBack else _("There is no slice before.")))
        self._widgets.enable("reviewedCheckBox", noSlice)
        self._widgets.enable("undoReviewButton", reason or ("" if canUndo else _("There is nothing to undo.")))
        hasReviewed = current is not None and bool(current.reviewed)
        self._widgets.enable("startOverButton", reason or ("" if hasReviewed else _("Nothing is reviewed yet.")))
        self._widgets.set("reviewedCheckBox", "checked", bool(current and shown and current.isReviewed(shown.number)))
        self._widgets.set("reviewBar", "value", int(100 * (current.share or 0)) if current else 0)
        self._setText(self._ui.reviewLabel, reason or self._text(shown, isDone))

    def _text(self, shown: ReviewSlice | None, isDone: bool) -> str:
        said = []
        if isDone:
            said.append(_("All slices are reviewed."))
        if shown is not None:
            s = shown.ras[2]
            where = f"{'S' if s >= 0 else 'I'} {abs(s):.1f} mm"
            form = _("{where}: {area:.1f} cm² of uncertain border.")
            if not self._review.isAsShown:
                form = _(
                    "{where}: the mask was changed since; what is uncertain is looked at again with the next slice."
                )
            elif shown.order == review.OUTLINE:
                form = _(
                    "{where}: the outline differs by {area:.1f} cm² from the slices beside. No answer of the network "
                    "is known for this mask; slices that differ most come first."
                )
            said.append(form.format(where=where, area=shown.areaCm2))
        return " ".join(said)
