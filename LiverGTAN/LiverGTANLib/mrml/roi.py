"""A markups ROI as the region that restricts the mask. On the main thread."""

import numpy as np
from slicer.util import NodeModify, arrayFromVTKMatrix, vtkMatrixFromArray

from ..core.region import Region
from . import scene

MARGIN_MM = 10.0
"""A new ROI leaves this much around the liver, so that its border can be corrected; a choice, not a measurement."""

LATTICE_POINTS = 9
"""Points along each side of a box at which a transform that bends space is asked for its extent."""

_ROLE = "LiverGTAN.region"


def find(volumeNode):
    """The ROI of this volume, or None."""
    return scene.owned(volumeNode, _ROLE)


def assign(volumeNode, roiNode) -> None:
    """Make an ROI (or None) the one of this volume."""
    scene.setOwned(volumeNode, _ROLE, roiNode)


def create(volumeNode):
    """A new ROI without any extent."""
    mrmlScene = volumeNode.GetScene()
    name = mrmlScene.GenerateUniqueName(f"{volumeNode.GetName()} R")
    roiNode = mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    roiNode.CreateDefaultDisplayNodes()
    return roiNode


def readRegion(roiNode) -> Region | None:
    """The box of the ROI in the world; None without an ROI and while it is still being placed."""
    if roiNode is None or min(roiNode.GetSize()) <= 0:
        return None
    toWorld = arrayFromVTKMatrix(roiNode.GetObjectToWorldMatrix())
    # The region's size is along its own axes; a scaling parent transform is in the matrix.
    return Region(toWorld, tuple(roiNode.GetSize()))


def isFlat(roiNode) -> bool:
    """Whether an ROI that was placed holds no volume, as one of its sides is 0."""
    return min(roiNode.GetSize()) <= 0 < max(roiNode.GetSize())


def writeRegion(roiNode, region: Region) -> None:
    """Move the ROI to where the region is."""
    # Slicer carries center and axes through the transform, also where it bends space; there as it is at the center.
    matrix = np.asarray(region.object_to_ras, float)
    points = matrix[:3, 3] + np.vstack([np.zeros(3), matrix[:3, :3].T])
    center, *ends = scene.transformed(scene.transformBetween(None, roiNode), points)
    toNode = np.eye(4)
    toNode[:3] = np.column_stack([*(end - center for end in ends), center])
    with NodeModify(roiNode):
        roiNode.SetAndObserveObjectToNodeMatrix(vtkMatrixFromArray(toNode))
        roiNode.SetSize(*region.size_mm)


def fit(roiNode, volumeNode, segmentationNode) -> None:
    """Put a new ROI around the liver, or, when there is none yet, around the whole volume."""
    corners = _liverCorners(segmentationNode) if scene.liverVolume(segmentationNode) == volumeNode else None
    if corners is None:
        last = np.array(volumeNode.GetImageData().GetDimensions()) - 0.5
        corners = _places(np.zeros(3) - 0.5, last, scene.ijkToLocal(volumeNode), volumeNode)
    low, high = corners.min(axis=0), corners.max(axis=0)
    matrix = np.eye(4)
    matrix[:3, 3] = (low + high) / 2
    writeRegion(roiNode, Region(matrix, tuple(high - low)))


def _liverCorners(segmentationNode) -> np.ndarray | None:
    """(N, 3) RAS mm on a box that holds the liver segment with a margin, None when it is empty."""
    labelmap = segmentationNode.GetBinaryLabelmapInternalRepresentation(scene.liverSegmentId(segmentationNode))
    if labelmap is None or labelmap.IsEmpty():
        return None
    first, last = np.reshape(labelmap.GetExtent(), (3, 2)).T
    margin = MARGIN_MM / np.array(labelmap.GetSpacing())
    return _places(first - 0.5 - margin, last + 0.5 + margin, scene.imageToWorld(labelmap), segmentationNode)


def _places(low, high, ijkToLocal, node) -> np.ndarray:
    """(N, 3) RAS mm of a lattice that spans a box of a node's image; a transform may bend its faces outward."""
    ijk = np.array(np.meshgrid(*np.linspace(low, high, LATTICE_POINTS).T)).reshape(3, -1)
    local = (ijkToLocal[:3, :3] @ ijk + ijkToLocal[:3, 3:]).T
    return scene.transformed(scene.transformBetween(node, None), local)
