"""Subject hierarchy: data nodes get their item as soon as they are in the scene, as Slicer's plugins do it.

Differs from the application: segments have no items of their own below their segmentation, and of the node classes
only the listed ones are shown.
"""

from __future__ import annotations

import slicer
import vtk

_SHOWN = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLTransformNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLSequenceNode",
)


class SubjectHierarchyKeeper:
    """Adds items for new nodes and removes those of removed ones, until `close()`."""

    def __init__(self, scene):
        self._scene = scene
        observers = {
            scene.NodeAddedEvent: self._onNodeAdded,
            scene.NodeAboutToBeRemovedEvent: self._onNodeAboutToBeRemoved,
            scene.EndImportEvent: self._addMissing,
            scene.EndCloseEvent: self._addMissing,
        }
        self._tags = [scene.AddObserver(event, method) for event, method in observers.items()]

    def close(self) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)

    def _hierarchy(self):
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _add(self, node) -> None:
        exclude = slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyExcludeFromTreeAttributeName()
        if node.GetHideFromEditors() or node.GetAttribute(exclude) or not any(node.IsA(name) for name in _SHOWN):
            return
        hierarchy = self._hierarchy()
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, scene, event, node) -> None:
        if not scene.IsImporting():
            self._add(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, scene, event, node) -> None:
        item = 0 if scene.IsClosing() else self._hierarchy().GetItemByDataNode(node)
        if item:
            self._hierarchy().RemoveItem(item, False, False)

    def _addMissing(self, scene, event) -> None:
        self._hierarchy()
        for index in range(scene.GetNumberOfNodes()):
            self._add(scene.GetNthNode(index))
