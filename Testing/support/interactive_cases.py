"""What a hand does in views and panel, for the tests of interaction. Markups are edited as the widgets do it."""

import threading

import numpy as np
import pytest
import slicer

from LiverGTANLib.core import segmenter
from LiverGTANLib.mrml import roi, scene
from support.panel_cases import mask

STEPS = 40


class Traffic:
    """Counts masks being made: how many, of which kind, and the most at once."""

    def __init__(self, monkeypatch):
        self.now, self.most, self.full, self.coarse = 0, 0, 0, 0
        self._lock = threading.Lock()
        monkeypatch.setattr(segmenter, "mask", self._counted("full", segmenter.mask))
        monkeypatch.setattr(segmenter, "coarse_mask", self._counted("coarse", segmenter.coarse_mask))

    def _counted(self, kind, function):
        def counted(*arguments):
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
                setattr(self, kind, getattr(self, kind) + 1)
            try:
                return function(*arguments)
            finally:
                with self._lock:
                    self.now -= 1

        return counted


def atRest(panel) -> bool:
    """Nothing runs, nothing is wished for and nothing is about to be."""
    live = panel.widget.panel.live
    timers = (live._follower._rest, live._soon, panel.widget.panel.runner._timer)
    return panel.widget.panel.runner.task is None and not live.errands._wishes and not any(t.active for t in timers)


def settle(panel) -> None:
    panel.host.wait(lambda: atRest(panel))
    panel.host.processEvents()


def undoStates(panel) -> int:
    """How often Undo can be pressed; everything is brought back by Redo after."""
    count = 0
    while panel.ui.undoButton.enabled:
        panel.click(panel.ui.undoButton)
        count += 1
    for _ in range(count):
        panel.click(panel.ui.redoButton)
    settle(panel)
    return count


def previews() -> list:
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if node.GetHideFromEditors()]


def liver(panel, volumeNode) -> np.ndarray:
    """The liver segment's voxels on the volume's grid."""
    return mask(panel.output, volumeNode) > 0


def inside(roiNode, volumeNode) -> np.ndarray:
    """Which voxels' centers lie in the ROI, found voxel by voxel."""
    region = roi.readRegion(roiNode)
    shape = slicer.util.arrayFromVolume(volumeNode).shape
    k, j, i = np.indices(shape).reshape(3, -1)
    ras = scene.ijkToWorld(volumeNode) @ np.array([i, j, k, np.ones(k.size)])
    own = np.linalg.inv(region.object_to_ras) @ ras
    return (np.abs(own[:3]) <= np.array(region.size_mm)[:, None] / 2 + 1e-6).all(axis=0).reshape(shape)


def addRoi(panel):
    """Choose "Create new ROI" in the selector of the section Region."""
    node = panel.ui.regionSelector.addNode("vtkMRMLMarkupsROINode")
    panel.host.processEvents()
    settle(panel)
    return node


def drag(panel, roiNode, toward, steps: int = STEPS, tellsStart: bool = True) -> None:
    """Drag the ROI's middle by `toward` mm in small steps, while the event loop runs, and let it go."""
    if tellsStart:
        roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    start = np.array(roiNode.GetCenterWorld())
    for step in range(1, steps + 1):
        roiNode.SetCenterWorld(*(start + np.array(toward) * step / steps))
        panel.host.processEvents()
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)


def worldOf(volumeNode, kji) -> np.ndarray:
    return (scene.ijkToWorld(volumeNode) @ [*kji[::-1], 1])[:3]


@pytest.fixture
def segmented(panel, phantom):
    """The panel after Segment was clicked; returns the volume."""
    panel.segment()
    settle(panel)
    return phantom
