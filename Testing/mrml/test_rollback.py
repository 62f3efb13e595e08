"""After an error, wherever it comes, all is as it was: segments, surfaces, Undo, table, nodes, subject hierarchy."""

import inspect

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from slicer.util import arrayFromVolume, arrayFromVolumeModified

from LiverGTANLib.core.postprocess import PostprocessSettings
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import scene, segment_writer, self_test, session, table, undo_history
from LiverGTANLib.mrml.segment_writer import SegmentWriter, WriteError
from LiverGTANLib.mrml.session import SegmentationResult, Session
from LiverGTANLib.mrml.undo_history import UndoHistory
from support.module_fixtures import logic, students
from support.mrml_cases import addSegment

pytestmark = pytest.mark.slow

STAGES = {
    "display": (scene, "placeBeside"),
    "reference grid": (SegmentWriter, "_adoptReferenceGeometry"),
    "mask on the grid": (segment_writer, "onReferenceGrid"),
    "editor": (SegmentWriter, "_editorFor"),
    "saved state": (UndoHistory, "begin"),
    "segment": (SegmentWriter, "_modify"),
    "tag": (scene, "tagLiver"),
    "surface": (SegmentWriter, "makeSurface"),
    "result": (SegmentationResult, "row"),
    "table": (table, "_addMissingColumns"),
    "row read": (table, "read"),
    "row": (table, "put"),
    "row added": (table, "_addRow"),
    "cell": (table, "_setCell"),
}


COARSE_MM = (5.0, 5.0, 6.0)
"""Voxels of the phantom here: few, as every test makes masks and surfaces several times."""


class InjectedError(Exception):
    """What goes wrong in these tests."""


def inject(monkeypatch, owner, name: str, after: bool) -> None:
    """Let a function fail, before it does anything or after it has done all."""
    original = inspect.getattr_static(owner, name)

    def failing(*arguments, **more):
        if after:
            original(*arguments, **more)
        raise InjectedError(name)

    monkeypatch.setattr(owner, name, failing)


@pytest.fixture
def ct(logic):
    """The phantom in a study of the subject hierarchy."""
    volumeNode, _ = self_test.addPhantom(spacingMm=COARSE_MM)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volumeNode), study)
    return volumeNode


@pytest.fixture
def output(logic, ct):
    """A segmentation that was written twice, with a surface, a segment of the user's and a second row in the table."""
    logic.process(ct)
    first = logic.process(ct)
    change(ct)
    result = logic.process(ct, first.segmentation)
    tumor = np.zeros(arrayFromVolume(ct).shape, np.uint8)
    tumor[5:7, 8:12, 8:12] = 1
    addSegment(result.segmentation, ct, "tumor", tumor)
    result.segmentation.CreateClosedSurfaceRepresentation()
    return result.segmentation


def change(volumeNode) -> None:
    """The next mask will be another one."""
    array = arrayFromVolume(volumeNode)
    array[:, :, np.flatnonzero((array > -900).any(axis=(0, 1)))[:5]] = -1000
    arrayFromVolumeModified(volumeNode)


def snapshot(logic) -> dict:
    """All that a user could find changed."""
    nodes = [slicer.mrmlScene.GetNthNode(n) for n in range(slicer.mrmlScene.GetNumberOfNodes())]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    itemIds = [items.GetId(n) for n in range(items.GetNumberOfIds())]
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return {
        "nodes": sorted(node.GetID() for node in nodes if node.GetSingletonTag() != segment_writer.EDITOR_TAG),
        "items": sorted((hierarchy.GetItemName(item), hierarchy.GetItemParent(item)) for item in itemIds),
        "tables": [table.rows(node) for node in slicer.util.getNodesByClass("vtkMRMLTableNode")],
        "segmentations": {node.GetID(): contentOf(node) for node in segmentations},
        "undo": {node.GetID(): logic.session.undoObstacle(node) for node in segmentations},
        "redo": {node.GetID(): logic.session.redoObstacle(node) for node in segmentations},
        "current": logic.session.current,
    }


def contentOf(segmentationNode) -> list:
    segmentation = segmentationNode.GetSegmentation()
    reference = scene.referenceVolume(segmentationNode)
    owner = segmentationNode.GetNodeReference(scene.LIVER_ROLE)
    content = [reference and reference.GetID(), owner and owner.GetID(), segmentation.GetSourceRepresentationName()]
    content.append(segmentation.GetConversionParameter(undo_history.GEOMETRY))
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        labelmap = segment.GetRepresentation(scene.LABELMAP)
        surface = segment.GetRepresentation(scene.SURFACE)
        tag = vtk.reference("")
        segment.GetTag(scene.SEGMENT_TAG, tag)
        voxels = scene.labelmapArray(labelmap) == segment.GetLabelValue()
        places = np.argwhere(voxels) + np.array(labelmap.GetExtent()[::2])[::-1]
        content.append((segmentId, segment.GetName(), str(tag), places.tobytes()))
        content.append(surface and surface.GetNumberOfPoints())
    return content


