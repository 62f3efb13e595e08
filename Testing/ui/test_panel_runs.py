"""Long, canceled and interrupted runs of the panel: one at a time, nothing half-written, no thread left."""

import sys
import threading
import zlib
from types import SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from PySide6 import QtCore

from LiverGTANLib.core import measurements
from LiverGTANLib.core.segmenter import PackedMask
from LiverGTANLib.mrml import scene, self_test
from support.interactive_cases import letTimersFire
from support.module_fixtures import students
from support.panel_cases import gate, panel, phantom, segmentations, workers

pytestmark = pytest.mark.slow


def waitUntilTheRunIsShown(panel) -> None:
    panel.host.wait(lambda: panel.ui.applyButton.text == "Cancel")


def test_a_long_run_shows_progress_and_can_be_canceled(gate, panel, phantom):
    for _ in range(2):  # a double click: the event loop has no turn in which the run could become a long one
        panel.ui.applyButton.click()
    assert panel.running and not panel.ui.progressBar.visible
    waitUntilTheRunIsShown(panel)
    assert panel.ui.applyButton.enabled and panel.ui.progressBar.visible
    shown = panel.ui.progressBar.value
    panel.host.wait(lambda: panel.ui.progressBar.value > shown)
    panel.click(panel.ui.applyButton)
    assert not panel.running and "Canceled" in panel.ui.resultLabel.text
    assert panel.ui.applyButton.text == "Segment" and not panel.ui.progressBar.visible
    gate.set()
    letTimersFire(panel)
    assert not segmentations()
    panel.segment()  # and then it works
    assert panel.output is not None


def test_the_event_loop_keeps_its_turns_during_a_run(gate, panel, phantom):
    panel.click(panel.ui.applyButton)
    turns = []
    ticks = QtCore.QTimer()
    ticks.timeout.connect(lambda: turns.append(panel.running))
    ticks.start(1)
    panel.host.wait(lambda: len(turns) == 50)
    ticks.stop()
    assert all(turns)  # had the main thread waited for the run, no turn would have come before its end


def test_a_run_gets_on_though_the_main_thread_never_yields(panel, phantom):
    """In the desktop application Python threads run only while Python code on the main thread waits."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        panel.widget.panel.onApplyButton()
        for _ in range(1000):
            if panel.running:
                panel.widget.panel.runner._onTimer()
        assert not panel.running and panel.output is not None
    finally:
        sys.setswitchinterval(interval)


def test_going_on_to_another_volume_does_not_mix_results(gate, panel, phantom):
    panel.click(panel.ui.applyButton)
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    gate.set()
    panel.host.wait(lambda: not panel.running)
    assert panel.output is None and panel.ui.resultLabel.text == ""
    (written,) = segmentations()
    assert scene.referenceVolume(written) == phantom


def closeScene(panel, volumeNode):
    slicer.mrmlScene.Clear()


def removeVolume(panel, volumeNode):
    slicer.mrmlScene.RemoveNode(volumeNode)


def openAnotherModule(panel, volumeNode):
    panel.host.leaveModule()


def unloadModule(panel, volumeNode):
    panel.widget.cleanup()


def reloadModule(panel, volumeNode):
    panel.widget.onReload()


@pytest.mark.parametrize("interrupt", [closeScene, removeVolume, openAnotherModule, unloadModule, reloadModule])
def test_an_interrupted_run_ends_its_thread_and_writes_nothing(gate, panel, phantom, interrupt):
    panel.click(panel.ui.applyButton)
    panel.host.wait(workers)
    interrupt(panel, phantom)
    panel.host.wait(lambda: not panel.running)
    if interrupt is reloadModule:  # the new panel is open and analyzes the scan ahead
        assert panel.widget.panel.runner._worker is None
        panel.host.leaveModule()
    assert not workers()
    gate.set()
    panel.host.processEvents()
    assert not segmentations() and not panel.host.dialogs.messages


def test_removing_the_chosen_segmentation_stops_the_run(students, panel, phantom):
    panel.segment()
    students.gate = threading.Event()
    panel.ui.studentComboBox.setCurrentIndex(1)
    panel.click(panel.ui.applyButton)
    slicer.mrmlScene.RemoveNode(panel.output)
    panel.host.wait(lambda: not panel.running)
    assert not segmentations() and "removed" in panel.ui.resultLabel.text
    panel.host.leaveModule()  # while it is open, the panel may analyze the scan ahead again
    assert not workers() and not segmentations()


def test_a_new_scene_starts_afresh(panel, phantom):
    panel.segment()
    slicer.mrmlScene.Clear()
    panel.host.processEvents()
    assert panel.ui.inputSelector.currentNode() is None and panel.output is None
    assert not panel.ui.applyButton.enabled and not panel.ui.undoButton.enabled and panel.ui.resultLabel.text == ""
    volumeNode, _ = self_test.addPhantom("Next")
    panel.choose(volumeNode)
    panel.segment()
    assert panel.output.GetName() == "Next liver" and panel.ui.undoButton.enabled


def test_leaving_and_entering_keeps_everything(panel, phantom):
    panel.segment()
    output = panel.output
    for _ in range(3):
        panel.host.leaveModule()
        panel.host.openModule("LiverGTAN")
    assert panel.output == output and panel.ui.undoButton.enabled
    panel.segment()
    assert len(segmentations()) == 1


def test_what_takes_long_about_a_mask_is_found_on_the_worker_thread(panel, phantom, monkeypatch):
    """Ends of the scan and padding, the digest that hand edits are known by, and that of the CT."""
    found = {}

    def recorded(function):
        def call(*arguments):
            found.setdefault(function.__name__, set()).add(threading.current_thread() is threading.main_thread())
            return function(*arguments)

        return call

    monkeypatch.setattr(measurements, "cut_ends", recorded(measurements.cut_ends))
    monkeypatch.setattr(PackedMask, "of", staticmethod(recorded(PackedMask.of)))
    monkeypatch.setattr(scene, "zlib", SimpleNamespace(crc32=recorded(zlib.crc32)))
    panel.segment()
    panel.host.processEvents()
    assert panel.output is not None and found == {"cut_ends": {False}, "of": {False}, "crc32": {False}}
