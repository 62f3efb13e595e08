"""The host's application: scene, logics, settings, and what becomes of errors."""

import os

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
import slicer
import vtk

LOGICS = (
    "volumes",
    "segmentations",
    "terminologies",
    "subjecthierarchy",
    "markups",
    "tables",
    "volumerendering",
    "cropvolume",
    "models",
    "transforms",
    "data",
)


@pytest.mark.parametrize("name", LOGICS)
def test_the_logics_work_on_the_scene(slicerHost, name):
    assert getattr(slicer.modules, name).logic().GetMRMLScene() is slicer.mrmlScene


def test_the_scene_is_fresh_in_each_test(slicerHost):
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    slicer.util.addVolumeFromArray(np.zeros((2, 3, 4)))
    assert slicer.mrmlScene is slicer.app.mrmlScene() is slicer.app.applicationLogic().GetMRMLScene()


def test_a_volume_file_is_read_with_its_geometry(slicerHost, tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((0.7, 0.8, 5.0))
    path = str(tmp_path / "ř ct.nii.gz")
    sitk.WriteImage(image, path)
    volume = slicer.modules.volumes.logic().AddArchetypeVolume(path, "CT")
    assert np.array_equal(slicer.util.arrayFromVolume(volume), np.arange(24).reshape(2, 3, 4))
    assert volume.GetSpacing() == pytest.approx((0.7, 0.8, 5.0))


def test_subject_hierarchy_follows_the_scene(slicerHost):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Liver")
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    slicer.mrmlScene.RemoveNode(node)
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(study, children)
    assert children.GetNumberOfIds() == 0


def test_subject_hierarchy_is_saved_with_the_scene(slicerHost, tmp_path):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Volumes")
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Results")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    path = str(tmp_path / "scene.mrml")
    slicer.mrmlScene.Commit(path)
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.SetURL(path)
    slicer.mrmlScene.Connect()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(slicer.util.getNode("Volumes"))
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "Results"


def test_views_may_be_asked_for_though_there_are_none(slicerHost):
    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4)))
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    slicer.util.resetSliceViews()
    slicer.util.resetThreeDViews()
    with slicer.util.RenderBlocker():
        slicer.app.processEvents()


def test_settings_live_in_the_hosts_folder(slicerHost, tmp_path):
    settings = slicer.app.settings()
    settings.setValue("LiverGTAN/student", "student-30k")
    settings.sync()
    assert slicer.util.settingsValue("LiverGTAN/student", "") == "student-30k"
    assert os.path.commonpath([settings.fileName(), tmp_path]) == str(tmp_path)


def test_an_exception_in_a_slot_or_an_observer_is_recorded(slicerHost):
    from host.qtmodule import qt

    def fail(*_):
        raise LookupError("no such segment")

    button = qt.QPushButton()
    button.connect("clicked()", fail)
    button.clicked.connect(fail)
    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, fail)
    button.click()
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    slicer.mrmlScene.RemoveObserver(tag)
    assert [type(error) for error in slicerHost.takeUncaught()] == [LookupError] * 3
    assert slicerHost.uncaught == []


def test_only_one_host_at_a_time(slicerHost, tmp_path):
    from host.slicerhost import SlicerHost

    with pytest.raises(RuntimeError, match="close it first"):
        SlicerHost(tmp_path)


def test_waiting_ends_when_it_is_so_or_after_the_time(slicerHost):
    from host.qtmodule import qt

    heard = []
    qt.QTimer.singleShot(20, lambda: heard.append(True))
    slicerHost.wait(lambda: heard)
    with pytest.raises(TimeoutError):
        slicerHost.wait(lambda: False, seconds=0.05)
