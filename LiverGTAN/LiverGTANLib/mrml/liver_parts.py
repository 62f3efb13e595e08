"""The segmentation of the liver's two parts, and what is shown of parts and liver. On the main thread.

The liver itself, and all other segments beside it, stay as they are.
"""

from dataclasses import dataclass

import numpy as np
from slicer import vtkOrientedImageData
from slicer.util import NodeModify, vtkMatrixFromArray
from vtk import vtkPolyData

from ..core import boxes
from ..core.engines.engine import IsCancelled, Progress
from ..core.segmenter import BoxMask
from ..core.terminology import TERMINOLOGY
from . import scene, surface
from .liver_grid import PART_TAG, PARTS, LiverGrid, liverSegmentId, partId
from .scene import LABELMAP, SURFACE
from .segment_volume import segmentMl
from .undo_history import SegmentVoxels

COLORS = {"remnant": (0, 158 / 255, 115 / 255), "resected": (204 / 255, 121 / 255, 167 / 255)}
"""Bluish green and reddish purple of Okabe and Ito's palette (jfly.uni-koeln.de/color), told apart by the color-blind
and unlike the liver's own color."""

CLASS = "vtkMRMLSegmentationNode"

OFF_GRID = 0.05
"""Of a voxel: what rounding in files may move a label map; chosen, a move that can be seen is more."""

_HIDDEN = "LiverGTAN.partsShown"
"""Attribute of the segmentation with the liver, while parts are shown in its place."""


def create(liverNode):
    """A new segmentation without segments, on the liver's grid and beside it in the subject hierarchy."""
    mrmlScene = liverNode.GetScene()
    name = mrmlScene.GenerateUniqueName(f"{liverNode.GetName()} parts")
    partsNode = mrmlScene.AddNewNodeByClass(CLASS, name)
    with scene.removedOnError(partsNode):
        partsNode.CreateDefaultDisplayNodes()
        partsNode.GetSegmentation().SetSourceRepresentationName(LABELMAP)
        scene.placeBeside(partsNode, liverNode)
    return partsNode


def image(grid: LiverGrid) -> tuple[vtkOrientedImageData, np.ndarray]:
    """(an empty label map for the parts, its voxels (K, J, I) as an array that shares its memory)."""
    array = np.zeros(grid.voxels.shape, np.uint8)
    made = vtkOrientedImageData()
    made.SetExtent(*[end for last in np.subtract(array.shape[::-1], 1).tolist() for end in (0, last)])
    made.SetGeometryFromImageToWorldMatrix(vtkMatrixFromArray(grid.ijkToLocal))
    made.GetPointData().SetScalars(scene.labelScalars(array))
    return made, array


def write(partsNode, liverNode, labelmap) -> None:
    """Make a label map that of the parts, under the transform and on the grid of the liver.

    Deleted parts are made again; segments of others stay.
    """
    segmentation = partsNode.GetSegmentation()
    with NodeModify(partsNode):
        partsNode.SetAndObserveTransformNodeID(liverNode.GetTransformNodeID())
        role = partsNode.GetReferenceImageGeometryReferenceRole()
        scene.setReference(partsNode, role, scene.referenceVolume(liverNode))
        segmentation.CopyConversionParameters(liverNode.GetSegmentation())
        for value, name in enumerate(PARTS, start=1):
            segment = segmentation.GetSegment(partId(partsNode, name)) or _add(segmentation, name)
            if segment.GetRepresentation(LABELMAP) != labelmap or segment.GetLabelValue() != value:
                segment.SetLabelValue(value)
                segment.AddRepresentation(LABELMAP, labelmap)


def holds(partsNode, labelmap, array: np.ndarray, grid: LiverGrid) -> bool:
    """Whether both parts have a label map that `image` gave (None: none yet), with its voxels, values and place.

    The Segment Editor may crop it, or give an edited part one of its own; hardening a transform moves it.
    """
    segments = [partsNode.GetSegmentation().GetSegment(segmentId) for segmentId in segmentIds(partsNode)]
    if labelmap is None or not all(
        segment is not None and segment.GetRepresentation(LABELMAP) == labelmap and segment.GetLabelValue() == value
        for value, segment in enumerate(segments, start=1)
    ):
        return False
    now = scene.labelmapArray(labelmap)
    isSame = now.shape == array.shape and np.shares_memory(now, array)
    return isSame and np.allclose(scene.imageToWorld(labelmap), grid.ijkToLocal)


