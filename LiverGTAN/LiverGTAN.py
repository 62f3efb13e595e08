"""LiverGTAN: the liver of a CT in a moment, inside 3D Slicer and with nothing to install.

The module, its panel and its logic: a thin shell over LiverGTANLib. Nothing heavy is imported at file scope.
"""

from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

STUDENTS = ["student-100k", "student-30k"]
ENGINES = ["automatic", "numpy", "torch"]

# A run that is over before this shows neither progress nor Cancel: they would only flicker.
PATIENCE_SECONDS = 0.5


class LiverGTAN(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "LiverGTAN"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations"]
        parent.contributors = ["LiverGTAN contributors"]
        parent.helpText = _(
            "Segments the liver in a CT within a moment, on the processor alone and with nothing to install. "
            'See the <a href="https://github.com/SlicerLiverGTAN/SlicerLiverGTAN">documentation</a>. '
            "For research use; not a medical device."
        )
        parent.acknowledgementText = _(
            "The network is trained by knowledge distillation through a growing teacher assistant, after Xu et al., "
            "Phys Med Biol 66(23), 2021, doi 10.1088/1361-6560/ac3935."
        )


@parameterNodeWrapper
class LiverGTANParameterNode:
    """The person's choices; they are saved with the scene.

    inputVolume: the CT. outputSegmentation: where its liver goes, made on demand when None.
    student: which network. engine: what runs it.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    student: Annotated[str, Choice(STUDENTS)] = "student-100k"
    engine: Annotated[str, Choice(ENGINES)] = "automatic"


class LiverGTANWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. A worker thread computes, a timer fetches its result, the main thread reads and writes MRML."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._shownInput = None
        self._runner = None

    def setup(self):
        from LiverGTANLib.anatomy import INTENDED_USE
        from LiverGTANLib.runner import Runner

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/LiverGTAN.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = LiverGTANLogic()
        self.ui.intendedUseLabel.text = INTENDED_USE
        self._runner = Runner(self.updateButtons, self.onRunDone, self.onNodesGone)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.undoButton.connect("clicked(bool)", lambda: self.moveInHistory(self.logic.session.undo))
        self.ui.redoButton.connect("clicked(bool)", lambda: self.moveInHistory(self.logic.session.redo))
        self.initializeParameterNode()

    # Life of the panel

    def cleanup(self):
        """The panel goes away, by module reload or application exit; its widgets are not touched any more."""
        if self._runner:
            self._runner.stop(waitForThread=True)
        self._disconnectParameterNode()
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()
        student, engine = self._parameterNode.student, self._parameterNode.engine
        self._runner.warmUp(lambda: self.logic.session.warmUp(student, engine))

    def exit(self):
        """Another module is opened."""
        self._runner.stop(waitForThread=True)
        self.updateButtons()
        self._disconnectParameterNode()

    def onSceneStartClose(self, caller, event):
        self._runner.stop(waitForThread=True)
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        self.logic.session.forgetScene()
        if self.parent.isEntered:
            self.initializeParameterNode()

    # Parameters

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")  # label maps and color images among them
            scalar = [node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
            self._parameterNode.inputVolume = scalar[0] if scalar else None

    def setParameterNode(self, parameterNode):
        self._disconnectParameterNode()
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        self.onParametersChanged()

    def _disconnectParameterNode(self):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
        self.removeObservers(self.onParametersChanged)

    def onParametersChanged(self, caller=None, event=None):
        self._followInput()
        self.ui.show3DButton.setSegmentationNode(self._choice("outputSegmentation"))
        self.ui.engineInfoLabel.text = self.logic.session.engineDescription()
        self.updateButtons()

    def _followInput(self):
        """Another volume goes with its own segmentation, so that its liver never replaces the former volume's."""
        inputVolume = self._choice("inputVolume")
        if inputVolume == self._shownInput:
            return
        changed = self._shownInput is not None
        self._shownInput = inputVolume
        self.removeObservers(self.onImageChanged)
        for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent):
            if inputVolume:
                self.addObserver(inputVolume, event, self.onImageChanged)
        if self._parameterNode and (changed or not self._choice("outputSegmentation")):
            self.ui.resultLabel.text = ""
            self._parameterNode.outputSegmentation = self.logic.session.findSegmentation(inputVolume)

    def onImageChanged(self, caller, event):
        self.updateButtons()

    def _choice(self, name):
        return getattr(self._parameterNode, name) if self._parameterNode else None

    # What can be done now, and why something cannot

    def updateButtons(self):
        if self._runner.running:
            self._showRun()
            return
        reason, warning = self.logic.session.obstacles(self._choice("inputVolume"), self._choice("engine"))
        self.ui.applyButton.text = _("Segment")
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or warning or _("Segment the liver of the CT.")
        self.ui.messageLabel.text = reason or warning
        self.ui.messageLabel.visible = bool(reason or warning)
        self.ui.progressBar.visible = False
        self.ui.undoButton.enabled = self.logic.session.canUndo(self._choice("outputSegmentation"))
        self.ui.redoButton.enabled = self.logic.session.canRedo(self._choice("outputSegmentation"))

    def _showRun(self):
        """Until patience ends the button only waits: a hasty second click must not cancel."""
        long = self._runner.waited > PATIENCE_SECONDS
        self.ui.applyButton.enabled = long
        self.ui.applyButton.text = _("Cancel") if long else _("Segment")
        self.ui.applyButton.toolTip = _("Stop; nothing is changed.") if long else _("The liver is being segmented.")
        self.ui.undoButton.enabled = False
        self.ui.redoButton.enabled = False
        if long:
            fraction, text = self._runner.progress
            self.ui.progressBar.visible = True
            self.ui.progressBar.value = round(100 * fraction)
            self.ui.progressBar.format = f"{text} %p%"

    # One run

    def onApplyButton(self):
        if self._runner.running:
            self._runner.stop()
            self.ui.resultLabel.text = _("Canceled; nothing was changed.")
        else:
            with slicer.util.tryWithErrorDisplay(_("The liver could not be segmented.")):
                self.ui.resultLabel.text = ""
                self._runner.start(self.logic.prepare(self._parameterNode))
        self.updateButtons()

    def onRunDone(self, request, outcome):
        try:
            with slicer.util.tryWithErrorDisplay(_("The liver could not be segmented."), waitCursor=True):
                self._finish(request, outcome)
        finally:
            self.updateButtons()

    def _finish(self, request, outcome):
        if outcome.error is not None:
            raise outcome.error
        result = self.logic.session.apply(request, outcome.value)
        if request.volumeNode != self._choice("inputVolume"):
            return  # The person has gone on to another volume; the result is in the scene all the same.
        self._parameterNode.outputSegmentation = result.segmentation
        self.ui.resultLabel.text = _("Liver {volume:.0f} mL, {seconds:.2f} s ({engine})").format(
            volume=result.volumeMl, seconds=result.seconds["total"], engine=result.engine)

    def onNodesGone(self):
        self.ui.resultLabel.text = _("Canceled: the volume or the segmentation was removed.")
        self.updateButtons()

    def moveInHistory(self, step):
        step()
        self.ui.resultLabel.text = ""
        self.updateButtons()


