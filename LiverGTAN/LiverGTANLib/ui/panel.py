"""The panel: what can be done now and why something cannot, one run, its result, Undo and Redo."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import NodeModify, VTKObservationMixin

from ..core.segmentation_job import JobResult
from ..core.terminology import INTENDED_USE
from ..core.volume import InputError
from ..mrml import parameters, roi, sample_data, scene, surface
from ..mrml.parameters import ChosenParameters
from ..mrml.segment_writer import WriteError
from ..mrml.sequence_writer import SequenceResult
from ..mrml.session import HistoryMove, SegmentationRequest, SegmentationResult, Session
from ..mrml.surface import MaskSurface
from . import appearance
from .batch_section import BatchSection
from .export_section import ExportSection
from .follow_section import FollowSection
from .follower import Follower
from .live_update import LiveUpdate
from .measure_section import MeasureSection
from .place_buttons import PlaceButtons
from .planning_section import PlanningSection
from .result_line import ResultLine, setText
from .review_section import ReviewSection
from .sequence_section import SequenceSection
from .task_runner import TaskRunner, WorkerTask, explained, showFailure

SHOW_RUN_AFTER_SECONDS = 0.5
"""A run that is over before this shows neither progress nor Cancel: they would only flicker. A choice, not a
measurement; a second click of a double click, which must not cancel, comes sooner."""

CHOSEN_BY_USER = ("outputSegmentation", "region", "measurements")
"""Parameters whose node, when it is deleted, must not be replaced by the neighbor that its selector jumps to: a liver
would be written over another volume's."""

TYPING = ("QLineEdit", "QTextEdit", "QPlainTextEdit", "QAbstractSpinBox", "QComboBox", "QAbstractItemView")
"""Classes of widgets that take a letter themselves: as text, or to go to the entry that begins with it."""

BEFORE_SELECTORS = 1.0
"""Priority of an observer of the scene that is called before those of Slicer's widgets, which have 0."""


