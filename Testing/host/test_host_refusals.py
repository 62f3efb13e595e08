"""What the real widgets lack is refused, at once and once more at the end of the test."""

import contextlib

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")
import slicer

from host.ctk_widgets import ctk
from host.node_combo_boxes import qMRMLCheckableNodeComboBox, qMRMLNodeComboBox
from host.pythonqt import qt
from host.real_widgets import NotInSlicer, _allFacts

UI = """<ui version="4.0"><widget class="QWidget" name="root">
 <widget class="ctkSliderWidget" name="slider"><property name="{name}"{attribute}><bool>true</bool></property></widget>
 <widget class="qMRMLNodeComboBox" name="selector"/></widget>
 <customwidgets><customwidget><class>ctkSliderWidget</class><extends>QWidget</extends></customwidget></customwidgets>
 <connections><connection><sender>slider</sender><signal>{signal}</signal>
  <receiver>selector</receiver><slot>{slot}</slot></connection></connections></ui>"""
RIGHT = {
    "name": "tracking",
    "attribute": "",
    "signal": "valueChanged(double)",
    "slot": "setCurrentNodeID(QString)",
}


def test_every_widget_of_the_panel_is_known():
    assert {"ctkSliderWidget", "ctkCollapsibleButton", "qMRMLNodeComboBox", "QPushButton"} <= set(_allFacts())
    assert "valueIsChanging(double)" in _allFacts()["ctkSliderWidget"].signals
    assert "enabled" in _allFacts()["ctkSliderWidget"].properties  # from QWidget
    assert "geometry" not in _allFacts()["QShortcut"].properties


@pytest.mark.parametrize(
    "create, signature",
    [
        (lambda: ctk.ctkSliderWidget(), "valueChanging(double)"),
        (lambda: ctk.ctkSliderWidget(), "valueIsChanging(int)"),
        (lambda: qMRMLNodeComboBox(), "checkedNodesChanged()"),
        (lambda: qMRMLCheckableNodeComboBox(), "checkedNodesChanged(bool)"),
        (lambda: qt.QCheckBox(), "checkStateChanged(Qt::CheckState)"),
        (lambda: qt.QPushButton(), "clicked(double)"),
        (lambda: qt.QTimer(), "timeouts()"),
    ],
)
def test_an_unknown_signal(create, signature):
    with pytest.raises(NotInSlicer, match="has no"):
        create().connect(signature, print)


def test_a_close_name_is_offered():
    with pytest.raises(NotInSlicer, match=r"it has valueIsChanging\(double\)"):
        ctk.ctkSliderWidget().connect("valueChanging(double)", print)


@pytest.mark.parametrize(
    "create, name",
    [
        (lambda: ctk.ctkSliderWidget(), "step"),
        (lambda: ctk.ctkCollapsibleButton(), "colapsed"),
        (lambda: qMRMLNodeComboBox(), "currentIndex"),
        (lambda: qt.QPushButton(), "enable"),
        (lambda: qt.QComboBox(), "labelDrawingMode"),
        (lambda: qt.QLabel(), "accessibleIdentifier"),
    ],
)
def test_an_unknown_property(create, name):
    widget = create()
    with pytest.raises(NotInSlicer):
        setattr(widget, name, True)
    assert not hasattr(widget, name)


@pytest.mark.parametrize("name", ["nodes", "comboBox", "setNoneEnabled", "refresh"])
def test_a_method_that_python_cannot_call_in_slicer(name):
    assert not hasattr(qMRMLNodeComboBox(), name)


def test_what_is_real_but_not_modeled_says_so():
    for use in (lambda box: box.addMenuAction, lambda box: setattr(box, "interactionNodeSingletonTag", "x")):
        with pytest.raises(NotImplementedError, match="qMRMLNodeComboBox"):
            use(qMRMLNodeComboBox())
    with pytest.raises(NotImplementedError, match="Qt 6"):
        qt.QComboBox().connect("currentIndexChanged(QString)", print)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"name": "trackin"}, "slider: ctkSliderWidget has no property trackin"),
        ({"signal": "valueChanged(int)"}, r"valueChanged\(int\)"),
        ({"slot": "setCurrentNodeID(int)"}, r"setCurrentNodeID\(int\)"),
    ],
)
def test_a_ui_file(slicerHost, tmp_path, wrong, message):
    path = tmp_path / "panel.ui"
    path.write_text(UI.format(**RIGHT | wrong), encoding="utf-8")
    with pytest.raises(NotInSlicer, match=message):
        slicer.util.loadUI(str(path))
    assert len(slicerHost.refused) == 1
    slicerHost.refused.clear()


def test_a_dynamic_property_in_a_ui_file_is_free(slicerHost, tmp_path):
    path = tmp_path / "panel.ui"
    path.write_text(UI.format(**RIGHT | {"name": "SlicerParameterName", "attribute": ' stdset="0"'}), encoding="utf-8")
    assert slicer.util.childWidgetVariables(slicer.util.loadUI(str(path))).slider.property("SlicerParameterName")


def test_a_refusal_that_was_caught_is_remembered(slicerHost):
    with contextlib.suppress(AttributeError):
        qt.QLabel().texts = "CT"
    assert slicerHost.refused == ["QLabel has no texts among its properties; it has text"]
    slicerHost.refused.clear()
