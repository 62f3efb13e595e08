"""The liver segment split in two by a plane: its voxels and where they are, and the segmentation of its parts.

On the main thread. The liver itself, and all other segments beside it, stay as they are.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import vtk
from slicer import vtkOrientedImageData
from slicer.util import NodeModify, vtkMatrixFromArray

from ..core import boxes, measurements, threads
from ..core.boxes import Box
from ..core.terminology import SEGMENT_NAME, TERMINOLOGY
from ..core.volume import InputError, VoxelVolumes
from . import scene
from .cut_plane import CutPlane
from .scene import LABELMAP, SURFACE
from .session import segmentMl
from .warp import BLOCK_MM, Warp

PARTS = ("remnant", "resected")
"""Names of the parts; their values in the label map are 1 and 2."""

COLORS = {"remnant": (0, 158 / 255, 115 / 255), "resected": (204 / 255, 121 / 255, 167 / 255)}
"""Bluish green and reddish purple of Okabe and Ito's palette (jfly.uni-koeln.de/color), told apart by the color-blind
and unlike the liver's own color."""

CLASS = "vtkMRMLSegmentationNode"
SAMPLED_VOXELS = 20_000
"""About so many voxels of the liver are asked for where its middle is; a choice."""

_TAG = "LiverGTAN.part."
"""Segment tag of a part, followed by its name in `PARTS`. Its value is the segment's ID: a copy of the segment has
another ID, and is the user's own."""


def _codeOf(terminology: str) -> list[str]:
    """Scheme and value of the type in a terminology entry as Slicer serializes it."""
    return terminology.split("~")[2].split("^")[:2] if terminology.count("~") > 2 else []


_LIVER = _codeOf(TERMINOLOGY)

_HIDDEN = "LiverGTAN.partsShown"
"""Attribute of the segmentation with the liver, while parts are shown in its place."""


@dataclass(frozen=True, eq=False)
class LiverGrid:
    """The liver's voxels and their places.

    voxels: (K, J, I) uint8, 1 in the liver, of the smallest box that holds it. box: that box in the label map's own
    array. ijkToLocal: (4, 4) of the box, in mm as stored in the segmentation. lattice: (c, b, a, 3) RAS mm in the
    world, of some voxel centers; between them places are interpolated. nodes: their indices along k, j and i.
    voxelVolumes: where a transform bends space, else None.
    """

    voxels: np.ndarray
    box: Box
    ijkToLocal: np.ndarray
    lattice: np.ndarray
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray]
    voxelMl: float
    voxelVolumes: VoxelVolumes | None

    @staticmethod
    def of(liverNode) -> "LiverGrid":
        """Raises InputError when the liver segment has no voxels, or lies under a transform that folds space."""
        segment, labelmap = _liver(liverNode)
        isLiver = scene.labelmapArray(labelmap) == segment.GetLabelValue() if labelmap is not None else None
        box = boxes.bounding_box(isLiver) if isLiver is not None and isLiver.size else None
        if box is None:
            raise InputError(
                f"The liver of '{liverNode.GetName()}' has no voxels; segment it first, or make 'Binary labelmap' its "
                "source representation in the Segmentations module."
            )
        extent, matrix = labelmap.GetExtent(), scene.imageToWorld(labelmap).copy()
        matrix[:3, 3] += matrix[:3, :3] @ [extent[2 * axis] + box[2 - axis].start for axis in range(3)]
        warped = scene.isWarped(liverNode)
        nodes = _nodes(boxes.shape(box), matrix, warped)
        k, j, i = np.meshgrid(*nodes, indexing="ij")
        points = np.stack([i, j, k], axis=-1).reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        places = scene.transformed(scene.transformBetween(liverNode, None), points)
        toWorld = matrix if warped else scene.localToWorld(liverNode) @ matrix
        return LiverGrid(
            np.ascontiguousarray(isLiver[box]).view(np.uint8),
            box,
            matrix,
            places.reshape(*(len(along) for along in nodes), 3),
            nodes,
            measurements.voxel_ml(toWorld),
            Warp.ofLabelmap(liverNode, labelmap).voxelVolumes if warped else None,
        )

    @cached_property
    def count(self) -> int:
        """Voxels of the liver."""
        return int(np.count_nonzero(self.voxels))

    @cached_property
    def ml(self) -> float:
        """Volume of the liver."""
        return self.partMl(self.voxels, self.count)

    @cached_property
    def digest(self) -> str:
        """Equal for livers of the same voxels in the same box."""
        first = np.array([*boxes.start(self.box), *self.voxels.shape])
        return hashlib.blake2b(first.tobytes() + self.voxels.tobytes(), digest_size=16).hexdigest()

    @cached_property
    def _weights(self) -> tuple[np.ndarray, ...]:
        return tuple(_interpolation(n, nodes) for n, nodes in zip(self.voxels.shape, self.nodes))

    def partMl(self, part: np.ndarray, count: int, exact: bool = True) -> float:
        """Volume in mL of a part of the liver (not 0 in it) that has this number of voxels.

        exact: False takes all voxels for equally large where a transform bends space.
        """
        if self.voxelVolumes is None:
            return count * self.voxelMl
        if not exact:
            return self.ml * count / self.count
        return self.voxelVolumes.sum_ml(part, boxes.start(self.box))

    def middle(self) -> tuple[np.ndarray, float]:
        """((N, 3) RAS mm of a sample of the liver's voxels, its largest extent in mm)."""
        step = max(1, round((self.count / SAMPLED_VOXELS) ** (1 / 3)))
        kji = np.argwhere(self.voxels[::step, ::step, ::step]) * step if step > 1 else np.argwhere(self.voxels)
        if len(kji) == 0:
            kji = np.argwhere(self.voxels)
        weights = [along[index] for along, index in zip(self._weights, kji.T)]
        points = np.einsum("na,nb,nc,abcx->nx", *weights, self.lattice, optimize=True)
        corners = self.lattice.reshape(-1, 3)
        return points, float((corners.max(axis=0) - corners.min(axis=0)).max())

    def corners(self, cut: CutPlane) -> np.ndarray:
        """Distances in mm of the box's eight corners from the plane."""
        return cut.distances(self.lattice[:: max(1, len(self.lattice) - 1)][:, [0, -1]][:, :, [0, -1]].reshape(-1, 3))

    def split(self, cut: CutPlane, parts: np.ndarray) -> int:
        """Write 1 into `parts` (K, J, I; uint8) where the liver remains and 2 where it is resected, else 0.

        A voxel belongs to the side on which its center lies, and on the plane to that of the normal. Returns the number
        of resected voxels.
        """
        along_k, along_j, along_i = self._weights
        distances = cut.distances(self.lattice.reshape(-1, 3)).reshape(self.lattice.shape[:3])
        across = np.ascontiguousarray(along_i.T)
        resected, field = 0, np.empty(self.voxels.shape[1:], np.float32)
        side, isResected = np.empty(field.shape, bool), np.less if cut.keepsNormalSide else np.greater_equal
        with (
            threads.one_blas_thread()
        ):  # for such small products several ones wait for each other longer than they work
            rows = along_j @ np.tensordot(along_k, distances.astype(np.float32), 1)
            for liver, part, row in zip(self.voxels, parts, rows):
                np.matmul(row, across, out=field)
                isResected(field, 0, out=side)
                np.bitwise_and(liver, side.view(np.uint8), out=part)
                resected += int(np.count_nonzero(part.view(bool)))
                part += liver
        return resected


