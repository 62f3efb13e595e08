"""Images under a transform that bends space: where their voxels are, how large they are, and the straight grid that
fits best, in which the network sees them. On the main thread.

Slicer's DICOM reader puts a volume under such a transform when its slices are not equally far apart.
"""

from dataclasses import dataclass, replace
from itertools import pairwise, permutations

import numpy as np

from ..core.boxes import Box
from ..core.clicks import Click
from ..core.postprocess import MaskParameters
from ..core.region import Region
from ..core.volume import CtVolume, InputError, VoxelVolumes
from . import scene

BLOCK_MM = (8.0, 8.0, 2.0)
"""Sides of the blocks whose corners are transformed, along i, j and k: the distance of slices may change from one to
the next, within a slice a transform changes slowly (registration places control points 10 mm and more apart)."""

SMALLEST_SHARE = 0.05
"""A part of a block that has less than this share of its size in the best straight grid counts as folded. Chosen: a
twentieth is no distance of slices and no registration of a body, but still far from rounding."""

FARTHEST_BACK_MM = 0.5
"""So far from a point may lie what its place in the scan is transformed to. Chosen: less than a voxel; Slicer inverts
a transform to 0.001 mm where it can be inverted."""

FARTHEST_FROM_FACE_MM = 1.0
"""So far may a face of the ROI, seen from the scan, bend away from a plane. Chosen: a third of a cell of the grid."""

BLOCKS_AT_ONCE = 4
"""Blocks along each side of those whose corners a straight grid is fitted to, where no volume is measured."""

FIRST_POINTS = 64
"""Of many points, so many are inverted first, to find out whether they can be."""

FACE_POINTS = 9
"""Points along each side of a face of the ROI at which its bending is measured."""


@dataclass(frozen=True, eq=False)
class Warp:
    """What a transform makes of an image. ijkToRas: (4, 4), the straight grid that fits best, in mm."""

    ijkToRas: np.ndarray
    voxelVolumes: VoxelVolumes

    @staticmethod
    def of(volumeNode) -> "Warp":
        """Of a volume in the world. Raises InputError when its transform folds space."""
        ends = np.array([(-0.5, n - 0.5) for n in volumeNode.GetImageData().GetDimensions()])
        return Warp._measured(volumeNode, ends, scene.ijkToLocal(volumeNode))

    @staticmethod
    def ofLabelmap(segmentationNode, labelmap) -> "Warp":
        """Of a label map of a segmentation in the world; its blocks are counted from its first voxel."""
        ends = np.reshape(labelmap.GetExtent(), (3, 2)) + [-0.5, 0.5]
        return Warp._measured(segmentationNode, ends, scene.imageToWorld(labelmap))

    @staticmethod
    def _measured(node, ends: np.ndarray, ijkToLocal: np.ndarray) -> "Warp":
        edges = _edges(ends, ijkToLocal)
        corners = _corners(edges)
        places = scene.transformed(scene.transformBetween(node, None), _at(ijkToLocal, corners))
        if not np.isfinite(places).all():
            raise _folded(node)
        matrix = _fitted(corners, places)
        least = SMALLEST_SHARE * np.linalg.det(matrix[:3, :3])
        size, ml = _block_sizes(edges), np.zeros([len(edge) - 1 for edge in edges[::-1]])
        for part in _tetrahedra(places.reshape(*(len(edge) for edge in edges[::-1]), 3)):
            share = part / size
            if (share * np.sign(least) < abs(least)).any():
                raise _folded(node)
            ml += abs(share) / 6 / 1000
        i, j, k = (np.repeat(np.arange(len(edge) - 1), np.diff(edge).astype(int)) for edge in edges)
        return Warp(matrix, VoxelVolumes(ml, (k, j, i)))


