"""The panel with a volume whose slices are not equally far apart."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk

from LiverGTANLib.mrml import scene
from support.interactive_cases import addRoi, segmented, settle
from support.module_fixtures import students
from support.mrml_cases import addSlicePositions
from support.panel_cases import panel, phantom

pytestmark = pytest.mark.slow


@pytest.fixture
def warped(panel, phantom):
    """The phantom, whose upper slices are said to lie 4 mm apart instead of 3."""
    count = phantom.GetImageData().GetDimensions()[2]
    addSlicePositions(phantom, np.r_[3.0 * np.arange(45), 3.0 * 44 + 4 * np.arange(1, count - 44)])
    panel.segment()
    settle(panel)
    return phantom


def volumeMl(panel) -> float:
    return panel.widget.logic.session.current.volumeMl


def test_roi_and_points_come_back_by_undo_where_they_were(panel, warped):
    whole = volumeMl(panel)
    roiNode = addRoi(panel)
    panel.host.processEvents()
    settle(panel)
    x, y, z = roiNode.GetCenterWorld()
    roiNode.SetCenterWorld(x, y, z + 60)
    settle(panel)
    assert volumeMl(panel) < whole - 100
    corner = np.array(roiNode.GetCenterWorld())
    roiNode.SetCenterWorld(x, y, z + 90)
    settle(panel)
    smaller = volumeMl(panel)
    panel.click(panel.ui.undoButton)
    settle(panel)
    np.testing.assert_allclose(roiNode.GetCenterWorld(), corner, atol=1e-6)
    assert smaller < volumeMl(panel) < whole and panel.ui.redoButton.enabled
    panel.click(panel.ui.redoButton)
    settle(panel)
    assert volumeMl(panel) == smaller and not panel.ui.redoButton.enabled


def test_an_roi_that_cannot_be_followed_is_said_while_it_is_dragged(panel, warped):
    from support.mrml_cases import rotation

    before = volumeMl(panel)
    roiNode = addRoi(panel)
    turned = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToNodeMatrix()) @ rotation(0, 40)
    roiNode.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(turned))
    settle(panel)
    assert "bends the ROI" in panel.ui.resultLabel.text
    assert volumeMl(panel) == pytest.approx(before, rel=0.01)


def test_the_uncertain_border_lies_under_the_same_transform(panel, warped):
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    overlay = slicer.util.getNode("LiverGTAN uncertain border")
    assert overlay.GetParentTransformNode() == warped.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    overlay.GetIJKToRASMatrix(matrix)
    spacing = np.linalg.norm(slicer.util.arrayFromVTKMatrix(matrix)[:3, :3], axis=0)
    assert spacing[:2] == pytest.approx([3, 3]) and 2.5 < spacing[2] < 2.8  # 3 mm once it is stretched
    assert scene.isWarped(overlay)
