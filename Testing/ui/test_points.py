"""Points "liver" and "not liver": set by button or key, moved, deleted, undone, saved and found again."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from LiverGTANLib.core import clicks
from LiverGTANLib.mrml import points, roi, scene, self_test, table
from support.interactive_cases import addRoi, drag, liver, previews, segmented, settle, undoStates, worldOf
from support.module_fixtures import students
from support.panel_cases import mask, panel, phantom

pytestmark = pytest.mark.slow


def placing() -> str:
    """ID of the list that the mouse places points of, empty when it places none."""
    logic = slicer.app.applicationLogic()
    interaction = logic.GetInteractionNode()
    return logic.GetSelectionNode().GetActivePlaceNodeID() if interaction.GetCurrentInteractionMode() == 1 else ""


def clickInView(ras) -> None:
    """What a slice view does on a click in place mode: the point that followed the mouse is set."""
    node = slicer.mrmlScene.GetNodeByID(placing())
    index = node.AddControlPointWorld(vtk.vtkVector3d(0, 0, 0))
    node.UnsetNthControlPointPosition(index)
    node.SetNthControlPointPositionWorld(index, *ras, node.PositionPreview)
    slicer.app.processEvents()
    node.SetNthControlPointPositionWorld(index, *ras, node.PositionDefined)


def place(panel, button, ras) -> None:
    panel.click(button)
    clickInView(ras)
    panel.click(button)
    settle(panel)


def surroundings(volumeNode, kji) -> np.ndarray:
    """Voxels that a click at kji may change."""
    shape = slicer.util.arrayFromVolume(volumeNode).shape
    far = [clicks.REACH_MM / s + 2 * 3 / s for s in volumeNode.GetSpacing()[::-1]]
    near = np.zeros(shape, bool)
    near[tuple(slice(max(0, int(c - f)), int(c + f) + 2) for c, f in zip(kji, far))] = True
    return near


@pytest.fixture
def inLiver(panel, segmented):
    """(k, j, i) of a voxel well inside the liver."""
    voxels = np.argwhere(liver(panel, segmented))
    return tuple(voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()])


def test_a_click_on_what_is_not_liver_takes_it_out_and_leaves_the_rest_alone(panel, segmented, inLiver):
    before, states = liver(panel, segmented), undoStates(panel)
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, inLiver))
    after = liver(panel, segmented)
    assert before[inLiver] and not after[inLiver]
    far = ~surroundings(segmented, inLiver)
    np.testing.assert_array_equal(after[far], before[far])
    assert undoStates(panel) == states + 1 and not placing()
    assert not panel.ui.notLiverPointsButton.checked


def test_a_click_on_liver_adds_it(panel, segmented, inLiver):
    outside = (inLiver[0], inLiver[1], int(np.flatnonzero(liver(panel, segmented)[inLiver[:2]])[-1]) + 4)
    before = liver(panel, segmented)
    assert not before[outside]
    place(panel, panel.ui.liverPointsButton, worldOf(segmented, outside))
    after = liver(panel, segmented)
    assert after[outside] and after[before].all()


def test_a_point_far_from_the_liver_is_told_with_the_result_and_in_its_row(panel, segmented):
    before = liver(panel, segmented)
    place(panel, panel.ui.liverPointsButton, worldOf(segmented, (1, 1, 1)))
    after = liver(panel, segmented)
    assert after[1, 1, 1]
    remark = f"{np.count_nonzero(after & ~before) * 0.012:.1f} mL that points added lie apart from the liver"
    lines = panel.ui.resultLabel.text.splitlines()
    assert lines[0].startswith("Liver ") and lines[0].endswith(")") and f"{remark}, look at the mask" in lines[1:]
    assert panel.ui.resultLabel.text.count("look at the mask") == 1
    assert remark in table.rows(panel.ui.tableSelector.currentNode())[1][-1]
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert "apart" not in panel.ui.resultLabel.text


def test_moving_and_deleting_a_point_updates_the_mask(panel, segmented, inLiver):
    before = liver(panel, segmented)
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, inLiver))
    first, node = liver(panel, segmented), points.find(segmented, False)
    node.InvokeCustomModifiedEvent(node.PointStartInteractionEvent)
    moved = worldOf(segmented, (1, 1, 1))
    node.SetNthControlPointPositionWorld(0, *moved)
    panel.host.processEvents()
    node.InvokeCustomModifiedEvent(node.PointEndInteractionEvent)
    settle(panel)
    assert not np.array_equal(liver(panel, segmented), first) and liver(panel, segmented)[inLiver]
    node.RemoveNthControlPoint(0)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)


@pytest.mark.parametrize("how", ["nothing segmented", "other segmentation", "liver deleted", "liver edited"])
def test_where_no_mask_follows_no_preview_stays(panel, phantom, how):
    if how != "nothing segmented":
        panel.segment()
        settle(panel)
    if how == "other segmentation":
        panel.ui.outputSelector.setCurrentNode(None)
    elif how == "liver deleted":
        panel.output.GetSegmentation().RemoveSegment(scene.liverSegmentId(panel.output))
    elif how == "liver edited":
        drawn = mask(panel.output, phantom)
        drawn[:, :, ::2] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            drawn, panel.output, scene.liverSegmentId(panel.output), phantom
        )
    settle(panel)
    place(panel, panel.ui.liverPointsButton, worldOf(phantom, [20, 60, 60]))
    assert not previews()
    drag(panel, addRoi(panel), (20, 0, 0))
    settle(panel)
    assert not previews()
    roiNode = roi.find(phantom)  # while it is dragged there is one
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    roiNode.SetSizeWorld(90, 90, 90)
    panel.host.wait(previews)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    assert not previews()


def test_a_point_counts_hidden_deselected_or_locked(panel, segmented, inLiver):
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, inLiver))
    corrected, node = liver(panel, segmented), points.find(segmented, False)
    assert not corrected[inLiver]
    node.SetNthControlPointSelected(0, False)
    node.SetNthControlPointVisibility(0, False)
    node.SetNthControlPointLocked(0, True)
    node.SetDisplayVisibility(False)
    settle(panel)
    panel.segment()
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), corrected)


def test_the_point_under_the_moving_mouse_does_not_count_yet(panel, segmented, inLiver):
    before, states = liver(panel, segmented), undoStates(panel)
    panel.click(panel.ui.notLiverPointsButton)
    node = slicer.mrmlScene.GetNodeByID(placing())
    index = node.AddControlPointWorld(vtk.vtkVector3d(0, 0, 0))
    node.UnsetNthControlPointPosition(index)
    settle(panel)
    for shift in range(5):
        node.SetNthControlPointPositionWorld(index, *(worldOf(segmented, inLiver) + shift), node.PositionPreview)
        panel.host.processEvents()
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)
    panel.click(panel.ui.notLiverPointsButton)
    assert undoStates(panel) == states


def test_keys_place_while_the_module_is_open_and_only_then(panel, segmented):
    window = panel.host.mainWindow
    QtTest.QTest.keyClick(window, QtCore.Qt.Key_L)
    assert panel.ui.liverPointsButton.checked and placing() == points.find(segmented, True).GetID()
    QtTest.QTest.keyClick(window, QtCore.Qt.Key_N)
    assert panel.ui.notLiverPointsButton.checked and not panel.ui.liverPointsButton.checked
    assert placing() == points.find(segmented, False).GetID()
    QtTest.QTest.keyClick(window, QtCore.Qt.Key_N)
    assert not placing() and not panel.ui.notLiverPointsButton.checked
    QtTest.QTest.keyClick(window, QtCore.Qt.Key_L)
    panel.host.leaveModule()
    assert not placing()  # what was begun here ends here
    QtTest.QTest.keyClick(window, QtCore.Qt.Key_L)
    assert not placing()


def test_escape_ends_placing_and_is_nobodys_key_otherwise(active):
    window, pressed = active.host.mainWindow, []
    stop = next(one for one in window.findChildren(QtGui.QShortcut) if one.key.toString() == "Esc")
    stop.connect("activated()", lambda: pressed.append(placing()))
    active.ui.applyButton.setFocus()
    for letter, button in (
        (QtCore.Qt.Key_L, active.ui.liverPointsButton),
        (QtCore.Qt.Key_N, active.ui.notLiverPointsButton),
    ):
        press(letter)
        assert placing() and button.checked
        press(QtCore.Qt.Key_Escape)
        assert not placing() and not button.checked
    assert len(pressed) == 2
    press(QtCore.Qt.Key_Escape)
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    slicer.modules.markups.logic().SetActiveList(other)
    slicer.modules.markups.logic().StartPlaceMode(True)
    press(QtCore.Qt.Key_Escape)
    assert placing() == other.GetID() and len(pressed) == 2  # another module's points are its own matter


def test_escape_is_not_taken_from_where_something_is_typed(active):
    text = addToWindow(active, QtWidgets.QLineEdit())
    active.ui.applyButton.setFocus()
    press(QtCore.Qt.Key_L)
    text.setFocus()
    press(QtCore.Qt.Key_Escape)
    assert placing()
    active.ui.applyButton.setFocus()
    press(QtCore.Qt.Key_Escape)
    assert not placing()


def meaning(event: str, key: str = "") -> int:
    """What Slicer's own widget makes of an event in a view while its points are placed."""
    widget, data = slicer.vtkSlicerPointsWidget(), slicer.vtkMRMLInteractionEventData()
    widget.SetWidgetState(widget.WidgetStateDefine)
    data.SetType(getattr(vtk.vtkCommand, event))
    if key:
        data.SetKeySym(key)
    return widget.TranslateInteractionEventToWidgetEvent(data)


