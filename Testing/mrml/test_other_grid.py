"""A liver among segments that others drew on a grid of their own: theirs stay, and what it loses there is said."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from slicer.util import updateVolumeFromArray, vtkMatrixFromArray

from LiverGTANLib.core.measurements import dice
from LiverGTANLib.mrml import scene, self_test, table
from LiverGTANLib.mrml.parameters import ChosenParameters
from LiverGTANLib.mrml.segment_writer import WriteError
from support.module_fixtures import logic, students
from support.mrml_cases import addSegment, addTransform, addWarp, rotation, voxels

COVERING = np.eye(4)


def move(*mm) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def ofOthers(volumeNode, mm: float, placed=COVERING):
    """A segmentation with a segment on a grid of voxels this wide that covers the volume, moved by a matrix."""
    spacing = np.array(volumeNode.GetSpacing())
    matrix = placed @ scene.ijkToLocal(volumeNode) @ np.diag([*(mm / spacing), 1])
    shape = np.ceil(np.array(volumeNode.GetImageData().GetDimensions()) * spacing / mm).astype(int)[::-1]
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    other.SetIJKToRASMatrix(vtkMatrixFromArray(matrix))
    updateVolumeFromArray(other, np.zeros(shape, np.int16))
    segmentationNode = scene.createSegmentation(other)
    drawn = np.zeros(shape, np.uint8)
    drawn[:2, :3, :1] = 1
    return segmentationNode, other, addSegment(segmentationNode, other, "drawn", drawn), drawn


def findings(logic, volumeNode, segmentationNode) -> str:
    reason, warning = logic.session.obstacles(ChosenParameters(volumeNode, segmentationNode))
    assert not reason
    return warning


@pytest.fixture
def volumeNode(slicerHost):
    return self_test.addPhantom()[0]


@pytest.fixture
def alone(logic, volumeNode):
    """(K, J, I): the liver in a segmentation of its own."""
    result = logic.process(volumeNode)
    return voxels(result.segmentation, result.segmentId, volumeNode)


@pytest.mark.parametrize(
    "mm, placed",
    [(15, COVERING), (30, move(7, -5, 3)), (15, rotation(0, 25)), (30, move(400, 0, 0))],
    ids=["covers it", "shifted", "turned", "apart"],
)
def test_what_larger_voxels_of_others_lose_is_said(logic, volumeNode, alone, mm, placed):
    segmentationNode, other, drawnId, drawn = ofOthers(volumeNode, mm, placed)
    assert "larger than those of 'Phantom'" in findings(logic, volumeNode, segmentationNode)
    result = logic.process(volumeNode, segmentationNode)
    measured = dice(voxels(segmentationNode, result.segmentId, volumeNode), alone)
    assert 0.4 < measured < 0.98
    said = float(result.remarks[0].split()[1])
    assert result.remarks[0].startswith("Dice ") and abs(said - measured) < 0.03
    assert result.remarks[0] in table.read(result.tableNode, segmentationNode)["Hint"]
    np.testing.assert_array_equal(voxels(segmentationNode, drawnId, other), drawn)


def test_the_same_under_a_transform_that_bends_space(logic, volumeNode, alone):
    segmentationNode, *_ = ofOthers(volumeNode, 15)
    bent = addWarp(slicer.mrmlScene, lambda ras: 0.0002 * ras * np.abs(ras[:, 2:]))
    volumeNode.SetAndObserveTransformNodeID(bent.GetID())
    assert "larger" in findings(logic, volumeNode, segmentationNode)
    result = logic.process(volumeNode, segmentationNode)
    assert 0.8 < float(result.remarks[0].split()[1]) < 0.98


@pytest.mark.parametrize("mm, placed", [(2, move(0.9, -0.9, 0)), (3, rotation(0, 25))], ids=["shifted", "turned"])
def test_nothing_is_said_of_voxels_that_hold_it_as_well(logic, volumeNode, alone, mm, placed):
    segmentationNode, other, drawnId, drawn = ofOthers(volumeNode, mm, placed)
    assert findings(logic, volumeNode, segmentationNode) == ""
    result = logic.process(volumeNode, segmentationNode)
    assert not result.remarks
    assert dice(voxels(segmentationNode, result.segmentId, volumeNode), alone) > 0.97
    np.testing.assert_array_equal(voxels(segmentationNode, drawnId, other), drawn)


def test_without_segments_of_others_the_liver_has_the_voxels_of_the_ct(logic, volumeNode, alone):
    segmentationNode, _other, drawnId, _drawn = ofOthers(volumeNode, 30)
    segmentationNode.GetSegmentation().ClearSegment(drawnId)
    assert findings(logic, volumeNode, segmentationNode) == ""
    result = logic.process(volumeNode, segmentationNode)
    assert not result.remarks
    np.testing.assert_array_equal(voxels(segmentationNode, result.segmentId, volumeNode), alone)


def test_a_liver_between_the_middles_of_all_voxels_is_refused(logic, volumeNode):
    far = np.array(volumeNode.GetSpacing()) * volumeNode.GetImageData().GetDimensions()
    segmentationNode, *_ = ofOthers(volumeNode, 1000, move(*-far / 2))
    with pytest.raises(WriteError, match="choose or create another"):
        logic.process(volumeNode, segmentationNode)
    assert scene.liverSegmentId(segmentationNode) == ""
