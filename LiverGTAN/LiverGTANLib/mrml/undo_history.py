"""Undo and Redo of what this module wrote into one segmentation; what the user does there is never undone with it.

A step holds the segments that one write changed, before and after it, and no others: what was drawn since stays. Where
the liver itself was edited since, the step is refused with a sentence.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer import vtkOrientedImageData, vtkSegmentationConverter
from slicer.util import NodeModify

from ..core import boxes
from ..core.volume import InputError
from . import scene, surface
from .scene import LABELMAP, SURFACE

UNDO_STATES = 10
"""As many as in Slicer's Segment Editor."""

NOTHING_TO_UNDO = "There is nothing to undo."
NOTHING_TO_REDO = "There is nothing to redo."

GEOMETRY = vtkSegmentationConverter.GetReferenceImageGeometryParameterName()


@dataclass(frozen=True)
class References:
    """What a write may change of a segmentation beside its segments: reference volume, grid, and whose liver it is."""

    volume: Any
    liverVolume: Any
    geometry: str

    @staticmethod
    def of(segmentationNode) -> "References":
        """As they are in a segmentation now."""
        geometry = segmentationNode.GetSegmentation().GetConversionParameter(GEOMETRY)
        return References(
            scene.referenceVolume(segmentationNode), segmentationNode.GetNodeReference(scene.LIVER_ROLE), geometry
        )

    def restore(self, segmentationNode) -> None:
        """Volumes that were removed since are left out."""
        self.restoreLiverVolume(segmentationNode)
        role = segmentationNode.GetReferenceImageGeometryReferenceRole()
        scene.setReference(segmentationNode, role, _present(self.volume))
        segmentationNode.GetSegmentation().SetConversionParameter(GEOMETRY, self.geometry)

    def restoreLiverVolume(self, segmentationNode) -> None:
        """Whose liver it is, alone."""
        scene.setReference(segmentationNode, scene.LIVER_ROLE, _present(self.liverVolume))


def _present(node):
    return node if node is not None and node.GetScene() is not None else None


class SegmentVoxels:
    """A copy of the voxels of one segment, without those of others in a label map that it shares with them.

    It takes a bit for each voxel: the liver of a scan of 512 x 512 x 500 voxels about 4 MB.
    """

    def __init__(self, segment):
        own, self._geometry = _ownVoxels(segment)
        self._shape, self._bits = own.shape, np.packbits(own)
        self._compared: tuple = ()
        self._equal = True
        self.areIn(segment)

    @property
    def _array(self) -> np.ndarray:
        return np.unpackbits(self._bits, count=int(np.prod(self._shape))).reshape(self._shape)

    def areIn(self, segment) -> bool:
        """Whether the segment still has these voxels; compared only when its label map was changed."""
        labelmap = segment.GetRepresentation(LABELMAP)
        state = labelmap, labelmap.GetMTime() if labelmap else 0, segment.GetLabelValue()
        if state != self._compared:
            self._equal = not self._compared or _same((self._array, self._geometry), _ownVoxels(segment))
            self._compared = state
        return self._equal

    def putInto(self, segmentation, segmentId: str) -> None:
        """Give the segment these voxels, in a label map of its own."""
        segmentation.SeparateSegmentLabelmap(segmentId)
        segment = segmentation.GetSegment(segmentId)
        labelmap = segment.GetRepresentation(LABELMAP)
        if labelmap is None:
            labelmap = vtkOrientedImageData()
            segment.AddRepresentation(LABELMAP, labelmap)
        segment.SetLabelValue(1)
        labelmap.DeepCopy(self._geometry)
        if self._bits.size:
            labelmap.GetPointData().SetScalars(scene.labelScalars(self._array))
        labelmap.Modified()
        self.areIn(segment)


