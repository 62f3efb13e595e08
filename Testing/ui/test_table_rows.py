"""Rows of the table are true of the livers in the scene, or say why not, in the panel and in what is exported."""

import csv

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core.measurements import TITLES
from LiverGTANLib.mrml import row_check, scene, segment_volume, self_test, table
from support.interactive_cases import addRoi, letTimersFire, liver, segmented, settle
from support.module_fixtures import students
from support.mrml_cases import addTransform, addWarp
from support.panel_cases import mask, panel, phantom

pytestmark = pytest.mark.slow

ML = 0.012


def exported(panel, folder) -> list[dict[str, str]]:
    panel.widget.logic.exportTable(folder / "volumes.csv", overwrite=True)
    with (folder / "volumes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def inNode(tableNode) -> list[dict[str, str]]:
    return [table.textsOf(tableNode, index) for index in range(tableNode.GetNumberOfRows())]


def cut(segmentationNode, volumeNode) -> float:
    """Edit the liver by hand: its lower half goes. Returns what is left in mL."""
    segmentId, array = scene.liverSegmentId(segmentationNode), mask(segmentationNode, volumeNode).copy()
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentationNode, segmentId, volumeNode)
    return np.count_nonzero(array) * ML


def requireMeasuredAgain(row: dict[str, str], ml: float) -> None:
    assert float(row[TITLES["volume_ml"]]) == pytest.approx(ml, abs=0.06) and row[TITLES["hint"]] == row_check.CHANGED
    assert row[TITLES["mean_hu"]] == row[TITLES["low_ml"]] == row[TITLES["share_in_region"]] == ""


def test_an_edit_of_a_liver_that_is_not_chosen_is_in_its_row(panel, segmented, tmp_path):
    edited, tableNode = panel.output, panel.ui.tableSelector.currentNode()
    panel.choose(self_test.addPhantom("Other")[0])
    panel.segment()
    settle(panel)
    other = inNode(tableNode)[1]
    ml = cut(edited, segmented)
    settle(panel)
    requireMeasuredAgain(inNode(tableNode)[0], ml)
    panel.host.leaveModule()
    ml = cut(edited, segmented) if mask(edited, segmented).any() else 0
    letTimersFire(panel)
    requireMeasuredAgain(inNode(tableNode)[0], ml)
    assert inNode(tableNode)[1] == other and exported(panel, tmp_path) == inNode(tableNode)


def test_a_row_follows_the_name_of_its_ct_but_not_over_what_the_user_wrote(panel, segmented, tmp_path):
    tableNode, result = panel.ui.tableSelector.currentNode(), panel.widget.logic.session.current
    segmented.SetName("portal")
    letTimersFire(panel)
    assert inNode(tableNode)[0][TITLES["name"]] == exported(panel, tmp_path)[0][TITLES["name"]] == "portal"
    table.setText(tableNode, 0, TITLES["name"], "mine")
    segmented.SetName("arterial")
    letTimersFire(panel)
    assert inNode(tableNode)[0][TITLES["name"]] == "mine"
    assert inNode(tableNode)[0][TITLES["hint"]] == "" and panel.widget.logic.session.current is result


def test_an_edit_within_a_batch_of_changes_is_in_its_row_after_it(panel, segmented):
    slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
    ml = cut(panel.output, segmented)
    letTimersFire(panel)  # as a progress dialog lets them
    slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)
    letTimersFire(panel)
    requireMeasuredAgain(inNode(panel.ui.tableSelector.currentNode())[0], ml)


def test_an_edit_that_is_taken_back_brings_the_row_back(panel, segmented):
    tableNode, before = panel.ui.tableSelector.currentNode(), liver(panel, segmented).astype(np.uint8)
    row = inNode(tableNode)
    cut(panel.output, segmented)
    settle(panel)
    assert inNode(tableNode) != row
    segmentId = scene.liverSegmentId(panel.output)
    slicer.util.updateSegmentBinaryLabelmapFromArray(before, panel.output, segmentId, segmented)
    settle(panel)
    assert inNode(tableNode) == row


@pytest.mark.parametrize("moved", ["CT", "liver"])
def test_a_row_that_redo_brings_back_says_that_the_liver_was_moved(panel, segmented, moved):
    tableNode, segmentationNode = panel.ui.tableSelector.currentNode(), panel.output
    warp = addWarp(slicer.mrmlScene)
    (segmented if moved == "CT" else segmentationNode).SetAndObserveTransformNodeID(warp.GetID())
    settle(panel)
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert inNode(tableNode) == []
    panel.click(panel.ui.redoButton)
    settle(panel)
    ml = segment_volume.segmentMl(segmentationNode, scene.liverSegmentId(segmentationNode))
    requireMeasuredAgain(inNode(tableNode)[0], ml)


