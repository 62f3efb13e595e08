"""The volume of what is really in a segment, wherever the segmentation lies. On the main thread."""

from ..core import measurements
from ..core.volume import InputError
from . import scene
from .warp import Warp


def segmentMl(segmentationNode, segmentId: str) -> float:
    """Volume in mL of a segment as it is, under the segmentation's parent transform.

    Raises InputError when it has no label map.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    labelmap = segment.GetRepresentation(scene.LABELMAP)
    if labelmap is None:
        raise InputError(
            f"The volume of '{segment.GetName()}' in '{segmentationNode.GetName()}' cannot be measured, for it has no "
            "label map; make 'Binary labelmap' the source representation in the Segmentations module."
        )
    if scene.isWarped(segmentationNode):
        voxels = scene.labelmapArray(labelmap) == segment.GetLabelValue()
        return Warp.ofLabelmap(segmentationNode, labelmap).voxelVolumes.sum_ml(voxels, (0, 0, 0))
    toWorld = scene.localToWorld(segmentationNode) @ scene.imageToWorld(labelmap)
    return scene.segmentVoxels(segment) * measurements.voxel_ml(toWorld)
