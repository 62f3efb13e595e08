"""Journeys of `LiverGTANTest` through the open panel, in a running application with a main window.

A journey does what a user does, with widgets and nodes, and looks at what comes of it in the scene.
"""

import tempfile
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.util import (
    arrayFromSegmentBinaryLabelmap,
    arrayFromVolume,
    updateVolumeFromArray,
    vtkMatrixFromArray,
)
from vtk.util.numpy_support import numpy_to_vtk

from ..core import measurements
from ..mrml import roi, scene
from .panel_user import MODULE, PanelUser


def segmentByOneClick(user: PanelUser) -> None:
    """Segment a CT by one click, show it in 3D, undo and redo."""
    test, volumeNode = user.test, user.segmentPhantom()
    test.assertTrue(user.ui.resultLabel.text.startswith("Liver "), user.ui.resultLabel.text)
    test.assertEqual(user.ui.tableSelector.currentNode().GetNumberOfRows(), 1)
    user.click("show3DButton")
    surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    test.assertTrue(user.output.GetSegmentation().ContainsRepresentation(surface))
    _lookAt(volumeNode)
    user.screenshot("segmented")
    before = user.mask(volumeNode)
    user.click("undoButton")
    test.assertEqual(scene.liverSegmentId(user.output), "")
    user.click("redoButton")
    np.testing.assert_array_equal(user.mask(volumeNode), before)


def correctWithPoints(user: PanelUser) -> None:
    """Take a place out of the mask by a point, and bring it back."""
    volumeNode = user.segmentPhantom()
    before, application = user.mask(volumeNode), slicer.app.applicationLogic()
    voxels = np.argwhere(before)
    kji = tuple(voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()])
    user.ui.correctCollapsibleButton.collapsed = False
    user.click("notLiverPointsButton")
    user.test.assertTrue(user.ui.notLiverPointsButton.checked)
    node = slicer.mrmlScene.GetNodeByID(application.GetSelectionNode().GetActivePlaceNodeID())
    node.AddControlPointWorld((scene.ijkToWorld(volumeNode) @ [*kji[::-1], 1])[:3])
    user.settle()
    user.test.assertFalse(user.mask(volumeNode)[kji])
    user.click("notLiverPointsButton")
    user.test.assertFalse(user.ui.notLiverPointsButton.checked)
    user.screenshot("corrected")
    user.click("clearPointsButton")
    np.testing.assert_array_equal(user.mask(volumeNode), before)


def restrictToRegion(user: PanelUser) -> None:
    """Restrict the mask to an ROI, drag it, and lift it again."""
    volumeNode = user.segmentPhantom()
    before = user.mask(volumeNode)
    user.ui.regionCollapsibleButton.collapsed = False
    user.ui.regionSelector.addNode()
    user.settle()
    roiNode = user.ui.regionSelector.currentNode()
    np.testing.assert_array_equal(user.mask(volumeNode), before)  # it was fitted around the liver
    roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [0, 0, roiNode.GetSize()[2] / 2]))
    user.settle()
    user.test.assertLess(np.count_nonzero(user.mask(volumeNode)), 0.8 * np.count_nonzero(before))
    user.screenshot("restricted")
    user.undoIsEnough(before, volumeNode)
    roi.fit(roiNode, volumeNode, user.output)
    user.ui.regionSelector.setCurrentNode(None)
    user.settle()
    np.testing.assert_array_equal(user.mask(volumeNode), before)


def moveSliders(user: PanelUser) -> None:
    """Pull the handle of the threshold, see the preview, let it go, undo; toggle an option."""
    volumeNode = user.segmentPhantom()
    before = user.mask(volumeNode)
    user.ui.correctCollapsibleButton.collapsed = False
    handle = next(child for child in slicer.util.findChildren(user.ui.thresholdSlider) if child.inherits("QSlider"))
    handle.sliderDown = True
    handle.value = handle.value + 10 * handle.singleStep
    user.wait(_previews)
    user.screenshot("preview")
    handle.sliderDown = False
    user.settle()
    user.test.assertFalse(_previews())
    user.test.assertGreater(user.widget.logic.getParameterNode().threshold, 0.5)
    after = user.mask(volumeNode)
    user.test.assertFalse((after & ~before).any())
    user.undoIsEnough(before, volumeNode)
    user.test.assertEqual(user.widget.logic.getParameterNode().threshold, 0.5)
    user.click("fillHolesCheckBox")
    user.test.assertFalse(user.widget.logic.getParameterNode().fillHoles)


