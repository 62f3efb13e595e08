"""Volumes, masks and segments that the tests of MRML reading and writing share."""

import numpy as np
import pytest
import slicer
import vtk
from slicer.util import arrayFromSegmentBinaryLabelmap, updateVolumeFromArray, vtkMatrixFromArray
from vtk.util.numpy_support import numpy_to_vtk

from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.mrml import scene
from LiverGTANLib.mrml.segment_writer import SegmentWriter

SHAPE = (20, 30, 40)
START = (4, 6, 9)

STRAIGHT = np.diag([-0.7421875, -0.7421875, 2.5, 1.0])
STRAIGHT[:3, 3] = 190.123456, 181.1, -300.0 / 7


def rotation(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix, (a, b) = np.eye(4), [n for n in range(3) if n != axis]
    matrix[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
    return matrix


SHEARED = STRAIGHT.copy()
SHEARED[1, 2] = 0.9
GEOMETRIES = {
    "straight": STRAIGHT,
    "oblique": rotation(0, 30) @ rotation(2, 7) @ STRAIGHT,
    "sheared": SHEARED,
    "axes swapped": STRAIGHT[:, [2, 0, 1, 3]],
}


def addVolume(mrmlScene, matrix=STRAIGHT, name="CT", values=None):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(vtkMatrixFromArray(matrix))
    updateVolumeFromArray(node, np.zeros(SHAPE, np.int16) if values is None else values)
    return node


def addTransform(mrmlScene, matrix):
    node = mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(vtkMatrixFromArray(matrix))
    return node


def addWarp(mrmlScene, displacement=lambda ras: np.c_[ras[:, :2] * 0, 0.001 * ras[:, 2] ** 2], name="warp"):
    """A grid transform, such as Slicer makes for unequal slice spacing. displacement: (N, 3) RAS mm -> (N, 3) mm."""
    axis = np.arange(-600.0, 601.0, 20.0)
    z, y, x = np.meshgrid(axis, axis[::5], axis[::5], indexing="ij")
    image = vtk.vtkImageData()
    image.SetDimensions(*z.shape[::-1])
    image.SetOrigin(-600, -600, -600)
    image.SetSpacing(100, 100, 20)
    points = np.c_[x.ravel(), y.ravel(), z.ravel()]
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(displacement(points), float), deep=True))
    grid = slicer.vtkOrientedGridTransform()
    grid.SetDisplacementGridData(image)
    node = mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", name)
    node.SetAndObserveTransformToParent(grid)
    return node


def addSlicePositions(volumeNode, positionsMm) -> None:
    """Put a volume whose slices lie at these places along k under a grid transform, as Slicer's DICOM reader does.

    It has two by two displacements for each slice; the volume's own distance of slices is that of the first two.
    """
    mrmlScene, positionsMm = volumeNode.GetScene(), np.asarray(positionsMm, float)
    i, j, k = volumeNode.GetImageData().GetDimensions()
    spacing = positionsMm[1] - positionsMm[0]
    volumeNode.SetSpacing(*volumeNode.GetSpacing()[:2], spacing)
    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, k)
    along = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASDirectionMatrix(along)
    image.SetOrigin(volumeNode.GetOrigin())
    image.SetSpacing((i - 1) * volumeNode.GetSpacing()[0], (j - 1) * volumeNode.GetSpacing()[1], spacing)
    normal = [along.GetElement(row, 2) for row in range(3)]
    shifts = np.repeat((positionsMm - positionsMm[0] - spacing * np.arange(k))[:, None] * normal, 4, axis=0)
    image.GetPointData().SetScalars(numpy_to_vtk(shifts, deep=True))
    grid = slicer.vtkOrientedGridTransform()
    grid.SetDisplacementGridData(image)
    grid.SetGridDirectionMatrix(along)
    node = mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "slice distances")
    node.SetAndObserveTransformToParent(grid)
    volumeNode.SetAndObserveTransformNodeID(node.GetID())


def ball(radii=(5, 9, 11), start=START) -> BoxMask:
    z, y, x = np.ogrid[tuple(slice(-r, r + 1) for r in radii)]
    voxels = ((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2 <= 1).astype(np.uint8)
    return BoxMask(voxels, start, SHAPE)


def halfOfTheScan() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[:, :, :20] = 1
    return array


def addSegment(segmentationNode, volumeNode, name, array):
    """A user's own segment, made the way slicer.util does it."""
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment(name, name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentationNode, segmentId, volumeNode)
    return segmentId


def addSegmentEditor(volumeNode, segmentationNode):
    """The application's Segment Editor node, editing the segmentation, with its default settings."""
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = volumeNode.GetScene().AddNode(editor)
    editor.SetAndObserveSegmentationNode(segmentationNode)
    editor.SetAndObserveSourceVolumeNode(volumeNode)
    return editor


def voxels(segmentationNode, segmentId, volumeNode):
    return arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)


class NoOpLogic(slicer.vtkSlicerSegmentEditorLogic):
    """Does what the real logic does when it is not set up: returns and writes nothing."""

    def ModifySegmentByLabelmap(self, *_):
        pass


@pytest.fixture
def mrmlScene(slicerHost):
    return slicerHost.scene


@pytest.fixture
def volumeNode(mrmlScene):
    return addVolume(mrmlScene)


@pytest.fixture
def segmentationNode(volumeNode):
    return scene.createSegmentation(volumeNode)


@pytest.fixture
def writer(mrmlScene):
    return SegmentWriter(mrmlScene)
