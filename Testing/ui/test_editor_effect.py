"""The effect "Liver GTAN" in the Segment Editor: preview, Apply, masking, Undo, clicks, and what can go wrong."""

import gc
import threading
import types
import weakref

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from slicer.util import arrayFromVolume, updateVolumeFromArray

from host.pythonqt import connectionsTo
from host.slicer_command import SEGMENT_EDITOR
from LiverGTANLib.core import measurements
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import scene, self_test, surface
from support.interactive_cases import previews, worldOf
from support.module_fixtures import MODULE_FILE, gate, students
from support.mrml_cases import addTransform, addWarp, rotation, voxels
from support.panel_cases import workers


class Editor:
    """The open Segment Editor with the phantom as source volume, a segment of it, and the effect."""

    def __init__(self, host, students):
        self.host = host
        host.loadModule(MODULE_FILE, engineProvider=students)
        host.loadModule(SEGMENT_EDITOR)
        slicer.util.getModuleWidget("LiverGTAN")  # whose students the effect uses
        host.completeStartup()
        self.volumeNode, self.truth = self_test.addPhantom()
        self.widget = host.openModule("SegmentEditor").editor
        self.segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        self.widget.setSegmentationNode(self.segmentationNode)
        self.widget.setSourceVolumeNode(self.volumeNode)
        self.segmentId = self.add("Segment_1")
        self.node = self.widget.mrmlSegmentEditorNode()
        self.widget.setCurrentSegmentID(self.segmentId)
        host.processEvents()

    def add(self, name: str, array=None) -> str:
        segmentId = self.segmentationNode.GetSegmentation().AddEmptySegment("", name)
        if array is not None:
            slicer.util.updateSegmentBinaryLabelmapFromArray(array, self.segmentationNode, segmentId, self.volumeNode)
        return segmentId

    def activate(self, wait: bool = True):
        self.widget.setActiveEffectByName("Liver GTAN")
        if wait:
            self.wait()

    @property
    def effect(self):
        return self.widget.effectByName("Liver GTAN").self()

    def wait(self) -> None:
        self.host.wait(lambda: self.effect.preview is None or not self.effect.preview.isRunning)
        self.host.processEvents()

    @property
    def state(self) -> str:
        return self.effect.stateLabel.text

    def mask(self, segmentId: str = "") -> np.ndarray:
        return voxels(self.segmentationNode, segmentId or self.segmentId, self.volumeNode)

    def apply(self) -> None:
        assert self.effect.applyButton.enabled, self.state
        self.effect.applyButton.click()
        self.host.processEvents()

    @property
    def errors(self) -> list:
        """What was shown to the user."""
        return self.host.dialogs.texts("error")

    def nothingIsLeft(self) -> bool:
        hidden = [
            node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") if node.GetHideFromEditors()
        ]
        display = self.segmentationNode.GetDisplayNode()
        shown = self.segmentationNode.GetScene() is None or display.GetSegmentVisibility2DFill(self.segmentId)
        return not previews() and not hidden and not workers() and shown


pytestmark = pytest.mark.slow


@pytest.fixture
def editor(slicerHost, students):
    return Editor(slicerHost, students)


@pytest.fixture
def active(editor):
    editor.activate()
    return editor


def test_in_3d_the_preview_has_a_surface_that_the_main_thread_did_not_make(editor, monkeypatch):
    threads, ofMask = [], surface.ofMask
    monkeypatch.setattr(surface, "ofMask", lambda *a: threads.append(threading.current_thread().name) or ofMask(*a))
    array = np.zeros(editor.truth.shape, np.uint8)
    array[10:20, 10:20, 10:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        array, editor.segmentationNode, editor.segmentId, editor.volumeNode
    )
    editor.segmentationNode.CreateClosedSurfaceRepresentation()
    editor.activate()
    (shown,) = previews()
    made = shown.GetSegmentation().GetNthSegment(0).GetRepresentation(scene.SURFACE)
    assert made.GetNumberOfPolys() > 0 and shown.GetDisplayNode().GetVisibility3D()
    assert threads == ["LiverGTAN worker"]
    assert not editor.segmentationNode.GetDisplayNode().GetSegmentVisibility3D(editor.segmentId)


