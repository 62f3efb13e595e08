"""SlicerHost: a running Slicer for one test.

It fills the real `slicer` package with what the application adds (`slicer.mrmlScene`, `.app`, `.modules`, widget
classes, `ScriptedLoadableModule`, ...) and takes it back in `close()`. Only one can be open at a time.
"""

from __future__ import annotations

import functools
import os
import sys
import time
import types
from collections.abc import Callable

import slicer
from PySide6 import QtCore, QtTest

from host import parameter_node, real_widgets, scene, scripted_modules, segment_editor
from host.application import Application
from host.ctk_widgets import ctk
from host.dialogs import Dialogs
from host.pythonqt import disconnectAll, qt
from host.scene import SubjectHierarchyKeeper
from host.ui_loader import MRML_WIDGETS


class SlicerHost:
    """The open application.

    `dialogs` holds the pop-ups that the module asked for; `uncaught` the exceptions that left a slot or an observer
    (the application prints them and goes on, and so does the host, but a test should look at them); `refused` what
    was asked of a widget that the real one has not, also if the exception was caught.
    """

    def __init__(self, folder: str | os.PathLike):
        if hasattr(slicer, "mrmlScene"):
            raise RuntimeError("Another SlicerHost is open: close it first")
        self.folder = os.fspath(folder)
        self.uncaught: list[BaseException] = []
        self.refused = real_widgets.refused
        self.refused.clear()
        self.dialogs = Dialogs()
        self._modules: list[scripted_modules.qSlicerScriptedLoadableModule] = []
        self._undo: list[Callable[[], None]] = []
        self._useOwnSettings()
        self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        self.scene = scene.createScene(self.applicationLogic)
        self._installPackages()
        self._set(slicer, "mrmlScene", self.scene)
        self.mainWindow = scripted_modules.MainWindow()
        self._set(slicer, "app", Application(self.applicationLogic, self.mainWindow, self.folder))
        self._set(slicer, "modules", scene.createModules(self.applicationLogic, self.scene, self.folder))
        self._fileAccess = scene.createFileAccess(self.applicationLogic, self.scene, self.folder)
        self._hierarchy = SubjectHierarchyKeeper(self.scene)
        self._set(slicer.util, "messageBox", self.dialogs.messageBox)
        self._set(slicer.util, "delayDisplay", self.dialogs.delayDisplay)
        self._set(sys, "excepthook", lambda kind, error, trace: self._recordUncaught(error, trace))
        self.mainWindow.show()

    def _set(self, owner, name: str, value) -> None:
        """Set an attribute until `close()`."""
        if hasattr(owner, name):
            self._undo.append(functools.partial(setattr, owner, name, getattr(owner, name)))
        else:
            self._undo.append(functools.partial(delattr, owner, name))
        setattr(owner, name, value)

    def _useOwnSettings(self) -> None:
        QtCore.QCoreApplication.setOrganizationName("LiverGTAN")
        QtCore.QCoreApplication.setApplicationName("tests")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self.folder)

    def _installPackages(self) -> None:
        packages = {
            "qt": qt,
            "ctk": ctk,
            "slicer.ScriptedLoadableModule": scripted_modules.PACKAGE,
            "slicer.i18n": types.SimpleNamespace(  # for the language that the sources are written in
                tr=lambda text: text, translate=lambda context, text: text
            ),
            "slicer.parameterNodeWrapper": parameter_node,
            **segment_editor.PACKAGES,
        }
        for name, package in packages.items():
            sys.modules[name] = package
            if name.startswith("slicer."):
                self._set(slicer, name.partition(".")[2], package)
        for widgetClass in (
            *MRML_WIDGETS.values(),
            scripted_modules.qSlicerScriptedLoadableModule,
            scripted_modules.qSlicerScriptedLoadableModuleWidget,
            segment_editor.qMRMLSegmentEditorWidget,
            segment_editor.qSlicerSegmentEditorAbstractEffect,
        ):
            self._set(slicer, widgetClass.__name__, widgetClass)

    def _recordUncaught(self, error: BaseException, trace: types.TracebackType) -> None:
        self.uncaught.append(error)
        sys.__excepthook__(type(error), error, trace)

    def takeUncaught(self) -> list[BaseException]:
        """-> the exceptions recorded so far, which count as looked at."""
        taken, self.uncaught[:] = list(self.uncaught), []
        return taken

    def loadModule(self, path: str | os.PathLike, **widgetArguments) -> scripted_modules.qSlicerScriptedLoadableModule:
        """Load a module file as Slicer does at start; it is not opened yet."""
        module = scripted_modules.qSlicerScriptedLoadableModule(os.fspath(path), **widgetArguments)
        self._modules.append(module)
        slicer.app.moduleManager().add(module)
        return module

    def completeStartup(self) -> None:
        slicer.app.startupCompleted.emit()

    def openModule(self, name: str):
        """Open a loaded module's panel; -> the module's widget object."""
        slicer.util.selectModule(name)
        self.processEvents()
        return slicer.util.getModuleWidget(name)

    def leaveModule(self) -> None:
        self.mainWindow.selectModule("")

    def click(self, widget) -> None:
        """Click on a widget (a check box: on its box); a collapsed section around it is opened first."""
        parent = widget.parentWidget()
        if isinstance(parent, ctk.ctkCollapsibleButton) and parent.collapsed:
            QtTest.QTest.mouseClick(parent, QtCore.Qt.LeftButton, pos=QtCore.QPoint(5, 5))
            self.processEvents()
        if not widget.visible:
            raise RuntimeError(f"A user cannot click on {widget.objectName}: it is hidden")
        self.mainWindow.scrollTo(widget)
        position = QtCore.QPoint(8, widget.height // 2) if isinstance(widget, qt.QCheckBox) else widget.rect.center()
        QtTest.QTest.mouseClick(widget, QtCore.Qt.LeftButton, pos=position)
        self.processEvents()

    def choose(self, selector, entry: str) -> None:
        """Click on an entry in the list of a node selector: a node, "None", an action ("Delete current Table")."""
        box = selector._comboBox
        row = box.findText(entry)
        if row < 0:
            raise LookupError(f"No entry {entry!r} in {[box.itemText(n) for n in range(box.count)]}")
        index = box.model().index(row, 0)
        if index.flags() & QtCore.Qt.ItemIsSelectable:
            box.setCurrentIndex(row)
            box.activated.emit(row)
        else:
            box.view().clicked.emit(index)
        self.processEvents()

    def processEvents(self) -> None:
        slicer.app.processEvents()

    def wait(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Run the event loop until `condition()` holds; TimeoutError when it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"Not so after {seconds} s")
            QtCore.QThread.msleep(2)
            self.processEvents()

    def close(self) -> None:
        """Leave and unload the modules, close the window, empty the scene, take everything back."""
        self.leaveModule()
        for module in self._modules:
            module.unload()
        disconnectAll()
        self.mainWindow.close()
        self.mainWindow.deleteLater()
        self._hierarchy.close()
        self.scene.Clear(1)
        self.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
        self.applicationLogic.SetMRMLScene(None)
        segment_editor.forgetEffects()
        for undo in reversed(self._undo):
            undo()
