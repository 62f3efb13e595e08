"""LiverGTANLogic: segmenting from a script, without a panel and without a pop-up."""

from dataclasses import replace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from slicer.util import arrayFromVolume, arrayFromVolumeModified, updateVolumeFromArray

from LiverGTANLib.core import input_checks, measurements, segmenter, weight_file
from LiverGTANLib.core.engines.engine import EngineError
from LiverGTANLib.core.engines.factory import ENGINES
from LiverGTANLib.core.postprocess import PostprocessSettings
from LiverGTANLib.core.uncertainty import VolumeInterval
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.core.weight_file import StudentError
from LiverGTANLib.mrml import scene, segment_writer, self_test
from LiverGTANLib.mrml.parameters import ChosenParameters
from LiverGTANLib.mrml.segment_writer import SegmentWriter, WriteError
from LiverGTANLib.mrml.session import Session, liverState
from support import band_student
from support.module_fixtures import logic, students
from support.mrml_cases import NoOpLogic, addSegment, addTransform, addWarp, rotation

pytestmark = pytest.mark.slow


@pytest.fixture
def phantom(logic):
    """(volume node, liver mask)"""
    return self_test.addPhantom(spacingMm=(4.0, 4.0, 3.0))


def segmentationCount() -> int:
    return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")


def test_process_writes_the_liver_and_tells_volume_and_time(logic, phantom):
    volumeNode, liver = phantom
    result = logic.process(volumeNode)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, result.segmentId, volumeNode)
    assert measurements.dice(mask, liver) > 0.93
    assert result.volumeMl == pytest.approx(mask.sum() * 4 * 4 * 3 / 1000)
    assert (result.engine in ENGINES, result.student) == (True, "student-100k")
    assert {"resample", "network", "mask", "write", "total"} <= set(result.seconds)
    assert result.seconds["total"] >= max(result.seconds.values())
    assert result.segmentation.GetName() == "Phantom liver"
    assert result.segmentation.GetSegmentation().GetSegment(result.segmentId).HasTag("LiverGTAN")


@pytest.mark.parametrize("scenario", self_test.SCENARIOS)
def test_the_scenarios_of_the_self_test_pass(logic, scenario):
    import LiverGTAN

    scenario(LiverGTAN.LiverGTANTest(), logic)


def test_scripts_and_batches_are_told_of_an_odd_ct_and_of_a_body_that_lies_the_wrong_way_round(logic):
    logic._session = Session(slicer.mrmlScene)  # with the students that are installed, which know a body
    volumeNode, _ = self_test.addPhantom(spacingMm=(4.0, 4.0, 4.0))
    array = arrayFromVolume(volumeNode)
    array[:] = array[::-1].copy()
    volumeNode.SetSpacing(4.2, 4, 3.9)
    arrayFromVolumeModified(volumeNode)
    result = logic.process(volumeNode)
    told = " ".join(result.warnings)
    assert "scanners make square pixels" in told and "head and feet were exchanged" in told
    assert all(warning in result.row().hint and warning in repr(result) for warning in result.warnings)
    assert set(result.warnings) <= set(logic.processAll([volumeNode]).summary().splitlines())


def test_where_nothing_is_found_the_body_is_described(logic):
    logic._session = Session(slicer.mrmlScene)
    volumeNode, _ = self_test.addPhantom(spacingMm=(4.0, 4.0, 4.0))
    arrayFromVolume(volumeNode)[:] = arrayFromVolume(volumeNode)[:, :, ::-1].copy()
    arrayFromVolumeModified(volumeNode)
    with pytest.raises(InputError, match=r"iver is in view.*left and right were exchanged"):
        logic.process(volumeNode)


