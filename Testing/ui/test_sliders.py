"""Threshold, smoothness and options act at once on what the network said, and one release is one undo."""

import threading

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from PySide6 import QtCore, QtTest

from LiverGTANLib.core import postprocess, segmenter
from LiverGTANLib.core.engines.engine import Cancelled
from LiverGTANLib.core.segmentation_job import SegmentationJob
from LiverGTANLib.mrml import self_test
from support.call_recorder import recorder
from support.interactive_cases import MaskCounter, liver, previews, segmented, settle, undoStates
from support.module_fixtures import gate, students
from support.panel_cases import panel, phantom

pytestmark = pytest.mark.slow


def pull(panel, slider, pixels: int, steps: int = 15) -> None:
    """Press the handle of a slider, move it and let it go."""
    panel.click(panel.ui.correctCollapsibleButton) if panel.ui.correctCollapsibleButton.collapsed else None
    inner = slider._slider
    option = QtCore.QPoint(round(inner.width * inner.value / inner.maximum), inner.height // 2)
    QtTest.QTest.mousePress(inner, QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, option)
    for step in range(1, steps + 1):
        QtTest.QTest.mouseMove(inner, option + QtCore.QPoint(pixels * step // steps, 0))
        panel.host.processEvents()
    QtTest.QTest.mouseRelease(inner, QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, option + QtCore.QPoint(pixels, 0))


def test_pulling_the_threshold_previews_and_letting_go_writes_once(recorder, panel, segmented):
    before, states = liver(panel, segmented), undoStates(panel)
    counter, values = MaskCounter(recorder), []
    panel.ui.thresholdSlider.valueIsChanging.connect(lambda value: values.append((value, len(previews()))))
    pull(panel, panel.ui.thresholdSlider, 40)
    assert panel.widget.panel.parameterNode.threshold == panel.ui.thresholdSlider.value > 0.5
    settle(panel)
    assert len(values) > 3 and max(shown for _, shown in values) == 1 and not previews()
    assert counter.masks == 1 and len(counter.threads) == 1 and counter.analyses == 0
    assert undoStates(panel) == states + 1
    after = liver(panel, segmented)
    assert 0 < after.sum() <= before.sum() and not (after & ~before).any()


def test_smoothness_and_options_are_parameters_that_act(panel, segmented):
    panel.ui.smoothingSlider.value = 4
    settle(panel)
    smooth = liver(panel, segmented)
    states = undoStates(panel)
    panel.click(panel.ui.largestComponentCheckBox)
    panel.click(panel.ui.fillHolesCheckBox)
    settle(panel)
    parameters = panel.widget.panel.parameterNode
    assert (parameters.smoothing, parameters.largestComponent, parameters.fillHoles) == (4, False, False)
    assert states + 1 <= undoStates(panel) <= states + 2
    panel.click(panel.ui.largestComponentCheckBox)
    panel.click(panel.ui.fillHolesCheckBox)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), smooth)


def test_undo_moves_the_slider_back(panel, segmented):
    before = liver(panel, segmented)
    panel.ui.thresholdSlider.value = 0.6
    settle(panel)
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert panel.ui.thresholdSlider.value == 0.5
    np.testing.assert_array_equal(liver(panel, segmented), before)


def test_a_value_that_no_hand_sets_is_never_previewed(recorder, panel, segmented):
    """With `tracking` off a slider sends "is changing" for it too (ctkSliderWidget::setSpinBoxValue)."""
    states, counter, values = undoStates(panel), MaskCounter(recorder), []
    panel.ui.thresholdSlider.valueIsChanging.connect(values.append)
    panel.widget.panel.parameterNode.threshold = 0.6  # by a script
    settle(panel)
    assert values and (counter.previews, counter.masks) == (0, 1)
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert len(values) > 1 and (counter.previews, counter.masks) == (0, 1)
    panel.ui.thresholdSlider._spinBox.stepUp()  # by the keyboard
    settle(panel)
    assert (counter.previews, counter.masks) == (0, 2) and undoStates(panel) == states + 1


def test_entering_with_another_value_is_no_change(recorder, panel, segmented):
    panel.widget.panel.parameterNode.threshold = 0.6
    settle(panel)
    states, counter = undoStates(panel), MaskCounter(recorder)
    panel.host.leaveModule()
    panel.ui.thresholdSlider.value = 0.3  # nobody listens
    panel.host.openModule("LiverGTAN")
    settle(panel)
    assert panel.ui.thresholdSlider.value == panel.widget.panel.parameterNode.threshold == 0.6
    assert (counter.previews, counter.masks) == (0, 0) and undoStates(panel) == states


def test_a_handle_that_is_back_where_it_was_takes_its_preview_along(panel, segmented):
    slider = panel.ui.thresholdSlider
    slider._slider.setSliderDown(True)
    slider._slider.setSliderPosition(slider._slider.value + 8)
    panel.host.wait(previews)
    slider._slider.setSliderPosition(slider._slider.value - 8)
    settle(panel)
    assert not previews()
    states = undoStates(panel)
    slider._slider.setSliderDown(False)
    settle(panel)
    assert undoStates(panel) == states


def test_before_the_first_mask_a_slider_is_only_a_setting(panel, phantom):
    settle(panel)
    panel.ui.thresholdSlider.value = 0.6
    settle(panel)
    assert panel.output is None and not panel.ui.undoButton.enabled
    panel.segment()
    settle(panel)
    assert undoStates(panel) == 1


def test_a_script_can_give_settings(panel, segmented):
    strict = panel.widget.logic.process(segmented, settings=postprocess.PostprocessSettings(threshold=0.6))
    loose = panel.widget.logic.process(segmented, settings=postprocess.PostprocessSettings(threshold=0.4))
    assert strict.volumeMl < loose.volumeMl


@pytest.fixture
def endlessCheck(monkeypatch):
    """(set once the body is being looked at, set to let that end): it may take many runs of the network."""
    begun, end, check = threading.Event(), threading.Event(), SegmentationJob.check_body

    def waiting(job, progress=None, cancelled=None):
        begun.set()
        while not end.wait(0.002):
            if cancelled():
                raise Cancelled
        return check(job, progress, cancelled)

    monkeypatch.setattr(SegmentationJob, "check_body", waiting)
    yield begun, end
    end.set()


def test_a_slider_does_not_wait_for_the_check_of_the_body(panel, phantom, endlessCheck):
    begun, end = endlessCheck
    panel.segment()
    panel.host.wait(begun.is_set)
    session, slider = panel.widget.logic.session, panel.ui.smoothingSlider
    panel.widget.panel.live._tracker._rest.setInterval(10**6)  # the mouse, whose button is not pressed here, holds it
    slider._slider.setSliderDown(True)
    slider._slider.setSliderPosition(slider._slider.value + 20)
    panel.host.wait(previews, seconds=20)
    begun.clear()
    slider._slider.setSliderDown(False)
    panel.host.wait(lambda: session.resultIn(panel.output).request.asked.settings.smoothing_mm > 0, seconds=20)
    assert not previews()
    panel.host.wait(begun.is_set)  # it begins again
    assert not session.isBodyChecked(panel.widget.panel.chosen)
    end.set()
    settle(panel)
    assert session.isBodyChecked(panel.widget.panel.chosen)


def test_a_slider_does_not_wait_for_another_scan_that_was_chosen_in_between(students, gate, panel, phantom):
    gate.set()
    panel.segment()
    settle(panel)
    (engine,) = students.made
    images = len(engine.images)
    gate.clear()
    panel.choose(self_test.addPhantom("Other", (3.0, 3.0, 3.0))[0])
    panel.host.wait(lambda: len(engine.images) > images)
    panel.choose(phantom)
    panel.ui.smoothingSlider.value = 4
    session = panel.widget.logic.session
    panel.host.wait(lambda: session.resultIn(panel.output).request.asked.settings.smoothing_mm > 0, seconds=20)
