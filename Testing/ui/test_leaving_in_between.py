"""The module or the CT is left while something is on its way: it is done, or it is said that it was not."""

import threading

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from ui.test_points import clickInView, place, placing
from ui.test_undo_beside_the_user import middleOf

from LiverGTANLib.core.postprocess import PostprocessSettings
from LiverGTANLib.mrml import points, roi, self_test
from support.interactive_cases import addRoi, inside, letTimersFire, liver, previews, segmented, settle, worldOf
from support.module_fixtures import gate, students
from support.panel_cases import panel, phantom

pytestmark = pytest.mark.slow


def clickNotLiver(panel, volumeNode) -> None:
    """Place a point and wait for nothing."""
    panel.click(panel.ui.notLiverPointsButton)
    clickInView(worldOf(volumeNode, middleOf(liver(panel, volumeNode))))


def leaveModule(panel, volumeNode) -> None:
    panel.host.leaveModule()
    panel.host.openModule("LiverGTAN")


def chooseAnotherCt(panel, volumeNode) -> None:
    panel.choose(self_test.addPhantom("B")[0])
    panel.choose(volumeNode)


def chooseAnotherOutput(panel, volumeNode) -> None:
    output = panel.output
    panel.ui.outputSelector.setCurrentNode(None)
    panel.host.processEvents()
    panel.ui.outputSelector.setCurrentNode(output)


@pytest.mark.parametrize("leave", [leaveModule, chooseAnotherCt, chooseAnotherOutput])
@pytest.mark.parametrize("change", ["point", "ROI"])
def test_a_change_just_before_leaving_becomes_the_mask_of_its_volume(panel, segmented, leave, change):
    before = liver(panel, segmented)
    if change == "ROI":
        roiNode = addRoi(panel)
        roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [0, 0, 90]))
        expected = before & inside(roiNode, segmented)
    else:
        clickNotLiver(panel, segmented)
        expected = None
    leave(panel, segmented)
    after = liver(panel, segmented)
    assert 0 < after.sum() < before.sum() and not previews()
    if expected is not None:
        np.testing.assert_array_equal(after, expected)
    settle(panel)
    letTimersFire(panel)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), after)
    panel.click(panel.ui.undoButton)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)


def test_the_mask_follows_what_was_changed_while_another_module_was_open(panel, segmented):
    before = liver(panel, segmented)
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, middleOf(before)))
    assert liver(panel, segmented).sum() < before.sum()
    panel.host.leaveModule()
    points.find(segmented, False).RemoveAllControlPoints()
    panel.host.openModule("LiverGTAN")
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)


def test_a_run_that_leaving_ends_is_told(gate, panel, phantom):
    panel.click(panel.ui.applyButton)
    assert panel.running
    leaveModule(panel, phantom)
    gate.set()
    settle(panel)
    assert panel.ui.resultLabel.text == "Canceled, as another module was opened; nothing was changed."
    assert panel.output is None
    panel.segment()
    assert panel.ui.resultLabel.text.startswith("Liver ")


def test_a_run_that_a_loaded_scene_ends_is_told(gate, panel, phantom, tmp_path):
    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLMarkupsROINode", "imported")
    other.SetURL(str(tmp_path / "other.mrml"))
    other.Commit()
    panel.click(panel.ui.applyButton)
    slicer.mrmlScene.SetURL(str(tmp_path / "other.mrml"))
    slicer.mrmlScene.Import()
    panel.host.processEvents()
    gate.set()
    settle(panel)
    assert panel.ui.resultLabel.text == "Canceled, as a scene was loaded or closed; nothing was changed."


def test_undo_during_a_short_run_is_done_and_ends_the_run(students, panel, segmented):
    students.gate = gate = threading.Event()
    panel.ui.studentComboBox.setCurrentText("student-30k")
    panel.host.processEvents()
    panel.widget.panel.showRunAfter = float("inf")
    panel.click(panel.ui.applyButton)
    assert panel.running and panel.ui.undoButton.enabled
    panel.click(panel.ui.undoButton)
    gate.set()
    settle(panel)
    assert panel.ui.resultLabel.text == "" and panel.ui.redoButton.enabled


