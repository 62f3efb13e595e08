"""What goes wrong in the background is logged with its traceback, and shown when the user asks for it."""

import logging

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core.engines.engine import EngineError
from LiverGTANLib.core.engines.factory import InstalledEngines, TorchPackage
from LiverGTANLib.mrml import self_test, table
from support.interactive_cases import addRoi, segmented, settle
from support.module_fixtures import students
from support.panel_cases import Panel, panel, phantom


def failures(caplog) -> list[tuple[str, BaseException]]:
    """(message, exception whose traceback is logged) of what was logged as an error."""
    return [
        (record.getMessage(), record.exc_info[1])
        for record in caplog.records
        if record.levelno >= logging.ERROR and record.exc_info
    ]


@pytest.mark.slow
def test_a_warm_up_that_fails_is_logged_and_the_panel_works(slicerHost, students, caplog):
    students.error = EngineError("The processor is on holiday.")
    panel = Panel(slicerHost, students)
    settle(panel)
    assert failures(caplog) == [("The background task 'warm-up' failed.", students.error)]
    assert not slicerHost.dialogs.messages
    students.error = None
    panel.choose(self_test.addPhantom()[0])
    panel.segment()
    assert panel.output is not None


@pytest.mark.slow
def test_an_analysis_ahead_that_fails_is_logged_and_shown_when_the_user_asks(students, panel, caplog):
    settle(panel)
    students.error = EngineError("The processor is on holiday.")
    panel.ui.studentComboBox.setCurrentIndex(1)  # one that is not loaded yet
    panel.choose(self_test.addPhantom()[0])
    settle(panel)
    assert failures(caplog) == [("The background task 'analysis' failed.", students.error)]
    assert not panel.host.dialogs.messages
    panel.segment()
    assert "on holiday" in panel.host.dialogs.texts("error")[0] and len(panel.host.takeUncaught()) == 1


@pytest.mark.slow
def test_previews_and_uncertainty_that_fail_are_logged(students, panel, segmented, caplog):
    roiNode = addRoi(panel)
    students.error = EngineError("The processor is on holiday.")
    panel.ui.studentComboBox.setCurrentIndex(1)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    roiNode.SetSizeWorld(80, 80, 40)
    settleWithoutRelease(panel)
    assert failures(caplog)[-1] == ("The background task 'preview' failed.", students.error)
    assert not panel.host.dialogs.messages
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)  # now the mask is what the user asks for
    settle(panel)
    assert "on holiday" in panel.host.dialogs.texts("error")[0] and len(panel.host.takeUncaught()) == 1


def settleWithoutRelease(panel) -> None:
    panel.host.wait(lambda: panel.widget.panel.runner.task is None and not panel.widget.panel.live.background.pending)


def test_a_torch_that_does_not_work_is_named_in_the_panel(slicerHost, tmp_path, monkeypatch):
    """A package whose import fails, as a half-removed torch does."""
    (tmp_path / "broken_torch.py").write_text('raise ImportError("libtorch.so is missing")', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    panel = Panel(slicerHost, InstalledEngines(torch=TorchPackage("broken_torch")))
    assert "torch is installed" in panel.ui.engineInfoLabel.text
    panel.choose(self_test.addPhantom()[0])
    panel.ui.engineComboBox.setCurrentText("torch")
    panel.segment()
    assert "libtorch.so is missing" in panel.host.dialogs.texts("error")[0]
    assert "torch does not work (libtorch.so is missing)" in panel.ui.engineInfoLabel.text
    assert len(panel.host.takeUncaught()) == 1


@pytest.mark.slow
def test_a_surface_that_cannot_be_made_after_the_write_is_told(panel, segmented, caplog, monkeypatch):
    segmentation = panel.output.GetSegmentation()
    smoothing = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()
    segmentation.SetConversionParameter(smoothing, "0.9")  # chosen by the user, so that Slicer makes it
    panel.output.CreateClosedSurfaceRepresentation()
    with monkeypatch.context() as patch:
        patch.setattr(segmentation, "CreateRepresentation", lambda *_: False)
        panel.segment()
        settle(panel)
    (text,) = panel.host.dialogs.texts("error")
    assert "shown in 3D" in text and "surface of 'Phantom liver' could not be made" in text
    assert panel.ui.resultLabel.text.startswith("Liver ") and panel.ui.undoButton.enabled


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["undo", "redo"])
def test_an_error_of_undo_and_redo_is_told_and_leaves_both_buttons(panel, segmented, direction, monkeypatch):
    panel.segment()
    panel.segment()
    panel.click(panel.ui.undoButton)
    settle(panel)
    button = panel.ui.undoButton if direction == "undo" else panel.ui.redoButton
    with monkeypatch.context() as patch:
        for name in ("put", "restore"):
            patch.setattr(table, name, lambda *_: 1 / 0)
        panel.click(button)
        settle(panel)
    assert "could not be taken" in panel.host.dialogs.texts("error")[0] and len(panel.host.takeUncaught()) == 1
    assert panel.ui.undoButton.enabled and panel.ui.redoButton.enabled
    panel.click(button)
    settle(panel)
    assert panel.ui.redoButton.enabled == (direction == "undo")
