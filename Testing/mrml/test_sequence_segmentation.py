"""A sequence of CTs frame by frame: what is written, what is refused, Undo, edits, and errors in between."""

from dataclasses import replace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from slicer.util import arrayFromSegmentBinaryLabelmap, updateSegmentBinaryLabelmapFromArray

from LiverGTANLib.core.engines.engine import Cancelled
from LiverGTANLib.core.postprocess import PostprocessSettings
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import scene, sequence_curve, volume_curve
from LiverGTANLib.mrml.ct_sequence import CtSequence
from LiverGTANLib.mrml.frame_state import CT_CHANGED, MOVED
from LiverGTANLib.mrml.parameters import ChosenParameters
from LiverGTANLib.mrml.review import Review
from LiverGTANLib.mrml.sequence_curve import BEFORE_CHANGED
from LiverGTANLib.mrml.sequence_segmentation import FrameSegmentation
from LiverGTANLib.mrml.session import EDITED
from support.module_fixtures import logic, students
from support.mrml_cases import addSegment, addTransform, addWarp, rotation
from support.sequence_cases import addBrowser, addPhantomSequence, addSequence, addVolumes, phantomFrames


def masks(result) -> list:
    """Voxels of the liver in each frame, None where there is no segment."""
    found = []
    for n in range(result.segmentations.GetNumberOfDataNodes()):
        node = result.segmentations.GetNthDataNode(n)
        segment = node.GetSegmentation().GetSegment(scene.liverSegmentId(node))
        found.append(scene.segmentVoxels(segment) if segment else None)
    return found


def shown(result) -> np.ndarray:
    """The mask in the node that shows the selected frame, on the CT's grid."""
    node = result.segmentation
    return arrayFromSegmentBinaryLabelmap(node, scene.liverSegmentId(node), result.source.proxyNode)


def nodes() -> list:
    """IDs of all nodes but the module's own parameters."""
    mrmlScene = slicer.mrmlScene
    ids = [mrmlScene.GetNthNode(n).GetID() for n in range(mrmlScene.GetNumberOfNodes())]
    return [i for i in ids if "ScriptedModule" not in i]


def brokenFrames() -> list:
    """A phantom, one that is no CT, one of air, one on another grid, and the phantom again."""
    (first, matrix), (last, _) = phantomFrames(2)
    mr = np.clip(first, 0, None)
    air = np.full_like(first, -1000)
    air[:, 10:20, 10:30] = 60
    return [(first, matrix), (mr, matrix), (air, matrix), (last[:-2], matrix), (last, matrix)]


def test_every_frame_gets_the_mask_that_it_gets_alone(logic, slicerHost):
    browser, volume = addPhantomSequence(3)
    browser.SetSelectedItemNumber(1)
    before = slicer.util.arrayFromVolume(volume).copy()
    result = logic.segmentSequence(volume)
    assert browser.GetSelectedItemNumber() == 1
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), before)
    assert result.problems == [] and len(result.points) == 3
    for n in range(3):
        browser.SetSelectedItemNumber(n)
        mask = shown(result)
        alone = logic.process(addVolumes([phantomFrames(3)[n]])[0])
        np.testing.assert_array_equal(
            mask, arrayFromSegmentBinaryLabelmap(alone.segmentation, alone.segmentId, alone.volumeNode)
        )
        assert result.points[n].volumeMl == pytest.approx(alone.volumeMl)
        assert result.points[n].meanHu == pytest.approx(alone.attenuation.mean_hu)
        assert masks(result)[n] == np.count_nonzero(mask) == result.points[n].voxels
    first, second = masks(result)[:2]
    assert 0.85 < result.points[1].dice < 1 and first and second
    assert result.flicker.ml < 0.02 * result.points[0].volumeMl


