"""Reading a CT from MRML and writing a segment into it, on the real nodes and the real Segment Editor logic."""

from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk  # noqa: E402
from slicer.util import (  # noqa: E402
    arrayFromSegmentBinaryLabelmap,
    arrayFromVolume,
    arrayFromVolumeModified,
    updateVolumeFromArray,
    vtkMatrixFromArray,
)

from LiverGTANLib import anatomy, scene  # noqa: E402
from LiverGTANLib.segment_writer import SegmentWriter, WriteError  # noqa: E402
from LiverGTANLib.segmenter import BoxMask  # noqa: E402
from LiverGTANLib.volume import InputError  # noqa: E402

SHAPE = (20, 30, 40)
START = (4, 6, 9)

STRAIGHT = np.diag([-0.7421875, -0.7421875, 2.5, 1.0])
STRAIGHT[:3, 3] = 190.123456, 181.1, -300.0 / 7


def rotation(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix, (a, b) = np.eye(4), [n for n in range(3) if n != axis]
    matrix[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
    return matrix


SHEARED = STRAIGHT.copy()
SHEARED[1, 2] = 0.9
GEOMETRIES = {"straight": STRAIGHT, "oblique": rotation(0, 30) @ rotation(2, 7) @ STRAIGHT, "sheared": SHEARED,
              "axes swapped": STRAIGHT[:, [2, 0, 1, 3]]}


def addVolume(mrmlScene, matrix=STRAIGHT, name="CT", values=None):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(vtkMatrixFromArray(matrix))
    updateVolumeFromArray(node, np.zeros(SHAPE, np.int16) if values is None else values)
    return node


def addTransform(mrmlScene, matrix):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(vtkMatrixFromArray(matrix))
    return node


def ball(radii=(5, 9, 11), start=START) -> BoxMask:
    z, y, x = np.ogrid[tuple(slice(-r, r + 1) for r in radii)]
    voxels = ((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2 <= 1).astype(np.uint8)
    return BoxMask(voxels, start, SHAPE)


def addSegment(segmentationNode, volumeNode, name, array):
    """A person's own segment, made the way slicer.util does it."""
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment(name, name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentationNode, segmentId, volumeNode)
    return segmentId


def voxels(segmentationNode, segmentId, volumeNode):
    return arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)


@pytest.fixture
def mrmlScene(slicerHost):
    return slicerHost.scene


@pytest.fixture
def volumeNode(mrmlScene):
    return addVolume(mrmlScene)


@pytest.fixture
def segmentationNode(volumeNode):
    return scene.createSegmentation(volumeNode)


@pytest.fixture
def writer(mrmlScene):
    return SegmentWriter(mrmlScene)


# Reading


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


# Writing


@pytest.mark.parametrize("matrix", GEOMETRIES.values(), ids=GEOMETRIES)
def test_the_mask_becomes_a_proper_liver_segment(mrmlScene, writer, matrix):
    volumeNode = addVolume(mrmlScene, matrix)
    segmentationNode, mask = scene.createSegmentation(volumeNode), ball()
    segmentId = writer.write(volumeNode, mask, segmentationNode, "student-100k")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), mask.full())
    labelmap = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    assert labelmap.GetNumberOfPoints() <= mask.voxels.size  # the liver's box only
    toRas = vtkMatrixFromArray(np.eye(4))
    labelmap.GetImageToWorldMatrix(toRas)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(toRas), matrix, atol=1e-9)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    assert segment.GetName() == "liver"
    assert [round(255 * c) for c in segment.GetColor()] == [221, 130, 101]
    assert segment.GetTerminology() == anatomy.TERMINOLOGY
    entry = slicer.vtkSlicerTerminologyEntry()
    slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
    assert entry.GetTypeObject().GetCodeValue() == "10200004"
    assert entry.GetCategoryObject().GetCodeValue() == "123037004"


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


