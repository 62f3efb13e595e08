"""The CTK widgets that module panels use, as PySide6 widgets with the same properties and signals.

Differs from the application: looks, animation, and every property that is not listed here.
"""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui

from host.properties import forwarded, standIn, stored
from host.qtmodule import qt

_TITLE_HEIGHT = 24


@standIn
class ctkCollapsibleButton(qt.QAbstractButton):
    """A titled section; a click on the title collapses it, which hides its children."""

    contentsCollapsed = QtCore.Signal(bool)
    flat = stored(bool, "flat", False)

    def __init__(self, parent=None):
        super().__init__(parent if isinstance(parent, QtCore.QObject) else None)
        if isinstance(parent, str):
            self.text = parent
        self.checkable = self.checked = True
        self.setContentsMargins(4, _TITLE_HEIGHT, 4, 4)
        self.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Preferred)
        self.toggled.connect(lambda checked: self._show(checked))

    def _show(self, visible: bool) -> None:
        for child in self.children():
            if isinstance(child, qt.QWidget):
                child.setVisible(visible)
        self.updateGeometry()
        self.contentsCollapsed.emit(not visible)

    def _setCollapsed(self, collapsed: bool) -> None:
        self.checked = not collapsed

    collapsed = QtCore.Property(bool, lambda self: not self.checked, _setCollapsed)

    def childEvent(self, event):
        if event.added() and self.collapsed and event.child().isWidgetType():
            event.child().hide()

    def hitButton(self, position) -> bool:
        return position.y() < _TITLE_HEIGHT

    def sizeHint(self):
        inside = self.layout().sizeHint() if self.layout() and self.checked else QtCore.QSize(0, 0)
        return inside.expandedTo(QtCore.QSize(120, _TITLE_HEIGHT))

    minimumSizeHint = sizeHint

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        title = QtCore.QRect(0, 0, self.width, _TITLE_HEIGHT - 2)
        painter.fillRect(title, self.palette.button())
        painter.drawText(title.adjusted(8, 0, 0, 0), QtCore.Qt.AlignVCenter, self.text)
        painter.end()


@standIn
class ctkSliderWidget(qt.QWidget):
    """A slider and a spin box that show one number.

    As in CTK, without tracking a drag of the slider emits `valueChanging` and only its end `valueChanged`.
    """

    valueChanged = QtCore.Signal(float)
    valueChanging = QtCore.Signal(float)
    cppSignals = ("valueChanged(double)", "valueChanging(double)")
    tracking = stored(bool, "tracking", True)
    pageStep = stored(float, "pageStep", 10.0)
    _STEPS = 1000

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider, self._spinBox = qt.QSlider(QtCore.Qt.Horizontal), qt.QDoubleSpinBox()
        self._slider.setRange(0, self._STEPS)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spinBox)
        self._spinBox.valueChanged.connect(self._onSpinBox)
        self._slider.sliderMoved.connect(self._onSlider)
        self._slider.sliderReleased.connect(self._onReleased)

    minimum, maximum = forwarded(float, "_spinBox", "minimum"), forwarded(float, "_spinBox", "maximum")
    value, singleStep = forwarded(float, "_spinBox", "value"), forwarded(float, "_spinBox", "singleStep")
    decimals = forwarded(int, "_spinBox", "decimals")
    prefix, suffix = forwarded(str, "_spinBox", "prefix"), forwarded(str, "_spinBox", "suffix")

    def _onSpinBox(self, value: float) -> None:
        width = self.maximum - self.minimum
        self._slider.value = round(self._STEPS * (value - self.minimum) / width) if width else 0
        if not self.tracking:
            self.valueChanging.emit(value)
        if self.tracking or not self._slider.sliderDown:
            self.valueChanged.emit(value)

    def _onReleased(self) -> None:
        if not self.tracking:
            self.valueChanged.emit(self.value)

    def _onSlider(self, position: int) -> None:
        self._spinBox.value = self.minimum + (self.maximum - self.minimum) * position / self._STEPS


@standIn
class ctkComboBox(qt.QComboBox):
    """A combo box with a text for the time when nothing is chosen."""

    defaultText = stored(str, "defaultText", "")


ctk = types.ModuleType("ctk")
for _widget in (ctkCollapsibleButton, ctkSliderWidget, ctkComboBox):
    setattr(ctk, _widget.__name__, _widget)
