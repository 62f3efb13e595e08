"""Pop-ups: recorded with their text and answered at once, never shown.

`slicer.util.errorDisplay`, `warningDisplay`, `infoDisplay`, `confirm...Display`, `tryWithErrorDisplay` are Slicer's
own and end in `slicer.util.messageBox`, which this recorder takes the place of.
"""

from __future__ import annotations

import dataclasses
import logging

import slicer

from host.pythonqt import qt


@dataclasses.dataclass(frozen=True)
class Message:
    kind: str  # "error", "warning", "question" or "info"
    text: str
    detail: str = ""


class Dialogs:
    """`messages`: what would have popped up; `answer`: the button that is pressed on each."""

    def __init__(self):
        self.messages: list[Message] = []
        self.answer = qt.QMessageBox.Ok

    def texts(self, kind: str) -> list[str]:
        return [message.text for message in self.messages if message.kind == kind]

    def messageBox(self, text, parent=None, icon=None, detailedText="", **_):
        """Stands in for `slicer.util.messageBox`."""
        kinds = {
            qt.QMessageBox.Critical: "error",
            qt.QMessageBox.Warning: "warning",
            qt.QMessageBox.Question: "question",
        }
        self.messages.append(Message(kinds.get(icon, "info"), text, detailedText))
        return self.answer

    def delayDisplay(self, message, autoCloseMsec=1000, parent=None, **_):
        """Stands in for `slicer.util.delayDisplay`: the message is logged, nothing waits."""
        logging.info(message)
        slicer.app.processEvents()
