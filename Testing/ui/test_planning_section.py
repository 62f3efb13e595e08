"""The section "Planning": a plane is placed, dragged, turned round and taken away, and the parts follow everything."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.mrml import liver_grid, liver_parts, remnant, scene, self_test, surface
from LiverGTANLib.mrml.resection_plan import ResectionPlan
from support.interactive_cases import letTimersFire, liver, segmented, settle
from support.module_fixtures import students
from support.mrml_cases import addSegment, addTransform, addWarp, rotation
from support.panel_cases import panel, phantom

pytestmark = pytest.mark.slow

ML = 0.012


@pytest.fixture
def placed(panel, segmented):
    """The panel after Segment and Place plane; returns the plan."""
    panel.click(panel.ui.placePlaneButton)
    settle(panel)
    return ResectionPlan(panel.output)


def part(plan, name: str, volumeNode) -> np.ndarray:
    segmentId = liver_grid.partId(plan.partsNode, name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(plan.partsNode, segmentId, volumeNode) > 0


def parts(plan, volumeNode) -> np.ndarray:
    """1 in the remnant, 2 in the resected part."""
    return part(plan, "remnant", volumeNode) + 2 * part(plan, "resected", volumeNode)


def move(panel, plan, mm, steps: int = 5) -> None:
    """Drag the plane by its handle, while the event loop runs, without letting it go."""
    plan.cutNode.InvokeCustomModifiedEvent(plan.cutNode.PointStartInteractionEvent)
    start = np.array(plan.cutNode.GetOriginWorld())
    for step in range(1, steps + 1):
        plan.cutNode.SetOriginWorld(*(start + np.array(mm) * step / steps))
        panel.host.processEvents()


def release(panel, plan) -> None:
    plan.cutNode.InvokeCustomModifiedEvent(plan.cutNode.PointEndInteractionEvent)
    settle(panel)


def drag(panel, plan, mm, steps: int = 5) -> None:
    move(panel, plan, mm, steps)
    release(panel, plan)


def requireConsistent(panel, plan, volumeNode) -> None:
    """The parts make up the liver, are divided by the plane, and the line says what is in them."""
    isLiver, found, cut = liver(panel, volumeNode), parts(plan, volumeNode), plan.cut()
    np.testing.assert_array_equal(found > 0, isLiver)
    kji = np.argwhere(isLiver)
    ras = np.c_[kji[:, ::-1], np.ones(len(kji))] @ scene.ijkToWorld(volumeNode).T
    distances = cut.distances(ras[:, :3])
    clear = np.abs(distances) > 1e-3
    remains = (found[isLiver] == 1)[clear]
    np.testing.assert_array_equal(remains, (distances[clear] > 0) == cut.keepsNormalSide)
    ml = np.count_nonzero(found == 1) * ML
    assert f"Remnant {ml:.0f} mL" in panel.ui.planLabel.text
    assert float(plan.tableNode.GetCellText(1, 1)) == pytest.approx(ml, abs=0.06)


def test_nothing_is_there_until_it_is_wanted(panel, segmented):
    count = slicer.mrmlScene.GetNumberOfNodes()
    assert panel.ui.planningCollapsibleButton.collapsed
    panel.ui.planningCollapsibleButton.collapsed = False
    settle(panel)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert panel.ui.placePlaneButton.enabled and not panel.ui.planLabel.text
    for name in ("otherSideButton", "removePlanButton", "undoPlanButton", "redoPlanButton", "planTableButton"):
        assert not getattr(panel.ui, name).enabled, name


def test_without_a_liver_the_buttons_say_what_to_do(panel, phantom):
    assert not panel.ui.placePlaneButton.enabled
    assert panel.ui.placePlaneButton.toolTip == "Segment the liver first."
    panel.segment()
    assert panel.ui.placePlaneButton.enabled


def own(panel, volumeNode, *names, array=None):
    """Choose a segmentation of the user's with segments of these names."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "own")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for name in names:
        addSegment(node, volumeNode, name, phantom_ct()[1].astype(np.uint8) if array is None else array)
    panel.ui.outputSelector.setCurrentNode(node)
    settle(panel)
    return node


