"""PythonQt's manners on PySide6 classes.

PythonQt shows Qt properties as attributes (`button.text`, so that `button.text()` is a TypeError), connects with
`connect("clicked(bool)", slot)`, drops the arguments that a slot does not take, and refuses new attributes on C++
objects. `pythonQtClass` derives a class with these manners from a PySide6 class.

Differs from the application: a wrong signal name raises (PythonQt prints a warning and goes on); `sizeHint`,
`minimumSizeHint` and `QProgressBar.text` stay methods, because Qt calls them as virtual functions; Qt is version 6;
an object that Qt itself created (a button of a message box, say) has PySide6's manners.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable

import shiboken6
from PySide6 import QtCore

_VIRTUAL = {"sizeHint", "minimumSizeHint"}
_VIRTUAL_OF_CLASS = {"QProgressBar": {"text"}}


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

    def __subclasscheck__(cls, subclass: type) -> bool:
        native = cls.__dict__.get("_native")
        return issubclass(subclass, native) if native else super().__subclasscheck__(subclass)


_CONVERSIONS: dict[str, Callable] = {"bool": bool, "int": int, "double": float, "QString": str}


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


def _findSignal(sender: QtCore.QObject, signature: str):
    """-> (PySide6 signal, number of arguments) for a C++ signature; ValueError when there is no such signal."""
    normalized = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    name, _, arguments = normalized.rstrip(")").partition("(")
    known = normalized in getattr(type(sender), "cppSignals", ())
    if not known and sender.metaObject().indexOfSignal(normalized) < 0:
        raise ValueError(f"{type(sender).__name__} has no signal {signature}")
    return getattr(sender, name), len([a for a in arguments.split(",") if a])


_senders: weakref.WeakSet = weakref.WeakSet()


def disconnectAll() -> None:
    """End every connection made by signature, so that no timer of a closed application calls it later."""
    for sender in list(_senders):
        if shiboken6.isValid(sender):
            sender.disconnect()
    _senders.clear()


class PythonQtObject:
    """The methods that PythonQt gives to every QObject."""

    def connect(self, signature, receiver, slotSignature=None) -> bool:
        slot = getattr(receiver, slotSignature.split("(")[0]) if slotSignature else receiver
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

    def className(self) -> str:
        return type(self).__name__

    @property
    def name(self) -> str:
        return self.objectName

    @name.setter
    def name(self, value: str) -> None:
        self.objectName = value

    def __setattr__(self, name, value):
        allowed = name.startswith("_") or isinstance(value, QtCore.QObject) or _isKnown(type(self), name)
        if "_closed" in type(self).__dict__ and not allowed:  # (a child is an attribute by its name, in PythonQt too)
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}, "
                "and creating new attributes on C++ objects is not allowed"
            )
        super().__setattr__(name, value)


def _isKnown(cls: type, name: str) -> bool:
    return any(name in base.__dict__ for base in cls.__mro__)


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
    meta = native.staticMetaObject
    namespace: dict = {"_native": native, "_closed": True}
    methods = _VIRTUAL | _VIRTUAL_OF_CLASS.get(native.__name__, set())
    for index in range(meta.propertyCount()):
        entry = meta.property(index)
        if entry.name() not in methods:
            namespace[entry.name()] = _QtProperty(entry.name(), native, entry.typeName())
    return PythonQtType(native.__name__, (PythonQtObject, native), namespace)
