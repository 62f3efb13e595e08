"""The effect "Liver GTAN" of the Segment Editor: the liver of the source volume into the selected segment.

Slicer loads this file by its path, as a module named as its folder, and makes one instance for each editor (see
qSlicerSegmentEditorScriptedEffect::setPythonSource). What finds and shows the liver is in LiverGTANLib.
"""

import os

import ctk
import qt
import slicer
import vtk
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _
from slicer.util import NodeModify, VTKObservationMixin

from LiverGTANLib.core.students import DEFAULT_STUDENT, STUDENTS

POINTS_NAME = "LiverGTAN points of the Segment Editor"


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect, VTKObservationMixin):
    """The liver is previewed as soon as the effect is chosen, with what is set; Apply writes it through the editor.

    Parameters of the effect: Threshold, Smoothing (mm), Student.
    """

    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Liver GTAN"  # known by it to scripts, and never translated
        scriptedEffect.title = _("Liver GTAN")
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        VTKObservationMixin.__init__(self)
        self.preview = None
        self._target = self._session = None
        self._isWanted = False  # whether the preview follows what is set: not after Cancel
        self._obstacle = ""  # why nothing could be segmented into the target
        self._points = {}  # liver or not -> hidden list of points
        self._connections = []  # (widget, signal, slot)

    # What the editor asks for

    def clone(self):
        """Another instance, for another editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        clonedEffect = effects.qSlicerSegmentEditorScriptedEffect(None)
        clonedEffect.setPythonSource(__file__.replace("\\", "/"))
        return clonedEffect

    def icon(self):
        """Of the effect's button."""
        return qt.QIcon(os.path.join(os.path.dirname(__file__), "SegmentEditorEffect.png"))

    def helpText(self):
        """HTML, above the options."""
        return _(
            "<html>Segments the liver of the source volume, a CT, into the selected segment. The preview shows what "
            "is found; <b>Apply</b> puts it in the place of what the segment holds, as far as the masking below allows."
            "<p><b>Left click</b> in a slice view: this is liver. <b>Ctrl + left click</b>: this is not. The "
            "surroundings that look alike follow.<p>For research use; not a medical device.</html>"
        )

    def setupOptionsFrame(self):
        """Make the widgets of the options, once for each editor."""
        effect = self.scriptedEffect
        self.stateLabel = qt.QLabel()
        self.stateLabel.wordWrap = True
        self.stateLabel.textFormat = qt.Qt.PlainText  # names of nodes may look like HTML
        effect.addOptionsWidget(self.stateLabel)
        self.studentComboBox = qt.QComboBox()
        self.studentComboBox.toolTip = _(
            "Which network: about 100,000 parameters for the better mask, 30,000 for speed."
        )
        for student in STUDENTS:
            self.studentComboBox.addItem(student)
        effect.addLabeledOptionsWidget(_("Network:"), self.studentComboBox)
        self.thresholdSlider = _slider(0.05, 0.95, 0.01, 2)
        self.thresholdSlider.toolTip = _("From which probability a voxel is liver. A lower threshold: a larger liver.")
        effect.addLabeledOptionsWidget(_("Threshold:"), self.thresholdSlider)
        self.smoothingSlider = _slider(0.0, 6.0, 0.1, 1)
        self.smoothingSlider.suffix = " mm"
        self.smoothingSlider.toolTip = _("Smooths the surface; 0 mm leaves it as it was found.")
        effect.addLabeledOptionsWidget(_("Smoothing:"), self.smoothingSlider)
        self.undoPointButton = _button(_("Undo last point"), _("Remove the point that was clicked last."))
        effect.addLabeledOptionsWidget(_("Points:"), self.undoPointButton)
        self.previewButton = _button(_("Preview"), _("Look for the liver again."))
        self.cancelButton = _button(_("Cancel"), _("Stop, and take the preview away; the segment stays as it is."))
        self.applyButton = _button(_("Apply"), _("Put the previewed liver into the selected segment."))
        row = qt.QHBoxLayout()
        for button in (self.previewButton, self.cancelButton, self.applyButton):
            row.addWidget(button)
        effect.addOptionsWidget(row)
        self._connect(self.studentComboBox, "currentTextChanged(QString)", self.onStudent)
        for slider in (self.thresholdSlider, self.smoothingSlider):
            self._connect(slider, "valueChanged(double)", self.updateMRMLFromGUI)
        self._connect(self.undoPointButton, "clicked(bool)", self.onUndoPoint)
        self._connect(self.previewButton, "clicked(bool)", self.onPreview)
        self._connect(self.cancelButton, "clicked(bool)", self.onCancel)
        self._connect(self.applyButton, "clicked(bool)", self._onApplyButton)

    def _connect(self, widget, signal: str, slot):
        widget.connect(signal, slot)
        self._connections.append((widget, signal, slot))

    def createCursor(self, widget):
        """The usual one: a click sets a point."""
        return slicer.util.mainWindow().cursor

    def setMRMLDefaults(self):
        """Parameters that are not set yet get the values of the module's panel."""
        self.scriptedEffect.setParameterDefault("Threshold", 0.5)
        self.scriptedEffect.setParameterDefault("Smoothing", 0.0)
        self.scriptedEffect.setParameterDefault("Student", DEFAULT_STUDENT)

    def updateGUIFromMRML(self):
        """Show the parameters, and let the preview follow them."""
        effect = self.scriptedEffect
        shown = (
            (self.thresholdSlider, "value", effect.doubleParameter("Threshold")),
            (self.smoothingSlider, "value", effect.doubleParameter("Smoothing")),
            (self.studentComboBox, "currentIndex", max(0, self.studentComboBox.findText(effect.parameter("Student")))),
        )
        for widget, name, value in shown:
            blocked = widget.blockSignals(True)
            setattr(widget, name, value)
            widget.blockSignals(blocked)
        if self.preview is not None and self._isWanted:
            self._start()

    def updateMRMLFromGUI(self):
        """Set the parameters of the sliders."""
        effect = self.scriptedEffect
        if effect.parameterSetNode() is None:
            return
        with NodeModify(effect.parameterSetNode()):
            effect.setParameter("Threshold", self.thresholdSlider.value)
            effect.setParameter("Smoothing", self.smoothingSlider.value)

    def onStudent(self, name: str):
        """Apart from the sliders, as a script may have set a file that is not in the list."""
        if self.scriptedEffect.parameterSetNode() is not None:
            self.scriptedEffect.setParameter("Student", name)

    # Life

    def activate(self):
        """The effect is chosen: the preview begins."""
        from LiverGTANLib.ui.editor_preview import EditorPreview

        self._session = _sessionOfModule(self._session)
        self.preview = EditorPreview(self._session, self._say, self._refresh)
        editor, scene = self.scriptedEffect.parameterSetNode(), slicer.mrmlScene
        self.addObserver(editor, vtk.vtkCommand.ModifiedEvent, self._onEditorChanged)
        for event in (scene.StartCloseEvent, scene.StartImportEvent, scene.StartSaveEvent):
            self.addObserver(scene, event, self._onSceneAboutToChange)
        self._follow(asked=False)

    def deactivate(self):
        """Another effect is chosen: preview and points go."""
        self.removeObservers()
        if self.preview is not None:
            self.preview.close()
            self.preview = None
        self._removePoints()
        self._target = None
        self._say("")

    def cleanup(self):
        """The editor goes away. deactivate() was not called when the application ends.

        What stays connected would keep the effect alive (Slicer/Slicer#7392).
        """
        self.deactivate()
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)
        self._connections = []

    def sourceVolumeNodeChanged(self):
        """Another source volume is chosen in the editor."""
        if self.preview is not None:
            self._follow(asked=False)

    def _onEditorChanged(self, caller, event):
        if self.preview is not None:
            self._follow(asked=False)

    def _onSceneAboutToChange(self, caller, event):
        """Nothing of the preview is saved, nor left behind in a closed scene or under a loaded one."""
        self._isWanted = False
        self.preview.stop(_("Press Preview to look for the liver."))
        self._removePoints()

    def _onImageChanged(self, caller, event):
        if self.preview is not None:
            self.preview.dropIfOutdated()

    def _follow(self, asked: bool):
        """Preview what is chosen in the editor, if it is something else than before."""
        from LiverGTANLib.mrml.editor_segment import EditorSegment

        before, self._target = self._target, EditorSegment.of(self.scriptedEffect.parameterSetNode())
        hadObstacle, self._obstacle = bool(self._obstacle), self._target.obstacle
        if before == self._target and hadObstacle == bool(self._obstacle):
            return
        sameScan = before is not None and (before.volumeNode, before.segmentationNode) == (
            self._target.volumeNode,
            self._target.segmentationNode,
        )
        if sameScan and not hadObstacle and not self._obstacle:
            self.preview.retarget(self._target)
            return
        if not sameScan:
            self._removePoints()
            self._observeVolume()
        self._start(asked)

    def _observeVolume(self):
        from LiverGTANLib.mrml import scene

        self.removeObservers(self._onImageChanged)
        volumeNode = self._target.volumeNode
        for event in scene.imageEvents(volumeNode) if volumeNode is not None else ():
            self.addObserver(volumeNode, event, self._onImageChanged)

    # Preview

    def _start(self, asked: bool = True):
        self._isWanted = True
        if self._target.obstacle:
            self.preview.stop(self._target.obstacle)
        elif not self.preview.isOf(self._chosen()):
            self._isWanted = self.preview.start(self._target, self._chosen(), asked)

    def _chosen(self):
        from LiverGTANLib.core.postprocess import PostprocessSettings
        from LiverGTANLib.mrml.parameters import ChosenParameters

        effect = self.scriptedEffect
        settings = PostprocessSettings(
            threshold=effect.doubleParameter("Threshold"), smoothing_mm=effect.doubleParameter("Smoothing")
        )
        return ChosenParameters(
            volumeNode=self._target.volumeNode,
            student=effect.parameter("Student"),
            settings=settings,
            liverNode=self._points.get(True),
            notLiverNode=self._points.get(False),
        )

    def _say(self, text: str):
        from LiverGTANLib.ui.result_line import setText

        setText(self.stateLabel, text)

    def _refresh(self):
        if self.preview is None:
            return
        running, shown = self.preview.isRunning, self.preview.isShown
        self.previewButton.enabled = not running
        self.cancelButton.enabled = running or shown
        self.applyButton.enabled = shown
        self.undoPointButton.enabled = any(node.GetNumberOfControlPoints() for node in self._points.values())

    def onPreview(self):
        """Look for the liver with what is set."""
        self._start()

    def onCancel(self):
        """Stop, and take preview and points away."""
        self._isWanted = False
        self.preview.stop(_("Canceled; the segment is as it was. Press Preview to look for the liver."))
        self._removePoints()
        self._refresh()

    def onApply(self):
        """Write what is shown, or what is found with what is set now, into the selected segment: one Undo step.

        Raises why it cannot be.
        """
        if self.scriptedEffect.confirmCurrentSegmentVisible():
            self._apply()
            self.scriptedEffect.selectEffect("")

    def _onApplyButton(self):
        from LiverGTANLib.ui.task_runner import explained

        with explained(_("The liver could not be put into the segment."), waitCursor=True):
            self.onApply()

    def _apply(self):
        target = self._target
        from LiverGTANLib.core.volume import InputError
        from LiverGTANLib.mrml import scene

        if target.obstacle:
            raise InputError(target.obstacle)
        _request, found = self.preview.result(target, self._chosen())
        image = target.image(found.mask, self.scriptedEffect.parameterSetNode())
        self.scriptedEffect.saveStateForUndo()
        modifier, before = target.modifier(image), target.time
        mode = slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeSet
        self.scriptedEffect.modifySelectedSegmentByLabelmap(modifier, mode)
        target.requireWritten(before)
        scene.describeAlgorithm(target.segment, found.student, assisted=True)  # masking may leave what was drawn

    # Points

    def processInteractionEvents(self, callerInteractor, eventId, viewWidget):
        """A click in a slice view sets a point. Returns whether the event was used, so that nobody else gets it."""
        if eventId != vtk.vtkCommand.LeftButtonPressEvent or viewWidget.className() != "qMRMLSliceWidget":
            return False
        if self.preview is None or not (self.preview.isShown or self.preview.isRunning):
            return False
        if callerInteractor.GetShiftKey() or callerInteractor.GetAltKey():
            return False  # these move the view
        ras = self.xyToRas(callerInteractor.GetEventPosition(), viewWidget)
        self.addPoint(ras, not callerInteractor.GetControlKey())
        return True

    def addPoint(self, ras, isLiver: bool):
        """A place (RAS mm in the world) that is liver, or is not; the preview follows."""
        from LiverGTANLib.mrml import points

        if isLiver not in self._points:
            self._points[isLiver] = points.createHidden(slicer.mrmlScene, POINTS_NAME, isLiver)
        self._points[isLiver].AddControlPointWorld(vtk.vtkVector3d(*ras))
        points.numberPoints(*self._points.values())
        self._start()
        self._refresh()

    def onUndoPoint(self):
        """Remove the point that was set last."""
        from LiverGTANLib.mrml import points

        points.removeLast(*self._points.values())
        self._start()
        self._refresh()

    def _removePoints(self):
        for node in self._points.values():
            if node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._points = {}


def _slider(least: float, most: float, step: float, decimals: int):
    """A slider that sets its value when it is let go."""
    slider = ctk.ctkSliderWidget()
    slider.tracking = False
    slider.decimals = decimals
    slider.minimum, slider.maximum, slider.singleStep = least, most, step
    return slider


def _button(text: str, toolTip: str):
    button = qt.QPushButton(text)
    button.toolTip = toolTip
    return button


def _sessionOfModule(own):
    """The session of the module's panel, so that a scan is analyzed once for both; else one of our own."""
    widget = getattr(slicer.modules, "LiverGTANWidget", None)
    if widget is not None and widget.logic is not None:
        return widget.logic.session
    if own is not None:
        return own
    from LiverGTANLib.mrml.session import Session

    return Session(slicer.mrmlScene)