def test_why_a_liver_cannot_be_planned_with_is_said_at_the_button(panel, phantom):
    said = {}
    empty = np.zeros_like(slicer.util.arrayFromVolume(phantom), np.uint8)
    own(panel, phantom, "liver", "Liver")
    said["several"] = panel.ui.placePlaneButton.toolTip, panel.ui.placePlaneButton.enabled
    own(panel, phantom, "liver", array=empty)
    said["empty"] = panel.ui.placePlaneButton.toolTip, panel.ui.placePlaneButton.enabled
    node = own(panel, phantom, "liver")
    assert panel.ui.placePlaneButton.enabled
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName(scene.SURFACE)
    node.GetSegmentation().RemoveRepresentation(scene.LABELMAP)
    settle(panel)
    said["surface"] = panel.ui.placePlaneButton.toolTip, panel.ui.placePlaneButton.enabled
    assert not any(enabled for _, enabled in said.values())
    for name, text in (("several", "2 segments are called"), ("empty", "is empty"), ("surface", "no label map")):
        assert text in said[name][0], name


def test_a_plan_that_changes_its_liver_says_so_until_the_next_action(panel, phantom):
    node = own(panel, phantom, "Liver")
    panel.click(panel.ui.placePlaneButton)
    settle(panel)
    plan = ResectionPlan(node)
    assert "The plan is of" not in panel.ui.planLabel.text
    panel.segment()
    settle(panel)
    text = "The plan is of the segment 'liver (LiverGTAN)' now; before, it was of 'Liver'."
    name = node.GetSegmentation().GetSegment(scene.liverSegmentId(node)).GetName()
    text = text.replace("liver (LiverGTAN)", name)
    assert text in panel.ui.planLabel.text.replace("\u200b", "") and text in plan.tableNode.GetCellText(1, 4)
    panel.click(panel.ui.otherSideButton)
    settle(panel)
    assert "The plan is of" not in panel.ui.planLabel.text


def test_one_click_places_the_plane_and_splits_the_liver(panel, segmented, placed):
    before = liver(panel, segmented)
    requireConsistent(panel, placed, segmented)
    share = np.count_nonzero(part(placed, "remnant", segmented)) / before.sum()
    assert share == pytest.approx(0.5, abs=0.03)
    assert "Kishi et al." in panel.ui.planLinesLabel.text and panel.ui.planLinesLabel.visible
    assert not panel.output.GetDisplayNode().GetSegmentVisibility(scene.liverSegmentId(panel.output))
    np.testing.assert_array_equal(liver(panel, segmented), before)


def test_the_parts_follow_while_the_plane_is_dragged(panel, segmented, placed):
    before, liverBefore = parts(placed, segmented), liver(panel, segmented)
    text = panel.ui.planLabel.text
    move(panel, placed, (12, 0, 0))
    during = parts(placed, segmented)
    assert not np.array_equal(during, before) and panel.ui.planLabel.text != text
    letTimersFire(panel)  # the mouse rests, but the button is held
    assert panel.widget.panel.planning.isActive
    release(panel, placed)
    np.testing.assert_array_equal(parts(placed, segmented), during)
    np.testing.assert_array_equal(liver(panel, segmented), liverBefore)
    requireConsistent(panel, placed, segmented)


def test_a_plane_moved_by_a_script_is_followed_too(panel, segmented, placed):
    placed.cutNode.SetNormalWorld(0.3, 0.2, 0.9)
    settle(panel)
    requireConsistent(panel, placed, segmented)
    assert panel.ui.undoPlanButton.enabled


def test_one_undo_for_each_action_and_redo(panel, segmented, placed):
    states = [parts(placed, segmented)]
    drag(panel, placed, (10, 0, 0))
    states.append(parts(placed, segmented))
    panel.click(panel.ui.otherSideButton)
    states.append(parts(placed, segmented))
    np.testing.assert_array_equal(states[2][states[1] > 0], 3 - states[1][states[1] > 0])
    for state in states[-2::-1]:
        panel.click(panel.ui.undoPlanButton)
        np.testing.assert_array_equal(parts(placed, segmented), state)
        requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoPlanButton)
    assert placed.cutNode is placed.partsNode is None and not panel.ui.undoPlanButton.enabled
    assert panel.ui.planLabel.text == "" and panel.output.GetDisplayNode().GetSegmentVisibility(
        scene.liverSegmentId(panel.output)
    )
    for state in states:
        panel.click(panel.ui.redoPlanButton)
        np.testing.assert_array_equal(parts(placed, segmented), state)
    assert not panel.ui.redoPlanButton.enabled
    panel.click(panel.ui.undoPlanButton)
    drag(panel, placed, (3, 0, 0))
    assert not panel.ui.redoPlanButton.enabled


