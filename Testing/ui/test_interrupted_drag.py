"""Whatever ends in the middle of a drag: no thread is left, nothing is half-written, and the main thread stays free."""

import threading

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core import measurements, segmenter, threads, uncertainty
from LiverGTANLib.mrml import scene, self_test
from support.call_recorder import recorder
from support.interactive_cases import addRoi, drag, inside, letTimersFire, liver, previews, segmented, settle
from support.module_fixtures import students
from support.panel_cases import panel, phantom, segmentations

pytestmark = pytest.mark.slow


def closeScene(panel, volumeNode):
    slicer.mrmlScene.Clear()


def removeVolume(panel, volumeNode):
    slicer.mrmlScene.RemoveNode(volumeNode)


def removeSegmentation(panel, volumeNode):
    slicer.mrmlScene.RemoveNode(panel.output)


def removeRoi(panel, volumeNode):
    slicer.mrmlScene.RemoveNode(panel.widget.panel.parameterNode.region)


def openAnotherModule(panel, volumeNode):
    panel.host.leaveModule()


def reloadModule(panel, volumeNode):
    panel.widget.onReload()


def quitApplication(panel, volumeNode):
    panel.widget.cleanup()


def ours() -> list:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("LiverGTAN")]


@pytest.mark.parametrize(
    "end", [closeScene, removeVolume, removeSegmentation, removeRoi, openAnotherModule, reloadModule, quitApplication]
)
def test_an_end_in_the_middle_of_a_drag(panel, segmented, end):
    roiNode = addRoi(panel)
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    for _ in range(5):
        roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [0, 0, 4]))
        panel.host.processEvents()
    before = {node.GetID(): liverVoxels(node) for node in segmentations() if not node.GetHideFromEditors()}
    end(panel, segmented)
    if end in (closeScene, openAnotherModule, reloadModule, quitApplication):
        assert not previews()
    letTimersFire(panel)
    for node in segmentations():
        assert node.GetHideFromEditors() or liverVoxels(node) == before[node.GetID()]
    if end in (openAnotherModule, quitApplication, closeScene):
        assert not ours()
    assert not panel.host.dialogs.messages


def liverVoxels(segmentationNode) -> int:
    segment = segmentationNode.GetSegmentation().GetSegment(scene.liverSegmentId(segmentationNode))
    return scene.segmentVoxels(segment) if segment else 0


def test_the_pool_of_threads_is_closed_with_the_panel_and_comes_back_on_demand(panel, segmented):
    threads.for_each(lambda item: item, range(4))
    panel.widget.cleanup()
    assert not ours()
    assert threads.for_each(lambda item: item + 1, range(4)) == [1, 2, 3, 4]
    threads.close()
    assert not ours()


def test_dragging_goes_on_while_a_scan_is_still_being_analyzed(students, panel, segmented):
    """The network runs until it is let go; meanwhile the ROI is dragged, and its last state is the mask in the end."""
    students.gate = threading.Event()
    before, roiNode = liver(panel, segmented), addRoi(panel)
    panel.ui.studentComboBox.setCurrentIndex(1)
    drag(panel, roiNode, (0, 0, 40), steps=20)
    panel.host.wait(lambda: len(students.made) == 2 and students.made[-1].images)  # which waits, as its gate is shut
    assert len(students.made) == 2 and panel.widget.panel.runner.task is not None
    students.gate.set()
    settle(panel)
    expected = before & inside(roiNode, segmented)
    # The second network's pass may share its work otherwise among threads; rounding then decides voxels on the border.
    assert np.count_nonzero(liver(panel, segmented) != expected) < 1e-3 * expected.sum()
    assert 0 < expected.sum() < before.sum()


def shownAs(segmentationNode) -> tuple[bool, bool, bool]:
    """Whether the liver is filled and outlined in slice views, and shown in 3D."""
    display, segmentId = segmentationNode.GetDisplayNode(), scene.liverSegmentId(segmentationNode)
    slices = display.GetSegmentVisibility2DFill(segmentId), display.GetSegmentVisibility2DOutline(segmentId)
    return (*slices, display.GetSegmentVisibility3D(segmentId))


@pytest.mark.parametrize("isAnnounced", [True, False])
def test_a_scene_saved_in_the_middle_of_a_drag_shows_the_liver_as_before_it(panel, segmented, tmp_path, isAnnounced):
    """Slicer saves scenes with and without the events of saving; the file is loaded by this module in both cases."""
    panel.output.GetDisplayNode().SetSegmentVisibility2DFill(scene.liverSegmentId(panel.output), False)
    before, roiNode, mrmlScene = shownAs(panel.output), addRoi(panel), slicer.mrmlScene
    roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
    roiNode.SetCenterWorld(*(np.array(roiNode.GetCenterWorld()) + [0, 0, 20]))
    panel.host.wait(previews)
    assert before == (False, True, True) and shownAs(panel.output) == (False, False, False)
    panel.output.AddDefaultStorageNode()
    panel.output.GetStorageNode().SetFileName(str(tmp_path / "mask.seg.nrrd"))
    assert panel.output.GetStorageNode().WriteData(panel.output)
    mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    if isAnnounced:
        mrmlScene.StartState(mrmlScene.SaveState)
        assert shownAs(panel.output) == before and previews()
    assert mrmlScene.Commit()
    if isAnnounced:
        mrmlScene.EndState(mrmlScene.SaveState)
        assert "LiverGTAN.shown" not in (tmp_path / "scene.mrml").read_text()
    assert shownAs(panel.output) == (False, False, False) and previews()
    roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
    settle(panel)
    assert shownAs(panel.output) == before and not panel.output.GetDisplayNode().GetAttributeNames()
    panel.host.completeStartup()
    assert mrmlScene.Connect()
    panel.host.processEvents()
    loaded = segmentations()[0]
    assert scene.liverSegmentId(loaded) and not loaded.GetDisplayNode().GetAttributeNames()
    assert shownAs(loaded) == before


LONG = (
    segmenter.analyze,
    segmenter.mask,
    segmenter.coarse_mask,
    uncertainty.interval,
    uncertainty.overlay,
    measurements.attenuation,
)


def test_what_takes_long_never_runs_on_the_main_thread(recorder, panel):
    """Select, segment, drag, show the uncertain border: on a scan of any size the event loop keeps its turns."""
    threadsOf = {function: set() for function in LONG}
    for function, seen in threadsOf.items():
        recorder.watch(function, lambda *_, seen=seen: seen.add(threading.current_thread()))
    recorder.start()
    panel.choose(self_test.addPhantom()[0])
    panel.segment()
    settle(panel)
    panel.click(panel.ui.uncertaintyCheckBox)
    drag(panel, addRoi(panel), (0, 0, 30), steps=10)
    settle(panel)
    recorder.stop()
    for function, seen in threadsOf.items():
        assert seen and threading.main_thread() not in seen, function.__name__
