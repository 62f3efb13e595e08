"""`slicer.i18n` for the language that the sources are written in: every text is its own translation."""

from __future__ import annotations


def tr(text: str, context: str | None = None) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text


def getContext(sourceFile: str) -> str:
    return sourceFile.rpartition("/")[2].removesuffix(".py")