def undoAll(logic, segmentationNode) -> list:
    """What the segmentation holds after each step of Undo."""
    steps = []
    while not logic.session.undoObstacle(segmentationNode):
        logic.session.undo()
        steps.append(contentOf(segmentationNode))
    return steps


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stage", STAGES)
def test_an_error_on_the_way_to_a_new_segmentation_leaves_nothing(logic, ct, stage, after, monkeypatch):
    before = snapshot(logic)
    with monkeypatch.context() as patch:
        inject(patch, *STAGES[stage], after)
        with pytest.raises(InjectedError):
            logic.process(ct)
    assert snapshot(logic) == before
    assert logic.process(ct).volumeMl > 0  # and then it works


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stage", [s for s in STAGES if s not in ("display", "row added")])
def test_an_error_while_a_segmentation_is_replaced_changes_nothing(logic, ct, output, stage, after, monkeypatch):
    before = snapshot(logic)
    change(ct)
    with monkeypatch.context() as patch:
        inject(patch, *STAGES[stage], after)
        with pytest.raises(InjectedError):
            logic.process(ct, output)
    assert snapshot(logic) == before
    result = logic.process(ct, output)
    again = contentOf(output)
    assert again != before["segmentations"][output.GetID()] and result is logic.session.current
    steps = undoAll(logic, output)  # to what the error found, to the first mask, to none
    assert steps[0] == before["segmentations"][output.GetID()] and len(steps) == 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stage", STAGES)
def test_an_error_at_another_scan_keeps_undo_of_the_first(logic, ct, output, stage, after, monkeypatch):
    before = snapshot(logic)
    other, _ = self_test.addPhantom("Other", COARSE_MM)
    withOther = snapshot(logic)
    if stage == "table":
        slicer.mrmlScene.RemoveNode(logic.table())
        withOther = snapshot(logic)
    with monkeypatch.context() as patch:
        inject(patch, *STAGES[stage], after)
        with pytest.raises(InjectedError):
            logic.process(other)
    assert snapshot(logic) == withOther
    assert not logic.session.undoObstacle(output) and before["undo"] == {
        node: can for node, can in snapshot(logic)["undo"].items() if node in before["undo"]
    }
    assert len(undoAll(logic, output)) == 2


def test_the_users_own_error_is_not_hidden_by_one_while_taking_back(logic, ct, monkeypatch, caplog):
    inject(monkeypatch, table, "put", after=False)
    monkeypatch.setattr(scene, "removeNode", lambda node: 1 / 0)
    with pytest.raises(InjectedError):
        logic.process(ct)
    assert "ZeroDivisionError" in caplog.text


def test_what_cannot_be_shown_in_3d_is_told_and_taken_back(logic, ct, output, monkeypatch):
    """Slicer's conversion does not raise, it returns False."""
    before, segmentation = snapshot(logic), output.GetSegmentation()
    change(ct)
    with monkeypatch.context() as patch:
        patch.setattr(segmentation, "CreateRepresentation", lambda *_: False)
        with pytest.raises(WriteError, match="surface of 'Phantom liver_1' could not be made"):
            logic.process(ct, output)
    assert snapshot(logic) == before


def test_an_error_in_the_batch_leaves_nothing_of_that_volume(logic, ct, monkeypatch):
    other, _ = self_test.addPhantom("Other", COARSE_MM)
    put = table.put

    def failing(tableNode, segmentationNode, row, *measured):
        return put(tableNode, segmentationNode, row, *measured) if row.name == "Other" else 1 / 0

    monkeypatch.setattr(table, "put", failing)
    batch = logic.processAll([ct, other])
    assert [problem.volume for problem in batch.problems] == ["Phantom"] and len(batch.results) == 1
    (segmentationNode,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert scene.referenceVolume(segmentationNode) == other


# Undo beside what the user does


def test_a_liver_that_was_edited_is_neither_undone_nor_redone(logic, ct):
    first = logic.process(ct)
    change(ct)
    logic.process(ct, first.segmentation)
    logic.session.undo()
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(first.segmentation, first.segmentId, ct).copy()
    mask[:5] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, first.segmentation, first.segmentId, ct)
    edited = contentOf(first.segmentation)
    assert logic.session.resultIn(first.segmentation) is None
    for obstacle, move in (
        (logic.session.undoObstacle, logic.session.undo),
        (logic.session.redoObstacle, logic.session.redo),
    ):
        assert "edited since" in obstacle(first.segmentation)
        with pytest.raises(InputError, match="edited since"):
            move()
    assert contentOf(first.segmentation) == edited
    logic.process(ct, first.segmentation)  # and what is written over it comes back by Undo
    assert logic.session.undo().result is None
    assert contentOf(first.segmentation) == edited


