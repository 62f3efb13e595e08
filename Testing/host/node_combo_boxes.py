"""qMRMLNodeComboBox and qMRMLCheckableNodeComboBox: choose nodes of the scene.

The list is a real QComboBox on a real item model with the rows that Slicer's has: "None", the nodes, the actions. So
what the list chooses by itself when rows come and go is Qt's own doing, as in Slicer (Libs/MRML/Widgets):

- a current node that is removed gives its place to the node in the next row, or to the last node, also when "None" is
  offered; only when no node is left nothing is chosen (QComboBoxPrivate::_q_rowsRemoved;
  qMRMLNodeComboBox::emitCurrentNodeChanged, refreshIfCurrentNodeHidden). It happens when the node is *about to be*
  removed, after the other observers of that event (qMRMLSceneModel::setMRMLScene: priority -10);
- the first node is chosen by itself when it comes into an empty list, that is without "None" and without actions
  (_q_rowsInserted), or when the scene is set (setMRMLScene);
- while a scene is imported or closed, nothing is listed or taken away; then the whole list is made anew, which
  loses the current node (qMRMLSceneModel: onMRMLSceneImported, onMRMLSceneClosed, updateScene);
- renaming the current node emits `currentNodeChanged` again (setComboBox connects currentTextChanged).

Differs from the application: rename, edit and "create as", which ask for a name, are not modeled; a node counts as
hidden or not when it is added.
"""

from __future__ import annotations

import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from host.ctk_widgets import ctk
from host.pythonqt import qt, standIn, stored

_ID, _ACTION = QtCore.Qt.UserRole + 1, QtCore.Qt.UserRole + 2


