"""The panel as a person uses it: the real module and .ui file, real clicks, and the MRML scene that results."""

import sys
import threading
import time

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from module_fixtures import MODULE_FILE, students  # noqa: E402, F401
from slicer.util import arrayFromVolume, arrayFromVolumeModified, updateVolumeFromArray  # noqa: E402

from LiverGTANLib import engines, measure, scene, selftest  # noqa: E402
from LiverGTANLib.engines import Cancelled  # noqa: E402


class Panel:
    """The open module and what a person can do with it."""

    def __init__(self, host):
        self.host = host
        host.loadModule(MODULE_FILE)
        self.widget = host.openModule("LiverGTAN")
        self.ui = self.widget.ui

    @property
    def running(self) -> bool:
        return self.widget._runner.running

    def click(self, button) -> None:
        self.host.click(button)

    def segment(self) -> None:
        self.click(self.ui.applyButton)
        self.host.wait(lambda: not self.running)

    def choose(self, volumeNode) -> None:
        self.ui.inputSelector.setCurrentNode(volumeNode)
        self.host.processEvents()

    @property
    def output(self):
        return self.ui.outputSelector.currentNode()


class SlowEngine:
    """Stands in for a large scan on a slow computer: works until it is let go or canceled."""

    name = "slow"

    def __init__(self, student, letGo):
        self.student, self.letGo = student, letGo

    def forward(self, x_DHW, progress=None, cancelled=None):
        for step in range(10000):
            progress(min(0.9, step / 1000), "Working")
            if cancelled():
                raise Cancelled
            if self.letGo.wait(0.002):
                return engines.numpy_engine.NumpyEngine(self.student).forward(x_DHW)
        raise TimeoutError


@pytest.fixture
def panel(slicerHost, students):  # noqa: F811
    return Panel(slicerHost)


@pytest.fixture
def phantom(panel):
    volumeNode, _ = selftest.addPhantom()
    panel.host.processEvents()
    return volumeNode


@pytest.fixture
def letGo(monkeypatch):
    """Makes runs wait until this event is set."""
    event = threading.Event()
    monkeypatch.setattr(engines, "create", lambda student, name: SlowEngine(student, event))
    yield event
    event.set()


def mask(segmentationNode, volumeNode):
    segmentId = scene.liverSegmentId(segmentationNode)
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)


def segmentations() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def workers() -> list:
    return [thread for thread in threading.enumerate() if thread.name == "LiverGTAN worker"]


# The journey


def test_from_a_ct_to_its_liver_by_one_click(panel, phantom):
    ui = panel.ui
    assert ui.inputSelector.currentNode() == phantom  # the only CT is chosen already
    assert ui.applyButton.enabled and ui.applyButton.text == "Segment" and not ui.messageLabel.visible
    assert panel.output is None and not ui.show3DButton.enabled
    panel.segment()
    assert panel.output.GetName() == "Phantom liver"
    _, liver = selftest.phantom_ct()
    found = mask(panel.output, phantom)
    assert measure.dice(found, liver) > 0.93
    milliliters, rest = ui.resultLabel.text.removeprefix("Liver ").split(" mL, ")
    assert int(milliliters) == round(found.sum() * 0.012)
    assert rest.endswith("s (numpy)") or rest.endswith("s (torch)")
    assert ui.applyButton.enabled and ui.undoButton.enabled and not ui.redoButton.enabled
    assert not panel.host.dialogs.messages


def test_the_liver_is_shown_in_3d_and_hidden(panel, phantom):
    panel.segment()
    assert panel.ui.show3DButton.enabled and not panel.ui.show3DButton.checked
    panel.click(panel.ui.show3DButton)
    surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    assert panel.output.GetSegmentation().ContainsRepresentation(surface)
    panel.segment()
    assert panel.ui.show3DButton.checked and panel.output.GetSegmentation().ContainsRepresentation(surface)
    panel.click(panel.ui.show3DButton)
    assert not panel.output.GetSegmentation().ContainsRepresentation(surface)


