"""The section "Sequence": a run over all frames, Cancel, the question before something is replaced, Undo, the curve."""

import threading

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.mrml import scene, self_test, sequence_curve
from LiverGTANLib.mrml.ct_sequence import CtSequence
from LiverGTANLib.mrml.resection_plan import ResectionPlan
from LiverGTANLib.mrml.sequence_curve import BEFORE_CHANGED
from LiverGTANLib.mrml.session import EDITED
from support.interactive_cases import addRoi, settle
from support.module_fixtures import gate, students
from support.mrml_cases import addTransform
from support.panel_cases import mask, panel
from support.sequence_cases import addBrowser, addPhantomSequence, addSequence, addVolumes, phantomFrames

pytestmark = pytest.mark.slow

BUTTONS = ("segmentFramesButton", "undoFramesButton", "showCurveButton")


def enabled(panel) -> list[str]:
    return [name for name in BUTTONS if getattr(panel.ui, name).enabled]


@pytest.fixture
def frames(panel):
    """The panel with the first of three frames chosen and the section open; returns (browser, volume)."""
    browser, volume = addPhantomSequence(3)
    panel.choose(volume)
    panel.ui.sequenceCollapsibleButton.collapsed = False
    settle(panel)
    return browser, volume


def segmentAll(panel) -> None:
    panel.click(panel.ui.segmentFramesButton)
    settle(panel)


def counts(volume) -> list[int]:
    made = CtSequence.of(volume).segmentations
    nodes = [made.GetNthDataNode(n) for n in range(made.GetNumberOfDataNodes())] if made else []
    return [scene.segmentVoxels(node.GetSegmentation().GetNthSegment(0)) for node in nodes]


def test_a_run_from_the_panel_its_curve_and_its_undo(panel, frames):
    browser, volume = frames
    browser.SetSelectedItemNumber(1)
    assert panel.ui.sequenceLabel.text == "3 frames in 'CT'." and enabled(panel) == ["segmentFramesButton"]
    segmentAll(panel)
    assert len(counts(volume)) == 3 and min(counts(volume)) > 1000
    assert panel.ui.sequenceLabel.text.startswith("3 of 3 frames: ") and "flicker" in panel.ui.sequenceLabel.text
    assert browser.GetSelectedItemNumber() == 1 and scene.liverVolume(panel.output) == volume
    panel.click(panel.ui.showCurveButton)
    chart = slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()
    assert slicer.mrmlScene.GetNodeByID(chart).IsA("vtkMRMLPlotChartNode")
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView
    panel.click(panel.ui.undoFramesButton)
    settle(panel)
    assert counts(volume) == [] and panel.output is None and enabled(panel) == ["segmentFramesButton"]
    assert not panel.host.dialogs.messages


def test_cancel_leaves_nothing(panel, frames, gate):
    panel.widget.panel.showRunAfter = 0.0
    count = slicer.mrmlScene.GetNumberOfNodes()
    panel.click(panel.ui.segmentFramesButton)
    panel.host.wait(lambda: panel.ui.progressBar.visible and "Frame 1 of 3" in panel.ui.progressBar.format)
    assert panel.ui.segmentFramesButton.text == "Cancel" and not panel.ui.undoFramesButton.enabled
    panel.click(panel.ui.segmentFramesButton)
    gate.set()
    settle(panel)
    assert panel.ui.sequenceLabel.text == "Canceled; nothing was changed."
    assert panel.ui.segmentFramesButton.text == "Segment all frames"
    assert slicer.mrmlScene.GetNumberOfNodes() == count and not panel.host.dialogs.messages


def test_the_main_button_cancels_too_and_another_module_ends_the_run(panel, frames, gate):
    panel.widget.panel.showRunAfter = 0.0
    panel.click(panel.ui.segmentFramesButton)
    panel.host.wait(lambda: panel.ui.applyButton.text == "Cancel")
    panel.click(panel.ui.applyButton)
    assert panel.ui.segmentFramesButton.text == "Segment all frames"
    panel.click(panel.ui.segmentFramesButton)
    panel.host.leaveModule()
    gate.set()
    panel.host.openModule("LiverGTAN")
    settle(panel)
    assert counts(frames[1]) == [] and enabled(panel) == ["segmentFramesButton"]


@pytest.mark.parametrize("what", ["sequence", "browser", "volume"])
def test_nodes_removed_in_the_middle_end_the_run(panel, frames, gate, what):
    browser, volume = frames
    panel.click(panel.ui.segmentFramesButton)
    nodes = {"sequence": browser.GetMasterSequenceNode(), "browser": browser, "volume": volume}
    slicer.mrmlScene.RemoveNode(nodes[what])
    gate.set()
    settle(panel)
    assert "removed" in panel.ui.sequenceLabel.text and not panel.host.dialogs.messages
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_a_scene_closed_in_the_middle_ends_the_run(panel, frames, gate):
    panel.click(panel.ui.segmentFramesButton)
    slicer.mrmlScene.Clear(0)
    gate.set()
    settle(panel)
    assert enabled(panel) == [] and panel.ui.sequenceLabel.text == "Choose a CT of a sequence."
    assert slicer.util.getNodesByClass("vtkMRMLSequenceNode") == [] and not panel.host.dialogs.messages