@dataclass(frozen=True, eq=False)
class _SegmentState:
    """A segment as it was. metadata: a segment without voxels. surface: None where none was shown."""

    voxels: SegmentVoxels
    metadata: Any
    index: int
    surface: Any

    @staticmethod
    def of(segmentation, segmentId: str, known: "_SegmentState | None" = None) -> "_SegmentState":
        """known: an earlier state, whose voxels are not copied again where they are the same."""
        segment = segmentation.GetSegment(segmentId)
        metadata = slicer.vtkSegment()
        metadata.DeepCopyMetadata(segment)
        voxels = known.voxels if known is not None and known.voxels.areIn(segment) else SegmentVoxels(segment)
        # Slicer writes the surface of changed voxels into the same object; so `_move` notes anew what it leaves.
        made = segment.GetRepresentation(SURFACE)
        return _SegmentState(voxels, metadata, segmentation.GetSegmentIndex(segmentId), made)

    def isIn(self, segmentation, segmentId: str) -> bool:
        """Whether the segment is there with these voxels."""
        segment = segmentation.GetSegment(segmentId)
        return segment is not None and self.voxels.areIn(segment)

    def restore(self, segmentation, segmentId: str) -> None:
        """Voxels and our tag; name, color and other tags are left as the user has set them since."""
        segment = segmentation.GetSegment(segmentId)
        if segment is None:
            segment = slicer.vtkSegment()
            segment.DeepCopyMetadata(self.metadata)
            segment.AddRepresentation(LABELMAP, vtkOrientedImageData())
            segmentation.AddSegment(segment, segmentId)
            segmentation.SetSegmentIndex(segmentId, min(self.index, segmentation.GetNumberOfSegments() - 1))
        scene.copyTags(self.metadata, segment)
        self.voxels.putInto(segmentation, segmentId)


_States = dict[str, "_SegmentState | None"]
"""By segment ID; None where there is no such segment."""


@dataclass(eq=False)
class _Step:
    """One write: what it changed, before and after, and what the caller noted of the state before and after."""

    liverId: str
    before: _States
    after: _States
    referencesBefore: References
    referencesAfter: References
    noteBefore: Any
    note: Any = None


@dataclass(frozen=True, eq=False)
class _Begun:
    """The state before a write that is under way."""

    states: _States
    segmentIds: frozenset[str]
    surfaces: dict[str, Any]
    references: References
    note: Any