def test_segment_again_undo_and_redo(panel, phantom):
    panel.segment()
    first, output = mask(panel.output, phantom), panel.output
    array = arrayFromVolume(phantom)
    array[: array.shape[0] // 2] = -1000
    arrayFromVolumeModified(phantom)
    panel.segment()
    second = mask(output, phantom)
    assert panel.output == output and len(segmentations()) == 1
    assert 0 < second.sum() < first.sum()
    panel.click(panel.ui.undoButton)
    np.testing.assert_array_equal(mask(output, phantom), first)
    assert panel.ui.resultLabel.text == ""  # it told of what is undone
    panel.click(panel.ui.undoButton)
    assert output.GetSegmentation().GetNumberOfSegments() == 0 and not panel.ui.undoButton.enabled
    panel.click(panel.ui.redoButton)
    panel.click(panel.ui.redoButton)
    np.testing.assert_array_equal(mask(output, phantom), second)
    assert not panel.ui.redoButton.enabled


def test_another_volume_never_overwrites_the_first_ones_liver(panel, phantom):
    panel.segment()
    firstOutput = panel.output
    other, _ = selftest.addPhantom("Other")
    panel.choose(other)
    assert panel.output is None and panel.ui.resultLabel.text == ""
    panel.segment()
    assert panel.output.GetName() == "Other liver" and len(segmentations()) == 2
    panel.choose(phantom)
    assert panel.output == firstOutput


def test_the_choices_are_what_runs_and_are_kept_with_the_scene(panel, phantom):
    ui = panel.ui
    assert [ui.studentComboBox.itemText(n) for n in range(ui.studentComboBox.count)] == ["student-100k", "student-30k"]
    assert "numpy" in ui.engineInfoLabel.text and "torch" in ui.engineInfoLabel.text
    ui.studentComboBox.setCurrentIndex(1)
    ui.engineComboBox.setCurrentIndex(1)
    panel.segment()
    assert ui.resultLabel.text.endswith("(numpy)")
    assert slicer.mrmlScene.GetSingletonNode("LiverGTAN", "vtkMRMLScriptedModuleNode") is not None
    panel.host.leaveModule()
    reopened = panel.host.openModule("LiverGTAN")
    assert (reopened.ui.studentComboBox.currentText, reopened.ui.engineComboBox.currentText) == ("student-30k", "numpy")


def test_the_line_of_intended_use_is_there(panel):
    for word in ("research", "not a medical device", "lesions", "gallbladder", "portal vein"):
        assert word in panel.ui.intendedUseLabel.text


def test_label_maps_are_not_offered(panel):
    panel.host.leaveModule()
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    volumeNode, _ = selftest.addPhantom()
    panel.host.openModule("LiverGTAN")
    assert panel.ui.inputSelector.currentNode() == volumeNode
    panel.choose(labels)
    assert panel.ui.inputSelector.currentNode() != labels


def test_opening_the_panel_warms_up_for_the_first_click(panel):
    panel.host.wait(lambda: not panel.widget._runner._worker.busy)
    assert "scipy.ndimage" in sys.modules
    assert not panel.running and panel.ui.applyButton.text == "Segment"
    panel.host.wait(lambda: not panel.widget._runner._timer.active)  # and then the timer rests


# What cannot be done, and why


def test_without_a_volume_the_button_tells_what_to_do(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose a CT volume." == panel.ui.messageLabel.text


def test_what_is_no_ct_is_refused_before_running(panel, phantom):
    hu = arrayFromVolume(phantom).copy()
    updateVolumeFromArray(phantom, (hu // 8 + 130).astype(np.uint8))
    panel.host.processEvents()
    assert not panel.ui.applyButton.enabled
    assert panel.ui.messageLabel.visible and panel.ui.messageLabel.text == panel.ui.applyButton.toolTip != ""
    panel.click(panel.ui.applyButton)
    assert not panel.running and not segmentations()
    updateVolumeFromArray(phantom, hu)
    panel.host.processEvents()
    assert panel.ui.applyButton.enabled and not panel.ui.messageLabel.visible


def test_a_warning_does_not_forbid(panel, phantom):
    phantom.SetSpacing(2, 2, 9)
    arrayFromVolumeModified(phantom)
    panel.host.processEvents()
    assert panel.ui.applyButton.enabled
    assert "apart" in panel.ui.messageLabel.text and "apart" in panel.ui.applyButton.toolTip


def test_an_engine_that_is_not_there_is_named(panel, phantom, monkeypatch):
    monkeypatch.setattr(engines, "has_torch", lambda: False)
    panel.ui.engineComboBox.setCurrentIndex(2)
    panel.host.processEvents()
    assert not panel.ui.applyButton.enabled and "torch is not installed" in panel.ui.applyButton.toolTip


def test_no_liver_is_said_and_nothing_is_written(panel, phantom):
    array = arrayFromVolume(phantom)
    array[array > 60] = 40
    arrayFromVolumeModified(phantom)
    panel.segment()
    (message,) = panel.host.dialogs.texts("error")
    assert "No liver was found" in message
    assert len(panel.host.takeUncaught()) == 1  # the application prints it to its Python console
    assert not segmentations() and panel.ui.applyButton.enabled


def test_an_error_of_the_engine_reaches_the_person(panel, phantom, monkeypatch):
    def fail(*_):
        raise engines.EngineError("The processor is on holiday.")

    monkeypatch.setattr(engines, "create", fail)
    panel.ui.studentComboBox.setCurrentIndex(1)  # one that is not loaded yet
    panel.segment()
    assert "The processor is on holiday." in panel.host.dialogs.texts("error")[0]
    assert len(panel.host.takeUncaught()) == 1
    assert panel.ui.applyButton.enabled and not segmentations()


# Long runs


def waitUntilPatienceEnds(panel) -> None:
    panel.host.wait(lambda: panel.ui.applyButton.text == "Cancel")


def test_a_long_run_shows_progress_and_can_be_canceled(letGo, panel, phantom):
    panel.click(panel.ui.applyButton)
    assert panel.running and not panel.ui.applyButton.enabled and not panel.ui.progressBar.visible
    panel.click(panel.ui.applyButton)  # the hasty second click of a double click
    assert panel.running
    waitUntilPatienceEnds(panel)
    assert panel.ui.applyButton.enabled and panel.ui.progressBar.visible
    shown = panel.ui.progressBar.value
    panel.host.wait(lambda: panel.ui.progressBar.value > shown)
    panel.click(panel.ui.applyButton)
    assert not panel.running and "Canceled" in panel.ui.resultLabel.text
    assert panel.ui.applyButton.text == "Segment" and not panel.ui.progressBar.visible
    letGo.set()
    time.sleep(0.05)
    panel.host.processEvents()
    assert not segmentations()
    panel.segment()  # and then it works
    assert panel.output is not None


def test_the_event_loop_keeps_its_turns_during_a_run(letGo, panel, phantom):
    panel.click(panel.ui.applyButton)
    longest, end = 0.0, time.perf_counter() + 0.7
    while time.perf_counter() < end:
        start = time.perf_counter()
        panel.host.processEvents()
        longest = max(longest, time.perf_counter() - start)
    assert panel.running and longest < 0.1


def test_a_run_gets_on_though_the_main_thread_never_yields(panel, phantom):
    """In the desktop application Python threads run only while Python code on the main thread waits."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        panel.widget.onApplyButton()
        start = time.perf_counter()
        while panel.running and time.perf_counter() < start + 5:
            panel.widget._runner._onTimer()
        assert not panel.running and panel.output is not None
    finally:
        sys.setswitchinterval(interval)


def test_going_on_to_another_volume_does_not_mix_results(letGo, panel, phantom):
    panel.click(panel.ui.applyButton)
    other, _ = selftest.addPhantom("Other")
    panel.choose(other)
    letGo.set()
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
def test_an_interrupted_run_ends_its_thread_and_writes_nothing(letGo, panel, phantom, interrupt):
    panel.click(panel.ui.applyButton)
    panel.host.wait(workers)
    interrupt(panel, phantom)
    panel.host.wait(lambda: not panel.running, seconds=2)
    assert not workers()
    letGo.set()
    panel.host.processEvents()
    assert not segmentations() and not panel.host.dialogs.messages


def test_removing_the_chosen_segmentation_stops_the_run(panel, phantom, monkeypatch):
    panel.segment()
    event = threading.Event()
    monkeypatch.setattr(engines, "create", lambda student, name: SlowEngine(student, event))
    panel.ui.studentComboBox.setCurrentIndex(1)
    panel.click(panel.ui.applyButton)
    slicer.mrmlScene.RemoveNode(panel.output)
    panel.host.wait(lambda: not panel.running)
    assert not workers() and not segmentations() and "removed" in panel.ui.resultLabel.text


def test_a_new_scene_starts_afresh(panel, phantom):
    panel.segment()
    slicer.mrmlScene.Clear()
    panel.host.processEvents()
    assert panel.ui.inputSelector.currentNode() is None and panel.output is None
    assert not panel.ui.applyButton.enabled and not panel.ui.undoButton.enabled
    volumeNode, _ = selftest.addPhantom("Next")
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