def test_undo_of_the_liver_stays_its_own(panel, segmented, placed):
    before = liver(panel, segmented)
    panel.ui.smoothingSlider.value = 4
    settle(panel)
    assert not np.array_equal(liver(panel, segmented), before)
    requireConsistent(panel, placed, segmented)  # the parts follow the new liver
    panel.click(panel.ui.undoButton)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)
    requireConsistent(panel, placed, segmented)
    assert panel.ui.undoPlanButton.enabled and not panel.ui.redoPlanButton.enabled


def test_without_its_liver_the_parts_stay_and_it_is_told(panel, segmented, placed):
    before = parts(placed, segmented)
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert scene.liverSegmentId(panel.output) == "" or not liver(panel, segmented).any()
    assert "the parts are those of the liver before" in panel.ui.planLabel.text
    np.testing.assert_array_equal(parts(placed, segmented), before)
    assert not panel.ui.placePlaneButton.enabled and not panel.ui.undoPlanButton.enabled
    panel.click(panel.ui.redoButton)
    settle(panel)
    requireConsistent(panel, placed, segmented)


def test_remove_and_its_undo(panel, segmented, placed):
    before = parts(placed, segmented)
    panel.click(panel.ui.removePlanButton)
    settle(panel)
    assert placed.cutNode is placed.partsNode is placed.tableNode is None
    assert panel.ui.planLabel.text == "" and not panel.ui.removePlanButton.enabled
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), before)
    requireConsistent(panel, placed, segmented)


def test_place_again_puts_the_plane_back(panel, segmented, placed):
    before = parts(placed, segmented)
    drag(panel, placed, (0, 0, 500))
    drag(panel, placed, (25, 0, 0))
    panel.click(panel.ui.placePlaneButton)
    np.testing.assert_array_equal(parts(placed, segmented), before)


def test_a_plane_outside_of_the_liver_is_told(panel, segmented, placed):
    drag(panel, placed, (900, 0, 0))
    assert "The plane does not pass through the liver." in panel.ui.planLabel.text
    requireConsistent(panel, placed, segmented)
    drag(panel, placed, (-900, 0, 0))
    assert "does not pass" not in panel.ui.planLabel.text


def test_deleting_the_plane_is_told_and_can_be_undone(panel, segmented, placed):
    drag(panel, placed, (7, 0, 0))
    before = parts(placed, segmented)
    slicer.mrmlScene.RemoveNode(placed.cutNode)
    settle(panel)
    assert "The cut plane was removed; the parts stay as they were." in panel.ui.planLabel.text
    np.testing.assert_array_equal(parts(placed, segmented), before)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), before)
    requireConsistent(panel, placed, segmented)


def test_deleting_the_parts_shows_the_liver_again(panel, segmented, placed):
    slicer.mrmlScene.RemoveNode(placed.partsNode)
    settle(panel)
    assert panel.output.GetDisplayNode().GetSegmentVisibility(scene.liverSegmentId(panel.output))
    assert panel.ui.planLabel.text == "" and not panel.ui.showPartsCheckBox.checked
    panel.click(panel.ui.placePlaneButton)
    requireConsistent(panel, placed, segmented)


def test_deleting_one_part_and_editing_one_is_told(panel, segmented, placed):
    segmentation = placed.partsNode.GetSegmentation()
    array = slicer.util.arrayFromSegmentBinaryLabelmap(placed.partsNode, "remnant", segmented).copy()
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, placed.partsNode, "remnant", segmented)
    settle(panel)
    assert "A part was edited" in panel.ui.planLabel.text
    assert f"Remnant {np.count_nonzero(array) * ML:.0f} mL" in panel.ui.planLabel.text
    slicer.util.updateSegmentBinaryLabelmapFromArray(array * 0, placed.partsNode, "remnant", segmented)
    settle(panel)
    assert "Remnant 0 mL" in panel.ui.planLabel.text and "does not pass" not in panel.ui.planLabel.text
    segmentation.RemoveSegment("remnant")
    settle(panel)
    assert "A part was deleted" in panel.ui.planLabel.text
    drag(panel, placed, (4, 0, 0))
    requireConsistent(panel, placed, segmented)


def test_a_plane_without_a_place_is_told(panel, segmented, placed):
    before = parts(placed, segmented)
    placed.cutNode.RemoveAllControlPoints()
    settle(panel)
    assert "The cut has no place; press Place plane." in panel.ui.planLabel.text
    np.testing.assert_array_equal(parts(placed, segmented), before)
    panel.click(panel.ui.placePlaneButton)
    requireConsistent(panel, placed, segmented)


