"""Scripted modules: `slicer.ScriptedLoadableModule`, and the objects that Slicer makes around a module file.

As in Slicer the module's folder joins `sys.path`, the widget's parent has a vertical layout, `setup()` runs once when
the widget is first wanted, and leaving or opening a module calls `exit()` and `enter()`.
Differs from the application: no "Reload & Test" section, no screenshots.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import unittest

import slicer

from host.mrml_widgets import qMRMLSegmentationShow3DButton, qMRMLWidget
from host.node_combo_boxes import qMRMLNodeComboBox
from host.pythonqt import qt

# The base classes of a module file


def _resource(modulePath: str, filename: str) -> str:
    return os.path.join(os.path.dirname(modulePath), "Resources", filename)


class ScriptedLoadableModule:
    def __init__(self, parent):
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = parent.helpText = parent.acknowledgementText = ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        icon = self.resourcePath(f"Icons/{self.moduleName}.png")
        if os.path.isfile(icon):
            parent.icon = qt.QIcon(icon)

    def resourcePath(self, filename: str) -> str:
        return _resource(self.parent.path, filename)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent, self.layout = parent, parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return _resource(slicer.util.modulePath(self.moduleName), filename)

    def setup(self) -> None:
        pass

    def cleanup(self) -> None:
        pass

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """The parameter node is a singleton of the scene; closing a scene takes its attribute away."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        node = node or slicer.mrmlScene.AddNode(self.createParameterNode())
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def createParameterNode(self):
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    messageDelay = 100

    def delayDisplay(self, message: str, requestedDelay=None, msec=None) -> None:
        slicer.util.delayDisplay(message, self.messageDelay)


_BASES = (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest)
PACKAGE = types.SimpleNamespace(**{base.__name__: base for base in _BASES})


# What Slicer makes around it


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The widget that a module's own widget class gets as `parent`."""

    def __init__(self, module):
        super().__init__()
        self._module, self._self, self._isEntered = module, None, False
        self.setLayout(qt.QVBoxLayout())
        self.reload()
        self.setMRMLScene(slicer.mrmlScene)

    @property
    def isEntered(self) -> bool:
        return self._isEntered

    def self(self):
        return self._self

    def reload(self) -> None:
        """Make the Python widget anew from the module's present code."""
        name = self._module.name
        self._self = getattr(sys.modules[name], f"{name}Widget")(self, **self._module.widgetArguments)
        setattr(slicer.modules, f"{name}Widget", self._self)
        self._self.setup()

    def enter(self) -> None:
        self._isEntered = True
        if hasattr(self._self, "enter"):
            self._self.enter()

    def exit(self) -> None:
        self._isEntered = False
        if hasattr(self._self, "exit"):
            self._self.exit()


class qSlicerScriptedLoadableModule:
    """A module file, loaded: what the module's own class gets as `parent`.

    widgetArguments: what the module's widget class gets beside its parent (the application passes nothing).
    """

    def __init__(self, path: str, **widgetArguments):
        self.path, self.icon = os.path.abspath(path), None
        self.widgetArguments = widgetArguments
        self.name = os.path.splitext(os.path.basename(path))[0]
        self._widget = None
        folder = os.path.dirname(self.path)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        source = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = source
        spec.loader.exec_module(source)
        setattr(slicer.modules, self.name.lower(), self)
        setattr(slicer.modules, f"{self.name}Instance", getattr(source, self.name)(self))

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        if not self._widget:
            self._widget = qSlicerScriptedLoadableModuleWidget(self)
        return self._widget

    def unload(self) -> None:
        """Clean up and delete the widget, and forget the module's code."""
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(self.name)
        if self._widget:
            for widget in [self._widget, *self._widget.findChildren()]:
                if isinstance(widget, qMRMLSegmentationShow3DButton):
                    widget.setSegmentationNode(None)
                elif isinstance(widget, (qMRMLWidget, qMRMLNodeComboBox)):
                    widget.setMRMLScene(None)
            self._widget.hide()
            self._widget.setParent(None)
            self._widget._self = None
            self._widget.deleteLater()
            self._widget = None
        sys.modules.pop(self.name, None)


class MainWindow(qt.QMainWindow):
    """A window whose scroll area shows the open module's panel; `slicer.util.selectModule` finds it too."""

    def __init__(self):
        super().__init__()
        self.objectName = "qSlicerMainWindow"
        self._selected = None
        self._area, place = qt.QScrollArea(), qt.QWidget()
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(qt.QFrame.NoFrame)
        self._area.setWidget(place)
        qt.QVBoxLayout(place).setContentsMargins(0, 0, 0, 0)
        self.setCentralWidget(self._area)
        self.resize(420, 800)

    def moduleSelector(self):
        return self

    def selectModule(self, name: str) -> None:
        """Leave the open module and open another (none, with an empty name)."""
        if self._selected:
            panel = self._selected.widgetRepresentation()
            panel.exit()
            panel.hide()
        self._selected = None
        if name:
            module = slicer.util.getModule(name)
            panel = module.widgetRepresentation()
            self._selected = module
            self._area.widget().layout().addWidget(panel)
            panel.show()
            panel.enter()

    def scrollTo(self, widget) -> None:
        self._area.ensureWidgetVisible(widget)
