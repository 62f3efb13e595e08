"""Which widget shows a parameter of which type: the pairs that Slicer's `parameterNodeWrapper` connects.

As in Slicer the widget's class must be the very one listed, a slider needs a range, a combo box of texts a `Choice`.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable

from host.ctkwidgets import ctk
from host.nodecombobox import qMRMLNodeComboBox
from host.parametertypes import Choice, Decimals, Maximum, Minimum, NodeStorage, SingleStep, Storage, WithinRange
from host.qtmodule import qt


class Connector:
    """One widget: read its value, write it, hear of its changes."""

    def __init__(self, widget, signal, read: Callable, write: Callable):
        self.widget, self.read, self.write = widget, read, write
        self._signal, self._callback = signal, None

    def onChanged(self, callback: Callable | None) -> None:
        if self._callback:
            self._signal.disconnect(self._callback)
        self._callback = (lambda *_: callback()) if callback else None
        if callback:
            self._signal.connect(self._callback)


def _onAttribute(widget, signal, attribute: str) -> Connector:
    return Connector(
        widget, signal, lambda: getattr(widget, attribute), lambda value: setattr(widget, attribute, value)
    )


def _pushButton(widget, kind, annotations) -> Connector:
    if not widget.checkable:
        logging.warning("Push button %s is made checkable for a bool parameter", widget.objectName)
        widget.checkable = True
    return _onAttribute(widget, widget.toggled, "checked")


def _number(widget, kind, annotations) -> Connector:
    for annotation in annotations:
        if isinstance(annotation, Decimals):
            widget.decimals = annotation.value
        elif isinstance(annotation, SingleStep):
            widget.singleStep = annotation.value
    low = [a.minimum for a in annotations if isinstance(a, (WithinRange, Minimum))]
    high = [a.maximum for a in annotations if isinstance(a, (WithinRange, Maximum))]
    if type(widget) in (ctk.ctkSliderWidget, qt.QSlider) and not (low and high):
        raise RuntimeError(f"{type(widget).__name__} {widget.objectName} needs a parameter with a range")
    unbounded = 2**31 - 1 if kind is int else float("inf")
    widget.setMinimum(low[0] if low else -unbounded)
    widget.setMaximum(high[0] if high else unbounded)
    return _onAttribute(widget, widget.valueChanged, "value")


def _items(widget, values: list, labels: list[str]) -> Connector:
    widget.clear()
    for label in labels:
        widget.addItem(label)
    return Connector(
        widget,
        widget.currentIndexChanged,
        lambda: values[widget.currentIndex],
        lambda value: widget.setCurrentIndex(values.index(value)),
    )


def _comboBox(widget, kind, annotations) -> Connector:
    if issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda member: member.name)
        return _items(widget, list(kind), [label(member) for member in kind])
    choices = [list(a.choices) for a in annotations if isinstance(a, Choice)]
    if not choices:
        raise RuntimeError(f"Combo box {widget.objectName} needs a parameter with a Choice")
    return _items(widget, choices[0], [str(choice) for choice in choices[0]])


def _nodeComboBox(widget, kind, annotations) -> Connector:
    widget.nodeTypes = [kind.__name__]
    return Connector(widget, widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)


_CONNECTORS: list[tuple[tuple, tuple, Callable]] = [
    ((qt.QCheckBox,), (bool,), lambda widget, *_: _onAttribute(widget, widget.toggled, "checked")),
    ((qt.QPushButton,), (bool,), _pushButton),
    ((qt.QSlider, qt.QSpinBox), (int,), _number),
    ((qt.QDoubleSpinBox, ctk.ctkSliderWidget), (float, int), _number),
    ((qt.QComboBox,), (str, int, float, bool, enum.Enum), _comboBox),
    ((qt.QLineEdit,), (str,), lambda widget, *_: _onAttribute(widget, widget.textChanged, "text")),
    (
        (qt.QTextEdit,),
        (str,),
        lambda widget, *_: Connector(widget, widget.textChanged, widget.toPlainText, widget.setPlainText),
    ),
]


def connectorFor(widget, storage: Storage, annotations: tuple) -> Connector:
    """-> the connector of a widget and a parameter; RuntimeError when Slicer has none for this pair."""
    if isinstance(storage, NodeStorage) and type(widget) is qMRMLNodeComboBox:
        return _nodeComboBox(widget, storage.kind, annotations)
    kind = enum.Enum if issubclass(storage.kind, enum.Enum) else storage.kind
    for widgets, kinds, create in _CONNECTORS:
        if type(widget) in widgets and kind in kinds:
            return create(widget, storage.kind, annotations)
    raise RuntimeError(f"Slicer connects no {storage.kind.__name__} parameter to a {type(widget).__name__}")
