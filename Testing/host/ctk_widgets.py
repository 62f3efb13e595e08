"""The CTK widgets that module panels use: behavior and looks of Libs/Widgets in CTK.

Differs from the application: the spin box of a slider has no field for more decimals.
"""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtWidgets

from host.pythonqt import qt, standIn, stored

_Style = QtWidgets.QStyle


@standIn
class ctkCollapsibleButton(qt.QAbstractButton):
    """A section under a flat button as wide as the panel, with an arrow and a text; a click collapses it.

    ctkCollapsibleButton.cpp: collapsed children are hidden, also those added or shown meanwhile, and those that the
    module hid itself stay hidden (childEvent, eventFilter); collapsed, 10 pixels are left below the button.
    """

    contentsCollapsed = QtCore.Signal(bool)
    _COLLAPSED_HEIGHT = 10

    def __init__(self, parent=None):
        super().__init__(parent if isinstance(parent, QtCore.QObject) else None)
        self._hiddenByModule, self._forcing = set(), False
        self.checkable = self.checked = True
        self.setSizePolicy(qt.QSizePolicy.Minimum, qt.QSizePolicy.Preferred)
        self.text = parent if isinstance(parent, str) else ""
        self.setContentsMargins(0, self._buttonSize().height(), 0, 0)
        self.toggled.connect(lambda checked: self._showContents(checked))

    collapsed = QtCore.Property(
        bool, lambda self: not self.checked, lambda self, collapsed: setattr(self, "checked", not collapsed)
    )

    def _showContents(self, visible: bool) -> None:
        self.setMaximumHeight(16777215 if visible else self.sizeHint().height())
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._setChildVisible(child)
        self.updateGeometry()
        self.contentsCollapsed.emit(not visible)

    def _setChildVisible(self, child) -> None:
        self._forcing = True
        QtWidgets.QWidget.setVisible(child, self.checked and child not in self._hiddenByModule)
        child.setAttribute(QtCore.Qt.WA_WState_ExplicitShowHide, child in self._hiddenByModule)
        self._forcing = False

    def changeEvent(self, event):
        if event.type() in (QtCore.QEvent.FontChange, QtCore.QEvent.StyleChange):
            self.setContentsMargins(0, self._buttonSize().height(), 0, 0)
        super().changeEvent(event)

    def childEvent(self, event):
        if event.added() and event.child().isWidgetType():
            event.child().installEventFilter(self)
            self._setChildVisible(event.child())

    def eventFilter(self, child, event):
        kind = event.type()
        if kind in (QtCore.QEvent.ShowToParent, QtCore.QEvent.HideToParent) and not self._forcing:
            if kind == QtCore.QEvent.HideToParent:
                self._hiddenByModule.add(child)
            else:
                self._hiddenByModule.discard(child)
                self._setChildVisible(child)
        return False

    def setVisible(self, visible: bool) -> None:
        self._forcing = True  # showing or hiding the section is no wish about its children
        super().setVisible(visible)
        self._forcing = False

    def _buttonSize(self) -> QtCore.QSize:
        """buttonSizeHint: arrow and text, with the margins of a push button."""
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        text = self.fontMetrics().size(QtCore.Qt.TextShowMnemonic, self.text or "XXXX")
        arrow = self._metric(_Style.PM_IndicatorWidth) + self._metric(_Style.PM_CheckBoxLabelSpacing)
        inside = QtCore.QSize(text.width() + arrow, max(text.height(), self._metric(_Style.PM_IndicatorHeight)))
        return self.style().sizeFromContents(_Style.CT_PushButton, option, inside, self)

    def _metric(self, metric) -> int:
        return self.style().pixelMetric(metric, None, self)

    def sizeHint(self):
        button = self._buttonSize() + QtCore.QSize(0, self._COLLAPSED_HEIGHT)
        inside = self.layout().totalSizeHint() if self.layout() and not self.collapsed else button
        return button.expandedTo(inside)

    def minimumSizeHint(self):
        button = self._buttonSize()
        if self.collapsed:
            return button + QtCore.QSize(0, self._COLLAPSED_HEIGHT)
        return self.layout().totalMinimumSize().expandedTo(button) if self.layout() else button

    def hitButton(self, position) -> bool:
        return position.y() < self._buttonSize().height()

    def paintEvent(self, event):
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self._buttonSize().height())
        option.state |= _Style.State_Sunken if self.down else _Style.State_Raised
        painter.drawControl(_Style.CE_PushButtonBevel, option)
        arrow, size, height = QtWidgets.QStyleOption(), self._metric(_Style.PM_IndicatorWidth), option.rect.height()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect((height - size) // 2, (height - size) // 2, size, size)
        direction = _Style.PE_IndicatorArrowDown if self.collapsed else _Style.PE_IndicatorArrowUp
        painter.drawPrimitive(direction, arrow)
        option.rect.setLeft(arrow.rect.right() + self._metric(_Style.PM_CheckBoxLabelSpacing))
        alignment = QtCore.Qt.AlignLeft | QtCore.Qt.AlignVCenter | QtCore.Qt.TextShowMnemonic
        painter.drawItemText(option.rect, alignment, self.palette, self.enabled, self.text, QtGui.QPalette.ButtonText)
        painter.end()


def _ofSpinBox(qtType, name: str, fitSlider: bool = False) -> QtCore.Property:
    """A property of a slider widget that is its spin box's."""

    def write(self, value) -> None:
        with QtCore.QSignalBlocker(self._spinBox):
            setattr(self._spinBox, name, value)
        if fitSlider:
            self._fitSlider()
        self._alignSpinBoxes()

    return QtCore.Property(qtType, lambda self: getattr(self._spinBox, name), write)


@standIn
class ctkSliderWidget(qt.QWidget):
    """A slider and a spin box that show one number.

    ctkSliderWidget.cpp: with `tracking` off every change, by hand or by program, emits `valueIsChanging`
    (setSpinBoxValue). While the handle is held, `value` stays what it was and `valueChanged` waits (startChanging);
    it comes on release, if the number is another one then (stopChanging). Steps of the slider are single steps.
    """

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    tracking = stored(bool, "tracking", True)
    decimals, prefix, suffix = _ofSpinBox(int, "decimals"), _ofSpinBox(str, "prefix"), _ofSpinBox(str, "suffix")
    minimum, maximum = _ofSpinBox(float, "minimum", fitSlider=True), _ofSpinBox(float, "maximum", fitSlider=True)
    singleStep = _ofSpinBox(float, "singleStep", fitSlider=True)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._number, self._before = 0.0, None  # before: the value when the handle was taken, None when nobody holds it
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

    def _readValue(self) -> float:
        return self._number if self._before is None else self._before

    def setValue(self, value: float) -> None:
        before, self._before = self._before, None
        self._spinBox.value = value
        self._before = before

    value = QtCore.Property(float, _readValue, setValue)

    def _fitSlider(self) -> None:
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setRange(0, round((self.maximum - self.minimum) / self.singleStep))
        self._onNumber(min(max(self._number, self.minimum), self.maximum))

    def _alignSpinBoxes(self) -> None:
        """Sliders side by side have spin boxes of one width (updateSpinBoxWidth)."""
        siblings = self.parentWidget().findChildren(ctkSliderWidget) if self.parentWidget() else [self]
        for sibling in siblings:
            sibling._spinBox.setMinimumWidth(max(other._spinBox.sizeHint().width() for other in siblings))

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
    """A combo box with a text for the time when nothing is chosen, that can shorten a text which does not fit.

    ctkComboBox.cpp: initStyleOption.
    """

    defaultText = stored(str, "defaultText", "", "update")
    elideMode = stored(QtCore.Qt.TextElideMode, "elideMode", QtCore.Qt.ElideNone, "update")

    def initStyleOption(self, option):
        super().initStyleOption(option)
        field = self.style().subControlRect(_Style.CC_ComboBox, option, _Style.SC_ComboBoxEditField, self)
        option.currentText = self.fontMetrics().elidedText(self._shownText(), self.elideMode, field.width())

    def _shownText(self) -> str:
        return self.currentText if self.currentIndex >= 0 else self.defaultText


ctk = types.SimpleNamespace(**{cls.__name__: cls for cls in (ctkCollapsibleButton, ctkSliderWidget, ctkComboBox)})
