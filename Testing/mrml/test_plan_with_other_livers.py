"""A liver that this module did not make (from DICOM, from the command line, drawn) is planned with and stays."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core.boxes import bounding_box, start
from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.core.terminology import TERMINOLOGY
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import liver_grid, liver_parts, scene, self_test
from LiverGTANLib.standalone import image_files
from support.module_fixtures import logic, students
from support.mrml_cases import addSegment

pytestmark = pytest.mark.slow


@pytest.fixture
def case(slicerHost):
    """(segmentation of a user's own without segments, volume, its liver as (K, J, I) uint8)."""
    volumeNode, liver = self_test.addPhantom()
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from elsewhere")
    segmentationNode.CreateDefaultDisplayNodes()
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    return segmentationNode, volumeNode, liver


def addNamed(case, name: str, coded: bool = False) -> str:
    segmentationNode, volumeNode, liver = case
    segmentId = addSegment(segmentationNode, volumeNode, name, liver)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if coded:
        segment.SetTag(segment.GetTerminologyEntryTagName(), TERMINOLOGY)
    return segmentId


def test_a_liver_by_its_code_or_name_is_planned_and_stays(logic, case, tmp_path):
    segmentationNode, volumeNode, liver = case
    addNamed(case, "spleen")
    segmentId = addNamed(case, "Segment_7", coded=True)
    plan = logic.splitLiver(segmentationNode)
    ml = np.count_nonzero(liver) * abs(np.linalg.det(scene.ijkToWorld(volumeNode)[:3, :3])) / 1000
    assert plan.volumes.liverMl == pytest.approx(ml, rel=1e-6) and plan.outdated() == ""
    assert logic.exportSurface(segmentationNode, tmp_path / "liver.stl").volumeMl == pytest.approx(ml, rel=0.02)
    after = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)
    np.testing.assert_array_equal(after, liver)
    assert scene.liverSegmentId(segmentationNode) == ""  # so that Segment would not replace it
    assert not segmentationNode.GetDisplayNode().GetSegmentVisibility(segmentId)
    plan.remove()
    assert segmentationNode.GetDisplayNode().GetSegmentVisibility(segmentId)


def test_the_file_of_the_command_line_is_planned(logic, slicerHost, tmp_path):
    ct, liver = phantom_ct()
    box = bounding_box(liver > 0)
    mask = BoxMask(np.ascontiguousarray(liver[box]).astype(np.uint8), start(box), liver.shape)
    image_files.write_mask(tmp_path / "liver.seg.nrrd", mask, image_files.CtFile(ct, [], []), None)
    node, storage = (
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"),
        slicer.vtkMRMLSegmentationStorageNode(),
    )
    storage.SetFileName(str(tmp_path / "liver.seg.nrrd"))
    assert storage.ReadData(node)
    assert logic.splitLiver(node).volumes.remnantMl > 0


def test_the_liver_of_this_module_goes_before_and_of_two_others_none_is_taken(logic, case):
    segmentationNode, volumeNode, _ = case
    first = addNamed(case, "a", coded=True)
    addNamed(case, "b", coded=True)
    with pytest.raises(InputError, match="has no voxels; segment it first"):
        logic.splitLiver(segmentationNode)
    segmentationNode.GetSegmentation().RemoveSegment(first)
    assert liver_grid.liverSegmentId(segmentationNode) == "b"
    result = logic.process(volumeNode, segmentationNode)
    assert liver_grid.liverSegmentId(segmentationNode) == result.segmentId != "b"


def test_a_part_of_a_plan_is_no_liver_to_plan_with(logic, case):
    plan = logic.splitLiver(logic.process(case[1]).segmentation)
    plan.partsNode.GetSegmentation().RemoveSegment(liver_parts.segmentIds(plan.partsNode)[1])
    assert liver_grid.liverSegmentId(plan.partsNode) == ""
