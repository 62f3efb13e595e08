"""A CT that is moved by its transform while the panel is open: nothing is shown where it was."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from LiverGTANLib.mrml import scene
from support.interactive_cases import addRoi, segmented, settle
from support.module_fixtures import students
from support.mrml_cases import addTransform, rotation
from support.panel_cases import panel, phantom

pytestmark = pytest.mark.slow

MOVED_MM = 40


def moveVolume(volumeNode) -> None:
    matrix = np.eye(4)
    matrix[2, 3] = MOVED_MM
    volumeNode.GetParentTransformNode().SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))


def overlay():
    return slicer.util.getNode("LiverGTAN uncertain border")


def test_the_uncertain_border_follows_a_moved_scan(panel, segmented):
    segmented.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, np.eye(4)).GetID())
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    before = scene.ijkToWorld(overlay())
    moveVolume(segmented)
    settle(panel)
    np.testing.assert_allclose(scene.ijkToWorld(overlay()) - before, [[0] * 4, [0] * 4, [0, 0, 0, MOVED_MM], [0] * 4])


def test_an_uncertain_border_that_was_found_before_the_move_is_not_shown(panel, segmented):
    segmented.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, np.eye(4)).GetID())
    live = panel.widget.panel.live
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    request = panel.widget.logic.prepare(panel.widget.panel.parameterNode)
    found = request.job.uncertainty_map()
    moveVolume(segmented)
    settle(panel)
    before = scene.ijkToWorld(overlay())
    live._onUncertainty(request, found)
    np.testing.assert_array_equal(scene.ijkToWorld(overlay()), before)


@pytest.mark.parametrize(("matrix", "isTrue"), [(rotation(2, 20), True), (np.diag([1.0, 1.2, 1, 1]), False)])
def test_a_scan_and_its_liver_that_are_moved_together_have_not_changed(panel, segmented, matrix, isTrue):
    said = panel.ui.resultLabel.text
    transform = addTransform(slicer.mrmlScene, matrix)
    for node in (segmented, panel.output):
        node.SetAndObserveTransformNodeID(transform.GetID())
    settle(panel)
    assert ("since" not in panel.ui.resultLabel.text) == isTrue
    for node in (segmented, panel.output):
        node.SetAndObserveTransformNodeID(None)
    settle(panel)
    assert panel.ui.resultLabel.text.partition(",")[0] == said.partition(",")[0]
    panel.output.SetAndObserveTransformNodeID(transform.GetID())
    settle(panel)
    assert panel.ui.resultLabel.text.endswith("The CT or its liver was moved since: segment it again.")


def test_an_roi_that_stays_where_a_scan_and_its_liver_were_is_told(panel, segmented):
    roiNode = addRoi(panel)
    said = panel.ui.resultLabel.text.partition(",")[0]
    transform = addTransform(slicer.mrmlScene, rotation(2, 20))
    for node in (segmented, panel.output):
        node.SetAndObserveTransformNodeID(transform.GetID())
    settle(panel)
    assert panel.ui.resultLabel.text == f"{said}\nThe ROI was changed or removed since: segment it again."
    roiNode.SetAndObserveTransformNodeID(transform.GetID())
    settle(panel)
    segmented.Modified()
    settle(panel)
    assert "since" not in panel.ui.resultLabel.text
