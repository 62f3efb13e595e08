"""qMRMLWidget: a widget that knows the scene and passes it on through the `.ui` file's connections."""

from __future__ import annotations

from PySide6 import QtCore

from host.properties import standIn
from host.qtmodule import qt


@standIn
class qMRMLWidget(qt.QWidget):
    """Emits `mrmlSceneChanged` so that the widgets inside, connected in the `.ui` file, get the scene too."""

    mrmlSceneChanged = QtCore.Signal(object)
    cppSignals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    _scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class SceneNodes:
    """Watches a scene for the nodes that a selector offers; calls `changed()` on every addition, removal, rename.

    Nodes hidden from editors are left out, as in Slicer. Everything is unobserved by `watch(None)`.
    """

    def __init__(self, changed):
        self.scene = None
        self._changed = changed
        self._tags: list[tuple] = []
        self._nodeTags: dict = {}

    def watch(self, scene) -> None:
        for tag in self._tags:
            self.scene.RemoveObserver(tag)
        self.scene, self._tags = scene, []
        if scene:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._tags = [scene.AddObserver(event, self._onEvent) for event in events]
        self._onEvent()

    def _onEvent(self, *_) -> None:
        self._changed()

    def find(self, nodeTypes, withChildTypes: bool, withHidden: bool = False) -> list:
        """-> nodes of the scene of the given classes, in scene order, watched for renaming."""
        nodes = [
            node
            for node in self._allNodes()
            if (withHidden or not node.GetHideFromEditors())
            and any(node.IsA(t) if withChildTypes else node.GetClassName() == t for t in nodeTypes)
        ]
        self._watchNodes(nodes)
        return nodes

    def _allNodes(self) -> list:
        return [self.scene.GetNthNode(i) for i in range(self.scene.GetNumberOfNodes())] if self.scene else []

    def _watchNodes(self, nodes) -> None:
        for node in set(self._nodeTags) - set(nodes):
            node.RemoveObserver(self._nodeTags.pop(node))
        for node in nodes:
            if node not in self._nodeTags:
                self._nodeTags[node] = node.AddObserver("ModifiedEvent", self._onEvent)