@standIn
class qMRMLNodeComboBox(qt.QWidget):
    currentNodeChanged = QtCore.Signal(object)
    _currentNodeValidityChanged = QtCore.Signal(bool)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAddedByUserAction = QtCore.Signal(object)
    _overloads = {"currentNodeChanged(bool)": "_currentNodeValidityChanged"}

    nodeTypes = stored("QStringList", "nodeTypes", [], "_onNodeTypes")
    noneEnabled = stored(bool, "noneEnabled", False, "_updateNoneRow")
    noneDisplay = stored(str, "noneDisplay", "None", "_updateNoneRow")
    addEnabled = stored(bool, "addEnabled", True, "_updateActionRows")
    removeEnabled = stored(bool, "removeEnabled", True, "_updateActionRows")
    editEnabled = stored(bool, "editEnabled", False, "_updateActionRows")
    renameEnabled = stored(bool, "renameEnabled", False, "_updateActionRows")
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, "_refilter")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    baseName = stored(str, "baseName", "")
    sizeAdjustPolicy = QtCore.Property(
        QtWidgets.QComboBox.SizeAdjustPolicy,
        lambda self: self._comboBox.sizeAdjustPolicy,
        lambda self, policy: setattr(self._comboBox, "sizeAdjustPolicy", policy),
    )

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._requestedID, self._switchingScene = None, "", False
        self._sceneTags, self._nodeTags = [], {}
        self._model, self._comboBox = QtGui.QStandardItemModel(self), self._createComboBox()
        self._comboBox.setModel(self._model)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._comboBox)
        self.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Fixed)
        self._comboBox.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Expanding)
        self._comboBox.currentIndexChanged.connect(lambda row: self._emitCurrentNodeChanged())
        self._comboBox.view().clicked.connect(self._onAction)
        self._model.itemChanged.connect(self._onItemChanged)
        self._model.rowsRemoved.connect(lambda: self._refreshIfCurrentNodeHidden())
        self.enabled = False

    def _createComboBox(self):
        comboBox = ctk.ctkComboBox()
        comboBox.elideMode = QtCore.Qt.ElideMiddle  # qMRMLNodeComboBoxPrivate::init
        return comboBox

    # Scene

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        wanted = self.currentNodeID if self.nodeCount() else self._requestedID
        keep, self._switchingScene, self._requestedID = self.nodeCount() > 0, True, ""
        self._model.clear()
        self._observe(scene)
        self._updateScene()
        self._updateNoneRow()
        self._updateActionRows()
        self._comboBox.setCurrentIndex(-1)
        self._switchingScene = False
        # Where nothing was chosen before, the first row is: the current index is that of the scene's own row.
        first = self._model.item(0)
        self._setCurrentID(wanted if keep or wanted or first is None else first.data(_ID) or "")
        if self._comboBox.currentIndex < 0:
            self._emitCurrentNodeChanged()
        self._updateDefaultText()
        self.enabled = scene is not None

    def _observe(self, scene) -> None:
        self._forgetNodes()
        for tag in self._sceneTags:
            self._scene.RemoveObserver(tag)
        self._scene, self._sceneTags = scene, []
        if scene:
            self._sceneTags = [
                scene.AddObserver(scene.NodeAddedEvent, self._onNodeAdded, 10.0),
                scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved, -10.0),
                scene.AddObserver(scene.EndCloseEvent, self._updateScene),
                scene.AddObserver(scene.EndImportEvent, self._updateScene),
            ]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, scene, event, node) -> None:
        if not scene.IsImporting():
            self._insertNode(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, scene, event, node) -> None:
        if not scene.IsClosing():
            self._removeNode(node)

    def _onNodeModified(self, node, event) -> None:
        if not self._scene.IsClosing() and self._rowOf(node.GetID()) >= 0:
            self._model.item(self._rowOf(node.GetID())).setText(node.GetName())

    def _forgetNodes(self) -> None:
        for node, tag in self._nodeTags.items():
            node.RemoveObserver(tag)
        self._nodeTags = {}

    def _allNodes(self) -> list:
        return [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())] if self._scene else []

    # Rows

    def _updateScene(self, *_) -> None:
        """Make the rows of the nodes anew."""
        self._forgetNodes()
        self._model.removeRows(self._noneRows(), self.nodeCount())
        for node in self._allNodes():
            self._insertNode(node)

    def _refilter(self) -> None:
        """Other nodes are accepted now; those that stay are not touched."""
        for node in list(self._nodeTags):
            if not self._accepts(node):
                self._removeNode(node)
        for node in self._allNodes():
            if node not in self._nodeTags:
                self._insertNode(node)

    def _insertNode(self, node) -> None:
        """Nodes are listed in the order of the scene."""
        if not self._accepts(node):
            return
        nodes = self._allNodes()
        before = sum(other in self._nodeTags for other in nodes[: nodes.index(node)])
        item = QtGui.QStandardItem(node.GetName())
        item.setData(node.GetID(), _ID)
        self._nodeTags[node] = node.AddObserver("ModifiedEvent", self._onNodeModified)
        self._model.insertRow(self._noneRows() + before, item)

    def _removeNode(self, node) -> None:
        if node in self._nodeTags:
            node.RemoveObserver(self._nodeTags.pop(node))
            self._model.removeRow(self._rowOf(node.GetID()))

    def _accepts(self, node) -> bool:
        """qMRMLSortFilterProxyModel::filterAcceptsRow."""
        return not node.GetHideFromEditors() and any(
            node.IsA(name) and (self.showChildNodeTypes or node.GetClassName() == name) for name in self.nodeTypes
        )

    def _rowOf(self, nodeID: str) -> int:
        return next((r for r in range(self._model.rowCount()) if self._model.item(r).data(_ID) == nodeID), -1)

    def _noneRows(self) -> int:
        item = self._model.item(0)
        return int(item is not None and not item.data(_ID) and not item.data(_ACTION))

    def _updateNoneRow(self) -> None:
        if self._scene is None:
            return
        self._model.removeRows(0, self._noneRows())
        if self.noneEnabled:
            self._model.insertRow(0, QtGui.QStandardItem(self.noneDisplay))

    def _updateActionRows(self) -> None:
        if self._scene is None:
            return
        current, first = self._comboBox.currentIndex, self._noneRows() + self.nodeCount()
        self._model.removeRows(first, self._model.rowCount() - first)
        for text, action in self._actions():
            item = QtGui.QStandardItem(text)
            item.setData(action, _ACTION)
            item.setFlags(QtCore.Qt.ItemIsEnabled)
            self._model.appendRow(item)
        self._comboBox.setCurrentIndex(current)

    def _actions(self) -> list[tuple[str, str]]:
        """(text, command/class) of the rows below the nodes."""
        label = self._label(self.nodeTypes[0] if len(self.nodeTypes) == 1 else "")
        actions = [("", "SEPARATOR")]
        actions += [(f"Rename current {label}", "RENAME/")] * self.renameEnabled
        actions += [(f"Edit current {label}", "EDIT/")] * self.editEnabled
        for name in self.nodeTypes if self.addEnabled else []:
            actions.append((f"Create new {self._label(name)}", f"CREATE/{name}"))
            actions += [(f"Create new {self._label(name)} as...", f"CREATE_AS/{name}")] * self.renameEnabled
        actions += [(f"Delete current {label}", "DELETE/")] * self.removeEnabled
        return actions if len(actions) > 1 else []

    def _label(self, className: str) -> str:
        return (self._scene and self._scene.GetTypeDisplayNameByClassName(className)) or "node"

    def _onNodeTypes(self) -> None:
        self._refilter()
        self._updateDefaultText()
        self._updateActionRows()

    def _updateDefaultText(self) -> None:
        if type(self._comboBox) is ctk.ctkComboBox:
            self._comboBox.defaultText = f"Select a {self._label(self.nodeTypes[0] if self.nodeTypes else '')}"

    # Nodes

    def nodeCount(self) -> int:
        return sum(bool(self._model.item(row).data(_ID)) for row in range(self._model.rowCount()))

    def nodeFromIndex(self, index: int):
        return self._nodeOf(self._model.item(index + self._noneRows()))

    def _nodeOf(self, item):
        return self._scene.GetNodeByID(item.data(_ID)) if self._scene and item is not None and item.data(_ID) else None

    def currentNode(self):
        return self._nodeOf(self._model.item(self._comboBox.currentIndex))

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node.GetID() if node else "")

    def setCurrentNodeID(self, nodeID: str) -> None:
        if self._scene is None:
            self._requestedID = nodeID or ""
        self._setCurrentID(nodeID)

    def _readCurrentNodeID(self) -> str:
        node = self.currentNode()
        return node.GetID() if node else ""

    currentNodeID = QtCore.Property(str, _readCurrentNodeID, setCurrentNodeID)

    def _setCurrentID(self, nodeID: str) -> None:
        row = self._rowOf(nodeID) if nodeID else -1
        self._comboBox.setCurrentIndex(row if row >= 0 else 0 if self.noneEnabled else -1)

    def addNode(self, nodeType=None):
        """As "Create new ..." does it, but for the signal of an action."""
        nodeType = nodeType or self.nodeTypes[0]
        if nodeType not in self.nodeTypes:
            raise ValueError(f"{nodeType} is not among the types of this list (Slicer warns and adds nothing)")
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or node.GetNodeTagName()))
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    # What the list tells

    def _emitCurrentNodeChanged(self) -> None:
        if self._switchingScene:
            return
        row, node = self._comboBox.currentIndex, self.currentNode()
        if node is None and row != (0 if self.noneEnabled else -1):  # an action: what was removed was the last row
            if last := self.nodeFromIndex(self.nodeCount() - 1):
                self.setCurrentNode(last)
        else:
            self.currentNodeChanged.emit(node)
            self._currentNodeValidityChanged.emit(node is not None)
            self.currentNodeIDChanged.emit(node.GetID() if node else "")

    def _refreshIfCurrentNodeHidden(self) -> None:
        if self.currentNode() is None:
            self.setCurrentNode(None)

    def _onItemChanged(self, item) -> None:
        if item.row() == self._comboBox.currentIndex:
            self._emitCurrentNodeChanged()

    def _onAction(self, index) -> None:
        command, _, className = (index.data(_ACTION) or "").partition("/")
        if command == "CREATE":
            node = self.addNode(className)
            self.setCurrentNode(node)
            self.nodeAddedByUserAction.emit(node)
        elif command == "DELETE":
            self.removeCurrentNode()
        elif command in ("RENAME", "EDIT", "CREATE_AS"):
            raise NotImplementedError(f"The host does not model {index.data()}")