def test_undo_keeps_its_last_states_in_step_however_many_there_were(logic, ct):
    result = logic.process(ct)
    results = [result]
    for _ in range(undo_history.UNDO_STATES + 5):
        results.append(logic.process(ct, result.segmentation))
    for expected in results[-2 : -undo_history.UNDO_STATES - 2 : -1]:
        assert logic.session.undo().result is expected
    while not logic.session.redoObstacle(result.segmentation):
        last = logic.session.redo().result
    assert last is results[-1]


# Errors of Undo and Redo themselves


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stage", ["reference grid", "saved state", "segment", "tag", "row"])
def test_an_error_at_a_write_after_undo_keeps_redo(logic, ct, output, stage, after, monkeypatch):
    results = [logic.session.current]
    for smoothing in (1.0, 2.0):
        results.append(logic.process(ct, output, settings=PostprocessSettings(smoothing_mm=smoothing)))
    contents = [contentOf(output)]
    for _ in results[1:]:
        logic.session.undo()
        contents.append(contentOf(output))
    before = snapshot(logic)
    with monkeypatch.context() as patch:
        inject(patch, *STAGES[stage], after)
        with pytest.raises(InjectedError):
            logic.process(ct, output, settings=PostprocessSettings(threshold=0.3))
    assert snapshot(logic) == before and logic.session.current is results[0]
    for result, content in zip(results[1:], contents[-2::-1]):
        assert logic.session.redo().result is result
        assert contentOf(output) == content
    assert logic.session.redoObstacle(output)
    for result, content in zip(results[-2::-1], contents[1:]):
        assert logic.session.undo().result is result
        assert contentOf(output) == content
    logic.process(ct, output, settings=PostprocessSettings(threshold=0.3))  # and a write that succeeds ends Redo
    assert logic.session.redoObstacle(output)
    assert logic.session.undo().result is results[0] and contentOf(output) == contents[-1]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("direction", ["undo", "redo"])
def test_an_error_while_the_row_is_taken_along_moves_nothing(logic, ct, output, direction, after, monkeypatch):
    logic.process(ct, output)
    logic.session.undo()  # now there is a result in both directions
    before = snapshot(logic)
    assert not before["undo"][output.GetID()] and not before["redo"][output.GetID()]
    with monkeypatch.context() as patch:
        inject(patch, table, "restore", after)
        with pytest.raises(InjectedError):
            getattr(logic.session, direction)()
    same = {key: value for key, value in snapshot(logic).items() if key != "tables" or not after}
    assert same == {key: before[key] for key in same}
    assert getattr(logic.session, direction)().result is not None and bool(logic.session.redoObstacle(output)) == (
        direction == "redo"
    )


def test_an_error_while_the_first_row_is_removed_moves_nothing(logic, ct, monkeypatch):
    result = logic.process(ct)
    before = snapshot(logic)
    with monkeypatch.context() as patch:
        inject(patch, table, "restore", after=False)
        with pytest.raises(InjectedError):
            logic.session.undo()
    assert snapshot(logic) == before
    assert logic.session.undo().result is None and logic.session.redo().result is result


@pytest.mark.parametrize("direction", ["undo", "redo"])
def test_an_error_while_segments_are_restored_moves_nothing(logic, ct, output, direction, monkeypatch):
    logic.process(ct, output)
    logic.session.undo()
    before = snapshot(logic)
    restore, calls = undo_history._restore, []

    def failing(*arguments):
        restore(*arguments)
        calls.append(arguments)
        if len(calls) == 1:  # the second call takes it back
            raise InjectedError

    with monkeypatch.context() as patch:
        patch.setattr(undo_history, "_restore", failing)
        with pytest.raises(InjectedError):
            getattr(logic.session, direction)()
    assert snapshot(logic) == before
    assert getattr(logic.session, direction)().result is not None
