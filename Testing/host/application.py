"""`slicer.app`: the part of the application object that modules use.

Differs from the application: no file dialogs and no `coreIOManager` (read through `slicer.modules.volumes.logic()`
or a storage node), the layout has no views (`host.views` draws them).
"""

from __future__ import annotations

import types

from PySide6 import QtCore, QtWidgets

from host.pythonqt import qt


class LayoutManager:
    """A layout without views."""

    sliceViewCount = threeDViewCount = 0
    layout = 0

    def setLayout(self, layout: int) -> None:
        self.layout = layout


class ModuleManager(qt.QObject):
    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def __init__(self):
        super().__init__()
        self._modules: dict = {}

    def add(self, module) -> None:
        self._modules[module.name] = module

    def module(self, name: str):
        return self._modules.get(name)


class Application(qt.QObject):
    startupCompleted = QtCore.Signal()
    focusChanged = QtCore.Signal(QtWidgets.QWidget, QtWidgets.QWidget)
    applicationName, applicationVersion = "Slicer", "5.13.0"
    majorVersion, minorVersion = 5, 13
    testing, exitCode = False, None

    def __init__(self, applicationLogic, mainWindow, temporaryPath: str):
        super().__init__()
        self._applicationLogic, self._mainWindow, self._layoutManager = applicationLogic, mainWindow, LayoutManager()
        self._moduleManager = ModuleManager()
        self.temporaryPath = self.slicerHome = temporaryPath
        self._commandOptions = types.SimpleNamespace(runPythonAndExit=True)
        QtWidgets.QApplication.instance().focusChanged.connect(self.focusChanged)

    def applicationLogic(self):
        return self._applicationLogic

    def moduleManager(self) -> ModuleManager:
        return self._moduleManager

    def layoutManager(self) -> LayoutManager:
        return self._layoutManager

    def topLevelWidgets(self) -> list:
        return [self._mainWindow]

    def testingEnabled(self) -> bool:
        """False unless `testing` is set, so that errors take the way to the user (and are recorded)."""
        return self.testing

    def commandOptions(self):
        """What `slicer.util.exit` writes to: that the end of the script is not the end of the application."""
        return self._commandOptions

    def exit(self, code: int) -> None:
        """The last one counts, as in qSlicerCoreApplication::exit; `exitCode` is for who runs the host."""
        self.exitCode = code

    def processEvents(self, *arguments) -> None:
        QtWidgets.QApplication.processEvents(*arguments)

    def setOverrideCursor(self, cursor) -> None:
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()
