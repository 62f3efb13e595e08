"""QUiLoader: loads a Qt Designer file whose widgets have PythonQt's manners, with its connections.

The stand-ins' slots are Python methods, so the file's connections are made here, not by Qt. A widget class, property,
signal or slot that the real widgets lack is refused; Slicer would print a warning, if anything, and go on.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from functools import lru_cache

from PySide6 import QtCore, QtUiTools, QtWidgets

from host.ctk_widgets import ctk
from host.mrml_widgets import qMRMLSegmentationShow3DButton, qMRMLWidget
from host.node_combo_boxes import qMRMLCheckableNodeComboBox, qMRMLNodeComboBox
from host.pythonqt import qt
from host.real_widgets import factsOf, refuse

MRML_WIDGETS = {
    cls.__name__: cls
    for cls in (qMRMLWidget, qMRMLNodeComboBox, qMRMLCheckableNodeComboBox, qMRMLSegmentationShow3DButton)
}


def _widgetClass(className: str) -> type:
    found = MRML_WIDGETS.get(className) or getattr(ctk, className, None)
    if found is None and hasattr(QtWidgets, className):
        found = getattr(qt, className)
    if found is None:
        raise NotImplementedError(f"The host has no widget class {className}: add it to Testing/host or use another")
    return found


def _checkProperties(tree: ElementTree.Element) -> None:
    """Refuse properties that the real widgets lack; those with stdset="0" are dynamic, as SlicerParameterName is."""
    for widget in tree.iter("widget"):
        cls = _widgetClass(widget.get("class"))
        facts, where = factsOf(cls), f"{widget.get('name')}: {cls.__name__}"
        for name in [entry.get("name") for entry in widget.findall("property") if entry.get("stdset") != "0"]:
            if facts and name not in facts.properties:
                refuse(f"{where} has no property {name}")
            if not hasattr(cls, name):
                raise NotImplementedError(f"{where}.{name} is not modeled by the host")


def _takeEnumsOfStandIns(tree: ElementTree.Element) -> list[tuple[str, str, object]]:
    """(widget, property, value) of enumerations of stand-ins, which Qt's loader cannot read; they leave the tree."""
    found = []
    for widget in tree.iter("widget"):
        if widget.get("class") in MRML_WIDGETS:
            for entry in [entry for entry in widget.findall("property") if entry.find("enum") is not None]:
                owner, _, value = entry.findtext("enum").partition("::")
                found.append((widget.get("name"), entry.get("name"), getattr(getattr(qt, owner), value)))
                widget.remove(entry)
    return found


@lru_cache
def _prepared(path: str, modified: int) -> tuple[bytes, list[list[str | None]], list[tuple[str, str, object]]]:
    """The file as Qt's loader can read it, its connections, and `_takeEnumsOfStandIns`.

    Once for each content (modified: when it was written, ns), as every test of the panel loads the same file.
    """
    tree = ElementTree.parse(path).getroot()
    _checkProperties(tree)
    connections = [
        [entry.findtext(part) for part in ("sender", "signal", "receiver", "slot")] for entry in tree.iter("connection")
    ]
    enums = _takeEnumsOfStandIns(tree)
    for section in tree.findall("connections"):
        tree.remove(section)
    return ElementTree.tostring(tree), connections, enums


class QUiLoader(QtUiTools.QUiLoader):
    def __init__(self, parent=None):
        """Without Designer's plugins: looking for them loads a web browser and its libraries."""
        paths = QtCore.QCoreApplication.libraryPaths()
        QtCore.QCoreApplication.setLibraryPaths([])
        super().__init__(parent)
        QtCore.QCoreApplication.setLibraryPaths(paths)

    def createWidget(self, className, parent=None, name=""):
        widget = _widgetClass(className)(parent)
        widget.setObjectName(name)
        self._created.append(widget)
        return widget

    def load(self, file, parent=None):
        """Load from an open QFile or a path; -> the root widget."""
        path = file.fileName() if isinstance(file, QtCore.QFile) else str(file)
        content, connections, enums = _prepared(path, os.stat(path).st_mtime_ns)
        buffer = QtCore.QBuffer()
        buffer.setData(content)
        buffer.open(QtCore.QIODevice.ReadOnly)
        self._created: list = []
        root = super().load(buffer, parent)
        widgets = {widget.objectName: widget for widget in self._created}
        for name, enumProperty, value in enums:
            setattr(widgets[name], enumProperty, value)
        for sender, signal, receiver, slot in connections:
            widgets[sender].connect(signal, widgets[receiver], slot)
        return root


qt.QUiLoader = QUiLoader
