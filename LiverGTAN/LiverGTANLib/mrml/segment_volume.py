"""The volume of what is really in a segment, wherever the segmentation lies, and what figures of it are of.

On the main thread.
"""

from dataclasses import dataclass

import numpy as np

from ..core import measurements
from ..core.volume import InputError
from . import roi, scene
from .warp import Warp


def segmentMl(segmentationNode, segmentId: str) -> float:
    """Volume in mL of a segment as it is, under the segmentation's parent transform.

    Raises InputError when it has no label map.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    labelmap = requireLabelmap(segmentationNode, segment)
    if scene.isWarped(segmentationNode):
        voxels = scene.labelmapArray(labelmap) == segment.GetLabelValue()
        return Warp.ofLabelmap(segmentationNode, labelmap).voxelVolumes.sum_ml(voxels, (0, 0, 0))
    toWorld = scene.localToWorld(segmentationNode) @ scene.imageToWorld(labelmap)
    return scene.segmentVoxels(segment) * measurements.voxel_ml(toWorld)


def requireLabelmap(segmentationNode, segment):
    """The label map of a segment. Raises InputError, which says what to do, when it has none."""
    labelmap = segment.GetRepresentation(scene.LABELMAP)
    if labelmap is None:
        raise InputError(noLabelmap(segmentationNode, segment))
    return labelmap


def noLabelmap(segmentationNode, segment) -> str:
    """What to say of a segment without a label map."""
    return (
        f"'{segment.GetName()}' in '{segmentationNode.GetName()}' has no label map and cannot be measured; make "
        "'Binary labelmap' the source representation in the Segmentations module."
    )


@dataclass(frozen=True)
class Content:
    """What figures of a liver were measured on, as it can be saved with the scene.

    mask: digest of the liver's voxels. image: of its CT's, empty without one. place: where the liver lies in the CT, in
    its voxels, empty where that is no matrix. region: where the CT's ROI lies in it and its size, empty without one.
    """

    mask: str
    image: str
    place: list[float]
    region: list[float]

    @staticmethod
    def of(segmentationNode) -> "Content | None":
        """Of this module's liver in a segmentation; None where it has no voxels."""
        segmentId = scene.liverSegmentId(segmentationNode)
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId) if segmentId else None
        local = scene.gridOfMask(segment)
        if local is None:
            return None
        mask = scene.voxelDigest(segment)
        volumeNode = scene.liverVolume(segmentationNode)
        if volumeNode is None or volumeNode.GetImageData() is None:
            return Content(mask, "", [], [])
        place = _placeIn(volumeNode, segmentationNode, local)
        return Content(mask, scene.imageDigest(volumeNode.GetImageData()), place, regionOf(volumeNode))

    def isOfSame(self, other: "Content") -> bool:
        """Whether liver and CT, as far as that is still there, are the same and lie to each other as before."""
        if self.mask != other.mask:
            return False
        withoutCt = not self.image or not other.image
        return withoutCt or (self.image == other.image and areSame(self.place, other.place))

    def hasSameRegion(self, other: "Content") -> bool:
        """Whether the ROI lies to the CT as before, as far as that is still there."""
        return not self.image or not other.image or areSame(self.region, other.region)


def areSame(some: list[float], others: list[float]) -> bool:
    """Whether two places, as `Content` holds them, are one but for rounding."""
    return len(some) == len(others) and bool(np.allclose(some, others, rtol=0, atol=scene.SAME_VOXEL))


def _placeIn(volumeNode, node, local: np.ndarray) -> list[float]:
    """The upper rows of a (4, 4) in mm as stored in a node (None: in the world), in voxels of a volume."""
    between = scene.matrixOf(scene.transformBetween(node, volumeNode))
    return (
        [] if between is None else (np.linalg.inv(scene.ijkToLocal(volumeNode)) @ between @ local)[:3].ravel().tolist()
    )


def regionOf(volumeNode) -> list[float]:
    """Where the ROI of a volume lies in it, in its voxels, and its size in mm; empty without an ROI."""
    region = roi.readRegion(roi.find(volumeNode))
    if region is None:
        return []
    toWorld = np.asarray(region.object_to_ras, float)
    return [*(_placeIn(volumeNode, None, toWorld) or toWorld.ravel().tolist()), *map(float, region.size_mm)]