class Panel(VTKObservationMixin):
    """ui: the widgets of the .ui file by name. session: does the work.

    `chosen` is the latest reading of the parameter node. A run is shown when it takes longer than `showRunAfter`
    seconds. Buttons are refreshed once after all changes of one turn of the event loop, and once when a run ends.
    """

    def __init__(self, ui, session: Session):
        VTKObservationMixin.__init__(self)
        self.ui, self.session = ui, session
        self.parameterNode: Any = None
        self.chosen = ChosenParameters()
        self._guiTag = None
        self._shownVolume: Any = None
        self._ignoring = self._writing = False
        self._deleting: dict[str, list[str]] = {}  # ID of a node -> parameters that it was chosen for
        self._observedOutput: Any = None
        self._stopped = ""  # why a run ended that was not asked to; said when the panel is there again
        self.showRunAfter = SHOW_RUN_AFTER_SECONDS
        self._runShown = self._isTyping = False
        self._toolTips: dict[str, str] = {}  # of the .ui file, by button
        self._refreshTimer = qt.QTimer()
        self._refreshTimer.setSingleShot(True)
        self._refreshTimer.setInterval(0)
        self._refreshTimer.connect("timeout()", self.refresh)
        self.runner = TaskRunner(self._onProgress)
        self.line = ResultLine(ui.resultLabel, session, lambda: self.chosen)
        self._makeSections(ui)
        appearance.complete(ui)
        self._connect()

    def _makeSections(self, ui) -> None:
        session = self.session
        self.live = LiveUpdate(
            slicer.mrmlScene,
            session,
            self.runner,
            lambda: self.chosen,
            write=lambda request, found, surfaceOfMask: self._write(request, found, surfaceOfMask, asked=False),
            fail=self._fail,
            say=self.line.say,
            refresh=self._onAnalyzed,
        )
        self.places = PlaceButtons(ui.correctCollapsibleButton, ui.liverPointsButton, ui.notLiverPointsButton)
        self.measure = MeasureSection(ui, session, lambda: parameters.findOrCreateTable(self.parameterNode))
        self.batch = BatchSection(
            ui,
            session,
            self.runner,
            lambda: self.chosen,
            say=self._sayOfBatch,
            onResult=self._onBatchResult,
            onProgress=self.refresh,
        )
        self.sequence = SequenceSection(
            ui,
            session,
            self.runner,
            lambda: self.chosen,
            setText,
            onResult=self._onSequenceResult,
            onProgress=self.refresh,
        )
        self.review = ReviewSection(ui, session, self.runner, lambda: self.chosen, setText)
        self.planning = PlanningSection(ui, setText)
        self.following = FollowSection(
            ui, Follower(session, lambda: self.chosen), lambda: self.chosen, self._onAccepted
        )
        self.export = ExportSection(
            ui,
            session,
            lambda: parameters.findOrCreateTable(self.parameterNode),
            lambda: self.chosen.segmentationNode,
            self._settle,
            setText,
        )
        self.live.isAnalyzedElsewhere = lambda volumeNode: volumeNode is self.following.follower.volumeNode

    def _connect(self) -> None:
        ui = self.ui
        ui.intendedUseLabel.text = INTENDED_USE
        ui.sampleLabel.visible = sample_data.isAvailable()
        ui.sampleLabel.connect("linkActivated(QString)", lambda link: self.loadSample())
        ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        ui.undoButton.connect("clicked(bool)", lambda: self.moveInHistory(self.session.undo))
        ui.redoButton.connect("clicked(bool)", lambda: self.moveInHistory(self.session.redo))
        ui.fitRegionButton.connect("clicked(bool)", self.onFitRegion)
        ui.clearPointsButton.connect("clicked(bool)", self.onClearPoints)
        for slider in (ui.thresholdSlider, ui.smoothingSlider):
            slider.connect("valueIsChanging(double)", lambda value, slider=slider: self._onSliding(slider, value))
        mrmlScene = slicer.mrmlScene
        self.addObserver(
            mrmlScene, mrmlScene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved, priority=BEFORE_SELECTORS
        )
        self.addObserver(mrmlScene, mrmlScene.NodeRemovedEvent, self._onNodeRemoved)

    # Life of the panel

    def show(self, parameterNode) -> None:
        """Show these parameters (None: nothing, without a scene)."""
        self._disconnect()
        self.parameterNode = parameterNode
        if parameterNode is None:
            self.planning.follow(None)
        else:
            # connectGui does the same, but Slicer up to 5.12 does not return the tag that disconnecting needs.
            self._guiTag = parameterNode.connectParametersToGui(_boundWidgets(self.ui))
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
            if not parameterNode.inputVolume:
                parameterNode.inputVolume = _firstScan()
        self.onParametersChanged()
        self._observeImage()

    def enter(self) -> None:
        """The module is opened."""
        student, engine = self.chosen.student, self.chosen.engine
        self.runner.start(
            WorkerTask(
                lambda progress, cancelled: self.session.warmUp(student, engine, cancelled), background="warm-up"
            )
        )
        self.follow()

    def follow(self) -> None:
        """From now on the mask follows what is set, and scans are analyzed ahead."""
        self.places.open(self.parameterNode)
        self._isTyping = False
        slicer.app.connect("focusChanged(QWidget*,QWidget*)", self._onFocusChanged)
        self._onFocusChanged(None, qt.QApplication.focusWidget())
        self._showSettingsOfMask()
        if self._stopped:
            self.line.say(self._stopped)
        else:
            self.line.refresh()
        self._stopped = ""
        self.live.open()

    def leave(self) -> None:
        """Another module is opened: nothing goes on."""
        if not self.runner.running:
            self.live.finish()
        self._stop(_("Canceled, as another module was opened; nothing was changed."))

    def suspend(self) -> None:
        """The scene is closed or another one is loaded: nothing goes on."""
        self._stop(_("Canceled, as a scene was loaded or closed; nothing was changed."))

    def _stop(self, reason: str) -> None:
        """reason: what to say of a run."""
        if self.batch.running:
            self.batch.stop()
        elif self.runner.running:
            self._stopped = reason
        self._stopFollowing()
        self.refresh()
        self.removeObservers(self.onImageChanged)
        self._observeOutput(None)
        self._disconnect()

    def close(self) -> None:
        """The widgets are not touched any more."""
        self._stopFollowing()
        self.planning.close()
        self.following.close()
        self.measure.close()
        self._refreshTimer.stop()
        self._disconnect()
        self.removeObservers()

    def _stopFollowing(self) -> None:
        slicer.app.disconnect("focusChanged(QWidget*,QWidget*)", self._onFocusChanged)
        self.live.close()
        self.places.close()
        self.runner.close()

    def clear(self) -> None:
        """The scene is empty: nothing is told any more of what was in it."""
        self.chosen = ChosenParameters()
        self._stopped = ""
        self.line.show()
        self._sayOfBatch("")
        self.sequence.forget()
        self.review.forget()
        self.planning.forget()
        self.export.forget()

    def _disconnect(self) -> None:
        if self.parameterNode:
            self.parameterNode.disconnectGui(self._guiTag)
        self._guiTag = None
        self.removeObservers(self.onParametersChanged)

    # Parameters

    def onParametersChanged(self, caller=None, event=None) -> None:
        """The parameter node was changed by a widget, a script, or a loaded scene."""
        if self._ignoring or self._deleting:
            return
        before = self.chosen
        self._readParameters()
        if (before.volumeNode, before.segmentationNode) != (self.chosen.volumeNode, self.chosen.segmentationNode):
            self._finish(before)
        volumeChanged = self.chosen.volumeNode != self._shownVolume
        if volumeChanged:
            self._followVolume()
        else:
            parameters.assignToVolume(self.chosen)
            self._fitNewRegion()
        if volumeChanged or self.chosen.segmentationNode != before.segmentationNode:
            self.line.show()
        self._observeOutput(self.chosen.segmentationNode)
        setText(self.ui.engineInfoLabel, self.session.engines.describe())
        self.scheduleRefresh()
        if volumeChanged:
            self.live.onVolumeChanged()
        else:
            self.live.onParametersChanged()

    def _finish(self, before: ChosenParameters) -> None:
        """Let the mask that was on its way for what was chosen before be made, then choose the new again."""
        new, self.chosen = self.chosen, before
        self.live.finish()
        if self.chosen is not before:  # it was written
            with self._settingParameters():
                self.parameterNode.outputSegmentation = new.segmentationNode
            self._readParameters()
        else:
            self.chosen = new

    def _settle(self) -> None:
        """What was just set is followed now: what is exported is of it."""
        self.live.finish()
        self.planning.settle()

    def _readParameters(self) -> None:
        self.chosen = parameters.read(self.parameterNode) if self.parameterNode else ChosenParameters()

    @contextmanager
    def _settingParameters(self) -> Iterator[None]:
        """What is set within this block is known to the panel already."""
        self._ignoring = True
        try:
            with NodeModify(self.parameterNode.parameterNode):
                yield
        finally:
            self._ignoring = False

    def _followVolume(self) -> None:
        """Another volume has its own segmentation, ROI and points, so that nothing gets to the wrong volume."""
        previous, self._shownVolume = self._shownVolume, self.chosen.volumeNode
        self.places.stop()  # the next point would go to the list of the volume before
        self._observeImage()
        if self.parameterNode and (previous is not None or self.chosen.segmentationNode is None):
            with self._settingParameters():
                self.parameterNode.outputSegmentation = scene.findSegmentation(self._shownVolume)
                parameters.showMarkupsOf(self._shownVolume, self.parameterNode)
            self._readParameters()
            self._showSettingsOfMask()

    def _showSettingsOfMask(self) -> None:
        """Let the sliders show what the mask was made with, so that the first change of one changes nothing else."""
        result = self.line.known
        if result is not None:
            with self._settingParameters():
                parameters.restoreSettings(self.parameterNode, result.request.asked.settings)
            self._readParameters()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller, event, node) -> None:
        parameterNode = self.parameterNode
        chosenFor = [n for n in CHOSEN_BY_USER if parameterNode and getattr(parameterNode, n) is node]
        if chosenFor:
            self._deleting[node.GetID()] = chosenFor

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node) -> None:
        chosenFor = self._deleting.pop(node.GetID(), [])
        if chosenFor:
            with self._settingParameters():
                for name in chosenFor:
                    setattr(self.parameterNode, name, None)
            self.onParametersChanged()
        if self.parameterNode:  # None while the scene is closed, which removes every node
            self.places.onNodeRemoved(node)
            self.batch.refresh()
            self.scheduleRefresh()  # later, for a browser of sequences that loses a node must not be asked now

    def _observeImage(self) -> None:
        self.removeObservers(self.onImageChanged)
        for event in scene.imageEvents(self._shownVolume) if self._shownVolume else ():
            self.addObserver(self._shownVolume, event, self.onImageChanged)

    def _observeOutput(self, segmentationNode) -> None:
        if segmentationNode == self._observedOutput:
            return
        self._observedOutput = segmentationNode
        self.removeObservers(self._onOutputChanged)
        self.removeObservers(self._onSurfaces)
        if segmentationNode is None:
            return
        for event in scene.segmentEvents(segmentationNode):
            self.addObserver(segmentationNode, event, self._onOutputChanged)
        made = slicer.vtkSegmentation.ContainedRepresentationNamesModified
        self.addObserver(segmentationNode, made, self._onSurfaces)
        self._onSurfaces(segmentationNode)

    def _onOutputChanged(self, caller, event) -> None:
        """Segments were changed or moved by this module, by hand, or by another module."""
        if not self._writing:
            self.scheduleRefresh()

    def _onSurfaces(self, segmentationNode, event=None) -> None:
        """Show 3D was pressed, or a scene was loaded with surfaces."""
        surface.shade(segmentationNode.GetSegmentation())

    def _fitNewRegion(self) -> None:
        chosen = self.chosen
        if chosen.roiNode and chosen.volumeNode and max(chosen.roiNode.GetSize()) <= 0:
            self.onFitRegion()

    def onImageChanged(self, caller, event) -> None:
        """Voxels or place of the chosen volume were changed."""
        if not self._writing:  # which lets the volume refer to its segmentation
            self.scheduleRefresh()
            self.live.onImageChanged()

    # What can be done now, and why something cannot

    def scheduleRefresh(self) -> None:
        """Refresh the buttons once when the event loop has its turn, however often this is called before."""
        self._refreshTimer.start()

    def refresh(self) -> None:
        """Show what can be done now, and why something cannot."""
        self._refreshTimer.stop()
        if self._observedOutput is not None:  # what was edited in 3D is shaded again
            surface.shade(self._observedOutput.GetSegmentation())
        self.line.refresh()
        self._runShown = self.runner.running and (self.batch.running or self.runner.waited > self.showRunAfter)
        if self._runShown:
            self._showRun()
        else:
            self._showChoices()
        self.ui.progressBar.visible = self._runShown
        self.batch.refresh()
        self.sequence.refresh()
        self.review.refresh()
        self.measure.follow()

    def _showChoices(self) -> None:
        chosen, ui = self.chosen, self.ui
        reason, warning = self.session.obstacles(chosen)
        ui.applyButton.text = _("Segment anyway") if warning and not reason else _("Segment")
        ui.applyButton.enabled = not reason
        ui.applyButton.toolTip = reason or warning or _("Segment the liver of the CT.")
        setText(ui.messageLabel, reason or warning)
        ui.messageLabel.visible = bool(reason or warning)
        self._enable("undoButton", self.session.undoObstacle(chosen.segmentationNode))
        self._enable("redoButton", self.session.redoObstacle(chosen.segmentationNode))
        withoutCt = "" if chosen.volumeNode else _("Choose a CT first.")
        for name in ("liverPointsButton", "notLiverPointsButton", "clearPointsButton"):
            self._enable(name, withoutCt)
        self._enable("fitRegionButton", withoutCt or ("" if chosen.roiNode else _("Create or choose an ROI first.")))
        ui.show3DButton.setSegmentationNode(chosen.segmentationNode)
        self.planning.follow(chosen.segmentationNode)
        self._explain("show3DButton", "" if ui.show3DButton.enabled else _("Segment the liver first."))

    def _enable(self, name: str, reason: str) -> None:
        """Enable a button, or disable it for this reason."""
        getattr(self.ui, name).enabled = not reason
        self._explain(name, reason)

    def _explain(self, name: str, reason: str) -> None:
        """The tool tip of a button: why it is disabled (reason), else what it does."""
        button = getattr(self.ui, name)
        toolTip = self._toolTips.setdefault(name, button.toolTip)
        button.toolTip = reason or toolTip

    def _showRun(self) -> None:
        self.ui.applyButton.text = _("Cancel")
        self.ui.applyButton.enabled = True
        self.ui.applyButton.toolTip = _("Stop; nothing is changed.")
        for name in ("undoButton", "redoButton"):
            self._enable(name, _("Not while the liver is being segmented."))

    def _onProgress(self) -> None:
        if not self._runShown and self.runner.waited > self.showRunAfter:
            self.refresh()
        if self._runShown:
            fraction, text = self.runner.progress
            self.ui.progressBar.value = round(100 * fraction)
            self.ui.progressBar.format = f"{text} %p%"

    def _onAnalyzed(self) -> None:
        setText(self.ui.engineInfoLabel, self.session.engines.describe())
        self.scheduleRefresh()

    # One run

    def onApplyButton(self) -> None:
        """Segment, or cancel a run that is shown."""
        if not self.runner.running:
            with explained(_failed()):
                if self.ui.resultLabel.text:
                    self.line.say("")
                self._start()
        elif self._runShown:  # else it is the second click of a double click, which must not cancel
            self.batch.stop()
            self.runner.stop()
            self.line.say(_("Canceled; nothing was changed."))
            self.refresh()

    def _start(self) -> None:
        self._readParameters()
        request = self.session.prepare(self.chosen)
        self.runner.start(
            WorkerTask(
                request.maskAndSurface(),
                lambda outcome: self._write(request, *outcome),
                self._fail,
                request.nodesExist,
                self._onGone,
                analysisKey=request.job.analysis_key,
            )
        )

    def _write(
        self,
        request: SegmentationRequest,
        found: JobResult,
        surfaceOfMask: MaskSurface | None,
        asked: bool = True,
    ) -> None:
        """Put what was found into the scene, and show it.

        asked: False for a mask that follows what was set; why it cannot be written is then no more than a message.
        """
        self._writing, problem = True, ""
        try:
            with explained(_failed(), waitCursor=True):
                try:
                    self._put(request, found, surfaceOfMask)
                except (WriteError, InputError) as error:
                    if asked:
                        raise
                    problem = str(error)
        finally:
            self._writing = False
            self.refresh()
        if problem:
            self.line.say(problem)
        if self.chosen.showUncertainty:
            self.live.updateUncertainty()

    def _put(self, request: SegmentationRequest, found: JobResult, surfaceOfMask: MaskSurface | None) -> None:
        before = self.live.stateOfMask(request) if request.chosen.segmentationNode else None
        result = self.session.apply(
            request,
            found,
            surfaceLater=True,
            stateBefore=before,
            tableNode=self.chosen.tableNode,
            surfaceOfMask=surfaceOfMask,
        )
        qt.QTimer.singleShot(0, self._makeSurface)
        self._showOutputs(result)
        self.live.onWritten(request)
        if result.volumeNode == self.chosen.volumeNode:
            self.line.show(withTime=True)

    def _makeSurface(self) -> None:
        with explained(_("The liver could not be shown in 3D."), waitCursor=True):
            self.session.makeSurface()

    def _showOutputs(self, result: SegmentationResult) -> None:
        """Choose the segmentation and the table of a result, which may have been made for it."""
        isShown = result.volumeNode == self.chosen.volumeNode
        segmentationNode = result.segmentation if isShown else self.chosen.segmentationNode
        with self._settingParameters():
            self.parameterNode.outputSegmentation = segmentationNode
            self.parameterNode.measurements = result.tableNode
        self.chosen = replace(self.chosen, segmentationNode=segmentationNode, tableNode=result.tableNode)
        self._observeOutput(segmentationNode)

    def _onBatchResult(self, result: SegmentationResult) -> None:
        self._showOutputs(result)
        if result.volumeNode == self.chosen.volumeNode:
            self.live.onWritten(result.request)
            self.line.show()
            self.live.updateUncertainty()

    def _onAccepted(self, result: SegmentationResult) -> None:
        """A preview of a followed volume became a segment: choose it, as the next that the user works on."""
        if self.parameterNode:
            self.parameterNode.measurements = result.tableNode
            self.parameterNode.inputVolume = result.volumeNode
            self.parameterNode.outputSegmentation = result.segmentation

    def _onSequenceResult(self, result: SequenceResult) -> None:
        """Choose the segmentation that shows the frame of the CT, if that is still chosen."""
        if self.parameterNode and result.source.proxyNode == self.chosen.volumeNode:
            with self.live.restoring():  # an ROI and points that were not used are not to be used for one frame now
                self.parameterNode.outputSegmentation = result.segmentation

    def _fail(self, error: BaseException) -> None:
        """Show an error to the user."""
        setText(self.ui.engineInfoLabel, self.session.engines.describe())
        showFailure(error, _failed(), self.refresh)

    def _sayOfBatch(self, text: str) -> None:
        setText(self.ui.batchLabel, text)
        self.ui.batchLabel.visible = bool(text)

    def _onGone(self) -> None:
        self.line.say(_("Canceled: the volume or the segmentation was removed."))
        self.refresh()

    # Undo, region, points, sample

    def moveInHistory(self, move: Callable[[Any], HistoryMove]) -> None:
        """move: `Session.undo` or `Session.redo`. What was set for the mask is set again."""
        if self.batch.running:
            return
        if self.runner.running:  # it would replace the mask that is asked for now
            self.runner.stop()
        self._writing = True
        try:
            with explained(_("The step could not be taken.")), self.live.restoring():
                moved = move(self.chosen.segmentationNode)
                if moved.state is not None:
                    parameters.restore(self.parameterNode, moved.state)
                self.line.showMove(moved)
        finally:
            self._writing = False
            self.live.updateUncertainty()
            self.refresh()

    def _onSliding(self, slider, value: float) -> None:
        """ctkSliderWidget with `tracking` off sends this for every change, by the user or not. Only while the user
        holds its handle, `value` stays what it was before.
        """
        self.live.drag(slider.property("SlicerParameterName"), None if slider.value == value else value)

    def _onFocusChanged(self, old, new) -> None:
        """Keys that place points are off while the focus is where letters are typed."""
        isTyping = new is not None and any(new.inherits(name) for name in TYPING)
        if isTyping != self._isTyping:
            self._isTyping = isTyping
            self.places.enableKeys(not isTyping)

    def onFitRegion(self) -> None:
        """Put the ROI around the liver, else around the volume."""
        if self.chosen.volumeNode.GetImageData() is None:
            return  # there is nothing to put it around
        roi.fit(self.chosen.roiNode, self.chosen.volumeNode, self.chosen.segmentationNode)

    def onClearPoints(self) -> None:
        """Remove the points of both lists."""
        for node in filter(None, (self.chosen.liverNode, self.chosen.notLiverNode)):
            node.RemoveAllControlPoints()

    def loadSample(self) -> None:
        """Load a sample CT and choose it."""
        with explained(_("The sample CT could not be loaded."), waitCursor=True):
            self.parameterNode.inputVolume = sample_data.load()


def _failed() -> str:
    return _("The liver could not be segmented.")  # translated when it is shown, in the language that is set then


def _boundWidgets(ui) -> dict:
    """Parameter name -> widget."""
    named = {widget.property("SlicerParameterName"): widget for widget in vars(ui).values()}
    return {name: widget for name, widget in named.items() if name}


def _firstScan():
    return next(filter(scene.isScan, slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")), None)
