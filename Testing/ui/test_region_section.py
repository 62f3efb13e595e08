"""The ROI is dragged: the mask follows, the last state wins, and a drag is one undo."""

import threading

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk

from LiverGTANLib.mrml import roi, scene, self_test, surface
from support.call_recorder import recorder
from support.interactive_cases import (
    MaskCounter,
    addRoi,
    atRest,
    drag,
    inside,
    liver,
    previews,
    segmented,
    settle,
    undoStates,
    worldOf,
)
from support.module_fixtures import students
from support.panel_cases import panel, phantom, segmentations

pytestmark = pytest.mark.slow


def test_a_new_roi_lies_around_the_liver_and_changes_nothing(panel, segmented):
    before = liver(panel, segmented)
    roiNode = addRoi(panel)
    assert inside(roiNode, segmented)[before].all() and min(roiNode.GetSize()) > 0
    np.testing.assert_array_equal(liver(panel, segmented), before)
    assert not previews()


def test_a_drag_is_a_burst_of_previews_and_one_mask(recorder, panel, segmented):
    before = liver(panel, segmented)
    roiNode = addRoi(panel)
    states, counter = undoStates(panel), MaskCounter(recorder)
    seen = []
    roiNode.AddObserver(roiNode.PointModifiedEvent, lambda *_: seen.append(len(previews())))
    drag(panel, roiNode, (30, 0, 40))
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before & inside(roiNode, segmented))
    assert 0 < liver(panel, segmented).sum() < before.sum()
    assert len(counter.threads) == 1 and counter.masks == 1 and counter.previews > 1
    assert max(seen) == 1 and not previews()  # shown while it lasted, and gone
    assert undoStates(panel) == states + 1


def test_events_faster_than_the_event_loop_cost_one_preview_not_one_each(recorder, panel, segmented):
    roiNode = addRoi(panel)
    counter, center = MaskCounter(recorder), np.array(roiNode.GetCenterWorld())
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    for step in range(300):
        roiNode.SetCenterWorld(*(center + [0, 0, step / 10]))
    for _ in range(20):
        panel.host.processEvents()
    assert counter.previews <= 3 and counter.masks == 0
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    assert counter.masks == 1


@pytest.mark.parametrize("how", ["inside out", "flat"])
def test_an_roi_that_cannot_restrict_is_named_beside_the_button_until_it_can(panel, segmented, how):
    roiNode = addRoi(panel)
    before, states, size = liver(panel, segmented), undoStates(panel), roiNode.GetSize()
    told = panel.ui.resultLabel.text

    def change(isWrong: bool) -> None:
        if how == "flat":
            roiNode.SetSize(0 if isWrong else size[0], *size[1:])
        else:
            roiNode.SetInsideOut(isWrong)
        settle(panel)

    for _time in (1, 2):
        change(True)
        assert not panel.ui.applyButton.enabled and roiNode.GetName() in panel.ui.messageLabel.text
        assert panel.ui.applyButton.toolTip in panel.ui.messageLabel.text.replace("\u200b", "")
        assert not previews() and panel.ui.resultLabel.text.startswith(f"{told}\nThe ROI was changed or removed since")
        np.testing.assert_array_equal(liver(panel, segmented), before)
        change(False)
        assert panel.ui.applyButton.enabled and not panel.ui.messageLabel.text
        assert panel.ui.resultLabel.text == told and undoStates(panel) == states
    roiNode.SetInsideOut(True)
    settle(panel)
    panel.ui.regionSelector.setCurrentNode(None)
    settle(panel)
    assert panel.ui.applyButton.enabled and not panel.ui.messageLabel.text


def test_a_box_that_points_span_restricts_hidden_or_not_and_is_fitted(panel, segmented):
    before = liver(panel, segmented)
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "spanned")
    roiNode.SetROIType(roiNode.ROITypeBoundingBox)
    middle = np.argwhere(before).mean(axis=0)
    for away in ((-5, -9, -8), (7, 3, 5), (0, 8, 2)):
        roiNode.AddControlPointWorld(*worldOf(segmented, middle + away))
    roiNode.SetDisplayVisibility(False)
    panel.ui.regionSelector.setCurrentNode(roiNode)
    settle(panel)
    restricted = liver(panel, segmented)
    np.testing.assert_array_equal(restricted, before & inside(roiNode, segmented))
    assert 0 < restricted.sum() < before.sum() / 2
    panel.click(panel.ui.fitRegionButton)
    settle(panel)
    assert inside(roiNode, segmented)[restricted].all()
    panel.click(panel.ui.undoButton)
    settle(panel)
    np.testing.assert_array_equal(inside(roiNode, segmented) & before, restricted)