def key(liverNode) -> tuple | None:
    """Equal as long as the liver has the same voxels in the same place; None without a liver segment."""
    segment, labelmap = _liver(liverNode) if liverNode is not None else (None, None)
    if labelmap is None:
        return None
    voxels = labelmap, labelmap.GetMTime(), segment.GetLabelValue()
    if not scene.isWarped(liverNode):
        return (*voxels, scene.localToWorld(liverNode).tobytes())
    transform = liverNode.GetParentTransformNode()
    return (*voxels, transform.GetID(), transform.GetTransformToWorldMTime())


def create(liverNode):
    """A new segmentation without segments, on the liver's grid and beside it in the subject hierarchy."""
    mrmlScene = liverNode.GetScene()
    name = mrmlScene.GenerateUniqueName(f"{liverNode.GetName()} parts")
    partsNode = mrmlScene.AddNewNodeByClass(CLASS, name)
    try:
        partsNode.CreateDefaultDisplayNodes()
        partsNode.GetSegmentation().SetSourceRepresentationName(LABELMAP)
        scene.placeBeside(partsNode, liverNode)
    except BaseException:
        scene.removeNode(partsNode)
        raise
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
            segment = segmentation.GetSegment(_segmentId(partsNode, name)) or _add(segmentation, name)
            if segment.GetRepresentation(LABELMAP) != labelmap or segment.GetLabelValue() != value:
                segment.SetLabelValue(value)
                segment.AddRepresentation(LABELMAP, labelmap)


def holds(partsNode, labelmap, array: np.ndarray) -> bool:
    """Whether both parts have a label map that `image` gave (None: none yet), with its voxels and their values.

    The Segment Editor may crop it, or give an edited part one of its own.
    """
    segments = [partsNode.GetSegmentation().GetSegment(segmentId) for segmentId in segmentIds(partsNode)]
    if labelmap is None or not all(
        segment is not None and segment.GetRepresentation(LABELMAP) == labelmap and segment.GetLabelValue() == value
        for value, segment in enumerate(segments, start=1)
    ):
        return False
    now = scene.labelmapArray(labelmap)
    return now.shape == array.shape and np.shares_memory(now, array)


def liverSegmentId(segmentationNode) -> str:
    """ID of the segment that is planned with, empty when there is none: this module's liver, else the only segment with
    the code of the liver, else the only one called liver, which was drawn or read from a file. It is never changed.
    """
    own = scene.liverSegmentId(segmentationNode)
    if own or any(segmentIds(segmentationNode)):
        return own
    segmentation = segmentationNode.GetSegmentation()
    segments = {segmentId: segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()}
    coded = [segmentId for segmentId, segment in segments.items() if _codeOf(scene.terminologyOf(segment)) == _LIVER]
    called = [segmentId for segmentId, segment in segments.items() if segment.GetName().strip().lower() == SEGMENT_NAME]
    return next((found[0] for found in (coded, called) if len(found) == 1), "")


