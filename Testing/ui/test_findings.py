"""What is said before a run, what is analyzed ahead of the first click, and the sample data."""

import sys
import threading
import types

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from PySide6 import QtCore
from slicer.util import arrayFromVolume, arrayFromVolumeModified

from LiverGTANLib.core.input_checks import Finding
from LiverGTANLib.core.measurements import TITLES
from LiverGTANLib.mrml import scene, self_test, table
from LiverGTANLib.mrml.parameters import ChosenParameters
from support.call_recorder import recorder
from support.interactive_cases import MaskCounter, settle
from support.module_fixtures import students
from support.mrml_cases import addSegment
from support.panel_cases import panel, phantom, segmentations, workers

pytestmark = pytest.mark.slow


def withoutLiver(volumeNode) -> None:
    array = arrayFromVolume(volumeNode)
    array[array > 60] = 40
    arrayFromVolumeModified(volumeNode)


def tilt(volumeNode) -> None:
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    volumeNode.GetIJKToRASMatrix(matrix)
    array = slicer.util.arrayFromVTKMatrix(matrix)
    array[1, 2] += 1.0
    volumeNode.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(array))


def hint(panel) -> str:
    chosen = panel.widget.panel.chosen
    return table.read(chosen.tableNode, chosen.segmentationNode)[TITLES["hint"]]


def test_the_first_click_finds_the_scan_analyzed(recorder, panel, phantom):
    settle(panel)
    assert panel.widget.logic.session.isAnalyzed(panel.widget.panel.chosen)
    counter = MaskCounter(recorder)
    panel.segment()
    assert panel.output is not None and counter.masks == 1 and counter.analyses == 0


def test_no_liver_in_view_is_said_beforehand_and_can_be_overridden(panel, phantom):
    withoutLiver(phantom)
    settle(panel)
    assert "No liver is in view" in panel.ui.messageLabel.text and panel.ui.messageLabel.visible
    assert panel.ui.applyButton.enabled and panel.ui.applyButton.text == "Segment anyway"
    panel.segment()
    assert "No liver was found" in panel.host.dialogs.texts("error")[0] and not segmentations()


@pytest.mark.parametrize("make, words", [(tilt, "gantry tilt"), (lambda node: node.SetSpacing(2, 2, 9), "apart")])
def test_what_does_not_forbid_is_said_and_asked_for_by_name(panel, phantom, make, words):
    make(phantom)
    arrayFromVolumeModified(phantom)
    settle(panel)
    assert words in panel.ui.messageLabel.text and panel.ui.applyButton.text == "Segment anyway"
    assert panel.ui.applyButton.enabled
    panel.segment()
    assert panel.output is not None


def test_what_is_found_in_the_body_after_a_mask_goes_into_its_row(panel, phantom):
    settle(panel)
    panel.segment()
    live, session = panel.widget.panel.live, panel.widget.logic.session
    request = session.current.request
    analysis = session._cache.analyses.get(request.job.analysis_key)
    analysis.cache.findings.store("body", [Finding(False, "The body lies on its head.")])
    live._onBody(request, analysis.cache.findings.get("body"))
    settle(panel)
    assert "on its head" in hint(panel) and "on its head" in panel.ui.messageLabel.text


@pytest.fixture
def gate(students, panel):
    """From now on runs, with the other student, wait until this event is set."""
    settle(panel)
    students.gate = threading.Event()
    panel.ui.studentComboBox.setCurrentIndex(1)
    yield students.gate
    students.gate.set()


def test_analyzing_ahead_shows_nothing_and_stops_when_the_module_is_left(students, panel, gate):
    volumeNode, _ = self_test.addPhantom()
    panel.host.wait(lambda: len(students.made) == 2 and students.made[-1].images)
    assert not panel.running and panel.ui.applyButton.enabled and not panel.ui.progressBar.visible
    panel.host.leaveModule()
    assert not workers()
    gate.set()
    arrayFromVolumeModified(volumeNode)
    panel.host.processEvents()
    assert not workers() and not any("LiverGTAN" in thread.name for thread in threading.enumerate())


def test_a_click_during_the_analysis_ahead_goes_on_with_the_same_work(students, panel, gate):
    self_test.addPhantom()
    panel.host.wait(lambda: len(students.made) == 2 and students.made[-1].images)
    panel.click(panel.ui.applyButton)
    assert panel.running
    gate.set()
    panel.host.wait(lambda: not panel.running)
    assert panel.output is not None and students.made[-1].images.count(students.made[-1].images[0]) == 1


def test_another_volume_is_analyzed_instead(panel, phantom):
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    settle(panel)
    assert panel.widget.panel.chosen.volumeNode == other
    assert panel.widget.logic.session.isAnalyzed(panel.widget.panel.chosen)


def test_a_closed_panel_analyzes_nothing(panel):
    panel.host.leaveModule()
    volumeNode, _ = self_test.addPhantom()
    panel.host.processEvents()
    assert not workers() and panel.widget.panel.runner.task is None
    assert not panel.widget.logic.session.isAnalyzed(ChosenParameters(volumeNode=volumeNode))


# Sample data. Slicer's own module is not in slicer-core: a stand-in with what is used of it.