def test_an_image_is_analyzed_once_and_again_when_it_changed(logic, phantom):
    volumeNode, _ = phantom
    first = logic.process(volumeNode)
    again = logic.process(volumeNode, first.segmentation)
    assert "network" in first.seconds and "network" not in again.seconds
    assert again.segmentId == first.segmentId and segmentationCount() == 1
    assert "network" in logic.process(volumeNode, first.segmentation, student="student-30k").seconds
    array = arrayFromVolume(volumeNode)
    array[:, :, : array.shape[2] // 2] = -1000
    arrayFromVolumeModified(volumeNode)
    changed = logic.process(volumeNode, first.segmentation)
    assert "network" in changed.seconds and changed.volumeMl < 0.6 * first.volumeMl


def test_without_a_segmentation_each_call_makes_its_own(logic, phantom):
    names = [logic.process(phantom[0]).segmentation.GetName() for _ in range(2)]
    assert len(set(names)) == 2 and segmentationCount() == 2


def test_a_student_file_of_ones_own_can_be_used(logic, phantom, tmp_path):
    everything = band_student.save(tmp_path, "all-soft-tissue", low=0, high=200)
    result = logic.process(phantom[0], student=str(everything))
    assert result.student == "all-soft-tissue"
    assert result.volumeMl > 2 * logic.process(phantom[0]).volumeMl


def test_torch_finds_the_same_liver(logic, phantom):
    pytest.importorskip("torch", reason="torch is not installed")
    volumes = [logic.process(phantom[0], engine=engine).volumeMl for engine in ("numpy", "torch")]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-3)


def test_the_volume_counts_a_scaling_transform(logic, phantom):
    volumeNode, _ = phantom
    before = logic.process(volumeNode).volumeMl
    double = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    double.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1, 1, 1.1, 1.0])))
    volumeNode.SetAndObserveTransformNodeID(double.GetID())
    after = logic.process(volumeNode)
    assert "network" in after.seconds  # the same voxels in another place are another image
    assert after.volumeMl == pytest.approx(1.1 * before, rel=0.02)
    assert after.segmentation.GetParentTransformNode() == double


# Refusals: a sentence, and nothing left behind


def test_bad_inputs_are_refused(students, logic, phantom):
    volumeNode, _ = phantom
    with pytest.raises(InputError, match="Choose a CT"):
        logic.process(None)
    with pytest.raises(StudentError, match="student-1k"):
        logic.process(volumeNode, student="student-1k")
    with pytest.raises(EngineError, match="abacus"):
        logic.process(volumeNode, engine="abacus")
    students.torch = False
    with pytest.raises(InputError, match="torch is not installed"):
        logic.process(volumeNode, engine="torch")
    updateVolumeFromArray(volumeNode, np.full((20, 20, 20), 130, np.uint8))
    with pytest.raises(InputError):
        logic.process(volumeNode)
    assert segmentationCount() == 0


def test_no_liver_is_said_and_an_earlier_mask_kept(logic, phantom):
    volumeNode, _ = phantom
    result = logic.process(volumeNode)
    array = arrayFromVolume(volumeNode)
    array[array > 60] = 40
    arrayFromVolumeModified(volumeNode)
    for output in (result.segmentation, None):
        with pytest.raises(InputError, match="No liver was found in 'Phantom'"):
            logic.process(volumeNode, output)
    assert segmentationCount() == 1
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, result.segmentId, volumeNode)
    assert mask.any()


def test_a_failed_write_leaves_no_new_segmentation(students, logic, phantom, monkeypatch):
    """On a Slicer whose Segment Editor logic cannot write: it returns and does nothing."""
    monkeypatch.setattr(segment_writer, "_replace", lambda *_: False)
    session = Session(slicer.mrmlScene, students, lambda mrmlScene: SegmentWriter(mrmlScene, NoOpLogic))
    request = session.prepare(ChosenParameters(volumeNode=phantom[0]))
    with pytest.raises(WriteError, match="nothing was changed"):
        session.apply(request, request.job.segment())
    assert segmentationCount() == 0 and session.current is None and logic.table() is None


def test_nodes_that_left_the_scene_meanwhile_are_not_written_to(logic, phantom):
    volumeNode, _ = phantom
    output = scene.createSegmentation(volumeNode)
    for gone in (output, volumeNode):
        request = logic.session.prepare(ChosenParameters(volumeNode, output))
        found = request.job.segment()
        slicer.mrmlScene.RemoveNode(gone)
        with pytest.raises(InputError, match="removed"):
            logic.session.apply(request, found)
        output = None
    assert segmentationCount() == 0


def outOfMemory(*_, **__):
    raise MemoryError


@pytest.mark.parametrize(
    "where, name",
    [
        (scene, "readCt"),
        (segmenter, "analyze"),
        (segmenter, "mask"),
        (measurements, "attenuation"),
        (SegmentWriter, "write"),
    ],
)
def test_running_out_of_memory_is_told_with_a_sentence(logic, phantom, monkeypatch, where, name):
    monkeypatch.setattr(where, name, outOfMemory)
    with pytest.raises(MemoryError, match="not enough memory for this scan; crop it"):
        logic.process(phantom[0])
    batch = logic.processAll([phantom[0]])
    assert "not enough memory" in batch.problems[0].reason and segmentationCount() == 0


