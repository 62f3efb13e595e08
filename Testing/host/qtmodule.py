"""The `qt` module: every class of QtCore, QtGui, QtWidgets (QObjects with PythonQt's manners), in one namespace."""

from __future__ import annotations

import ctypes
import os
import sys
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtWidgets

from host.pythonqt import pythonQtClass

_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["LiverGTAN tests"])

if sys.version_info < (3, 12):
    # PySide6 6.12 takes None, True and False for immortal, which they are since Python 3.12: each signal connected
    # costs one reference, and Python stops when none is left. Give them more than any run can use up.
    for _constant in (None, True, False):
        ctypes.c_ssize_t.from_address(id(_constant)).value += 1_000_000_000


class QtModule(types.ModuleType):
    """Looks classes up on first use; applications (`QApplication`) stay plain PySide6."""

    def __getattr__(self, name: str):
        for library in (QtWidgets, QtGui, QtCore):
            if hasattr(library, name):
                found = getattr(library, name)
                break
        else:
            raise AttributeError(f"module 'qt' has no attribute {name!r}")
        if (
            isinstance(found, type)
            and issubclass(found, QtCore.QObject)
            and not issubclass(found, QtCore.QCoreApplication)
        ):
            found = pythonQtClass(found)
        setattr(self, name, found)
        return found


qt = QtModule("qt")