def showUncertainBorder(user: PanelUser) -> None:
    """Show the uncertain border, and hide it without a trace."""
    user.segmentPhantom()
    foregrounds = _foregrounds()
    user.ui.measureCollapsibleButton.collapsed = False
    user.click("uncertaintyCheckBox")
    user.test.assertTrue(_overlays())
    user.screenshot("uncertain")
    user.click("uncertaintyCheckBox")
    user.test.assertFalse(_overlays())
    user.test.assertEqual(_foregrounds(), foregrounds)


def segmentSeveral(user: PanelUser) -> None:
    """Segment two CTs in one go, each into its own segmentation."""
    volumeNodes = [user.addPhantom(name)[0] for name in ("First", "Second")]
    user.ui.batchCollapsibleButton.collapsed = False
    for volumeNode in volumeNodes:
        user.ui.volumesComboBox.check(volumeNode)
    user.settle()
    user.click("batchButton")
    user.wait(lambda: not user.widget.panel.batch.running)
    user.settle()
    user.screenshot("several")
    outputs = [scene.findSegmentation(volumeNode) for volumeNode in volumeNodes]
    user.test.assertNotIn(None, outputs)
    user.test.assertNotEqual(*outputs)
    for volumeNode, output in zip(volumeNodes, outputs, strict=True):
        user.test.assertTrue(user.mask(volumeNode, output).any())


def deleteWhatIsChosen(user: PanelUser) -> None:
    """Delete the chosen segmentation, ROI and table: another one is never taken in its place."""
    other, mrmlScene = user.segmentPhantom("Other"), slicer.mrmlScene
    othersOutput, others = user.output, user.mask(other)
    volumeNode = user.segmentPhantom("Mine")
    before = user.mask(volumeNode)
    mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Of something else").SetSizeWorld(10, 10, 10)
    user.ui.regionSelector.addNode()
    user.settle()
    mrmlScene.RemoveNode(user.ui.regionSelector.currentNode())
    user.settle()
    user.test.assertIsNone(user.ui.regionSelector.currentNode())
    np.testing.assert_array_equal(user.mask(volumeNode), before)
    mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Of something else")
    mrmlScene.RemoveNode(user.ui.tableSelector.currentNode())
    mrmlScene.RemoveNode(user.output)
    user.settle()
    user.test.assertIsNone(user.output)
    user.test.assertIsNone(user.ui.tableSelector.currentNode())
    user.click("applyButton")
    user.test.assertNotEqual(user.output, othersOutput)
    np.testing.assert_array_equal(user.mask(volumeNode), before)
    np.testing.assert_array_equal(user.mask(other, othersOutput), others)
    user.test.assertNotEqual(user.ui.tableSelector.currentNode().GetName(), "Of something else")


def segmentAMovedCt(user: PanelUser) -> None:
    """Segment a CT below a transform: the segmentation lies where the CT lies, with the same volume."""
    volumeNode = user.segmentPhantom()
    line, moved = user.ui.resultLabel.text.partition(",")[0], np.eye(4)
    moved[:3, 3] = 30, -20, 10
    transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transformNode.SetMatrixTransformToParent(vtkMatrixFromArray(moved))
    volumeNode.SetAndObserveTransformNodeID(transformNode.GetID())
    slicer.mrmlScene.RemoveNode(user.output)
    user.settle()
    user.click("applyButton")
    user.test.assertEqual(user.ui.resultLabel.text.partition(",")[0], line)
    found, volume = np.zeros(6), np.zeros(6)
    user.output.GetRASBounds(found)
    volumeNode.GetRASBounds(volume)
    user.test.assertTrue((found[::2] >= volume[::2] - 1).all() and (found[1::2] <= volume[1::2] + 1).all())


def segmentAWarpedCt(user: PanelUser) -> None:
    """Segment a CT below a grid transform, as Slicer makes it of unequal distances of slices: true volume is told."""
    volumeNode = user.segmentPhantom()
    voxelMl = measurements.voxel_ml(scene.ijkToWorld(volumeNode))
    transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Distances of slices")
    transformNode.SetAndObserveTransformToParent(_stretchAlongZ(1.2))
    volumeNode.SetAndObserveTransformNodeID(transformNode.GetID())
    slicer.mrmlScene.RemoveNode(user.output)
    user.settle()
    user.click("applyButton")
    user.test.assertEqual(user.output.GetParentTransformNode(), transformNode)
    row = _rows(user)[-1]  # that of the removed segmentation stays
    told, voxels = float(row[measurements.TITLES["volume_ml"]]), np.count_nonzero(user.mask(volumeNode))
    user.test.assertAlmostEqual(told / (1.2 * voxels * voxelMl), 1, delta=0.01)


