"""Undo and Redo of the panel touch what the module wrote, and nothing that the user did since."""

import threading

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from slicer.util import arrayFromVolume, updateSegmentBinaryLabelmapFromArray
from ui.test_points import place

from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.mrml import points, roi, scene, self_test, table
from support.interactive_cases import addRoi, letTimersFire, liver, segmented, settle, worldOf
from support.module_fixtures import students
from support.mrml_cases import addSegment, voxels
from support.panel_cases import panel, phantom, segmentations

pytestmark = pytest.mark.slow


def middleOf(mask) -> tuple:
    places = np.argwhere(mask)
    return tuple(places[np.linalg.norm(places - places.mean(0), axis=1).argmin()])


def cube(volumeNode, size: int) -> np.ndarray:
    array = np.zeros(arrayFromVolume(volumeNode).shape, np.uint8)
    array[2 : 2 + size, 2 : 2 + size, 2 : 2 + size] = 1
    return array


def setThreshold(panel, value: float) -> None:
    panel.ui.thresholdSlider.value = value
    settle(panel)


def move(panel, name: str) -> None:
    panel.click(getattr(panel.ui, f"{name}Button"))
    settle(panel)


def addLiverPoints(panel, volumeNode, *places) -> None:
    node = points.find(volumeNode, True) or points.create(volumeNode, True)
    panel.widget.panel.parameterNode.liverPoints = node
    for ras in places:
        node.AddControlPointWorld(ras)


def counts(volumeNode) -> list:
    return [node and node.GetNumberOfControlPoints() for node in (points.find(volumeNode, b) for b in (True, False))]


@pytest.mark.parametrize("shared", [False, True], ids=["own layer", "shared layer"])
def test_what_was_drawn_since_the_write_stays(panel, segmented, shared):
    output, old = panel.output, cube(segmented, 3)
    oldId = addSegment(output, segmented, "old", old)
    setThreshold(panel, 0.6)
    newId = addSegment(output, segmented, "tumor", cube(segmented, 5))
    if shared:
        output.GetSegmentation().CollapseBinaryLabelmaps(False)
    painted = cube(segmented, 8)
    updateSegmentBinaryLabelmapFromArray(painted, output, oldId, segmented)
    segment = output.GetSegmentation().GetSegment(scene.liverSegmentId(output))
    segment.SetName("Liver of Mr. X")
    segment.SetColor(0.1, 0.2, 0.3)
    segment.SetTag("mine", "1")
    before = liver(panel, segmented)
    for step in ("undo", "redo"):
        move(panel, step)
        np.testing.assert_array_equal(voxels(output, oldId, segmented), painted)
        np.testing.assert_array_equal(voxels(output, newId, segmented), cube(segmented, 5))
        assert segment.GetName() == "Liver of Mr. X" and segment.HasTag("mine")
        assert segment.GetColor() == pytest.approx((0.1, 0.2, 0.3))
    np.testing.assert_array_equal(liver(panel, segmented), before)