def test_a_row_that_undo_brings_back_says_that_the_liver_was_moved(panel, segmented):
    first = panel.widget.logic.session.current.volumeMl
    panel.ui.thresholdSlider.value = 0.4
    settle(panel)
    moved = addTransform(slicer.mrmlScene, np.diag([1.0, 1, 1, 1]) + 20 * np.eye(4, k=3))
    panel.output.SetAndObserveTransformNodeID(moved.GetID())
    settle(panel)
    panel.click(panel.ui.undoButton)
    settle(panel)
    requireMeasuredAgain(inNode(panel.ui.tableSelector.currentNode())[0], first)


def test_an_edit_without_the_module_is_found_after_a_reload(panel, segmented, tmp_path):
    panel.widget.panel.measure.close()  # as if the module had not been opened
    ml = cut(panel.output, segmented)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    settle(panel)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(panel)
    requireMeasuredAgain(exported(panel, tmp_path)[0], ml)
    assert inNode(panel.widget.logic.table()) == exported(panel, tmp_path)


def storeRange(panel) -> str:
    """Give the row a range, as the student of the tests is too unsure for one; what the line says of it."""
    for field, ml in (("low_ml", "1500"), ("high_ml", "1700")):
        table.setText(panel.ui.tableSelector.currentNode(), 0, TITLES[field], ml)
    return panel.ui.resultLabel.text.partition(" (")[0] + " (1500 to 1700)"


def test_an_untouched_liver_keeps_its_row_over_save_and_reload(panel, segmented, tmp_path):
    line = storeRange(panel)
    before = exported(panel, tmp_path)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    settle(panel)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(panel)
    assert panel.ui.resultLabel.text == line
    assert exported(panel, tmp_path) == before


def test_the_line_of_a_liver_of_an_earlier_session_holds_what_is_stored_and_what_is_not(panel, segmented):
    line, tableNode = storeRange(panel), panel.ui.tableSelector.currentNode()
    panel.host.leaveModule()
    panel.widget.logic.session.reset()  # as after the scene was loaded
    panel.host.openModule("LiverGTAN")
    settle(panel)
    assert panel.ui.resultLabel.text == line and not panel.running
    for node in (tableNode, None):  # the row is found in any table
        panel.ui.tableSelector.setCurrentNode(node)
        panel.choose(None)
        panel.choose(segmented)
        settle(panel)
        assert panel.ui.resultLabel.text == line
    table.setText(tableNode, 0, TITLES["low_ml"], "")
    panel.choose(None)
    panel.choose(segmented)
    settle(panel)
    assert panel.ui.resultLabel.text == line.partition(" (")[0] + " (no range is stored)"
    slicer.mrmlScene.RemoveNode(tableNode)
    panel.choose(None)
    panel.choose(segmented)
    settle(panel)
    assert panel.ui.resultLabel.text == line.partition(" (")[0]


def test_rows_of_deleted_livers_say_so_in_every_table(panel, segmented, tmp_path):
    first = panel.ui.tableSelector.currentNode()
    panel.ui.tableSelector.setCurrentNode(None)
    panel.segment()
    settle(panel)
    tables = [first, panel.ui.tableSelector.currentNode()]
    assert tables[0] != tables[1]
    ml = cut(panel.output, segmented)
    settle(panel)
    for tableNode in tables:
        requireMeasuredAgain(inNode(tableNode)[0], ml)
    segmentation = panel.output.GetSegmentation()
    segmentation.RemoveSegment(scene.liverSegmentId(panel.output))
    settle(panel)
    for tableNode in tables:
        assert row_check.GONE in inNode(tableNode)[0][TITLES["hint"]]
    panel.segment()
    settle(panel)
    assert inNode(tables[1])[0][TITLES["hint"]] == ""
    slicer.mrmlScene.RemoveNode(panel.output)
    settle(panel)
    for tableNode in tables:
        assert row_check.GONE in inNode(tableNode)[0][TITLES["hint"]]
    assert row_check.GONE in exported(panel, tmp_path)[0][TITLES["hint"]]


def shifted(panel, volumeNode) -> None:
    """The liver drawn by hand elsewhere, as large as before."""
    array = np.roll(mask(panel.output, volumeNode), 5, axis=1).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        array, panel.output, scene.liverSegmentId(panel.output), volumeNode
    )


def hardened(panel, volumeNode) -> None:
    step = np.eye(4)
    step[0, 3] = 30
    panel.output.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, step).GetID())
    panel.output.HardenTransform()


def replaced(panel, volumeNode) -> None:
    """Other voxels in the CT."""
    slicer.util.updateVolumeFromArray(volumeNode, np.roll(slicer.util.arrayFromVolume(volumeNode), 10, axis=2))