def askBeforeAnothersLiverIsReplaced(user: PanelUser) -> None:
    """Choose a segmentation that holds another CT's liver: the panel asks, and a slider does not replace it."""
    other = user.segmentPhantom("Other")
    othersOutput, before = user.output, user.mask(other)
    user.addPhantom("Mine")
    user.ui.outputSelector.setCurrentNode(othersOutput)
    user.settle()
    user.test.assertEqual(user.ui.applyButton.text, "Segment anyway")
    user.test.assertIn("'Other'", user.ui.messageLabel.text)
    user.screenshot("another")
    user.ui.thresholdSlider.value = 0.6
    user.settle()
    np.testing.assert_array_equal(user.mask(other, othersOutput), before)
    user.ui.outputSelector.setCurrentNode(None)
    user.settle()
    user.click("applyButton")
    user.test.assertNotEqual(user.output, othersOutput)
    np.testing.assert_array_equal(user.mask(other, othersOutput), before)


def deleteARow(user: PanelUser) -> None:
    """Delete a row of the table: segmenting again changes one's own row and no other."""
    user.segmentPhantom("First")
    user.segmentPhantom("Second")
    name = measurements.TITLES["name"]
    user.test.assertEqual([row[name] for row in _rows(user)], ["First", "Second"])
    user.ui.tableSelector.currentNode().RemoveRow(0)
    user.click("applyButton")
    user.test.assertEqual([row[name] for row in _rows(user)], ["Second"])
    user.ui.measureCollapsibleButton.collapsed = False
    user.click("showTableButton")
    user.screenshot("table")


def saveCloseAndLoad(user: PanelUser) -> None:
    """Save the scene, close it, work in a new one, and load what was saved."""
    volumeNode = user.segmentPhantom("Saved")
    before = user.mask(volumeNode)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "scene.mrb"))
        user.test.assertTrue(slicer.mrmlScene.WriteToMRB(path))
        slicer.mrmlScene.Clear()
        user.settle()
        user.test.assertEqual(user.ui.resultLabel.text, "")
        user.test.assertFalse(user.ui.applyButton.enabled)
        user.segmentPhantom("New")
        slicer.mrmlScene.Clear()
        user.test.assertTrue(slicer.mrmlScene.ReadFromMRB(path))
    user.settle()
    volumeNode = slicer.util.getNode("Saved")
    user.test.assertEqual(user.ui.inputSelector.currentNode(), volumeNode)
    np.testing.assert_array_equal(user.mask(volumeNode), before)
    user.click("applyButton")


def leaveEnterAndReload(user: PanelUser) -> None:
    """Leave the module and come back, reload it as developers do, and go on."""
    volumeNode = user.segmentPhantom()
    before, output = user.mask(volumeNode), user.output
    slicer.util.selectModule("Data")
    slicer.app.processEvents()
    slicer.util.selectModule(MODULE)
    user.settle()
    slicer.util.reloadScriptedModule(MODULE)
    user.settle()
    user.test.assertEqual(user.output, output)
    user.click("applyButton")
    np.testing.assert_array_equal(user.mask(volumeNode), before)
    user.ui.thresholdSlider.value = 0.7
    user.settle()
    user.test.assertLess(np.count_nonzero(user.mask(volumeNode)), np.count_nonzero(before))


def followAVolume(user: PanelUser) -> None:
    """Follow a CT whose voxels change: a preview comes each time, and becomes a segment when it is accepted."""
    test, ui, (volumeNode, truth) = user.test, user.ui, user.addPhantom("Stream")
    follower = user.widget.panel.following.follower
    ui.followCollapsibleButton.collapsed = False
    user.click("followVolumeCheckBox")
    user.wait(lambda: follower.hasPreview)
    updateVolumeFromArray(volumeNode, np.roll(arrayFromVolume(volumeNode), 5, axis=2))
    user.wait(lambda: follower.isRunning)
    user.wait(lambda: not follower.isRunning)
    _lookAt(volumeNode)
    user.screenshot("followed")
    test.assertEqual(len(_previews()), 1, ui.followLabel.text)
    user.click("acceptButton")
    test.assertFalse(_previews())
    test.assertGreater(measurements.dice(user.mask(volumeNode), np.roll(truth, 5, axis=2)), 0.8)
    user.click("followVolumeCheckBox")
    test.assertFalse(follower.isOn)
    user.click("undoButton")
    test.assertEqual(scene.liverSegmentId(user.output), "")


