"""`slicer.app`: the part of the application object that modules use.

Differs from the application: no file dialogs and no `coreIOManager` (read through `slicer.modules.volumes.logic()`
or a storage node), the layout has no views (`host.views` draws them), settings live in the host's own folder.
"""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtWidgets

from host.qtmodule import qt


class LayoutManager:
    """A layout without views: resetting them is a no-op."""

    sliceViewCount = threeDViewCount = 0

    def sliceViewNames(self) -> tuple:
        return ()

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    layout = 0

    def setLayout(self, layout: int) -> None:
        self.layout = layout

    def resetSliceViews(self) -> None:
        pass

    def resetThreeDViews(self) -> None:
        pass


class FactoryManager:
    def __init__(self, modules: dict):
        self._modules = modules

    def loadedModuleNames(self) -> list[str]:
        return list(self._modules)


class ModuleManager(qt.QObject):
    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def __init__(self):
        super().__init__()
        self._modules: dict = {}

    def add(self, module) -> None:
        self._modules[module.name] = module

    def module(self, name: str):
        return self._modules.get(name)

    def factoryManager(self) -> FactoryManager:
        return FactoryManager(self._modules)


class Application(qt.QObject):
    startupCompleted = QtCore.Signal()
    applicationName, applicationVersion = "Slicer", "5.13.0"
    majorVersion, minorVersion = 5, 13
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, applicationLogic, scene, temporaryPath: str):
        super().__init__()
        self._applicationLogic, self._scene, self._layoutManager = applicationLogic, scene, LayoutManager()
        self.temporaryPath = self.slicerHome = temporaryPath
        self._moduleManager, self._topLevelWidgets = ModuleManager(), []

    def applicationLogic(self):
        return self._applicationLogic

    def mrmlScene(self):
        return self._scene

    def moduleManager(self) -> ModuleManager:
        return self._moduleManager

    def layoutManager(self) -> LayoutManager:
        return self._layoutManager

    def topLevelWidgets(self) -> list:
        return list(self._topLevelWidgets)

    def testingEnabled(self) -> bool:
        """False, so that errors take the way to the person (and are recorded)."""
        return False

    def processEvents(self, *arguments) -> None:
        QtWidgets.QApplication.processEvents(*arguments)

    def settings(self):
        return qt.QSettings()

    userSettings = settings

    def moduleDocumentationUrl(self, moduleName: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{moduleName.lower()}.html"

    def setOverrideCursor(self, cursor) -> None:
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        self._applicationLogic.PauseRender()

    def resumeRender(self) -> None:
        self._applicationLogic.ResumeRender()
