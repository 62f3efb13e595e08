"""The scene, its subject hierarchy and the module logics, made as the application makes them at start.

Differs from the application: terminology files are not in the slicer-core wheel, so the terminologies logic
knows none and its complaints at start are silenced; modules of other extensions are absent; in the subject hierarchy
segments have no items of their own below their segmentation, and of the node classes only the listed ones are shown.
"""

from __future__ import annotations

import types

import slicer
import vtk

_LOGICS = {
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "data": "vtkSlicerDataModuleLogic",  # removes the display nodes of a removed node
    "models": "vtkSlicerModelsLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "tables": "vtkSlicerTablesLogic",
    "sequences": "vtkSlicerSequencesLogic",
}


class CoreModule(types.SimpleNamespace):
    """What `slicer.modules.<name>` gives for a module of Slicer itself."""

    def logic(self):
        return self._logic


def createScene(applicationLogic):
    """-> the scene that the application logic works on, with default colors and slice orientations."""
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    applicationLogic.SetMRMLScene(scene)
    colors = applicationLogic.GetColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    applicationLogic.SetModuleLogic("Colors", colors)
    applicationLogic.SetSliceLogics(vtk.vtkCollection())
    applicationLogic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return scene


def createModules(applicationLogic, scene, shareDirectory: str) -> types.SimpleNamespace:
    """-> `slicer.modules` with the logics of Slicer's own modules; `shareDirectory` is an empty folder."""
    modules = types.SimpleNamespace()
    rules = slicer.vtkSegmentationConverterFactory.GetInstance().GetConverterRules()
    warnings = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    for name, className in _LOGICS.items():
        logic = getattr(slicer, className)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(shareDirectory)  # wanted before the scene
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(applicationLogic)
        moduleName = "SubjectHierarchy" if name == "subjecthierarchy" else name.capitalize()
        applicationLogic.SetModuleLogic(moduleName, logic)
        setattr(modules, name, CoreModule(name=moduleName, _logic=logic))
    vtk.vtkObject.SetGlobalWarningDisplay(warnings)
    if rules:
        _takeBackConverterRules(set(rules))
    return modules


def _takeBackConverterRules(known: set) -> None:
    """Each segmentations logic registers its rules of conversion for the whole process, where the application has one.

    Every segmentation copies all of them and looks for paths among them: after some hundred hosts that took longest of
    all that is done with sequences of segmentations.
    """
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    for rule in factory.GetConverterRules():
        if rule not in known:
            factory.UnregisterConverterRule(rule)


def createFileAccess(applicationLogic, scene, cacheDirectory: str) -> tuple:
    """-> the logics that reading and writing files through the scene needs (keep them alive)."""
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(applicationLogic)
    remote.GetCacheManager().SetRemoteCacheDirectory(cacheDirectory)
    manager = slicer.vtkDataIOManagerLogic()
    manager.SetMRMLScene(scene)
    manager.SetMRMLApplicationLogic(applicationLogic)
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return remote, manager


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
    """Adds items for new nodes and removes those of removed ones, as Slicer's plugins do, until `close()`."""

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
