"""The uncertain border, the table of volumes, and what is said when masking changed the segment."""

import csv

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core import measurements
from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.mrml import scene, self_test, table
from support import band_student
from support.interactive_cases import addRoi, drag, liver, segmented, settle
from support.module_fixtures import students
from support.panel_cases import panel, phantom

pytestmark = pytest.mark.slow

ML = 0.012
OVERLAY = "LiverGTAN uncertain border"


def tables() -> list:
    return slicer.util.getNodesByClass("vtkMRMLTableNode")


def rows(panel) -> list[dict[str, str]]:
    head, *cells = table.rows(panel.ui.tableSelector.currentNode())
    return [dict(zip(head, row)) for row in cells]


@pytest.fixture
def sliceView(panel):
    """The composite node of a slice view that shows the user's own foreground."""
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "own foreground")
    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetForegroundVolumeID(own.GetID())
    composite.SetForegroundOpacity(0.25)
    return composite


def overlays() -> list:
    nodes = slicer.mrmlScene.GetNodesByName(OVERLAY)
    return [nodes.GetItemAsObject(n) for n in range(nodes.GetNumberOfItems())]


def test_the_overlay_comes_follows_and_goes_without_a_trace(panel, segmented, sliceView):
    count, own = slicer.mrmlScene.GetNumberOfNodes(), sliceView.GetForegroundVolumeID()
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    (overlay,) = overlays()
    assert sliceView.GetForegroundVolumeID() == overlay.GetID() and sliceView.GetForegroundOpacity() > 0.25
    assert not overlay.GetSaveWithScene() and overlay.GetHideFromEditors()
    shown = slicer.util.arrayFromVolume(overlay).copy()
    assert 50 < shown.max() <= 100
    panel.ui.smoothingSlider.value = 5
    settle(panel)
    assert not np.array_equal(slicer.util.arrayFromVolume(overlays()[0]), shown)
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    assert not overlays() and slicer.mrmlScene.GetNumberOfNodes() == count
    assert (sliceView.GetForegroundVolumeID(), sliceView.GetForegroundOpacity()) == (own, 0.25)


def test_the_overlay_lies_where_the_mask_is(panel, segmented):
    from scipy.ndimage import binary_dilation, binary_erosion

    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    voxels, (overlay,) = liver(panel, segmented), overlays()
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    overlay.GetRASToIJKMatrix(matrix)
    toCell = slicer.util.arrayFromVTKMatrix(matrix) @ scene.ijkToWorld(segmented)

    def percent(where):
        kji = np.argwhere(where)
        cells = (toCell @ np.c_[kji[:, ::-1], np.ones(len(kji))].T)[2::-1]
        return slicer.util.arrayFromVolume(overlay)[tuple(np.rint(cells).astype(int))].mean()

    # This student is nowhere quite sure of its liver, and quite sure of what is far from it.
    assert percent(voxels & ~binary_erosion(voxels)) > 50 and percent(~binary_dilation(voxels, iterations=25)) < 1


def test_leaving_the_module_takes_the_overlay_away_and_entering_brings_it(panel, segmented, sliceView):
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    panel.host.leaveModule()
    assert not overlays() and sliceView.GetForegroundOpacity() == 0.25
    panel.host.openModule("LiverGTAN")
    settle(panel)
    assert len(overlays()) == 1 and panel.ui.uncertaintyCheckBox.checked


def test_one_row_a_segmentation_and_it_follows_the_mask(panel, segmented):
    (row,) = rows(panel)
    before = liver(panel, segmented)
    assert row["Volume"] == "Phantom" and float(row["Liver [mL]"]) == pytest.approx(before.sum() * ML, abs=0.06)
    assert row["From [mL]"] == row["To [mL]"] == ""  # this student is too unsure for a range that says anything
    hu = slicer.util.arrayFromVolume(segmented)[before]
    assert float(row["Mean [HU]"]) == pytest.approx(hu.mean(), abs=8) and 0 < float(row["SD [HU]"]) < 40
    assert row["Share in ROI"] == "" and row["Hint"] == ""
    roiNode = addRoi(panel)
    drag(panel, roiNode, (0, 0, 40), steps=5)
    settle(panel)
    (row,) = rows(panel)
    after = liver(panel, segmented)
    assert float(row["Liver [mL]"]) == pytest.approx(after.sum() * ML, abs=0.06)
    assert float(row["Share in ROI"]) == pytest.approx(after.sum() / before.sum(), abs=0.05)
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert float(rows(panel)[0]["Liver [mL]"]) == pytest.approx(liver(panel, segmented).sum() * ML, abs=0.06)
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    panel.segment()
    settle(panel)
    assert [row["Volume"] for row in rows(panel)] == ["Phantom", "Other"] and len(tables()) == 1


