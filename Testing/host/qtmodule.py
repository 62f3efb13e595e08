"""The `qt` module: every class of QtCore, QtGui, QtWidgets (QObjects with PythonQt's manners), in one namespace."""
from __future__ import annotations

import os
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtWidgets

from host.pythonqt import pythonQtClass

_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["LiverGTAN tests"])


class QtModule(types.ModuleType):
    """Looks classes up on first use; applications (`QApplication`) stay plain PySide6."""

    def __getattr__(self, name: str):
        for library in (QtWidgets, QtGui, QtCore):
            if hasattr(library, name):
                found = getattr(library, name)
                break
        else:
            raise AttributeError(f"module 'qt' has no attribute {name!r}")
        if isinstance(found, type) and issubclass(found, QtCore.QObject) \
                and not issubclass(found, QtCore.QCoreApplication):
            found = pythonQtClass(found)
        setattr(self, name, found)
        return found


qt = QtModule("qt")
