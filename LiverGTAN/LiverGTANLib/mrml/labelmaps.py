"""Masks as Slicer's oriented images, and the relative position of images on one lattice. On the main thread."""

import numpy as np
from slicer import vtkOrientedImageData, vtkOrientedImageDataResample, vtkSegmentationConverter
from slicer.util import arrayFromVTKMatrix, vtkMatrixFromArray
from vtk import VTK_UNSIGNED_CHAR
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..core.segmenter import BoxMask

LABELMAP = vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
SURFACE = vtkSegmentationConverter.GetClosedSurfaceRepresentationName()


def orientedImage(boxMask: BoxMask, ijkToRas: np.ndarray) -> vtkOrientedImageData:
    """The mask as an image of its box alone, sharing its memory. ijkToRas: (4, 4) of the whole grid, in mm."""
    voxels, start = boxMask.voxels, boxMask.start
    if voxels.size == 0:
        voxels, start = np.zeros((1, 1, 1), np.uint8), (0, 0, 0)
    image = vtkOrientedImageData()
    image.SetExtent(*[e for axis in (2, 1, 0) for e in (start[axis], start[axis] + voxels.shape[axis] - 1)])
    image.SetGeometryFromImageToWorldMatrix(vtkMatrixFromArray(ijkToRas))
    # The VTK array keeps the numpy array alive.
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels, np.uint8).ravel()))
    return image


def labelmapArray(image) -> np.ndarray:
    """The voxels of an oriented image as a (k, j, i) view; an empty one has no voxels."""
    scalars = image.GetPointData().GetScalars()
    extent = image.GetExtent()
    shape = [max(0, extent[2 * axis + 1] - extent[2 * axis] + 1) for axis in (2, 1, 0)]
    if scalars is None or 0 in shape:
        return np.zeros((0, 0, 0), np.uint8)
    return vtk_to_numpy(scalars).reshape(shape)


def sharedParts(first, second) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where two images of one lattice overlap, as (k, j, i) slices of each."""
    shared = [_sharedRange(first, second, axis) for axis in (2, 1, 0)]
    return tuple(of[0] for of in shared), tuple(of[1] for of in shared)


def _sharedRange(first, second, axis: int) -> tuple[slice, slice]:
    (a0, a1), (b0, b1) = (image.GetExtent()[2 * axis : 2 * axis + 2] for image in (first, second))
    low, high = max(a0, b0), max(max(a0, b0), min(a1, b1) + 1)
    return slice(low - a0, high - a0), slice(low - b0, high - b0)


def covers(image, other) -> bool:
    """Whether all of the other image of the same lattice lies within this one."""
    extents = image.GetExtent(), other.GetExtent()
    return all(
        extents[0][2 * axis] <= extents[1][2 * axis] and extents[1][2 * axis + 1] <= extents[0][2 * axis + 1]
        for axis in range(3)
    )


def enlarged(image, labelmap):
    """The image enlarged by zeros to cover the label map too."""
    extent = [f(a, b) for f, a, b in zip((min, max) * 3, image.GetExtent(), labelmap.GetExtent())]
    if labelmap.IsEmpty() or extent == list(image.GetExtent()):
        return image
    larger = vtkOrientedImageData()
    larger.SetExtent(*extent)
    larger.CopyDirections(image)
    larger.SetSpacing(image.GetSpacing())
    larger.SetOrigin(image.GetOrigin())
    larger.AllocateScalars(VTK_UNSIGNED_CHAR, 1)
    array = labelmapArray(larger)
    array[:] = 0
    array[sharedParts(larger, image)[0]] = labelmapArray(image)
    return larger


def sameLattice(image, other) -> bool:
    return vtkOrientedImageDataResample.DoGeometriesMatch(image, other)


def resampled(image, reference):
    """The image on the grid of the reference, None when that is not possible."""
    result = vtkOrientedImageData()
    done = vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, result, False, True
    )
    return result if done else None


def referenceGeometry(segmentationNode):
    """The segmentation's reference grid as an image without voxels, or None."""
    name = vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = segmentationNode.GetSegmentation().GetConversionParameter(name)
    reference = vtkOrientedImageData()
    if not text or not vtkSegmentationConverter.DeserializeImageGeometry(text, reference, False):
        return None
    return reference


def imageToWorld(image) -> np.ndarray:
    """(4, 4): voxel indices i, j, k of an oriented image to RAS mm."""
    matrix = vtkMatrixFromArray(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    return arrayFromVTKMatrix(matrix)


def segmentVoxels(segment) -> int:
    """Number of voxels of a segment."""
    labelmap = segment.GetRepresentation(LABELMAP)
    return 0 if labelmap is None else int(np.count_nonzero(labelmapArray(labelmap) == segment.GetLabelValue()))