def test_the_button_of_the_batch_is_there_again_after_a_short_run(gate, panel, phantom):
    panel.ui.volumesComboBox.check(phantom)
    panel.widget.panel.showRunAfter = float("inf")
    panel.click(panel.ui.applyButton)
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode"))
    assert panel.running and not panel.ui.batchButton.enabled
    gate.set()
    settle(panel)
    assert panel.ui.batchButton.enabled


def test_a_deleted_list_ends_the_placing(panel, segmented):
    panel.click(panel.ui.notLiverPointsButton)
    slicer.mrmlScene.RemoveNode(points.find(segmented, False))
    settle(panel)
    assert not panel.ui.notLiverPointsButton.checked
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() != interaction.Place


# What is shown of a mask


def test_the_line_and_the_overlay_follow_a_batch_over_the_shown_volume(panel, segmented, students):
    from support import band_student

    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    line, before = panel.ui.resultLabel.text.partition(",")[0], overlayVoxels()
    band_student.save(students.folder, "student-30k", 100.0, 120.0)
    panel.ui.studentComboBox.setCurrentText("student-30k")
    panel.ui.volumesComboBox.check(segmented)
    panel.host.processEvents()
    panel.click(panel.ui.batchButton)
    panel.host.wait(lambda: not panel.widget.panel.batch.running)
    settle(panel)
    tableNode = panel.ui.tableSelector.currentNode()
    told = float(tableNode.GetCellText(0, tableNode.GetColumnIndex("Liver [mL]")))
    assert panel.ui.resultLabel.text.startswith(f"Liver {told:.0f} mL") and panel.ui.resultLabel.text != line
    assert (overlayVoxels() != before).any()


def overlays() -> list:
    return [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetHideFromEditors()]


def overlayVoxels() -> np.ndarray:
    (node,) = overlays()
    return slicer.util.arrayFromVolume(node).copy()


def test_a_scan_that_can_be_used_no_more_has_no_overlay(panel, segmented):
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    assert overlays()
    segmented.SetSpacing(0.01, 0.01, 0.01)
    settle(panel)
    assert not panel.ui.applyButton.enabled and not overlays()


def test_the_users_foreground_comes_back(panel, segmented):
    pet, _ = self_test.addPhantom("PET")
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    composite = composites[0] if composites else slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    for chosenBefore in (True, False):
        composite.SetForegroundVolumeID(pet.GetID() if chosenBefore else None)
        panel.click(panel.ui.uncertaintyCheckBox)
        settle(panel)
        composite.SetForegroundVolumeID(pet.GetID())
        panel.ui.thresholdSlider.value = 0.6 if chosenBefore else 0.5
        settle(panel)
        assert composite.GetForegroundVolumeID() == pet.GetID()
        panel.click(panel.ui.uncertaintyCheckBox)
        settle(panel)
        assert composite.GetForegroundVolumeID() == pet.GetID() and not overlays()


def test_a_ct_with_other_voxels_is_said_to_have_changed(panel, segmented):
    array = slicer.util.arrayFromVolume(segmented)
    array[:] = np.roll(array, 2, axis=2)
    slicer.util.arrayFromVolumeModified(segmented)
    settle(panel)
    assert panel.ui.resultLabel.text.endswith("The CT has changed since: segment it again.")
    panel.segment()
    assert "changed" not in panel.ui.resultLabel.text


def test_what_a_script_made_with_something_else_is_not_replaced_unasked(panel, segmented):
    panel.host.leaveModule()
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.fit(roiNode, segmented, panel.output)
    roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [0, 0, 60]))
    settings = PostprocessSettings(threshold=0.6)
    panel.widget.logic.process(segmented, panel.output, region=roiNode, settings=settings)
    before = liver(panel, segmented)
    panel.host.openModule("LiverGTAN")
    settle(panel)
    letTimersFire(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)
    assert panel.ui.thresholdSlider.value == pytest.approx(0.6)
