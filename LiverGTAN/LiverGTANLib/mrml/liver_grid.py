"""The liver segment's voxels, where they are in the world, and how a cut divides them. On the main thread."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import vtk

from ..core import boxes, measurements, threads
from ..core.boxes import Box
from ..core.terminology import SEGMENT_NAME, TERMINOLOGY
from ..core.volume import InputError, VoxelVolumes
from . import scene
from .cut_curve import CutCurve
from .cut_plane import CutPlane
from .warp import BLOCK_MM, Warp

Cut = CutPlane | CutCurve

PARTS = ("remnant", "resected")
"""Names of the parts; their values in the label map are 1 and 2."""

PART_TAG = "LiverGTAN.part."
"""Segment tag of a part, followed by its name in `PARTS`. Its value is the segment's ID: a copy of the segment has
another ID, and is the user's own."""

SAMPLED_VOXELS = 20_000
"""About so many voxels of the liver are asked for where its middle is; a choice."""

FINE_MM = 3.0
"""Distance of the places at which the distance from a curve is computed; between them it is interpolated. A choice: of
a bend with a radius of 10 mm the border is 0.1 mm off, at a sharp corner of 45 degrees about 1 mm."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Places of some voxel centers. nodes: their indices along k, j and i. places: (c, b, a, 3) RAS mm in the world."""

    nodes: tuple[np.ndarray, np.ndarray, np.ndarray]
    places: np.ndarray
    shape: tuple[int, int, int]

    @cached_property
    def weights(self) -> tuple[np.ndarray, ...]:
        """Along k, j and i: what each node counts at each index in linear interpolation."""
        return tuple(_interpolation(n, nodes) for n, nodes in zip(self.shape, self.nodes))


