"""Reading a CT from MRML, and the segmentation node that is made for it, on the real nodes."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from slicer.util import arrayFromVolume, arrayFromVolumeModified, updateVolumeFromArray

from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import scene
from support.mrml_cases import SHAPE, STRAIGHT, addTransform, mrmlScene, rotation, volumeNode


def test_a_ct_is_read_without_a_copy_and_outlives_its_node(mrmlScene, volumeNode):
    arrayFromVolume(volumeNode)[3, 4, 5] = 77
    ct = scene.readCt(volumeNode)
    assert np.shares_memory(ct.hu, arrayFromVolume(volumeNode))
    assert ct.shape == SHAPE and ct.name == "CT"
    np.testing.assert_allclose(ct.ijk_to_ras, STRAIGHT)
    mrmlScene.RemoveNode(volumeNode)
    assert ct.hu[3, 4, 5] == 77 and ct.hu.sum() == 77


def test_linear_transforms_turn_the_ct_and_warps_do_not(mrmlScene, volumeNode):
    turn = rotation(1, 90)
    volumeNode.SetAndObserveTransformNodeID(addTransform(mrmlScene, turn).GetID())
    np.testing.assert_allclose(scene.readCt(volumeNode).ijk_to_ras, turn @ STRAIGHT, atol=1e-12)
    grid = vtk.vtkThinPlateSplineTransform()
    grid.SetBasisToR()
    points = vtk.vtkPoints()
    for point in np.vstack([np.eye(3), -np.eye(3)]) * 100:
        points.InsertNextPoint(point)
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(0, 120, 10, 0)
    grid.SetSourceLandmarks(points)
    grid.SetTargetLandmarks(moved)
    warp = mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    warp.SetAndObserveTransformToParent(grid)
    volumeNode.SetAndObserveTransformNodeID(warp.GetID())
    np.testing.assert_allclose(scene.readCt(volumeNode).ijk_to_ras, STRAIGHT)


def test_the_image_key_tells_other_voxels_and_other_places(mrmlScene, volumeNode):
    keys = [scene.imageKey(volumeNode)]
    assert scene.imageKey(volumeNode) == keys[0]
    arrayFromVolumeModified(volumeNode)
    keys.append(scene.imageKey(volumeNode))
    volumeNode.SetSpacing(1, 1, 1)
    keys.append(scene.imageKey(volumeNode))
    volumeNode.SetAndObserveTransformNodeID(addTransform(mrmlScene, rotation(0, 5)).GetID())
    keys.append(scene.imageKey(volumeNode))
    assert len(set(keys)) == 4


def test_what_is_no_scalar_image_is_refused_with_a_sentence(mrmlScene):
    empty = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    labels = mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    updateVolumeFromArray(labels, np.zeros(SHAPE, np.uint8))
    vectors = mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "vectors")
    updateVolumeFromArray(vectors, np.zeros((*SHAPE, 3), np.int16))
    for node, words in ((None, "no image"), (empty, "no image"), (labels, "label map"), (vectors, "3 values")):
        with pytest.raises(InputError, match=words):
            scene.readCt(node)


def test_a_new_segmentation_belongs_to_its_volume(mrmlScene, volumeNode):
    volumeNode.SetName("Abdomen")
    transform = addTransform(mrmlScene, rotation(2, 20))
    volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    hierarchy.CreateItem(study, volumeNode)
    segmentationNode = scene.createSegmentation(volumeNode)
    assert segmentationNode.GetName() == "Abdomen liver"
    assert segmentationNode.GetParentTransformNode() == transform
    assert scene.referenceVolume(segmentationNode) == volumeNode
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(segmentationNode)) == study
    assert segmentationNode.GetDisplayNode() is not None
