"""The host's `qt`: PythonQt's manners on PySide6."""

import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed")

from host.ctkwidgets import ctk
from host.qtmodule import qt


def test_properties_are_attributes():
    button = qt.QPushButton("Segment")
    button.enabled, button.toolTip = False, "why"
    assert (button.text, button.enabled, button.toolTip) == ("Segment", False, "why")
    with pytest.raises(TypeError, match="not callable"):
        button.text()


def test_truth_of_any_object_sets_a_bool_property():
    button = qt.QPushButton()
    button.enabled = None
    assert button.enabled is False
    button.enabled = object()
    assert button.enabled is True


def test_a_misspelled_attribute_is_refused():
    with pytest.raises(AttributeError, match="enable"):
        qt.QPushButton().enable = True
    with pytest.raises(AttributeError, match="colapsed"):
        ctk.ctkCollapsibleButton().colapsed = True


def test_a_value_of_the_wrong_type_is_refused():
    with pytest.raises(AttributeError, match="maximum"):
        qt.QProgressBar().maximum = object()


def test_connect_by_signature_drops_surplus_arguments():
    button, heard = qt.QPushButton(), []
    assert button.connect("clicked(bool)", lambda: heard.append("none"))
    button.connect("clicked(bool)", lambda checked: heard.append(checked))
    button.connect("clicked()", lambda *arguments: heard.append(arguments))
    button.click()
    assert heard == ["none", False, ()]


@pytest.mark.parametrize("signature", ["pressed2()", "clicked(double)", "text()"])
def test_an_unknown_signal_raises(signature):
    with pytest.raises(ValueError, match="no signal"):
        qt.QPushButton().connect(signature, print)


def test_disconnect_one_slot_or_all():
    box, heard = qt.QSpinBox(), []
    first, second = (lambda value: heard.append(("first", value))), (lambda value: heard.append(("second", value)))
    box.connect("valueChanged(int)", first)
    box.connect("valueChanged(int)", second)
    assert box.disconnect("valueChanged(int)", first)
    box.value = 3
    assert box.disconnect("valueChanged(int)")
    box.value = 4
    assert heard == [("second", 3)]
    assert not box.disconnect("valueChanged(int)", first)


def test_classes_relate_as_in_cpp():
    button = qt.QPushButton()
    assert isinstance(button, qt.QWidget) and not isinstance(button, qt.QLabel)
    assert issubclass(qt.QPushButton, qt.QAbstractButton) and type(button) is qt.QPushButton
    assert isinstance(ctk.ctkComboBox(), qt.QComboBox) and button.className() == "QPushButton"


def test_a_subclass_may_have_its_own_attributes():
    class Dialog(qt.QDialog):
        def __init__(self):
            super().__init__()
            self.answer = 42
            self.connect("accepted()", self.onAccepted)

        def onAccepted(self):
            self.answer += 1

    dialog = Dialog()
    dialog.accept()
    assert dialog.answer == 43


def test_children_by_class_and_name():
    parent = qt.QWidget()
    inner = qt.QWidget(parent)
    label = qt.QLabel("CT", inner)
    label.name = "inputLabel"
    assert parent.findChildren(qt.QLabel) == [label]
    assert parent.findChildren(qt.QWidget, "inputLabel") == [label]


def test_a_timer_by_both_ways_of_connecting():
    heard, timer = [], qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", lambda: heard.append("signature"))
    timer.timeout.connect(lambda: heard.append("signal"))
    timer.start(0)
    qt.QTimer.singleShot(0, lambda: heard.append("static"))
    while len(heard) < 3:
        qt.QApplication.processEvents()
    assert set(heard) == {"signature", "signal", "static"} and not timer.active


def test_widgets_can_be_drawn():
    window = qt.QWidget()
    layout = qt.QVBoxLayout(window)
    section = ctk.ctkCollapsibleButton("Inputs")
    qt.QFormLayout(section).addRow("Threshold", ctk.ctkSliderWidget())
    bar = qt.QProgressBar()
    bar.value = 30
    for widget in (section, bar):
        layout.addWidget(widget)
    window.show()
    assert window.grab().toImage().width() == window.width


def test_a_collapsed_section_hides_what_is_in_it():
    section = ctk.ctkCollapsibleButton("Advanced")
    label = qt.QLabel("inside")
    qt.QVBoxLayout(section).addWidget(label)
    section.show()
    heard = []
    section.connect("contentsCollapsed(bool)", heard.append)
    assert label.visible
    section.collapsed = True
    assert not label.visible and section.sizeHint().height() == 24
    section.collapsed = False
    assert label.visible and heard == [True, False]


def test_a_slider_widget_tells_of_every_step_and_of_the_end_of_a_drag():
    slider, heard = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.singleStep, slider.tracking = 0, 1, 0.01, False
    slider.connect("valueIsChanging(double)", lambda value: heard.append(("is changing", round(value, 2))))
    slider.connect("valueChanged(double)", lambda value: heard.append(("changed", round(value, 2))))
    slider.value = 0.5
    assert heard == [("is changing", 0.5), ("changed", 0.5)]
    del heard[:]
    slider._slider.setSliderDown(True)
    slider._slider.setSliderPosition(51)
    slider._slider.setSliderPosition(52)
    assert heard == [("is changing", 0.51), ("is changing", 0.52)] and slider.value == 0.5
    slider._slider.setSliderDown(False)
    assert heard[2:] == [("changed", 0.52)] and slider.value == pytest.approx(0.52)
    slider.value = 7
    assert slider.value == 1


def test_a_destroyed_object_is_refused():
    from PySide6 import QtCore

    parent = qt.QWidget()
    label = qt.QLabel("CT", parent)
    parent.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    with pytest.raises(ValueError, match="destroyed"):
        label.text = "MR"
    with pytest.raises(ValueError, match="destroyed"):
        assert label.text