def test_undo_sets_the_box_again_that_a_mask_was_made_with(panel, segmented):
    roiNode = addRoi(panel)
    drag(panel, roiNode, (30, 0, 40))
    settle(panel)
    restricted = liver(panel, segmented)
    drag(panel, roiNode, (10, 0, 0))
    settle(panel)
    roiNode.SetInsideOut(True)
    settle(panel)
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert not roiNode.GetInsideOut() and panel.ui.applyButton.enabled
    np.testing.assert_array_equal(liver(panel, segmented), restricted)


def test_the_liver_segment_hides_behind_the_preview_and_comes_back(panel, segmented):
    roiNode, output = addRoi(panel), panel.output
    display, segmentId = output.GetDisplayNode(), output.GetSegmentation().GetNthSegmentID(0)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [20, 0, 0]))
    panel.host.wait(previews)
    assert not display.GetSegmentVisibility2DFill(segmentId) and not display.GetSegmentVisibility2DOutline(segmentId)
    (shown,) = previews()
    assert not shown.GetSaveWithScene() and not shown.GetDisplayNode().GetSaveWithScene()
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    assert display.GetSegmentVisibility2DFill(segmentId) and display.GetSegmentVisibility2DOutline(segmentId)
    assert not slicer.mrmlScene.GetNodesByName("LiverGTAN preview").GetNumberOfItems()


def test_in_3d_the_preview_takes_the_place_of_the_surface_and_follows(panel, segmented):
    roiNode, output = addRoi(panel), panel.output
    display, segmentId = output.GetDisplayNode(), output.GetSegmentation().GetNthSegmentID(0)
    output.CreateClosedSurfaceRepresentation()
    whole = heightOfSurface(output)
    display.SetOpacity3D(0.5)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    heights = []
    for size in (120, 60):
        roiNode.SetSizeWorld(200, 200, size)
        settlePreview(panel)
        (shown,) = previews()
        assert shown.GetDisplayNode().GetVisibility3D() and not display.GetSegmentVisibility3D(segmentId)
        heights.append(heightOfSurface(shown))
    assert shown.GetDisplayNode().GetOpacity3D() == 0.5
    assert whole > heights[0] > heights[1] > 50
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    assert not previews() and display.GetSegmentVisibility3D(segmentId)
    assert heightOfSurface(output) == pytest.approx(heights[1], abs=5)


def heightOfSurface(segmentationNode) -> float:
    """Along S, of the first segment's surface, in mm."""
    segment = segmentationNode.GetSegmentation().GetNthSegment(0)
    bounds = segment.GetRepresentation(scene.SURFACE).GetBounds()
    return bounds[5] - bounds[4]


def settlePreview(panel, look=lambda isIdle: isIdle()) -> None:
    """Until what is dragged is previewed. look(isIdle): called at every turn."""
    background = panel.widget.panel.live.background
    panel.host.wait(lambda: look(lambda: not background.pending and panel.widget.panel.runner.task is None))
    panel.host.processEvents()


def isSeenIn3D(segmentationNode) -> bool:
    """Whether its first segment has a surface that is shown."""
    display, segmentation = segmentationNode.GetDisplayNode(), segmentationNode.GetSegmentation()
    shown = display.GetVisibility3D() and display.GetSegmentVisibility3D(segmentation.GetNthSegmentID(0))
    return bool(shown and segmentation.GetNthSegment(0).GetRepresentation(scene.SURFACE))


@pytest.fixture
def surfaceThreads(recorder):
    """Names of the threads that make surfaces; to be asked for before the panel."""
    names = []
    for function in (surface.ofLogits, surface.ofMask):
        recorder.watch(function, lambda *_: names.append(threading.current_thread().name))
    recorder.start()
    return names