def test_the_sequence_has_the_index_of_the_cts_and_is_that_volumes_liver(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    result = logic.segmentSequence(browser)  # the browser instead of its volume
    made, source = result.segmentations, result.source.sequenceNode
    assert [made.GetNthIndexValue(n) for n in range(2)] == [source.GetNthIndexValue(n) for n in range(2)]
    assert (made.GetIndexName(), made.GetIndexUnit()) == ("time", "s")
    assert browser.GetProxyNode(made) == result.segmentation and browser.GetSaveChanges(made)
    assert scene.findSegmentation(volume) == result.segmentation
    assert scene.liverVolume(result.segmentation) == volume
    assert result.tableNode.GetNumberOfRows() == 2
    assert result.tableNode.GetTable().GetColumnByName("time [s]").GetValue(1) == 1.5
    assert result.chartNode.GetNthPlotSeriesNode(0).GetTableNode() == result.tableNode
    hidden = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetHideFromEditors()]
    assert hidden == []
    segment = result.segmentation.GetSegmentation().GetSegment(scene.liverSegmentId(result.segmentation))
    origin = vtk.reference("")
    assert segment.GetTag(scene.ALGORITHM_TYPE_TAG, origin) and origin == "AUTOMATIC"  # in a DICOM segmentation


def test_frames_without_a_liver_say_why_and_the_others_are_there(logic, slicerHost):
    _browser, volume = addBrowser(addSequence(addVolumes(brokenFrames())))
    result = logic.segmentSequence(volume)
    assert [number for number, _ in result.problems] == [2, 3]
    reasons = dict(result.problems)
    assert "Hounsfield" in reasons[2] and "liver" in reasons[3]
    assert [count is None for count in masks(result)] == [False, True, True, False, False]
    assert [point.dice is None for point in result.points] == [True] * 5  # other grids, or nothing before
    hints = result.tableNode.GetTable().GetColumnByName(volume_curve.HINT)
    assert hints.GetValue(1) == reasons[2]
    browser = result.source.browserNode
    for n in (1, 2, 3, 0):
        browser.SetSelectedItemNumber(n)
        segmentId = scene.liverSegmentId(result.segmentation)
        assert bool(segmentId) == (masks(result)[n] is not None)
    assert [count is None for count in masks(result)] == [False, True, True, False, False]


def test_a_run_that_finds_nothing_or_is_no_sequence_of_cts_changes_nothing(logic, slicerHost):
    (_, mr, air, _, _), before = brokenFrames(), None
    _browser, volume = addBrowser(addSequence(addVolumes([mr, air])))
    before = nodes()
    with pytest.raises(InputError, match=r"No frame holds a liver.*Frame 1: .*Hounsfield"):
        logic.segmentSequence(volume)
    assert nodes() == before


def test_what_cannot_be_segmented_is_told_what_is_wrong(logic, slicerHost):
    alone = addVolumes(phantomFrames(1))[0]
    with pytest.raises(InputError, match="no frame of a sequence"):
        logic.segmentSequence(alone)
    with pytest.raises(InputError, match="volume of a sequence cannot be None; give a node"):
        logic.segmentSequence(None)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "empty")
    with pytest.raises(InputError, match="no frames of a CT"):
        logic.segmentSequence(empty)
    browser, volume = addPhantomSequence(2)
    browser.GetMasterSequenceNode().RemoveAllDataNodes()
    with pytest.raises(InputError, match="no frames"):
        logic.segmentSequence(volume)
    inside = (phantomFrames(1)[0][0] > 0).astype(np.uint8)
    masksAlone = addVolumes([(inside, np.eye(4))], "vtkMRMLLabelMapVolumeNode")
    _browser, labels = addBrowser(addSequence(masksAlone))
    with pytest.raises(InputError, match="no sequence of CTs"):
        logic.segmentSequence(labels)


