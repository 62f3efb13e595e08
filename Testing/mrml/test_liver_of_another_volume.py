"""Whose liver a segmentation holds: another present volume's is replaced only by who asks for it, and Undo knows it."""

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from LiverGTANLib.mrml import roi, scene, self_test, table
from LiverGTANLib.mrml.parameters import ChosenParameters
from support.module_fixtures import logic, students
from support.mrml_cases import addSegment, ball, mrmlScene, volumeNode, voxels, writer

pytestmark = pytest.mark.slow


@pytest.fixture
def scans(logic):
    """Two volumes; the second one has a liver."""
    (first, _), (second, _) = self_test.addPhantom("A"), self_test.addPhantom("B")
    second.SetOrigin(0, 0, 500)
    return first, second


@pytest.fixture
def livers(logic, scans):
    """The second one's segmentation."""
    return logic.process(scans[1]).segmentation


def warning(logic, volumeNode, segmentationNode) -> str:
    reason, text = logic.session.obstacles(ChosenParameters(volumeNode, segmentationNode))
    assert not reason
    return text


def test_the_liver_of_another_volume_is_told_before_it_is_replaced(logic, scans, livers):
    first, second = scans
    assert warning(logic, second, livers) == "" and warning(logic, first, None) == ""
    assert "'B liver' holds the liver of 'B', which that of 'A' would replace" in warning(logic, first, livers)
    own = logic.process(first).segmentation
    assert warning(logic, first, own) == ""
    slicer.mrmlScene.RemoveNode(second)  # nothing to compare with any more
    assert warning(logic, first, livers) == ""


def test_a_segmentation_without_our_segment_is_not_asked_about(logic, scans):
    first, second = scans
    own = scene.createSegmentation(second)
    addSegment(own, second, "liver", (slicer.util.arrayFromVolume(second) > 0).view("uint8"))
    assert warning(logic, first, own) == ""


def test_a_script_names_its_output_and_undo_brings_everything_back(logic, scans, livers):
    first, second = scans
    segmentId, rows = scene.liverSegmentId(livers), table.rows(logic.table())
    before = voxels(livers, segmentId, second).copy()
    logic.process(first, livers)
    assert scene.liverVolume(livers) == scene.referenceVolume(livers) == first
    assert "holds the liver of 'A'" in warning(logic, second, livers)
    logic.session.undo()
    assert scene.liverVolume(livers) == scene.referenceVolume(livers) == second
    assert (voxels(livers, segmentId, second) == before).all()
    assert table.rows(logic.table()) == rows and warning(logic, second, livers) == ""
    logic.session.redo()
    assert scene.liverVolume(livers) == scene.referenceVolume(livers) == first


def test_a_batch_replaces_no_other_liver(logic, scans, livers):
    first, second = scans
    logic.process(first, livers)  # now A's
    batch = logic.processAll([second])
    assert batch.results[0].segmentation != livers and scene.liverVolume(livers) == first


def test_the_liver_is_known_where_others_keep_their_reference_volume(mrmlScene, volumeNode, writer):
    """Segments drawn on another volume keep its grid, so the reference volume does not tell whose liver it is."""
    other = self_test.addPhantom("other")[0]
    shared = scene.createSegmentation(other)
    addSegment(shared, other, "drawn", (slicer.util.arrayFromVolume(other) > 0).view("uint8"))
    writer.write(volumeNode, ball(), shared, "a")
    assert scene.referenceVolume(shared) == other
    assert scene.liverVolume(shared) == volumeNode
    assert scene.findSegmentation(volumeNode) == shared and scene.findSegmentation(other) is None


def test_the_liver_is_known_after_saving_and_importing_the_scene(mrmlScene, volumeNode, writer, tmp_path):
    shared = scene.createSegmentation(self_test.addPhantom("other")[0])
    writer.write(volumeNode, ball(), shared, "a")
    segmentId = scene.liverSegmentId(shared)
    mrmlScene.SetRootDirectory(str(tmp_path))
    mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert mrmlScene.Commit()
    assert mrmlScene.Import()
    (imported,) = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if n != shared]
    imported.GetSegmentation().CopySegmentFromSegmentation(shared.GetSegmentation(), segmentId)  # its file is not read
    owner = scene.liverVolume(imported)
    assert owner is not None and owner != volumeNode and owner.GetName() == volumeNode.GetName()


def test_a_new_region_is_not_put_around_another_volumes_liver(logic, scans, livers):
    first, second = scans
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.fit(roiNode, second, livers)
    aroundLiver = list(roiNode.GetSize())
    roi.fit(roiNode, first, livers)
    bounds = [0] * 6
    first.GetRASBounds(bounds)
    assert list(roiNode.GetSize()) == pytest.approx(
        [bounds[1] - bounds[0], bounds[3] - bounds[2], bounds[5] - bounds[4]]
    )
    assert roiNode.GetSize()[2] > aroundLiver[2]