def click(editor, ras, control: bool = False) -> bool:
    """A press of the left mouse button in an axial view through a place, as the editor hands it to its effect."""
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    sliceNode = logic.AddSliceNode("Test")
    sliceNode.SetOrientation("Axial")
    sliceNode.JumpSliceByOffsetting(*ras)
    toXy = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(sliceNode.GetXYToRAS(), toXy)
    xy = toXy.MultiplyPoint([*ras, 1])[:2]
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetEventInformation(round(xy[0]), round(xy[1]), int(control), 0)
    view = types.SimpleNamespace(className=lambda: "qMRMLSliceWidget", sliceLogic=lambda: logic)
    return editor.effect.processInteractionEvents(interactor, vtk.vtkCommand.LeftButtonPressEvent, view)


def test_two_clicks_put_the_liver_into_the_selected_segment_and_one_undo_takes_it_back(editor):
    before = editor.mask()
    editor.activate()
    assert editor.state.startswith("Preview: liver ") and len(previews()) == 1
    assert not editor.mask().any()  # nothing is written before Apply
    editor.apply()
    assert measurements.dice(editor.mask(), editor.truth) > 0.8
    assert editor.widget.activeEffect() is None and editor.nothingIsLeft()
    assert scene.liverSegmentId(editor.segmentationNode) == ""  # it is the user's own segment
    assert origin(editor) == ["SEMIAUTOMATIC", "LiverGTAN student-100k"]
    editor.widget.undo()
    np.testing.assert_array_equal(editor.mask(), before)
    assert origin(editor) == ["", ""]
    editor.widget.redo()
    assert measurements.dice(editor.mask(), editor.truth) > 0.8


def origin(editor) -> list[str]:
    """What a DICOM segmentation will say of the selected segment's origin."""
    segment, found = editor.segmentationNode.GetSegmentation().GetSegment(editor.segmentId), []
    for tag in (scene.ALGORITHM_TYPE_TAG, scene.ALGORITHM_NAME_TAG):
        value = vtk.reference("")
        found.append(str(value) if segment.GetTag(tag, value) else "")
    return found


def test_it_is_what_the_module_finds(active, students):
    import LiverGTAN

    active.apply()
    result = LiverGTAN.LiverGTANLogic(students).process(active.volumeNode)
    np.testing.assert_array_equal(active.mask(), voxels(result.segmentation, result.segmentId, active.volumeNode))


def test_cancel_and_leaving_leave_nothing_behind(active):
    active.effect.cancelButton.click()
    assert not previews() and active.state.startswith("Canceled") and not active.effect.applyButton.enabled
    active.effect.previewButton.click()
    active.wait()
    click(active, worldOf(active.volumeNode, np.argwhere(active.truth)[1000]))
    active.host.leaveModule()
    assert active.nothingIsLeft() and not active.mask().any()


@pytest.mark.parametrize("end", ["cleanup", "close", "save"])
def test_an_editor_that_ends_with_a_preview_leaves_nothing_behind(active, end):
    if end == "cleanup":
        active.effect.cleanup()
    elif end == "close":
        slicer.mrmlScene.Clear()
        active.host.processEvents()
    else:
        slicer.mrmlScene.InvokeEvent(slicer.mrmlScene.StartSaveEvent)
    assert not previews()
    if end == "save":
        assert active.segmentationNode.GetDisplayNode().GetSegmentVisibility2DFill(active.segmentId)
    else:
        assert not workers()


