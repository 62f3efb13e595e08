"""Qt properties for the stand-in widgets."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore


def stored(qtType: Any, name: str, default: Any, refresh: bool = False) -> QtCore.Property:
    """A Qt property that keeps its value; with `refresh` the widget's `refresh()` runs when it changes."""

    def read(self):
        return self.__dict__.setdefault("_stored", {}).get(name, default)

    def write(self, value):
        self.__dict__.setdefault("_stored", {})[name] = value
        if refresh:
            self.refresh()

    return QtCore.Property(qtType, read, write)


def forwarded(qtType: Any, member: str, name: str) -> QtCore.Property:
    """A Qt property that is the property `name` of the inner widget `member`."""

    def read(self):
        return getattr(getattr(self, member), name)

    def write(self, value):
        setattr(getattr(self, member), name, value)

    return QtCore.Property(qtType, read, write)


def standIn(cls: type) -> type:
    """Class decorator for what is a C++ class in Slicer: setters (`minimum` -> `setMinimum`), no new attributes."""
    cls._closed = True
    for name, value in list(cls.__dict__.items()):
        setter = f"set{name[0].upper()}{name[1:]}"
        if isinstance(value, QtCore.Property) and not hasattr(cls, setter):
            setattr(cls, setter, lambda self, new, name=name: setattr(self, name, new))
    return cls
