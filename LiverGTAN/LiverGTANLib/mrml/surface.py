"""Surfaces in 3D: made of a mask or of logits in any thread, or of label maps by Slicer, and shaded smoothly.

Slicer converts label maps on the main thread. The filters here are those of its conversion with what `scene` chooses,
and Python's other threads run while they work (VTK_UNBLOCKTHREADS of vtkAlgorithm::Update, VTK 9.4).
"""

from typing import Any, NamedTuple

import numpy as np
import vtk
from slicer.util import vtkMatrixFromArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..core.engines.engine import Cancelled, IsCancelled
from ..core.segmenter import BoxMask
from . import scene
from .scene import SURFACE

_ITERATIONS = 8
"""What Slicer makes of `scene.SURFACE_SMOOTHING` (vtkBinaryLabelmapToClosedSurfaceConversionRule.cxx); a test compares
the results."""

_LARGEST_LOGIT = np.float32(2)
_BLUR_CELLS = 0.7
"""Logits of a network rise so steeply that a surface at 0 shows every cell. Cut off here and blurred (standard
deviation), they give one without steps, 0.61 mm on average from the exact mask's faces on 512x512x129 voxels (0.57 with
surface nets, which show steps). Of cuts at 2, 4 and 8 and blurs of 0.7 to 1.2 cells the nearest without steps in
pictures of the sample CT."""

_TRIANGLE = 3
_LABELS = "BoundaryLabels"
"""Cell array of the two labels that each triangle of vtkSurfaceNets3D lies between."""


class MaskSurface(NamedTuple):
    """A surface in RAS mm. mask: what it was made of. ijkToLocal: (4, 4), where the voxels of the mask's grid lie."""

    polyData: Any
    mask: BoxMask
    ijkToLocal: np.ndarray

    def fits(self, mask: BoxMask, image, segmentation) -> bool:
        """Whether it is that of this mask, written as this image, and Slicer would make the same now."""
        if mask is not self.mask or not scene.makesChosenSurfaces(segmentation):
            return False
        return np.allclose(scene.imageToWorld(image), self.ijkToLocal, rtol=0, atol=1e-6)


def placeIn(segmentationNode, volumeNode) -> np.ndarray | None:
    """(4, 4) from voxels of the volume to mm of the segmentation, where `ofMask` gives the surface that Slicer would.

    None where no surface is shown, or Slicer would make another one: the user has chosen other conversion parameters,
    or a transform bends space, so that the mask is resampled.
    """
    segmentation = segmentationNode.GetSegmentation()
    if not segmentation.ContainsRepresentation(SURFACE) or not scene.makesChosenSurfaces(segmentation):
        return None
    matrix = scene.matrixOf(scene.transformBetween(volumeNode, segmentationNode))
    return None if matrix is None else matrix @ scene.ijkToLocal(volumeNode)


def ofMask(mask: BoxMask, ijkToLocal: np.ndarray, cancelled: IsCancelled | None = None) -> MaskSurface | None:
    """The surface of a mask, closed also where the grid ends; None of an empty one. Raises Cancelled."""
    if mask.empty:
        return None
    nets = vtk.vtkSurfaceNets3D()
    nets.SetInputData(_image(np.pad(mask.voxels, 1), mask.start))
    nets.SmoothingOn()
    nets.SetNumberOfIterations(_ITERATIONS)
    nets.SetValue(0, 1)
    _update(nets, cancelled)
    return MaskSurface(_placed(nets.GetOutput(), ijkToLocal), mask, ijkToLocal)


def ofLogits(logits: np.ndarray, mask: BoxMask, ijkToLocal: np.ndarray, cancelled: IsCancelled | None = None):
    """About where logits are 0, as poly data in mm. logits: see `segmenter.coarse_logits`. Raises Cancelled.

    Smooth without the steps of the cells; what is as thin as a cell may be missing, but not all of it.
    """
    blurred, edges = vtk.vtkImageGaussianSmooth(), vtk.vtkFlyingEdges3D()
    blurred.SetInputData(_image(logits.clip(-_LARGEST_LOGIT, _LARGEST_LOGIT), mask.start))
    blurred.SetStandardDeviation(_BLUR_CELLS)
    edges.SetInputConnection(blurred.GetOutputPort())
    edges.SetValue(0, 0.0)
    edges.ComputeNormalsOff()  # its gradients turn around where cells of other components were pushed below zero
    edges.ComputeScalarsOff()
    _update(edges, cancelled)
    if not edges.GetOutput().GetNumberOfPolys():
        return ofMask(mask, ijkToLocal, cancelled).polyData
    return _placed(edges.GetOutput(), ijkToLocal)


