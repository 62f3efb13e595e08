"""A markups ROI as the region that restricts the mask. On the main thread."""

import numpy as np
from slicer.util import NodeModify, arrayFromVTKMatrix, vtkMatrixFromArray

from ..core.region import Region
from ..core.volume import InputError
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
    """The box of the ROI in the world; None without an ROI, while it is still being placed, and for an `obstacle`."""
    if roiNode is None or min(roiNode.GetSize()) <= 0 or roiNode.GetInsideOut():
        return None
    toWorld = arrayFromVTKMatrix(roiNode.GetObjectToWorldMatrix())
    # The region's size is along its own axes; a scaling parent transform is in the matrix.
    return Region(toWorld, tuple(roiNode.GetSize()))


def obstacle(roiNode) -> str:
    """Why an ROI cannot restrict a mask; empty where it can, or is still being placed."""
    if min(roiNode.GetSize()) <= 0 < max(roiNode.GetSize()):
        return (
            f"A side of the ROI '{roiNode.GetName()}' is 0 mm long, so nothing lies in it; give it an extent, or "
            "choose no ROI."
        )
    if roiNode.GetInsideOut():
        return (
            f"The ROI '{roiNode.GetName()}' is set to 'Inside out', but only what lies in a box can be segmented; take "
            "that off in the Markups module, or choose no ROI."
        )
    try:
        readRegion(roiNode)
    except InputError as error:
        return str(error)
    return ""


def writeRegion(roiNode, region: Region) -> None:
    """Make the ROI the box that the region is, also where points spanned it, or it was inside out."""
    # Slicer carries center and axes through the transform, also where it bends space; there as it is at the center.
    matrix = np.asarray(region.object_to_ras, float)
    points = matrix[:3, 3] + np.vstack([np.zeros(3), matrix[:3, :3].T])
    center, *ends = scene.transformed(scene.transformBetween(None, roiNode), points)
    toNode = np.eye(4)
    toNode[:3] = np.column_stack([*(end - center for end in ends), center])
    with NodeModify(roiNode):
        roiNode.SetROIType(roiNode.ROITypeBox)  # first: points that span a box would move it
        roiNode.SetInsideOut(False)
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