@pytest.mark.parametrize("change", [shifted, hardened, replaced])
@pytest.mark.parametrize("reloaded", [False, True])
def test_a_change_that_leaves_the_volume_equal_leaves_no_old_figures(panel, segmented, tmp_path, change, reloaded):
    ml = liver(panel, segmented).sum() * ML
    if reloaded:
        assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
        slicer.mrmlScene.Clear(False)
        settle(panel)
        panel.host.leaveModule()
        name = segmented.GetName()
        assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
        segmented = slicer.mrmlScene.GetFirstNodeByName(name)
        panel.host.openModule("LiverGTAN")
        settle(panel)
    change(panel, segmented)
    settle(panel)
    requireMeasuredAgain(inNode(panel.widget.logic.table())[0], ml)
    requireMeasuredAgain(exported(panel, tmp_path)[0], ml)
    said = panel.ui.resultLabel.text
    assert said.startswith(f"Liver {ml:.0f} mL") and "since" in said


def test_a_share_in_an_roi_that_was_moved_since_is_not_told(panel, segmented, tmp_path):
    roiNode = addRoi(panel)
    settle(panel)
    row = exported(panel, tmp_path)[0]
    assert row[TITLES["share_in_region"]]
    panel.choose(self_test.addPhantom("Other")[0])
    settle(panel)
    center = np.array(roiNode.GetCenterWorld())
    roiNode.SetCenterWorld(*(center - [60, 0, 0]))
    settle(panel)
    moved = exported(panel, tmp_path)[0]
    assert moved[TITLES["share_in_region"]] == "" and row_check.REGION in moved[TITLES["hint"]]
    assert moved[TITLES["mean_hu"]] == row[TITLES["mean_hu"]]
    roiNode.SetCenterWorld(*center)
    settle(panel)
    assert exported(panel, tmp_path)[0] == row


def test_a_row_of_the_users_own_is_left_alone(panel, segmented):
    tableNode = panel.ui.tableSelector.currentNode()
    own = tableNode.AddEmptyRow()
    tableNode.SetCellText(own, tableNode.GetColumnIndex(TITLES["volume_ml"]), "1500")
    cut(panel.output, segmented)
    settle(panel)
    assert inNode(tableNode)[own][TITLES["volume_ml"]] == "1500" and inNode(tableNode)[own][TITLES["hint"]] == ""


def test_a_liver_that_a_transform_enlarges_is_measured_again(panel, segmented):
    tableNode, ml = panel.ui.tableSelector.currentNode(), liver(panel, segmented).sum() * ML
    panel.output.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, np.diag([1.1, 1, 1, 1])).GetID())
    settle(panel)
    requireMeasuredAgain(inNode(tableNode)[0], 1.1 * ml)


def test_a_liver_without_a_label_map_is_said_not_to_be_measured(panel, segmented):
    panel.click(panel.ui.show3DButton)
    settle(panel)
    panel.output.GetSegmentation().SetSourceRepresentationName(scene.SURFACE)
    panel.output.GetSegmentation().RemoveRepresentation(scene.LABELMAP)
    settle(panel)
    assert row_check.NOT_MEASURED in inNode(panel.ui.tableSelector.currentNode())[0][TITLES["hint"]]


def test_a_threshold_moved_on_a_liver_of_surfaces_is_refused_in_the_line(panel, segmented):
    panel.click(panel.ui.show3DButton)
    settle(panel)
    segmentation = panel.output.GetSegmentation()
    segmentation.SetSourceRepresentationName(scene.SURFACE)
    segmentation.RemoveRepresentation(scene.LABELMAP)
    settle(panel)
    surface = segmentation.GetSegment(scene.liverSegmentId(panel.output)).GetRepresentation(scene.SURFACE)
    panel.ui.thresholdSlider.value = 0.7
    settle(panel)
    assert "is made of surfaces" in panel.ui.resultLabel.text.replace("\u200b", "")
    assert not panel.ui.applyButton.enabled and "is made of surfaces" in panel.ui.messageLabel.text
    assert segmentation.GetSegment(scene.liverSegmentId(panel.output)).GetRepresentation(scene.SURFACE) == surface
    assert not panel.host.dialogs.texts("error") and not panel.host.uncaught


def test_why_a_mask_that_follows_cannot_be_written_is_said_in_the_line(panel, segmented):
    panel.output.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, np.diag([1, 1, 0, 1])).GetID())
    panel.ui.smoothingSlider.value = 4
    settle(panel)
    assert "cannot be inverted" in panel.ui.resultLabel.text
    assert not panel.host.dialogs.texts("error") and not panel.host.uncaught
    panel.output.SetAndObserveTransformNodeID(None)
    settle(panel)
    assert liver(panel, segmented).any()