def test_slicer_ends_placing_by_the_mouse_and_leaves_escape_to_us():
    stop = slicer.vtkSlicerPointsWidget.WidgetEventStopPlace
    assert meaning("RightButtonReleaseEvent") == meaning("LeftButtonDoubleClickEvent") == stop
    assert meaning("KeyPressEvent", "Escape") == slicer.vtkSlicerPointsWidget.WidgetEventNone


@pytest.fixture
def active(panel, segmented):
    """The panel in a window that has the keyboard, with the section of lists open."""
    panel.host.mainWindow.activateWindow()
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.host.processEvents()
    return panel


def press(key, widget=None) -> None:
    """A key, as the window system sends it: to what has the focus."""
    QtTest.QTest.keyClick(widget or QtWidgets.QApplication.focusWidget(), key)
    slicer.app.processEvents()


TYPING = {
    "the list of CTs": lambda panel: panel.ui.inputSelector._comboBox,
    "the list of networks": lambda panel: panel.ui.studentComboBox,
    "a number": lambda panel: panel.ui.thresholdSlider._spinBox,
    "a text": lambda panel: addToWindow(panel, QtWidgets.QLineEdit()),
    "the Python console": lambda panel: addToWindow(panel, QtWidgets.QPlainTextEdit()),
    "a table": lambda panel: addToWindow(panel, QtWidgets.QTableWidget(2, 2)),
}


