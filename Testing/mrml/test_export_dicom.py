"""DICOM segmentations through Slicer's plugin: codes, origin and voxels that arrive, and what is refused and why."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("dcmqi", reason="dcmqi is not installed")

from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import export_dicom, scene, self_test
from LiverGTANLib.standalone.dicom.reader import read_dicom
from LiverGTANLib.standalone.dicom.segmentation import read_segmentation
from support import dicom_plugin
from support.dicom_cases import ctSlices, save
from support.module_fixtures import logic, students
from support.sequence_cases import addBrowser, addSequence, addVolumes, phantomFrames

pytestmark = pytest.mark.slow

LIVER = {"CodeValue": "10200004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Liver"}
ANATOMY = {"CodeValue": "123037004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"}


@pytest.fixture
def dicomCt(slicerHost, tmp_path, monkeypatch):
    """The phantom as Slicer's DICOM module loads it: a volume whose images lie in the database."""
    phantom, _ = phantom_ct((4.0, 4.0, 5.0))
    slices = ctSlices(phantom.hu, spacing=tuple(phantom.spacing))
    files = sorted(save(tmp_path / "ct", slices).iterdir())
    database = dicom_plugin.Database({one.SOPInstanceUID: file for one, file in zip(slices, files)})
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    plugins = {export_dicom.PLUGIN: dicom_plugin.DICOMSegmentationPluginClass}
    monkeypatch.setattr(slicer.modules, "dicomPlugins", plugins, raising=False)
    ct, volumeNode = read_dicom(tmp_path / "ct", None).ct, self_test.addPhantom()[0]
    volumeNode.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ct.ijk_to_ras))
    slicer.util.updateVolumeFromArray(volumeNode, ct.hu.astype(np.int16))
    volumeNode.SetAttribute("DICOM.instanceUIDs", " ".join(database.files))
    return volumeNode


def test_the_liver_arrives_with_its_codes_origin_and_voxels(logic, dicomCt, tmp_path):
    result = logic.process(dicomCt)
    path = logic.exportDicom(result.segmentation, tmp_path / "out")
    assert slicer.dicomDatabase.inserted == [path]
    (segment,) = dicom_plugin.readBack(path, tmp_path)
    assert segment["SegmentedPropertyTypeCodeSequence"] == LIVER
    assert segment["SegmentedPropertyCategoryCodeSequence"] == ANATOMY
    assert (segment["SegmentLabel"], segment["SegmentAlgorithmType"]) == ("liver", "AUTOMATIC")
    assert segment["SegmentAlgorithmName"] == "LiverGTAN student-100k"
    written = read_segmentation(path, read_dicom(tmp_path / "ct", None).images)
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, result.segmentId, dicomCt)
    np.testing.assert_array_equal(written > 0, voxels > 0)


def test_parts_are_two_segments_that_a_user_had_a_part_in(logic, dicomCt, tmp_path):
    plan = logic.splitLiver(logic.process(dicomCt).segmentation)
    segments = dicom_plugin.readBack(logic.exportDicom(plan.partsNode, tmp_path / "out"), tmp_path)
    assert [segment["SegmentLabel"] for segment in segments] == ["remnant", "resected"]
    assert {segment["SegmentAlgorithmType"] for segment in segments} == {"SEMIAUTOMATIC"}
    assert all(segment["SegmentedPropertyTypeCodeSequence"] == LIVER for segment in segments)


def typeOf(result) -> str:
    return dicom_plugin._tag(
        result.segmentation.GetSegmentation().GetSegment(result.segmentId), scene.ALGORITHM_TYPE_TAG
    )


def test_what_was_just_written_is_not_replaced(logic, dicomCt, tmp_path):
    segmentation = logic.process(dicomCt).segmentation
    written = [logic.exportDicom(segmentation, tmp_path / "out") for _ in range(4)]
    assert sorted(written) == sorted((tmp_path / "out").iterdir()) and len(set(written)) == 4


