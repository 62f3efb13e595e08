"""PythonQt's manners on PySide6."""

import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed")
from PySide6 import QtCore

from host.ctk_widgets import ctk
from host.pythonqt import qt


def test_properties_are_attributes():
    button = qt.QPushButton("Segment")
    button.enabled, button.toolTip = None, "why"
    assert (button.text, button.enabled, button.toolTip) == ("Segment", False, "why")
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QProgressBar().maximum = object()


def test_connections_by_signature_drop_surplus_arguments_and_can_be_ended():
    box, heard = qt.QSpinBox(), []
    first = lambda: heard.append("none")  # noqa: E731
    box.connect("valueChanged(int)", first)
    box.connect("valueChanged(int)", lambda value: heard.append(value))
    box.value = 3
    assert box.disconnect("valueChanged(int)", first) and not box.disconnect("valueChanged(int)", first)
    box.value = 4
    assert heard == ["none", 3, 4]


def test_classes_relate_as_in_cpp():
    button = qt.QPushButton()
    assert isinstance(button, qt.QWidget) and not isinstance(button, qt.QLabel)
    assert type(button) is qt.QPushButton and isinstance(ctk.ctkComboBox(), qt.QComboBox)


def test_a_python_class_may_have_its_own_attributes():
    class Dialog(qt.QDialog):
        def __init__(self):
            super().__init__()
            self.answer = 42

    assert Dialog().answer == 42


def test_children_by_class_and_name():
    parent = qt.QWidget()
    inner = qt.QWidget(parent)
    label = qt.QLabel("CT", inner)
    label.name = "inputLabel"
    assert parent.findChildren(qt.QLabel) == [label] == parent.findChildren(qt.QWidget, "inputLabel")


def test_a_destroyed_object_is_refused():
    parent = qt.QWidget()
    label = qt.QLabel("CT", parent)
    parent.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    with pytest.raises(ValueError, match="destroyed"):
        label.text = "MR"
