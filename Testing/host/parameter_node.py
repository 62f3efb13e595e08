"""`slicer.parameterNodeWrapper`: a parameter node with typed properties, shown by widgets.

Values are kept in a `vtkMRMLScriptedModuleNode` in Slicer's form: numbers, texts and truth values as text, a node as
a node reference of the parameter's name. Habits of Slicer up to 5.12
(Base/Python/slicer/parameterNodeWrapper/wrapper.py, guiConnectors.py) that a module must live with:

- `disconnectGui` leaves the wrapper observing its node, for ever;
- a wrapper keeps all values, also nodes, and reads them again at ModifiedEvent;
- every ModifiedEvent writes every parameter into its widget;
- the widget's class must be the very one that is listed.

Differs from the application: only the types and widgets below, and no `connectGui`, which returns no tag in Slicer up
to 5.12, so that what it connects stays connected (Slicer/Slicer#8667).
"""

from __future__ import annotations

import dataclasses
import typing
import weakref
from collections.abc import Callable

import slicer
import vtk

from host.ctk_widgets import ctk
from host.node_combo_boxes import qMRMLNodeComboBox
from host.pythonqt import qt

# Annotations


@dataclasses.dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


@dataclasses.dataclass(frozen=True)
class Choice:
    choices: typing.Sequence

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {list(self.choices)}")


# Storage


@dataclasses.dataclass(frozen=True)
class TextStorage:
    """A value as the text of a parameter."""

    kind: type
    default: typing.Any
    accepted: tuple
    fromText: Callable

    def read(self, node, name: str):
        return self.fromText(node.GetParameter(name))

    def write(self, node, name: str, value) -> None:
        if not isinstance(value, self.accepted):
            raise TypeError(f"{name} takes {self.kind.__name__}, not {value!r}")
        node.SetParameter(name, str(value))


@dataclasses.dataclass(frozen=True)
class NodeStorage:
    """A node (or None) as a node reference; an empty parameter of the same name says that it was set."""

    kind: type
    default = None

    def read(self, node, name: str):
        return node.GetNodeReference(name)

    def write(self, node, name: str, value) -> None:
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"{name} takes {self.kind.__name__} or None, not {value!r}")
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value else None)


_TEXTS = {
    str: TextStorage(str, "", (str,), str),
    float: TextStorage(float, 0.0, (int, float), float),
    bool: TextStorage(bool, False, (bool,), lambda text: text == "True"),
}


def _storageFor(kind) -> TextStorage | NodeStorage:
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeStorage(kind)
    if kind not in _TEXTS:
        raise TypeError(f"The host keeps no parameter of type {kind}")
    return _TEXTS[kind]


# Widgets


class Connector:
    """One widget: read its value, write it, hear of its changes."""

    def __init__(self, signal, read: Callable, write: Callable):
        self.read, self.write, self._signal, self._callback = read, write, signal, None

    def onChanged(self, callback: Callable | None) -> None:
        if self._callback:
            self._signal.disconnect(self._callback)
        self._callback = (lambda *_: callback()) if callback else None
        if callback:
            self._signal.connect(self._callback)


def _ofAttribute(widget, signal, attribute: str) -> Connector:
    return Connector(signal, lambda: getattr(widget, attribute), lambda value: setattr(widget, attribute, value))


def _forSlider(widget, annotations) -> Connector:
    ranges = [a for a in annotations if isinstance(a, WithinRange)]
    if not ranges:
        raise RuntimeError(f"The slider {widget.objectName} needs a parameter with a range")
    widget.minimum, widget.maximum = ranges[0].minimum, ranges[0].maximum
    return _ofAttribute(widget, widget.valueChanged, "value")


def _forComboBox(widget, annotations) -> Connector:
    choices = next((list(a.choices) for a in annotations if isinstance(a, Choice)), None)
    if choices is None:
        raise RuntimeError(f"The combo box {widget.objectName} needs a parameter with a Choice")
    widget.clear()
    for choice in choices:
        widget.addItem(str(choice))
    return Connector(
        widget.currentIndexChanged,
        lambda: choices[widget.currentIndex],
        lambda value: widget.setCurrentIndex(choices.index(value)),
    )