def test_a_browser_with_two_cts_asks_which(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    other = addSequence(addVolumes(phantomFrames(2)), name="second")
    browser.AddSynchronizedSequenceNodeID(other.GetID())
    with pytest.raises(InputError, match="several sequences"):
        logic.segmentSequence(browser)
    assert logic.segmentSequence(volume).source.sequenceNode == browser.GetMasterSequenceNode()
    assert logic.segmentSequence(browser.GetProxyNode(other)).source.sequenceNode == other


@pytest.mark.parametrize("fits", [True, False])
def test_a_ct_that_is_not_what_the_browser_goes_by(logic, slicerHost, fits):
    """Another sequence with fewer items is the master, or one with an item at which there is no CT."""
    browser, volume = addPhantomSequence(3)
    cts = browser.GetMasterSequenceNode()
    nodes = [addTransform(slicer.mrmlScene, rotation(0, n)) for n in range(2)]
    other = addSequence(nodes, name="table", times=["0", "3" if fits else "4"])
    browser.AddSynchronizedSequenceNodeID(other.GetID())
    browser.SetAndObserveMasterSequenceNodeID(other.GetID())
    assert browser.GetSequenceNode(volume) == cts
    browser.SetSelectedItemNumber(1)
    if not fits:
        with pytest.raises(InputError, match="master sequence"):
            logic.segmentSequence(volume)
        return
    result = logic.segmentSequence(volume)
    assert len(masks(result)) == 3
    for item, frame in ((1, 2), (0, 0), (1, 2)):
        browser.SetSelectedItemNumber(item)
        assert np.count_nonzero(shown(result)) == masks(result)[frame]
    assert len(masks(result)) == 3 and None not in masks(result)


def test_text_indices_keep_their_frames(logic, slicerHost):
    _browser, volume = addBrowser(addSequence(addVolumes(phantomFrames(3)), ["systole", "diastole", "rest"]))
    result = logic.segmentSequence(volume)
    assert [result.segmentations.GetNthIndexValue(n) for n in range(3)] == ["systole", "diastole", "rest"]
    assert logic.measureSequence(volume) == result.points
    assert result.chartNode.GetXAxisTitle() == "Frame"


def test_undo_leaves_the_scene_as_it_was(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    browser.SetSelectedItemNumber(1)
    before = nodes()
    result = logic.segmentSequence(volume)
    assert len(nodes()) > len(before)
    for n in (0, 1):
        browser.SetSelectedItemNumber(n)  # looking at frames edits none
    result.undo()
    assert nodes() == before and browser.GetSelectedItemNumber() == 1
    assert browser.GetNumberOfSynchronizedSequenceNodes(True) == 1
    with pytest.raises(InputError, match="nothing to undo"):
        result.undo()
    logic.segmentSequence(volume)  # nothing is left that would have to be replaced


def test_segmentations_that_are_there_are_replaced_only_where_that_is_allowed_and_come_back(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    first = logic.segmentSequence(volume)
    before, there = nodes(), masks(first)
    with pytest.raises(InputError, match="segmented already"):
        logic.segmentSequence(volume)
    assert nodes() == before and masks(first) == there
    second = logic.segmentSequence(volume, settings=PostprocessSettings(threshold=0.6), replace=True)
    assert len(nodes()) == len(before) and second.segmentation == first.segmentation
    assert all(new < old for new, old in zip(masks(second), there))
    assert np.count_nonzero(shown(second)) == masks(second)[0]
    second.undo()
    assert masks(first) == there and np.count_nonzero(shown(first)) == there[0]
    assert logic.measureSequence(volume) == first.points
    browser.SetSelectedItemNumber(1)
    assert np.count_nonzero(shown(first)) == there[1]
    assert len(nodes()) == len(before)
    first.undo()


def test_what_is_edited_goes_into_its_frame_and_the_curve_says_so(logic, slicerHost):
    browser, volume = addPhantomSequence(3)
    result = logic.segmentSequence(volume)
    there = masks(result)
    browser.SetSelectedItemNumber(1)
    edited = shown(result).copy()
    edited[: len(edited) // 2] = 0
    node = result.segmentation
    updateSegmentBinaryLabelmapFromArray(edited, node, scene.liverSegmentId(node), volume)
    for n in (2, 0, 1):
        browser.SetSelectedItemNumber(n)
    assert masks(result) == [there[0], np.count_nonzero(edited), there[2]]
    points = logic.measureSequence(volume)
    assert points[0] == result.points[0]
    assert points[2] == replace(result.points[2], dice=None, hint=BEFORE_CHANGED)
    assert points[1].hint == EDITED and points[1].meanHu is None and points[1].lowMl is None
    assert points[1].volumeMl == pytest.approx(np.count_nonzero(edited) * 0.125)
    assert volume_curve.read(result.tableNode, "time [s]")[1].volumeMl == pytest.approx(points[1].volumeMl)
    with pytest.raises(InputError, match="edited since"):
        result.undo()
    assert masks(result)[1] == np.count_nonzero(edited)


def write(node, array, volume) -> None:
    updateSegmentBinaryLabelmapFromArray(array, node, scene.liverSegmentId(node), volume)


def test_an_edit_that_leaves_the_number_of_voxels_is_seen_and_so_is_its_undo(logic, slicerHost):
    browser, volume = addPhantomSequence(3)
    result = logic.segmentSequence(volume)
    browser.SetSelectedItemNumber(1)
    there = shown(result).copy()
    write(result.segmentation, np.roll(there, 3, axis=1), volume)
    first, second, third = logic.measureSequence(volume)
    assert first == result.points[0] and second.voxels == result.points[1].voxels
    assert second.hint == EDITED and second.meanHu is second.dice is None
    assert third.hint == BEFORE_CHANGED and third.dice is None and third.meanHu == result.points[2].meanHu
    with pytest.raises(InputError, match="edited since"):
        result.undo()
    write(result.segmentation, there, volume)
    assert logic.measureSequence(volume) == result.points
    result.undo()
    assert CtSequence.of(volume).segmentations is None


@pytest.mark.parametrize("under", [("ct", "mask"), ("mask",), ("ct",)])
def test_a_scale_put_on_after_the_run_counts_in_every_frame_until_it_is_taken_off(logic, slicerHost, under):
    _browser, volume = addPhantomSequence(3)
    result = logic.segmentSequence(volume)
    transform = addTransform(slicer.mrmlScene, np.diag([1.2, 1, 1, 1.0]))
    nodes = [{"ct": volume, "mask": result.segmentation}[name] for name in under]
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    factor = 1.2 if "mask" in under else 1
    edited = shown(result).copy()
    for points in (logic.measureSequence(volume), logic.measureSequence(volume)):
        expected = [factor * point.volumeMl for point in result.points]
        assert [point.volumeMl for point in points] == pytest.approx(expected)
        assert all(point.hint == MOVED and point.meanHu is point.lowMl is point.dice is None for point in points)
    for node in nodes:
        node.SetAndObserveTransformNodeID(None)
    assert logic.measureSequence(volume) == result.points
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    if under == ("ct", "mask"):
        edited[: len(edited) // 2] = 0
        write(result.segmentation, edited, volume)
        first, *others = logic.measureSequence(volume)
        assert first.volumeMl == pytest.approx(1.2 * 0.125 * np.count_nonzero(edited))
        assert [point.volumeMl for point in others] == pytest.approx(expected[1:])


def test_a_warp_put_on_after_the_run_and_a_scale_taken_off(logic, slicerHost):
    _browser, volume = addPhantomSequence(2)
    scale = addTransform(slicer.mrmlScene, np.diag([1.2, 1, 1, 1.0]))
    volume.SetAndObserveTransformNodeID(scale.GetID())
    result = logic.segmentSequence(volume)
    warp = addWarp(slicer.mrmlScene, lambda ras: 0.05 * ras * [0, 0, 1])
    for transformId, factor in ((None, 1), (warp.GetID(), 1.05)):
        for node in (volume, result.segmentation):
            node.SetAndObserveTransformNodeID(transformId)
        for before, point in zip(result.points, logic.measureSequence(volume)):
            assert point.volumeMl == pytest.approx(factor * before.volumeMl / 1.2, rel=0.01) and point.hint == MOVED


def test_frames_that_are_moved_together_stay_as_they_are(logic, slicerHost):
    _browser, volume = addPhantomSequence(2)
    result = logic.segmentSequence(volume)
    turn = addTransform(slicer.mrmlScene, rotation(0, 8))
    volume.SetAndObserveTransformNodeID(turn.GetID())
    assert [point.hint for point in logic.measureSequence(volume)] == [MOVED] * 2
    result.segmentation.SetAndObserveTransformNodeID(turn.GetID())
    assert logic.measureSequence(volume) == result.points


def test_a_deleted_ct_leaves_the_curve_and_changed_voxels_leave_the_volume_alone(logic, slicerHost):
    _browser, volume = addPhantomSequence(4)
    result = logic.segmentSequence(volume)
    cts = result.source.sequenceNode
    cts.RemoveDataNodeAtValue("1.5")
    image = cts.GetNthDataNode(2).GetImageData()
    vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:9] = 7
    image.Modified()
    first, second, third = logic.measureSequence(volume)
    assert first == result.points[0] and second.index == "3"
    assert second == replace(result.points[2], dice=None, hint=BEFORE_CHANGED)
    assert (third.volumeMl, third.meanHu, third.hint) == (pytest.approx(result.points[3].volumeMl), None, CT_CHANGED)
    assert result.tableNode.GetNumberOfRows() == 3


def test_frames_that_another_browser_shows_segmented_are_refused(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    second = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Second")
    second.SetAndObserveMasterSequenceNodeID(browser.GetMasterSequenceNode().GetID())
    other = second.GetProxyNode(browser.GetMasterSequenceNode())
    early = FrameSegmentation(logic.session, other, ChosenParameters(engine="numpy"))
    found = early.segment()
    result = logic.segmentSequence(volume)
    before = nodes()
    for again in (lambda: logic.segmentSequence(other, replace=True), lambda: early.apply(found)):
        with pytest.raises(InputError, match=r"in the browser 'Browser'; choose"):
            again()
    assert nodes() == before and logic.measureSequence(volume) == result.points
    result.undo()
    assert len(logic.segmentSequence(other).points) == 2


def test_undo_does_not_lose_a_plan(logic, slicerHost):
    _browser, volume = addPhantomSequence(2)
    result = logic.segmentSequence(volume)
    plan = logic.splitLiver(result.segmentation)
    before = nodes()
    with pytest.raises(InputError, match="resection was planned"):
        result.undo()
    assert nodes() == before
    plan.remove()
    result.undo()
    assert CtSequence.of(volume).segmentations is None


def test_a_new_run_puts_the_masks_where_the_ct_is_and_undo_puts_them_back(logic, slicerHost):
    _browser, volume = addPhantomSequence(2)
    first = logic.segmentSequence(volume)
    transform = addTransform(slicer.mrmlScene, np.diag([1.2, 1, 1, 1.0]))
    first.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    second = logic.segmentSequence(volume, replace=True)
    assert second.segmentation.GetParentTransformNode() is None
    assert logic.measureSequence(volume) == second.points
    second.undo()
    assert first.segmentation.GetParentTransformNode() == transform


def test_a_frame_segmented_again_alone_can_be_undone_alone(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    result = logic.segmentSequence(volume)
    there = masks(result)
    logic.process(volume, result.segmentation, settings=PostprocessSettings(threshold=0.6))
    assert masks(result)[0] < there[0] and masks(result)[1] == there[1]
    browser.SetSelectedItemNumber(1)
    assert logic.session.undoObstacle(result.segmentation)  # nothing was done to this frame
    browser.SetSelectedItemNumber(0)
    logic.session.undo(result.segmentation)
    assert masks(result) == there


def test_a_frame_that_is_added_later_shows_no_other_frames_mask_and_can_be_segmented(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    result = logic.segmentSequence(volume)
    there = masks(result)
    (node,) = addVolumes(phantomFrames(4)[3:])
    result.source.sequenceNode.SetDataNodeAtValue(node, "9")
    slicer.mrmlScene.RemoveNode(node)
    browser.SetSelectedItemNumber(2)
    assert scene.liverSegmentId(result.segmentation) == ""
    browser.SetSelectedItemNumber(0)
    assert masks(result) == [*there, None] and logic.measureSequence(volume)[2].volumeMl is None
    browser.SetSelectedItemNumber(2)
    alone = logic.process(volume, result.segmentation)
    browser.SetSelectedItemNumber(1)
    assert masks(result)[:2] == there
    assert logic.measureSequence(volume)[2].volumeMl == pytest.approx(alone.volumeMl)


def test_a_recording_browser_is_refused(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    browser.SetRecordingActive(True)
    with pytest.raises(InputError, match="recording"):
        logic.segmentSequence(volume)


def test_each_frame_has_a_review_of_its_own(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    result = logic.segmentSequence(volume)
    found = Review(result.segmentation, jump=lambda ras: None)
    found.mark(found.next().number)
    share = found.share
    browser.SetSelectedItemNumber(1)
    assert found.share < share
    found.mark(found.next().number)
    browser.SetSelectedItemNumber(0)
    assert found.share == pytest.approx(share) and share > 0


def test_a_turned_and_larger_scan_is_measured_in_the_world(logic, slicerHost):
    _browser, volume = addPhantomSequence(2)
    transform = addTransform(slicer.mrmlScene, rotation(0, 8) @ np.diag([1.1, 1.1, 1.1, 1]))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    result = logic.segmentSequence(volume, engine="numpy")
    alone = logic.process(volume, engine="numpy")
    assert result.points[0].volumeMl == pytest.approx(alone.volumeMl)
    assert result.segmentation.GetParentTransformNode() == transform
    assert logic.measureSequence(volume) == result.points


def test_under_a_warp_volumes_are_true_and_measured_once_for_all_frames(logic, slicerHost, monkeypatch):
    from LiverGTANLib.mrml.warp import Warp

    _browser, volume = addPhantomSequence(3)
    warp = addWarp(slicer.mrmlScene, lambda ras: 0.05 * ras * [0, 0, 1])
    volume.SetAndObserveTransformNodeID(warp.GetID())
    measured, of = [], Warp.of
    monkeypatch.setattr(Warp, "of", staticmethod(lambda node: measured.append(node) or of(node)))
    result = logic.segmentSequence(volume, engine="numpy")
    assert len(measured) == 1
    assert result.points[0].volumeMl == pytest.approx(logic.process(volume, engine="numpy").volumeMl)
    assert result.points[0].volumeMl == pytest.approx(1.05 * result.points[0].voxels * 0.125, rel=0.01)
    assert logic.measureSequence(volume) == result.points


def test_a_transform_that_changes_from_frame_to_frame_is_refused(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    transforms = addSequence([addTransform(slicer.mrmlScene, rotation(0, n)) for n in range(2)], name="motion")
    browser.AddSynchronizedSequenceNodeID(transforms.GetID())
    volume.SetAndObserveTransformNodeID(browser.GetProxyNode(transforms).GetID())
    with pytest.raises(InputError, match="another one in each frame"):
        logic.segmentSequence(volume)


def run(logic, volume) -> FrameSegmentation:
    return FrameSegmentation(logic.session, volume, ChosenParameters(engine="numpy"))


@pytest.mark.parametrize("what", ["sequence", "browser", "volume"])
def test_nodes_removed_while_a_run_goes_on(logic, slicerHost, what):
    browser, volume = addPhantomSequence(2)
    frames = run(logic, volume)
    results = frames.segment()
    node = {"sequence": browser.GetMasterSequenceNode(), "browser": browser, "volume": volume}[what]
    slicer.mrmlScene.RemoveNode(node)
    slicerHost.processEvents()
    before = nodes()
    assert not frames.nodesExist
    with pytest.raises(InputError, match="removed meanwhile"):
        frames.apply(results)
    assert nodes() == before


def test_frames_changed_while_a_run_goes_on(logic, slicerHost):
    browser, volume = addPhantomSequence(2)
    frames = run(logic, volume)
    results = frames.segment()
    key = frames.source.key()
    browser.SetSelectedItemNumber(1)  # looking at another frame changes none
    assert frames.source.key() == key
    image = browser.GetMasterSequenceNode().GetNthDataNode(0).GetImageData()
    image.Modified()
    before = nodes()
    with pytest.raises(InputError, match="changed while"):
        frames.apply(results)
    assert nodes() == before


def edit(result, frame: int) -> np.ndarray:
    """Take half of the liver of a frame (from 0) away, as a user does in the node that shows it; returns what stays."""
    result.source.browserNode.SetSelectedItemNumber(frame)
    edited = shown(result).copy()
    edited[: len(edited) // 2] = 0
    write(result.segmentation, edited, result.source.proxyNode)
    return edited


@pytest.mark.parametrize("frame", [0, 1])
@pytest.mark.parametrize("isMoved", [False, True])
def test_frames_edited_while_a_run_goes_on_stay(logic, slicerHost, frame, isMoved):
    browser, volume = addPhantomSequence(2)
    result = logic.segmentSequence(volume)
    frames = FrameSegmentation(logic.session, volume, ChosenParameters(engine="numpy"), mayReplace=True)
    results = frames.segment()
    if isMoved:
        browser.SetSelectedItemNumber(frame)
        write(result.segmentation, np.roll(shown(result), 2, axis=1), volume)
    else:
        edit(result, frame)
    browser.SetSelectedItemNumber(1 - frame)
    before, there = nodes(), masks(result)
    with pytest.raises(InputError, match=rf"^Frame {frame + 1} was edited while .* nothing was changed"):
        frames.apply(results)
    assert nodes() == before and masks(result) == there


def test_frames_edited_before_a_run_are_named_and_replaced_only_where_that_is_allowed(logic, slicerHost):
    _browser, volume = addPhantomSequence(3)
    first = logic.segmentSequence(volume)
    for frame in (0, 2):
        edit(first, frame)
    there = masks(first)
    with pytest.raises(InputError, match=r"Frames 1 and 3 were edited since\. .*replaceEdited=True"):
        logic.segmentSequence(volume, replace=True)
    assert masks(first) == there
    second = logic.segmentSequence(volume, replace=True, replaceEdited=True)
    assert masks(second)[0] > there[0] and masks(second)[1] == there[1]
    second.undo()
    assert masks(first) == there and np.count_nonzero(shown(first)) == there[2]


def test_segments_of_the_user_stay_in_their_frames(logic, slicerHost):
    """Also those of a frame in which no liver is found any more; what is drawn later, Undo does not lose."""
    browser, volume = addPhantomSequence(3)
    first = logic.segmentSequence(volume)
    tumor = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    tumor[2:4, 3:6, 4:9] = 1
    frames = FrameSegmentation(logic.session, volume, ChosenParameters(engine="numpy"), mayReplace=True)
    results = frames.segment()
    browser.SetSelectedItemNumber(1)
    addSegment(first.segmentation, volume, "tumor", tumor)
    first.segmentation.GetSegmentation().CollapseBinaryLabelmaps(False)
    results[1] = replace(results[1], found=None)
    second = frames.apply(results)
    assert masks(second)[1] is None and None not in (masks(second)[0], masks(second)[2])
    np.testing.assert_array_equal(arrayFromSegmentBinaryLabelmap(second.segmentation, "tumor", volume), tumor)
    assert second.segmentation.GetSegmentation().GetSegment("tumor").GetName() == "tumor"
    browser.SetSelectedItemNumber(0)
    assert second.segmentation.GetSegmentation().GetSegment("tumor") is None
    browser.SetSelectedItemNumber(1)
    updateSegmentBinaryLabelmapFromArray(2 * tumor[::-1], second.segmentation, "tumor", volume)
    with pytest.raises(InputError, match="edited since"):
        second.undo()
    updateSegmentBinaryLabelmapFromArray(tumor, second.segmentation, "tumor", volume)
    second.undo()
    assert None not in masks(first)
    np.testing.assert_array_equal(arrayFromSegmentBinaryLabelmap(first.segmentation, "tumor", volume), tumor)


def test_progress_rises_and_cancel_in_the_middle_leaves_nothing(logic, slicerHost):
    _browser, volume = addPhantomSequence(3)
    before, told = nodes(), []
    frames = run(logic, volume)
    with pytest.raises(Cancelled):
        frames.segment(
            lambda fraction, text: told.append((fraction, text)), lambda: len(told) > 3 and told[-1][0] > 0.4
        )
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and 0.4 < fractions[-1] < 1 and told[-1][1].startswith("Frame 2 of 3")
    assert nodes() == before


@pytest.mark.parametrize("step", ["draw", "write"])
@pytest.mark.parametrize("again", [False, True])
def test_an_error_while_writing_leaves_all_as_it_was(logic, slicerHost, monkeypatch, step, again):
    browser, volume = addPhantomSequence(2)
    first = logic.segmentSequence(volume) if again else None
    before, there = nodes(), masks(first) if first else None

    def fail(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(volume_curve, step, fail)
    with pytest.raises(RuntimeError):
        logic.segmentSequence(volume, replace=True)
    monkeypatch.undo()
    assert sorted(nodes()) == sorted(before)
    assert browser.GetNumberOfSynchronizedSequenceNodes(True) == 1 + again
    if first:
        assert masks(first) == there and np.count_nonzero(shown(first)) == there[0]
        assert logic.measureSequence(volume) == first.points


@pytest.mark.parametrize(("module", "step", "again"), [(volume_curve, "write", True), (scene, "setOwned", False)])
def test_an_error_in_undo_leaves_the_run_which_can_then_be_undone(logic, slicerHost, monkeypatch, module, step, again):
    browser, volume = addPhantomSequence(2)
    empty = nodes()
    results = [logic.segmentSequence(volume)]
    if again:
        results.append(logic.segmentSequence(volume, settings=PostprocessSettings(threshold=0.6), replace=True))
    result, function, failed = results[-1], getattr(module, step), []
    before, there = nodes(), masks(result)

    def failOnce(*arguments):
        if failed:
            return function(*arguments)
        failed.append(step)
        raise RuntimeError("no")

    monkeypatch.setattr(module, step, failOnce)
    with pytest.raises(RuntimeError):
        result.undo()
    assert failed and sorted(nodes()) == sorted(before) and CtSequence.of(volume).segmentations == result.segmentations
    assert masks(result) == there and np.count_nonzero(shown(result)) == there[0]
    assert logic.measureSequence(volume) == result.points
    for one in results[::-1]:
        one.undo()
    assert nodes() == empty and browser.GetNumberOfSynchronizedSequenceNodes(True) == 1


def test_a_sequence_is_saved_and_loaded_with_the_scene(logic, slicerHost, tmp_path):
    browser, volume = addPhantomSequence(2)
    result = logic.segmentSequence(volume)
    points, there = result.points, masks(result)
    mrmlScene = slicer.mrmlScene
    storables = [
        mrmlScene.GetNthNode(n)
        for n in range(mrmlScene.GetNumberOfNodes())
        if mrmlScene.GetNthNode(n).IsA("vtkMRMLStorableNode") and mrmlScene.GetNthNode(n).GetSaveWithScene()
    ]
    for number, node in enumerate(storables):
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(str(tmp_path / f"{number}.{storage.GetDefaultWriteFileExtension()}"))
        assert storage.WriteData(node), node.GetName()
    mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert mrmlScene.Commit()
    mrmlScene.Clear(0)
    assert mrmlScene.Connect()
    browser = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")[0]
    source = CtSequence.of(browser)
    assert source.segmentations is not None
    loaded = [source.segmentations.GetNthDataNode(n) for n in range(2)]
    assert [scene.segmentVoxels(node.GetSegmentation().GetNthSegment(0)) for node in loaded] == there
    again = sequence_curve.measure(source)
    assert [replace(point, index="") for point in again] == [replace(point, index="") for point in points]
    with pytest.raises(InputError, match="segmented already"):
        logic.segmentSequence(browser)
