"""Habits of the real CTK and scene widgets, against a real scene."""

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
import slicer
from PySide6 import QtWidgets

from host.ctk_widgets import ctk
from host.mrml_widgets import qMRMLSegmentationShow3DButton
from host.node_combo_boxes import qMRMLCheckableNodeComboBox, qMRMLNodeComboBox
from host.pythonqt import qt

VOLUME = "vtkMRMLScalarVolumeNode"


@pytest.fixture
def selectorWith(slicerHost):
    """Makes a selector of volumes with the scene, from properties."""
    made = []

    def make(cls=qMRMLNodeComboBox, **properties):
        made.append(cls())
        made[-1].nodeTypes = [VOLUME]
        for name, value in properties.items():
            setattr(made[-1], name, value)
        made[-1].setMRMLScene(slicer.mrmlScene)
        return made[-1]

    yield make
    for selector in made:
        selector.setMRMLScene(None)


PLAIN = {"addEnabled": False, "removeEnabled": False}
WITH_NONE = {"noneEnabled": True, "removeEnabled": True}


def add(*names: str, className: str = VOLUME) -> list:
    return [slicer.mrmlScene.AddNewNodeByClass(className, name) for name in names]


def heardFrom(selector) -> list:
    heard = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: heard.append(node and node.GetName()))
    return heard


def texts(selector) -> list[str]:
    return [selector._comboBox.itemText(i) for i in range(selector._comboBox.count)]


def test_without_a_scene_a_selector_is_empty_and_gray(slicerHost):
    selector = qMRMLNodeComboBox()
    add("CT")
    assert selector.nodeCount() == 0 and selector.currentNode() is None and not selector.enabled


def test_the_first_node_of_an_empty_list_is_chosen_without_none_and_without_actions(selectorWith):
    plain, withNone, withActions = selectorWith(**PLAIN), selectorWith(**PLAIN, noneEnabled=True), selectorWith()
    heard = heardFrom(plain)
    ct, _ = add("CT", "CT 2")
    assert plain.currentNode() is ct and heard == ["CT"] and plain.currentNodeID == ct.GetID()
    assert withNone.currentNode() is None and withActions.currentNode() is None
    assert selectorWith().currentNode() is ct  # when there is a node already, also with actions
    assert selectorWith(noneEnabled=True).currentNode() is None


@pytest.mark.parametrize("removed, chosen", [("A", "B"), ("B", "C"), ("C", "B")], ids=["first", "middle", "last"])
@pytest.mark.parametrize("properties", [PLAIN, WITH_NONE, {}], ids=["plain", "none and actions", "actions"])
def test_a_removed_current_node_gives_its_place_to_a_neighbor(selectorWith, properties, removed, chosen):
    selector = selectorWith(**properties)
    nodes = dict(zip("ABC", add("A", "B", "C")))
    selector.setCurrentNode(nodes[removed])
    present = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda: present.append(nodes[removed].GetScene()))
    heard = heardFrom(selector)
    slicer.mrmlScene.RemoveNode(nodes[removed])
    assert selector.currentNode().GetName() == chosen and heard == [chosen]
    assert present[0] is slicer.mrmlScene  # it is only about to be removed


def test_with_no_node_left_none_is_chosen(selectorWith):
    selector = selectorWith(**WITH_NONE)
    (node,) = add("A")
    selector.setCurrentNode(node)
    heard = heardFrom(selector)
    selector.removeCurrentNode()
    assert selector.currentNode() is None and heard == [None] and selector.nodeCount() == 0


def test_actions_create_and_delete(slicerHost, selectorWith):
    selector, byUser = selectorWith(noneEnabled=True, noneDisplay="Choose", baseName="Result"), []
    selector.connect("nodeAddedByUserAction(vtkMRMLNode*)", lambda node: byUser.append(node.GetName()))
    assert texts(selector) == ["Choose", "", "Create new Volume", "Delete current Volume"]
    slicerHost.choose(selector, "Create new Volume")
    assert selector.currentNode().GetName() == "Result" and byUser == ["Result"]
    selector.selectNodeUponCreation = False
    assert selector.addNode().GetName() == "Result_1" and selector.currentNode().GetName() == "Result"
    slicerHost.choose(selector, "Delete current Volume")
    assert selector.currentNode().GetName() == "Result_1"
    slicerHost.choose(selector, "Choose")
    assert selector.currentNode() is None