def test_a_liver_that_was_edited_by_hand_is_left_and_what_replaced_it_can_be_undone(panel, segmented):
    output, segmentId = panel.output, scene.liverSegmentId(panel.output)
    edited = liver(panel, segmented).astype(np.uint8)
    edited[: len(edited) // 2] = 0
    updateSegmentBinaryLabelmapFromArray(edited, output, segmentId, segmented)
    settle(panel)
    assert not panel.ui.undoButton.enabled and "edited since" in panel.ui.undoButton.toolTip
    assert "edited since" in panel.ui.resultLabel.text and panel.ui.resultLabel.text.startswith("Liver ")
    tableNode = panel.ui.tableSelector.currentNode()
    row = [tableNode.GetCellText(0, tableNode.GetColumnIndex(title)) for title in ("Liver [mL]", "Hint", "Mean [HU]")]
    told = float(panel.ui.resultLabel.text.split()[1])
    assert float(row[0]) == pytest.approx(told, abs=0.6) and "edited" in row[1] and row[2] in ("", "nan")
    setThreshold(panel, 0.7)
    np.testing.assert_array_equal(liver(panel, segmented), edited)
    assert "edited by hand" in panel.ui.resultLabel.text and panel.ui.applyButton.text == "Segment anyway"
    panel.segment()
    settle(panel)
    assert not np.array_equal(liver(panel, segmented), edited) and panel.ui.applyButton.text == "Segment"
    move(panel, "undo")
    np.testing.assert_array_equal(liver(panel, segmented), edited)
    assert "edited since" in panel.ui.resultLabel.text


def test_what_is_edited_in_3d_is_shaded_and_turned_outward_again(panel, segmented):
    """Slicer makes it as flat triangles, inside out where it touches a segment of the same label map."""
    output, array = panel.output, liver(panel, segmented).astype(np.uint8)
    beside = np.roll(array, 5, axis=2) * (array == 0)
    segmentId = addSegment(output, segmented, "beside", beside)
    segmentation = output.GetSegmentation()
    segmentation.CollapseBinaryLabelmaps(False)
    assert segmentation.GetNumberOfLayers() == 1
    settle(panel)
    panel.click(panel.ui.show3DButton)
    assert segmentation.ContainsRepresentation(scene.SURFACE)
    beside[: len(beside) // 2] = 0
    image = scene.orientedImage(BoxMask(beside, (0, 0, 0), beside.shape), scene.ijkToLocal(segmented))
    logic = slicer.vtkSlicerSegmentationsModuleLogic  # as the Segment Editor
    assert logic.SetBinaryLabelmapToSegment(image, output, segmentId, logic.MODE_REPLACE)
    settle(panel)
    polyData = segmentation.GetSegment(segmentId).GetRepresentation(scene.SURFACE)
    assert polyData.GetPointData().GetNormals() is not None
    mass = vtk.vtkMassProperties()
    mass.SetInputData(polyData)
    mass.Update()
    assert mass.GetVolume() == pytest.approx(beside.sum() * np.prod(segmented.GetSpacing()), rel=0.2)


@pytest.mark.parametrize("shown", [True, False])
def test_redo_from_no_liver_at_all_leads_back_to_what_was_shown_in_3d(panel, segmented, shown):
    segmentation = panel.output.GetSegmentation()
    if shown:
        panel.click(panel.ui.show3DButton)
    setThreshold(panel, 0.7)
    for _ in range(2):
        move(panel, "undo")
    assert not segmentation.GetNumberOfSegments()
    for _ in range(2):
        move(panel, "redo")
        assert segmentation.ContainsRepresentation(scene.SURFACE) == panel.ui.show3DButton.checked == shown


@pytest.mark.parametrize("asked", [True, False])
def test_a_liver_that_is_edited_while_its_next_mask_is_computed_is_left_and_told_of(students, panel, segmented, asked):
    """asked: Segment was pressed; else the mask follows what was set."""
    edited, students.gate = liver(panel, segmented).astype(np.uint8), threading.Event()
    edited[: len(edited) // 2] = 0
    if asked:
        panel.widget.panel.live.close()
    panel.ui.studentComboBox.setCurrentIndex(1)
    if asked:
        panel.click(panel.ui.applyButton)
    else:
        panel.ui.thresholdSlider.value = 0.7
    panel.host.wait(lambda: len(students.made) == 2 and students.made[-1].images)
    updateSegmentBinaryLabelmapFromArray(edited, panel.output, scene.liverSegmentId(panel.output), segmented)
    students.gate.set()
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), edited)
    said, dialogs = panel.ui.resultLabel.text, panel.host.dialogs.messages
    assert ("edited by hand" in str(dialogs)) == asked and ("edited by hand" in said) == (not asked)
    assert panel.ui.applyButton.text == "Segment anyway"
    dialogs.clear()
    panel.segment()
    settle(panel)
    assert not np.array_equal(liver(panel, segmented), edited) and not dialogs


def test_a_liver_that_was_edited_before_its_scene_was_loaded_is_left_and_told_of(panel, segmented, tmp_path):
    edited, node = liver(panel, segmented).astype(np.uint8), addRoi(panel)
    edited[: len(edited) // 2] = 0
    updateSegmentBinaryLabelmapFromArray(edited, panel.output, scene.liverSegmentId(panel.output), segmented)
    settle(panel)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    settle(panel)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(panel)
    volumeNode, node = panel.ui.inputSelector.currentNode(), panel.ui.regionSelector.currentNode()
    assert "edited since" in panel.ui.resultLabel.text
    node.SetCenterWorld(*(np.array(node.GetCenterWorld()) + [-5, 0, 0]))
    settle(panel)
    np.testing.assert_array_equal(liver(panel, volumeNode), edited)
    assert "edited by hand" in panel.ui.resultLabel.text and panel.ui.applyButton.text == "Segment anyway"


def test_a_liver_that_was_deleted_is_told_of_no_more_and_comes_back_by_undo_and_redo(panel, segmented):
    before = liver(panel, segmented)
    setThreshold(panel, 0.7)
    after = liver(panel, segmented)
    panel.output.GetSegmentation().RemoveSegment(scene.liverSegmentId(panel.output))
    settle(panel)
    assert panel.ui.resultLabel.text == "" and not panel.ui.redoButton.enabled
    for step, expected in (("undo", before), ("redo", after), ("undo", before)):
        move(panel, step)
        np.testing.assert_array_equal(liver(panel, segmented), expected)
    panel.output.GetSegmentation().RemoveSegment(scene.liverSegmentId(panel.output))
    settle(panel)
    move(panel, "redo")
    np.testing.assert_array_equal(liver(panel, segmented), after)


def test_undo_in_a_shared_segmentation_leaves_the_points_and_the_roi_of_the_other_volume(panel, segmented):
    first, shared = segmented, panel.output
    place(panel, panel.ui.notLiverPointsButton, worldOf(first, middleOf(liver(panel, first))))
    other, _ = self_test.addPhantom("B")
    panel.choose(other)
    settle(panel)
    addLiverPoints(panel, other, (10, 20, 30), (-10, 20, 30))
    othersRoi = addRoi(panel)
    panel.ui.outputSelector.setCurrentNode(shared)
    settle(panel)
    panel.segment()
    settle(panel)
    box = roi.readRegion(othersRoi).key
    placed = counts(first), counts(other)
    for step, owner in (("undo", first), ("redo", other)):
        move(panel, step)
        assert (counts(first), counts(other), roi.readRegion(othersRoi).key) == (*placed, box)
        assert scene.liverVolume(shared) == owner and roi.find(other) == othersRoi and roi.find(first) is None
    assert not panel.ui.resultLabel.text.startswith("'")
    move(panel, "undo")
    assert panel.ui.resultLabel.text.startswith(f"'{shared.GetName()}' holds the liver of 'Phantom' again.")


def test_points_keep_what_the_user_set_of_them(panel, segmented):
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, middleOf(liver(panel, segmented))))
    node = points.find(segmented, False)
    node.SetNthControlPointLabel(0, "cyst")
    node.SetNthControlPointLocked(0, True)
    node.SetNthControlPointDescription(0, "seen in MR")
    settle(panel)
    setThreshold(panel, 0.6)
    where = node.GetNthControlPointPositionWorld(0)
    node.RemoveNthControlPoint(0)
    settle(panel)
    for _ in range(2):
        move(panel, "undo")
        assert (node.GetNthControlPointLabel(0), node.GetNthControlPointLocked(0)) == ("cyst", True)
        assert node.GetNthControlPointDescription(0).startswith("seen in MR")
        assert node.GetNthControlPointPositionWorld(0) == pytest.approx(where)