def test_a_fatty_liver_is_a_hint_and_says_so(students, panel, phantom):
    array, (_, isLiver) = slicer.util.arrayFromVolume(phantom), phantom_ct()
    array[isLiver > 0] -= 90  # about 20 HU, and a student that takes this for liver
    slicer.util.arrayFromVolumeModified(phantom)
    band_student.save(students.folder, "student-30k", low=0, high=38)
    panel.ui.studentComboBox.setCurrentIndex(1)
    panel.segment()
    settle(panel)
    assert rows(panel)[0]["Hint"].startswith("hint:")
    assert "hint of steatosis at most" in panel.ui.hintLabel.text


def test_undoing_everything_takes_the_row_away(panel, segmented):
    panel.click(panel.ui.undoButton)
    assert rows(panel) == [] and panel.ui.resultLabel.text == ""
    panel.click(panel.ui.redoButton)
    assert len(rows(panel)) == 1


def test_the_row_of_a_removed_segmentation_stays(panel, segmented):
    slicer.mrmlScene.RemoveNode(panel.output)
    panel.host.processEvents()
    panel.segment()
    settle(panel)
    assert [row["Volume"] for row in rows(panel)] == ["Phantom", "Phantom"]


def test_show_table_opens_it_beside_the_views(panel, segmented):
    panel.click(panel.ui.showTableButton)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveTableID() == tables()[0].GetID()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView


def test_with_masking_the_line_tells_what_is_really_in_the_segment(panel, segmented):
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = slicer.mrmlScene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(panel.output)
    editor.SetAndObserveSourceVolumeNode(segmented)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(105, 2000)
    full = liver(panel, segmented).sum()
    panel.click(panel.ui.undoButton)
    panel.segment()
    settle(panel)
    held = liver(panel, segmented).sum()
    assert 0 < held < full
    line, remark = panel.ui.resultLabel.text.split("\n")
    assert line.startswith(f"Liver {held * ML:.0f} mL, ") and f"masking left of {full * ML:.0f} mL" in remark
    (row,) = rows(panel)
    assert float(row["Liver [mL]"]) == pytest.approx(held * ML, abs=0.06) and row["From [mL]"] == row["Mean [HU]"] == ""


def test_the_overlay_is_seen_in_a_slice_view_and_gone_after(panel, segmented):
    from host.views import SliceView

    middle = np.argwhere(liver(panel, segmented)).mean(axis=0)
    view = SliceView(segmented, ras=(scene.ijkToWorld(segmented) @ [*middle[::-1], 1])[:3])
    try:
        before = view.picture().astype(int)
        panel.click(panel.ui.uncertaintyCheckBox)
        settle(panel)
        during = view.picture().astype(int)
        panel.click(panel.ui.uncertaintyCheckBox)
        settle(panel)
        after = view.picture().astype(int)
    finally:
        view.close()
    changed = np.abs(during - before).max(axis=2) > 20
    assert 0.005 < changed.mean() < 0.5 and np.abs(after - before).max() <= 1


@pytest.mark.parametrize("hadForeground", [True, False])
def test_a_scene_that_is_saved_meanwhile_is_loaded_with_its_own_foreground(
    panel, segmented, sliceView, tmp_path, hadForeground
):
    if not hadForeground:
        sliceView.SetForegroundVolumeID(None)
    panel.host.completeStartup()
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    (overlay,) = overlays()
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    assert sliceView.GetForegroundVolumeID() == overlay.GetID()
    panel.host.leaveModule()
    slicer.mrmlScene.Clear(False)
    settle(panel)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    (composite,) = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetForegroundOpacity() == 0.25
    shown = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
    assert shown.GetName() == "own foreground" if hadForeground else composite.GetForegroundVolumeID() is None


def test_a_foreground_that_the_user_chose_over_the_overlay_stays(panel, segmented, sliceView):
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    sliceView.SetForegroundVolumeID(segmented.GetID())
    panel.ui.smoothingSlider.value = 5
    settle(panel)
    panel.click(panel.ui.uncertaintyCheckBox)
    settle(panel)
    assert sliceView.GetForegroundVolumeID() == segmented.GetID()
