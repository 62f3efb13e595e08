"""The section "Review": from slice to slice, marks, what changes under it, and nodes that go away."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.mrml import review, scene, self_test
from LiverGTANLib.mrml.review import Review
from support.interactive_cases import liver, segmented, settle
from support.module_fixtures import gate, students
from support.mrml_cases import addSegment
from support.panel_cases import mask, panel, phantom

pytestmark = pytest.mark.slow

BUTTONS = ("nextSliceButton", "previousSliceButton", "reviewedCheckBox", "undoReviewButton", "startOverButton")


def enabled(panel) -> list[str]:
    return [name for name in BUTTONS if getattr(panel.ui, name).enabled]


def put(segmentationNode, volumeNode, array) -> None:
    segmentId = scene.liverSegmentId(segmentationNode)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), segmentationNode, segmentId, volumeNode)


def test_nothing_is_looked_at_until_the_section_is_opened(panel, segmented):
    assert panel.ui.reviewCollapsibleButton.collapsed
    assert panel.ui.reviewLabel.text == "Segment the liver first."  # as before there was one
    panel.ui.reviewCollapsibleButton.collapsed = False
    settle(panel)
    assert enabled(panel) == ["nextSliceButton"] and panel.ui.reviewBar.value == 0
    assert panel.output.GetAttribute(review._REVIEWED) is None


def test_next_counts_the_slice_before_and_previous_goes_back(panel, segmented):
    panel.click(panel.ui.nextSliceButton)
    first = panel.ui.reviewLabel.text
    assert "cm\u00b2 of uncertain border" in first and "%" not in first
    assert not panel.ui.reviewedCheckBox.checked and panel.ui.reviewBar.value == 0
    panel.click(panel.ui.nextSliceButton)
    assert panel.ui.reviewBar.value > 0 and panel.ui.reviewLabel.text != first
    panel.click(panel.ui.previousSliceButton)
    assert panel.ui.reviewLabel.text == first and panel.ui.reviewedCheckBox.checked
    panel.click(panel.ui.reviewedCheckBox)
    assert not panel.ui.reviewedCheckBox.checked and panel.ui.reviewBar.value == 0
    panel.click(panel.ui.undoReviewButton)
    assert panel.ui.reviewedCheckBox.checked and panel.ui.reviewBar.value > 0
    panel.click(panel.ui.startOverButton)
    assert panel.ui.reviewBar.value == 0 and "startOverButton" not in enabled(panel)
    panel.click(panel.ui.undoReviewButton)
    assert panel.ui.reviewBar.value > 0


def test_all_is_reviewed_until_the_mask_changes_and_again_after_undo(panel, segmented):
    panel.ui.reviewCollapsibleButton.collapsed = False
    found = Review(panel.output, jump=lambda ras: None)
    for number in found.open()[5:]:  # the panel would take a click for each
        found.mark(number)
    for _ in range(500):
        if not panel.ui.nextSliceButton.enabled:
            break
        panel.click(panel.ui.nextSliceButton)
    assert panel.ui.reviewBar.value == 100 and "All slices are reviewed" in panel.ui.reviewLabel.text
    assert panel.ui.nextSliceButton.toolTip == "All slices are reviewed."
    before = liver(panel, segmented)
    panel.ui.thresholdSlider.value = 0.6
    settle(panel)
    assert panel.ui.reviewBar.value < 100 and panel.ui.nextSliceButton.enabled
    assert (liver(panel, segmented) != before).any()
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert panel.ui.reviewBar.value == 100


def test_an_edit_by_hand_is_seen_at_once(panel, segmented):
    panel.click(panel.ui.nextSliceButton)
    panel.click(panel.ui.reviewedCheckBox)
    number = panel.widget.panel.review._shown.number
    assert "cm\u00b2 of uncertain border" in panel.ui.reviewLabel.text
    array = mask(panel.output, segmented).copy()
    array[number, array[number].any(axis=1).argmax()] = 0
    put(panel.output, segmented, array)
    settle(panel)
    assert not panel.ui.reviewedCheckBox.checked
    assert "the mask was changed since" in panel.ui.reviewLabel.text  # and not the area that was found before
    found = Review(panel.output, jump=lambda ras: None)
    assert number not in found.reviewed


def test_each_ct_has_a_review_of_its_own(panel, segmented):
    panel.click(panel.ui.nextSliceButton)
    panel.click(panel.ui.reviewedCheckBox)
    share = panel.ui.reviewBar.value
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    settle(panel)
    assert enabled(panel) == [] and panel.ui.nextSliceButton.toolTip == "Segment the liver first."
    panel.segment()
    settle(panel)
    assert panel.ui.reviewBar.value == 0 and enabled(panel) == ["nextSliceButton"]
    panel.choose(segmented)
    settle(panel)
    assert panel.ui.reviewBar.value == share > 0


def test_a_mask_drawn_by_hand_says_how_slices_are_ordered(panel, phantom):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.SetReferenceImageGeometryParameterFromVolumeNode(phantom)
    addSegment(node, phantom, "liver", self_test.phantom_ct()[1])
    panel.ui.outputSelector.setCurrentNode(node)
    settle(panel)
    panel.click(panel.ui.nextSliceButton)
    assert "No answer of the network" in panel.ui.reviewLabel.text


def test_several_segments_without_a_liver_are_told(panel, phantom):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    for name in ("spleen", "kidney"):
        addSegment(node, phantom, name, self_test.phantom_ct()[1])
    panel.ui.outputSelector.setCurrentNode(node)
    panel.ui.reviewCollapsibleButton.collapsed = False
    settle(panel)
    assert enabled(panel) == [] and "name one" in panel.ui.reviewLabel.text


def test_an_erased_liver_and_removed_nodes_leave_nothing_to_review(panel, segmented):
    panel.click(panel.ui.nextSliceButton)
    put(panel.output, segmented, np.zeros(mask(panel.output, segmented).shape))
    settle(panel)
    assert enabled(panel) == [] and panel.ui.reviewLabel.text == "The segment has no voxels."
    slicer.mrmlScene.RemoveNode(panel.output)
    settle(panel)
    assert enabled(panel) == [] and panel.ui.reviewLabel.text == "Segment the liver first."
    assert panel.ui.reviewBar.value == 0
    slicer.mrmlScene.Clear(0)
    settle(panel)
    assert enabled(panel) == [] and not panel.host.dialogs.messages


def test_the_network_is_asked_again_where_its_answer_was_lost(panel, segmented):
    """As after a scene was loaded: the CT is not analyzed."""
    panel.widget.logic.session._cache.clear_analyses()
    panel.click(panel.ui.nextSliceButton)
    settle(panel)
    assert "cm\u00b2 of uncertain border" in panel.ui.reviewLabel.text
    assert not panel.host.dialogs.messages


def test_cancel_and_removal_while_the_network_is_asked(panel, segmented, gate):
    panel.widget.panel.showRunAfter = 0.0
    panel.widget.logic.session._cache.clear_analyses()
    panel.widget.logic.session._cache._engines.clear()
    panel.click(panel.ui.nextSliceButton)
    panel.host.wait(lambda: panel.ui.applyButton.text == "Cancel")
    assert not panel.ui.nextSliceButton.enabled
    panel.click(panel.ui.applyButton)
    settle_without_analysis(panel)
    assert panel.ui.nextSliceButton.enabled
    panel.click(panel.ui.nextSliceButton)
    slicer.mrmlScene.RemoveNode(panel.output)
    gate.set()
    settle(panel)
    assert enabled(panel) == [] and not panel.host.dialogs.messages


def settle_without_analysis(panel) -> None:
    panel.host.wait(lambda: not panel.running)
    panel.host.processEvents()
