"""The `qt` module: PySide6 classes with PythonQt's manners.

PythonQt shows Qt properties as attributes (`button.text`, so that `button.text()` is a TypeError), connects with
`connect("clicked(bool)", slot)`, drops the arguments that a slot does not take, and refuses new attributes on C++
objects. What the real widget lacks is refused (`real_widgets`).

Differs from the application: `sizeHint`, `minimumSizeHint`, `spacing` and `QProgressBar.text` stay methods, because
Qt calls them as virtual functions; Qt is version 6, without the newer properties and signals; an object that Qt itself
created (a button of a message box, say) has PySide6's manners.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from host import resources
from host.real_widgets import factsOf, refuse
from host.style import SlicerStyle

_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["LiverGTAN tests"])
_application.setStyle(SlicerStyle())
_application.setPalette(_application.style().standardPalette())
resources.register()

if sys.version_info < (3, 12):
    # PySide6 6.12 takes None, True and False for immortal, which they are since Python 3.12: each signal connected
    # costs one reference, and Python stops when none is left. Give them more than any run can use up.
    for _constant in (None, True, False):
        ctypes.c_ssize_t.from_address(id(_constant)).value += 1_000_000_000

_VIRTUAL = {"sizeHint", "minimumSizeHint", "spacing"}
_VIRTUAL_OF_CLASS = {"QProgressBar": {"text"}}
_OVERRIDES = {
    "paintEvent",
    "changeEvent",
    "childEvent",
    "eventFilter",
    "hitButton",
    "initStyleOption",
    "connect",
    "disconnect",
    "staticMetaObject",
}
_CONVERSIONS: dict[str, Callable] = {"bool": bool, "int": int, "double": float, "QString": str}


class PythonQtType(type(QtCore.QObject)):
    """Metaclass: `isinstance(aPushButton, qt.QWidget)` holds as it does for the C++ classes.

    PySide6 looks for `connect` in an object's own class only, so each class gets its own copy of these methods.
    """

    def __new__(meta, name, bases, namespace):
        for method in ("connect", "disconnect"):
            namespace.setdefault(method, getattr(PythonQtObject, method))
        return super().__new__(meta, name, bases, namespace)

    def __instancecheck__(cls, instance: object) -> bool:
        native = cls.__dict__.get("_native")
        return isinstance(instance, native) if native else super().__instancecheck__(instance)


class _QtProperty:
    """One Qt property as an attribute; on the class itself the C++ function of the same name (`QTimer.singleShot`)."""

    def __init__(self, name: str, native: type, typeName: str):
        self.name, self.native, self.convert = name, native, _CONVERSIONS.get(typeName, lambda value: value)

    def __get__(self, instance, owner):
        if instance is None:
            return getattr(self.native, self.name, self)
        _requireAlive(instance)
        return instance.property(self.name)

    def __set__(self, instance, value):
        _requireAlive(instance)
        try:
            accepted = instance.setProperty(self.name, self.convert(value))
        except TypeError:
            accepted = False
        if not accepted:
            raise AttributeError(f"{type(instance).__name__}.{self.name} does not accept {value!r}")


class _Newer:
    """A property or signal of Qt 6 that Slicer's Qt 5.15 lacks."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner):
        raise AttributeError(f"{owner.__name__}.{self.name} is not in the Qt of Slicer")

    def __set__(self, instance, value):
        refuse(f"{type(instance).__name__}.{self.name} is not in the Qt of Slicer")


def _requireAlive(instance: QtCore.QObject) -> None:
    if not shiboken6.isValid(instance):
        raise ValueError(f"This {type(instance).__name__} was destroyed by Qt")