def test_a_preview_that_is_left_and_an_editor_that_goes_away_are_not_kept_alive(active):
    effect, preview = active.effect, weakref.ref(active.effect.preview)
    active.widget.setActiveEffect(None)
    gc.collect()
    assert preview() is None
    active.activate()
    assert len(connectionsTo(effect)) == 7
    slicer.util.getModuleWidget("SegmentEditor").cleanup()
    assert not connectionsTo(effect)
    effect.cleanup()  # once more changes nothing


def test_masking_of_the_editor_is_respected(active):
    half = np.zeros_like(active.truth)
    half[:, :, : half.shape[2] // 3] = 1
    other = active.add("other", half)
    active.node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    active.apply()
    assert not (active.mask() & half).any() and active.mask().any()
    np.testing.assert_array_equal(active.mask(other), half)


def test_the_editable_intensity_range_is_respected(active):
    active.node.SetSourceVolumeIntensityMask(True)
    active.node.SetSourceVolumeIntensityMaskRange(105, 115)
    active.apply()
    hu = arrayFromVolume(active.volumeNode)[active.mask() > 0]
    assert hu.size and hu.min() >= 105 and hu.max() <= 115


@pytest.mark.parametrize("mode, keeps", [("OverwriteAllSegments", False), ("OverwriteNone", True)])
def test_the_overwrite_mode_is_the_editors(active, mode, keeps):
    other = active.add("other", active.truth.copy())
    active.node.SetOverwriteMode(getattr(active.node, mode))
    active.apply()
    overlap = active.mask(other) & active.mask()
    assert overlap.any() == keeps
    active.widget.undo()
    np.testing.assert_array_equal(active.mask(other), active.truth)


@pytest.mark.parametrize("mode", ["EditAllowedEverywhere", "EditAllowedOutsideAllSegments"])
def test_segments_of_another_grid_that_share_a_label_map_stay_as_they_are(editor, mode):
    corner, within = np.zeros_like(editor.truth), np.zeros_like(editor.truth)
    corner[:2, :2, :2] = 1
    within[tuple(np.argwhere(editor.truth)[1000])] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        within, editor.segmentationNode, editor.segmentId, editor.volumeNode
    )
    other, segmentation = editor.add("other", corner), editor.segmentationNode.GetSegmentation()
    segmentation.CollapseBinaryLabelmaps(False)
    coarse, _ = self_test.addPhantom("coarse", (6.0, 6.0, 8.0))
    editor.segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(coarse)
    assert segmentation.GetNumberOfLayers() == 1
    editor.activate()
    editor.node.SetMaskMode(getattr(slicer.vtkMRMLSegmentationNode, mode))
    editor.apply()
    assert len(editor.errors) == 1 and "'other'" in editor.errors[0] and "Allow overlap" in editor.errors[0]
    np.testing.assert_array_equal(editor.mask(), within)
    editor.node.SetOverwriteMode(editor.node.OverwriteNone)
    editor.apply()
    assert len(editor.errors) == 1 and measurements.dice(editor.mask(), editor.truth) > 0.9
    np.testing.assert_array_equal(editor.mask(other), corner)
    editor.widget.undo()
    np.testing.assert_array_equal(editor.mask(), within)
    np.testing.assert_array_equal(editor.mask(other), corner)


def test_what_masking_protects_of_the_segment_itself_stays(active):
    corner = np.zeros_like(active.truth)
    corner[:4, :4, :4] = 1  # outside of the liver and its box
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        corner, active.segmentationNode, active.segmentId, active.volumeNode
    )
    inside = active.add("inside", active.truth.copy())
    active.node.SetMaskSegmentID(inside)
    active.node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    active.node.SetOverwriteMode(active.node.OverwriteNone)
    active.apply()
    assert active.mask()[:4, :4, :4].all() and (active.mask() & active.truth).any()


def test_masking_that_leaves_nothing_is_told(active):
    active.node.SetSourceVolumeIntensityMask(True)
    active.node.SetSourceVolumeIntensityMaskRange(2000, 3000)
    for count in (1, 2):  # the second time the segment has an empty label map, which is not written again
        active.apply()
        assert len(active.errors) == count and "masking" in active.errors[-1] and not active.mask().any()