def hasOthers(partsNode) -> bool:
    """Whether there are segments of the user beside the parts."""
    return bool({*partsNode.GetSegmentation().GetSegmentIDs()} - {*segmentIds(partsNode)})


def segmentIds(partsNode) -> list[str]:
    """Of the parts, in the order of `PARTS`; empty for one that was deleted."""
    return [_segmentId(partsNode, name) for name in PARTS]


def removeParts(partsNode) -> None:
    """Remove both parts; segments of others stay."""
    for segmentId in segmentIds(partsNode):
        if segmentId:
            partsNode.GetSegmentation().RemoveSegment(segmentId)


def surfaces(partsNode) -> dict:
    """Segment ID -> surface, of the parts that have one."""
    segmentation = partsNode.GetSegmentation()
    found = {s: segmentation.GetSegment(s).GetRepresentation(SURFACE) for s in segmentation.GetSegmentIDs()}
    return {segmentId: surface for segmentId, surface in found.items() if surface is not None}


def keepSurfaces(partsNode, kept: dict) -> None:
    """Show again, until they are made anew, surfaces that a change of voxels took away."""
    for segmentId, surface in kept.items():
        partsNode.GetSegmentation().GetSegment(segmentId).AddRepresentation(SURFACE, surface)


def surfacesFit(partsNode, liverNode) -> bool:
    """Whether the parts have surfaces when the liver has one, and none when it has none."""
    has = [node.GetSegmentation().ContainsRepresentation(SURFACE) for node in (partsNode, liverNode)]
    return has[0] == has[1]


def makeSurfaces(partsNode, liverNode) -> None:
    """Parts have surfaces when the liver has one."""
    segmentation = partsNode.GetSegmentation()
    if liverNode.GetSegmentation().ContainsRepresentation(SURFACE):
        segmentation.CreateRepresentation(SURFACE, True)
    elif segmentation.ContainsRepresentation(SURFACE):
        segmentation.RemoveRepresentation(SURFACE)


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
    found = hashlib.blake2b(digest_size=16)
    for segmentId in segmentIds(partsNode):
        segment = partsNode.GetSegmentation().GetSegment(segmentId)
        labelmap = segment.GetRepresentation(LABELMAP) if segment is not None else None
        if labelmap is None:
            return ""
        voxels = scene.labelmapArray(labelmap) == segment.GetLabelValue()
        # Slicer crops and pads label maps, also when it saves and loads them
        box = boxes.bounding_box(voxels)
        part = voxels[box] if box else voxels[:0]
        found.update(np.array(part.shape if box else 0).tobytes() + np.packbits(part).tobytes())
    return found.hexdigest()


def _liver(liverNode) -> tuple:
    """(segment, label map) of the liver, each None when there is none."""
    segmentId = liverSegmentId(liverNode)
    segment = liverNode.GetSegmentation().GetSegment(segmentId) if segmentId else None
    return segment, segment.GetRepresentation(LABELMAP) if segment is not None else None


def _nodes(shape: tuple[int, ...], ijkToLocal: np.ndarray, warped: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices along k, j and i whose places are asked for: the ends, and where space is bent one in each block."""
    spacing = np.linalg.norm(ijkToLocal[:3, :3], axis=0)
    found = []
    for n, mm, block in zip(shape, spacing[::-1], BLOCK_MM[::-1]):
        last = max(1, n - 1)
        step = max(1, round(block / mm)) if warped else last
        found.append(np.append(np.arange(0, last, step), last))
    return boxes.triple(found)


def _interpolation(n: int, nodes: np.ndarray) -> np.ndarray:
    """(n, len(nodes)) float32: what each node counts in linear interpolation at 0 to n - 1."""
    index = np.arange(n)
    right = np.clip(np.searchsorted(nodes, index, side="right"), 1, len(nodes) - 1)
    share = (index - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
    weights = np.zeros((n, len(nodes)), np.float32)
    weights[index, right - 1], weights[index, right] = 1 - share, share
    return weights


def _segmentId(partsNode, name: str) -> str:
    """ID of a part, also when it was renamed; empty when there is none."""
    segmentation = partsNode.GetSegmentation()
    value = vtk.reference("")
    for segmentId in segmentation.GetSegmentIDs():
        if segmentation.GetSegment(segmentId).GetTag(_TAG + name, value) and str(value) == segmentId:
            return segmentId
    return ""


def _add(segmentation, name: str):
    segmentId = segmentation.AddEmptySegment(segmentation.GenerateUniqueSegmentID(name), name, COLORS[name])
    segment = segmentation.GetSegment(segmentId)
    segment.SetTag(_TAG + name, segmentId)
    scene.describeAlgorithm(segment, "cut plane", assisted=True)
    segment.SetTag(segment.GetTerminologyEntryTagName(), TERMINOLOGY)
    segment.SetNameAutoGenerated(False)
    return segment
