"""QUiLoader: loads a Qt Designer file whose widgets have PythonQt's manners, with its connections.

The stand-ins' slots are Python methods, so the file's connections are made here, not by Qt.
Differs from the application: an unknown widget class, signal or slot is an error (Qt warns and goes on).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from host.checkablenodes import qMRMLCheckableNodeComboBox
from host.ctkwidgets import ctk
from host.mrmlwidgets import qMRMLWidget
from host.nodecombobox import qMRMLNodeComboBox
from host.qtmodule import qt
from host.show3dbutton import qMRMLSegmentationShow3DButton

MRML_WIDGETS = {
    cls.__name__: cls
    for cls in (qMRMLWidget, qMRMLNodeComboBox, qMRMLCheckableNodeComboBox, qMRMLSegmentationShow3DButton)
}


class QUiLoader(QtUiTools.QUiLoader):
    def __init__(self, parent=None):
        """Without Designer's plugins: looking for them loads a web browser and its libraries."""
        paths = QtCore.QCoreApplication.libraryPaths()
        QtCore.QCoreApplication.setLibraryPaths([])
        super().__init__(parent)
        QtCore.QCoreApplication.setLibraryPaths(paths)

    def createWidget(self, className, parent=None, name=""):
        widgetClass = MRML_WIDGETS.get(className) or getattr(ctk, className, None)
        if widgetClass is None and hasattr(QtWidgets, className):
            widgetClass = getattr(qt, className)
        if widgetClass is None:
            raise RuntimeError(f"The host has no widget class {className}: add it to Testing/host or use another")
        widget = widgetClass(parent)
        widget.setObjectName(name)
        self._created.append(widget)
        return widget

    def load(self, file, parent=None):
        """Load from an open QFile or a path; -> the root widget."""
        path = file.fileName() if isinstance(file, QtCore.QFile) else str(file)
        tree = ElementTree.parse(path).getroot()
        connections = [
            [entry.findtext(part) for part in ("sender", "signal", "receiver", "slot")]
            for entry in tree.iter("connection")
        ]
        for section in tree.findall("connections"):
            tree.remove(section)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.ReadOnly)
        self._created: list = []
        root = super().load(buffer, parent)
        widgets = {widget.objectName: widget for widget in self._created}
        for sender, signal, receiver, slot in connections:
            widgets[sender].connect(signal, widgets[receiver], slot)
        return root


qt.QUiLoader = QUiLoader
