"""What a user does in views and panel, for the tests of interaction. Markups are edited as the widgets do it."""

import threading

import numpy as np
import pytest
import slicer
from PySide6 import QtCore

from LiverGTANLib.core import segmenter
from LiverGTANLib.core.segmentation_job import SegmentationJob
from LiverGTANLib.mrml import roi, scene
from support.panel_cases import mask

STEPS = 40


class MaskCounter:
    """Counts masks and previews that are made while it records, and the threads that make them."""

    def __init__(self, recorder):
        self._recorder = recorder
        self.threads: set[str] = set()
        for work in (SegmentationJob.segment, SegmentationJob.preview):
            recorder.watch(work, lambda *_: self.threads.add(threading.current_thread().name))
        recorder.start()

    @property
    def masks(self) -> int:
        return self._recorder.count(SegmentationJob.segment)

    @property
    def previews(self) -> int:
        return self._recorder.count(SegmentationJob.preview)

    @property
    def analyses(self) -> int:
        return self._recorder.count(segmenter.analyze)


def atRest(panel) -> bool:
    """Nothing runs, nothing is pending and nothing is about to be."""
    shown, live = panel.widget.panel, panel.widget.panel.live
    planning = shown.planning
    timers = (
        live._tracker._rest,
        live._imageRest,
        shown.runner._timer,
        shown._refreshTimer,
        shown.measure._turn,
    )
    return (
        shown.runner.task is None
        and not planning.isActive
        and not live.background.pending
        and not any(t.active for t in timers)
    )


def settle(panel) -> None:
    panel.host.wait(lambda: atRest(panel))
    panel.host.processEvents()


def letTimersFire(panel) -> None:
    """Run the event loop until every timer that the panel may have started has fired."""
    from LiverGTANLib.ui.change_tracker import REST_MILLISECONDS  # the longest; needs the host

    fired = []
    QtCore.QTimer.singleShot(2 * REST_MILLISECONDS, lambda: fired.append(True))
    panel.host.wait(lambda: fired)


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
