"""The way of a click on Segment, counted: files that take part, and what is read, checked and refreshed how often.

The engine is loaded, as it is soon after the panel was opened; the scan was not analyzed ahead. The way ends when
nothing runs any more: the segment is written, its row is in the table, the result is shown.
"""

import inspect
from collections import Counter
from pathlib import Path

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from LiverGTANLib.core import input_checks
from LiverGTANLib.mrml import scene
from support.call_recorder import EXTENSION, recorder
from support.interactive_cases import liver, settle
from support.module_fixtures import students
from support.panel_cases import panel, phantom

MOST_FILES = 25


class WayOfAClick:
    """Counts during one click. buttons: settings of each property of a button by the extension; parameters: readings of
    each parameter by the extension."""

    def __init__(self, recorder, panel):
        self.recorder = recorder
        self.buttons: Counter = Counter()
        self.parameters: Counter = Counter()
        recorder.watch(self._accessor(panel.ui.applyButton, "enabled", "__set__"), self._onSet)
        recorder.watch(self._accessor(panel.widget.panel.parameterNode, "student", "__get__"), self._onRead)
        panel.widget.logic.session._cache.clear_analyses()
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
def way(recorder, panel, phantom):
    settle(panel)
    return WayOfAClick(recorder, panel)


def test_a_click_takes_few_files_and_does_everything_once(way, panel, phantom):
    assert liver(panel, phantom).any() and panel.ui.resultLabel.text.startswith("Liver ")
    print(f"{len(way.recorder.files)} files, {len(way.recorder.functions)} functions: {', '.join(way.recorder.files)}")
    assert len(way.recorder.files) <= MOST_FILES, way.recorder.files
    assert way.recorder.count(scene.readCt) == 1
    assert way.recorder.count(input_checks.check) == 1
    assert set(way.parameters) == set(panel.widget.panel.parameterNode.allParameters)
    assert set(way.parameters.values()) == {1}, way.parameters
    assert {"applyButton", "undoButton", "redoButton", "clearPointsButton"} <= {name for name, _ in way.buttons}
    assert set(way.buttons.values()) == {1}, way.buttons
