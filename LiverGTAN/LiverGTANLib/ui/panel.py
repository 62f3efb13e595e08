"""Part of the shell: the panel. What can be done now and why something cannot, one run, its result, undo and redo."""

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import NodeModify, VTKObservationMixin

from ..core.terminology import INTENDED_USE
from ..mrml import parameters, roi, sample_data
from .batch_section import BatchSection
from .live_update import LiveUpdate
from .measure_section import MeasureSection
from .place_buttons import PlaceButtons
from .task_runner import TaskRunner, WorkerTask

# A run that is over before this shows neither progress nor Cancel: they would only flicker.
PATIENCE_SECONDS = 0.5

FAILED = "The liver could not be segmented."


class Panel(VTKObservationMixin):
    """ui: the widgets of the .ui file by name. logic: LiverGTANLogic."""

    def __init__(self, ui, logic):
        VTKObservationMixin.__init__(self)
        self.ui, self.logic, self.session = ui, logic, logic.session
        self.parameters = None
        self._guiTag = None
        self._shownInput = None
        self.runner = TaskRunner(self.updateButtons, lambda: self.live.errands.goOn())
        self.live = LiveUpdate(slicer.mrmlScene, logic, self.runner, self)
        self.places = PlaceButtons(ui.liverPointsButton, ui.notLiverPointsButton)
        self.measure = MeasureSection(ui, logic)
        self.batch = BatchSection(
            ui.volumesComboBox,
            ui.batchButton,
            ui.batchLabel,
            self.runner,
            self._prepareOneOfMany,
            logic.apply,
            self.updateButtons,
        )
        self._connect()

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
        ui.thresholdSlider.connect("valueIsChanging(double)", lambda value: self.live.drag("threshold", value))
        ui.smoothingSlider.connect("valueIsChanging(double)", lambda value: self.live.drag("smoothing", value))

    # Life of the panel

    def show(self, parameters) -> None:
        """Show these parameters (None: nothing, without a scene)."""
        self._disconnect()
        self.parameters = parameters
        if parameters:
            # connectGui does the same, but not every Slicer's returns the tag that disconnecting needs.
            self._guiTag = parameters.connectParametersToGui(_boundWidgets(self.ui))
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
            if not parameters.inputVolume:
                parameters.inputVolume = _firstScalarVolume()
        self.onParametersChanged()
        self._observeImage()

    def enter(self) -> None:
        """The module is opened."""
        student, engine = self.parameters.student, self.parameters.engine
        self.runner.start(WorkerTask(lambda *_: self.session.warmUp(student, engine), lambda outcome: None, quiet=True))
        self.follow()

    def follow(self) -> None:
        """From now on the mask follows what is set, and scans are looked at ahead."""
        self.places.open(self.parameters)
        self.live.open(self.parameters)

    def leave(self) -> None:
        """Another module is opened, or the scene is closed: nothing goes on."""
        self.batch.stop()
        self.live.close()
        self.places.close()
        self.runner.stop(waitForThread=True)
        self.updateButtons()
        self.removeObservers(self.onImageChanged)
        self._disconnect()

    def close(self) -> None:
        """The widgets are not touched any more."""
        self.live.close()
        self.places.close()
        self.runner.stop(waitForThread=True)
        self._disconnect()
        self.removeObservers()

    def _disconnect(self) -> None:
        if self.parameters:
            self.parameters.disconnectGui(self._guiTag)
        self._guiTag = None
        self.removeObservers(self.onParametersChanged)

    # Parameters

    def onParametersChanged(self, caller=None, event=None) -> None:
        followed = self._followInput()
        if self.parameters and not followed:
            parameters.give(self.parameters)
            self._fitNewRegion()
        self.ui.show3DButton.setSegmentationNode(self._choice("outputSegmentation"))
        self.ui.engineInfoLabel.text = self.session.engineDescription()
        self.updateButtons()
        if not followed:
            self.live.onParametersChanged()

    def _followInput(self) -> bool:
        """Another volume goes with its own segmentation, ROI and points, so that nothing gets to the wrong volume."""
        inputVolume = self._choice("inputVolume")
        if inputVolume == self._shownInput:
            return False
        changed = self._shownInput is not None
        self._shownInput = inputVolume
        self._observeImage()
        if self.parameters and (changed or not self._choice("outputSegmentation")):
            self.ui.resultLabel.text = ""
            with NodeModify(self.parameters.parameterNode):
                self.parameters.outputSegmentation = self.session.findSegmentation(inputVolume)
                parameters.take(self.parameters, inputVolume)
        self.live.onVolumeChanged()
        return True

    def _observeImage(self) -> None:
        self.removeObservers(self.onImageChanged)
        for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent):
            if self._shownInput:
                self.addObserver(self._shownInput, event, self.onImageChanged)

    def _fitNewRegion(self) -> None:
        region = self.parameters.region
        if region and self.parameters.inputVolume and max(region.GetSize()) <= 0:
            self.onFitRegion()

    def onImageChanged(self, caller, event) -> None:
        self.updateButtons()
        self.live.onImageChanged()

    def _choice(self, name):
        return getattr(self.parameters, name) if self.parameters else None

    # What can be done now, and why something cannot

    def updateButtons(self) -> None:
        self.batch.update()
        if self.runner.running:
            self._showRun()
            return
        volumeNode, student = self._choice("inputVolume"), self._choice("student")
        reason, warning = self.session.obstacles(volumeNode, student, self._choice("engine"))
        self.ui.applyButton.text = _("Segment anyway") if warning and not reason else _("Segment")
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or warning or _("Segment the liver of the CT.")
        self.ui.messageLabel.text = reason or warning
        self.ui.messageLabel.visible = bool(reason or warning)
        self.ui.progressBar.visible = False
        self.ui.undoButton.enabled = self.session.canUndo(self._choice("outputSegmentation"))
        self.ui.redoButton.enabled = self.session.canRedo(self._choice("outputSegmentation"))
        for button in (self.ui.liverPointsButton, self.ui.notLiverPointsButton, self.ui.clearPointsButton):
            button.enabled = volumeNode is not None
        self.ui.fitRegionButton.enabled = volumeNode is not None and self._choice("region") is not None

    def _showRun(self) -> None:
        """Until patience ends the button only waits: a hasty second click must not cancel."""
        long = self.runner.waited > PATIENCE_SECONDS
        self.ui.applyButton.enabled = long
        self.ui.applyButton.text = _("Cancel") if long else _("Segment")
        self.ui.applyButton.toolTip = _("Stop; nothing is changed.") if long else _("The liver is being segmented.")
        self.ui.undoButton.enabled = False
        self.ui.redoButton.enabled = False
        if long:
            fraction, text = self.runner.progress
            self.ui.progressBar.visible = True
            self.ui.progressBar.value = round(100 * fraction)
            self.ui.progressBar.format = f"{text} %p%"

    # One run

    def onApplyButton(self) -> None:
        if self.runner.running:
            self.batch.stop()
            self.runner.stop()
            self.say(_("Canceled; nothing was changed."))
            self.live.errands.goOn()
        else:
            with slicer.util.tryWithErrorDisplay(_(FAILED)):
                self.say("")
                self._start()
        self.updateButtons()

    def _start(self) -> None:
        request = self.logic.prepare(self.parameters)
        self.runner.start(
            WorkerTask(
                request.job.run, lambda outcome: self._onRunDone(request, outcome), request.nodesExist, self._onGone
            ),
            sparing=self.live.isLookingAt(request),
        )

    def _onRunDone(self, request, outcome) -> None:
        if outcome.error is not None:
            self.fail(outcome.error)
        else:
            self.write(request, outcome.value)

    def write(self, request, found) -> None:
        """Put what was found into the scene, and tell."""
        try:
            with slicer.util.tryWithErrorDisplay(_(FAILED), waitCursor=True):
                self.live.writing(request)
                result = self.logic.apply(request, found, surfaceLater=True)
                qt.QTimer.singleShot(0, self.session.makeSurface)
                if request.volumeNode == self._choice("inputVolume"):
                    self.parameters.outputSegmentation = result.segmentation
                    self.say(self.measure.line(result, withTime=True))
                    self.live.wrote()
        finally:
            self.updateButtons()

    def fail(self, error) -> None:
        """Show an error to the person."""
        try:
            with slicer.util.tryWithErrorDisplay(_(FAILED)):
                raise error
        finally:
            self.updateButtons()

    def say(self, text: str) -> None:
        self.ui.resultLabel.text = text

    def _onGone(self) -> None:
        self.say(_("Canceled: the volume or the segmentation was removed."))
        self.updateButtons()

    def _prepareOneOfMany(self, volumeNode, segmentationNode):
        chosen = parameters.ofVolume(volumeNode, parameters.settings(self.parameters))
        return self.session.prepare(
            volumeNode, segmentationNode, self.parameters.student, self.parameters.engine, chosen.recipe, chosen
        )

    # Undo, region, points, sample

    def moveInHistory(self, step) -> None:
        current = step()
        self.live.restore(current)
        self.measure.showStep(current, self._choice("outputSegmentation"))
        self.say(self.measure.line(current.result) if current else "")
        self.updateButtons()

    def onFitRegion(self) -> None:
        roi.fit(self.parameters.region, self.parameters.inputVolume, self.parameters.outputSegmentation)

    def onClearPoints(self) -> None:
        for node in filter(None, (self.parameters.liverPoints, self.parameters.notLiverPoints)):
            node.RemoveAllControlPoints()

    def loadSample(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The sample CT could not be loaded."), waitCursor=True):
            self.parameters.inputVolume = sample_data.load()


def _boundWidgets(ui) -> dict:
    """Parameter name -> widget."""
    named = {widget.property("SlicerParameterName"): widget for widget in vars(ui).values()}
    return {name: widget for name, widget in named.items() if name}


def _firstScalarVolume():
    """The first CT-like volume of the scene; label maps and color images are of derived classes."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    scalar = [node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    return next((node for node in scalar if not node.GetHideFromEditors()), None)