def test_removed_after_the_run_each_node_leaves_the_rest_in_order(panel, frames):
    """The sequence of CTs, its browser, the node that shows a mask: Slicer's own nodes are not asked while they go."""
    browser, volume = frames
    segmentAll(panel)
    source = CtSequence.of(volume)
    for node in (panel.output, source.segmentations, browser, source.sequenceNode, volume):
        slicer.mrmlScene.RemoveNode(node)
        panel.host.processEvents()
        panel.widget.panel.sequence.refresh()
    assert enabled(panel) == [] and not panel.host.dialogs.messages


def test_frames_without_a_mask_are_counted(panel, frames):
    _browser, volume = frames
    segmentAll(panel)
    assert "without a mask" not in panel.ui.sequenceLabel.text
    made = CtSequence.of(volume).segmentations
    made.RemoveDataNodeAtValue(made.GetNthIndexValue(2))
    settle(panel)
    panel.click(panel.ui.showCurveButton)
    assert panel.ui.sequenceLabel.text.startswith("2 of 2 frames")
    assert "Frames of the CT without a mask: 1" in panel.ui.sequenceLabel.text


def test_a_plan_follows_the_frame_that_is_shown(panel, frames):
    """A browser replaces what the node holds, of which the node sends its own event alone."""
    browser, volume = frames
    segmentAll(panel)
    panel.click(panel.ui.placePlaneButton)
    settle(panel)
    before = panel.ui.planLabel.text
    browser.SetSelectedItemNumber(1)
    panel.host.processEvents()
    settle(panel)
    parts = ResectionPlan(panel.output).partsNode.GetSegmentation()
    assert sum(scene.segmentVoxels(parts.GetNthSegment(n)) for n in (0, 1)) == counts(volume)[1] != counts(volume)[0]
    assert "Remnant" in panel.ui.planLabel.text != before


def test_what_is_there_is_replaced_only_after_a_question(panel, frames):
    _browser, volume = frames
    segmentAll(panel)
    there = counts(volume)
    panel.ui.thresholdSlider.value = 0.6
    settle(panel)
    moved = counts(volume)
    assert moved[0] < there[0] and moved[1:] == there[1:]  # as set for the frame that is shown
    from host.pythonqt import qt

    panel.host.dialogs.answer = qt.QMessageBox.Cancel
    segmentAll(panel)
    assert counts(volume) == moved and "segmented already" in panel.host.dialogs.texts("question")[0]
    panel.host.dialogs.answer = qt.QMessageBox.Ok
    segmentAll(panel)
    assert all(new < old for new, old in zip(counts(volume), there))
    panel.click(panel.ui.undoFramesButton)
    assert counts(volume) == moved


def halve(panel, volume) -> int:
    """Take half of the liver of the frame that is shown away by hand; returns the number of voxels that stay."""
    array = mask(panel.output, volume).copy()
    array[: len(array) // 2] = 0
    segmentId = scene.liverSegmentId(panel.output)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, panel.output, segmentId, volume)
    return np.count_nonzero(array)


def test_frames_edited_by_hand_are_named_before_they_are_replaced_and_stay_when_edited_meanwhile(
    students, panel, frames
):
    browser, volume = frames
    segmentAll(panel)
    browser.SetSelectedItemNumber(1)
    there = counts(volume)
    there[1] = halve(panel, volume)
    students.gate = threading.Event()
    panel.ui.studentComboBox.setCurrentIndex(1)
    settle(panel)
    panel.click(panel.ui.segmentFramesButton)
    assert "Frame 2 was edited since." in panel.host.dialogs.texts("question")[0] and panel.running
    browser.SetSelectedItemNumber(2)
    there[2] = halve(panel, volume)
    students.gate.set()
    settle(panel)
    assert "Frame 3 was edited while" in panel.host.dialogs.texts("error")[0] and counts(volume) == there
    segmentAll(panel)
    assert "Frames 2 and 3 were edited since." in panel.host.dialogs.texts("question")[1]
    assert min(counts(volume)) > max(there[1:])
    panel.click(panel.ui.undoFramesButton)
    assert counts(volume) == there


