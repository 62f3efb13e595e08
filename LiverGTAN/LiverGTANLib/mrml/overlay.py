"""Where the border is uncertain, as a colored layer over the slices. On the main thread.

While shown it is the foreground layer of all slice views; the foreground that was there before is restored after. A
scene may be saved meanwhile, without any event before: each view keeps what it showed before as a reference of its own,
so that it is restored when the scene is loaded.
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
FOREGROUND = "LiverGTAN.foreground"
"""Node reference of a slice composite node to the foreground that the overlay replaces, and attribute: its opacity."""

SHOWN_FROM_PERCENT = 20
"""Uncertainty 1 - |2p - 1| of a cell whose probability of liver is 0.1 or 0.9; what is more certain is not shown."""


class UncertaintyOverlay:
    """One hidden volume node, never saved, that shows the latest uncertainty map."""

    def __init__(self, mrmlScene):
        self._scene = mrmlScene
        self._node = None
        self._request: SegmentationRequest | None = None

    @property
    def shown(self) -> bool:
        """Whether the overlay is in the scene."""
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
        for composite in _compositeNodes(self._scene):
            _restore(composite, isShown=self.shown and composite.GetForegroundVolumeID() == self._node.GetID())
        if self.shown:
            display = self._node.GetDisplayNode()
            self._scene.RemoveNode(self._node)
            self._scene.RemoveNode(display)
        self._node = None

    def removeIfMoved(self) -> None:
        """Remove the overlay where the volume shows other voxels by now, or the same in another place."""
        if self.shown and not (self._request.nodesExist() and self._request.imageIsUnchanged()):
            self.remove()

    def _putInFront(self) -> None:
        for composite in _compositeNodes(self._scene):
            if composite.GetAttribute(FOREGROUND) is None:  # else the user has put another volume in front since
                composite.SetNodeReferenceID(FOREGROUND, composite.GetForegroundVolumeID())
                composite.SetAttribute(FOREGROUND, str(composite.GetForegroundOpacity()))
                composite.SetForegroundVolumeID(self._node.GetID())
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


def restoreForegrounds(mrmlScene) -> None:
    """After a scene was loaded: restore the foregrounds that an overlay had replaced when it was saved."""
    for composite in _compositeNodes(mrmlScene):
        _restore(composite, isShown=mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "") is None)


def _compositeNodes(mrmlScene) -> list:
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", mrmlScene)


def _restore(composite, isShown: bool) -> None:
    """isShown: whether the overlay is still the foreground; what the user has put there since stays."""
    opacity = composite.GetAttribute(FOREGROUND)
    if opacity is None:
        return
    if isShown:
        foreground = composite.GetNodeReference(FOREGROUND)
        composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
        composite.SetForegroundOpacity(float(opacity))
    composite.RemoveNodeReferenceIDs(FOREGROUND)
    composite.RemoveAttribute(FOREGROUND)
