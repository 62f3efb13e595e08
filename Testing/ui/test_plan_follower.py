"""Plans follow their livers and cuts whatever is chosen, lose no edit by hand, and go with their livers."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from ui.test_planning_section import ML, drag, move, part, parts, placed, release, requireConsistent

from LiverGTANLib.mrml import liver_grid, liver_parts, resection_plan, scene, self_test
from LiverGTANLib.mrml.resection_plan import ResectionPlan
from support.interactive_cases import liver, segmented, settle
from support.module_fixtures import students
from support.mrml_cases import addSegment, addTransform
from support.panel_cases import mask, panel, phantom

pytestmark = pytest.mark.slow


def cells(plan) -> dict[str, tuple[str, str]]:
    """Quantity -> (mL, source) in the table of the plan."""
    node = plan.tableNode
    return {node.GetCellText(n, 0): (node.GetCellText(n, 1), node.GetCellText(n, 4)) for n in range(3)}


def edit(plan, volumeNode) -> np.ndarray:
    """Edit the remnant by hand: a corner of it goes. Returns the parts as they are then."""
    array = part(plan, "remnant", volumeNode).astype(np.uint8)
    array[: np.argwhere(array)[:, 0].mean().astype(int)] = 0
    segmentId = liver_grid.partId(plan.partsNode, "remnant")
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, plan.partsNode, segmentId, volumeNode)
    return parts(plan, volumeNode)


def chooseAnother(panel):
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    settle(panel)
    return other


# Whatever is chosen


def test_a_plane_that_is_moved_while_another_ct_is_chosen_takes_its_parts_along(panel, segmented, placed):
    before = parts(placed, segmented)
    other = chooseAnother(panel)
    panel.segment()
    panel.click(panel.ui.placePlaneButton)
    said = panel.ui.planLabel.text
    drag(panel, placed, (12, 0, 0))
    after = parts(placed, segmented)
    assert not np.array_equal(after, before) and panel.ui.planLabel.text == said
    assert float(cells(placed)["Remnant"][0]) == pytest.approx(np.count_nonzero(after == 1) * ML, abs=0.06)
    panel.choose(segmented)
    settle(panel)
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), before)
    panel.choose(other)
    settle(panel)
    assert panel.ui.planLabel.text == said


def test_a_drag_goes_on_while_another_ct_is_chosen_and_is_one_step(panel, segmented, placed):
    before = parts(placed, segmented)
    move(panel, placed, (5, 0, 0))
    panel.choose(self_test.addPhantom("Other")[0])
    move(panel, placed, (5, 0, 0))
    release(panel, placed)
    panel.choose(segmented)
    settle(panel)
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), before)


def test_plans_of_a_loaded_scene_are_followed_whatever_is_chosen(panel, segmented, placed, tmp_path):
    other = chooseAnother(panel)
    name = segmented.GetName()
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    settle(panel)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(panel)
    assert panel.ui.inputSelector.currentNode().GetName() == "Other" and other.GetScene() is None
    volumeNode = slicer.mrmlScene.GetFirstNodeByName(name)
    loaded = ResectionPlan(scene.findSegmentation(volumeNode))
    before = parts(loaded, volumeNode)
    drag(panel, loaded, (9, 0, 0))
    assert not np.array_equal(parts(loaded, volumeNode), before) and loaded.outdated() == ""


# Edits by hand


def test_an_edit_of_a_part_comes_back_by_undo_of_the_drag_after_it(panel, segmented, placed):
    edited = edit(placed, segmented)
    settle(panel)
    said = panel.ui.planLabel.text
    assert resection_plan.EDITED in said and resection_plan.EDITED in cells(placed)["Remnant"][1]
    drag(panel, placed, (8, 0, 0))
    moved = parts(placed, segmented)
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), edited)
    assert panel.ui.planLabel.text == said
    panel.click(panel.ui.redoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), moved)
    panel.click(panel.ui.undoPlanButton)
    drag(panel, placed, (3, 0, 0))
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), edited)


@pytest.mark.parametrize("name", ["otherSideButton", "placePlaneButton", "bendButton", "removePlanButton"])
def test_an_edit_comes_back_by_undo_of_each_action(panel, segmented, placed, name):
    edited = edit(placed, segmented)
    settle(panel)
    panel.click(getattr(panel.ui, name))
    settle(panel)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), edited)
    assert resection_plan.EDITED in panel.ui.planLabel.text


def test_an_edit_comes_back_by_redo_after_undo(panel, segmented, placed):
    drag(panel, placed, (8, 0, 0))
    edited = edit(placed, segmented)
    settle(panel)
    panel.click(panel.ui.undoPlanButton)
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.redoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), edited)


def test_an_edit_outlives_a_change_of_the_liver_and_its_undo(panel, segmented, placed):
    edited = edit(placed, segmented)
    settle(panel)
    panel.ui.smoothingSlider.value = 4
    settle(panel)
    made = parts(placed, segmented)
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), edited)
    assert "those of an older liver" in panel.ui.planLabel.text and "mL (" not in panel.ui.planLabel.text
    panel.click(panel.ui.redoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), made)
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoButton)
    settle(panel)
    np.testing.assert_array_equal(parts(placed, segmented), edited)  # one Undo for all that the new liver changed
    assert resection_plan.EDITED in panel.ui.planLabel.text and "older" not in panel.ui.planLabel.text
    panel.click(panel.ui.redoButton)
    settle(panel)
    np.testing.assert_array_equal(parts(placed, segmented), made)
    panel.click(panel.ui.undoPlanButton)
    panel.ui.smoothingSlider.value = 2
    settle(panel)
    requireConsistent(panel, placed, segmented)
    panel.click(panel.ui.undoPlanButton)
    np.testing.assert_array_equal(parts(placed, segmented), edited)


@pytest.mark.parametrize("hardened", [False, True])
def test_parts_moved_away_from_the_liver_are_told_and_lie_in_it_again_after_a_drag(panel, segmented, placed, hardened):
    partsNode = placed.partsNode
    partsNode.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, np.diag([2.0, 1, 1, 1])).GetID())
    settle(panel)
    if hardened:
        partsNode.HardenTransform()
        settle(panel)
    assert resection_plan.MOVED in panel.ui.planLabel.text and "mL (" not in panel.ui.planLabel.text
    assert set(cells(placed).values()) == {("nan", resection_plan.MOVED)}
    drag(panel, placed, (4, 0, 0))
    requireConsistent(panel, placed, segmented)
    assert placed.remark() == ""


# What is shown


def isSeen(segmentationNode, segmentId: str) -> bool:
    return segmentationNode.GetDisplayNode().GetSegmentVisibility(segmentId)


def test_undo_and_redo_of_the_liver_do_not_show_it_beside_its_parts(panel, segmented, placed):
    panel.click(panel.ui.undoButton)
    settle(panel)
    panel.click(panel.ui.redoButton)
    settle(panel)
    assert not isSeen(panel.output, scene.liverSegmentId(panel.output))
    assert placed.partsNode.GetDisplayNode().GetVisibility() and panel.ui.showPartsCheckBox.checked
    panel.click(panel.ui.showPartsCheckBox)
    panel.click(panel.ui.undoButton)
    panel.click(panel.ui.redoButton)
    settle(panel)
    assert isSeen(panel.output, scene.liverSegmentId(panel.output))


def test_a_liver_segmented_again_after_it_was_deleted_stays_behind_its_parts(panel, segmented, placed):
    panel.output.GetSegmentation().RemoveSegment(scene.liverSegmentId(panel.output))
    settle(panel)
    panel.segment()
    settle(panel)
    assert not isSeen(panel.output, scene.liverSegmentId(panel.output))
    requireConsistent(panel, placed, segmented)


def test_a_hidden_plane_and_hidden_parts_are_seen_after_place_plane(panel, segmented, placed):
    placed.cutNode.GetDisplayNode().SetVisibility(False)
    placed.partsNode.GetDisplayNode().SetVisibility(False)
    panel.click(panel.ui.placePlaneButton)
    assert placed.cutNode.GetDisplayNode().GetVisibility() and placed.partsNode.GetDisplayNode().GetVisibility()
    slicer.mrmlScene.RemoveNode(placed.cutNode.GetDisplayNode())
    panel.click(panel.ui.placePlaneButton)
    display = placed.cutNode.GetDisplayNode()
    assert display.GetVisibility() and display.GetHandlesInteractive()


# Deleted nodes


@pytest.mark.parametrize("isChosen", [True, False])
def test_a_plan_goes_with_its_liver(panel, segmented, placed, isChosen):
    output, nodes = panel.output, placed.nodes
    assert len(nodes) == 3
    if not isChosen:
        chooseAnother(panel)
    slicer.mrmlScene.RemoveNode(output)
    settle(panel)
    assert all(node.GetScene() is None for node in nodes)
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsPlaneDisplayNode")
    assert panel.ui.planLabel.text == "" and not panel.ui.undoPlanButton.enabled and not panel.host.uncaught


def test_the_users_segments_beside_the_parts_outlive_the_liver(panel, segmented, placed):
    own = np.zeros(mask(panel.output, segmented).shape, np.uint8)
    own[0, :2, :2] = 1
    partsNode, cutNode = placed.partsNode, placed.cutNode
    addSegment(partsNode, segmented, "tumor", own)
    slicer.mrmlScene.RemoveNode(panel.output)
    settle(panel)
    assert list(partsNode.GetSegmentation().GetSegmentIDs()) == ["tumor"] and cutNode.GetScene() is None


def test_a_plan_outlives_the_ct_of_its_liver(panel, segmented, placed):
    output = panel.output
    remnant = placed.partsNode.GetSegmentation().GetSegment("remnant")
    before = scene.segmentVoxels(remnant)
    slicer.mrmlScene.RemoveNode(segmented)
    settle(panel)
    assert output.GetScene() is not None and len(placed.nodes) == 3
    drag(panel, placed, (9, 0, 0))
    after = scene.segmentVoxels(remnant)
    assert after != before
    assert float(cells(placed)["Remnant"][0]) == pytest.approx(after * ML, abs=0.06)


def test_the_table_says_that_a_part_or_all_parts_were_deleted(panel, segmented, placed):
    tableNode = placed.tableNode
    placed.partsNode.GetSegmentation().RemoveSegment("resected")
    settle(panel)
    assert set(cells(placed).values()) == {("nan", resection_plan.DELETED)}
    drag(panel, placed, (4, 0, 0))
    requireConsistent(panel, placed, segmented)
    assert tableNode.GetNumberOfRows() == 7
    slicer.mrmlScene.RemoveNode(placed.partsNode)
    settle(panel)
    assert set(cells(placed).values()) == {("nan", resection_plan.NO_PARTS)}


def test_the_table_says_of_what_liver_and_cut_its_figures_are(panel, segmented, placed):
    panel.output.GetSegmentation().RemoveSegment(scene.liverSegmentId(panel.output))
    settle(panel)
    ml, source = cells(placed)["Remnant"]
    assert float(ml) == pytest.approx(np.count_nonzero(part(placed, "remnant", segmented)) * ML, abs=0.06)
    assert "There is no liver any more" in source
    panel.segment()
    settle(panel)
    assert cells(placed)["Remnant"][1] == "the parts"
    slicer.mrmlScene.RemoveNode(placed.cutNode)
    settle(panel)
    assert resection_plan.NO_CUT in cells(placed)["Remnant"][1] and resection_plan.NO_CUT in panel.ui.planLabel.text


# A curve


def pull(panel, plan, mm, index: int = 2) -> None:
    """Drag one control point of the curve."""
    node, place = plan.cutNode, [0.0] * 3
    node.InvokeCustomModifiedEvent(node.PointStartInteractionEvent)
    node.GetNthControlPointPositionWorld(index, place)
    for share in (0.5, 1.0):
        node.SetNthControlPointPositionWorld(index, *(np.array(place) + share * np.array(mm)))
        panel.host.processEvents()
    node.InvokeCustomModifiedEvent(node.PointEndInteractionEvent)
    settle(panel)


def requireFollowed(panel, plan, volumeNode) -> None:
    """The parts make up the liver, and the line and the table say what is in them."""
    found = parts(plan, volumeNode)
    np.testing.assert_array_equal(found > 0, liver(panel, volumeNode))
    ml = np.count_nonzero(found == 1) * ML
    assert f"Remnant {ml:.0f} mL" in panel.ui.planLabel.text
    assert float(cells(plan)["Remnant"][0]) == pytest.approx(ml, abs=0.06)


def test_a_bent_plane_cuts_alike_until_a_point_is_dragged_and_each_is_one_step(panel, segmented, placed):
    flat = parts(placed, segmented)
    panel.click(panel.ui.bendButton)
    bent = parts(placed, segmented)
    assert np.count_nonzero(bent != flat) < 0.01 * np.count_nonzero(flat)  # those whose centers lie on the plane
    assert panel.ui.bendButton.text == "Flatten"
    assert placed.cutNode.GetClassName() == "vtkMRMLMarkupsCurveNode"
    pull(panel, placed, (25, 0, 0))
    pulled = parts(placed, segmented)
    assert np.count_nonzero(pulled != bent) > 0.02 * np.count_nonzero(flat)
    requireFollowed(panel, placed, segmented)
    panel.click(panel.ui.otherSideButton)
    np.testing.assert_array_equal(parts(placed, segmented)[pulled > 0], 3 - pulled[pulled > 0])
    for state in (pulled, bent, flat):
        panel.click(panel.ui.undoPlanButton)
        np.testing.assert_array_equal(parts(placed, segmented), state)
    assert placed.cutNode.GetClassName() == "vtkMRMLMarkupsPlaneNode" and panel.ui.bendButton.text == "Bend"
    for state in (bent, pulled):
        panel.click(panel.ui.redoPlanButton)
        np.testing.assert_array_equal(parts(placed, segmented), state)
    panel.click(panel.ui.bendButton)  # flat again, through the middle of the curve
    requireConsistent(panel, placed, segmented)


def test_a_curve_is_saved_and_loaded_with_its_parts(panel, segmented, placed, tmp_path):
    panel.click(panel.ui.bendButton)
    pull(panel, placed, (25, 0, 0))
    before, said, name = parts(placed, segmented), panel.ui.planLabel.text, segmented.GetName()
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    settle(panel)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(panel)
    volumeNode = slicer.mrmlScene.GetFirstNodeByName(name)
    loaded = ResectionPlan(panel.output)
    assert panel.ui.planLabel.text == said and loaded.outdated() == "" and panel.ui.bendButton.text == "Flatten"
    np.testing.assert_array_equal(parts(loaded, volumeNode), before)
    pull(panel, loaded, (-10, 0, 0))
    requireFollowed(panel, loaded, volumeNode)


def test_a_curve_that_crosses_itself_or_lost_its_points_is_told_and_loses_nothing(panel, segmented, placed):
    panel.click(panel.ui.bendButton)
    before, said = parts(placed, segmented), panel.ui.planLabel.text
    pull(panel, placed, (0, 900, 0), index=1)
    assert "crosses itself" in panel.ui.planLabel.text and "crosses itself" in cells(placed)["Remnant"][1]
    np.testing.assert_array_equal(parts(placed, segmented), before)
    panel.click(panel.ui.undoPlanButton)
    assert panel.ui.planLabel.text == said
    placed.cutNode.RemoveAllControlPoints()
    settle(panel)
    assert resection_plan.NO_PLACE in panel.ui.planLabel.text
    np.testing.assert_array_equal(parts(placed, segmented), before)
    panel.click(panel.ui.undoPlanButton)
    assert panel.ui.planLabel.text == said
    np.testing.assert_array_equal(parts(placed, segmented), before)