def test_types_hidden_nodes_and_names(selectorWith):
    selector = selectorWith(**PLAIN)
    ct, _ = add("CT")[0], add("labels", className="vtkMRMLLabelMapVolumeNode")
    hidden = slicer.vtkMRMLScalarVolumeNode()
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(hidden)
    assert texts(selector) == ["CT", "labels"]
    selector.showChildNodeTypes = False
    heard = heardFrom(selector)
    ct.SetName("Abdomen")
    assert texts(selector) == ["Abdomen"] and heard == ["Abdomen"]  # the name counts as a change


def test_an_import_makes_the_list_anew_and_loses_the_current_node(selectorWith):
    selector = selectorWith(**WITH_NONE)
    (ct,) = add("CT")
    selector.setCurrentNode(ct)
    slicer.mrmlScene.StartState(slicer.mrmlScene.ImportState)
    add("imported")
    assert texts(selector)[:2] == ["None", "CT"] and selector.nodeCount() == 1
    slicer.mrmlScene.EndState(slicer.mrmlScene.ImportState)
    assert selector.nodeCount() == 2 and selector.currentNode() is None


def test_closing_the_scene(selectorWith):
    selector = selectorWith(**PLAIN)
    add("A", "B")
    heard = heardFrom(selector)
    slicer.mrmlScene.Clear(0)
    assert selector.nodeCount() == 0 and selector.currentNode() is None and heard == [None]


def test_a_node_that_is_wanted_before_the_scene_is_there(slicerHost):
    selector = qMRMLNodeComboBox()
    selector.nodeTypes = [VOLUME]
    _, second = add("first", "second")
    selector.setCurrentNode(second)
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is second
    selector.setMRMLScene(None)


def test_checked_nodes_and_the_silent_removal_of_one(selectorWith):
    box, heard = selectorWith(qMRMLCheckableNodeComboBox), []
    first, second = add("first", "second")
    box.connect("checkedNodesChanged()", lambda: heard.append(len(box.checkedNodes())))
    box.setCheckState(second, qt.Qt.Checked)
    assert box.checkedNodes() == [second] and box.uncheckedNodes() == [first] and heard == [1]
    slicer.mrmlScene.RemoveNode(second)
    assert box.checkedNodes() == [] and heard == [1]
    first.SetName("renamed")
    assert heard == [1, 0]


def test_show_3d_without_a_segmentation_keeps_its_state(slicerHost):
    button, (node,) = qMRMLSegmentationShow3DButton(), add("Liver", className="vtkMRMLSegmentationNode")
    button.setSegmentationNode(node)
    assert not button.enabled
    node.GetSegmentation().AddEmptySegment("", "liver")
    button.checked = True
    button.setSegmentationNode(None)
    assert not button.enabled and button.checked


def test_a_slider_tells_of_every_step_and_of_the_end_of_a_drag():
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


def test_a_collapsed_section_hides_what_is_in_it_and_what_was_hidden_stays_hidden():
    section, heard = ctk.ctkCollapsibleButton("Advanced"), []
    layout, label, hidden = qt.QVBoxLayout(section), qt.QLabel("inside"), qt.QLabel("hidden")
    layout.addWidget(label)
    layout.addWidget(hidden)
    hidden.visible = False
    section.show()
    section.connect("contentsCollapsed(bool)", heard.append)
    assert label.visible and not hidden.visible
    section.collapsed = True
    label.visible = True  # meant for later
    assert not label.visible and section.height < 50
    section.collapsed = False
    assert label.visible and not hidden.visible and heard == [True, False]


def test_a_long_name_is_shortened_in_the_middle(selectorWith):
    (node,) = add("portal venous phase, thin slices, reconstruction of the second scan")
    selector = selectorWith()
    selector.setCurrentNode(node)
    box, option = selector._comboBox, QtWidgets.QStyleOptionComboBox()
    for width, isWhole in ((2000, True), (150, False)):
        box.resize(width, 24)
        box.initStyleOption(option)
        assert (option.currentText == box.currentText) == isWhole
    assert option.currentText.startswith("por") and option.currentText.endswith("can")


def test_a_list_that_is_to_be_narrow_asks_for_no_room_for_its_entries(selectorWith):
    wide, narrow = selectorWith(), selectorWith(sizeAdjustPolicy=qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
    add("a name of some forty characters, or more")
    assert narrow.minimumSizeHint().width() < 60 < wide.minimumSizeHint().width()


def test_icons_have_slicers_names_and_others_are_not_there():
    assert qt.QFile(":/Icons/Small/SlicerUndo.png").exists() and not qt.QFile(":/Icons/Small/Undo.png").exists()
    assert not qt.QIcon(":/Icons/MakeModel.png").pixmap(16, 16).isNull()
    assert not qMRMLSegmentationShow3DButton().icon.isNull()
