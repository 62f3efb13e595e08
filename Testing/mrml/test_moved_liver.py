"""A liver that the user moves without another shape counts as edited by hand, unless its CT moved with it."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from slicer.util import updateSegmentBinaryLabelmapFromArray

from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import batch, scene, self_test
from LiverGTANLib.mrml.parameters import ChosenParameters
from LiverGTANLib.mrml.scene import isLiverEdited
from LiverGTANLib.mrml.session import liverState
from support.module_fixtures import logic, students
from support.mrml_cases import (
    GEOMETRIES,
    addTransform,
    addVolume,
    addWarp,
    ball,
    mrmlScene,
    rotation,
    segmentationNode,
    volumeNode,
    voxels,
    writer,
)

SHIFT = np.eye(4)
SHIFT[:3, 3] = 6, 0, -12


def harden(node, matrix) -> None:
    node.SetAndObserveTransformNodeID(addTransform(node.GetScene(), matrix).GetID())
    node.HardenTransform()


def hardenShift(segmentationNode, volumeNode):
    harden(segmentationNode, SHIFT)


def hardenTurn(segmentationNode, volumeNode):
    harden(segmentationNode, rotation(2, 3))


def hardenScale(segmentationNode, volumeNode):
    harden(segmentationNode, np.diag([1.1, 1, 1, 1]))


def shiftVoxels(segmentationNode, volumeNode):
    segmentId = scene.liverSegmentId(segmentationNode)
    moved = np.roll(voxels(segmentationNode, segmentId, volumeNode), 1, axis=1)
    updateSegmentBinaryLabelmapFromArray(moved, segmentationNode, segmentId, volumeNode)


MOVES = [hardenShift, hardenTurn, hardenScale, shiftVoxels]


@pytest.mark.parametrize("move", MOVES)
def test_a_moved_mask_is_edited_and_is_not_when_the_user_moves_it_back(volumeNode, segmentationNode, writer, move):
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    before = slicer.vtkOrientedImageData()
    before.DeepCopy(segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId))
    assert not isLiverEdited(segmentationNode)
    move(segmentationNode, volumeNode)
    assert isLiverEdited(segmentationNode)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    segment.GetRepresentation(scene.LABELMAP).DeepCopy(before)
    assert not isLiverEdited(segmentationNode)


@pytest.mark.parametrize("matrix", GEOMETRIES.values(), ids=GEOMETRIES)
def test_what_moves_with_its_ct_is_not_edited_nor_is_what_is_saved_and_loaded(mrmlScene, writer, tmp_path, matrix):
    volumeNode = addVolume(mrmlScene, matrix)
    segmentationNode = scene.createSegmentation(volumeNode)
    writer.write(volumeNode, ball(), segmentationNode, "a")
    for node in (segmentationNode, volumeNode):
        harden(node, SHIFT @ rotation(0, 20))
    assert not isLiverEdited(segmentationNode)
    segmentationNode.AddDefaultStorageNode()
    storage = segmentationNode.GetStorageNode()
    storage.SetFileName(str(tmp_path / "liver.seg.nrrd"))
    assert storage.WriteData(segmentationNode) and storage.ReadData(segmentationNode)
    assert scene.liverSegmentId(segmentationNode) and not isLiverEdited(segmentationNode)
    shiftVoxels(segmentationNode, volumeNode)
    assert isLiverEdited(segmentationNode)


def test_where_the_ct_is_gone_or_bent_the_place_in_the_segmentation_counts(
    mrmlScene, volumeNode, segmentationNode, writer
):
    writer.write(volumeNode, ball(), segmentationNode, "a")
    volumeNode.SetAndObserveTransformNodeID(addWarp(mrmlScene).GetID())
    assert not isLiverEdited(segmentationNode)
    mrmlScene.RemoveNode(volumeNode)
    assert not isLiverEdited(segmentationNode)
    harden(segmentationNode, SHIFT)
    assert isLiverEdited(segmentationNode)


@pytest.mark.slow
@pytest.mark.parametrize("move", MOVES)
def test_a_moved_liver_is_replaced_only_by_who_was_told(logic, move):
    volumeNode, _ = self_test.addPhantom(spacingMm=(6.0, 6.0, 6.0))
    result, session = logic.process(volumeNode), logic.session
    chosen = ChosenParameters(volumeNode=volumeNode, segmentationNode=result.segmentation, engine="numpy")
    request = session.prepare(chosen)
    found = request.job.segment()
    move(result.segmentation, volumeNode)
    there = liverState(result.segmentation)
    with pytest.raises(InputError, match="edited by hand"):
        session.apply(request, found)
    assert "edited since" in session.undoObstacle(result.segmentation)
    assert "edited by hand" in session.obstacles(chosen)[1]
    several = batch.VolumeBatch(session, [volumeNode], chosen)
    assert several.prepareNext() is None and several.problems[0].reason == batch.EDITED
    assert liverState(result.segmentation) == there
    session.apply(session.prepare(chosen), found)
    assert not isLiverEdited(result.segmentation)
    session.undo(result.segmentation)
    assert liverState(result.segmentation) == there