def test_a_deleted_list_and_a_deleted_roi_come_back_with_the_mask_that_they_made(panel, segmented):
    region = addRoi(panel)
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, middleOf(liver(panel, segmented))))
    before, box = liver(panel, segmented), np.array(region.GetSize())
    slicer.mrmlScene.RemoveNode(points.find(segmented, False))
    slicer.mrmlScene.RemoveNode(region)
    settle(panel)
    letTimersFire(panel)
    settle(panel)
    while (liver(panel, segmented) != before).any():
        move(panel, "undo")
    assert counts(segmented)[1] == 1
    assert roi.find(segmented).GetSize() == pytest.approx(box)
    assert panel.widget.panel.parameterNode.region == roi.find(segmented)


def test_undo_to_the_mask_of_a_loaded_scene_sets_the_slider_again(panel, segmented):
    """Nothing is known of that mask but what was set when the panel was opened."""
    before, line = liver(panel, segmented), panel.ui.resultLabel.text.partition(" (")[0]
    panel.widget.logic.session.reset()  # as after the scene was loaded
    panel.host.leaveModule()
    panel.host.openModule("LiverGTAN")
    settle(panel)
    setThreshold(panel, 0.7)
    move(panel, "undo")
    np.testing.assert_array_equal(liver(panel, segmented), before)
    assert panel.ui.thresholdSlider.value == 0.5 and panel.ui.resultLabel.text.startswith(line)