def segmentInTheSegmentEditor(user: PanelUser) -> None:
    """Put the liver into a segment of one's own by the effect of the Segment Editor, and undo it there."""
    test, (volumeNode, truth) = user.test, user.addPhantom()
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    editor.setSegmentationNode(segmentationNode)
    editor.setSourceVolumeNode(volumeNode)
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment()
    editor.setCurrentSegmentID(segmentId)
    editor.setActiveEffectByName("Liver GTAN")
    effect = editor.activeEffect().self()
    user.wait(lambda: effect.preview.isShown)
    test.assertTrue(effect.applyButton.enabled, effect.stateLabel.text)
    _lookAt(volumeNode)
    user.screenshot("effect")
    effect.applyButton.click()
    slicer.app.processEvents()
    test.assertIsNone(editor.activeEffect())
    test.assertFalse(_previews())
    mask = arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)
    test.assertGreater(measurements.dice(mask, truth), 0.8)
    editor.undo()
    test.assertFalse(arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode).any())
    editor.setActiveEffectByName("Liver GTAN")
    user.wait(lambda: effect.preview.isShown)
    slicer.util.selectModule(MODULE)  # with a preview on
    user.settle()
    test.assertFalse(_previews())


def refuseWhatIsNoCt(user: PanelUser) -> None:
    """An image without negative values is refused before anything runs, and the panel says why."""
    volumeNode, _ = user.addPhantom("MR")
    updateVolumeFromArray(volumeNode, (arrayFromVolume(volumeNode) // 8 + 130).astype(np.uint8))
    user.settle()
    user.test.assertFalse(user.ui.applyButton.enabled)
    user.test.assertTrue(user.ui.messageLabel.text)
    user.test.assertTrue(user.ui.messageLabel.visible)
    user.screenshot("refused")


def _lookAt(volumeNode) -> None:
    """Show a volume in the slice views, and all of it in the 3D views."""
    logic, manager = slicer.app.applicationLogic(), slicer.app.layoutManager()
    logic.GetSelectionNode().SetActiveVolumeID(volumeNode.GetID())
    logic.PropagateVolumeSelection(1)
    for index in range(manager.threeDViewCount):
        manager.threeDWidget(index).threeDView().resetFocalPoint()


def _rows(user: PanelUser) -> list[dict[str, str]]:
    """The rows of the chosen table, by titles of columns."""
    table = user.ui.tableSelector.currentNode().GetTable()
    columns = range(table.GetNumberOfColumns())
    titles = [table.GetColumnName(column) for column in columns]
    return [
        {title: table.GetValue(row, column).ToString() for title, column in zip(titles, columns, strict=True)}
        for row in range(table.GetNumberOfRows())
    ]


def _stretchAlongZ(factor: float):
    """A grid transform, within 1 m of the origin."""
    grid = vtk.vtkImageData()
    grid.SetDimensions(2, 2, 3)
    grid.SetOrigin(-1000, -1000, -1000)
    grid.SetSpacing(2000, 2000, 1000)
    displacements = np.zeros((3, 2, 2, 3))
    displacements[..., 2] = (factor - 1) * np.array([-1000, 0, 1000])[:, None, None]
    grid.GetPointData().SetScalars(numpy_to_vtk(displacements.reshape(-1, 3), deep=True))
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(grid)
    return transform


def _previews() -> list:
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if node.GetHideFromEditors()]


def _overlays() -> list:
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetHideFromEditors()]


def _foregrounds() -> list:
    return [node.GetForegroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]


JOURNEYS = (
    segmentByOneClick,
    correctWithPoints,
    restrictToRegion,
    moveSliders,
    showUncertainBorder,
    segmentSeveral,
    deleteWhatIsChosen,
    askBeforeAnothersLiverIsReplaced,
    deleteARow,
    segmentAMovedCt,
    segmentAWarpedCt,
    saveCloseAndLoad,
    followAVolume,
    segmentInTheSegmentEditor,
    refuseWhatIsNoCt,
    leaveEnterAndReload,
)