def lieIn(partsNode, liverNode, grid: LiverGrid, isEdited: bool) -> bool:
    """Whether the parts lie where the liver that they were made of lies: in its voxels, or if they were edited, on its
    grid or that of its volume. Parts that were deleted lie nowhere else."""
    between = scene.matrixOf(scene.transformBetween(partsNode, liverNode))
    if between is None:
        return False
    segments = [partsNode.GetSegmentation().GetSegment(segmentId) for segmentId in segmentIds(partsNode) if segmentId]
    labelmaps = [segment.GetRepresentation(LABELMAP) for segment in segments]
    if not all(labelmaps):
        return True
    places = [between @ scene.imageToWorld(labelmap) for labelmap in labelmaps]
    if isEdited or len(segments) < len(PARTS):
        volumeNode = scene.referenceVolume(liverNode)
        grids = [grid.ijkToLocal, *([scene.ijkToLocal(volumeNode)] if volumeNode is not None else [])]
        return all(any(_isOnGrid(place, one) for one in grids) for place in places)
    if not all(_isOnGrid(place, grid.ijkToLocal) for place in places):
        return False
    ends = [_ends(segment, np.linalg.inv(grid.ijkToLocal) @ place) for segment, place in zip(segments, places)]
    found = np.array([one for one in ends if one is not None])
    if len(found) == 0:
        return True
    last = np.subtract(grid.voxels.shape[::-1], 1)
    isAtEnds = np.allclose(found[:, 0].min(axis=0), 0, atol=OFF_GRID)
    return isAtEnds and np.allclose(found[:, 1].max(axis=0), last, atol=OFF_GRID)


def _isOnGrid(ijkToLocal: np.ndarray, grid: np.ndarray) -> bool:
    """Whether the voxels of one grid are some of those of another; each (4, 4)."""
    relation = np.linalg.inv(grid) @ ijkToLocal
    return np.allclose(relation[:3, :3], np.eye(3), atol=1e-4) and np.allclose(
        relation[:3, 3], relation[:3, 3].round(), atol=OFF_GRID
    )


def _ends(segment, toGrid: np.ndarray) -> np.ndarray | None:
    """(2, 3): i, j, k of the first and the last voxel of a segment along each axis of a grid; None when it is empty."""
    labelmap = segment.GetRepresentation(LABELMAP)
    box = boxes.bounding_box(scene.labelmapArray(labelmap) == segment.GetLabelValue())
    if box is None:
        return None
    offset = np.array(labelmap.GetExtent()[::2])
    ijk = np.array([[one.start, one.stop - 1] for one in box[::-1]]).T + offset
    return ijk @ toGrid[:3, :3].T + toGrid[:3, 3]


def hasOthers(partsNode) -> bool:
    """Whether there are segments of the user beside the parts."""
    return bool({*partsNode.GetSegmentation().GetSegmentIDs()} - {*segmentIds(partsNode)})


def segmentIds(partsNode) -> list[str]:
    """Of the parts, in the order of `PARTS`; empty for one that was deleted."""
    return [partId(partsNode, name) for name in PARTS]


def areThere(partsNode) -> bool:
    """Whether no part was deleted."""
    return all(partId(partsNode, name) for name in PARTS)


def removeParts(partsNode) -> None:
    """Remove both parts; segments of others stay."""
    for segmentId in segmentIds(partsNode):
        if segmentId:
            partsNode.GetSegmentation().RemoveSegment(segmentId)


def surfaces(partsNode) -> dict:
    """Segment ID -> surface, of the parts that have one."""
    segmentation = partsNode.GetSegmentation()
    found = {s: segmentation.GetSegment(s).GetRepresentation(SURFACE) for s in segmentation.GetSegmentIDs()}
    return {segmentId: made for segmentId, made in found.items() if made is not None}


def keepSurfaces(partsNode, kept: dict) -> None:
    """Show again, until they are made anew, surfaces that a change of voxels took away."""
    for segmentId, made in kept.items():
        partsNode.GetSegmentation().GetSegment(segmentId).AddRepresentation(SURFACE, made)


def surfacesFit(partsNode, liverNode) -> bool:
    """Whether the parts have surfaces when the liver has one, and none when it has none."""
    has = [node.GetSegmentation().ContainsRepresentation(SURFACE) for node in (partsNode, liverNode)]
    return has[0] == has[1]


def makeSurfaces(partsNode, liverNode, later: bool = False) -> None:
    """Parts have surfaces when the liver has one. later: those that they have by now stay until `PartSurfaces.show`."""
    segmentation = partsNode.GetSegmentation()
    if not liverNode.GetSegmentation().ContainsRepresentation(SURFACE):
        if segmentation.ContainsRepresentation(SURFACE):
            segmentation.RemoveRepresentation(SURFACE)
    elif not later or not scene.makesChosenSurfaces(segmentation):
        surface.make(segmentation)