def test_in_3d_there_is_a_surface_at_every_moment_and_the_main_thread_makes_none(surfaceThreads, panel, segmented):
    roiNode, output = addRoi(panel), panel.output
    panel.click(panel.ui.show3DButton)
    before = output.GetSegmentation().GetNthSegment(0).GetRepresentation(scene.SURFACE)

    def isFinished(isIdle) -> bool:
        assert any(map(isSeenIn3D, [output, *previews()]))
        return isIdle()

    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    for size in (120, 60):
        roiNode.SetSizeWorld(200, 200, size)
        settlePreview(panel, isFinished)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    panel.host.wait(lambda: isFinished(lambda: atRest(panel)))
    assert isSeenIn3D(output) and not previews() and panel.ui.show3DButton.checked
    assert len(surfaceThreads) >= 3 and set(surfaceThreads) == {"LiverGTAN worker"}
    segmentation, shown = output.GetSegmentation(), vtk.vtkPolyData()
    shown.DeepCopy(segmentation.GetNthSegment(0).GetRepresentation(scene.SURFACE))
    segmentation.CreateRepresentation(scene.SURFACE, True)
    exact = segmentation.GetNthSegment(0).GetRepresentation(scene.SURFACE)
    assert exact.GetNumberOfPoints() == shown.GetNumberOfPoints()
    np.testing.assert_allclose(exact.GetBounds(), shown.GetBounds(), atol=1e-3)
    panel.click(panel.ui.undoButton)
    settle(panel)
    assert segmentation.GetNthSegment(0).GetRepresentation(scene.SURFACE) == before and panel.ui.show3DButton.checked


def test_show_3d_shades_smoothly(panel, segmented):
    panel.click(panel.ui.show3DButton)
    shown = panel.output.GetSegmentation().GetNthSegment(0).GetRepresentation(scene.SURFACE)
    assert shown.GetPointData().GetNormals() is not None


def test_where_the_segment_is_not_seen_in_3d_neither_is_the_preview(panel, segmented):
    roiNode, output = addRoi(panel), panel.output
    display, segmentId = output.GetDisplayNode(), output.GetSegmentation().GetNthSegmentID(0)
    output.CreateClosedSurfaceRepresentation()
    display.SetSegmentVisibility3D(segmentId, False)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [20, 0, 0]))
    panel.host.wait(previews)
    (shown,) = previews()
    assert not shown.GetDisplayNode().GetVisibility3D()
    assert not shown.GetSegmentation().ContainsRepresentation(scene.SURFACE)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    assert not display.GetSegmentVisibility3D(segmentId)


def test_let_go_where_it_was_nothing_is_written(panel, segmented):
    roiNode = addRoi(panel)
    states, center = undoStates(panel), np.array(roiNode.GetCenterWorld())
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    for shift in (5, 9, 4, 0):
        roiNode.SetCenterWorld(*(center + [0, shift, 0]))
        panel.host.processEvents()
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    assert undoStates(panel) == states and not previews()


def test_a_script_moves_the_roi_and_the_mask_follows_when_it_rests(panel, segmented):
    before, roiNode = liver(panel, segmented), addRoi(panel)
    states = undoStates(panel)
    for height in (60, 50, 40):
        roiNode.SetSizeWorld(200, 200, height)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before & inside(roiNode, segmented))
    assert undoStates(panel) == states + 1


def test_a_handle_that_does_not_tell_its_grasp_still_makes_one_undo(panel, segmented):
    roiNode = addRoi(panel)
    states = undoStates(panel)
    drag(panel, roiNode, (0, 0, 30), steps=10, tellsStart=False)
    settle(panel)
    assert undoStates(panel) == states + 1


def test_a_turned_roi_under_a_transform(panel, segmented):
    before, roiNode = liver(panel, segmented), addRoi(panel)
    turn = vtk.vtkTransform()
    turn.RotateZ(25)
    turn.Translate(12, -5, 8)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(turn.GetMatrix())
    roiNode.SetSizeWorld(90, 70, 60)
    roiNode.SetAndObserveTransformNodeID(node.GetID())
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before & inside(roiNode, segmented))
    turn.RotateX(15)
    node.SetMatrixTransformToParent(turn.GetMatrix())
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before & inside(roiNode, segmented))


