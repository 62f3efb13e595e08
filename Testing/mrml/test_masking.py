"""What the user has set under Masking in the Segment Editor holds for our writing too."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from slicer.util import updateSegmentBinaryLabelmapFromArray, updateVolumeFromArray

from LiverGTANLib.mrml import scene, self_test, table
from LiverGTANLib.mrml.scene import isLiverEdited
from support.module_fixtures import logic, students
from support.mrml_cases import (
    SHAPE,
    addSegment,
    addSegmentEditor,
    ball,
    halfOfTheScan,
    mrmlScene,
    segmentationNode,
    volumeNode,
    voxels,
    writer,
)


@pytest.fixture
def segmentEditor(volumeNode, segmentationNode):
    return addSegmentEditor(volumeNode, segmentationNode)


def test_the_mask_segment_of_the_segment_editor_is_respected(volumeNode, segmentationNode, writer, segmentEditor):
    half = halfOfTheScan()
    halfId = addSegment(segmentationNode, volumeNode, "half", half)
    segmentEditor.SetSelectedSegmentID(halfId)
    segmentEditor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    segmentEditor.SetMaskSegmentID(halfId)
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full() & half)
    np.testing.assert_array_equal(voxels(segmentationNode, halfId, volumeNode), half)
    assert segmentEditor.GetSelectedSegmentID() == halfId  # what the user selected there stays selected
    smaller = ball(radii=(1, 1, 1), start=(0, 0, 30))  # outside the mask: nothing there may change
    segmentEditor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    before = voxels(segmentationNode, segmentId, volumeNode)
    writer.write(volumeNode, smaller, segmentationNode, "a")
    after = voxels(segmentationNode, segmentId, volumeNode)
    np.testing.assert_array_equal(after[half > 0], before[half > 0])
    np.testing.assert_array_equal(after[half == 0], smaller.full()[half == 0])


def test_the_intensity_range_of_the_segment_editor_is_respected(volumeNode, segmentationNode, writer, segmentEditor):
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    updateVolumeFromArray(volumeNode, values)
    segmentEditor.SetSourceVolumeIntensityMask(True)
    segmentEditor.SetSourceVolumeIntensityMaskRange(8000, 14000)
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    allowed = (values >= 8000) & (values <= 14000)
    assert 0 < (ball().full() & allowed).sum() < ball().full().sum()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full() & allowed)


@pytest.mark.parametrize(
    "mode, erased", [("OverwriteVisibleSegments", True), ("OverwriteNone", False), ("OverwriteAllSegments", False)]
)
def test_overwriting_other_segments_must_be_asked_for(
    volumeNode, segmentationNode, writer, segmentEditor, mode, erased
):
    half = halfOfTheScan()
    halfId = addSegment(segmentationNode, volumeNode, "half", half)
    assert segmentEditor.GetOverwriteMode() == segmentEditor.OverwriteAllSegments  # the untouched default
    segmentEditor.SetOverwriteMode(getattr(segmentEditor, mode))
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full())
    expected = half & ~ball().full() & 1 if erased else half
    np.testing.assert_array_equal(voxels(segmentationNode, halfId, volumeNode), expected)


def test_masking_set_for_another_segmentation_does_not_matter(volumeNode, segmentationNode, writer, segmentEditor):
    segmentEditor.SetAndObserveSegmentationNode(scene.createSegmentation(volumeNode))
    segmentEditor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)
    segmentEditor.SetSourceVolumeIntensityMask(True)
    segmentEditor.SetSourceVolumeIntensityMaskRange(1, 2)
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full())


@pytest.fixture
def overwriting(segmentEditor):
    segmentEditor.SetOverwriteMode(segmentEditor.OverwriteVisibleSegments)


def test_undo_brings_back_what_the_write_took_from_another_segment(volumeNode, segmentationNode, writer, overwriting):
    half, own = halfOfTheScan(), np.zeros(SHAPE, np.uint8)
    own[:2] = 1  # where no liver is
    halfId = addSegment(segmentationNode, volumeNode, "half", half)
    writer.write(volumeNode, ball(), segmentationNode, "a")
    history = writer.historyOf(segmentationNode)
    ownId = addSegment(segmentationNode, volumeNode, "own", own)
    for move, expected in ((history.undo, half), (history.redo, half & ~ball().full() & 1)):
        assert move() == []
        np.testing.assert_array_equal(voxels(segmentationNode, halfId, volumeNode), expected)
        np.testing.assert_array_equal(voxels(segmentationNode, ownId, volumeNode), own)


def test_another_segment_that_was_edited_since_is_left_and_named(volumeNode, segmentationNode, writer, overwriting):
    halfId = addSegment(segmentationNode, volumeNode, "half", halfOfTheScan())
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    edited = voxels(segmentationNode, halfId, volumeNode)
    edited[:3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentationNode, halfId, volumeNode)
    history = writer.historyOf(segmentationNode)
    for move, present in ((history.undo, False), (history.redo, True)):
        assert move() == ["half"]
        np.testing.assert_array_equal(voxels(segmentationNode, halfId, volumeNode), edited)
        assert (segmentationNode.GetSegmentation().GetSegment(segmentId) is not None) == present


def test_work_by_hand_that_masking_protects_stays_known_as_such(volumeNode, segmentationNode, writer, segmentEditor):
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    drawn = ball().full().copy()
    half = halfOfTheScan()
    drawn[half > 0] = 0
    updateSegmentBinaryLabelmapFromArray(drawn, segmentationNode, segmentId, volumeNode)
    assert isLiverEdited(segmentationNode)
    otherHalf = addSegment(segmentationNode, volumeNode, "other half", 1 - half)
    segmentEditor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    segmentEditor.SetMaskSegmentID(otherHalf)
    writer.write(volumeNode, ball(radii=(2, 2, 2)), segmentationNode, "a")
    assert not voxels(segmentationNode, segmentId, volumeNode)[half > 0].any()  # as it was drawn
    assert isLiverEdited(segmentationNode)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    origin = vtk.reference("")
    assert segment.GetTag(scene.ALGORITHM_TYPE_TAG, origin) and origin == "SEMIAUTOMATIC"  # in a DICOM segmentation
    segmentEditor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    writer.write(volumeNode, ball(), segmentationNode, "a")
    assert not isLiverEdited(segmentationNode)


def test_scripts_are_told_that_masking_left_nothing(logic):
    volumeNode, _ = self_test.addPhantom(spacingMm=(4.0, 4.0, 3.0))
    found = logic.process(volumeNode)
    logic.session.undo()
    editor = addSegmentEditor(volumeNode, found.segmentation)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)
    for _time in (1, 2):  # the second time the segment is there, and has no voxels
        result = logic.process(volumeNode, found.segmentation)
        assert result.masked and result.volumeMl == 0
        (told,) = result.remarks
        assert "masking left" in told and f"{found.volumeMl:.0f} mL" in told and told in repr(result)
        assert told in table.read(result.tableNode, result.segmentation)["Hint"]
    logic.session.undo(found.segmentation)
    logic.session.undo(found.segmentation)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    assert logic.process(volumeNode, found.segmentation).volumeMl == found.volumeMl