class UndoHistory:
    """The last writes into one segmentation, of which the later ones may be undone.

    A write calls `begin`, then `end`, then `keep` when it is to stay; `takeBack` in between, as if it had never been.
    """

    def __init__(self, segmentationNode):
        self._node, self._segmentation = segmentationNode, segmentationNode.GetSegmentation()
        self._steps: list[_Step] = []
        self._position = 0  # of the present state: so many steps are done, those after it undone
        self._begun: _Begun | None = None
        self._before: tuple[list[_Step], int] | None = None  # steps and position before the last write, until `keep`

    def isOf(self, segmentationNode) -> bool:
        """Whether these are the writes into this segmentation."""
        return segmentationNode == self._node and segmentationNode.GetSegmentation() == self._segmentation

    @property
    def isInScene(self) -> bool:
        """Whether its segmentation is still in the scene."""
        return self._node.GetScene() is not None

    # A write

    def begin(self, references: References, liverId: str, mayChange: list[str]) -> None:
        """Copy what a write is about to change.

        references: as they were before anything was changed. liverId: of our segment, empty when there is none.
        mayChange: IDs of other segments that the masking may let the write change.
        """
        known = self._statesNow
        ids = [liverId, *mayChange] if liverId else mayChange
        states: _States = {i: _SegmentState.of(self._segmentation, i, known.get(i)) for i in ids}
        segmentIds = self._segmentation.GetSegmentIDs()
        self._begun = _Begun(states, frozenset(segmentIds), _surfaces(self._segmentation), references, self.note)

    def end(self, liverId: str) -> None:
        """The write is done; from now on it can be undone, and what was undone before cannot be redone."""
        begun = self._begun
        before = {i: s for i, s in begun.states.items() if i == liverId or not s.isIn(self._segmentation, i)}
        before.setdefault(liverId, None)
        after: _States = {i: _SegmentState.of(self._segmentation, i) for i in before}
        step = _Step(liverId, before, after, begun.references, References.of(self._node), begun.note)
        self._before = self._steps, self._position
        self._steps = [*self._steps[: self._position], step][-UNDO_STATES:]
        self._position = len(self._steps)

    def keep(self) -> None:
        """What was written stays: it cannot be taken back any more."""
        self._begun = self._before = None

    def takeBack(self) -> None:
        """Go back to the state before a write that was begun, if one was, with the steps that there were."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        with NodeModify(self._node):
            added = [i for i in self._segmentation.GetSegmentIDs() if i not in begun.segmentIds]
            changed = {i: s for i, s in begun.states.items() if not s.isIn(self._segmentation, i)}
            _restore(self._segmentation, {**dict.fromkeys(added), **changed}, begun.surfaces)
            for segmentId, state in begun.states.items():
                scene.copyTags(state.metadata, self._segmentation.GetSegment(segmentId))
            begun.references.restore(self._node)
        self._redraw()
        if self._before is not None:
            self._steps, self._position = self._before
            self._before = None

    # The present state

    @property
    def note(self) -> Any:
        """What the caller noted of the present state; None where the liver is not as that state left it."""
        note, liver, liverId = self._present
        return note if liver is not None and liver.isIn(self._segmentation, liverId) else None

    @note.setter
    def note(self, note: Any) -> None:
        self._steps[self._position - 1].note = note

    @property
    def lastNote(self) -> Any:
        """What the caller noted of the last write that is not undone, None when there is none."""
        return self._steps[self._position - 1].note if self._position else None

    @property
    def _present(self) -> tuple[Any, _SegmentState | None, str]:
        """Note and liver of the present state as it was left, and the liver's ID."""
        if self._position:
            step = self._steps[self._position - 1]
            return step.note, step.after[step.liverId], step.liverId
        if self._steps:
            step = self._steps[0]
            return step.noteBefore, step.before[step.liverId], step.liverId
        return None, None, ""

    @property
    def _statesNow(self) -> _States:
        """What is known of the present state from the step before it."""
        return self._steps[self._position - 1].after if self._position else {}

    # Undo and Redo

    @property
    def undoObstacle(self) -> str:
        """Why nothing can be undone; empty when something can."""
        if self._position == 0:
            return NOTHING_TO_UNDO
        return self._changedLiver(self._steps[self._position - 1], "after", "Undo")

    @property
    def redoObstacle(self) -> str:
        """Why nothing can be redone; empty when something can."""
        if self._position == len(self._steps):
            return NOTHING_TO_REDO
        return self._changedLiver(self._steps[self._position], "before", "Redo")

    def undo(self) -> list[str]:
        """Take the last write back. Returns the names of segments that it had changed and the user has since."""
        if self.undoObstacle:
            raise InputError(self.undoObstacle)
        step = self._steps[self._position - 1]
        left = self._move(step, "after", "before")
        self._position -= 1
        return left

    def redo(self) -> list[str]:
        """Bring back what undo took; returns as `undo`."""
        if self.redoObstacle:
            raise InputError(self.redoObstacle)
        left = self._move(self._steps[self._position], "before", "after")
        self._position += 1
        return left

    def _changedLiver(self, step: _Step, state: str, word: str) -> str:
        if self._isAsLeft(getattr(step, state), step.liverId) or self._isDeleted(step.liverId):
            return ""
        return (
            f"The liver in '{self._node.GetName()}' was edited since, which {word} would lose. Undo that in the "
            "Segment Editor first, or press Segment for a new mask."
        )

    def _isAsLeft(self, states: _States, segmentId: str) -> bool:
        """Whether a segment is as a write or Undo left it."""
        state = states[segmentId]
        if state is None:
            return self._segmentation.GetSegment(segmentId) is None
        return state.isIn(self._segmentation, segmentId)

    def _isDeleted(self, segmentId: str) -> bool:
        return self._segmentation.GetSegment(segmentId) is None

    def _move(self, step: _Step, here: str, there: str) -> list[str]:
        """From one end of a step to the other, but for segments that the user has changed since it was left.

        A liver that was deleted since is no edit that could be lost: the way back brings it as it was written.
        """
        states, target = getattr(step, here), getattr(step, there)
        isDeleted = self._isDeleted(step.liverId)
        changed = [i for i in states if not self._isAsLeft(states, i) and not (isDeleted and i == step.liverId)]
        present: _States = {
            i: None if self._isDeleted(i) else _SegmentState.of(self._segmentation, i, state)
            for i, state in states.items()
            if i not in changed
        }
        references = step.referencesBefore if there == "before" else step.referencesAfter
        surfaces, referencesNow = _surfaces(self._segmentation), References.of(self._node)
        try:
            self._put({i: target[i] for i in present}, surfaces, references, step.liverId)
        except BaseException:
            self._put(present, surfaces, referencesNow, step.liverId)
            raise
        states.update({i: state for i, state in present.items() if state is not None})
        remaining = filter(None, map(self._segmentation.GetSegment, changed))
        return [segment.GetName() for segment in remaining]

    def _put(self, states: _States, surfaces: dict[str, Any], references: References, liverId: str) -> None:
        with NodeModify(self._node):
            _restore(self._segmentation, states, surfaces)
            if any(map(scene.segmentVoxels, self._others(liverId))):
                references.restoreLiverVolume(self._node)  # others were drawn on the grid that there is
            else:
                references.restore(self._node)
        self._redraw()

    def _others(self, liverId: str) -> list:
        return [self._segmentation.GetSegment(i) for i in self._segmentation.GetSegmentIDs() if i != liverId]

    def _redraw(self) -> None:
        if self._node.GetDisplayNode():
            self._node.GetDisplayNode().Modified()  # so that views draw the segments anew