def test_without_the_roi_the_whole_volume_counts_again(panel, segmented):
    before, roiNode = liver(panel, segmented), addRoi(panel)
    drag(panel, roiNode, (30, 0, 40), steps=5)
    settle(panel)
    slicer.mrmlScene.RemoveNode(roiNode)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)


def test_undo_takes_the_roi_back_too(panel, segmented):
    roiNode = addRoi(panel)
    drag(panel, roiNode, (0, 0, 20), steps=5)
    settle(panel)
    first, center = liver(panel, segmented), roiNode.GetCenterWorld()
    drag(panel, roiNode, (0, 0, 25), steps=5)
    settle(panel)
    second = liver(panel, segmented)
    panel.click(panel.ui.undoButton)
    settle(panel)
    np.testing.assert_allclose(roiNode.GetCenterWorld(), center)
    np.testing.assert_array_equal(liver(panel, segmented), first)
    panel.click(panel.ui.redoButton)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), second)
    assert panel.ui.resultLabel.text.startswith(f"Liver {second.sum() * 0.012:.0f} mL")


def test_an_roi_beside_the_liver_keeps_the_segment_and_says_so(panel, segmented):
    before, roiNode = liver(panel, segmented), addRoi(panel)
    drag(panel, roiNode, (0, 0, 4000), steps=3)
    settle(panel)
    np.testing.assert_array_equal(liver(panel, segmented), before)
    assert "No liver is left" in panel.ui.resultLabel.text and not panel.host.dialogs.messages


def test_before_the_first_mask_nothing_is_written_unasked(panel, phantom):
    settle(panel)
    roiNode = addRoi(panel)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    roiNode.SetSizeWorld(80, 80, 40)
    panel.host.wait(previews)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    assert not segmentations() and not previews()
    panel.segment()
    assert not (liver(panel, phantom) & ~inside(roiNode, phantom)).any()


def test_each_volume_keeps_its_own_roi(panel, segmented):
    roiNode = addRoi(panel)
    other, _ = self_test.addPhantom("Other")
    panel.choose(other)
    assert panel.ui.regionSelector.currentNode() is None
    otherRoi = addRoi(panel)
    panel.choose(segmented)
    assert panel.ui.regionSelector.currentNode() == roiNode
    panel.choose(other)
    assert panel.ui.regionSelector.currentNode() == otherRoi
    settle(panel)


def test_3d_is_left_alone_while_dragging_and_made_anew_on_release(panel, segmented):
    roiNode = addRoi(panel)
    panel.click(panel.ui.show3DButton)
    segmentation = panel.output.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    surface = segmentation.GetNthSegment(0).GetRepresentation(name)
    time = surface.GetMTime()
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    for _ in range(5):
        roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [0, 0, 6]))
        panel.host.processEvents()
        assert segmentation.GetNthSegment(0).GetRepresentation(name) is surface and surface.GetMTime() == time
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    panel.host.wait(lambda: segmentation.ContainsRepresentation(name))
    assert segmentation.GetNthSegment(0).GetRepresentation(name).GetMTime() > time
    assert panel.ui.show3DButton.checked


def test_an_roi_without_extent_restricts_nothing(panel, segmented):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    assert roi.readRegion(empty) is None and roi.readRegion(None) is None


def test_the_preview_is_what_a_slice_view_shows_meanwhile(panel, segmented):
    """Drawn by the real displayable managers: what lies outside the ROI vanishes while the ROI is still dragged."""
    from host.views import SliceView

    roiNode, before = addRoi(panel), liver(panel, segmented)
    middle = worldOf(segmented, np.argwhere(before).mean(axis=0))
    roiNode.GetDisplayNode().SetVisibility(False) if roiNode.GetDisplayNode() else None
    view = SliceView(segmented, ras=middle)
    try:

        def colored() -> int:
            pixels = view.picture().astype(int)
            return int((pixels[..., 0] - pixels[..., 2] > 25).sum())

        whole = colored()
        roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
        roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [roiNode.GetSize()[0] / 2, 0, 0]))
        panel.host.wait(previews)
        dragged = colored()
        roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
        settle(panel)
        released = colored()
    finally:
        view.close()
    assert whole > 500 and dragged < 0.8 * whole
    assert abs(dragged - released) < 0.15 * whole
