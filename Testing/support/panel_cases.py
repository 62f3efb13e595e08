"""The open panel and what a user can do with it, for the tests of the module."""

import threading

import pytest
import slicer

from LiverGTANLib.mrml import scene, self_test
from support.module_fixtures import MODULE_FILE, gate, students


class Panel:
    """The open module and what a user can do with it. engines: where its students and engines come from."""

    def __init__(self, host, engines=None):
        self.host = host
        host.loadModule(MODULE_FILE, engineProvider=engines)
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


@pytest.fixture
def panel(slicerHost, students):
    return Panel(slicerHost, students)


@pytest.fixture
def phantom(panel):
    volumeNode, _ = self_test.addPhantom()
    panel.host.processEvents()
    return volumeNode


def mask(segmentationNode, volumeNode):
    segmentId = scene.liverSegmentId(segmentationNode)
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)


def segmentations() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def workers() -> list:
    return [thread for thread in threading.enumerate() if thread.name == "LiverGTAN worker"]
