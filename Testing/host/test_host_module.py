"""A scripted module in Slicer's manner runs on the host unchanged: panel, parameter node, scene, reload, close."""

import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
import slicer

SAMPLE = Path(__file__).parent / "sample" / "HostSample.py"


def _addCt(name: str = "CT"):
    volume = slicer.util.addVolumeFromArray(np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    volume.SetName(name)
    return volume


@pytest.fixture
def panel(slicerHost):
    """The opened panel of the sample module, with a CT in the scene."""
    slicerHost.loadModule(SAMPLE)
    _addCt()
    return slicerHost.openModule("HostSample")


def _segments(node) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]


def test_loading_tells_of_the_module_and_opens_nothing(slicerHost):
    module = slicerHost.loadModule(SAMPLE)
    assert (module.title, module.categories) == ("Host sample", ["Testing"])
    assert slicer.util.modulePath("HostSample") == str(SAMPLE)
    assert not hasattr(slicer.modules, "HostSampleWidget")
    assert not slicer.modules.HostSampleInstance.started
    slicerHost.completeStartup()
    assert slicer.modules.HostSampleInstance.started


def test_the_journey_from_click_to_segment(slicerHost, panel):
    assert panel.ui.inputSelector.currentNode().GetName() == "CT" and not panel.ui.applyButton.enabled
    slicerHost.click(panel.ui.applyButton)
    assert panel.ui.statusLabel.text == ""
    output = panel.ui.outputSelector.addNode()
    assert panel.ui.applyButton.enabled
    panel.ui.thresholdSlider.value = 59
    panel.ui.labelEdit.text = "Leber"
    slicerHost.click(panel.ui.applyButton)
    assert _segments(output) == ["Leber"]
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(
        output, output.GetSegmentation().GetNthSegmentID(0), panel.ui.inputSelector.currentNode()
    )
    assert np.array_equal(voxels > 0, np.arange(120).reshape(4, 5, 6) > 59)
    assert panel.ui.statusLabel.text == "done"
    slicerHost.wait(lambda: panel.ui.statusLabel.text == "later")


def test_an_error_is_shown_and_recorded(slicerHost, panel):
    output = panel.ui.outputSelector.addNode()
    panel.ui.thresholdSlider.value = 450
    slicerHost.click(panel.ui.applyButton)
    (message,) = slicerHost.dialogs.messages
    assert message.kind == "error" and "choose a lower one" in message.text and "ValueError" in message.detail
    (error,) = slicerHost.takeUncaught()  # tryWithErrorDisplay raises again, into the slot
    assert isinstance(error, ValueError) and _segments(output) == []


def test_questions_are_answered(slicerHost):
    from host.qtmodule import qt

    assert slicer.util.confirmOkCancelDisplay("Go on?")
    slicerHost.dialogs.answer = qt.QMessageBox.Cancel
    assert not slicer.util.confirmOkCancelDisplay("Go on?")
    slicer.util.warningDisplay("Thick slices")
    slicer.util.delayDisplay("Waiting", 5000)
    assert slicerHost.dialogs.texts("question") == ["Go on?"] * 2
    assert slicerHost.dialogs.texts("warning") == ["Thick slices"]


def test_parameters_are_saved_with_the_scene(slicerHost, panel, tmp_path):
    output = panel.ui.outputSelector.addNode()
    panel.ui.thresholdSlider.value = 77
    panel.ui.sideComboBox.currentIndex = 0
    panel.ui.modelComboBox.setCurrentText("small")
    path = str(tmp_path / "scene.mrml")
    slicer.mrmlScene.SetURL(path)
    assert slicer.mrmlScene.Commit(path)
    slicer.mrmlScene.Clear(0)
    assert panel.ui.thresholdSlider.value == 100
    slicer.mrmlScene.SetURL(path)
    assert slicer.mrmlScene.Connect()
    slicerHost.leaveModule()
    panel = slicerHost.openModule("HostSample")
    assert panel._parameterNode.outputSegmentation.GetName() == output.GetName()
    assert (panel.ui.thresholdSlider.value, panel.ui.sideComboBox.currentText) == (77, "BELOW")
    assert panel.ui.modelComboBox.currentText == "small"


