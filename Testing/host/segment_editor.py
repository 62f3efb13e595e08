"""The Segment Editor: its widget, its scripted effects, and where effects are registered.

What edits is real: `vtkSlicerSegmentEditorLogic` and `vtkMRMLSegmentEditorNode` of slicer-core. The Qt layer around
them stands in, read off Slicer's sources (Modules/Loadable/Segmentations, of the version whose widget holds the logic):

- qSlicerSegmentEditorAbstractEffect, qSlicerSegmentEditorScriptedEffect: parameters are attributes of the node, named
  "effect.parameter"; `updateGUIFromMRML` is called only while the effect is active, and on activation before `activate`
  (activate of both classes); what a callback raises is printed, and the editor goes on;
- qSlicerSegmentEditorScriptedEffect::setPythonSource: the file becomes a module named as its folder, made once;
- qSlicerSegmentEditorEffectFactory: one effect of each name, cloned for each editor;
- qMRMLSegmentEditorWidget: follows its node, but not while the scene is being closed (updateWidgetFromMRML,
  updateEffectsSectionFromMRML); another segmentation ends the effect (setSegmentationNode).

Differs from the application: no buttons, masking widgets, segments table and views; what a user sets there is set in
the node. A hidden segment is taken as confirmed.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore

from host.mrml_widgets import qMRMLWidget
from host.pythonqt import qt


class qSlicerSegmentEditorAbstractEffect:
    """Only the enumerations, as `slicer.qSlicerSegmentEditorAbstractEffect` gives them."""

    ModificationModeSet, ModificationModeAdd, ModificationModeRemove, ModificationModeRemoveAll = range(4)
    NotConfirmed, ConfirmedWithoutDialog, ConfirmedWithDialog = range(3)


_MODES = (
    slicer.vtkSlicerSegmentEditorLogic.ModificationModeSet,
    slicer.vtkSlicerSegmentEditorLogic.ModificationModeAdd,
    slicer.vtkSlicerSegmentEditorLogic.ModificationModeRemove,
    slicer.vtkSlicerSegmentEditorLogic.ModificationModeRemoveAll,
)


class qSlicerSegmentEditorScriptedEffect:
    """The C++ object that a scripted effect gets; it takes no attributes beyond its properties."""

    def __init__(self, parent=None):
        vars(self).update(
            name="UnnamedScriptedEffect",
            title="",
            perSegment=True,
            requireSegments=True,
            showEffectCursorInSliceView=True,
            showEffectCursorInThreeDView=False,
            _self=None,
            _active=False,
            _node=None,
            _widget=None,
            _frame=None,
        )

    def __setattr__(self, name, value):
        if name not in vars(self):
            raise AttributeError(f"qSlicerSegmentEditorScriptedEffect has no property {name}")
        super().__setattr__(name, value)

    # For the Python class

    def setPythonSource(self, path: str) -> bool:
        moduleName, className = Path(path).parent.name, Path(path).stem
        if not hasattr(sys.modules.get(moduleName), className):
            spec = importlib.util.spec_from_file_location(moduleName, path)
            sys.modules[moduleName] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[moduleName])
        self._self = getattr(sys.modules[moduleName], className)(self)
        return True

    def self(self):
        return self._self

    def parameterSetNode(self):
        return self._node

    def active(self) -> bool:
        return self._active

    def optionsFrame(self):
        return self._frame

    def addOptionsWidget(self, widgetOrLayout) -> None:
        self._frame.layout().addRow(widgetOrLayout)

    def addLabeledOptionsWidget(self, label: str, widgetOrLayout):
        labelWidget = qt.QLabel(label)
        self._frame.layout().addRow(labelWidget, widgetOrLayout)
        return labelWidget

    def parameter(self, name: str) -> str:
        value = self._node.GetAttribute(f"{self.name}.{name}") if self._node else ""
        return (value if value is not None else self._node.GetAttribute(name)) or ""

    def doubleParameter(self, name: str) -> float:
        try:
            return float(self.parameter(name) or 0)
        except ValueError:
            return 0.0  # as Slicer, which logs it

    def parameterDefined(self, name: str) -> bool:
        return bool(self._node and self._node.GetAttribute(f"{self.name}.{name}"))

    def setParameter(self, name: str, value) -> None:
        attribute, text = f"{self.name}.{name}", f"{value:g}" if isinstance(value, float) else str(value)
        if self._node is None or (self._node.GetAttribute(attribute) or "") == text:
            return
        disabled = self._node.GetDisableModifiedEvent()
        self._node.SetDisableModifiedEvent(1)
        self._node.SetAttribute(attribute, text)
        self._node.SetDisableModifiedEvent(disabled)
        self._node.InvokeCustomModifiedEvent(self._node.EffectParameterModified)

    def setParameterDefault(self, name: str, value) -> None:
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    def confirmCurrentSegmentVisible(self) -> int:
        return qSlicerSegmentEditorAbstractEffect.ConfirmedWithoutDialog

    def saveStateForUndo(self) -> None:
        self._widget.saveStateForUndo()

    def selectEffect(self, name: str) -> None:
        self._widget.setActiveEffectByName(name)

    def modifySelectedSegmentByLabelmap(self, labelmap, mode: int, bypassMasking: bool = False) -> None:
        segmentId = self._node.GetSelectedSegmentID() or ""
        self._widget._logic.ModifySegmentByLabelmap(
            self._node.GetSegmentationNode(), segmentId, labelmap, _MODES[mode], self.perSegment, bypassMasking
        )

    def xyToRas(self, xy, sliceWidget):
        ras = [0.0, 0.0, 0.0]
        sliceNode = sliceWidget.sliceLogic().GetSliceNode()
        slicer.vtkSlicerSegmentEditorLogic.XyzToRas([xy.x(), xy.y(), 0.0], ras, sliceNode)
        return qt.QVector3D(*ras)

    # For the editor

    def _call(self, name: str, *arguments):
        """A method of the Python class, if it has it; qSlicerPythonCppAPI prints what it raises."""
        method = getattr(self._self, name, None)
        try:
            return method(*arguments) if method else None
        except Exception:
            sys.excepthook(*sys.exc_info())
            return None

    def _setUp(self, widget) -> None:
        self._widget, self._frame = widget, qt.QFrame()
        qt.QFormLayout(self._frame)
        self._call("setupOptionsFrame")
        self._frame.setVisible(False)

    def _setNode(self, node) -> None:
        self._node = node
        if node is not None:
            self._call("setMRMLDefaults")

    def _activate(self) -> None:
        self._frame.setVisible(True)
        self._active = True
        self._call("updateGUIFromMRML")
        self._call("activate")

    def _deactivate(self) -> None:
        self._frame.setVisible(False)
        self._active = False
        self._call("deactivate")

    def _onParameter(self, caller=None, event=None) -> None:
        if self._active:
            self._call("updateGUIFromMRML")


class AbstractScriptedSegmentEditorEffect:
    """AbstractScriptedSegmentEditorEffect.py: what Python effects derive from."""

    def __init__(self, scriptedEffect):
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        qSlicerSegmentEditorEffectFactory().instance().registerEffect(self.scriptedEffect)

    def xyToRas(self, xy, viewWidget) -> list[float]:
        ras = self.scriptedEffect.xyToRas(qt.QPoint(xy[0], xy[1]), viewWidget)
        return [ras.x(), ras.y(), ras.z()]


class qSlicerSegmentEditorEffectFactory(QtCore.QObject):
    effectRegistered = QtCore.Signal(str)
    _instance = None

    def __init__(self):
        super().__init__()
        self._effects: list[qSlicerSegmentEditorScriptedEffect] = []

    def instance(self) -> qSlicerSegmentEditorEffectFactory:
        cls = qSlicerSegmentEditorEffectFactory
        cls._instance = cls._instance or cls()
        return cls._instance

    def registerEffect(self, effect) -> bool:
        if any(effect.name == one.name for one in self._effects):
            return False
        self._effects.append(effect)
        self.effectRegistered.emit(effect.name)
        return True


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """An editor with all effects that are registered."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._effects, self._active, self._node, self._tags = [], None, None, []
        self._segmentationNode = self._sourceVolumeNode = None
        qt.QVBoxLayout(self)
        self.updateEffectList()

    def setMRMLScene(self, scene) -> None:
        super().setMRMLScene(scene)
        self._logic.SetMRMLScene(scene)
        self.updateWidgetFromMRML()

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(count)

    def setMRMLSegmentEditorNode(self, node) -> None:
        if node is self._node:
            return
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        for effect in self._effects:
            effect._setNode(node)
        self._tags = (
            []
            if node is None
            else [
                node.AddObserver(vtk.vtkCommand.ModifiedEvent, self.updateWidgetFromMRML),
                *(node.AddObserver(node.EffectParameterModified, effect._onParameter) for effect in self._effects),
            ]
        )
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self):
        return self._node

    def updateEffectList(self) -> None:
        """copyEffects: a clone of each registered effect that this editor has not yet."""
        for registered in qSlicerSegmentEditorEffectFactory().instance()._effects:
            if registered.name not in self.availableEffectNames():
                effect = registered.self().clone()
                effect._setUp(self)
                self.layout().addWidget(effect.optionsFrame())
                self._effects.append(effect)
                if self._node is not None:
                    effect._setNode(self._node)
                    self._tags.append(self._node.AddObserver(self._node.EffectParameterModified, effect._onParameter))

    def availableEffectNames(self) -> list[str]:
        return [effect.name for effect in self._effects]

    def effectByName(self, name: str):
        return next((effect for effect in self._effects if effect.name == name), None)

    def activeEffect(self):
        return self._active

    def setActiveEffect(self, effect) -> None:
        if self._node is not None:
            self._node.SetActiveEffectName(effect.name if effect else "")

    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(self.effectByName(name))

    def setSegmentationNode(self, node) -> None:
        if self._logic.GetSegmentationNode() is not node:
            self._logic.SetSegmentationNode(node)
            self.setActiveEffect(None)

    def segmentationNode(self):
        return self._logic.GetSegmentationNode()

    def setSourceVolumeNode(self, node) -> None:
        self._logic.SetSourceVolumeNode(node)

    def sourceVolumeNode(self):
        return self._logic.GetSourceVolumeNode()

    def setCurrentSegmentID(self, segmentId: str) -> None:
        self._node.SetSelectedSegmentID(segmentId)

    def currentSegmentID(self) -> str:
        return self._logic.GetCurrentSegmentID()

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    def updateWidgetFromMRML(self, caller=None, event=None) -> None:
        scene = self.mrmlScene()
        if scene is None or scene.IsClosing() or scene.IsBatchProcessing() or self._node is None:
            return
        with slicer.util.NodeModify(self._node):
            self._followSegmentation()
            self._followSourceVolume()
            self._followEffect()

    def _followSegmentation(self) -> None:
        node = self._logic.GetSegmentationNode()
        if node is self._segmentationNode:
            return
        self._segmentationNode = node
        if node is not None:
            role = node.GetReferenceImageGeometryReferenceRole()
            self._logic.SetSourceVolumeNode(node.GetNodeReference(role))
            node.CreateDefaultDisplayNodes()
            if node.GetSegmentation().GetNumberOfSegments() > 0:
                self._node.SetSelectedSegmentID(node.GetSegmentation().GetNthSegmentID(0))

    def _followSourceVolume(self) -> None:
        node = self._logic.GetSourceVolumeNode()
        if self._segmentationNode is not None and node is not self._sourceVolumeNode:
            self._sourceVolumeNode = node
            for effect in self._effects:
                effect._call("sourceVolumeNodeChanged")

    def _followEffect(self) -> None:
        chosen = self.effectByName(self._node.GetActiveEffectName())
        if chosen is self._active:
            return
        if self._active is not None:
            self._active._deactivate()
        if chosen is not None:
            chosen._activate()
        self._active = chosen

    def _cleanUp(self) -> None:
        """~qMRMLSegmentEditorWidgetPrivate"""
        for effect in self._effects:
            effect._call("cleanup")
        self.setMRMLSegmentEditorNode(None)


def forgetEffects() -> None:
    """The application ends: no effect is registered, and no effect's file is loaded any more."""
    factory = qSlicerSegmentEditorEffectFactory._instance
    for effect in factory._effects if factory else []:
        sys.modules.pop(type(effect.self()).__module__, None)
    qSlicerSegmentEditorEffectFactory._instance = None


EFFECTS_PACKAGE = types.SimpleNamespace(
    qSlicerSegmentEditorScriptedEffect=qSlicerSegmentEditorScriptedEffect,
    qSlicerSegmentEditorEffectFactory=qSlicerSegmentEditorEffectFactory,
)
PACKAGES = {
    "qSlicerSegmentationsEditorEffectsPythonQt": EFFECTS_PACKAGE,
    "SegmentEditorEffects": types.SimpleNamespace(
        AbstractScriptedSegmentEditorEffect=AbstractScriptedSegmentEditorEffect
    ),
}