def test_each_volume_comes_back_with_its_undo_its_result_and_what_was_set(panel, segmented):
    line = panel.ui.resultLabel.text.partition(" s (")[0].rpartition(",")[0]
    other, _ = self_test.addPhantom("B")
    panel.choose(other)
    settle(panel)
    panel.segment()
    settle(panel)
    setThreshold(panel, 0.75)
    panel.choose(segmented)
    settle(panel)
    assert panel.ui.thresholdSlider.value == 0.5 and panel.ui.resultLabel.text == line
    setThreshold(panel, 0.6)
    move(panel, "undo")
    assert panel.ui.resultLabel.text == line and panel.ui.thresholdSlider.value == 0.5


def test_a_copy_of_the_liver_is_the_users(panel, segmented):
    segmentation, segmentId = panel.output.GetSegmentation(), scene.liverSegmentId(panel.output)
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetSegment(segmentId))
    segmentation.AddSegment(copy, "final")
    segmentation.SetSegmentIndex("final", 0)
    before = voxels(panel.output, "final", segmented)
    setThreshold(panel, 0.7)
    assert scene.liverSegmentId(panel.output) == segmentId
    np.testing.assert_array_equal(voxels(panel.output, "final", segmented), before)


def test_a_copied_volume_has_no_points_and_no_roi_of_the_original(panel, segmented):
    addLiverPoints(panel, segmented, (10, 20, 30))
    region = addRoi(panel)
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    copy.Copy(segmented)
    assert roi.find(copy) is None and points.find(copy, True) is None and scene.findSegmentation(copy) is None
    panel.choose(copy)
    settle(panel)
    addLiverPoints(panel, copy, (1, 2, 3), (1, 2, 3))
    assert counts(segmented)[0] == 1 and counts(copy)[0] == 2 and roi.find(segmented) == region


def test_a_volume_with_two_segmentations_comes_back_with_the_one_used_last(panel, segmented):
    first = panel.output
    panel.ui.outputSelector.setCurrentNode(None)
    panel.segment()
    settle(panel)
    second = panel.output
    other, _ = self_test.addPhantom("B")
    for used in (second, first):
        panel.choose(other)
        panel.choose(segmented)
        settle(panel)
        assert panel.output == used
        panel.ui.outputSelector.setCurrentNode(first)
        settle(panel)


def test_undo_after_another_table_was_chosen_leaves_no_row_of_another_mask(panel, segmented):
    first, line = panel.ui.tableSelector.currentNode(), panel.ui.resultLabel.text.partition(",")[0]
    rows = table.rows(first)
    panel.ui.tableSelector.setCurrentNode(None)
    settle(panel)
    setThreshold(panel, 0.7)
    second = panel.ui.tableSelector.currentNode()
    assert second != first and table.read(second, panel.output) is not None
    move(panel, "undo")
    assert table.rows(first) == rows and table.read(second, panel.output) is None
    assert panel.ui.resultLabel.text == line