@dataclass(frozen=True, eq=False)
class LiverGrid:
    """The liver's voxels and their places.

    voxels: (K, J, I) uint8, 1 in the liver, of the smallest box that holds it. box: that box in the label map's own
    array. ijkToLocal: (4, 4) of the box, in mm as stored in the segmentation. toWorld: vtkGeneralTransform from there.
    voxelVolumes: where a transform bends space, else None.
    """

    voxels: np.ndarray
    box: Box
    ijkToLocal: np.ndarray
    toWorld: Any
    voxelMl: float
    voxelVolumes: VoxelVolumes | None

    @staticmethod
    def of(liverNode) -> "LiverGrid":
        """Raises InputError when the liver segment has no voxels, or lies under a transform that folds space."""
        segment, labelmap = liverOf(liverNode)
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
        return LiverGrid(
            np.ascontiguousarray(isLiver[box]).view(np.uint8),
            box,
            matrix,
            scene.transformBetween(liverNode, None),
            measurements.voxel_ml(matrix if warped else scene.localToWorld(liverNode) @ matrix),
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
    def lattice(self) -> Lattice:
        """The ends, and where space is bent one place in each block: distances from a plane are linear between."""
        return self._lattice(BLOCK_MM if self.voxelVolumes is not None else None)

    @cached_property
    def fineLattice(self) -> Lattice:
        """For distances that are not linear."""
        return self._lattice((FINE_MM, FINE_MM, min(FINE_MM, BLOCK_MM[2]) if self.voxelVolumes else FINE_MM))

    def _lattice(self, blockMm: tuple[float, float, float] | None) -> Lattice:
        nodes = _nodes(boxes.triple(self.voxels.shape), self.ijkToLocal, blockMm)
        k, j, i = np.meshgrid(*nodes, indexing="ij")
        points = np.stack([i, j, k], axis=-1).reshape(-1, 3) @ self.ijkToLocal[:3, :3].T + self.ijkToLocal[:3, 3]
        places = scene.transformed(self.toWorld, points)
        shape = boxes.triple(self.voxels.shape)
        return Lattice(nodes, places.reshape(*(len(along) for along in nodes), 3), shape)

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
        weights = [along[index] for along, index in zip(self.lattice.weights, kji.T)]
        points = np.einsum("na,nb,nc,abcx->nx", *weights, self.lattice.places, optimize=True)
        corners = self.lattice.places.reshape(-1, 3)
        return points, float((corners.max(axis=0) - corners.min(axis=0)).max())

    @property
    def corners(self) -> np.ndarray:
        """(8, 3) RAS mm of the box's corners in the world."""
        places = self.lattice.places
        return places[:: max(1, len(places) - 1)][:, [0, -1]][:, :, [0, -1]].reshape(-1, 3)

    @property
    def isMirrored(self) -> bool:
        """Whether the voxel axes i, j, k are left-handed in the world, which a transform that mirrors changes."""
        first, *others = self.corners[[0, 1, 2, 4]]
        return bool(np.linalg.det(np.array(others) - first) < 0)

    def split(self, cut: Cut, parts: np.ndarray) -> int:
        """Write 1 into `parts` (K, J, I; uint8) where the liver remains and 2 where it is resected, else 0.

        A voxel belongs to the side on which its center lies, and on the cut to that of the normal. Returns the number
        of resected voxels.
        """
        lattice = self.lattice if cut.isFlat else self.fineLattice
        along_k, along_j, along_i = lattice.weights
        distances = cut.distances(lattice.places.reshape(-1, 3)).reshape(lattice.places.shape[:3])
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


def partId(segmentationNode, name: str) -> str:
    """ID of a part, also when it was renamed; empty when there is none."""
    segmentation = segmentationNode.GetSegmentation()
    value = vtk.reference("")
    for segmentId in segmentation.GetSegmentIDs():
        if segmentation.GetSegment(segmentId).GetTag(PART_TAG + name, value) and str(value) == segmentId:
            return segmentId
    return ""


def liverSegmentId(segmentationNode) -> str:
    """ID of the segment that is planned with, empty when there is none: this module's liver, else the only segment with
    the code of the liver, else the only one called liver, which was drawn or read from a file. It is never changed.
    """
    own = scene.liverSegmentId(segmentationNode)
    if own or any(partId(segmentationNode, name) for name in PARTS):
        return own
    segmentation = segmentationNode.GetSegmentation()
    segments = {segmentId: segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()}
    coded = [segmentId for segmentId, segment in segments.items() if _codeOf(scene.terminologyOf(segment)) == _LIVER]
    called = [segmentId for segmentId, segment in segments.items() if segment.GetName().strip().lower() == SEGMENT_NAME]
    return next((found[0] for found in (coded, called) if len(found) == 1), "")


def _codeOf(terminology: str) -> list[str]:
    """Scheme and value of the type in a terminology entry as Slicer serializes it."""
    return terminology.split("~")[2].split("^")[:2] if terminology.count("~") > 2 else []


_LIVER = _codeOf(TERMINOLOGY)


def liverOf(liverNode) -> tuple:
    """(segment, label map) of the liver in a segmentation, each None when there is none."""
    segmentId = liverSegmentId(liverNode)
    segment = liverNode.GetSegmentation().GetSegment(segmentId) if segmentId else None
    return segment, segment.GetRepresentation(scene.LABELMAP) if segment is not None else None


def key(liverNode) -> tuple | None:
    """Equal as long as the liver has the same voxels in the same place; None without a liver segment."""
    segment, labelmap = liverOf(liverNode) if liverNode is not None else (None, None)
    if labelmap is None:
        return None
    voxels = labelmap, labelmap.GetMTime(), segment.GetLabelValue()
    if not scene.isWarped(liverNode):
        return (*voxels, scene.localToWorld(liverNode).tobytes())
    transform = liverNode.GetParentTransformNode()
    return (*voxels, transform.GetID(), transform.GetTransformToWorldMTime())


def _nodes(
    shape: tuple[int, int, int], ijkToLocal: np.ndarray, blockMm: tuple[float, float, float] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices along k, j and i whose places are asked for: the ends, and one in each block of these sides along i, j
    and k."""
    spacing = np.linalg.norm(ijkToLocal[:3, :3], axis=0)
    found = []
    for axis, n in enumerate(shape):
        last = max(1, n - 1)
        step = max(1, round(blockMm[2 - axis] / spacing[2 - axis])) if blockMm else last
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