class PartSurfaces:
    """The surfaces of the parts as they are now, made in any thread: those that `makeSurfaces` would make."""

    def __init__(self, partsNode, liverNode):
        self._node, self._liverNode = partsNode, liverNode
        self._state = self._stateNow()
        self._parts = [self._maskOf(segmentId) for segmentId in segmentIds(partsNode) if segmentId]

    @property
    def areCurrent(self) -> bool:
        """Whether the parts are as they were."""
        return self._state == self._stateNow()

    @staticmethod
    def areWanted(partsNode, liverNode) -> bool:
        """Whether there are parts with label maps that are to have surfaces, made as the module chose."""
        if partsNode is None:
            return False
        segments = [
            partsNode.GetSegmentation().GetSegment(segmentId) for segmentId in segmentIds(partsNode) if segmentId
        ]
        wanted = liverNode.GetSegmentation().ContainsRepresentation(SURFACE) and bool(segments)
        isMade = scene.makesChosenSurfaces(partsNode.GetSegmentation())
        return wanted and isMade and all(segment.GetRepresentation(LABELMAP) is not None for segment in segments)

    def make(self, progress: Progress, cancelled: IsCancelled) -> dict:
        """Segment ID -> poly data, in mm of the segmentation. Raises Cancelled."""
        made = {}
        for segmentId, voxels, value, start, place in self._parts:
            mask = BoxMask((voxels == value).view(np.uint8), start, boxes.triple(voxels.shape))
            found = surface.ofMask(mask, place, cancelled)
            made[segmentId] = found.polyData if found is not None else vtkPolyData()
        return made

    def show(self, made: dict) -> None:
        """Show what `make` gave, where the parts are as they were and the liver still has a surface."""
        if self.areCurrent and self.areWanted(self._node, self._liverNode):
            surface.show(self._node.GetSegmentation(), made)

    def _stateNow(self) -> list:
        segmentation, found = self._node.GetSegmentation(), []
        for segmentId in filter(None, segmentIds(self._node)):
            segment = segmentation.GetSegment(segmentId)
            labelmap = segment.GetRepresentation(LABELMAP)
            found.append((segmentId, labelmap, labelmap.GetMTime() if labelmap else 0, segment.GetLabelValue()))
        return found

    def _maskOf(self, segmentId: str) -> tuple:
        segment = self._node.GetSegmentation().GetSegment(segmentId)
        labelmap = segment.GetRepresentation(LABELMAP)
        start = boxes.triple(labelmap.GetExtent()[4::-2])
        return segmentId, scene.labelmapArray(labelmap), segment.GetLabelValue(), start, scene.imageToWorld(labelmap)


@dataclass(frozen=True, eq=False)
class PartsEdit:
    """Parts as they were edited by hand. liverDigest: of the liver that they were parts of, see `LiverGrid.digest`."""

    liverDigest: str
    voxels: dict[str, SegmentVoxels]

    @staticmethod
    def of(partsNode, liverDigest: str) -> "PartsEdit":
        """Of the parts as they are now; both are there."""
        segmentation = partsNode.GetSegmentation()
        segments = {name: segmentation.GetSegment(partId(partsNode, name)) for name in PARTS}
        return PartsEdit(liverDigest, {name: SegmentVoxels(segment) for name, segment in segments.items()})

    def restore(self, partsNode) -> None:
        """Give both parts these voxels."""
        for name, voxels in self.voxels.items():
            voxels.putInto(partsNode.GetSegmentation(), partId(partsNode, name))


def hideLiver(liverNode) -> None:
    """Hide the liver's segment where the parts are shown in its place: one that was removed comes back visible."""
    display, segmentId = liverNode.GetDisplayNode(), liverSegmentId(liverNode)
    if replaceLiver(liverNode) and display is not None and segmentId:
        display.SetSegmentVisibility(segmentId, False)


def show(partsNode, liverNode, shown: bool) -> None:
    """Show the parts in place of the liver, or the liver in place of the parts (None: there are none)."""
    display, segmentId = liverNode.GetDisplayNode(), liverSegmentId(liverNode)
    if display is not None and segmentId:
        display.SetSegmentVisibility(segmentId, not shown)
    liverNode.SetAttribute(_HIDDEN, "1" if shown else None)
    if partsNode is not None and partsNode.GetDisplayNode() is not None:
        partsNode.GetDisplayNode().SetVisibility(shown)


def replaceLiver(liverNode) -> bool:
    """Whether parts are shown in place of the liver, or were until they were deleted."""
    return bool(liverNode.GetAttribute(_HIDDEN))


def measuredMl(partsNode) -> tuple[float, float] | None:
    """Volumes in mL of both parts as they are, also when they were edited; None when one of them was deleted.

    Raises InputError when they have no label map.
    """
    if not all(segmentIds(partsNode)):
        return None
    remnant, resected = (segmentMl(partsNode, segmentId) for segmentId in segmentIds(partsNode))
    return remnant, resected


def digest(partsNode) -> str:
    """Equal for parts of the same shapes; empty when a part or its label map is missing."""
    segments = map(partsNode.GetSegmentation().GetSegment, segmentIds(partsNode))
    digests = [scene.voxelDigest(segment) if segment is not None else "" for segment in segments]
    return " ".join(digests) if all(digests) else ""


def _add(segmentation, name: str):
    segmentId = segmentation.AddEmptySegment(segmentation.GenerateUniqueSegmentID(name), name, COLORS[name])
    segment = segmentation.GetSegment(segmentId)
    segment.SetTag(PART_TAG + name, segmentId)
    scene.describeAlgorithm(segment, "cut plane", assisted=True)
    segment.SetTag(segment.GetTerminologyEntryTagName(), TERMINOLOGY)
    segment.SetNameAutoGenerated(False)
    return segment