def make(segmentation) -> bool:
    """Have Slicer make the surfaces of all segments anew, shaded; False when it could not."""
    made = segmentation.CreateRepresentation(SURFACE, True)
    shade(segmentation)
    return made


def show(segmentation, polyDatas: dict[str, Any]) -> bool:
    """Show these surfaces, by segment ID, and those that Slicer makes of the other segments; False when it could not.

    The segments' voxels must not be changed after it; segments that are not there any more are left out.
    """
    segments = {segmentId: segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()}
    for segmentId in segments.keys() & polyDatas.keys():
        segments[segmentId].AddRepresentation(SURFACE, polyDatas[segmentId])
    if all(segment.GetRepresentation(SURFACE) is not None for segment in segments.values()):
        segmentation.InvokeEvent(segmentation.ContainedRepresentationNamesModified)  # as Slicer does for those it makes
        return True
    made = segmentation.CreateRepresentation(SURFACE)
    shade(segmentation)
    return made


def shade(segmentation) -> None:
    """Shade smoothly what Slicer made as surface nets, which it gives no normals: flat triangles would show.

    Where segments of one label map touch, it has the triangles of the one with the larger label turned inside out: the
    normals at the rim would be wrong, and so would be its volume for whoever measures the surface.
    """
    if segmentation.GetSourceRepresentationName() == SURFACE:
        return
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        polyData = segment.GetRepresentation(SURFACE)
        labels = polyData.GetCellData().GetArray(_LABELS) if polyData is not None else None
        if labels is not None and polyData.GetPointData().GetNormals() is None:
            _turnOutward(polyData, labels, segment.GetLabelValue())
            _shade(polyData)


def _turnOutward(polyData, labels, value: int) -> None:
    """Turn round the triangles that vtkSurfaceNets3D made as seen from a label beside, which it names first."""
    if polyData.GetPolys().IsHomogeneous() != _TRIANGLE:
        return  # there is nothing in it
    isInward = vtk_to_numpy(labels)[:, 0] != value
    if isInward.any():
        corners = vtk_to_numpy(polyData.GetPolys().GetConnectivityArray()).reshape(-1, _TRIANGLE)
        corners[isInward] = corners[isInward][:, ::-1]
        polyData.GetPolys().Modified()


def _shade(polyData) -> None:
    if polyData.GetPolys().IsHomogeneous() != _TRIANGLE:
        return  # there is nothing in it
    normals = vtk.vtkTriangleMeshPointNormals()
    normals.SetInputData(polyData)
    normals.Update()
    polyData.GetPointData().SetNormals(normals.GetOutput().GetPointData().GetNormals())
    polyData.Modified()


def _image(values: np.ndarray, start: tuple[int, int, int]):
    """(D, H, W) values of a box and one cell beyond it, in voxel indices; they must live as long as the image."""
    image = vtk.vtkImageData()
    image.SetExtent(*[e for axis in (2, 1, 0) for e in (start[axis] - 1, start[axis] + values.shape[axis] - 2)])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values).reshape(-1), deep=True))
    return image


def _placed(polyData, ijkToLocal: np.ndarray):
    """From voxel indices to mm, and shaded."""
    transform, move = vtk.vtkTransform(), vtk.vtkTransformPolyDataFilter()
    transform.SetMatrix(vtkMatrixFromArray(ijkToLocal))
    move.SetInputData(polyData)
    move.SetTransform(transform)
    move.Update()
    _shade(move.GetOutput())
    return move.GetOutput()


def _update(algorithm, cancelled: IsCancelled | None) -> None:
    algorithm.Update()
    if cancelled is not None and cancelled():
        raise Cancelled
