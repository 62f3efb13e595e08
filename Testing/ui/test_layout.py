"""The panel on a narrow screen: nothing is cut, nothing grows, the order is that of the work, and everything explains
itself, also what is disabled.
"""

import itertools

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from PySide6 import QtCore, QtWidgets

from LiverGTANLib.core import measurements
from LiverGTANLib.mrml import self_test
from support.interactive_cases import settle
from support.module_fixtures import students
from support.panel_cases import Panel, panel, phantom

NARROW = 360  # pixels, as narrow as Slicer's panel is made on a laptop
SECTIONS = ("correct", "region", "measure", "review", "planning", "export", "batch", "sequence", "follow", "advanced")
ORDER = [
    "inputSelector",
    "outputSelector",
    "applyButton",
    "resultLabel",
    "undoButton",
    *(f"{section}CollapsibleButton" for section in SECTIONS),
    "intendedUseLabel",
]
NAME = "CT_ABDOMEN_PELVIS_WITH_CONTRAST_portal_venous_5mm_reconstruction_B30f_series_0412"
CONTROLS = ("QAbstractButton", "QComboBox", "ctkSliderWidget", "qMRMLNodeComboBox")


@pytest.fixture(params=[9, 12])
def points(request):
    """The size of the application's font."""
    from host.pythonqt import qt

    application, before = QtWidgets.QApplication.instance(), QtWidgets.QApplication.font()
    font = qt.QFont(before)
    font.setPointSize(request.param)
    application.setFont(font)
    yield request.param
    application.setFont(before)


@pytest.fixture
def narrow(points, slicerHost, students):
    """The panel of a narrow window at one size of the font, with a scan of a long name and its liver."""
    shown = Panel(slicerHost, students)
    self_test.addPhantom(NAME)
    slicerHost.processEvents()
    shown.segment()
    settle(shown)
    slicerHost.mainWindow.resize(NARROW, 1500)
    slicerHost.processEvents()
    return shown


def openSections(shown, names=SECTIONS) -> None:
    for name in SECTIONS:
        getattr(shown.ui, f"{name}CollapsibleButton").collapsed = name not in names
    shown.host.processEvents()


def leastWidth(shown) -> int:
    return shown.widget.parent.minimumSizeHint().width()


def visibleWidgets(shown) -> list:
    return [widget for widget in vars(shown.ui).values() if getattr(widget, "visible", False)]


def cut(shown) -> list[str]:
    """Names of what is not seen as a whole: beyond the panel, or smaller than its text."""
    root, found = shown.widget.parent, []
    for widget in visibleWidgets(shown):
        corner = widget.mapTo(root, QtCore.QPoint(widget.width, widget.height))
        needed = widget.minimumSizeHint()
        isCut = corner.x() > root.width or needed.width() > widget.width or needed.height() > widget.height
        if widget.inherits("QLabel") and widget.wordWrap:
            isCut = isCut or widget.heightForWidth(widget.width) > widget.height
        if isCut:
            found.append(widget.objectName)
    return found


def test_nothing_is_cut_and_the_panel_does_not_grow(narrow):
    openSections(narrow, ())
    assert cut(narrow) == [] and leastWidth(narrow) <= NARROW
    for section in SECTIONS:
        openSections(narrow, (section,))
        assert cut(narrow) == [] and leastWidth(narrow) <= NARROW, section
        assert narrow.widget.parent.width <= NARROW
    openSections(narrow)
    assert cut(narrow) == [] and leastWidth(narrow) <= NARROW


def test_long_messages_with_long_names_wrap(narrow):
    shown = narrow.widget.panel
    shown.line.say(f"The segmentation holds the liver of '{NAME}', which is another scan: choose another one. " * 2)
    shown._sayOfBatch(f"{NAME}: /home/user/data/{NAME}/{NAME}.nrrd could not be read.")
    narrow.ui.messageLabel.text, narrow.ui.messageLabel.visible = narrow.ui.resultLabel.text, True
    openSections(narrow)
    assert cut(narrow) == [] and leastWidth(narrow) <= NARROW
    assert narrow.ui.resultLabel.height > 4 * narrow.ui.resultLabel.fontMetrics().height()


def test_long_words_break_after_separators_and_short_ones_nowhere(panel):
    say, label = panel.widget.panel.line.say, panel.ui.resultLabel
    say("Liver 1145 mL (1013 to 1278), 0.45 s (numpy)")
    assert label.text == "Liver 1145 mL (1013 to 1278), 0.45 s (numpy)"
    say("of 'CT_ABDOMEN_with_contrast.nrrd'.")
    assert label.text.split("\u200b") == ["of 'CT_", "ABDOMEN_", "with_", "contrast.", "nrrd'."]
    say("x" * 45)
    assert label.text.split("\u200b") == ["x" * 20, "x" * 20, "x" * 5]


