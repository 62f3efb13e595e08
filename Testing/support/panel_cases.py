"""The open panel and what a person can do with it, for the tests of the module."""

import threading

import pytest
import slicer

from LiverGTANLib.core import engines
from LiverGTANLib.core.engines.engine import Cancelled
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.mrml import scene, self_test
from support.module_fixtures import MODULE_FILE, students


class Panel:
    """The open module and what a person can do with it."""

    def __init__(self, host):
        self.host = host
        host.loadModule(MODULE_FILE)
        self.widget = host.openModule("LiverGTAN")
        self.ui = self.widget.ui

    @property
    def running(self) -> bool:
        return self.widget.panel.runner.running

    def click(self, button) -> None:
        self.host.click(button)

    def segment(self) -> None:
        self.click(self.ui.applyButton)
        self.host.wait(lambda: not self.running)

    def choose(self, volumeNode) -> None:
        self.ui.inputSelector.setCurrentNode(volumeNode)
        self.host.processEvents()

    @property
    def output(self):
        return self.ui.outputSelector.currentNode()


class SlowEngine:
    """Stands in for a large scan on a slow computer: works until it is let go or canceled."""

    name = "slow"

    def __init__(self, student, letGo):
        self.student, self.letGo = student, letGo

    def forward(self, x_DHW, progress=None, cancelled=None):
        for step in range(10000):
            progress(min(0.9, step / 1000), "Working")
            if cancelled():
                raise Cancelled
            if self.letGo.wait(0.002):
                return NumpyEngine(self.student).forward(x_DHW)
        raise TimeoutError


@pytest.fixture
def panel(slicerHost, students):
    return Panel(slicerHost)


@pytest.fixture
def phantom(panel):
    volumeNode, _ = self_test.addPhantom()
    panel.host.processEvents()
    return volumeNode


@pytest.fixture
def letGo(monkeypatch):
    """Makes runs wait until this event is set."""
    event = threading.Event()
    monkeypatch.setattr(engines, "create", lambda student, name: SlowEngine(student, event))
    yield event
    event.set()


def mask(segmentationNode, volumeNode):
    segmentId = scene.liverSegmentId(segmentationNode)
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)


def segmentations() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def workers() -> list:
    return [thread for thread in threading.enumerate() if thread.name == "LiverGTAN worker"]
