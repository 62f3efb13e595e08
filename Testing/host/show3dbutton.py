"""qMRMLSegmentationShow3DButton: makes or removes the closed surface of a segmentation.

As in Slicer the button is enabled only with at least one segment, its state follows the segmentation, and the
binary labelmap stays what slice views show. Differs from the application: no menu for smoothing.
"""

from __future__ import annotations

import slicer

from host.properties import standIn
from host.qtmodule import qt


@standIn
class qMRMLSegmentationShow3DButton(qt.QPushButton):
    def __init__(self, parent=None):
        super().__init__("Show 3D", parent)
        self._node, self._tags = None, []
        self.checkable, self.enabled = True, False
        self.toggled.connect(self._onToggled)

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node) -> None:
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node = node if node and node.IsA("vtkMRMLSegmentationNode") else None
        events = (
            "ModifiedEvent",
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
            slicer.vtkSegmentation.ContainedRepresentationNamesModified,
        )
        self._tags = [self._node.AddObserver(event, self._update) for event in events] if self._node else []
        self._update()

    def setMRMLScene(self, scene) -> None:
        """The host leaves the segmentation through this when it closes."""
        if not scene:
            self.setSegmentationNode(None)

    def _update(self, *_) -> None:
        segmentation = self._node.GetSegmentation() if self._node else None
        self.enabled = bool(segmentation) and segmentation.GetNumberOfSegments() > 0
        blocked = self.blockSignals(True)
        self.checked = bool(segmentation) and segmentation.ContainsRepresentation(_surface())
        self.blockSignals(blocked)

    def _onToggled(self, on: bool) -> None:
        if not self._node:
            return
        segmentation, display = self._node.GetSegmentation(), self._node.GetDisplayNode()
        with slicer.util.NodeModify(self._node):
            if not on:
                segmentation.RemoveRepresentation(_surface())
            elif segmentation.CreateRepresentation(_surface()) and display:
                display.SetPreferredDisplayRepresentationName3D(_surface())
                display.SetPreferredDisplayRepresentationName2D(_labelmap())


def _surface() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def _labelmap() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
