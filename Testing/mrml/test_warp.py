"""Volumes under a transform that bends space: true volumes and places, whatever lies under which transform."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from slicer.util import arrayFromVolume, updateVolumeFromArray, vtkMatrixFromArray

from LiverGTANLib.core import measurements
from LiverGTANLib.core.postprocess import PostprocessSettings
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import points, roi, scene, self_test, table
from LiverGTANLib.mrml.segment_writer import WriteError
from LiverGTANLib.mrml.warp import Warp
from support.module_fixtures import logic, students
from support.mrml_cases import addSegment, addSlicePositions, addTransform, addVolume, addWarp, mrmlScene, rotation

pytestmark = pytest.mark.slow

DENSE = 45
"""Slices of the phantom up to this one lie 3 mm apart, of the others only every third is there."""


@pytest.fixture
def straight(logic):
    """The phantom with all of its slices."""
    return self_test.addPhantom("Straight", (4.0, 4.0, 3.0))[0]


def unequal(straight):
    """The phantom with fewer slices in its upper part, under a transform that puts them where they are."""
    array = arrayFromVolume(straight)
    kept = np.r_[np.arange(DENSE), np.arange(DENSE, len(array), 3)]
    node = addVolume(straight.GetScene(), scene.ijkToLocal(straight), "Unequal", array[kept])
    addSlicePositions(node, 3.0 * kept)
    return node


def bent(mrmlScene, factor: float = 0.0008):
    """A transform that stretches the upper part along z and shears it along x."""
    return addWarp(mrmlScene, lambda ras: np.c_[0.05 * ras[:, 2], 0 * ras[:, 0], factor * ras[:, 2] * abs(ras[:, 2])])


def worldPlaces(segmentationNode) -> np.ndarray:
    """(N, 3) RAS mm of the liver's voxels, through every transform, by the node's own labelmap."""
    labelmap = segmentationNode.GetBinaryLabelmapInternalRepresentation(scene.liverSegmentId(segmentationNode))
    kji = np.argwhere(scene.labelmapArray(labelmap)) + np.array(labelmap.GetExtent()[::2])[::-1]
    local = kji[:, ::-1] @ scene.imageToWorld(labelmap)[:3, :3].T + scene.imageToWorld(labelmap)[:3, 3]
    parent, through = segmentationNode.GetParentTransformNode(), vtk.vtkGeneralTransform()
    if parent:
        parent.GetTransformToWorld(through)
    return np.array([through.TransformPoint(*point) for point in local[::7]])


def inVolume(places, volumeNode) -> np.ndarray:
    """HU of a volume at places of the world (nearest voxel)."""
    parent, through = volumeNode.GetParentTransformNode(), vtk.vtkGeneralTransform()
    if parent:
        parent.GetTransformFromWorld(through)
    local = np.array([through.TransformPoint(*point) for point in places])
    inverse = np.linalg.inv(scene.ijkToLocal(volumeNode))
    ijk = np.rint(local @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    return arrayFromVolume(volumeNode)[tuple(ijk.T[::-1])]


def assertOnLiver(segmentationNode, volumeNode) -> None:
    """The segment lies on the voxels that have the liver's HU."""
    hu = inVolume(worldPlaces(segmentationNode), volumeNode)
    assert (abs(hu - 110.0) < 40).mean() > 0.97


def findings(logic, volumeNode) -> tuple[str, str]:
    logic.getParameterNode().inputVolume = volumeNode
    from LiverGTANLib.mrml import parameters

    return logic.session.obstacles(parameters.read(logic.getParameterNode()))


# Numbers


def test_volume_and_hu_of_unequal_slices_are_those_of_the_patient(logic, straight):
    expected, volumeNode = logic.process(straight), unequal(straight)
    result = logic.process(volumeNode)
    assert result.volumeMl == pytest.approx(expected.volumeMl, rel=0.03)
    assert (result.interval is None) == (expected.interval is None)  # this student's is of no use
    assert result.attenuation.mean_hu == pytest.approx(expected.attenuation.mean_hu, abs=2)
    assert result.segmentation.GetParentTransformNode() == volumeNode.GetParentTransformNode()
    assertOnLiver(result.segmentation, volumeNode)
    row = dict(zip(table.rows(logic.table())[0], table.rows(logic.table())[-1]))
    assert float(row["Liver [mL]"]) == pytest.approx(expected.volumeMl, rel=0.03)


