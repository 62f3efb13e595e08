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

    As in CTK's ctkSliderWidget.cpp: with `tracking` off every change, by hand or by program, emits `valueIsChanging`
    (setSpinBoxValue). While the handle is held, `value` stays what it was and `valueChanged` waits (startChanging);
    it comes on release, if the number is another one then (stopChanging).
    """

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    tracking = stored(bool, "tracking", True)
    pageStep = stored(float, "pageStep", 10.0)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._number, self._before = (
            0.0,
            None,
        )  # before: the value when the handle was taken, None while nobody holds it
        self._slider, self._spinBox = qt.QSlider(QtCore.Qt.Horizontal), qt.QDoubleSpinBox()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spinBox)
        self._spinBox.valueChanged.connect(self._onNumber)
        self._slider.valueChanged.connect(lambda step: self._onNumber(self.minimum + step * self.singleStep))
        self._slider.sliderPressed.connect(self._onPressed)
        self._slider.sliderReleased.connect(self._onReleased)
        self._fitSlider()

    decimals = forwarded(int, "_spinBox", "decimals")
    prefix, suffix = forwarded(str, "_spinBox", "prefix"), forwarded(str, "_spinBox", "suffix")

    def _inRange(name: str) -> QtCore.Property:
        def write(self, value: float) -> None:
            with QtCore.QSignalBlocker(self._spinBox):
                setattr(self._spinBox, name, value)
            self._fitSlider()

        return QtCore.Property(float, lambda self: getattr(self._spinBox, name), write)

    minimum, maximum, singleStep = _inRange("minimum"), _inRange("maximum"), _inRange("singleStep")

    def _readValue(self) -> float:
        return self._number if self._before is None else self._before

    def _writeValue(self, value: float) -> None:
        before, self._before = self._before, None
        self._spinBox.value = value
        self._before = before

    value = QtCore.Property(float, _readValue, _writeValue)

    def _fitSlider(self) -> None:
        """Steps of the slider are single steps; a number outside of the range moves into it."""
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setRange(0, round((self.maximum - self.minimum) / self.singleStep))
        self._onNumber(min(max(self._number, self.minimum), self.maximum))

    def _onNumber(self, number: float) -> None:
        changed, self._number = number != self._number, number
        with QtCore.QSignalBlocker(self._slider), QtCore.QSignalBlocker(self._spinBox):
            self._slider.value = round((number - self.minimum) / self.singleStep)
            self._spinBox.value = number
        if changed and not self.tracking:
            self.valueIsChanging.emit(number)
        if changed and self._before is None:
            self.valueChanged.emit(number)

    def _onPressed(self) -> None:
        if not self.tracking:
            self._before = self.value

    def _onReleased(self) -> None:
        before, self._before = self._before, None
        if before is not None and abs(self._number - before) > 1e-9 * self.singleStep:
            self.valueChanged.emit(self._number)


@standIn
class ctkComboBox(qt.QComboBox):
    """A combo box with a text for the time when nothing is chosen."""

    defaultText = stored(str, "defaultText", "")


ctk = types.ModuleType("ctk")
for _widget in (ctkCollapsibleButton, ctkSliderWidget, ctkComboBox):
    setattr(ctk, _widget.__name__, _widget)