def test_closing_the_scene_while_open(slicerHost, panel):
    panel.ui.outputSelector.addNode()
    del panel.calls[:]
    slicer.mrmlScene.Clear(0)
    assert panel.calls == ["start close", "end close"]
    assert panel.ui.inputSelector.currentNode() is None and not panel.ui.applyButton.enabled
    ct = _addCt("Second")
    assert panel._parameterNode.inputVolume is ct


def test_closing_the_scene_while_another_module_is_open(slicerHost, panel):
    slicerHost.leaveModule()
    slicer.mrmlScene.Clear(0)
    assert panel._parameterNode is None
    slicerHost.openModule("HostSample")
    assert panel._parameterNode is not None and panel.calls[-1] == "enter"


def test_a_left_panel_no_longer_writes_parameters(slicerHost, panel):
    parameters = panel._parameterNode
    slicerHost.leaveModule()
    panel.ui.thresholdSlider.value = 300
    assert parameters.threshold == 100 and not panel.parent.isEntered


def test_the_panel_also_lives_with_a_wrapper_that_gives_no_tag(slicerHost, panel, monkeypatch):
    """Slicer up to 5.12 returns no tag from `connectGui`, so widgets stay connected."""
    wrapper = type(panel._parameterNode)
    connect = wrapper.connectGui
    monkeypatch.setattr(wrapper, "connectGui", lambda self, gui: connect(self, gui) and None)
    for _ in range(2):
        slicerHost.leaveModule()
        slicerHost.openModule("HostSample")
        slicer.mrmlScene.Clear(0)
        ct = _addCt()
    panel.ui.thresholdSlider.value = 33
    assert panel._parameterNode.threshold == 33 and panel._parameterNode.inputVolume is ct


def test_reload_runs_the_new_code_and_cleans_up_the_old(slicerHost, tmp_path):
    copy = tmp_path / "modules"
    shutil.copytree(SAMPLE.parent, copy)
    source = copy / "HostSample.py"
    slicerHost.loadModule(source)
    before = slicerHost.openModule("HostSample")
    source.write_text(source.read_text(encoding="utf-8").replace('_("done")', '_("finished")'), encoding="utf-8")
    before.onReload()
    panel = slicer.modules.HostSampleWidget
    assert panel is not before and before.calls[-1] == "cleanup" and before.Observations == []
    _addCt()
    panel.ui.outputSelector.addNode()
    slicerHost.click(panel.ui.applyButton)
    assert panel.ui.statusLabel.text == "finished"


def test_the_modules_own_test_runs(slicerHost):
    slicerHost.loadModule(SAMPLE)
    slicer.modules.HostSampleInstance.runTest(msec=0)


def test_a_logic_without_a_panel(slicerHost):
    slicerHost.loadModule(SAMPLE)
    import HostSample

    logic = HostSample.HostSampleLogic()
    first, second = logic.getParameterNode(), logic.getParameterNode()
    assert first.parameterNode is second.parameterNode
    assert len(logic.getAllParameterNodes()) == 1


def test_closing_leaves_nothing_behind(tmp_path):
    from host.slicerhost import SlicerHost

    host = SlicerHost(tmp_path)
    host.loadModule(SAMPLE)
    _addCt()
    panel = host.openModule("HostSample")
    panel.ui.outputSelector.addNode()
    panel.ui.show3DButton.setSegmentationNode(panel.ui.outputSelector.currentNode())
    kept, scene = weakref.ref(panel), host.scene
    del panel
    host.close()
    gc.collect()
    assert kept() is None, "an observer or a connection still holds the panel"
    assert not hasattr(slicer, "mrmlScene") and not hasattr(slicer, "app") and host.uncaught == []
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_a_missing_ui_file_is_an_error(slicerHost, tmp_path):
    with pytest.raises(RuntimeError, match="not found"):
        slicer.util.loadUI(str(tmp_path / "missing.ui"))


def test_an_unknown_widget_or_slot_in_a_ui_file_is_an_error(slicerHost, tmp_path):
    text = (SAMPLE.parent / "Resources" / "UI" / "HostSample.ui").read_text(encoding="utf-8")
    unknown = tmp_path / "unknown.ui"
    unknown.write_text(text.replace("setSegmentationNode(", "setSegmentation("), encoding="utf-8")
    with pytest.raises(AttributeError, match="setSegmentation"):
        slicer.util.loadUI(str(unknown))