def _connectorFor(widget, storage, annotations: tuple) -> Connector:
    """-> the connector of a widget and a parameter; RuntimeError when Slicer has none for this pair."""
    pair = type(widget), storage.kind
    if pair == (qt.QCheckBox, bool):
        return _ofAttribute(widget, widget.stateChanged, "checked")
    if pair == (ctk.ctkSliderWidget, float):
        return _forSlider(widget, annotations)
    if type(widget) is qt.QComboBox and storage.kind in _TEXTS:
        return _forComboBox(widget, annotations)
    if type(widget) is qMRMLNodeComboBox and isinstance(storage, NodeStorage):
        widget.nodeTypes = [storage.kind.__name__]
        return Connector(widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"No {storage.kind.__name__} parameter can be connected to a {type(widget).__name__}")


# The wrapper


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One typed property of a wrapper class."""

    name: str
    storage: TextStorage | NodeStorage
    annotations: tuple
    default: typing.Any

    def __get__(self, wrapper, owner):
        if wrapper is None:
            return self
        return wrapper._values[self.name]

    def _read(self, wrapper):
        """What a closed scene has taken out of the node is put there again, as its default."""
        if not wrapper.parameterNode.HasParameter(self.name):
            self.storage.write(wrapper.parameterNode, self.name, self.default)
        return self.storage.read(wrapper.parameterNode, self.name)

    def __set__(self, wrapper, value) -> None:
        for annotation in self.annotations:
            annotation.validate(value)
        with slicer.util.NodeModify(wrapper.parameterNode):
            self.storage.write(wrapper.parameterNode, self.name, value)
            self.refresh(wrapper)

    def refresh(self, wrapper) -> None:
        wrapper._values[self.name] = self._read(wrapper)


def _ofNode(name: str) -> Callable:
    return lambda self, *arguments: getattr(self.parameterNode, name)(*arguments)


class ParameterNodeMethods:
    """What `@parameterNodeWrapper` adds to a class."""

    def __init__(self, parameterNode):
        self.parameterNode, self._values = parameterNode, {}
        self._guis: dict[int, dict[str, Connector]] = {}
        self._nextTag, self._updating = 0, False
        for parameter in self.allParameters.values():
            parameter.refresh(self)
        reference = weakref.ref(self)
        tag = parameterNode.AddObserver("ModifiedEvent", lambda *_: reference() and reference()._refresh())
        weakref.finalize(self, parameterNode.RemoveObserver, tag)

    def _refresh(self) -> None:
        for parameter in self.allParameters.values():
            parameter.refresh(self)

    def getValue(self, name: str):
        return getattr(self, self._require(name).name)

    def setValue(self, name: str, value) -> None:
        setattr(self, self._require(name).name, value)

    def _require(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"{type(self).__name__} has no parameter {name}, only {', '.join(self.allParameters)}")
        return self.allParameters[name]

    def connectParametersToGui(self, mapping: dict) -> int:
        """Connect {parameter name: widget}; -> the tag for `disconnectGui`."""
        parameters = {name: self._require(name) for name in mapping}
        connectors = {n: _connectorFor(mapping[n], p.storage, p.annotations) for n, p in parameters.items()}
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._writerOf(name, connector))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._updateGui())
        return tag

    def disconnectGui(self, tag) -> None:
        for connector in self._guis.pop(tag, {}).values():
            connector.onChanged(None)

    def _writerOf(self, name: str, connector: Connector) -> Callable:
        def onWidgetChanged() -> None:
            if not self._updating:
                self.setValue(name, connector.read())

        return onWidgetChanged

    def _updateGui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False

    StartModify, EndModify = _ofNode("StartModify"), _ofNode("EndModify")
    AddObserver, RemoveObserver = _ofNode("AddObserver"), _ofNode("RemoveObserver")


def _parameterOf(cls: type, name: str, hint) -> Parameter:
    datatype, *annotations = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    storage = _storageFor(datatype)
    return Parameter(name, storage, tuple(annotations), getattr(cls, name, storage.default))


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: each annotated attribute becomes a typed parameter."""
    hints = typing.get_type_hints(cls, include_extras=True)
    cls.allParameters = {name: _parameterOf(cls, name, hint) for name, hint in hints.items()}
    for name, method in vars(ParameterNodeMethods).items():
        if callable(method):
            if name in cls.allParameters:
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(cls, name, method)
    for name, parameter in cls.allParameters.items():
        setattr(cls, name, parameter)
    return cls