def test_a_warp_under_a_scaled_and_turned_transform_counts_as_both(logic, straight):
    volumeNode = unequal(straight)
    plain = logic.process(volumeNode)
    larger = rotation(2, 8) @ np.diag([1.1, 1.1, 1.1, 1.0])
    above = addTransform(slicer.mrmlScene, larger)
    volumeNode.GetParentTransformNode().SetAndObserveTransformNodeID(above.GetID())
    result = logic.process(volumeNode, plain.segmentation)
    assert result.volumeMl == pytest.approx(1.1**3 * plain.volumeMl, rel=0.02)
    assertOnLiver(result.segmentation, volumeNode)


def test_a_linear_transform_that_scales_and_shears_is_measured_exactly(logic, straight):
    matrix = np.diag([1.05, 0.95, 1.02, 1.0])
    matrix[0, 1] = 0.02
    straight.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, matrix).GetID())
    result = logic.process(straight)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, result.segmentId, straight)
    assert result.volumeMl == pytest.approx(mask.sum() * 48 / 1000 * np.linalg.det(matrix[:3, :3]))


def test_what_the_masking_left_of_a_warped_liver_is_measured_where_it_is(logic, straight):
    volumeNode = unequal(straight)
    whole = logic.process(volumeNode)
    sparse = np.zeros(arrayFromVolume(volumeNode).shape, np.uint8)
    sparse[DENSE:] = 1
    segmentId = addSegment(whole.segmentation, volumeNode, "sparse", sparse)
    whole.segmentation.GetSegmentation().RemoveSegment(whole.segmentId)
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = slicer.mrmlScene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(whole.segmentation)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID(segmentId)
    above = logic.process(volumeNode, whole.segmentation)
    assert above.masked
    voxels = scene.segmentVoxels(above.segmentation.GetSegmentation().GetSegment(above.segmentId))
    assert above.volumeMl == pytest.approx(voxels * 144 / 1000, rel=0.03)  # the first of these slices is thinner


def test_voxel_volumes_follow_the_slices(logic, straight):
    volumeNode = unequal(straight)
    volumes = Warp.of(volumeNode).voxelVolumes
    k = np.array([1, DENSE - 2, DENSE + 2, DENSE + 10])
    np.testing.assert_allclose(volumes.at(k, k, k), [0.048, 0.048, 0.144, 0.144], rtol=1e-6)
    whole = np.ones(arrayFromVolume(volumeNode).shape, np.uint8)
    slices = 3.0 * (DENSE + 3 * (len(whole) - DENSE)) - 3 - 3  # half a slice more at each end, 3 mm wide
    assert volumes.sum_ml(whole, (0, 0, 0)) == pytest.approx(whole[0].size * 16 * slices / 1000, rel=0.01)


# Where the mask goes


@pytest.mark.parametrize("where", ["nowhere", "linear", "another warp", "the warp's parent"])
def test_an_output_outside_of_the_warp_holds_the_mask_where_the_scan_is(logic, straight, where):
    volumeNode, mrmlScene = unequal(straight), slicer.mrmlScene
    segmentationNode = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    above = addTransform(mrmlScene, rotation(0, 4))
    if where == "the warp's parent":
        volumeNode.GetParentTransformNode().SetAndObserveTransformNodeID(above.GetID())
    parent = {"nowhere": None, "linear": above, "another warp": bent(mrmlScene), "the warp's parent": above}[where]
    segmentationNode.SetAndObserveTransformNodeID(parent and parent.GetID())
    result = logic.process(volumeNode, segmentationNode)
    assertOnLiver(segmentationNode, volumeNode)
    inPlace = logic.process(volumeNode)
    ownMl = _ml(segmentationNode)
    assert ownMl == pytest.approx(inPlace.volumeMl, rel=0.02)
    assert result.volumeMl == pytest.approx(inPlace.volumeMl, rel=0.005)  # of what was written on its grid
    assert scene.referenceVolume(segmentationNode) == volumeNode


