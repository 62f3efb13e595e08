"""Threshold, smoothness and options act at once on what the network said, and one release is one undo."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from PySide6 import QtCore, QtTest

from LiverGTANLib.core import postprocess, segmenter
from support.call_recorder import recorder
from support.interactive_cases import MaskCounter, liver, previews, segmented, settle, undoStates
from support.module_fixtures import students
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
