"""The host's parameter nodes: typed, checked, kept in a real `vtkMRMLScriptedModuleNode`."""

import enum
from typing import Annotated, Optional

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
import slicer


class Side(enum.Enum):
    BELOW = 1
    ABOVE = 2


@pytest.fixture
def wrapperClass(slicerHost):
    from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        output: Optional[slicer.vtkMRMLSegmentationNode]  # noqa: UP045 (Slicer knows no other form)
        threshold: Annotated[float, WithinRange(0, 1)] = 0.5
        repeats: Annotated[int, Default(3)]
        side: Side
        model: Annotated[str, Choice(["large", "small"])] = "large"
        keep: bool = True

    return Parameters


@pytest.fixture
def node(slicerHost):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


def test_defaults(wrapperClass, node):
    parameters = wrapperClass(node)
    assert (parameters.volume, parameters.output, parameters.threshold, parameters.repeats) == (None, None, 0.5, 3)
    assert (parameters.side, parameters.model, parameters.keep) == (Side.BELOW, "large", True)
    assert node.GetParameter("side") == "BELOW" and node.GetParameter("keep") == "True"


def test_a_second_wrapper_reads_what_the_first_wrote(wrapperClass, node):
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    first, second = wrapperClass(node), wrapperClass(node)
    first.volume, first.output, first.side, first.threshold = volume, segmentation, Side.ABOVE, 0.25
    assert (second.volume, second.output, second.side, second.threshold) == (volume, segmentation, Side.ABOVE, 0.25)
    assert node.GetNodeReference("volume") is volume
    slicer.mrmlScene.RemoveNode(volume)
    assert second.volume is None


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("threshold", 1.5, ValueError),
        ("threshold", "0.5", TypeError),
        ("model", "tiny", ValueError),
        ("keep", 1, TypeError),
        ("side", "ABOVE", TypeError),
        ("repeats", 2.5, TypeError),
    ],
)
def test_wrong_values_are_refused_and_nothing_changes(wrapperClass, node, name, value, error):
    parameters = wrapperClass(node)
    before = parameters.getValue(name)
    with pytest.raises(error):
        parameters.setValue(name, value)
    assert parameters.getValue(name) == before


def test_a_node_of_another_class_is_refused(wrapperClass, node):
    with pytest.raises(TypeError, match="vtkMRMLScalarVolumeNode"):
        wrapperClass(node).volume = node


def test_an_unknown_name_is_refused(wrapperClass, node):
    with pytest.raises(ValueError, match="no parameter treshold"):
        wrapperClass(node).setValue("treshold", 0.5)


def test_reserved_names_and_unknown_types_are_refused(slicerHost):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(ValueError, match="reserved"):
        parameterNodeWrapper(type("Reserved", (), {"__annotations__": {"connectGui": str}}))
    with pytest.raises(TypeError, match="keeps no parameter"):
        parameterNodeWrapper(type("Unknown", (), {"__annotations__": {"bounds": dict}}))


def test_gui_and_node_follow_each_other_until_disconnected(wrapperClass, node):
    from host.ctkwidgets import ctk
    from host.qtmodule import qt

    parameters = wrapperClass(node)
    slider, box, check = ctk.ctkSliderWidget(), qt.QComboBox(), qt.QCheckBox()
    tag = parameters.connectParametersToGui({"threshold": slider, "side": box, "keep": check})
    assert (slider.maximum, slider.value, box.currentText, check.checked) == (1, 0.5, "BELOW", True)
    slider.value, box.currentIndex, check.checked = 0.75, 1, False
    assert (parameters.threshold, parameters.side, parameters.keep) == (0.75, Side.ABOVE, False)
    parameters.threshold = 0.25
    assert slider.value == 0.25
    parameters.disconnectGui(tag)
    slider.value = 1.0
    assert parameters.threshold == 0.25
    parameters.threshold = 0.5
    assert slider.value == 1.0
    parameters.disconnectGui(tag)  # once more, and with None, does nothing
    parameters.disconnectGui(None)


@pytest.mark.parametrize(
    "name, widget, reason",
    [
        ("threshold", "QCheckBox", "connects no float"),
        ("side", "QLineEdit", "connects no Side"),
        ("repeats", "QSlider", "range"),
        ("volume", "QComboBox", "vtkMRMLScalarVolumeNode"),
    ],
)
def test_pairs_that_slicer_does_not_connect(wrapperClass, node, name, widget, reason):
    from host.qtmodule import qt

    with pytest.raises(RuntimeError, match=reason):
        wrapperClass(node).connectParametersToGui({name: getattr(qt, widget)()})