def _ml(segmentationNode) -> float:
    """Volume of the segment by its own label map, in the world."""
    segmentId = scene.liverSegmentId(segmentationNode)
    labelmap = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    if scene.isWarped(segmentationNode):
        return Warp.ofLabelmap(segmentationNode, labelmap).voxelVolumes.sum_ml(scene.labelmapArray(labelmap), (0, 0, 0))
    voxels = scene.segmentVoxels(segmentationNode.GetSegmentation().GetSegment(segmentId))
    return voxels * measurements.voxel_ml(scene.localToWorld(segmentationNode) @ scene.imageToWorld(labelmap))


def test_only_the_segmentation_is_warped(logic, straight):
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.SetAndObserveTransformNodeID(bent(slicer.mrmlScene).GetID())
    result = logic.process(straight, segmentationNode)
    assertOnLiver(segmentationNode, straight)
    assert _ml(segmentationNode) == pytest.approx(result.volumeMl, rel=0.02)


def test_an_output_with_segments_of_its_own_grid_gets_the_mask_on_that_grid(logic, straight):
    volumeNode = unequal(straight)
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(straight)
    tumor = np.zeros(arrayFromVolume(straight).shape, np.uint8)
    tumor[10:14, 20:30, 20:30] = 1
    tumorId = addSegment(segmentationNode, straight, "tumor", tumor)
    result = logic.process(volumeNode, segmentationNode)
    assertOnLiver(segmentationNode, volumeNode)
    assert _ml(segmentationNode) == pytest.approx(result.volumeMl, rel=0.02)
    assert scene.referenceVolume(segmentationNode) == straight
    kept = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, tumorId, straight)
    np.testing.assert_array_equal(kept, tumor)
    logic.session.undo()
    assert not scene.liverSegmentId(segmentationNode)


def test_the_same_warp_with_a_linear_one_between_moves_the_mask_exactly(logic, straight):
    volumeNode = unequal(straight)
    between = addTransform(slicer.mrmlScene, rotation(2, 5))
    between.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.SetAndObserveTransformNodeID(between.GetID())
    logic.process(volumeNode, segmentationNode)
    assertOnLiver(segmentationNode, volumeNode)


# ROI and points


