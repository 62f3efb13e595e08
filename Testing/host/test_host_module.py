"""A scripted module in Slicer's manner: parameters, errors, reload, and nothing left behind."""

import gc
import logging
import weakref
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
import slicer

SOURCE = """
from typing import Annotated
import qt, slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *

@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(0, 1)] = 0.5
    keep: bool = True

class Sample(ScriptedLoadableModule):
    pass

class SampleWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        self.calls, self.button = [], qt.QPushButton("old")
        self.layout.addWidget(self.button)
        self.button.connect("clicked(bool)", self.onClicked)
        self.parameters = SampleLogic().getParameterNode()

    def enter(self):
        self.calls.append("enter")

    def exit(self):
        self.calls.append("exit")

    def cleanup(self):
        self.calls.append("cleanup")

    def onClicked(self):
        with slicer.util.tryWithErrorDisplay("Not done."):
            raise ValueError("Choose a lower one.")

class SampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return Parameters(super().getParameterNode())
"""


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "modules" / "Sample.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture
def panel(slicerHost, source):
    slicerHost.loadModule(source)
    return slicerHost.openModule("Sample")


def test_an_error_in_a_slot_is_shown_and_recorded(slicerHost, panel):
    slicerHost.click(panel.button)
    (message,) = slicerHost.dialogs.messages
    assert message.kind == "error" and "Choose a lower one." in message.text and "ValueError" in message.detail
    (error,) = slicerHost.takeUncaught()  # tryWithErrorDisplay raises again, into the slot
    assert isinstance(error, ValueError)


def test_reload_runs_the_new_code_in_the_same_place(slicerHost, panel, source):
    source.write_text(SOURCE.replace('"old"', '"newer"'), encoding="utf-8")
    panel.onReload()
    slicerHost.processEvents()
    reloaded = slicer.modules.SampleWidget
    assert reloaded is not panel and panel.calls == ["enter", "cleanup"]
    assert reloaded.button.text == "newer" and reloaded.button.visible and not panel.button.visible
    assert reloaded.parent.isEntered and reloaded.calls == []  # as in Slicer, nobody calls enter() again


def test_parameters_are_typed_checked_and_shared(panel):
    first, second = panel.parameters, type(panel.parameters)(panel.parameters.parameterNode)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    first.volume, first.threshold, first.keep = volume, 0.25, False
    assert (second.volume, second.threshold, second.keep) == (volume, 0.25, False)
    for name, value, error in (("threshold", 1.5, ValueError), ("keep", 1, TypeError), ("volume", 1, TypeError)):
        with pytest.raises(error):
            second.setValue(name, value)
    with pytest.raises(ValueError, match="no parameter treshold"):
        second.setValue("treshold", 0.5)
    slicer.mrmlScene.Clear(0)
    assert (first.volume, first.threshold) == (None, 0.5)


def test_a_wrapper_keeps_a_node_until_its_parameter_node_is_modified(panel):
    """Slicer's NodeSerializer supports caching (serializers.py)."""
    volume, node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"), panel.parameters.parameterNode
    node.DisableModifiedEventOn()
    node.SetNodeReferenceID("volume", volume.GetID())
    node.DisableModifiedEventOff()
    assert panel.parameters.volume is None
    node.Modified()
    assert panel.parameters.volume is volume


@pytest.mark.slow
def test_a_wrapper_observes_its_node_also_after_it_was_disconnected(panel):
    """Slicer's disconnectGui leaves the observer of connectParametersToGui behind (wrapper.py)."""
    from host.ctk_widgets import ctk

    slider, wrapper = ctk.ctkSliderWidget(), type(panel.parameters)(panel.parameters.parameterNode)
    tag = wrapper.connectParametersToGui({"threshold": slider})
    slider.value = 0.75
    assert wrapper.threshold == 0.75
    wrapper.disconnectGui(tag)
    slider.value = 0.1
    assert wrapper.threshold == 0.75
    kept = weakref.ref(wrapper)
    del wrapper, tag
    gc.collect()
    assert kept() is not None


def test_a_pair_that_slicer_does_not_connect(panel):
    from host.pythonqt import qt

    for name, widget in (("threshold", qt.QCheckBox()), ("keep", qt.QComboBox()), ("volume", qt.QComboBox())):
        with pytest.raises(RuntimeError):
            panel.parameters.connectParametersToGui({name: widget})


def test_questions_are_answered_and_messages_recorded(slicerHost, caplog):
    from host.pythonqt import qt

    assert slicer.util.confirmOkCancelDisplay("Go on?")
    slicerHost.dialogs.answer = qt.QMessageBox.Cancel
    assert not slicer.util.confirmOkCancelDisplay("Go on?")
    slicer.util.warningDisplay("Thick slices")
    with caplog.at_level(logging.INFO):
        slicer.util.delayDisplay("Waiting", 5000)
    assert slicerHost.dialogs.texts("question") == ["Go on?"] * 2
    assert slicerHost.dialogs.texts("warning") == ["Thick slices"] and "Waiting" in caplog.text


@pytest.mark.slow
def test_closing_leaves_nothing_behind(tmp_path, source):
    from host.slicerhost import SlicerHost

    host = SlicerHost(tmp_path)
    with pytest.raises(RuntimeError, match="close it first"):
        SlicerHost(tmp_path)
    host.loadModule(source)
    panel, scene = host.openModule("Sample"), host.scene
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    kept = weakref.ref(panel)
    del panel
    host.close()
    gc.collect()
    assert kept() is None, "an observer or a connection still holds the panel"
    assert not hasattr(slicer, "mrmlScene") and not hasattr(slicer, "app") and host.uncaught == []
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_an_exception_in_an_observer_is_recorded_and_waiting_ends(slicerHost):
    def fail(*_):
        raise LookupError("no such segment")

    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, fail)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    slicer.mrmlScene.RemoveObserver(tag)
    assert [type(error) for error in slicerHost.takeUncaught()] == [LookupError] and not slicerHost.uncaught
    with pytest.raises(TimeoutError):
        slicerHost.wait(lambda: False, seconds=0.05)


def test_subject_hierarchy_follows_the_scene(slicerHost):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Volumes")
    item = hierarchy.GetItemByDataNode(node)
    assert hierarchy.GetItemName(item) == "Volumes"
    slicer.mrmlScene.RemoveNode(node)
    assert not hierarchy.GetItemDataNode(item)
