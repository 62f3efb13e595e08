"""A scripted module in Slicer's present manner, to show that the host runs such modules unchanged."""

import enum
from typing import Annotated, Optional

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class HostSample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Host sample")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Testing")]
        slicer.app.connect("startupCompleted()", self.onStartupCompleted)
        self.started = False

    def onStartupCompleted(self):
        self.started = True


class Side(enum.Enum):
    BELOW = "below"
    ABOVE = "above"


@parameterNodeWrapper
class HostSampleParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: Optional[vtkMRMLSegmentationNode]  # noqa: UP045 (Slicer knows no other form)
    threshold: Annotated[float, WithinRange(-100, 500)] = 100
    side: Side = Side.ABOVE
    model: Annotated[str, Choice(["large", "small"])] = "large"
    label: str = "liver"
    repeats: Annotated[int, WithinRange(1, 9)] = 2
    keep: bool = True


class HostSampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self.calls = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/HostSample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = HostSampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.connect("timeout()", self.onTimeout)
        self.initializeParameterNode()

    def cleanup(self):
        self.calls.append("cleanup")
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        self.calls.append("enter")
        self.initializeParameterNode()

    def exit(self):
        self.calls.append("exit")
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.calls.append("start close")
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        self.calls.append("end close")
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None):
        self.ui.applyButton.enabled = self._parameterNode.inputVolume and self._parameterNode.outputSegmentation

    def onApplyButton(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to compute results."), waitCursor=True):
            self.logic.process(self._parameterNode)
        self.ui.statusLabel.text = _("done")
        self.timer.start(100)

    def onTimeout(self):
        self.ui.statusLabel.text = _("later")


class HostSampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return HostSampleParameterNode(super().getParameterNode())

    def process(self, parameters):
        """Everything on one side of the threshold becomes a segment."""
        if parameters.threshold > 400:
            raise ValueError("The threshold is too high; choose a lower one.")
        voxels = slicer.util.arrayFromVolume(parameters.inputVolume)
        above = voxels > parameters.threshold
        mask = above if parameters.side is Side.ABOVE else ~above
        segmentation = parameters.outputSegmentation
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(parameters.inputVolume)
        segmentId = segmentation.GetSegmentation().AddEmptySegment("", parameters.label)
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype("uint8"), segmentation, segmentId, parameters.inputVolume
        )


class HostSampleTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("Starting")
        slicer.mrmlScene.Clear(0)
        self.assertEqual(HostSampleLogic().getParameterNode().threshold, 100)
