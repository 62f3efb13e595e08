"""Several volumes in one go: checked in a list, or given by a script."""

import threading

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from PySide6 import QtCore

from LiverGTANLib.mrml import points, scene, self_test
from support.interactive_cases import liver, segmented, settle
from support.module_fixtures import students
from support.panel_cases import mask, panel, phantom, segmentations, workers

pytestmark = pytest.mark.slow


@pytest.fixture
def volumes(panel, phantom):
    """Three CTs and, between them, what is no CT."""
    bad, _ = self_test.addPhantom("MR")
    slicer.util.updateVolumeFromArray(bad, np.full((20, 20, 20), 130, np.uint8))
    nodes = [phantom, bad, self_test.addPhantom("Second")[0], self_test.addPhantom("Third")[0]]
    panel.host.processEvents()
    settle(panel)
    return nodes


def check(panel, nodes) -> None:
    for node in nodes:
        panel.ui.volumesComboBox.setCheckState(node, QtCore.Qt.Checked)
    panel.host.processEvents()


def finish(panel) -> None:
    panel.host.wait(lambda: not panel.widget.panel.batch.running)
    settle(panel)


def test_checked_volumes_are_segmented_each_into_its_own(panel, volumes):
    assert not panel.ui.batchButton.enabled
    check(panel, volumes)
    panel.click(panel.ui.batchButton)
    finish(panel)
    assert sorted(node.GetName() for node in segmentations()) == ["Phantom liver", "Second liver", "Third liver"]
    for node in (volumes[0], volumes[2], volumes[3]):
        assert mask(scene.findSegmentation(node), node).any()
    lines = panel.ui.batchLabel.text.splitlines()
    assert lines[0] == "3 of 4 volumes segmented." and lines[1].startswith("MR: ") and len(lines) == 2
    assert not panel.host.dialogs.messages
    assert panel.ui.tableSelector.currentNode().GetNumberOfRows() == 3
    panel.click(panel.ui.batchButton)  # once more: the same segmentations
    finish(panel)
    assert len(segmentations()) == 3


@pytest.fixture
def gate(students, volumes, panel):
    """From now on runs, with the other student, wait until this event is set."""
    students.gate = threading.Event()
    panel.ui.studentComboBox.setCurrentIndex(1)
    yield students.gate
    students.gate.set()


def test_cancel_keeps_what_is_done_and_stops_the_rest(panel, volumes, gate):
    check(panel, [volumes[0], volumes[2], volumes[3]])
    gate.set()
    panel.click(panel.ui.batchButton)
    panel.host.wait(segmentations)
    gate.clear()
    panel.host.wait(lambda: "2 of 3" in panel.ui.batchLabel.text)
    assert panel.ui.batchButton.text == "Cancel"
    panel.click(panel.ui.batchButton)
    assert panel.ui.batchLabel.text.startswith("Canceled. 1 of 3") and panel.ui.batchButton.text != "Cancel"
    gate.set()
    settle(panel)
    assert len(segmentations()) == 1


def test_a_volume_removed_meanwhile_is_an_entry_in_the_list(panel, volumes, gate):
    check(panel, [volumes[0], volumes[2], volumes[3]])
    panel.click(panel.ui.batchButton)
    slicer.mrmlScene.RemoveNode(volumes[0])
    slicer.mrmlScene.RemoveNode(volumes[3])
    panel.host.wait(lambda: "2 of 3" in panel.ui.batchLabel.text)
    gate.set()
    finish(panel)
    assert [node.GetName() for node in segmentations()] == ["Second liver"]
    assert panel.ui.batchLabel.text.count("removed meanwhile") == 2


def test_closing_the_scene_in_the_middle_ends_it(panel, volumes, gate):
    check(panel, volumes)
    panel.click(panel.ui.batchButton)
    panel.host.wait(workers)
    slicer.mrmlScene.Clear()
    panel.host.processEvents()
    assert not workers() and not panel.widget.panel.batch.running and not segmentations()
    assert panel.ui.batchLabel.text == ""


def test_a_script_gets_results_and_problems_without_a_pop_up(panel, volumes):
    batch = panel.widget.logic.processAll(volumes)
    assert [result.volumeNode for result in batch.results] == [volumes[0], volumes[2], volumes[3]]
    assert [(problem.volume, bool(problem.reason)) for problem in batch.problems] == [("MR", True)]
    assert len({result.segmentation for result in batch.results}) == 3
    assert not panel.host.dialogs.messages


def test_each_volumes_own_points_are_heeded(panel, volumes):
    first = panel.widget.logic.process(volumes[2])
    voxels = np.argwhere(mask(first.segmentation, volumes[2]))
    middle = tuple(voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()])
    node = points.create(volumes[2], False)
    node.AddControlPointWorld((scene.ijkToWorld(volumes[2]) @ [*middle[::-1], 1])[:3])
    panel.widget.logic.processAll([volumes[0], volumes[2]])
    assert mask(scene.findSegmentation(volumes[0]), volumes[0])[middle]
    assert not mask(scene.findSegmentation(volumes[2]), volumes[2])[middle]


def test_a_liver_that_was_edited_by_hand_is_left_as_it_is(panel, volumes):
    first = panel.widget.logic.process(volumes[0])
    edited = mask(first.segmentation, volumes[0])
    edited[: len(edited) // 2] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        edited.astype(np.uint8), first.segmentation, scene.liverSegmentId(first.segmentation), volumes[0]
    )
    check(panel, [volumes[0], volumes[2]])
    panel.click(panel.ui.batchButton)
    finish(panel)
    assert np.array_equal(mask(first.segmentation, volumes[0]), edited)
    lines = panel.ui.batchLabel.text.splitlines()
    assert lines[0] == "1 of 2 volumes segmented." and lines[1].startswith("Phantom: Its liver was edited by hand")
