"""A chosen segmentation that holds another volume's liver: asked for by name, and never replaced by a slider."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from LiverGTANLib.mrml import scene, self_test
from support.interactive_cases import segmented, settle
from support.module_fixtures import students
from support.panel_cases import mask, panel, phantom, segmentations

pytestmark = pytest.mark.slow


@pytest.fixture
def other(panel, segmented):
    """Another volume is chosen, and by hand the segmentation of the first one."""
    first = panel.output
    volumeNode, _ = self_test.addPhantom("Other")
    panel.choose(volumeNode)
    settle(panel)
    panel.ui.outputSelector.setCurrentNode(first)
    settle(panel)
    return volumeNode


def test_it_is_asked_for_by_name(panel, segmented, other):
    assert panel.ui.applyButton.text == "Segment anyway" and panel.ui.applyButton.enabled
    assert "'Phantom liver' holds the liver of 'Phantom'" in panel.ui.messageLabel.text
    assert "'Phantom liver' holds the liver of 'Phantom'" in panel.ui.applyButton.toolTip
    panel.segment()
    settle(panel)
    (segmentationNode,) = segmentations()
    assert scene.liverVolume(segmentationNode) == other and panel.ui.applyButton.text == "Segment"
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert scene.liverVolume(segmentationNode) == segmented and panel.ui.applyButton.text == "Segment anyway"


def test_no_slider_replaces_it(panel, segmented, other):
    before = mask(panel.output, segmented).copy()
    panel.ui.smoothingSlider.value = 3
    settle(panel)
    panel.ui.thresholdSlider.value = 0.55
    settle(panel)
    np.testing.assert_array_equal(mask(panel.output, segmented), before)
    panel.ui.outputSelector.setCurrentNode(None)
    panel.segment()
    settle(panel)
    assert len(segmentations()) == 2 and scene.liverVolume(panel.output) == other
