"""What a careless user does in the wrong moment: another CT while points are placed, a click into a slider's update."""

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from ui.test_points import placing

from LiverGTANLib.mrml import points, scene, self_test
from support.interactive_cases import liver, previews, segmented, settle
from support.module_fixtures import students
from support.panel_cases import panel, phantom

pytestmark = pytest.mark.slow


def test_another_ct_ends_the_placing_of_points(panel, segmented):
    other, _ = self_test.addPhantom("B")
    panel.host.processEvents()
    panel.click(panel.ui.notLiverPointsButton)
    assert placing()
    panel.choose(other)
    settle(panel)
    assert not placing() and not panel.ui.notLiverPointsButton.checked
    assert points.find(other, False) is None


def test_the_liver_of_a_deleted_volume_is_nobodys(panel, segmented):
    output = panel.output
    assert scene.liverVolume(output) == segmented
    slicer.mrmlScene.RemoveNode(segmented)
    assert scene.liverVolume(output) is None


def test_a_region_in_a_volume_without_voxels_is_left_alone(panel):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    panel.choose(empty)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    panel.ui.regionSelector.setCurrentNode(roi)
    settle(panel)
    assert max(roi.GetSize()) <= 0


def test_names_are_shown_as_they_are(panel):
    for label in (panel.ui.messageLabel, panel.ui.resultLabel, panel.ui.batchLabel):
        assert "PlainText" in str(label.textFormat)


def test_segment_within_an_update_leaves_no_preview_and_the_mask_of_what_is_set(panel, segmented):
    before = liver(panel, segmented).sum()
    panel.ui.thresholdSlider.setValue(0.6)
    panel.segment()
    settle(panel)
    assert liver(panel, segmented).sum() < before and not previews()


def test_a_change_before_a_canceled_run_still_becomes_the_mask(panel, segmented):
    before = liver(panel, segmented).sum()
    panel.ui.thresholdSlider.setValue(0.6)
    panel.host.processEvents()
    panel.widget.panel.onApplyButton()
    panel.widget.panel.runner.stop()
    settle(panel)
    assert liver(panel, segmented).sum() < before