def test_a_threshold_of_a_script_that_is_no_probability_is_refused(active):
    for value in ("abc", -1, "nan", 5):
        active.widget.effectByName("Liver GTAN").setParameter("Threshold", value)
        active.wait()
        assert "threshold cannot be" in active.state and not previews() and not active.effect.applyButton.enabled


def test_sliders_and_scripts_change_the_preview_and_what_is_applied(active):
    active.apply()
    whole = active.mask().sum()
    active.activate()
    active.widget.effectByName("Liver GTAN").setParameter("Threshold", 0.7)
    active.wait()
    assert active.effect.thresholdSlider.value == 0.7
    active.effect.smoothingSlider.value = 1.5
    active.effect.onApply()  # a script does not wait for the preview
    assert 0 < active.mask().sum() < whole and not active.errors


def test_a_setting_that_leaves_nothing_is_told_and_can_be_taken_back_but_not_after_cancel(active):
    effect = active.widget.effectByName("Liver GTAN")
    for threshold, shown in ((0.95, 0), (0.5, 1)):
        effect.setParameter("Smoothing", 6.0 if threshold > 0.9 else 0.0)
        effect.setParameter("Threshold", threshold)
        active.wait()
        assert len(previews()) == shown, active.state
    active.effect.cancelButton.click()
    effect.setParameter("Threshold", 0.6)
    active.wait()
    assert not previews()


def test_a_click_takes_a_place_out_and_its_undo_brings_it_back(active):
    inside = np.argwhere(active.truth)
    kji = inside[np.linalg.norm(inside - inside.mean(axis=0), axis=1).argmin()]
    assert click(active, worldOf(active.volumeNode, kji), control=True)
    active.wait()
    active.effect.onUndoPoint()
    assert not active.effect.undoPointButton.enabled
    assert click(active, worldOf(active.volumeNode, kji), control=True)
    active.wait()
    active.apply()
    assert not active.mask()[tuple(kji)] and active.mask().any() and active.nothingIsLeft()


@pytest.mark.parametrize("kind", ["linear", "warped"])
def test_a_source_volume_under_a_transform_gets_its_liver_where_it_lies(editor, kind):
    if kind == "linear":
        node = addTransform(slicer.mrmlScene, rotation(2, 10))
    else:
        node = addWarp(slicer.mrmlScene, lambda ras: 0.1 * ras * [0, 0, 1])
    editor.volumeNode.SetAndObserveTransformNodeID(node.GetID())
    editor.segmentationNode.SetAndObserveTransformNodeID(node.GetID())
    editor.activate()
    editor.apply()
    assert not editor.errors and measurements.dice(editor.mask(), editor.truth) > 0.75


def test_a_segmentation_outside_of_the_transform_gets_it_where_the_volume_lies(editor):
    editor.volumeNode.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, np.eye(4) + _shift(24)).GetID())
    editor.activate()
    editor.apply()
    centers = [np.argwhere(array).mean(axis=0) for array in (editor.mask(), editor.truth)]
    assert not editor.errors and np.linalg.norm(centers[0] - centers[1]) < 2


def _shift(mm: float) -> np.ndarray:
    matrix = np.zeros((4, 4))
    matrix[2, 3] = mm
    return matrix


def test_without_a_source_volume_or_a_segment_it_says_what_is_missing(editor):
    editor.widget.setSourceVolumeNode(None)
    editor.activate()
    assert "source volume" in editor.state and not editor.effect.applyButton.enabled
    editor.widget.setSourceVolumeNode(editor.volumeNode)
    editor.wait()
    assert editor.state.startswith("Preview")
    editor.segmentationNode.GetSegmentation().RemoveSegment(editor.segmentId)
    with pytest.raises(InputError, match="select a segment"):
        editor.effect.onApply()
    assert not editor.errors