def test_removing_the_segmentation_or_closing_the_scene_in_a_drag(panel, segmented, placed):
    move(panel, placed, (5, 0, 0))
    slicer.mrmlScene.RemoveNode(panel.output)
    release(panel, placed) if placed.cutNode is not None else settle(panel)
    assert not panel.ui.placePlaneButton.enabled and panel.ui.planLabel.text == ""
    panel.segment()
    settle(panel)
    panel.click(panel.ui.placePlaneButton)
    again = ResectionPlan(panel.output)
    move(panel, again, (5, 0, 0))
    slicer.mrmlScene.Clear(False)
    settle(panel)
    letTimersFire(panel)
    assert panel.ui.planLabel.text == "" and not panel.ui.placePlaneButton.enabled
    self_test.addPhantom()
    settle(panel)
    panel.segment()
    settle(panel)
    assert not panel.ui.undoPlanButton.enabled  # no steps of the closed scene


def test_each_volume_has_its_own_plan(panel, segmented, placed):
    drag(panel, placed, (9, 0, 0))
    before, text = parts(placed, segmented), panel.ui.planLabel.text
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    panel.segment()
    settle(panel)
    assert panel.ui.planLabel.text == "" and not panel.ui.undoPlanButton.enabled
    panel.click(panel.ui.placePlaneButton)
    assert ResectionPlan(panel.output).cutNode != placed.cutNode
    panel.choose(segmented)
    settle(panel)
    assert panel.ui.planLabel.text == text and panel.ui.undoPlanButton.enabled
    np.testing.assert_array_equal(parts(placed, segmented), before)


def test_leaving_the_module_the_parts_still_follow(panel, segmented, placed):
    panel.host.leaveModule()
    placed.cutNode.SetNormalWorld(0, 0.5, 0.8)
    settle(panel)
    requireConsistent(panel, placed, segmented)
    panel.host.openModule("LiverGTAN")
    settle(panel)
    requireConsistent(panel, placed, segmented)


def test_saved_and_loaded(panel, segmented, placed, tmp_path):
    drag(panel, placed, (6, 0, 0))
    panel.ui.weightLineEdit.text = "64"
    panel.ui.weightLineEdit.editingFinished.emit()
    text, before = panel.ui.planLabel.text, parts(placed, segmented)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    settle(panel)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(panel)
    (volumeNode,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    loaded = ResectionPlan(panel.output)
    assert loaded.exists and panel.ui.planLabel.text == text and panel.ui.weightLineEdit.text == "64"
    np.testing.assert_array_equal(parts(loaded, volumeNode), before)
    drag(panel, loaded, (-3, 2, 0))
    requireConsistent(panel, loaded, volumeNode)


def test_parts_of_an_older_liver_are_told_when_the_module_opens_and_updated_on_a_click(panel, segmented, placed):
    panel.widget.panel.planning.close()  # as in a session in which the module was not opened
    array = slicer.util.arrayFromSegmentBinaryLabelmap(panel.output, scene.liverSegmentId(panel.output), segmented)
    array = array.copy()
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, panel.output, scene.liverSegmentId(panel.output), segmented)
    panel.host.leaveModule()
    panel.host.openModule("LiverGTAN")
    panel.widget.panel.refresh()
    settle(panel)
    assert "The parts are those of an older liver." in panel.ui.planLabel.text
    panel.ui.planLabel.linkActivated.emit("update")
    settle(panel)
    requireConsistent(panel, placed, segmented)
    assert "older" not in panel.ui.planLabel.text


def test_moved_and_warped(panel, segmented, placed):
    transform = addTransform(slicer.mrmlScene, rotation(2, 15))
    for node in (segmented, panel.output):
        node.SetAndObserveTransformNodeID(transform.GetID())
    settle(panel)
    assert placed.partsNode.GetTransformNodeID() == transform.GetID()
    requireConsistent(panel, placed, segmented)
    warp = addWarp(slicer.mrmlScene)
    for node in (segmented, panel.output):
        node.SetAndObserveTransformNodeID(warp.GetID())
    settle(panel)
    np.testing.assert_array_equal(parts(placed, segmented) > 0, liver(panel, segmented))
    assert placed.partsNode.GetTransformNodeID() == warp.GetID()


