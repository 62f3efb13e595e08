"""Masks become segments through the real Segment Editor logic: exact, undoable, and with no harm to others."""

from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk

from LiverGTANLib.core import terminology
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.mrml import scene
from LiverGTANLib.mrml.segment_writer import SegmentWriter, WriteError
from support.mrml_cases import (
    GEOMETRIES,
    SHAPE,
    START,
    STRAIGHT,
    NoOpLogic,
    addSegment,
    addSegmentEditor,
    addTransform,
    addVolume,
    ball,
    halfOfTheScan,
    mrmlScene,
    segmentationNode,
    volumeNode,
    voxels,
    writer,
)


@pytest.mark.parametrize("matrix", GEOMETRIES.values(), ids=GEOMETRIES)
def test_the_mask_becomes_a_proper_liver_segment(mrmlScene, writer, matrix):
    volumeNode = addVolume(mrmlScene, matrix)
    segmentationNode, mask = scene.createSegmentation(volumeNode), ball()
    segmentId = writer.write(volumeNode, mask, segmentationNode, "student-100k")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), mask.full())
    labelmap = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    assert labelmap.GetNumberOfPoints() <= mask.voxels.size  # the liver's box only
    toRas = slicer.util.vtkMatrixFromArray(np.eye(4))
    labelmap.GetImageToWorldMatrix(toRas)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(toRas), matrix, atol=1e-9)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    assert segment.GetName() == "liver"
    assert [round(255 * c) for c in segment.GetColor()] == [221, 130, 101]
    assert segment.GetTerminology() == terminology.TERMINOLOGY
    entry = slicer.vtkSlicerTerminologyEntry()
    slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
    assert entry.GetTypeObject().GetCodeValue() == "10200004"
    assert entry.GetCategoryObject().GetCodeValue() == "123037004"


def test_one_write_is_one_undo_state(volumeNode, segmentationNode, writer):
    segmentation = segmentationNode.GetSegmentation()
    first, second = ball(), ball(radii=(3, 4, 5))
    assert writer.historyOf(segmentationNode) is None
    writer.write(volumeNode, first, segmentationNode, "a")
    segmentId = writer.write(volumeNode, second, segmentationNode, "b")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), second.full())
    writer.historyOf(segmentationNode).undo()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), first.full())
    assert segmentation.GetSegment(segmentId).GetTerminology() == terminology.TERMINOLOGY
    writer.historyOf(segmentationNode).undo()
    assert segmentation.GetNumberOfSegments() == 0 and writer.historyOf(segmentationNode).undoObstacle
    writer.historyOf(segmentationNode).redo()
    writer.historyOf(segmentationNode).redo()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), second.full())
    assert writer.historyOf(segmentationNode).redoObstacle


def test_a_mask_is_copied_into_the_segments_own_label_map_and_known_to_all(
    mrmlScene, volumeNode, segmentationNode, tmp_path
):
    """The logic takes several times as long; what watches the segmentation, draws or saves it hears of it the same."""
    writer = SegmentWriter(mrmlScene, NoOpLogic)
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    labelmap = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    heard = []
    segmentation = segmentationNode.GetSegmentation()
    for event in (segmentation.SourceRepresentationModified, segmentation.RepresentationModified):
        segmentation.AddObserver(event, lambda *_, event=event: heard.append(event))
    segmentationNode.AddDefaultStorageNode()
    segmentationNode.GetStorageNode().SetFileName(str(tmp_path / "liver.seg.nrrd"))
    assert segmentationNode.GetStorageNode().WriteData(segmentationNode)
    assert not segmentationNode.GetModifiedSinceRead()
    smaller = ball(radii=(3, 4, 5), start=(5, 8, 12))
    writer.write(volumeNode, smaller, segmentationNode, "a")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.GetSegmentStatus(segmentation.GetSegment(segmentId)) == logic.InProgress
    assert segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId) is labelmap
    assert len(set(heard)) == 2 and segmentationNode.GetModifiedSinceRead()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), smaller.full())
    writer.historyOf(segmentationNode).undo()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full())
    writer.historyOf(segmentationNode).redo()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), smaller.full())