def test_the_result_has_a_row_of_its_own(narrow):
    label, row = narrow.ui.resultLabel, narrow.ui.resultLabel.geometry
    assert row.width() == narrow.ui.applyButton.width
    inRow = [
        w.objectName for w in visibleWidgets(narrow) if w is not label and w.parentWidget() is label.parentWidget()
    ]
    assert "undoButton" in inRow
    assert not [name for name in inRow if getattr(narrow.ui, name).geometry.intersects(row)]


def positionOf(shown, widget) -> tuple[int, int]:
    """(y, x) in the panel."""
    point = widget.mapTo(shown.widget.parent, QtCore.QPoint(0, 0))
    return point.y(), point.x()


def test_the_order_on_screen_is_the_order_of_the_work(panel, phantom):
    panel.segment()
    settle(panel)
    positions = [positionOf(panel, getattr(panel.ui, name))[0] for name in ORDER]
    assert positions == sorted(set(positions))


def test_the_tab_key_goes_down_the_screen(panel, phantom):
    panel.segment()
    settle(panel)
    openSections(panel)
    reached, widget = [], panel.ui.inputSelector._comboBox
    widget.setFocus()
    while widget is not None and widget not in reached:
        reached.append(widget)
        QtWidgets.QWidget.focusNextPrevChild(widget, True)
        widget = QtWidgets.QApplication.focusWidget()
    rows = [positionOf(panel, w) for w in reached if panel.widget.parent.isAncestorOf(w)]
    assert len(rows) > 20
    for (above, left), (below, right) in itertools.pairwise(rows):
        sameRow = abs(below - above) < 10  # pixels; half of any row
        assert right > left if sameRow else below > above


def controls(shown) -> list:
    return [w for w in vars(shown.ui).values() if any(w.inherits(name) for name in CONTROLS)]


def test_everything_explains_itself_also_when_it_is_disabled(panel):
    before = {widget.objectName: widget.toolTip for widget in controls(panel)}
    assert len(before) > 20 and all(before.values())
    why = {
        "applyButton",
        "undoButton",
        "redoButton",
        "show3DButton",
        "liverPointsButton",
        "fitRegionButton",
        "batchButton",
    }
    assert all(not getattr(panel.ui, name).enabled for name in why)
    self_test.addPhantom()
    panel.host.processEvents()
    panel.segment()
    panel.ui.regionSelector.addNode("vtkMRMLMarkupsROINode")
    panel.ui.volumesComboBox.check(panel.ui.inputSelector.currentNode())
    settle(panel)
    panel.click(panel.ui.undoButton)
    settle(panel)
    panel.click(panel.ui.redoButton)
    settle(panel)
    for name in why - {"redoButton"}:
        button = getattr(panel.ui, name)
        assert button.enabled and button.toolTip and button.toolTip != before[name], name
    assert panel.ui.redoButton.toolTip == before["redoButton"] == "There is nothing to redo."


def test_icons_are_slicers_and_without_them_the_texts_stand_alone(panel, monkeypatch):
    from LiverGTANLib.ui import appearance

    withIcon = [getattr(panel.ui, name) for name in appearance.ICONS]
    assert len(withIcon) == 4 and all(not button.icon.isNull() and button.text for button in withIcon)
    missing = dict.fromkeys(appearance.ICONS, (":/Icons/NotThere.png",))
    monkeypatch.setattr(appearance, "ICONS", missing)
    panel.widget.onReload()
    reloaded = slicer.util.getModuleWidget("LiverGTAN").ui
    buttons = [getattr(reloaded, name) for name in missing]
    assert all(button.icon.isNull() and button.text for button in buttons)


def test_an_unusual_volume_is_told_once(panel, phantom, monkeypatch):
    panel.segment()
    assert "unusual" not in panel.ui.resultLabel.text
    monkeypatch.setattr(measurements, "USUAL_LIVER_ML", (2000, 4500))
    panel.segment()
    assert panel.ui.resultLabel.text.count("unusual") == 1
    panel.ui.regionSelector.addNode("vtkMRMLMarkupsROINode")
    settle(panel)
    panel.segment()
    assert "unusual" not in panel.ui.resultLabel.text  # a part, as it was asked for