@pytest.mark.parametrize("kind", ["MR", "label map", "no liver"])
def test_what_has_no_liver_to_find_is_refused_with_the_reason(editor, kind):
    if kind == "MR":
        updateVolumeFromArray(editor.volumeNode, (arrayFromVolume(editor.volumeNode) // 8 + 130).astype(np.uint8))
    elif kind == "label map":
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        slicer.modules.volumes.logic().CreateLabelVolumeFromVolume(slicer.mrmlScene, node, editor.volumeNode)
        editor.widget.setSourceVolumeNode(node)
    else:
        hu = arrayFromVolume(editor.volumeNode).copy()
        hu[hu > 60] = 40
        updateVolumeFromArray(editor.volumeNode, hu)
    editor.activate()
    assert editor.state and not editor.state.startswith("Preview") and not previews()
    assert not editor.effect.applyButton.enabled


def test_a_volume_that_changes_between_preview_and_apply_is_not_written(active):
    hu = arrayFromVolume(active.volumeNode).copy()
    active.effect.removeObservers(active.effect._onImageChanged)  # as if the event came late
    updateVolumeFromArray(active.volumeNode, np.roll(hu, 10, axis=2))
    active.apply()
    assert "changed" in active.errors[0] and not active.mask().any()


def test_a_changed_volume_takes_the_preview_away(active):
    updateVolumeFromArray(active.volumeNode, np.roll(arrayFromVolume(active.volumeNode), 10, axis=2))
    active.host.processEvents()
    assert not previews() and "changed" in active.state and not active.effect.applyButton.enabled


@pytest.mark.parametrize("what", ["volume", "segmentation"])
@pytest.mark.parametrize("running", [True, False])
def test_a_removed_node_ends_it(editor, gate, what, running):
    editor.activate(wait=False)
    if not running:
        gate.set()
        editor.wait()
    slicer.mrmlScene.RemoveNode(editor.volumeNode if what == "volume" else editor.segmentationNode)
    editor.host.processEvents()
    gate.set()
    editor.wait()
    assert not previews() and not (editor.effect.preview and editor.effect.preview.isShown)


def test_the_liver_goes_into_the_segment_that_is_selected_at_last(active):
    other = active.add("other")
    display = active.segmentationNode.GetDisplayNode()
    active.widget.setCurrentSegmentID(other)
    active.host.processEvents()
    assert display.GetSegmentVisibility2DFill(active.segmentId) and not display.GetSegmentVisibility2DFill(other)
    active.apply()
    assert active.mask(other).any() and not active.mask().any()
    assert display.GetSegmentVisibility2DFill(other)


def test_a_large_scan_waits_for_the_user(editor, monkeypatch):
    from LiverGTANLib.core import input_checks

    monkeypatch.setattr(input_checks, "MOST_CELLS_UNASKED", 1000)
    editor.activate()
    assert "large" in editor.state and not previews()
    editor.effect.previewButton.click()
    editor.wait()
    assert previews()


def test_an_error_of_the_engine_is_shown_and_can_be_tried_again(editor, students):
    students.error = RuntimeError("The file of the network is damaged.")
    editor.activate()
    assert "damaged" in editor.state and editor.effect.previewButton.enabled
    students.error = None
    editor.effect.previewButton.click()
    editor.wait()
    assert editor.state.startswith("Preview")


def test_voxels_that_are_much_larger_than_those_of_the_ct_are_told_of(editor):
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    other.SetSpacing(12, 12, 12)
    updateVolumeFromArray(other, np.zeros((30, 40, 40), np.int16))
    editor.activate()
    assert "much larger" not in editor.state
    editor.effect.onCancel()
    editor.segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(other)
    editor.effect.onPreview()
    editor.wait()
    assert "12 x 12 x 12 mm) are much larger than those of 'Phantom'" in editor.state