def test_segmenting_again_replaces_only_our_segment(volumeNode, segmentationNode, writer):
    tumor = np.zeros(SHAPE, np.uint8)
    tumor[6:12, 12:20, 15:25] = 1  # inside the liver
    vessel = np.zeros(SHAPE, np.uint8)
    vessel[:, :4] = 1
    others = {
        addSegment(segmentationNode, volumeNode, name, array): array
        for name, array in (("tumor", tumor), ("vessel", vessel))
    }
    for mask in (ball(), ball(radii=(3, 4, 5)), ball(radii=(5, 9, 11), start=(0, 0, 0))):
        segmentId = writer.write(volumeNode, mask, segmentationNode, "a")
        np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), mask.full())
        for otherId, array in others.items():
            np.testing.assert_array_equal(voxels(segmentationNode, otherId, volumeNode), array, otherId)
    assert segmentationNode.GetSegmentation().GetNumberOfSegments() == 3


def test_a_users_own_liver_is_not_ours(volumeNode, segmentationNode, writer):
    own = ball(radii=(2, 2, 2)).full()
    ownId = addSegment(segmentationNode, volumeNode, "liver", own)
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    assert segmentId != ownId
    assert segmentationNode.GetSegmentation().GetSegment(segmentId).GetName() == "liver (LiverGTAN)"
    np.testing.assert_array_equal(voxels(segmentationNode, ownId, volumeNode), own)


def test_our_segment_is_known_again_from_a_file(mrmlScene, volumeNode, segmentationNode, writer, tmp_path):
    writer.write(volumeNode, ball(), segmentationNode, "student-30k")
    storage = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "liver.seg.nrrd"))
    assert storage.WriteData(segmentationNode)
    loaded = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(loaded)
    segmentId, smaller = scene.liverSegmentId(loaded), ball(radii=(2, 5, 5))
    assert segmentId and writer.write(volumeNode, smaller, loaded, "student-30k") == segmentId
    np.testing.assert_array_equal(voxels(loaded, segmentId, volumeNode), smaller.full())


def test_an_empty_mask_empties_the_segment(volumeNode, segmentationNode, writer):
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    empty = BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), SHAPE)
    writer.write(volumeNode, empty, segmentationNode, "a")
    assert not voxels(segmentationNode, segmentId, volumeNode).any()
    writer.historyOf(segmentationNode).undo()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full())


def test_undo_of_an_open_segment_editor_knows_the_write(volumeNode, segmentationNode, writer, monkeypatch):
    """The Segment Editor's panel has a history of its own. A stand-in for it: it needs the desktop application."""

    class Editor:
        saved = 0

        def segmentationNode(self):
            return segmentationNode

        def saveStateForUndo(self):
            assert scene.liverSegmentId(segmentationNode) == ""  # before anything changes
            self.saved += 1

    editor = Editor()
    monkeypatch.setattr(slicer.modules, "SegmentEditorWidget", SimpleNamespace(editor=editor), raising=False)
    writer.write(volumeNode, ball(), segmentationNode, "a")
    writer.write(volumeNode, ball(), scene.createSegmentation(volumeNode), "a")  # another one: not its business
    assert editor.saved == 1


# Segmentations that were there before


def test_an_empty_segmentation_takes_the_grid_of_the_volume(mrmlScene, volumeNode, writer):
    segmentationNode = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    assert scene.referenceVolume(segmentationNode) == volumeNode
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full())


