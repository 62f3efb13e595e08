"""Scripted modules: the objects that Slicer makes around a module file, and its place in the window.

As in Slicer the module's folder joins `sys.path`, the widget's parent has a vertical layout, `setup()` runs once when
the widget is first wanted, and leaving or opening a module calls `exit()` and `enter()`.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import slicer

from host.mrmlwidgets import qMRMLWidget
from host.qtmodule import qt


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
        self._self = getattr(sys.modules[name], f"{name}Widget")(self)
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
    """A module file, loaded: what the module's own class gets as `parent`."""

    def __init__(self, path: str):
        self.path, self.icon = os.path.abspath(path), None
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
                if hasattr(widget, "setMRMLScene"):
                    widget.setMRMLScene(None)
            self._widget.hide()
            self._widget.setParent(None)
            self._widget._self = None
            self._widget.deleteLater()
            self._widget = None
        sys.modules.pop(self.name, None)


class MainWindow(qt.QMainWindow):
    """A window with one place for the open module's panel, which `slicer.util.selectModule` finds too."""

    def __init__(self):
        super().__init__()
        self.objectName = "qSlicerMainWindow"
        self._selected = None
        self._place = qt.QWidget()
        self.setCentralWidget(self._place)
        qt.QVBoxLayout(self._place)

    def moduleSelector(self):
        return self

    @property
    def selectedModule(self) -> str:
        return self._selected.name if self._selected else ""

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
            self._place.layout().addWidget(panel)
            panel.show()
            panel.enter()