def addToWindow(panel, widget):
    panel.host.mainWindow.layout().addWidget(widget)
    widget.show()
    return widget


@pytest.mark.parametrize("where", TYPING)
def test_letters_are_not_taken_from_where_they_are_typed(active, where):
    openCorrect = active.ui.correctCollapsibleButton
    openCorrect.collapsed = False
    widget = TYPING[where](active)
    widget.setFocus()
    active.host.processEvents()
    assert widget.hasFocus()
    for key in (QtCore.Qt.Key_L, QtCore.Qt.Key_N):
        press(key)
        assert not placing(), where
    active.ui.applyButton.setFocus()
    press(QtCore.Qt.Key_L)
    assert placing()


def test_a_letter_finds_its_entry_in_a_list(active):
    box = active.ui.engineComboBox
    box.setFocus()
    press(QtCore.Qt.Key_N)
    assert box.currentText == "numpy" and not placing()


def test_entering_with_the_focus_in_a_text_leaves_the_letters_there(active):
    text = addToWindow(active, QtWidgets.QLineEdit())
    text.setFocus()
    active.host.leaveModule()
    active.host.openModule("LiverGTAN")
    assert text.hasFocus()
    press(QtCore.Qt.Key_L)
    assert not placing()
    active.ui.applyButton.setFocus()
    press(QtCore.Qt.Key_L)
    assert placing()


