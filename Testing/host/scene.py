"""The scene and the module logics, made as the application makes them at start.

Differs from the application: terminology files are not in the slicer-core wheel, so the terminologies logic
knows none and its complaints at start are silenced; modules of other extensions are absent.
"""

from __future__ import annotations

import types

import slicer
import vtk

_LOGICS = {
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "units": "vtkSlicerUnitsLogic",
    "data": "vtkSlicerDataModuleLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "models": "vtkSlicerModelsLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "tables": "vtkSlicerTablesLogic",
    "texts": "vtkSlicerTextsLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "cropvolume": "vtkSlicerCropVolumeLogic",
    "volumerendering": "vtkSlicerVolumeRenderingLogic",
}
_CAPITALIZED = {
    "subjecthierarchy": "SubjectHierarchy",
    "cropvolume": "CropVolume",
    "volumerendering": "VolumeRendering",
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
    warnings = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    for name, className in _LOGICS.items():
        logic = getattr(slicer, className)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(shareDirectory)  # wanted before the scene
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.SetModuleLogic(_CAPITALIZED.get(name, name.capitalize()), logic)
        setattr(modules, name, CoreModule(name=_CAPITALIZED.get(name, name.capitalize()), _logic=logic))
    vtk.vtkObject.SetGlobalWarningDisplay(warnings)
    return modules


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