def straightGrid(volumeNode, segmentationNode) -> tuple[np.ndarray, list[int]]:
    """((4, 4) ijk to RAS under the segmentation's transform, extent) of a grid for the volume's warped voxels.

    Raises InputError when the transforms between them cannot be inverted.
    """
    ijkToLocal = scene.ijkToLocal(volumeNode)
    ends = np.array([(-0.5, n - 0.5) for n in volumeNode.GetImageData().GetDimensions()])
    corners = _corners(_edges(ends, ijkToLocal, BLOCKS_AT_ONCE))
    places = _inSegmentation(_at(ijkToLocal, corners), volumeNode, segmentationNode)
    matrix = _fitted(corners, places)
    return matrix, _extent(_at(np.linalg.inv(matrix), places))


def extentOf(box: Box, volumeNode, segmentationNode, ijkToSegmentation: np.ndarray) -> list[int]:
    """The part of a grid of the segmentation that holds a box (k, j, i) of the volume.

    Raises InputError when the transforms between them cannot be inverted there.
    """
    ijkToLocal = scene.ijkToLocal(volumeNode)
    ends = np.array([(part.start - 0.5, max(part.start, part.stop - 1) + 0.5) for part in box[::-1]])
    points = _at(ijkToLocal, _corners(_edges(ends, ijkToLocal)))
    places = _inSegmentation(points, volumeNode, segmentationNode)
    extent = _extent(_at(np.linalg.inv(ijkToSegmentation), places))
    if scene.isWarped(segmentationNode):  # raises also where it only folds what is beside the box
        Warp._measured(segmentationNode, np.reshape(extent, (3, 2)) + [-0.5, 0.5], ijkToSegmentation)
    return extent


