"""qMRMLWidget, and the button that shows a segmentation in 3D."""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtWidgets

from host.pythonqt import qt, standIn


@standIn
class qMRMLWidget(qt.QWidget):
    """Emits `mrmlSceneChanged` so that the widgets inside, connected in the `.ui` file, get the scene too."""

    mrmlSceneChanged = QtCore.Signal(object)
    _scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@standIn
class qMRMLSegmentationShow3DButton(qt.QPushButton):
    """Makes or removes the closed surface of a segmentation.

    qMRMLSegmentationShow3DButton.cxx: enabled only with a segment whose source is no surface; its state follows the
    segmentation, and stays what it was when there is none (updateWidgetFromMRML); slice views go on showing the
    labelmap. Differs from the application: the arrow opens no menu for smoothing.
    """

    _ARROW_WIDTH = 13  # ctkMenuButton.cpp

    def __init__(self, parent=None):
        super().__init__("Show 3D", parent)
        self.icon = qt.QIcon(":/Icons/MakeModel.png")
        self._node, self._tags = None, []
        self.checkable, self.enabled = True, False
        self.toggled.connect(self._onToggled)

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node) -> None:
        if node is self._node:
            return
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node = node
        events = (
            "ModifiedEvent",
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
            slicer.vtkSegmentation.ContainedRepresentationNamesModified,
        )
        self._tags = [node.AddObserver(event, self._update) for event in events] if node else []
        self._update()

    def _update(self, *_) -> None:
        segmentation = self._node.GetSegmentation() if self._node else None
        surface = _name("ClosedSurface")
        self.enabled = bool(
            segmentation
            and segmentation.GetNumberOfSegments() > 0
            and segmentation.GetSourceRepresentationName() != surface
        )
        if segmentation:
            blocked = self.blockSignals(True)
            self.checked = segmentation.ContainsRepresentation(surface)
            self.blockSignals(blocked)

    def _onToggled(self, on: bool) -> None:
        if not self._node:
            return
        segmentation, display = self._node.GetSegmentation(), self._node.GetDisplayNode()
        surface, labelmap = _name("ClosedSurface"), _name("BinaryLabelmap")
        with slicer.util.NodeModify(self._node):
            if not on:
                if segmentation.GetSourceRepresentationName() != surface:
                    segmentation.RemoveRepresentation(surface)
            elif segmentation.CreateRepresentation(surface) and display:
                display.SetPreferredDisplayRepresentationName3D(surface)
                if segmentation.ContainsRepresentation(labelmap):
                    display.SetPreferredDisplayRepresentationName2D(labelmap)

    def sizeHint(self):
        return super().sizeHint() + QtCore.QSize(self._ARROW_WIDTH, 0)

    minimumSizeHint = sizeHint

    def paintEvent(self, event):
        """ctkMenuButton::paintEvent: bevel, separator and arrow, then icon and text in what is left of the arrow."""
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionButton()
        self.initStyleOption(option)
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = self.rect.adjusted(self.width - self._ARROW_WIDTH, 2, -2, -2)
        painter.setPen(self.palette.button().color().darker(130))
        painter.drawLine(arrow.rect.topLeft(), arrow.rect.bottomLeft())
        painter.drawPrimitive(QtWidgets.QStyle.PE_IndicatorArrowDown, arrow)
        option.rect.setRight(arrow.rect.left())
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonLabel, option)
        painter.end()


def _name(representation: str) -> str:
    return getattr(slicer.vtkSegmentationConverter, f"Get{representation}RepresentationName")()
