"""A chosen node is deleted while others of its kind are there: Slicer's selectors then choose a neighbor by themselves.

What the user chose is gone; nothing of what is left was chosen, so nothing of it may be changed.
"""

import gc

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from PySide6 import QtCore

from LiverGTANLib.mrml import self_test
from support.interactive_cases import addRoi, liver, segmented, settle
from support.module_fixtures import students
from support.panel_cases import mask, panel, phantom, segmentations

pytestmark = pytest.mark.slow


@pytest.fixture
def two(panel, segmented):
    """(segmentation of the first volume, of the second); the first volume is the one shown."""
    first = panel.output
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    panel.segment()
    settle(panel)
    second = panel.output
    panel.choose(segmented)
    settle(panel)
    assert panel.output is first
    return first, second


def test_a_deleted_segmentation_is_not_replaced_by_another_volumes(panel, segmented, two):
    _, second = two
    reference = second.GetNodeReferenceID("referenceImageGeometryRef")
    panel.host.choose(panel.ui.outputSelector, "Delete current Segmentation")
    settle(panel)
    assert panel.output is None
    panel.segment()
    settle(panel)
    assert panel.output is not second and len(segmentations()) == 2
    assert second.GetNodeReferenceID("referenceImageGeometryRef") == reference


def test_a_deleted_roi_gives_the_whole_volume_back(panel, segmented):
    whole = liver(panel, segmented)
    unrelated = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "unrelated")
    unrelated.SetSize(20, 20, 20)
    roiNode = addRoi(panel)
    slicer.mrmlScene.RemoveNode(roiNode)
    settle(panel)
    assert panel.ui.regionSelector.currentNode() is None
    np.testing.assert_array_equal(liver(panel, segmented), whole)


def test_a_deleted_table_is_not_replaced_by_one_of_another_purpose(panel, segmented):
    theirs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "theirs")
    columns = theirs.GetNumberOfColumns()
    slicer.mrmlScene.RemoveNode(panel.ui.tableSelector.currentNode())
    panel.segment()
    settle(panel)
    assert panel.ui.tableSelector.currentNode() is not theirs and theirs.GetNumberOfColumns() == columns


def test_a_deleted_volume_gives_way_to_the_next_with_its_own_segmentation(panel, segmented, two):
    first, second = two
    slicer.mrmlScene.RemoveNode(segmented)
    settle(panel)
    assert panel.ui.inputSelector.currentNode().GetName() == "Other" and panel.output is second
    assert first.GetScene() is slicer.mrmlScene


def test_deleting_the_only_checked_volume_disables_the_batch(panel, phantom):
    other, _ = self_test.addPhantom("Other")
    panel.ui.volumesComboBox.setCheckState(other, QtCore.Qt.Checked)
    settle(panel)
    assert panel.ui.batchButton.enabled
    slicer.mrmlScene.RemoveNode(other)
    settle(panel)
    assert not panel.ui.batchButton.enabled


def test_importing_another_scene_keeps_what_is_chosen(panel, segmented, tmp_path):
    output, roiNode = panel.output, addRoi(panel)
    before = mask(output, segmented).copy()
    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLMarkupsROINode", "imported")
    other.SetURL(str(tmp_path / "other.mrml"))
    other.Commit()
    slicer.mrmlScene.SetURL(str(tmp_path / "other.mrml"))
    assert slicer.mrmlScene.Import()
    settle(panel)
    assert slicer.util.getNode("imported") is not None
    assert (panel.output, panel.ui.regionSelector.currentNode()) == (output, roiNode)
    np.testing.assert_array_equal(mask(output, segmented), before)


# Beside deleted nodes: what else the stand-ins' new habits show


def test_entering_again_and_again_leaves_nothing_observed(panel, phantom):
    def wrappers() -> int:
        gc.collect()
        return sum(type(held).__name__ == "LiverGTANParameterNode" for held in gc.get_objects())

    before = wrappers()
    for _ in range(5):
        panel.host.leaveModule()
        panel.host.openModule("LiverGTAN")
        settle(panel)
    assert wrappers() <= before


def test_after_a_reload_points_can_be_placed(panel, segmented):
    panel.widget.onReload()
    panel.host.processEvents()
    reloaded = slicer.modules.LiverGTANWidget
    panel.host.click(reloaded.ui.liverPointsButton)
    assert reloaded.ui.liverPointsButton.checked