def _inSegmentation(points: np.ndarray, volumeNode, segmentationNode) -> np.ndarray:
    """(N, 3) points under the volume's transform, as they lie under the segmentation's."""
    there, back = (
        scene.transformBetween(volumeNode, segmentationNode),
        scene.transformBetween(segmentationNode, volumeNode),
    )
    places = points
    for some in (points[:: len(points) // FIRST_POINTS + 1], points):  # Slicer logs each point that it cannot invert
        places = scene.transformed(there, some)
        if not (np.linalg.norm(scene.transformed(back, places) - some, axis=1) <= FARTHEST_BACK_MM).all():
            raise _folded(segmentationNode if scene.isWarped(segmentationNode) else volumeNode)
    return places


def inScan(parameters: MaskParameters, volumeNode, ct: CtVolume) -> MaskParameters:
    """ROI and points, which are set in the world, in the straight grid that `ct` has. Raises InputError."""
    region = parameters.region and _regionInScan(parameters.region, volumeNode, ct)
    return replace(
        parameters,
        region=region,
        clicks=tuple(
            Click(tuple(_inScan(np.array([click.ras], float), volumeNode, ct)[0].tolist()), click.liver)
            for click in parameters.clicks
        ),
    )


def _inScan(points: np.ndarray, volumeNode, ct: CtVolume) -> np.ndarray:
    """(N, 3) points of the world in the straight grid of the scan, in mm."""
    local = scene.transformed(scene.transformBetween(None, volumeNode), points)
    back = scene.transformed(scene.transformBetween(volumeNode, None), local)
    if not (np.linalg.norm(back - points, axis=1) <= FARTHEST_BACK_MM).all():  # also for what is not finite
        raise InputError(
            f"The transform of '{volumeNode.GetName()}' bends space so that a point or the ROI has no place in the "
            "scan; move it into the scan, or correct the transform."
        )
    return _at(ct.ijk_to_ras @ np.linalg.inv(scene.ijkToLocal(volumeNode)), local)


def _regionInScan(region: Region, volumeNode, ct: CtVolume) -> Region:
    """The box whose faces are those of the region in the scan, each pair of them parallel.

    Raises InputError when a face is bent where it passes through the scan.
    """
    half, steps = np.asarray(region.size_mm) / 2, np.linspace(-1, 1, FACE_POINTS)
    toFaces = np.eye(4)
    ijk = np.linalg.inv(ct.ijk_to_ras)
    for axis in range(3):
        u, v, side = np.meshgrid(steps, steps, (-1.0, 1.0), indexing="ij")
        unit = np.stack(np.broadcast_arrays(*np.roll([side, u, v], axis, axis=0)), axis=-1).reshape(-1, 3)
        side = unit[:, axis]
        points = _inScan(_at(np.asarray(region.object_to_ras, float), unit * half), volumeNode, ct)
        place = _at(ijk, points)
        seen = np.all([place > -1, place < ct.shape[::-1]], axis=(0, 2))
        for face in (-1, 1):
            seen |= (side == face) & ~seen[side == face].any()  # a face outside of the scan: any of its planes will do
        design = np.c_[points, np.ones(len(points))]
        plane = np.linalg.lstsq(design[seen], side[seen], rcond=None)[0]
        if abs(design[seen] @ plane - side[seen]).max() / np.linalg.norm(plane[:3]) > FARTHEST_FROM_FACE_MM:
            raise InputError(
                f"The transform of '{volumeNode.GetName()}' bends the ROI, which has no straight faces in the scan; "
                "turn the ROI along the slices, make it smaller, or harden the transform onto the volume in the "
                "Transforms module."
            )
        toFaces[axis] = plane
    return Region(np.linalg.inv(toFaces), (2.0, 2.0, 2.0))


def _edges(ends: np.ndarray, ijkToLocal: np.ndarray, blocks: int = 1) -> list[np.ndarray]:
    """Borders of the blocks along i, j and k, between voxels; several blocks at once make larger ones."""
    spacing = np.linalg.norm(ijkToLocal[:3, :3], axis=0)
    steps = (max(1, round(blocks * side / mm)) for side, mm in zip(BLOCK_MM, spacing))
    return [np.append(np.arange(first, last, step), last) for (first, last), step in zip(ends, steps)]


def _corners(edges: list[np.ndarray]) -> np.ndarray:
    """(N, 3) i, j, k of the blocks' corners, i fastest."""
    k, j, i = np.meshgrid(*edges[::-1], indexing="ij")
    return np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1)


def _block_sizes(edges: list[np.ndarray]) -> np.ndarray:
    """Number of voxels in each block, (k, j, i)."""
    i, j, k = (np.diff(edge) for edge in edges)
    return k[:, None, None] * j[:, None] * i


def _at(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _fitted(corners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The (4, 4) matrix that leads from the corners nearest to their places, by least squares."""
    middle = corners.mean(axis=0)
    centered = corners - middle
    linear = np.linalg.solve(centered.T @ centered, centered.T @ (places - places.mean(axis=0))).T
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, places.mean(axis=0) - linear @ middle
    return matrix


def _tetrahedra(places: np.ndarray):
    """Six times the signed volume in mm³ of each of the six tetrahedra that make up every block, as (k, j, i).

    All have the block's diagonal in common, so that neighboring blocks share the triangles of their faces.
    """
    first, last = slice(None, -1), slice(1, None)
    for order in permutations(range(3)):
        passed = [first] * 3
        corners = [places[tuple(passed)]]
        for axis in order:
            passed[axis] = last
            corners.append(places[tuple(passed)])
        a, b, c = (after - before for before, after in pairwise(corners))
        # Axes of the array are k, j, i; a right-handed path goes along i, j, k.
        sign = -np.linalg.det(np.eye(3)[list(order)])
        # numpy's own cross product takes several times as long.
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (np.moveaxis(edge, -1, 0) for edge in (a, b, c))
        yield sign * (ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx))


def _extent(places: np.ndarray) -> list[int]:
    """The voxels of a grid around places in it, and one more on each side, for faces bulge between corners."""
    low, high = np.floor(places.min(axis=0)) - 1, np.ceil(places.max(axis=0)) + 1
    return [int(end) for ends in zip(low, high) for end in ends]


def _folded(node) -> InputError:
    name = node.GetParentTransformNode().GetName()
    return InputError(
        f"The transform '{name}', under which '{node.GetName()}' lies, folds space or cannot be inverted: its voxels "
        "have no certain place and size. Correct the transform, or take it off in the Transforms module."
    )
