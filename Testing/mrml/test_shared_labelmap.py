"""A liver in one label map with the user's segments, or new beside them, is written on another grid: theirs stay."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.mrml import scene
from LiverGTANLib.mrml.segment_writer import WriteError
from support.mrml_cases import (
    SHAPE,
    STRAIGHT,
    addSegment,
    addSegmentEditor,
    addVolume,
    ball,
    mrmlScene,
    segmentationNode,
    volumeNode,
    voxels,
    writer,
)

EVERYWHERE = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
OUTSIDE_ALL = slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments


def drawn() -> dict[str, np.ndarray]:
    """Small segments of the user beside both livers, also by the indices of their voxels, which Slicer compares."""
    arrays = {name: np.zeros(SHAPE, np.uint8) for name in ("tumor", "vessel")}
    arrays["tumor"][17:19, 27:29, 36:38] = 1
    arrays["vessel"][15, 26, 3:33] = 1
    return arrays


@pytest.fixture(params=[(1.7, 2.3, 1.4), (0.7, 0.6, 0.45)], ids=["larger voxels", "smaller voxels"])
def otherCt(request, mrmlScene):
    """Another CT of the same place, on another grid."""
    shape = np.ceil(np.array(SHAPE) / request.param[::-1]).astype(int)
    return addVolume(mrmlScene, STRAIGHT @ np.diag([*request.param, 1.0]), "other", np.zeros(shape, np.int16))


@pytest.fixture
def otherMask(otherCt) -> BoxMask:
    """What is found in the other CT: all but its rim, where the user drew."""
    shape = otherCt.GetImageData().GetDimensions()[::-1]
    box = tuple(slice(n // 3, 2 * n // 3) for n in shape)
    return BoxMask(np.ones([part.stop - part.start for part in box], np.uint8), tuple(p.start for p in box), shape)


def reloaded(segmentationNode, folder):
    """What Slicer saves and loads again: segments that do not overlap come back in one label map."""
    path, mrmlScene = str(folder / "liver.seg.nrrd"), segmentationNode.GetScene()
    loaded = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loaded")
    for node in (segmentationNode, loaded):
        storage = node.CreateDefaultStorageNode()
        mrmlScene.AddNode(storage)
        storage.SetFileName(path)
        assert storage.WriteData(node) if node is segmentationNode else storage.ReadData(node)
    loaded.CreateDefaultDisplayNodes()
    return loaded


@pytest.fixture(params=["collapsed", "reloaded", "without a liver"])
def shared(request, volumeNode, segmentationNode, writer, tmp_path):
    """A segmentation whose segments share a label map, the liver as the first of them, if it is there."""
    if request.param != "without a liver":
        writer.write(volumeNode, ball(), segmentationNode, "a")
    for name, array in drawn().items():
        addSegment(segmentationNode, volumeNode, name, array)
    segmentationNode.GetSegmentation().CollapseBinaryLabelmaps(False)
    node = reloaded(segmentationNode, tmp_path) if request.param == "reloaded" else segmentationNode
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    return node


def states(node) -> dict[str, str]:
    """The voxels of each segment and where they lie, by its name."""
    segmentation = node.GetSegmentation()
    return {s.GetName(): scene.voxelState(s) for s in map(segmentation.GetSegment, segmentation.GetSegmentIDs())}


@pytest.mark.parametrize("mode", [EVERYWHERE, OUTSIDE_ALL], ids=["everywhere", "outside all"])
def test_the_users_segments_and_the_liver_are_what_they_are_in_label_maps_of_their_own(
    volumeNode, otherCt, otherMask, shared, writer, mode
):
    addSegmentEditor(otherCt, shared).SetMaskMode(mode)
    shared.SetReferenceImageGeometryParameterFromVolumeNode(otherCt)
    before = states(shared)
    segmentId = writer.write(otherCt, otherMask, shared, "a")
    np.testing.assert_array_equal(voxels(shared, segmentId, otherCt), otherMask.full())
    after = states(shared)
    for name, array in drawn().items():
        assert after[name] == before[name]
        mine = shared.GetSegmentation().GetSegmentIdBySegmentName(name)
        np.testing.assert_array_equal(voxels(shared, mine, volumeNode), array)
    history = writer.historyOf(shared)
    for move, expected in ((history.undo, before), (history.redo, after), (history.undo, before)):
        assert move() == [] and states(shared) == expected


def test_what_masking_protects_of_a_liver_on_another_grid_stays_where_it_was(
    volumeNode, otherCt, otherMask, segmentationNode, writer
):
    own = np.zeros(SHAPE, np.uint8)
    own[:, :, 20:] = 1
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    ownId = addSegment(segmentationNode, volumeNode, "own", own)
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(otherCt)
    before, protected = (voxels(segmentationNode, one, otherCt) for one in (segmentId, ownId))
    addSegmentEditor(otherCt, segmentationNode).SetMaskMode(OUTSIDE_ALL)
    writer.write(otherCt, otherMask, segmentationNode, "a")
    expected = np.where(protected > 0, before, otherMask.full())
    np.testing.assert_array_equal(voxels(segmentationNode, segmentId, otherCt), expected)
    np.testing.assert_array_equal(voxels(segmentationNode, ownId, volumeNode), own)


@pytest.mark.parametrize("mode", [EVERYWHERE, OUTSIDE_ALL], ids=["everywhere", "outside all"])
def test_overwriting_segments_of_another_grid_is_refused_as_slicer_would_change_all_of_them(
    otherCt, otherMask, shared, writer, mode
):
    editor = addSegmentEditor(otherCt, shared)
    editor.SetOverwriteMode(editor.OverwriteVisibleSegments)
    editor.SetMaskMode(mode)
    shared.SetReferenceImageGeometryParameterFromVolumeNode(otherCt)
    before = states(shared)
    with pytest.raises(WriteError, match=r"'tumor', 'vessel'.*Allow overlap.*try again"):
        writer.write(otherCt, otherMask, shared, "a")
    assert states(shared) == before
    for name in drawn():  # what is hidden is not overwritten
        mine = shared.GetSegmentation().GetSegmentIdBySegmentName(name)
        shared.GetDisplayNode().SetSegmentVisibility(mine, False)
    writer.write(otherCt, otherMask, shared, "a")
    assert {name: states(shared)[name] for name in drawn()} == {name: before[name] for name in drawn()}
