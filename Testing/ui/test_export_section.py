"""What leaves Slicer by the panel: tables, surfaces and the hand-over to DICOM; questions, cancel and errors."""

import csv
import logging

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core import measurements
from LiverGTANLib.mrml import export_dicom
from LiverGTANLib.mrml.resection_plan import ResectionPlan
from support import dicom_plugin
from support.interactive_cases import segmented, settle
from support.module_fixtures import students
from support.panel_cases import panel, phantom

pytestmark = pytest.mark.slow

BUTTONS = ("exportButton", "exportPlanButton", "exportSurfaceButton", "exportPartsButton")
DICOM_BUTTONS = ("exportDicomButton", "exportDicomPartsButton")


@pytest.fixture
def answerSaveDialog(slicerHost, monkeypatch):
    """Sets what the user answers to the application's file dialog, which would wait for the mouse."""
    import qt

    return lambda path: monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(path))


@pytest.fixture
def planned(panel, segmented):
    panel.click(panel.ui.placePlaneButton)
    settle(panel)
    return panel


def click(panel, *names) -> None:
    panel.ui.exportCollapsibleButton.collapsed = False
    for name in names:
        panel.click(getattr(panel.ui, name))


def filesIn(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("*liver*"))


def test_the_table_is_exported_from_the_panel_and_by_a_script(panel, segmented, tmp_path, answerSaveDialog):
    answerSaveDialog(tmp_path / "panel.csv")
    click(panel, "exportButton")
    panel.widget.logic.exportTable(tmp_path / "script.csv")
    texts = [(tmp_path / name).read_text(encoding="utf-8") for name in ("panel.csv", "script.csv")]
    assert texts[0] == texts[1]
    head, row = csv.reader(texts[0].splitlines())
    assert head == list(measurements.TITLES.values()) and row[0] == "Phantom" and "nan" not in texts[0]


