"""The way of a click on Segment, counted: files that take part, and what is read, checked and refreshed how often.

The engine is loaded, as it is soon after the panel was opened, and the CT was checked when it was chosen; it was not
analyzed ahead. Files are counted until the segment is written, all else until nothing runs any more: its row is in the
table then, and the result is shown.
"""

import inspect
from collections import Counter
from pathlib import Path

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from LiverGTANLib.core import input_checks
from LiverGTANLib.mrml import scene, self_test, table
from support.call_recorder import EXTENSION, recorder
from support.interactive_cases import liver, settle
from support.module_fixtures import students
from support.panel_cases import panel

MOST_FILES = 23
"""Undo is a file of its own beside the writer: it holds no more of a segmentation than a write changed."""


class WayOfAClick:
    """Counts during one click. buttons: settings of each property of a button by the extension; parameters: readings of
    each parameter by the extension."""

    def __init__(self, recorder, panel):
        self.recorder = recorder
        self.buttons: Counter = Counter()
        self.parameters: Counter = Counter()
        panel.ui.engineComboBox.setCurrentText("numpy")
        with recorder.recording():
            panel.choose(self_test.addPhantom()[0])
            settle(panel)
        self.filesUntilWritten: list[str] = []
        recorder.watch(table.create, lambda *_: self.filesUntilWritten.extend(recorder.files))
        self.checksBefore = recorder.count(input_checks.check)
        recorder.watch(self._accessor(panel.ui.applyButton, "enabled", "__set__"), self._onSet)
        recorder.watch(self._accessor(panel.widget.panel.parameterNode, "student", "__get__"), self._onRead)
        panel.widget.logic.session._cache.clear_analyses()
        panel.widget.panel.showRunAfter = float("inf")  # on a slow machine too the run is one that is soon over
        with recorder.recording():
            panel.click(panel.ui.applyButton)
            settle(panel)

    @staticmethod
    def _accessor(owner, name: str, method: str):
        """The function of the host that sets or reads a property."""
        return getattr(type(inspect.getattr_static(type(owner), name)), method)

    def _onSet(self, variables, caller) -> None:
        widget = variables["instance"]
        if widget.inherits("QAbstractButton") and _isOurs(caller):
            self.buttons[widget.objectName, variables["self"].name] += 1

    def _onRead(self, variables, caller) -> None:
        if variables["wrapper"] and _isOurs(caller):
            self.parameters[variables["self"].name] += 1


def _isOurs(frame) -> bool:
    """Whether a statement of the extension sets or reads the property, and not a widget itself."""
    if frame.f_code.co_name == "__setattr__":
        frame = frame.f_back
    return Path(frame.f_code.co_filename).is_relative_to(EXTENSION)


@pytest.fixture
def way(recorder, panel):
    return WayOfAClick(recorder, panel)


def test_a_click_takes_few_files_and_does_everything_once(way, panel):
    assert liver(panel, panel.ui.inputSelector.currentNode()).any()
    assert panel.ui.resultLabel.text.startswith("Liver ")
    files, functions = way.recorder.files, way.recorder.functions
    print(f"{len(way.filesUntilWritten)} files until the segment is written")
    print(f"{len(files)} files and {len(functions)} functions in all: {', '.join(files)}")
    assert 0 < len(way.filesUntilWritten) <= MOST_FILES, way.filesUntilWritten
    assert way.recorder.count(scene.readCt) == 1
    assert (way.checksBefore, way.recorder.count(input_checks.check)) == (1, 0)
    assert set(way.parameters) == set(panel.widget.panel.parameterNode.allParameters)
    assert set(way.parameters.values()) == {1}, way.parameters
    assert {"applyButton", "undoButton", "redoButton", "clearPointsButton"} <= {name for name, _ in way.buttons}
    assert set(way.buttons.values()) == {1}, way.buttons
