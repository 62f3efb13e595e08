"""Scans that are too large, or too large to be analyzed unasked."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from slicer.util import updateVolumeFromArray

from LiverGTANLib.core import input_checks, segmenter
from LiverGTANLib.mrml import self_test
from support.call_recorder import recorder
from support.interactive_cases import settle
from support.module_fixtures import students
from support.panel_cases import panel, segmentations


def test_a_scan_with_wrong_spacing_is_refused_and_never_analyzed(recorder, panel):
    volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Wrong spacing")
    updateVolumeFromArray(volumeNode, np.zeros((40, 512, 512), np.int16))
    volumeNode.SetSpacing(20, 20, 20)
    settle(panel)  # the warm-up analyzes a phantom
    recorder.start()
    panel.choose(volumeNode)
    settle(panel)
    assert recorder.count(segmenter.analyze) == 0
    assert "10240 x 10240 x 800 mm" in panel.ui.messageLabel.text and not panel.ui.applyButton.enabled


@pytest.mark.slow
def test_a_large_scan_is_analyzed_when_the_user_asks_and_not_before(recorder, panel, monkeypatch):
    monkeypatch.setattr(input_checks, "MOST_CELLS_UNASKED", 10)
    settle(panel)  # the warm-up analyzes a phantom
    recorder.start()
    volumeNode, _ = self_test.addPhantom()
    panel.choose(volumeNode)
    settle(panel)
    assert recorder.count(segmenter.analyze) == 0 and panel.ui.applyButton.enabled
    panel.segment()
    assert recorder.count(segmenter.analyze) == 1 and len(segmentations()) == 1