def test_one_write_is_one_undo_state(volumeNode, segmentationNode, writer):
    segmentation = segmentationNode.GetSegmentation()
    first, second = ball(), ball(radii=(3, 4, 5))
    assert not writer.canUndo(segmentationNode)
    writer.write(volumeNode, first, segmentationNode, "a")
    segmentId = writer.write(volumeNode, second, segmentationNode, "b")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), second.full())
    writer.undo()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), first.full())
    assert segmentation.GetSegment(segmentId).GetTerminology() == anatomy.TERMINOLOGY
    writer.undo()
    assert segmentation.GetNumberOfSegments() == 0 and not writer.canUndo(segmentationNode)
    writer.redo()
    writer.redo()
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), second.full())
    assert not writer.canRedo(segmentationNode)


def test_segmenting_again_replaces_only_our_segment(volumeNode, segmentationNode, writer):
    tumor = np.zeros(SHAPE, np.uint8)
    tumor[6:12, 12:20, 15:25] = 1  # inside the liver
    vessel = np.zeros(SHAPE, np.uint8)
    vessel[:, :4] = 1
    others = {addSegment(segmentationNode, volumeNode, name, array): array
              for name, array in (("tumor", tumor), ("vessel", vessel))}
    for mask in (ball(), ball(radii=(3, 4, 5)), ball(radii=(5, 9, 11), start=(0, 0, 0))):
        segmentId = writer.write(volumeNode, mask, segmentationNode, "a")
        np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), mask.full())
        for otherId, array in others.items():
            np.testing.assert_array_equal(voxels(segmentationNode, otherId, volumeNode), array, otherId)
    assert segmentationNode.GetSegmentation().GetNumberOfSegments() == 3


def test_a_persons_own_liver_is_not_ours(volumeNode, segmentationNode, writer):
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
    writer.undo()
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


# Masking as set in the Segment Editor


@pytest.fixture
def segmentEditor(mrmlScene, volumeNode, segmentationNode):
    """The application's Segment Editor node, editing our segmentation, with its default settings."""
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = mrmlScene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(segmentationNode)
    editor.SetAndObserveSourceVolumeNode(volumeNode)
    return editor


def halfOfTheScan() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[:, :, :20] = 1
    return array


def test_the_mask_segment_of_the_segment_editor_is_respected(volumeNode, segmentationNode, writer, segmentEditor):
    half = halfOfTheScan()
    halfId = addSegment(segmentationNode, volumeNode, "half", half)
    segmentEditor.SetSelectedSegmentID(halfId)
    segmentEditor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    segmentEditor.SetMaskSegmentID(halfId)
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full() & half)
    np.testing.assert_array_equal(voxels(segmentationNode, halfId, volumeNode), half)
    assert segmentEditor.GetSelectedSegmentID() == halfId  # what the person selected there stays selected
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


@pytest.mark.parametrize("mode, erased", [("OverwriteVisibleSegments", True), ("OverwriteNone", False),
                                          ("OverwriteAllSegments", False)])
def test_overwriting_other_segments_needs_an_explicit_wish(
        volumeNode, segmentationNode, writer, segmentEditor, mode, erased):
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
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, other),
                                  np.roll(ball(radii=(2, 3, 4)).full(), -3, axis=2))


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


class DeafLogic(slicer.vtkSlicerSegmentEditorLogic):
    """Does what the real logic does when it is not set up: returns and writes nothing."""

    def ModifySegmentByLabelmap(self, *_):
        pass


def test_a_silent_failure_is_noticed_and_taken_back(mrmlScene, volumeNode, segmentationNode, writer, monkeypatch):
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    monkeypatch.setattr(slicer, "vtkSlicerSegmentEditorLogic", DeafLogic)
    with pytest.raises(WriteError, match="nothing was changed"):
        SegmentWriter(mrmlScene).write(volumeNode, ball(radii=(2, 2, 2)), segmentationNode, "b")
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, volumeNode), ball().full())
    fresh = scene.createSegmentation(volumeNode)
    with pytest.raises(WriteError):
        SegmentWriter(mrmlScene).write(volumeNode, ball(), fresh, "b")
    assert fresh.GetSegmentation().GetNumberOfSegments() == 0


def test_an_older_slicer_is_told_what_it_lacks(mrmlScene, monkeypatch):
    monkeypatch.setattr(slicer, "vtkSlicerSegmentEditorLogic", None)
    with pytest.raises(WriteError, match=r"5\.10"):
        SegmentWriter(mrmlScene)
