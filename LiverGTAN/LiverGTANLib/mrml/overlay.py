"""Where the border is uncertain, as a colored layer over the slices. On the main thread.

While shown it is the foreground layer of all slice views; the foreground that was there before is restored after.
"""

import slicer
from slicer.util import updateVolumeFromArray, vtkMatrixFromArray

from ..core.uncertainty import UncertaintyMap
from ..core.volume import memory_errors_explained
from . import scene
from .session import SegmentationRequest

_NAME = "LiverGTAN uncertain border"
_COLORS = "vtkMRMLColorTableNodeWarm1"
_OPACITY = 0.7
SHOWN_FROM_PERCENT = 20
"""Uncertainty 1 - |2p - 1| of a cell whose probability of liver is 0.1 or 0.9; what is more certain is not shown."""


class UncertaintyOverlay:
    """One hidden volume node, never saved, that shows the latest uncertainty map."""

    def __init__(self, mrmlScene):
        self._scene = mrmlScene
        self._node = None
        self._request: SegmentationRequest | None = None
        self._replaced: dict = {}  # composite node -> ID and opacity of the foreground that it had

    @property
    def shown(self) -> bool:
        return self._node is not None and self._scene.IsNodePresent(self._node)

    @memory_errors_explained()
    def show(self, uncertainty: UncertaintyMap, request: SegmentationRequest) -> None:
        """request: what the map was asked for with."""
        if not self.shown:
            self.remove()
            self._node = self._create()
        self._request = request
        self._node.SetIJKToRASMatrix(vtkMatrixFromArray(request.gridToLocal(uncertainty.ijk_to_ras)))
        self._node.SetAndObserveTransformNodeID(request.volumeNode.GetTransformNodeID())
        updateVolumeFromArray(self._node, uncertainty.full())
        self._putInFront()

    def remove(self) -> None:
        """Remove the overlay and restore the foregrounds that it replaced."""
        replaced, self._replaced = self._replaced, {}
        for composite, (foregroundId, opacity) in replaced.items():
            if self._scene.IsNodePresent(composite) and composite.GetForegroundVolumeID() == self._id:
                composite.SetForegroundVolumeID(foregroundId)
                composite.SetForegroundOpacity(opacity)
        if self.shown:
            display = self._node.GetDisplayNode()
            self._scene.RemoveNode(self._node)
            self._scene.RemoveNode(display)
        self._node = None

    def removeIfMoved(self) -> None:
        """Remove the overlay where the volume shows other voxels by now, or the same in another place."""
        if self.shown and not (self._request.nodesExist() and self._request.imageIsUnchanged()):
            self.remove()

    @property
    def _id(self) -> str:
        return self._node.GetID() if self._node is not None else ""

    def _putInFront(self) -> None:
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene):
            if composite not in self._replaced:  # else the user has put another volume in front since
                self._replaced[composite] = composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()
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
        display.SetThreshold(SHOWN_FROM_PERCENT, 100)
        display.ApplyThresholdOn()
        return node