def _acceptedArguments(slot: Callable) -> int:
    """How many positional arguments `slot` takes (many, when that cannot be told)."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return 99
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 99
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


# PySide6 sends as many arguments as a function takes by name.
_RELAYS: list[Callable] = [
    lambda slot: lambda: slot(),
    lambda slot: lambda first: slot(first),
    lambda slot: lambda first, second: slot(first, second),
    lambda slot: lambda first, second, third: slot(first, second, third),
]


def _normalized(signature: str) -> str:
    return QtCore.QMetaObject.normalizedSignature(signature).data().decode()


def _findSignal(sender: QtCore.QObject, signature: str):
    """-> (PySide6 signal, number of arguments) for a C++ signature."""
    normalized, facts = _normalized(signature), factsOf(type(sender))
    name, _, arguments = normalized.rstrip(")").partition("(")
    inQt = sender.metaObject().indexOfSignal(normalized) >= 0
    if facts:
        facts.require("signals", normalized)
    elif not inQt:
        refuse(f"{type(sender).__name__} has no signal {signature}")
    signal = getattr(sender, type(sender).__dict__.get("_overloads", {}).get(normalized, name))
    if not inQt and "_native" in type(sender).__dict__:
        raise NotImplementedError(f"Qt 6, on which the host runs, lacks {type(sender).__name__}.{signature}")
    return signal, len([a for a in arguments.split(",") if a])


_senders: weakref.WeakSet = weakref.WeakSet()


def disconnectAll() -> None:
    """End every connection made by signature, so that no timer of a closed application calls it later."""
    for sender in list(_senders):
        if shiboken6.isValid(sender):
            sender.disconnect()
    _senders.clear()


def connectionsTo(receiver: object) -> list[str]:
    """Signatures of the signals that are connected to methods of an object, which PythonQt keeps alive until they are
    disconnected."""
    found = [c for sender in _senders if shiboken6.isValid(sender) for c in sender.__dict__.get("_connections", [])]
    return [signature for signature, slot, _ in found if getattr(slot, "__self__", None) is receiver]


class PythonQtObject:
    """The methods that PythonQt gives to every QObject."""

    def connect(self, signature, receiver, slotSignature=None) -> bool:
        slot = receiver
        if slotSignature:
            if facts := factsOf(type(receiver)):
                facts.require("slots", _normalized(slotSignature))
            slot = getattr(receiver, slotSignature.partition("(")[0])
        signal, count = _findSignal(self, signature)
        relay = _RELAYS[min(count, _acceptedArguments(slot))](slot)
        signal.connect(relay)
        self.__dict__.setdefault("_connections", []).append((signature, slot, relay))
        _senders.add(self)
        return True

    def disconnect(self, signature=None, slot=None) -> bool:
        connections = self.__dict__.get("_connections", [])
        chosen = [c for c in connections if signature in (None, c[0]) and slot in (None, c[1])]
        for connection in chosen:
            _findSignal(self, connection[0])[0].disconnect(connection[2])
            connections.remove(connection)
        return bool(chosen)

    def findChildren(self, kind=QtCore.QObject, name=None):
        return [child for child in _descendants(self) if isinstance(child, kind) and name in (None, child.objectName)]

    @property
    def name(self) -> str:
        return self.objectName

    @name.setter
    def name(self, value: str) -> None:
        self.objectName = value

    def __getattr__(self, name):
        facts = factsOf(type(self))
        if facts and name in facts.names:
            raise NotImplementedError(f"The real {facts.className} has {name}; the host does not model it yet")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name, value):
        # A child is an attribute by its name, in PythonQt too; a Python class may have attributes of its own.
        if "_closed" in type(self).__dict__ and not name.startswith("_") and not isinstance(value, QtCore.QObject):
            facts = factsOf(type(self))
            if facts and name != "name":
                facts.require("properties", name)
            if not any(name in base.__dict__ for base in type(self).__mro__):
                message = f"{type(self).__name__} has no attribute {name!r}"
                raise NotImplementedError(f"{message} on the host, but in Slicer") if facts else AttributeError(message)
        super().__setattr__(name, value)


def _descendants(parent: QtCore.QObject) -> list[QtCore.QObject]:
    """Children, depth first, that have PythonQt's manners."""
    found = []
    for child in QtCore.QObject.children(parent):
        if isinstance(child, PythonQtObject):
            found += [child, *_descendants(child)]
    return found


@functools.cache
def pythonQtClass(native: type) -> type:
    """Derive a class with PythonQt's manners from a PySide6 class (the same one for every call)."""
    meta, facts = native.staticMetaObject, factsOf(native)
    namespace: dict = {"_native": native, "_closed": True}
    methods = _VIRTUAL | _VIRTUAL_OF_CLASS.get(native.__name__, set())
    for index in range(meta.propertyCount()):
        entry = meta.property(index)
        if facts and entry.name() not in facts.properties:
            namespace[entry.name()] = _Newer()
        elif entry.name() not in methods:
            namespace[entry.name()] = _QtProperty(entry.name(), native, entry.typeName())
    for index in range(meta.methodCount() if facts else 0):
        name = meta.method(index).name().data().decode()
        if meta.method(index).methodType() == QtCore.QMetaMethod.Signal and name not in facts.names:
            namespace[name] = _Newer()
    return PythonQtType(native.__name__, (PythonQtObject, native), namespace)


class QtModule(types.ModuleType):
    """Looks classes up on first use; applications (`QApplication`) stay plain PySide6."""

    def __getattr__(self, name: str):
        found = next((vars(library)[name] for library in (QtWidgets, QtGui, QtCore) if hasattr(library, name)), None)
        if found is None:
            raise AttributeError(f"module 'qt' has no attribute {name!r}")
        if (
            isinstance(found, type)
            and issubclass(found, QtCore.QObject)
            and not issubclass(found, QtCore.QCoreApplication)
        ):
            found = pythonQtClass(found)
        setattr(self, name, found)
        return found


qt = QtModule("qt")


# For the classes that stand in for C++ classes which PySide6 lacks


def stored(qtType: Any, name: str, default: Any, changed: str = "") -> QtCore.Property:
    """A Qt property that keeps its value; the method named `changed` runs when it is another one."""

    def read(self):
        return self.__dict__.get(f"_{name}", default)

    def write(self, value):
        same, self.__dict__[f"_{name}"] = read(self) == value, value
        if changed and not same:
            getattr(self, changed)()

    return QtCore.Property(qtType, read, write)


def standIn(cls: type) -> type:
    """Class decorator: no new attributes, and nothing public that the real class lacks."""
    extra = {name for name in vars(cls) if not name.startswith("_")} - factsOf(cls).names - _OVERRIDES
    if extra:
        raise TypeError(f"The real {cls.__name__} has no {', '.join(sorted(extra))}")
    cls._closed = True
    return cls
