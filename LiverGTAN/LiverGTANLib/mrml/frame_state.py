"""What a frame of a sequence was segmented as: its mask, its CT, and where both lie. On the main thread.

Figures of a frame are true as long as its state is the one that they were measured in. States are saved with the scene.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from . import scene
from .session import EDITED

MOVED = "the CT or its liver was moved or scaled since it was segmented"
CT_CHANGED = "the CT has changed since it was segmented"

LATTICE = 17
"""Places along each side of a CT by which transforms that bend space are compared: 20 mm apart in a body of 350 mm
(a choice), less than what one control point of a registration, 10 mm from the next, moves."""


@dataclass(frozen=True)
class FrameState:
    """mask, ct, bending: digests, empty where there is none. maskGrid, ctGrid, place: numbers of matrices in mm."""

    mask: str
    maskGrid: list[float]
    ct: str
    ctGrid: list[float]
    place: list[float]
    bending: str

    def changesSince(self, before: "FrameState") -> list[str]:
        """What is different now, for the user; empty where nothing is."""
        found = []
        if self.mask != before.mask or not _same(self.maskGrid, before.maskGrid):
            found.append(EDITED)
        if self.ct != before.ct or not _same(self.ctGrid, before.ctGrid):
            found.append(CT_CHANGED)
        if self.bending != before.bending or not _same(self.place, before.place):
            found.append(MOVED)
        return found


def of(maskNode, ctNode, maskProxy, ctProxy) -> FrameState:
    """maskNode, ctNode: one frame as its sequences hold it (ctNode: None where it holds no volume). maskProxy, ctProxy:
    the nodes that show it, whose transforms are those of all frames.
    """
    mask, maskGrid = _maskState(maskNode.GetSegmentation().GetSegment(scene.liverSegmentId(maskNode)))
    image = ctNode.GetImageData() if ctNode is not None else None
    ct = scene.imageDigest(image) if image is not None else ""
    ctGrid = scene.ijkToLocal(ctNode) if image is not None else np.eye(4)
    place, bending = [], ""
    if scene.isWarped(maskProxy) or scene.isWarped(ctProxy):
        bending = _bending(ctGrid, image.GetDimensions() if image is not None else (1, 1, 1), maskProxy, ctProxy)
    else:  # moved together, nothing is different unless they are scaled
        between = scene.matrixOf(scene.transformBetween(maskProxy, ctProxy))
        place = [*between.ravel().tolist(), float(np.linalg.det(scene.localToWorld(maskProxy)[:3, :3]))]
    return FrameState(mask, maskGrid, ct, ctGrid.ravel().tolist(), place, bending)


def masksOf(made) -> dict[str, dict]:
    """Digest and place of the voxels of each segment, by segment ID, of each frame of a sequence of segmentations, by
    index; segments and frames without voxels are left out."""
    nodes = {made.GetNthIndexValue(n): made.GetNthDataNode(n) for n in range(made.GetNumberOfDataNodes())}
    found = {index: _masksIn(node, node.GetSegmentation().GetSegmentIDs()) for index, node in nodes.items()}
    return {index: masks for index, masks in found.items() if masks}


def liversOf(made) -> dict[str, dict]:
    """As `masksOf`, of this module's segments alone."""
    nodes = {made.GetNthIndexValue(n): made.GetNthDataNode(n) for n in range(made.GetNumberOfDataNodes())}
    return {index: _masksIn(node, [scene.liverSegmentId(node)]) for index, node in nodes.items()}


def _masksIn(segmentationNode, segmentIds) -> dict[str, tuple]:
    states = {i: _maskState(segmentationNode.GetSegmentation().GetSegment(i)) for i in segmentIds}
    return {i: (mask, tuple(np.round(grid, 3))) for i, (mask, grid) in states.items() if grid}


def _maskState(segment) -> tuple[str, list[float]]:
    """Digest of the voxels, and (4, 4) of the first of them; empty without a label map or voxels."""
    grid = scene.gridOfMask(segment)
    text = scene.voxelDigest(segment) if segment is not None else ""
    return text, [] if grid is None else grid.ravel().tolist()


def _bending(ctGrid: np.ndarray, dimensions, maskProxy, ctProxy) -> str:
    """Digest of where transforms put places of the CT, to a tenth of a mm."""
    along = [np.linspace(-0.5, n - 0.5, LATTICE) for n in dimensions]
    ijk = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3)
    points = ijk @ ctGrid[:3, :3].T + ctGrid[:3, 3]
    places = [scene.transformed(scene.transformBetween(proxy, None), points) for proxy in (maskProxy, ctProxy)]
    return hashlib.blake2b((np.round(places, 1) + 0.0).tobytes(), digest_size=16).hexdigest()  # 0.0, for -0.0 differs


def _same(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and np.allclose(one, other, rtol=0, atol=scene.SAME_MM)
