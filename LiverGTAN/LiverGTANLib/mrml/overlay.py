"""Where the border is uncertain, as a colored layer over the slices. On the main thread.

It takes the place of the foreground layer while it is on; what was there before comes back after.
"""

import slicer
from slicer.util import updateVolumeFromArray, vtkMatrixFromArray

from ..core.uncertainty import UncertaintyMap
from . import scene

_NAME = "LiverGTAN uncertain border"
_COLORS = "vtkMRMLColorTableNodeWarm1"
_OPACITY = 0.7
LEAST_PERCENT = 20
"""What is surer than nine in ten is not shown."""


class UncertaintyOverlay:
    """Shows one overlay at a time; its node is hidden and never saved."""

    def __init__(self, mrmlScene):
        self._scene = mrmlScene
        self._node = None
        self._before = []

    @property
    def shown(self) -> bool:
        return self._node is not None and self._scene.IsNodePresent(self._node)

    def show(self, overlay: UncertaintyMap) -> None:
        if not self.shown:
            self._node = self._create()
        self._node.SetIJKToRASMatrix(vtkMatrixFromArray(overlay.ijk_to_ras))
        updateVolumeFromArray(self._node, overlay.full())
        self._putInFront()

    def remove(self) -> None:
        """Take the overlay away and bring back the foregrounds that it displaced."""
        before, self._before = self._before, []
        for composite, foregroundId, opacity in before:
            if self._scene.IsNodePresent(composite) and composite.GetForegroundVolumeID() == self._id:
                composite.SetForegroundVolumeID(foregroundId)
                composite.SetForegroundOpacity(opacity)
        if self.shown:
            display = self._node.GetDisplayNode()
            self._scene.RemoveNode(self._node)
            self._scene.RemoveNode(display)
        self._node = None

    @property
    def _id(self) -> str:
        return self._node.GetID() if self._node is not None else ""

    def _putInFront(self) -> None:
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene):
            if composite.GetForegroundVolumeID() != self._id:
                self._before.append((composite, composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()))
                composite.SetForegroundVolumeID(self._id)
                composite.SetForegroundOpacity(_OPACITY)

    def _create(self):
        node = scene.addHiddenNode(self._scene, "vtkMRMLScalarVolumeNode", _NAME)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetAndObserveColorNodeID(_COLORS)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0, 100)
        display.AutoThresholdOff()
        display.SetThreshold(LEAST_PERCENT, 100)
        display.ApplyThresholdOn()
        return node
