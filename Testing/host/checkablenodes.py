"""qMRMLCheckableNodeComboBox: choose several nodes. Differs from the application: no "select all" entry."""

from __future__ import annotations

from PySide6 import QtCore, QtGui

from host.mrmlwidgets import SceneNodes
from host.properties import standIn, stored
from host.qtmodule import qt


@standIn
class qMRMLCheckableNodeComboBox(qt.QComboBox):
    checkedNodesChanged = QtCore.Signal()
    nodeTypes = stored("QStringList", "nodeTypes", [], refresh=True)
    addEnabled, removeEnabled = stored(bool, "addEnabled", True), stored(bool, "removeEnabled", True)
    showHidden = stored(bool, "showHidden", False, refresh=True)
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, refresh=True)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._offered: list = []
        self._nodes = SceneNodes(self.refresh)
        self._items = QtGui.QStandardItemModel()
        self.setModel(self._items)
        self._items.itemChanged.connect(lambda _: self.checkedNodesChanged.emit())

    def mrmlScene(self):
        return self._nodes.scene

    def setMRMLScene(self, scene) -> None:
        self._nodes.watch(scene)

    def nodes(self) -> list:
        return list(self._offered)

    def checkedNodes(self) -> list:
        return [node for node in self._offered if self.checkState(node) == QtCore.Qt.Checked]

    def uncheckedNodes(self) -> list:
        return [node for node in self._offered if self.checkState(node) != QtCore.Qt.Checked]

    def checkState(self, node):
        return self._items.item(self._offered.index(node)).checkState()

    def setCheckState(self, node, state) -> None:
        self._items.item(self._offered.index(node)).setCheckState(state)

    def refresh(self) -> None:
        """Fill the list anew; nodes that stay keep their check mark."""
        checked = self.checkedNodes()
        self._offered = self._nodes.find(self.nodeTypes, self.showChildNodeTypes, self.showHidden)
        with QtCore.QSignalBlocker(self._items):
            self._items.clear()
            for node in self._offered:
                item = QtGui.QStandardItem(node.GetName())
                item.setCheckable(True)
                item.setCheckState(QtCore.Qt.Checked if node in checked else QtCore.Qt.Unchecked)
                self._items.appendRow(item)
        if self.checkedNodes() != checked:
            self.checkedNodesChanged.emit()