def test_a_point_makes_it_semiautomatic_and_undo_takes_that_back(logic, dicomCt):
    result = logic.process(dicomCt)
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    points.AddControlPointWorld(*result.segmentation.GetSegmentCenterRAS(result.segmentId))
    logic.process(dicomCt, result.segmentation, liverPoints=points)
    assert typeOf(result) == "SEMIAUTOMATIC"
    logic.session.undo()
    assert typeOf(result) == "AUTOMATIC"
    logic.session.redo()
    assert typeOf(result) == "SEMIAUTOMATIC"


def test_a_liver_edited_by_hand_says_so(logic, dicomCt, tmp_path):
    result = logic.process(dicomCt)
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, result.segmentId, dicomCt)
    voxels[: len(voxels) // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, result.segmentation, result.segmentId, dicomCt)
    (segment,) = dicom_plugin.readBack(logic.exportDicom(result.segmentation, tmp_path / "out"), tmp_path)
    assert segment["SegmentAlgorithmType"] == "SEMIAUTOMATIC"


def cutLiver(segmentationNode, volumeNode) -> None:
    segmentId = scene.liverSegmentId(segmentationNode)
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)
    voxels[: len(voxels) // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, segmentationNode, segmentId, volumeNode)


def originOf(logic, segmentationNode) -> str:
    export_dicom.handOver(segmentationNode, logic.session.isEdited(segmentationNode))
    segment = segmentationNode.GetSegmentation().GetSegment(scene.liverSegmentId(segmentationNode))
    return dicom_plugin._tag(segment, scene.ALGORITHM_TYPE_TAG)


@pytest.mark.parametrize("cutWhen", ["never", "before", "after"])
def test_an_edit_is_known_after_the_scene_was_saved_and_loaded(logic, tmp_path, cutWhen):
    volumeNode, _ = self_test.addPhantom("CT", (5.0, 5.0, 6.0))
    node = logic.process(volumeNode).segmentation
    if cutWhen == "before":
        cutLiver(node, volumeNode)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    if cutWhen == "after":
        assert originOf(logic, node) == "AUTOMATIC"
        cutLiver(node, slicer.util.getNode("CT"))
    assert originOf(logic, node) == ("AUTOMATIC" if cutWhen == "never" else "SEMIAUTOMATIC")


def test_of_the_frames_of_a_sequence_the_edited_one_says_so(logic):
    browser, volumeNode = addBrowser(addSequence(addVolumes(phantomFrames(2))))
    node = logic.segmentSequence(volumeNode).segmentation
    browser.SetSelectedItemNumber(0)
    cutLiver(node, volumeNode)
    assert originOf(logic, node) == "SEMIAUTOMATIC"
    browser.SetSelectedItemNumber(1)
    assert originOf(logic, node) == "AUTOMATIC"


def hasNoPlugin(volumeNode, segmentationNode, monkeypatch):
    monkeypatch.setattr(slicer.modules, "dicomPlugins", {})
    return "QuantitativeReporting"


def isNotFromDicom(volumeNode, segmentationNode, monkeypatch):
    volumeNode.RemoveAttribute("DICOM.instanceUIDs")
    return "was not loaded from DICOM"


def imagesAreGone(volumeNode, segmentationNode, monkeypatch):
    slicer.dicomDatabase.files.popitem()
    return "1 of the .* not in Slicer's DICOM database"


def databaseIsClosed(volumeNode, segmentationNode, monkeypatch):
    monkeypatch.setattr(slicer.dicomDatabase, "isOpen", False, raising=False)
    return "database is not open"


def isMoved(volumeNode, segmentationNode, monkeypatch):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    segmentationNode.SetAndObserveTransformNodeID(transform.GetID())
    return "different transforms"


def volumeIsRemoved(volumeNode, segmentationNode, monkeypatch):
    slicer.mrmlScene.RemoveNode(volumeNode)
    return "grid of no volume"


def hasAnEmptySegment(volumeNode, segmentationNode, monkeypatch):
    segmentationNode.GetSegmentation().AddEmptySegment("mine", "mine")
    return "'mine' has no voxels"


@pytest.mark.parametrize(
    "change",
    [hasNoPlugin, isNotFromDicom, imagesAreGone, databaseIsClosed, isMoved, volumeIsRemoved, hasAnEmptySegment],
)
def test_what_cannot_be_written_is_refused_with_a_reason_and_leaves_nothing(
    change, logic, dicomCt, tmp_path, monkeypatch
):
    result = logic.process(dicomCt)
    reason = change(dicomCt, result.segmentation, monkeypatch)
    with pytest.raises(InputError, match=reason):
        logic.exportDicom(result.segmentation, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not slicer.dicomDatabase.inserted


Plugin = dicom_plugin.DICOMSegmentationPluginClass
NAME = "subject_hierarchy_export.SEG2026-01-01_{}.dcm"


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def result(logic, dicomCt):
    return logic.process(dicomCt)


@pytest.fixture
def another(logic, result, tmp_path) -> bytes:
    """A segmentation of the same CT, as another program with the same plugin would write it."""
    path = logic.exportDicom(result.segmentation, tmp_path / "elsewhere")
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize("begins", [NAME.format("000000"), "A.SEG.dcm", "z.SEG.dcm"])
def test_what_arrives_meanwhile_stays_and_costs_no_success(logic, result, another, tmp_path, monkeypatch, begins):
    folder, export = tmp_path / "out", Plugin.export

    def withCompany(self, exportables):
        (folder / begins).write_bytes(another)
        (folder / NAME.format("111111")).write_bytes(b"of something else")
        return export(self, exportables)

    monkeypatch.setattr(Plugin, "export", withCompany)
    written = logic.exportDicom(result.segmentation, folder)
    assert written == slicer.dicomDatabase.inserted[-1] and written.is_file()
    assert names(folder) == {begins, NAME.format("111111"), written.name}


def test_a_database_that_does_not_take_the_file_costs_no_success(logic, result, tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.dicomDatabase, "insert", lambda path: None)
    assert logic.exportDicom(result.segmentation, tmp_path / "out").is_file()


@pytest.mark.parametrize("share", [0.1, 0.4, 0.99])
def test_half_a_file_is_removed_after_a_failure_and_nothing_else(logic, result, another, tmp_path, monkeypatch, share):
    folder, company = tmp_path / "out", {"SEG1.dcm", "subject_hierarchy_export.SEG.dcm", NAME.format("222222")}

    def fail(self, exportables):
        (folder / NAME.format("000000")).write_bytes(another[: int(share * len(another))])
        for name in company:
            (folder / name).write_bytes(another if "_22" in name else b"DICM")
        return "itkimage2segimage failed"

    monkeypatch.setattr(Plugin, "export", fail)
    with pytest.raises(OSError, match="itkimage2segimage failed") as raised:
        logic.exportDicom(result.segmentation, folder)
    assert names(folder) == company
    left = f"New in {folder}, and left there: subject_hierarchy_export.SEG.dcm, {NAME.format('222222')}."
    assert left in str(raised.value)  # SEG1.dcm is not named as the plugin names its files


def test_a_whole_file_stays_after_a_failure_and_the_database_with_it(logic, result, tmp_path, monkeypatch):
    folder, insert = tmp_path / "out", slicer.dicomDatabase.insert

    def crash(path):
        insert(path)
        raise RuntimeError("no thumbnail")

    monkeypatch.setattr(slicer.dicomDatabase, "insert", crash)
    with pytest.raises(OSError, match="no thumbnail") as raised:
        logic.exportDicom(result.segmentation, folder)
    (path,) = folder.iterdir()
    assert f"left there: {path.name}." in str(raised.value) and slicer.dicomDatabase.inserted == [path]
    assert isinstance(raised.value.__cause__, RuntimeError)  # whose traceback the log shows


def test_a_plugin_that_writes_nothing_and_says_nothing_has_failed(logic, result, tmp_path, monkeypatch):
    monkeypatch.setattr(Plugin, "export", lambda self, exportables: "")
    with pytest.raises(OSError, match="no file came of it"):
        logic.exportDicom(result.segmentation, tmp_path / "out")
