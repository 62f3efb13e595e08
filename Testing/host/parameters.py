"""`slicer.parameterNodeWrapper`: a parameter node with typed properties, shown by widgets.

Differs from the application:
- `connectGui` returns its tag and `disconnectGui(tag)` disconnects. Slicer up to 5.12 returns None from `connectGui`
  (Slicer/Slicer#8667), so widgets stay connected there: a module must also work then.
- `disconnectGui` takes its observer off the parameter node.
- types are those of `parametertypes`; no parameter packs, lists or dictionaries.
"""

from __future__ import annotations

import dataclasses
import typing

import slicer
import vtk

from host.guiconnectors import Connector, connectorFor
from host.parametertypes import (
    Choice,
    Decimals,
    Default,
    Maximum,
    Minimum,
    SingleStep,
    Storage,
    WithinRange,
    storageFor,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One typed property of a wrapper class."""

    name: str
    datatype: typing.Any
    storage: Storage
    annotations: tuple
    default: typing.Any

    def __get__(self, wrapper, owner):
        return self.storage.read(wrapper.parameterNode, self.name) if wrapper else self

    def __set__(self, wrapper, value) -> None:
        for annotation in self.annotations:
            if hasattr(annotation, "validate"):
                annotation.validate(value)
        with slicer.util.NodeModify(wrapper.parameterNode):
            self.storage.write(wrapper.parameterNode, self.name, value)


class ParameterNodeMethods:
    """What `@parameterNodeWrapper` adds to a class."""

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[int, dict[str, Connector]]] = {}
        self._nextTag, self._updating = 0, False
        for parameter in self.allParameters.values():
            if not parameter.storage.isIn(parameterNode, parameter.name):
                setattr(self, parameter.name, parameter.default)

    def default(self, name: str) -> Default:
        return Default(self.allParameters[name].default)

    def dataType(self, name: str):
        return self.allParameters[name].datatype

    def getValue(self, name: str):
        self._require(name)
        return getattr(self, name)

    def setValue(self, name: str, value) -> None:
        self._require(name)
        setattr(self, name, value)

    def _require(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"{type(self).__name__} has no parameter {name}, only {', '.join(self.allParameters)}")
        return self.allParameters[name]

    def connectGui(self, gui) -> int:
        """Connect the widgets with a SlicerParameterName: those in a widget, or what `childWidgetVariables` gave."""
        isWidget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren() if isWidget else list(gui.__dict__.values())
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict) -> int:
        """Connect {parameter name: widget}; -> the tag for `disconnectGui`."""
        connectors = {}
        for name, widget in mapping.items():
            parameter = self._require(name)
            connectors[name] = connectorFor(widget, parameter.storage, parameter.annotations)
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._writerOf(name, connector))
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        self._guis[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, self._updateGui), connectors
        return tag

    def disconnectGui(self, tag) -> None:
        if tag in self._guis:
            observer, connectors = self._guis.pop(tag)
            self.RemoveObserver(observer)
            for connector in connectors.values():
                connector.onChanged(None)

    def _writerOf(self, name: str, connector: Connector) -> typing.Callable:
        def onWidgetChanged() -> None:
            if not self._updating:
                self.setValue(name, connector.read())

        return onWidgetChanged

    def _updateGui(self, caller, event) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for _, connectors in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying) -> None:
        self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event, callback, priority=0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _parameterOf(cls: type, name: str, hint) -> Parameter:
    datatype, *annotations = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    storage = storageFor(datatype)
    annotated = [a.value for a in annotations if isinstance(a, Default)]
    default = getattr(cls, name) if hasattr(cls, name) else annotated[0] if annotated else storage.default
    return Parameter(name, hint, storage, tuple(annotations), default)


def parameterNodeWrapper(cls: type | None = None):
    """Class decorator: each annotated attribute becomes a typed parameter."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _parameterOf(cls, name, hint) for name, hint in hints.items()}
    for name in parameters:
        if hasattr(ParameterNodeMethods, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    for name, method in vars(ParameterNodeMethods).items():
        if callable(method):
            setattr(cls, name, method)
    for name, parameter in parameters.items():
        setattr(cls, name, parameter)
    cls.allParameters = parameters
    cls._is_parameter_node_wrapper = True
    return cls


def isParameterNodeWrapper(classOrObject) -> bool:
    return getattr(classOrObject, "_is_parameter_node_wrapper", False)