class _CheckableComboBox(qt.QComboBox):
    """ctkCheckableComboBox: shows the names of what is checked."""

    def initStyleOption(self, option):
        super().initStyleOption(option)
        items = [self.model().item(row) for row in range(self.count)]
        checked = [item.text() for item in items if item.checkState() == QtCore.Qt.Checked]
        option.currentText = "None" if not checked else "All" if len(checked) == self.count else ", ".join(checked)


@standIn
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Choose several nodes.

    ctkCheckableComboBox::updateCheckedList runs when data of the list changes and not when a row goes: the removal of a
    checked node is not told by `checkedNodesChanged`.
    """

    checkedNodesChanged = QtCore.Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self.addEnabled, self.removeEnabled = False, False
        self._toldChecked: list[str] = []
        self._model.dataChanged.connect(lambda *_: self._updateChecked())

    def _createComboBox(self):
        return _CheckableComboBox()

    def _insertNode(self, node) -> None:
        super()._insertNode(node)
        if (row := self._rowOf(node.GetID())) >= 0:
            self._model.item(row).setCheckable(True)
            self._model.item(row).setCheckState(QtCore.Qt.Unchecked)

    def _updateChecked(self) -> None:
        checked = [node.GetID() for node in self.checkedNodes()]
        if checked != self._toldChecked:
            self._toldChecked = checked
            self.checkedNodesChanged.emit()

    def _nodes(self) -> list:
        return [self.nodeFromIndex(index) for index in range(self.nodeCount())]

    def checkedNodes(self) -> list:
        return [node for node in self._nodes() if self.checkState(node) == QtCore.Qt.Checked]

    def uncheckedNodes(self) -> list:
        return [node for node in self._nodes() if self.checkState(node) != QtCore.Qt.Checked]

    def checkState(self, node):
        row = self._rowOf(node.GetID()) if node else -1
        return self._model.item(row).checkState() if row >= 0 else QtCore.Qt.Unchecked

    def setCheckState(self, node, state) -> None:
        row = self._rowOf(node.GetID()) if node else -1
        if row >= 0:
            self._model.item(row).setCheckState(state)

    def check(self, node) -> None:
        self.setCheckState(node, QtCore.Qt.Checked)

    def uncheck(self, node) -> None:
        self.setCheckState(node, QtCore.Qt.Unchecked)
