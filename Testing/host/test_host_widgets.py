"""The host's scene widgets against real MRML."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
import slicer


@pytest.fixture
def selector(slicerHost):
    from host.nodecombobox import qMRMLNodeComboBox

    selector = qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    yield selector
    selector.setMRMLScene(None)


def _add(className: str, name: str):
    return slicer.mrmlScene.AddNewNodeByClass(className, name)


def _texts(selector) -> list[str]:
    box = selector.comboBox()
    return [box.itemText(i) for i in range(box.count)]


def test_without_a_scene_a_selector_is_empty(selector):
    _add("vtkMRMLScalarVolumeNode", "CT")
    assert selector.nodeCount() == 0 and selector.currentNode() is None


def test_the_first_node_is_chosen_unless_none_is_allowed(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    heard = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    ct = _add("vtkMRMLScalarVolumeNode", "CT")
    _add("vtkMRMLScalarVolumeNode", "CT 2")
    assert selector.currentNode() is ct and heard == [ct] and selector.currentNodeID == ct.GetID()
    selector.noneEnabled = True
    selector.setCurrentNode(None)
    assert selector.currentNode() is None and heard == [ct, None]


def test_a_removed_node_is_left(selector):
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    ct = _add("vtkMRMLScalarVolumeNode", "CT")
    selector.setCurrentNode(ct)
    slicer.mrmlScene.RemoveNode(ct)
    assert selector.currentNode() is None and selector.nodeCount() == 0


def test_child_types_hidden_nodes_and_names(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    selector.addEnabled = selector.removeEnabled = False
    ct, labels = _add("vtkMRMLScalarVolumeNode", "CT"), _add("vtkMRMLLabelMapVolumeNode", "labels")
    hidden = slicer.vtkMRMLScalarVolumeNode()
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(hidden)
    assert selector.nodes() == [ct, labels]
    selector.showChildNodeTypes = False
    assert selector.nodes() == [ct]
    ct.SetName("Abdomen")
    assert _texts(selector) == ["Abdomen"]


def test_create_and_delete_entries(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    selector.noneEnabled, selector.noneDisplay, selector.baseName = True, "Choose", "Result"
    assert _texts(selector) == ["Choose", "Create new Volume"]
    selector.comboBox().activated.emit(1)
    node = selector.currentNode()
    assert node.GetName() == "Result" and node.GetScene() is slicer.mrmlScene
    assert selector.addNode().GetName() != "Result"
    selector.setCurrentNode(node)
    selector.comboBox().activated.emit(_texts(selector).index("Delete current Volume"))
    assert selector.currentNode() is None and slicer.mrmlScene.GetFirstNodeByName("Result") is None


def test_checkable_nodes(slicerHost):
    from host.checkablenodes import qMRMLCheckableNodeComboBox
    from host.qtmodule import qt

    box, heard = qMRMLCheckableNodeComboBox(), []
    box.nodeTypes = ["vtkMRMLModelNode"]
    box.setMRMLScene(slicer.mrmlScene)
    first, second = _add("vtkMRMLModelNode", "first"), _add("vtkMRMLModelNode", "second")
    box.connect("checkedNodesChanged()", lambda: heard.append(len(box.checkedNodes())))
    box.setCheckState(second, qt.Qt.Checked)
    assert box.checkedNodes() == [second] and box.uncheckedNodes() == [first] and heard == [1]
    slicer.mrmlScene.RemoveNode(second)
    assert box.checkedNodes() == [] and heard == [1, 0]
    box.setMRMLScene(None)


def test_show_3d_makes_and_removes_the_surface(slicerHost):
    from host.show3dbutton import qMRMLSegmentationShow3DButton

    button = qMRMLSegmentationShow3DButton()
    node = _add("vtkMRMLSegmentationNode", "Segmentation")
    node.CreateDefaultDisplayNodes()
    button.setSegmentationNode(node)
    assert not button.enabled
    volume = slicer.util.addVolumeFromArray(np.zeros((8, 8, 8), np.int16))
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("", "liver")
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:6, 2:6, 2:6] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
    assert button.enabled and not button.checked
    slicerHost.click(button)
    assert node.GetClosedSurfaceInternalRepresentation(segment).GetNumberOfPoints() > 0
    node.RemoveClosedSurfaceRepresentation()
    assert not button.checked
    slicerHost.click(button)
    slicerHost.click(button)
    assert node.GetClosedSurfaceInternalRepresentation(segment) is None
    button.setSegmentationNode(None)
    assert not button.enabled
