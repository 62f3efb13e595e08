"""qMRMLNodeComboBox: choose a node of the scene.

As in Slicer: without "None" the first node is chosen by itself, a removed node is left, "Create new ..." adds a
node named after `baseName`, and without a scene (no `mrmlSceneChanged` connection in the `.ui`) the list is empty.
Differs from the application: rename and edit ask nothing and do nothing; node attributes do not filter.
"""

from __future__ import annotations

from PySide6 import QtCore

from host.mrmlwidgets import SceneNodes
from host.properties import standIn, stored
from host.qtmodule import qt

_CREATE, _DELETE = "Create new ", "Delete current "


@standIn
class qMRMLNodeComboBox(qt.QWidget):
    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    cppSignals = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "currentNodeIDChanged(QString)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
    )

    nodeTypes = stored("QStringList", "nodeTypes", [], refresh=True)
    noneEnabled = stored(bool, "noneEnabled", False, refresh=True)
    noneDisplay = stored(str, "noneDisplay", "None", refresh=True)
    addEnabled = stored(bool, "addEnabled", True, refresh=True)
    removeEnabled = stored(bool, "removeEnabled", True, refresh=True)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    showHidden = stored(bool, "showHidden", False, refresh=True)
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, refresh=True)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    baseName = stored(str, "baseName", "")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._current, self._items = None, []
        self._nodes = SceneNodes(self.refresh)
        self._comboBox = qt.QComboBox()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._comboBox)
        self._comboBox.activated.connect(self._onActivated)

    def mrmlScene(self):
        return self._nodes.scene

    def setMRMLScene(self, scene) -> None:
        self._nodes.watch(scene)

    def comboBox(self):
        return self._comboBox

    def nodes(self) -> list:
        return [item for item in self._items if item is not None and not isinstance(item, str)]

    def nodeCount(self) -> int:
        return len(self.nodes())

    def nodeFromIndex(self, index: int):
        return self.nodes()[index] if 0 <= index < self.nodeCount() else None

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node) -> None:
        if isinstance(node, str):
            node = self.mrmlScene().GetNodeByID(node) if self.mrmlScene() else None
        self._choose(node if node in self.nodes() else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        self._choose(self.nodeFromIndex(index))

    currentNodeID = QtCore.Property(str, lambda self: self._current.GetID() if self._current else "", setCurrentNode)

    def addNode(self, nodeType=None):
        """Add a node as "Create new ..." of the list does."""
        node = self.mrmlScene().CreateNodeByClass(nodeType or self.nodeTypes[0])
        node.UnRegister(None)
        node.SetName(self.mrmlScene().GenerateUniqueName(self.baseName or node.GetNodeTagName()))
        node = self.mrmlScene().AddNode(node)
        if self.selectNodeUponCreation:
            self._choose(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self._current:
            self.mrmlScene().RemoveNode(self._current)

    def refresh(self) -> None:
        """Fill the list anew and keep the current node if it is still there."""
        before, nodes = self.nodes(), self._nodes.find(self.nodeTypes, self.showChildNodeTypes, self.showHidden)
        self._fill(nodes)
        if self._current not in nodes:
            self._choose(nodes[0] if nodes and not self.noneEnabled else None)
        else:
            self._showCurrent()
        for node in nodes:
            if node not in before:
                self.nodeAdded.emit(node)

    def _fill(self, nodes) -> None:
        entries = [(self.noneDisplay, None)] if self.noneEnabled else []
        entries += [(node.GetName(), node) for node in nodes]
        if self.addEnabled and self.mrmlScene():
            entries += [(_CREATE + self.mrmlScene().GetTagByClassName(t), _CREATE + t) for t in self.nodeTypes]
        if self.removeEnabled and nodes:
            entries.append((_DELETE + nodes[0].GetNodeTagName(), _DELETE))
        self._items = [item for _, item in entries]
        with QtCore.QSignalBlocker(self._comboBox):
            self._comboBox.clear()
            for text, _ in entries:
                self._comboBox.addItem(text)

    def _showCurrent(self) -> None:
        with QtCore.QSignalBlocker(self._comboBox):
            self._comboBox.setCurrentIndex(self._items.index(self._current) if self._current in self._items else -1)

    def _choose(self, node) -> None:
        changed, self._current = node is not self._current, node
        self._showCurrent()
        if changed:
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(self.currentNodeID)

    def _onActivated(self, index: int) -> None:
        item = self._items[index]
        if item == _DELETE:
            self.removeCurrentNode()
        elif isinstance(item, str):
            self.addNode(item[len(_CREATE) :])
        else:
            self._choose(item)
            self.nodeActivated.emit(item)