def test_a_key_opens_the_section_that_shows_what_is_placed(active):
    section = active.ui.correctCollapsibleButton
    assert section.collapsed
    active.ui.applyButton.setFocus()
    press(QtCore.Qt.Key_N)
    assert not section.collapsed and active.ui.notLiverPointsButton.visible and active.ui.notLiverPointsButton.checked
    section.collapsed = True
    assert not placing() and not active.ui.notLiverPointsButton.checked


def test_a_key_without_a_ct_opens_nothing(panel):
    panel.host.mainWindow.activateWindow()
    press(QtCore.Qt.Key_L, panel.host.mainWindow)
    assert panel.ui.correctCollapsibleButton.collapsed and not placing()


def test_ending_the_placing_elsewhere_lifts_the_button(panel, segmented):
    panel.click(panel.ui.liverPointsButton)
    assert panel.ui.liverPointsButton.checked
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
    assert not panel.ui.liverPointsButton.checked


def test_undo_takes_the_point_back_so_that_the_next_click_does_not_bring_it_again(panel, segmented, inLiver):
    before = liver(panel, segmented)
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, inLiver))
    panel.click(panel.ui.undoButton)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)
    node = points.find(segmented, False)
    assert node.GetNumberOfControlPoints() == 0
    panel.click(panel.ui.redoButton)
    settle(panel)
    assert node.GetNumberOfControlPoints() == 1 and not liver(panel, segmented)[inLiver]


def test_remove_points_brings_the_networks_answer_back_in_one_step(panel, segmented, inLiver):
    before = liver(panel, segmented)
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, inLiver))
    place(panel, panel.ui.liverPointsButton, worldOf(segmented, inLiver) + [10, 0, 0])
    states = undoStates(panel)
    panel.click(panel.ui.clearPointsButton)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)
    assert undoStates(panel) == states + 1


def test_the_later_of_two_contradicting_points_counts(panel, segmented, inLiver):
    ras = worldOf(segmented, inLiver)
    place(panel, panel.ui.notLiverPointsButton, ras)
    place(panel, panel.ui.liverPointsButton, ras)
    assert liver(panel, segmented)[inLiver]
    place(panel, panel.ui.notLiverPointsButton, ras)
    assert not liver(panel, segmented)[inLiver]


def test_points_belong_to_their_volume(panel, segmented, inLiver):
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, inLiver))
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    assert panel.widget.panel.parameterNode.notLiverPoints is None
    panel.segment()
    settle(panel)
    assert liver(panel, other)[inLiver]
    panel.choose(segmented)
    settle(panel)
    assert panel.widget.panel.parameterNode.notLiverPoints == points.find(segmented, False)


def test_points_are_saved_with_the_scene_and_found_again(panel, segmented, inLiver, tmp_path):
    place(panel, panel.ui.notLiverPointsButton, worldOf(segmented, inLiver))
    place(panel, panel.ui.liverPointsButton, worldOf(segmented, inLiver) + [20, 0, 0])
    panel.ui.thresholdSlider.value = 0.6
    settle(panel)
    corrected, name = liver(panel, segmented), segmented.GetName()
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    panel.host.processEvents()
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    settle(panel)
    volumeNode = slicer.util.getNode(name)
    parameters = panel.widget.panel.parameterNode
    assert panel.ui.inputSelector.currentNode() == volumeNode and parameters.threshold == 0.6
    assert [click.liver for click in points.read(parameters.liverPoints, parameters.notLiverPoints)] == [False, True]
    np.testing.assert_array_equal(liver(panel, volumeNode), corrected)
    parameters.notLiverPoints.RemoveNthControlPoint(0)
    settle(panel)
    assert liver(panel, volumeNode)[inLiver]


def test_a_script_gives_its_points_and_its_roi(panel, segmented, inLiver):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.AddControlPointWorld(vtk.vtkVector3d(*worldOf(segmented, inLiver)))
    result = panel.widget.logic.process(segmented, notLiverPoints=node)
    held = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, result.segmentId, segmented)
    assert not held[inLiver] and held.any()