def test_running_out_of_memory_in_the_checks_is_a_finding(logic, phantom, monkeypatch):
    monkeypatch.setattr(input_checks, "check", outOfMemory)
    assert "not enough memory" in logic.session.obstacles(ChosenParameters(phantom[0]))[0]


def otherVoxels(volumeNode):
    updateVolumeFromArray(volumeNode, np.zeros((8, 9, 10), np.int16))


def editedVoxels(volumeNode):
    arrayFromVolume(volumeNode)[:] = -1000
    arrayFromVolumeModified(volumeNode)


def otherSpacing(volumeNode):
    volumeNode.SetSpacing(1, 1, 5)


def otherOrigin(volumeNode):
    volumeNode.SetOrigin(0, 0, 300)


def otherMatrixOfTheTransform(volumeNode):
    move(volumeNode.GetParentTransformNode())


def otherMatrixFartherUp(volumeNode):
    move(volumeNode.GetParentTransformNode().GetParentTransformNode())


def otherTransform(volumeNode):
    volumeNode.SetAndObserveTransformNodeID(move(addTransform(slicer.mrmlScene, np.eye(4))).GetID())


def noTransform(volumeNode):
    volumeNode.SetAndObserveTransformNodeID(None)


def otherTransformFartherUp(volumeNode):
    volumeNode.GetParentTransformNode().SetAndObserveTransformNodeID(None)


def bentTransform(volumeNode):
    volumeNode.SetAndObserveTransformNodeID(addWarp(slicer.mrmlScene).GetID())


def move(transformNode, mm: float = 7.0):
    matrix = np.eye(4)
    matrix[2, 3] = mm
    transformNode.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return transformNode


CHANGES = (
    otherVoxels,
    editedVoxels,
    otherSpacing,
    otherOrigin,
    otherMatrixOfTheTransform,
    otherMatrixFartherUp,
    otherTransform,
    noTransform,
    otherTransformFartherUp,
    bentTransform,
)


@pytest.mark.parametrize("change", CHANGES)
def test_an_image_that_changed_meanwhile_is_not_written_to(logic, phantom, change):
    volumeNode, _ = phantom
    outer = move(addTransform(slicer.mrmlScene, np.eye(4)), 20)
    inner = move(addTransform(slicer.mrmlScene, np.eye(4)), 30)
    inner.SetAndObserveTransformNodeID(outer.GetID())
    volumeNode.SetAndObserveTransformNodeID(inner.GetID())
    request = logic.session.prepare(ChosenParameters(volumeNode))
    found = request.job.segment()
    change(volumeNode)
    with pytest.raises(InputError, match="'Phantom' changed while it was segmented; nothing was written"):
        logic.session.apply(request, found)
    assert segmentationCount() == 0 and logic.table() is None


def test_a_warp_that_changed_meanwhile_is_not_written_to(logic, phantom):
    volumeNode, _ = phantom
    warp = addWarp(slicer.mrmlScene)
    volumeNode.SetAndObserveTransformNodeID(warp.GetID())
    request = logic.session.prepare(ChosenParameters(volumeNode))
    found = request.job.segment()
    warp.GetTransformToParent().GetDisplacementGrid().GetPointData().GetScalars().Fill(3.0)
    warp.GetTransformToParent().GetDisplacementGrid().Modified()
    warp.GetTransformToParent().Modified()
    with pytest.raises(InputError, match="changed while"):
        logic.session.apply(request, found)
    assert segmentationCount() == 0


def test_what_does_not_move_the_image_does_not_count_as_a_change(logic, phantom):
    """Renamed, shown with another window, put under a transform that moves nothing: the mask is right all the same."""
    volumeNode, _ = phantom
    request = logic.session.prepare(ChosenParameters(volumeNode))
    found = request.job.segment()
    volumeNode.SetName("Renamed")
    volumeNode.GetDisplayNode().SetWindowLevel(100, 40)
    volumeNode.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, np.eye(4)).GetID())
    result = logic.session.apply(request, found)
    assert result.volumeMl > 0 and segmentationCount() == 1


def test_what_leaves_nothing_of_the_liver_is_named(logic, phantom):
    volumeNode, _ = phantom
    with pytest.raises(InputError, match=r"The threshold is 1\.00: lower it"):
        logic.process(volumeNode, settings=PostprocessSettings(threshold=1.0))
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roiNode.SetSize(10, 10, 10)
    roiNode.SetCenter(2000, 0, 0)
    with pytest.raises(InputError, match=r"in the ROI of 'Phantom'.* Move the ROI"):
        logic.process(volumeNode, region=roiNode)