def test_a_frame_can_be_corrected_after_the_run_and_its_step_undone(panel, frames):
    browser, volume = frames
    segmentAll(panel)
    there = counts(volume)
    browser.SetSelectedItemNumber(2)
    settle(panel)
    panel.segment()
    panel.ui.thresholdSlider.value = 0.6
    settle(panel)
    assert counts(volume)[2] < there[2] and counts(volume)[:2] == there[:2]
    panel.click(panel.ui.showCurveButton)
    assert "3 of 3 frames" in panel.ui.sequenceLabel.text
    panel.click(panel.ui.undoFramesButton)
    assert "edited since" in panel.host.dialogs.texts("error")[0] and len(counts(volume)) == 3


def test_the_curve_follows_what_is_edited_and_the_line_what_is_chosen(panel, frames):
    _browser, volume = frames
    segmentAll(panel)
    before = panel.ui.sequenceLabel.text
    array = mask(panel.output, volume).copy()
    array[: len(array) // 2] = 0
    segmentId = scene.liverSegmentId(panel.output)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, panel.output, segmentId, volume)
    settle(panel)
    assert panel.ui.sequenceLabel.text != before
    table = sequence_curve.nodes(CtSequence.of(volume))[0].GetTable()
    hints = [table.GetColumnByName("Hint").GetValue(n) for n in range(3)]
    assert hints == [EDITED, BEFORE_CHANGED, ""] and table.GetColumnByName("Voxels").GetValue(0) == array.sum()
    other, _ = self_test.addPhantom()
    panel.choose(other)
    settle(panel)
    assert "no frame of a sequence" in panel.ui.sequenceLabel.text
    panel.choose(volume)
    settle(panel)
    assert "3 of 3 frames" in panel.ui.sequenceLabel.text


def test_frames_that_were_scaled_or_planned_on_since_are_said_to_be(panel, frames):
    _browser, volume = frames
    segmentAll(panel)
    before = panel.ui.sequenceLabel.text
    transform = addTransform(slicer.mrmlScene, np.diag([1.2, 1, 1, 1.0]))
    for node in (volume, panel.output):
        node.SetAndObserveTransformNodeID(transform.GetID())
    settle(panel)
    panel.click(panel.ui.showCurveButton)
    assert "was moved or scaled since" in panel.ui.sequenceLabel.text
    for node in (volume, panel.output):
        node.SetAndObserveTransformNodeID(None)
    settle(panel)
    assert panel.ui.sequenceLabel.text == before
    panel.widget.logic.splitLiver(panel.output)
    panel.click(panel.ui.undoFramesButton)
    assert "resection was planned" in panel.host.dialogs.texts("error")[0] and len(counts(volume)) == 3


def test_a_deleted_sequence_leaves_nothing_to_show_or_undo(panel, frames):
    segmentAll(panel)
    assert set(enabled(panel)) == set(BUTTONS)
    slicer.mrmlScene.RemoveNode(CtSequence.of(frames[1]).segmentations)
    panel.host.processEvents()
    assert enabled(panel) == ["segmentFramesButton"]
    segmentAll(panel)
    assert len(counts(frames[1])) == 3 and not panel.host.dialogs.messages


def test_frames_that_fail_are_named_and_roi_and_points_are_said_to_be_left_out(panel):
    (first, matrix), (last, _) = phantomFrames(2)
    _browser, volume = addBrowser(addSequence(addVolumes([(first, matrix), (np.clip(last, 0, None), matrix)])))
    panel.choose(volume)
    panel.ui.sequenceCollapsibleButton.collapsed = False
    addRoi(panel)
    segmentAll(panel)
    said = panel.ui.sequenceLabel.text.replace("\u200b", "")
    assert said.startswith("1 of 2 frames: ") and "Without a liver: 1, first frame 2." in said and "Hounsfield" in said
    assert "ROI and points belong to one frame" in said


def test_a_run_without_any_liver_is_an_error_that_changes_nothing(panel):
    values, matrix = phantomFrames(1)[0]
    _browser, volume = addBrowser(addSequence(addVolumes([(np.clip(values, 0, None), matrix)] * 2)))
    panel.choose(volume)
    segmentAll(panel)
    assert "No frame holds a liver" in panel.host.dialogs.texts("error")[0] and counts(volume) == []
    assert panel.ui.segmentFramesButton.enabled and panel.ui.segmentFramesButton.text == "Segment all frames"


def test_a_ct_that_is_no_frame_and_no_ct_are_told(panel):
    panel.ui.sequenceCollapsibleButton.collapsed = False
    settle(panel)
    assert enabled(panel) == [] and panel.ui.sequenceLabel.text == "Choose a CT of a sequence."
    volume, _ = self_test.addPhantom()
    panel.choose(volume)
    settle(panel)
    assert enabled(panel) == [] and "no frame of a sequence" in panel.ui.segmentFramesButton.toolTip
    slicer.mrmlScene.Clear(0)
    settle(panel)
    assert enabled(panel) == [] and not panel.host.dialogs.messages