class SampleData(types.ModuleType):
    """Modules/Scripted/SampleData/SampleData.py: `downloadSample` gives the first of what `downloadSamples` gives, and
    that is an empty list without a network, and a path where the file that came could not be read.
    """

    def __init__(self):
        super().__init__("SampleData")
        self.registered, self.asked = [], []
        self.found = lambda name: [self_test.addPhantom(name)[0]]
        self.SampleDataLogic = lambda: types.SimpleNamespace(downloadSamples=self._download)
        self.SampleDataLogic.registerCustomSampleDataSource = lambda **source: self.registered.append(source)

    def _download(self, name):
        self.asked.append(name)
        return self.found(name)

    def downloadSample(self, name):
        return self._download(name)[0]


@pytest.fixture
def sampleModule(slicerHost, monkeypatch):
    module = SampleData()
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(slicer.modules, "sampledata", object(), raising=False)
    return module


def test_the_sample_is_registered_when_the_application_has_started(sampleModule, panel):
    assert sampleModule.registered == []
    panel.host.completeStartup()
    (source,) = sampleModule.registered
    assert source["loadFileTypes"] == "VolumeFile" and "loadFileType" not in source  # deprecated since Slicer 5.7
    assert source["category"] == "LiverGTAN" and "MSD Task03 liver_100" in source["sampleName"]
    assert source["checksums"].startswith("SHA256:") and source["checksums"][7:] in source["uris"]
    assert sampleModule.asked == []  # nothing is downloaded for that


def test_load_sample_is_a_link_and_names_its_origin(sampleModule, panel):
    label = panel.ui.sampleLabel
    assert label.visible and "MSD Task03 case liver_100" in label.text
    label.linkActivated.emit("sample")
    panel.host.processEvents()
    assert sampleModule.asked == ["CTLiver"] and panel.ui.inputSelector.currentNode().GetName() == "CTLiver"


@pytest.mark.parametrize("found", [[], ["CTLiver.nrrd"], [None]], ids=["nothing", "unreadable", "undeletable"])
def test_a_failed_download_is_told(sampleModule, panel, found):
    sampleModule.found = lambda name: found
    panel.ui.sampleLabel.linkActivated.emit("sample")
    assert "could not be downloaded" in panel.host.dialogs.texts("error")[0]


def test_without_the_sample_data_module_there_is_no_link_and_no_harm(panel):
    panel.host.completeStartup()
    assert not panel.ui.sampleLabel.visible


def test_a_liver_of_unusual_size_is_said_with_the_result(panel, phantom):
    phantom.SetSpacing(1, 1, 1.5)
    settle(panel)
    assert "Less than 300 mL" in panel.ui.messageLabel.text and panel.ui.applyButton.text == "Segment anyway"
    panel.segment()
    assert "unusually small, look at the mask" in panel.ui.resultLabel.text.splitlines()[1:]
    assert "Less than 300 mL" in panel.ui.messageLabel.text


def test_nothing_is_said_of_a_scene_that_was_closed(panel, phantom):
    panel.ui.volumesComboBox.setCheckState(phantom, QtCore.Qt.Checked)
    panel.click(panel.ui.batchButton)
    settle(panel)
    panel.segment()
    assert panel.ui.resultLabel.text.startswith("Liver ") and "1 of 1" in panel.ui.batchLabel.text
    slicer.mrmlScene.Clear()
    panel.host.processEvents()
    assert (panel.ui.resultLabel.text, panel.ui.batchLabel.text) == ("", "")
    assert not panel.ui.undoButton.enabled and panel.ui.messageLabel.text == "Choose a CT volume."
    self_test.addPhantom()
    settle(panel)
    assert panel.ui.resultLabel.text == ""


def test_nothing_is_said_of_a_segmentation_that_was_removed_or_exchanged(panel, phantom):
    panel.segment()
    slicer.mrmlScene.RemoveNode(panel.output)
    settle(panel)
    assert panel.ui.resultLabel.text == ""
    panel.segment()
    assert panel.ui.resultLabel.text.startswith("Liver ")
    panel.ui.outputSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    settle(panel)
    assert panel.ui.resultLabel.text == ""


def test_voxels_of_others_that_are_much_larger_are_told_of_before_and_what_that_cost_after(panel, phantom):
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    other.SetSpacing(20, 20, 20)
    slicer.util.updateVolumeFromArray(other, np.zeros((20, 20, 20), np.int16))
    segmentationNode = scene.createSegmentation(other)
    addSegment(segmentationNode, other, "drawn", np.ones((20, 20, 20), np.uint8))
    panel.ui.outputSelector.setCurrentNode(segmentationNode)
    settle(panel)
    assert "20 x 20 x 20 mm" in panel.ui.messageLabel.text and panel.ui.applyButton.text == "Segment anyway"
    panel.segment()
    settle(panel)
    assert panel.ui.resultLabel.text.split("\n")[1].startswith("Dice 0.")
    panel.ui.outputSelector.setCurrentNode(None)
    settle(panel)
    assert not panel.ui.messageLabel.visible and panel.ui.applyButton.text == "Segment"