def test_a_segmentation_drawn_on_another_grid_keeps_it(mrmlScene, volumeNode, writer):
    shift = np.eye(4)
    shift[:3, 3] = STRAIGHT[0, 0] * 3, 0, 0
    other = addVolume(mrmlScene, shift @ STRAIGHT, "other")
    segmentationNode = scene.createSegmentation(other)
    half = halfOfTheScan()
    halfId = addSegment(segmentationNode, other, "half", half)
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    assert scene.referenceVolume(segmentationNode) == other
    np.testing.assert_array_equal(voxels(segmentationNode, halfId, other), half)
    moved = np.roll(ball().full(), -3, axis=2)
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, other), moved)
    writer.write(volumeNode, ball(radii=(2, 3, 4)), segmentationNode, "a")
    np.testing.assert_array_equal(
        voxels(segmentationNode, segmentId, other), np.roll(ball(radii=(2, 3, 4)).full(), -3, axis=2)
    )


def test_another_parent_transform_is_taken_into_account(mrmlScene, volumeNode, segmentationNode, writer):
    move = np.eye(4)
    move[:3, 3] = STRAIGHT[0, 0] * 2, 0, STRAIGHT[2, 2]
    segmentationNode.SetAndObserveTransformNodeID(addTransform(mrmlScene, move).GetID())
    addSegment(segmentationNode, None, "other", np.ones(SHAPE, np.uint8))
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    # In the segmentation's own, moved coordinates the liver lies two columns and one slice earlier.
    held = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentationNode, segmentId)
    extent = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId).GetExtent()
    value = segmentationNode.GetSegmentation().GetSegment(segmentId).GetLabelValue()
    first = [int(indices.min()) + extent[2 * n] for n, indices in zip((2, 1, 0), np.nonzero(held == value))]
    assert first == [START[0] - 1, START[1], START[2] - 2]


def test_a_segmentation_of_surfaces_is_refused(mrmlScene, volumeNode, writer):
    segmentationNode = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "printed")
    segmentationNode.SetSourceRepresentationToClosedSurface()
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    segmentationNode.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "sphere")
    with pytest.raises(WriteError, match="surfaces"):
        writer.write(volumeNode, ball(), segmentationNode, "a")
    assert segmentationNode.GetSegmentation().GetNumberOfSegments() == 1


def test_the_3d_view_stays_on_and_follows(volumeNode, segmentationNode, writer):
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    segmentationNode.CreateClosedSurfaceRepresentation()
    surface, bounds = vtk.vtkPolyData(), []
    for mask in (ball(), ball(radii=(2, 3, 4))):
        writer.write(volumeNode, mask, segmentationNode, "a")
        assert segmentationNode.GetClosedSurfaceRepresentation(segmentId, surface)
        bounds.append(np.ptp(np.reshape(surface.GetBounds(), (3, 2)), axis=1))
    assert (bounds[1] < 0.6 * bounds[0]).all()


# When Slicer cannot do it


def test_a_silent_failure_is_noticed_and_taken_back(mrmlScene, volumeNode, segmentationNode, writer):
    """Of the logic, which writes where other segments are to be overwritten."""
    fresh, corner = scene.createSegmentation(volumeNode), np.zeros(SHAPE, np.uint8)
    corner[:2, :2] = 1
    for node in (segmentationNode, fresh):
        addSegment(node, volumeNode, "corner", corner)
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    segmentationNode.GetSegmentation().CollapseBinaryLabelmaps(False)
    editor = addSegmentEditor(volumeNode, segmentationNode)
    editor.SetOverwriteMode(editor.OverwriteVisibleSegments)
    with pytest.raises(WriteError, match="nothing was changed"):
        SegmentWriter(mrmlScene, NoOpLogic).write(volumeNode, ball(start=(0, 0, 0)), segmentationNode, "b")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full())
    editor.SetAndObserveSegmentationNode(fresh)
    with pytest.raises(WriteError, match="nothing was changed"):
        SegmentWriter(mrmlScene, NoOpLogic).write(volumeNode, ball(), fresh, "b")
    assert fresh.GetSegmentation().GetNumberOfSegments() == 1


def test_an_older_slicer_is_told_what_it_lacks(mrmlScene):
    with pytest.raises(WriteError, match=r"5\.10"):
        SegmentWriter(mrmlScene, None)