def test_show_parts_and_show_3d(panel, segmented, placed, monkeypatch):
    display, segmentId = panel.output.GetDisplayNode(), scene.liverSegmentId(panel.output)
    panel.click(panel.ui.showPartsCheckBox)
    assert display.GetSegmentVisibility(segmentId) and not placed.partsNode.GetDisplayNode().GetVisibility()
    panel.click(panel.ui.showPartsCheckBox)
    assert not display.GetSegmentVisibility(segmentId) and placed.partsNode.GetDisplayNode().GetVisibility()
    panel.click(panel.ui.show3DButton)
    settle(panel)

    def bounds() -> list:
        return [made.GetBounds() for made in liver_parts.surfaces(placed.partsNode).values()]

    before = bounds()
    assert len(before) == 2
    monkeypatch.setattr(surface, "make", None)  # from here on none is made on the main thread
    drag(panel, placed, (12, 0, 0))
    settle(panel)
    assert len(bounds()) == 2 and bounds() != before
    panel.click(panel.ui.undoPlanButton)
    settle(panel)
    assert bounds() == before
    panel.click(panel.ui.show3DButton)
    settle(panel)
    assert bounds() == []


def test_weight_typed_right_and_wrong(panel, segmented, placed):
    field = panel.ui.weightLineEdit
    assert field.placeholderText == "not known" and "needs the weight" in panel.ui.planLinesLabel.text
    field.text = "70,5"
    field.editingFinished.emit()
    ml = np.count_nonzero(part(placed, "remnant", segmented)) * ML
    assert f"{ml / 70.5:.1f} mL/kg" in panel.ui.planLabel.text and "mL/kg" not in panel.ui.planLinesLabel.text
    assert f"{0.005 * 70.5 * 1000:.0f} mL" in panel.ui.planLinesLabel.text
    assert remnant.typedWeight(panel.output) == 70.5
    settle(panel)
    for wrong in ("heavy", "-4", "70000", "1_0"):
        field.text = wrong
        field.editingFinished.emit()
        settle(panel)  # the change of the weight is followed
        said = panel.ui.planLabel.text
        assert f"'{wrong}' is no body weight" in said and field.text == wrong and "mL/kg" not in said
        assert remnant.typedWeight(panel.output) is None
    field.text = "1.000"
    field.editingFinished.emit()
    assert "'1.000' could be 1 or a thousand times as much" in panel.ui.planLabel.text
    assert remnant.typedWeight(panel.output) is None
    field.text = ""
    field.editingFinished.emit()
    assert "mL/kg" not in panel.ui.planLabel.text and "no body weight" not in panel.ui.planLabel.text


def test_what_is_not_followed_yet_is_followed_before_an_action(panel, segmented, placed):
    states = [parts(placed, segmented)]
    for act in ("weight", "otherSideButton"):
        placed.cutNode.SetOriginWorld(*(np.array(placed.cutNode.GetOriginWorld()) + [5, 0, 0]))
        if act == "weight":
            panel.ui.weightLineEdit.text = "70"
            panel.ui.weightLineEdit.editingFinished.emit()
            requireConsistent(panel, placed, segmented)
        else:
            getattr(panel.ui, act).click()
            panel.click(panel.ui.undoPlanButton)
        assert "another place" not in panel.ui.planLabel.text
        states.append(parts(placed, segmented))
    for state in states[-2::-1]:
        panel.click(panel.ui.undoPlanButton)
        np.testing.assert_array_equal(parts(placed, segmented), state)


def test_the_table_is_opened_and_made_again_when_it_was_deleted(panel, segmented, placed):
    slicer.mrmlScene.RemoveNode(placed.tableNode)
    panel.click(panel.ui.planTableButton)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveTableID() == placed.tableNode.GetID()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    requireConsistent(panel, placed, segmented)


def test_segmenting_again_into_the_same_segmentation_and_reload_of_the_module(panel, segmented, placed):
    panel.ui.thresholdSlider.value = 0.7
    settle(panel)
    panel.segment()
    settle(panel)
    requireConsistent(panel, placed, segmented)
    panel.widget.onReload()
    panel.widget = slicer.util.getModuleWidget("LiverGTAN")
    panel.ui = panel.widget.ui
    settle(panel)
    drag(panel, placed, (-6, 0, 0))
    requireConsistent(panel, placed, segmented)