def test_plan_and_surfaces_are_written_where_the_plane_is_now(planned, tmp_path, answerSaveDialog):
    plan = ResectionPlan(planned.output)
    plan.cutNode.SetOriginWorld(*(np.array(plan.cutNode.GetOriginWorld()) + [30, 0, 0]))  # and not a moment's rest
    answerSaveDialog(tmp_path / "liver.stl")
    click(planned, "exportSurfaceButton", "exportPartsButton")
    assert "liver-remnant.stl" in planned.ui.exportLabel.text.replace("\u200b", "")
    assert planned.ui.exportLabel.visible and planned.ui.exportLabel.text.count("watertight") == 2
    answerSaveDialog(tmp_path / "liver-plan")  # a suffix is added
    click(planned, "exportPlanButton")
    assert filesIn(tmp_path) == ["liver-plan.csv", "liver-remnant.stl", "liver-resected.stl", "liver.stl"]
    with (tmp_path / "liver-plan.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["Quantity"]: row["mL"] for row in csv.DictReader(file)}
    assert float(rows["Remnant"]) == pytest.approx(ResectionPlan(planned.output).measure().remnantMl, abs=0.06)
    assert not planned.host.dialogs.messages


def test_what_is_exported_is_of_what_was_just_set(planned, tmp_path, answerSaveDialog):
    """A threshold that was set a moment before, and whose mask is still to come."""
    written = []
    for threshold in (0.5, 0.7):
        planned.ui.thresholdSlider.value = threshold
        for name, button in (("liver.csv", "exportButton"), ("plan.csv", "exportPlanButton")):
            answerSaveDialog(tmp_path / f"{threshold}-{name}")
            click(planned, button)
        with (tmp_path / f"{threshold}-liver.csv").open(newline="", encoding="utf-8") as file:
            written.append(float(next(csv.DictReader(file))["Liver [mL]"]))
        with (tmp_path / f"{threshold}-plan.csv").open(newline="", encoding="utf-8") as file:
            parts = {row["Quantity"]: row["mL"] for row in csv.DictReader(file)}
        assert float(parts["Remnant"]) + float(parts["Resected"]) == pytest.approx(written[-1], abs=0.2)
    assert written[1] < written[0] and not planned.host.dialogs.messages
    settle(planned)
    assert planned.ui.resultLabel.text.startswith(f"Liver {written[1]:.0f} mL")


def test_what_the_dialog_did_not_ask_about_is_replaced_only_after_a_question(planned, tmp_path, answerSaveDialog):
    import qt

    for name in ("liver-remnant.stl", "liver.csv"):
        (tmp_path / name).write_text("mine")
    for answer, replaced in ((qt.QMessageBox.No, False), (qt.QMessageBox.Yes, True)):
        planned.host.dialogs.answer = answer
        planned.host.dialogs.messages.clear()
        answerSaveDialog(tmp_path / "liver.stl")
        click(planned, "exportPartsButton")
        answerSaveDialog(tmp_path / "liver")
        click(planned, "exportPlanButton")
        assert planned.host.dialogs.texts("question") == ["Replace liver-remnant.stl?", "Replace liver.csv?"]
        texts = [(tmp_path / name).read_bytes() for name in ("liver-remnant.stl", "liver.csv")]
        assert [text != b"mine" for text in texts] == [replaced, replaced]
    planned.host.dialogs.messages.clear()
    answerSaveDialog(tmp_path / "liver-remnant.stl")  # the dialog has asked about this one
    click(planned, "exportSurfaceButton")
    assert not planned.host.dialogs.messages


def test_cancel_writes_nothing_and_asks_nothing(planned, tmp_path, answerSaveDialog):
    answerSaveDialog("")
    click(planned, *BUTTONS)
    assert not planned.host.dialogs.messages and not planned.ui.exportLabel.visible


@pytest.mark.parametrize("name", BUTTONS)
def test_a_place_that_cannot_be_written_to_is_an_error_that_names_it(planned, tmp_path, answerSaveDialog, name):
    (tmp_path / "file").write_text("")
    suffix = ".csv" if name in ("exportButton", "exportPlanButton") else ".stl"
    answerSaveDialog(tmp_path / "file" / f"liver{suffix}")  # in a file, as if that were a folder
    click(planned, name)
    (error,) = planned.host.dialogs.messages
    assert "could not be written" in error.text and "liver" in error.text and not error.detail


def test_without_liver_or_plan_the_buttons_say_what_is_missing(panel, phantom, tmp_path, answerSaveDialog, monkeypatch):
    monkeypatch.setattr(slicer.modules, "dicomPlugins", {export_dicom.PLUGIN: None}, raising=False)
    answerSaveDialog(tmp_path / "liver.stl")
    named = [name for name in (*BUTTONS, *DICOM_BUTTONS) if name != "exportButton"]
    for name in named:
        click(panel, name)
    assert all("Segment the liver first." in text for text in panel.host.dialogs.texts("error"))
    assert len(panel.host.dialogs.messages) == len(named)
    panel.segment()
    panel.host.dialogs.messages.clear()
    click(panel, "exportPlanButton", "exportPartsButton", "exportDicomPartsButton")
    assert ["place a cut plane first" in text for text in panel.host.dialogs.texts("error")] == [True] * 3
    assert filesIn(tmp_path) == []


class ExportDialog:
    """Slicer's dialog, as qSlicerDICOMExportDialog.h declares it; it waits for the user."""

    opened: list = []

    def __init__(self, parent):
        self.scene = None

    def setMRMLScene(self, mrmlScene):
        self.scene = mrmlScene

    def execDialog(self, item):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        self.opened.append(hierarchy.GetItemDataNode(item))
        return True


def test_dicom_opens_slicers_export_with_liver_or_parts(planned, segmented, tmp_path, monkeypatch):
    segmented.SetAttribute("DICOM.instanceUIDs", "1.2")
    monkeypatch.setattr(slicer, "dicomDatabase", dicom_plugin.Database({"1.2": tmp_path}), raising=False)
    monkeypatch.setattr(slicer.modules, "dicomPlugins", {export_dicom.PLUGIN: None}, raising=False)
    monkeypatch.setattr(slicer, "qSlicerDICOMExportDialog", ExportDialog, raising=False)
    monkeypatch.setattr(ExportDialog, "opened", [])
    click(planned, *DICOM_BUTTONS)
    assert ExportDialog.opened == [planned.output, ResectionPlan(planned.output).partsNode]
    assert not planned.host.dialogs.messages


def test_without_the_plugin_the_button_says_what_to_install(panel, segmented, monkeypatch, caplog):
    monkeypatch.setattr(slicer, "qSlicerDICOMExportDialog", ExportDialog, raising=False)
    monkeypatch.setattr(ExportDialog, "opened", [])
    click(panel, "exportDicomButton")
    (error,) = panel.host.dialogs.messages
    assert "QuantitativeReporting" in error.text and "Extensions Manager" in error.text and not error.detail
    assert not ExportDialog.opened
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.getMessage() == error.text and not record.exc_info


@pytest.mark.parametrize("name", BUTTONS)
def test_after_a_failure_the_line_does_not_show_what_was_written_before(planned, tmp_path, answerSaveDialog, name):
    suffix = ".stl" if name in ("exportSurfaceButton", "exportPartsButton") else ".csv"
    answerSaveDialog(tmp_path / f"liver{suffix}")
    click(planned, name)
    assert planned.ui.exportLabel.text.startswith("Wrote ")
    (tmp_path / "file").write_text("")
    answerSaveDialog(tmp_path / "file" / f"liver{suffix}")
    click(planned, name)
    assert planned.host.dialogs.texts("error") and planned.ui.exportLabel.text == ""
