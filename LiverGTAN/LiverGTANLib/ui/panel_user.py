"""A user of the panel, for the journeys of `LiverGTANTest`: clicks, waits, and looks at what came of it."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import slicer
from slicer.util import arrayFromSegmentBinaryLabelmap

from ..core import measurements
from ..mrml import scene, self_test
from .change_tracker import REST_MILLISECONDS

LONGEST_WAIT_SECONDS = 120
"""For the slowest computers; an application that hangs is ended from outside."""

TURNS = 10
"""A choice: timers that are due fire in one or two."""

MODULE = "LiverGTAN"


class PanelUser:
    """Opens the module and uses its panel.

    test: the TestCase that asserts. screenshotFolder: where `screenshot` saves the main window; it does not when empty.
    """

    def __init__(self, test, screenshotFolder: str = ""):
        self.test, self._folder = test, screenshotFolder
        slicer.util.selectModule(MODULE)
        self.settle()

    @property
    def widget(self):
        """The module's widget."""
        return slicer.util.getModuleWidget(MODULE)

    @property
    def ui(self):
        """Its widgets by name."""
        return self.widget.ui

    @property
    def output(self):
        """The chosen segmentation, or None."""
        return self.ui.outputSelector.currentNode()

    def screenshot(self, name: str) -> None:
        """Save a picture of the main window; none without a folder."""
        if self._folder:
            slicer.app.processEvents()
            self.test.assertTrue(slicer.util.mainWindow().grab().save(str(Path(self._folder, f"{name}.png"))))

    def settle(self) -> None:
        """Let the application run until nothing of the module runs and nothing is about to: for a moment longer than
        anything rests, and for some turns of the event loop, as drawing may take all of that time.
        """
        runner, tasks = self.widget.panel.runner, self.widget.panel.live.background
        began = since = time.monotonic()
        turns = 0
        while turns < TURNS or time.monotonic() - since < 2 * REST_MILLISECONDS / 1000:
            self._turn(began)
            turns += 1
            if runner.task is not None or tasks.pending:
                since, turns = time.monotonic(), 0

    def wait(self, condition: Callable[[], object]) -> None:
        """Let the application run until `condition()` holds."""
        began = time.monotonic()
        while not condition():
            self._turn(began)

    def _turn(self, began: float) -> None:
        """One turn of the event loop in a wait that began then."""
        slicer.app.processEvents()
        time.sleep(0.002)  # worker threads of Python run meanwhile
        self.test.assertLess(time.monotonic() - began, LONGEST_WAIT_SECONDS, "The module is still at work.")

    def click(self, name: str) -> None:
        """Click on a button and wait until what it starts is over; a disabled one fails with its tool tip."""
        button = getattr(self.ui, name)
        self.test.assertTrue(button.enabled, f"{name} is disabled: {button.toolTip}")
        button.click()
        self.settle()

    def addPhantom(self, name: str = "Phantom"):
        """Add the generated CT and choose it; returns (volume node, its liver as (K, J, I) uint8)."""
        volumeNode, truth = self_test.addPhantom(name)
        self.ui.inputSelector.setCurrentNode(volumeNode)
        self.settle()
        return volumeNode, truth

    def segmentPhantom(self, name: str = "Phantom"):
        """Segment the generated CT by one click; returns its volume node."""
        volumeNode, truth = self.addPhantom(name)
        self.click("applyButton")
        self.test.assertGreater(measurements.dice(self.mask(volumeNode), truth), 0.8)
        return volumeNode

    def mask(self, volumeNode, segmentationNode=None) -> np.ndarray:
        """The liver of a segmentation (the chosen one by default) on the volume's grid, boolean (K, J, I)."""
        node = segmentationNode or self.output
        return arrayFromSegmentBinaryLabelmap(node, scene.liverSegmentId(node), volumeNode) > 0

    def undoIsEnough(self, before: np.ndarray, volumeNode) -> None:
        """One Undo brings a mask back."""
        self.click("undoButton")
        np.testing.assert_array_equal(self.mask(volumeNode), before)