class LiverGTANLogic(ScriptedLoadableModuleLogic):
    """Segments without a panel and without a pop-up; errors are raised with a sentence that tells what to do."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._session = None

    @property
    def session(self):
        """The work itself (LiverGTANLib.session); loaded at first use, with numpy."""
        if self._session is None:
            from LiverGTANLib.session import Session

            self._session = Session(slicer.mrmlScene)
        return self._session

    def getParameterNode(self):
        return LiverGTANParameterNode(super().getParameterNode())

    def process(self, inputVolume, outputSegmentation=None, student="student-100k", engine="automatic"):
        """Segment the liver of a CT and return when it is written.

        inputVolume: scalar volume node in HU. outputSegmentation: segmentation node, made on demand when None.
        student: name of a bundled student or path of a student file. engine: "automatic", "numpy" or "torch".
        Returns a result with segmentation, segmentId, volumeMl, seconds (by stage), engine and student.

        Example::

            from LiverGTAN import LiverGTANLogic
            result = LiverGTANLogic().process(volumeNode)
            print(result.volumeMl, result.segmentation.GetName())
        """
        request = self.session.prepare(inputVolume, outputSegmentation, student, engine)
        return self.session.apply(request, request.job.run())

    def prepare(self, parameterNode):
        """The request that the parameter node asks for; its job may run in another thread."""
        return self.session.prepare(parameterNode.inputVolume, parameterNode.outputSegmentation,
                                    parameterNode.student, parameterNode.engine)


class LiverGTANTest(ScriptedLoadableModuleTest):
    """The journey of a first use, on a generated CT: no network connection and no file is needed."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from LiverGTANLib import selftest

        for journey in selftest.JOURNEYS:
            self.setUp()
            self.delayDisplay(journey.__doc__.splitlines()[0])
            journey(self, LiverGTANLogic())
        self.delayDisplay("Test passed")