def test_a_script_and_the_panel_share_one_plan(panel, segmented, placed):
    panel.ui.weightLineEdit.text = "heavy"
    panel.ui.weightLineEdit.editingFinished.emit()
    plan = panel.widget.logic.splitLiver(panel.output, remnantSide="opposite", weightKg=80)
    settle(panel)
    assert plan.cutNode == placed.cutNode and plan.volumes.weightKg == 80
    assert panel.ui.weightLineEdit.text == "80" and "no body weight" not in panel.ui.planLabel.text
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoPlanButton)
    requireConsistent(panel, placed, segmented)


def test_a_plan_that_a_script_made_is_followed(panel, segmented):
    plan = panel.widget.logic.splitLiver(panel.output)
    settle(panel)
    requireConsistent(panel, plan, segmented)
    before = parts(plan, segmented)
    drag(panel, plan, (8, 0, 0))
    requireConsistent(panel, plan, segmented)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(plan, segmented), before)


def test_the_first_drag_after_a_reload_can_be_undone(panel, segmented, placed):
    before = parts(placed, segmented)
    panel.widget.onReload()
    panel.widget = slicer.util.getModuleWidget("LiverGTAN")
    panel.ui = panel.widget.ui
    settle(panel)
    drag(panel, placed, (10, 0, 0))
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), before)
    assert not panel.ui.undoPlanButton.enabled  # the plan of the scene itself stays


def test_an_edit_is_told_until_the_parts_are_made_anew(panel, segmented, placed, tmp_path):
    array = part(placed, "remnant", segmented).astype(np.uint8)
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, placed.partsNode, "remnant", segmented)
    settle(panel)
    panel.ui.weightLineEdit.text = "70"
    panel.ui.weightLineEdit.editingFinished.emit()
    said = panel.ui.planLabel.text
    assert "A part was edited" in said and "mL/kg" in said
    other, _ = self_test.addPhantom("Other")
    for volumeNode in (other, segmented):
        panel.choose(volumeNode)
        settle(panel)
    assert panel.ui.planLabel.text == said
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    settle(panel)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(panel)
    panel.choose(slicer.mrmlScene.GetFirstNodeByName(segmented.GetName()))
    settle(panel)
    assert panel.ui.planLabel.text == said
    panel.click(panel.ui.placePlaneButton)
    settle(panel)
    assert "edited" not in panel.ui.planLabel.text


def test_another_patients_liver_in_the_segmentation_takes_the_weight_away(panel, segmented, placed):
    panel.ui.weightLineEdit.text = "70"
    panel.ui.weightLineEdit.editingFinished.emit()
    shared = panel.output
    panel.choose(self_test.addPhantom("Other")[0])
    panel.ui.outputSelector.setCurrentNode(shared)
    panel.segment()
    settle(panel)
    assert "Remnant" in panel.ui.planLabel.text and "mL/kg" not in panel.ui.planLabel.text
    assert panel.ui.weightLineEdit.text == ""


def test_a_liver_without_a_label_map_is_told_at_each_refresh(panel, segmented, placed):
    panel.click(panel.ui.show3DButton)
    settle(panel)
    for node in (placed.partsNode, panel.output):
        node.GetSegmentation().SetSourceRepresentationName(scene.SURFACE)
        node.GetSegmentation().RemoveRepresentation(scene.LABELMAP)
        settle(panel)
    assert "'remnant' in '" in panel.ui.planLabel.text and "cannot be measured" in panel.ui.planLabel.text
    panel.widget.panel.refresh()
    settle(panel)
    assert "'liver' in '" in panel.ui.resultLabel.text and "cannot be measured" in panel.ui.resultLabel.text


def test_a_liver_that_was_read_from_a_file_is_planned_when_it_is_chosen(panel, phantom):
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from the archive")
    own.CreateDefaultDisplayNodes()
    own.SetReferenceImageGeometryParameterFromVolumeNode(phantom)
    addSegment(own, phantom, "Liver", phantom_ct()[1])
    before = slicer.util.arrayFromSegmentBinaryLabelmap(own, "Liver", phantom)
    panel.ui.outputSelector.setCurrentNode(own)
    settle(panel)
    panel.click(panel.ui.placePlaneButton)
    settle(panel)
    plan = ResectionPlan(own)
    found = parts(plan, phantom)
    np.testing.assert_array_equal(found > 0, before > 0)
    assert f"Remnant {np.count_nonzero(found == 1) * ML:.0f} mL" in panel.ui.planLabel.text
    panel.segment()  # beside it, and then it is the module's own that is planned
    settle(panel)
    np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(own, "Liver", phantom), before)
    assert liver_grid.liverSegmentId(own) == scene.liverSegmentId(own) != "Liver"