def _surfaces(segmentation) -> dict[str, Any]:
    """Surfaces by segment ID; empty when none are shown."""
    if not segmentation.ContainsRepresentation(SURFACE):
        return {}
    return {i: segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in segmentation.GetSegmentIDs()}


def _restore(segmentation, states: _States, surfaces: dict[str, Any]) -> None:
    """Restore segments, and the surfaces where any are shown, or were when the last segment was taken away.

    surfaces: of the segments that stay as they are.
    """
    wasEmpty = segmentation.GetNumberOfSegments() == 0
    if segmentation.ContainsRepresentation(SURFACE):
        segmentation.RemoveRepresentation(SURFACE)
    for segmentId, state in states.items():
        if state is not None:
            state.restore(segmentation, segmentId)
        elif segmentation.GetSegment(segmentId) is not None:
            segmentation.RemoveSegment(segmentId)
    restored = {i: state.surface for i, state in states.items() if state is not None}
    if not surfaces and not (wasEmpty and any(restored.values())):
        return
    surfaces = {**surfaces, **restored}
    surface.show(segmentation, {segmentId: made for segmentId, made in surfaces.items() if made is not None})


def _ownVoxels(segment) -> tuple[np.ndarray, Any]:
    """Which voxels of its label map are the segment's, (k, j, i) boolean, and an image without voxels of their grid."""
    geometry, labelmap = vtkOrientedImageData(), segment.GetRepresentation(LABELMAP)
    if labelmap is None:
        return np.zeros((0, 0, 0), bool), geometry
    own = scene.labelmapArray(labelmap) == segment.GetLabelValue()
    geometry.CopyDirections(labelmap)
    geometry.SetSpacing(labelmap.GetSpacing())
    geometry.SetOrigin(labelmap.GetOrigin())
    if own.size:
        geometry.SetExtent(labelmap.GetExtent())
    return own, geometry


def _same(one: tuple[np.ndarray, Any], other: tuple[np.ndarray, Any]) -> bool:
    """Whether voxels are the same in the same places, whatever margin they have around them."""
    firstBox, secondBox = (boxes.bounding_box(array) for array, _ in (one, other))
    if firstBox is None or secondBox is None:
        return firstBox is secondBox
    return (
        _startOf(firstBox, one[1]) == _startOf(secondBox, other[1])
        and np.array_equal(one[0][firstBox] != 0, other[0][secondBox] != 0)
        and slicer.vtkOrientedImageDataResample.DoGeometriesMatch(one[1], other[1])
    )


def _startOf(box: boxes.Box, geometry) -> tuple[int, ...]:
    """First (k, j, i) index of a box of an image's array on its lattice."""
    return tuple(a + first for a, first in zip(boxes.start(box), geometry.GetExtent()[4::-2]))