def test_on_another_grid_the_volume_is_that_of_the_segment(logic, phantom):
    volumeNode, _ = phantom
    coarse = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "coarse")
    matrix = scene.ijkToWorld(volumeNode) @ np.diag([3, 3, 3, 1])
    coarse.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    shape = [-(-n // 3) for n in arrayFromVolume(volumeNode).shape]
    slicer.util.updateVolumeFromArray(coarse, np.zeros(shape, np.int16))
    output, own = scene.createSegmentation(coarse), np.zeros(shape, np.uint8)
    own[:2, :2, :2] = 1
    addSegment(output, coarse, "own", own)
    result, exact = logic.process(volumeNode, output), logic.process(volumeNode)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(output, result.segmentId, coarse)
    assert result.volumeMl == pytest.approx(np.count_nonzero(mask) * measurements.voxel_ml(matrix))
    assert 0 < abs(result.volumeMl / exact.volumeMl - 1) < 0.1
    found = replace(result.found, interval=VolumeInterval(exact.volumeMl / 2, exact.volumeMl, exact.volumeMl * 2))
    low, high = result.volumeMl / 2, result.volumeMl * 2
    interval = replace(result, found=found).interval
    assert (interval.low, interval.volume, interval.high) == pytest.approx((low, result.volumeMl, high))


def test_a_range_that_begins_at_nothing_is_none(logic, phantom):
    """Where the network finds less than 50 mL nothing is outlined: such an end says nothing of the volume."""
    result = logic.process(phantom[0])
    for low, said in ((0.0, None), (1500.0, 1500.0)):
        found = replace(result.found, interval=VolumeInterval(low, result.volumeMl, 1677.0))
        assert replace(result, found=found).row().low_ml == said


def test_each_segmentation_has_an_undo_of_its_own(logic, phantom):
    session = logic.session
    first, second = (logic.process(phantom[0]).segmentation for _ in range(2))
    assert [bool(session.undoObstacle(node)) for node in (first, second, None)] == [False, False, True]
    session.undo()
    assert second.GetSegmentation().GetNumberOfSegments() == 0 and not session.redoObstacle(second)
    assert first.GetSegmentation().GetNumberOfSegments() == 1
    session.undo(first)
    assert first.GetSegmentation().GetNumberOfSegments() == 0 and session.undoObstacle(first)


@pytest.mark.parametrize("of", ["the same CT", "another CT"])
def test_a_liver_that_came_while_another_was_segmented_is_not_replaced(logic, phantom, students, of):
    """By another session, as of a script beside the panel."""
    volumeNode, other = phantom[0], Session(slicer.mrmlScene, students)
    segmentationNode = scene.createSegmentation(volumeNode)
    chosen = ChosenParameters(volumeNode=volumeNode, segmentationNode=segmentationNode, engine="numpy")
    request = logic.session.prepare(chosen)
    found = request.job.segment()
    if of == "another CT":
        chosen = replace(chosen, volumeNode=self_test.addPhantom("B", spacingMm=(6.0, 6.0, 6.0))[0])
    second = other.prepare(chosen)
    result = other.apply(second, second.job.segment())
    before = liverState(segmentationNode)
    with pytest.raises(InputError, match=r"Another liver was put into .* nothing was changed"):
        logic.session.apply(request, found)
    assert liverState(segmentationNode) == before and result.isCurrent()
    segmentationNode.GetSegmentation().RemoveSegment(result.segmentId)  # nothing is there to be lost
    assert logic.session.apply(request, found).isCurrent()


@pytest.mark.parametrize("matrix", [np.eye(4), rotation(1, 20)], ids=["along the axes", "turned"])
def test_the_share_in_an_roi_is_that_of_the_voxels(logic, phantom, matrix):
    volumeNode, _ = phantom
    whole = logic.process(volumeNode)
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roiNode.SetCenterWorld(*whole.segmentation.GetSegmentCenterRAS(whole.segmentId))
    roiNode.SetSizeWorld(71, 93, 47)
    roiNode.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, matrix).GetID())
    part = logic.process(volumeNode, region=roiNode)
    assert 0.05 < part.share < 0.95
    assert part.share == pytest.approx(part.volumeMl / whole.volumeMl)