def halfRoi(volumeNode, result):
    """An ROI along the slices that holds the upper half of the liver, from the middle between two sparse slices on."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.fit(node, volumeNode, result.segmentation)
    x, y, _ = node.GetCenterWorld()
    floor = volumeNode.GetOrigin()[2] + 3 * (DENSE + 4.5)
    node.SetCenterWorld(x, y, floor + node.GetSize()[2] / 2)
    return node


def test_an_roi_along_the_slices_cuts_where_it_is_seen(logic, straight):
    volumeNode = unequal(straight)
    expected = logic.process(straight)
    whole = logic.process(volumeNode)
    roiNode = halfRoi(volumeNode, whole)
    half = logic.process(volumeNode, whole.segmentation, region=roiNode)
    straightHalf = logic.process(straight, expected.segmentation, region=roiNode)
    assert half.volumeMl == pytest.approx(straightHalf.volumeMl, rel=0.05)
    assert half.share == pytest.approx(straightHalf.share, abs=0.05)  # counted in cells
    floor = roiNode.GetCenterWorld()[2] - roiNode.GetSize()[2] / 2
    places = worldPlaces(half.segmentation)
    assert places[:, 2].min() == pytest.approx(floor + 4.5)  # the next slice


def test_a_new_roi_holds_the_warped_liver_and_without_one_the_scan(logic, straight):
    volumeNode = unequal(straight)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.fit(node, volumeNode, None)
    assert node.GetSize()[2] == pytest.approx(3.0 * len(arrayFromVolume(straight)), abs=6.1)
    result = logic.process(volumeNode)
    roi.fit(node, volumeNode, result.segmentation)
    inside = logic.process(volumeNode, result.segmentation, region=node)
    assert inside.volumeMl == pytest.approx(result.volumeMl) and inside.share == pytest.approx(1, abs=0.001)


def test_an_roi_that_the_transform_bends_is_refused_with_a_sentence(logic, straight):
    volumeNode = unequal(straight)
    result = logic.process(volumeNode)
    roiNode = halfRoi(volumeNode, result)
    toNode = vtkMatrixFromArray(scene.arrayFromVTKMatrix(roiNode.GetObjectToNodeMatrix()) @ rotation(0, 30))
    roiNode.SetAndObserveObjectToNodeMatrix(toNode)
    with pytest.raises(InputError, match=r"bends the ROI.*harden the transform"):
        logic.process(volumeNode, result.segmentation, region=roiNode)
    assert logic.session.current is result


def test_an_roi_under_the_warp_cuts_where_it_is_seen_and_comes_back_by_undo(logic, straight):
    volumeNode = unequal(straight)
    whole = logic.process(volumeNode)
    roiNode = halfRoi(volumeNode, whole)
    seen = np.array(roiNode.GetCenterWorld())
    region = roi.readRegion(roiNode)
    roiNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    assert not np.allclose(roiNode.GetCenterWorld(), seen)  # it moved with the transform
    roi.writeRegion(roiNode, region)
    again = roi.readRegion(roiNode)
    np.testing.assert_allclose(again.object_to_ras, region.object_to_ras, atol=0.05)
    half = logic.process(volumeNode, whole.segmentation, region=roiNode)
    roiNode.SetAndObserveTransformNodeID(None)
    roi.writeRegion(roiNode, region)
    assert half.volumeMl == pytest.approx(
        logic.process(volumeNode, whole.segmentation, region=roiNode).volumeMl, rel=0.01
    )


@pytest.mark.parametrize("underWarp", [False, True], ids=["in the world", "under the warp"])
def test_a_point_takes_out_the_place_where_it_is_seen(logic, straight, underWarp):
    volumeNode = unequal(straight)
    result = logic.process(volumeNode)
    places = worldPlaces(result.segmentation)
    top = places[places[:, 2] > np.quantile(places[:, 2], 0.9)]
    place = top[len(top) // 2]
    node = points.create(volumeNode, False)
    if underWarp:
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.AddControlPointWorld(vtk.vtkVector3d(*place))
    corrected = logic.process(volumeNode, result.segmentation, notLiverPoints=node)
    left = worldPlaces(corrected.segmentation)
    assert corrected.volumeMl < result.volumeMl
    assert np.linalg.norm(left - place, axis=1).min() > 2
    assert corrected.request.asked.clicks[0].ras == pytest.approx(place, abs=0.01)


# What cannot be


def test_a_transform_that_folds_space_blocks_with_a_sentence(logic, straight):
    folded = addWarp(slicer.mrmlScene, lambda ras: np.c_[ras[:, :2] * 0, -1.5 * abs(ras[:, 2])], "folded")
    straight.SetAndObserveTransformNodeID(folded.GetID())
    reason, _ = findings(logic, straight)
    assert "'folded'" in reason and "folds space" in reason
    with pytest.raises(InputError, match="folds space"):
        logic.process(straight)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_transform_to_nowhere_blocks_with_a_sentence(logic, straight):
    nowhere = addWarp(slicer.mrmlScene, lambda ras: np.full_like(ras, np.nan), "nowhere")
    straight.SetAndObserveTransformNodeID(nowhere.GetID())
    assert "folds space" in findings(logic, straight)[0]


FLAT = np.diag([1.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize("kind", ["flat", "folded", "to nowhere"])
def test_an_output_under_a_transform_that_cannot_be_inverted_is_refused(logic, straight, kind):
    parent = {
        "flat": lambda: addTransform(slicer.mrmlScene, FLAT),
        "folded": lambda: addWarp(slicer.mrmlScene, lambda ras: np.c_[ras[:, :2] * 0, -1.5 * abs(ras[:, 2])]),
        "to nowhere": lambda: addWarp(slicer.mrmlScene, lambda ras: np.full_like(ras, np.nan)),
    }[kind]()
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "output")
    segmentationNode.SetAndObserveTransformNodeID(parent.GetID())
    with pytest.raises((InputError, WriteError), match=r"'output'.*cannot be inverted"):
        logic.process(straight, segmentationNode)
    assert segmentationNode.GetSegmentation().GetNumberOfSegments() == 0
    assert logic.session.undoObstacle(segmentationNode)


def test_a_volume_under_a_flat_transform_is_refused(logic, straight):
    straight.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, FLAT).GetID())
    assert findings(logic, straight)[0]


def test_a_mirrored_warp_is_not_a_folded_one(logic, straight):
    plain = logic.process(straight)
    volumeNode = unequal(straight)
    mirror = addTransform(slicer.mrmlScene, np.diag([-1.0, 1, 1, 1]))
    volumeNode.GetParentTransformNode().SetAndObserveTransformNodeID(mirror.GetID())
    assert logic.process(volumeNode).volumeMl == pytest.approx(plain.volumeMl, rel=0.03)


def test_a_body_that_is_strongly_bent_is_to_be_looked_at(logic, straight):
    assert "bent" not in findings(logic, straight)[1]
    straight.SetAndObserveTransformNodeID(bent(slicer.mrmlScene, 0.0002).GetID())
    assert "bent" not in findings(logic, straight)[1]
    assert "bent" in findings(logic, unequal(straight))[1]


# Changes between reading and writing


CHANGES = ("another displacement", "another transform above it", "an older one above it", "taken off", "moved")


@pytest.mark.parametrize("change", CHANGES)
def test_a_warp_that_changes_during_a_run_stops_the_write(logic, straight, change):
    older = addTransform(slicer.mrmlScene, rotation(0, 3))
    volumeNode = unequal(straight)
    warp = volumeNode.GetParentTransformNode()
    logic.getParameterNode().inputVolume = volumeNode
    request = logic.prepare(logic.getParameterNode())
    found = request.job.segment()
    if change == "another displacement":
        image = warp.GetTransformToParent().GetDisplacementGrid()
        image.GetPointData().GetScalars().SetTuple3(0, 0, 0, 5)
        image.GetPointData().GetScalars().Modified()
        image.Modified()
    elif change == "another transform above it":
        warp.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, rotation(0, 3)).GetID())
    elif change == "an older one above it":
        warp.SetAndObserveTransformNodeID(older.GetID())
    elif change == "taken off":
        volumeNode.SetAndObserveTransformNodeID(None)
    else:
        volumeNode.SetOrigin(0, 0, 0)
    with pytest.raises(InputError, match="changed while it was segmented"):
        logic.apply(request, found)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_an_output_whose_transform_changes_during_a_run_gets_the_mask_where_the_scan_is(logic, straight):
    volumeNode = unequal(straight)
    parameterNode = logic.getParameterNode()
    segmentationNode = scene.createSegmentation(volumeNode)
    parameterNode.inputVolume, parameterNode.outputSegmentation = volumeNode, segmentationNode
    request = logic.prepare(parameterNode)
    found = request.job.segment()
    segmentationNode.SetAndObserveTransformNodeID(None)
    logic.apply(request, found)
    assertOnLiver(segmentationNode, volumeNode)


def test_preview_and_uncertain_border_lie_where_the_scan_is(logic, straight):
    from LiverGTANLib.mrml.overlay import UncertaintyOverlay
    from LiverGTANLib.mrml.preview import PreviewSegment

    volumeNode = unequal(straight)
    result = logic.process(volumeNode)
    logic.getParameterNode().inputVolume = volumeNode
    request = logic.prepare(logic.getParameterNode())
    preview = PreviewSegment(slicer.mrmlScene)
    preview.show(request.job.preview(), request)
    node = preview._node
    segment = node.GetSegmentation().GetSegment("preview")
    labelmap = segment.GetRepresentation(scene.LABELMAP)
    kji = np.argwhere(scene.labelmapArray(labelmap)) + np.array(labelmap.GetExtent()[::2])[::-1]
    matrix, through = scene.imageToWorld(labelmap), vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformToWorld(through)
    places = np.array([through.TransformPoint(*p) for p in kji[::5, ::-1] @ matrix[:3, :3].T + matrix[:3, 3]])
    assert (abs(inVolume(places, volumeNode) - 110.0) < 40).mean() > 0.9
    np.testing.assert_allclose(places.mean(axis=0), worldPlaces(result.segmentation).mean(axis=0), atol=6)
    overlay = UncertaintyOverlay(slicer.mrmlScene)
    overlay.show(request.job.uncertainty_map(), request)
    assert overlay._node.GetParentTransformNode() == volumeNode.GetParentTransformNode()
