"""Surfaces made in any thread: those that Slicer would make, shaded, and shown only where they fit."""

import threading

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from LiverGTANLib.core.engines.engine import Cancelled
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.mrml import scene, surface
from LiverGTANLib.mrml.scene import SURFACE
from LiverGTANLib.mrml.surface import MaskSurface
from support.mrml_cases import (
    GEOMETRIES,
    SHAPE,
    addSegment,
    addTransform,
    addVolume,
    addWarp,
    ball,
    halfOfTheScan,
    mrmlScene,
    segmentationNode,
    volumeNode,
    voxels,
    writer,
)


def pointsOf(polyData) -> np.ndarray:
    return vtk_to_numpy(polyData.GetPoints().GetData())


def shownSurface(segmentationNode, segmentId: str):
    return segmentationNode.GetSegmentation().GetSegment(segmentId).GetRepresentation(SURFACE)


def openEdges(polyData) -> int:
    edges = vtk.vtkFeatureEdges()
    edges.SetInputData(polyData)
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.Update()
    return edges.GetOutput().GetNumberOfCells()


def volumeOf(polyData) -> float:
    mass = vtk.vtkMassProperties()
    mass.SetInputData(polyData)
    mass.Update()
    return mass.GetVolume()


def made(segmentationNode, volumeNode, mask) -> MaskSurface:
    """In another thread, as the panel has it made."""
    place, outcome = surface.placeIn(segmentationNode, volumeNode), []
    thread = threading.Thread(target=lambda: outcome.append(surface.ofMask(mask, place)))
    thread.start()
    thread.join()
    return outcome[0]


# What is made


@pytest.mark.parametrize("where", [{}, {"start": (0, 0, 0)}], ids=["inside", "cut by the scan's end"])
@pytest.mark.parametrize("matrix", GEOMETRIES.values(), ids=GEOMETRIES)
def test_it_is_the_one_that_slicer_makes_of_the_segment(mrmlScene, writer, matrix, where):
    volumeNode, mask = addVolume(mrmlScene, matrix), ball(**where)
    segmentationNode = scene.createSegmentation(volumeNode)
    segmentId = writer.write(volumeNode, mask, segmentationNode, "a")
    segmentationNode.CreateClosedSurfaceRepresentation()
    theirs = shownSurface(segmentationNode, segmentId)
    ours = made(segmentationNode, volumeNode, mask).polyData
    np.testing.assert_allclose(pointsOf(ours), pointsOf(theirs), atol=1e-4)
    assert ours.GetNumberOfPolys() == theirs.GetNumberOfPolys() > 0
    assert openEdges(ours) == 0


def test_what_slicer_made_is_shaded_as_ours(volumeNode, segmentationNode, writer):
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    surface.make(segmentationNode.GetSegmentation())
    theirs = shownSurface(segmentationNode, segmentId).GetPointData().GetNormals()
    ours = made(segmentationNode, volumeNode, ball()).polyData.GetPointData().GetNormals()
    np.testing.assert_allclose(vtk_to_numpy(ours), vtk_to_numpy(theirs), atol=1e-4)


def volumeInside(polyData) -> float:
    """In mm³ by the way that the triangles turn; negative where they show their inner sides."""
    corners = pointsOf(polyData)[vtk_to_numpy(polyData.GetPolys().GetConnectivityArray()).reshape(-1, 3)].astype(float)
    return np.einsum("ni,ni->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6


SMOOTHING = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()


def touching(segmentationNode, volumeNode, smoothing: str) -> list[str]:
    """Two segments of one label map, one beside the other, shown in 3D; gives their IDs."""
    segmentationNode.GetSegmentation().SetConversionParameter(SMOOTHING, smoothing)
    segmentation, half = segmentationNode.GetSegmentation(), halfOfTheScan()
    array = np.zeros_like(half)
    array[4:-4, 4:-4, 4:-4] = 1
    ids = [
        addSegment(segmentationNode, volumeNode, name, array * part) for name, part in (("a", half), ("b", 1 - half))
    ]
    segmentation.CollapseBinaryLabelmaps(False)
    assert segmentation.GetNumberOfLayers() == 1
    assert surface.make(segmentation)
    return ids


@pytest.mark.parametrize("smoothing", ["0.5", "0.8"], ids=["as chosen", "as the user set it"])
@pytest.mark.parametrize(
    "matrix", [GEOMETRIES["straight"], np.diag([0.8, 0.7, 2.5, 1.0])], ids=["straight", "mirrored"]
)
def test_segments_that_touch_have_no_triangle_inside_out(mrmlScene, matrix, smoothing):
    """vtkSurfaceNets3D turns those of the larger label that touch the other one."""
    volumeNode = addVolume(mrmlScene, matrix)
    segmentationNode, apart = scene.createSegmentation(volumeNode), scene.createSegmentation(volumeNode)
    for segmentId in touching(segmentationNode, volumeNode, smoothing):
        apart.GetSegmentation().CopyConversionParameters(segmentationNode.GetSegmentation())
        addSegment(apart, volumeNode, segmentId, voxels(segmentationNode, segmentId, volumeNode))
        assert surface.make(apart.GetSegmentation())
        both, alone = shownSurface(segmentationNode, segmentId), shownSurface(apart, segmentId)
        assert volumeInside(both) == pytest.approx(volumeInside(alone), rel=1e-4)
        assert abs(volumeInside(both)) == pytest.approx(volumeOf(both), rel=1e-4)
        np.testing.assert_allclose(pointsOf(both), pointsOf(alone), atol=1e-3)
        normals = [vtk_to_numpy(one.GetPointData().GetNormals()) for one in (both, alone)]
        np.testing.assert_allclose(*normals, atol=1e-3)
        apart.GetSegmentation().RemoveAllSegments()


def test_surfaces_of_the_user_are_not_touched(mrmlScene, volumeNode, segmentationNode, writer):
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    sphere.GetOutput().GetPointData().SetNormals(None)
    own = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "printed")
    own.SetSourceRepresentationToClosedSurface()
    scene.chooseSurfaces(own)
    segmentId = own.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "sphere")
    surface.shade(own.GetSegmentation())
    assert shownSurface(own, segmentId).GetPointData().GetNormals() is None


def test_nothing_is_made_of_an_empty_mask_or_after_a_cancel():
    assert surface.ofMask(BoxMask(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), SHAPE), np.eye(4)) is None
    with pytest.raises(Cancelled):
        surface.ofMask(ball(), np.eye(4), lambda: True)


def test_a_preview_is_closed_and_as_large_as_its_mask():
    mask = ball((8, 9, 10), start=(0, 0, 0))
    k, j, i = np.mgrid[-1:18, -1:20, -1:22]
    logits = (4 * (1 - np.sqrt(((k - 8) / 8.0) ** 2 + ((j - 9) / 9.0) ** 2 + ((i - 10) / 10.0) ** 2))).astype(
        np.float32
    )
    found = surface.ofLogits(logits, mask, np.diag([-2.5, -2.5, 2.5, 1]))
    assert openEdges(found) == 0 and found.GetPointData().GetNormals() is not None
    assert volumeOf(found) == pytest.approx(mask.voxels.sum() * 2.5**3, rel=0.05)


def test_a_preview_of_one_cell_is_seen():
    logits = np.full((3, 3, 3), -2, np.float32)
    logits[1, 1, 1] = 0.5
    found = surface.ofLogits(logits, BoxMask(np.ones((1, 1, 1), np.uint8), (4, 5, 6), SHAPE), np.eye(4))
    assert found.GetNumberOfPolys() > 0
    np.testing.assert_allclose(found.GetCenter(), (6, 5, 4), atol=1e-6)


# Where it is shown


@pytest.fixture
def shownIn3D(volumeNode, segmentationNode, writer):
    """A liver and a segment of the user, in 3D; gives the liver's ID."""
    segmentId = writer.write(volumeNode, ball(), segmentationNode, "a")
    addSegment(segmentationNode, volumeNode, "other", halfOfTheScan())
    segmentationNode.CreateClosedSurfaceRepresentation()
    return segmentId


SMALLER = ball(radii=(2, 3, 4))


@pytest.mark.parametrize("later", [False, True])
def test_a_write_shows_it_and_leaves_the_other_surfaces(volumeNode, segmentationNode, writer, shownIn3D, later):
    other = shownSurface(segmentationNode, "other")
    ours = made(segmentationNode, volumeNode, SMALLER)
    names = []
    changed = slicer.vtkSegmentation.ContainedRepresentationNamesModified
    segmentationNode.AddObserver(
        changed, lambda *_: names.append(segmentationNode.GetSegmentation().ContainsRepresentation(SURFACE))
    )
    writer.write(volumeNode, SMALLER, segmentationNode, "a", surfaceLater=later, surfaceOfMask=ours)
    assert shownSurface(segmentationNode, shownIn3D) == ours.polyData
    assert shownSurface(segmentationNode, "other") == other
    assert names[-1]
    history = writer.historyOf(segmentationNode)
    history.undo()
    whole = pointsOf(shownSurface(segmentationNode, shownIn3D))
    history.redo()
    assert shownSurface(segmentationNode, shownIn3D) == ours.polyData
    assert np.ptp(whole, axis=0).min() > np.ptp(pointsOf(ours.polyData), axis=0).max()


def test_what_the_user_edits_between_a_write_and_its_surface_is_shown_as_it_is(
    volumeNode, segmentationNode, writer, shownIn3D
):
    writer.write(volumeNode, SMALLER, segmentationNode, "a", surfaceLater=True)
    edited = halfOfTheScan()
    edited[: len(edited) // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentationNode, "other", volumeNode)
    writer.makeSurface()
    anew = made(segmentationNode, volumeNode, BoxMask(edited, (0, 0, 0), edited.shape)).polyData
    assert volumeOf(shownSurface(segmentationNode, "other")) == pytest.approx(volumeOf(anew), rel=1e-4)
    assert volumeOf(shownSurface(segmentationNode, shownIn3D)) > 0


def moveSegmentation(segmentationNode):
    matrix = np.eye(4)
    matrix[0, 3] = 7.3
    segmentationNode.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, matrix).GetID())


def maskAll(segmentationNode):
    """Nothing outside of the user's own segment may be edited."""
    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetSingletonTag("SegmentEditor")
    editor.SetAndObserveSegmentationNode(segmentationNode)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)


@pytest.mark.parametrize("change", [moveSegmentation, maskAll])
def test_where_another_mask_is_written_slicer_makes_its_surface(
    volumeNode, segmentationNode, writer, shownIn3D, change
):
    ours = made(segmentationNode, volumeNode, SMALLER)
    change(segmentationNode)
    writer.write(volumeNode, SMALLER, segmentationNode, "a", surfaceOfMask=ours)
    assert shownSurface(segmentationNode, shownIn3D) not in (None, ours.polyData)


def test_that_of_another_mask_is_not_shown(volumeNode, segmentationNode, writer, shownIn3D):
    ours = made(segmentationNode, volumeNode, ball(radii=(3, 3, 3)))
    writer.write(volumeNode, SMALLER, segmentationNode, "a", surfaceOfMask=ours)
    assert shownSurface(segmentationNode, shownIn3D) not in (None, ours.polyData)


def test_that_of_before_the_user_chose_other_surfaces_is_not_shown(volumeNode, segmentationNode, writer, shownIn3D):
    ours = made(segmentationNode, volumeNode, SMALLER)
    smoothing = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()
    segmentationNode.GetSegmentation().SetConversionParameter(smoothing, "0.9")
    writer.write(volumeNode, SMALLER, segmentationNode, "a", surfaceOfMask=ours)
    assert shownSurface(segmentationNode, shownIn3D) not in (None, ours.polyData)


def test_none_is_made_ahead_that_slicer_would_make_otherwise_or_not_at_all(mrmlScene, volumeNode, segmentationNode):
    segmentation = segmentationNode.GetSegmentation()
    segmentation.AddEmptySegment("liver")
    assert surface.placeIn(segmentationNode, volumeNode) is None  # nothing is shown in 3D
    surface.show(segmentation, {"liver": vtk.vtkPolyData()})
    np.testing.assert_allclose(surface.placeIn(segmentationNode, volumeNode), scene.ijkToLocal(volumeNode))
    smoothing = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()
    segmentation.SetConversionParameter(smoothing, "0.9")
    assert surface.placeIn(segmentationNode, volumeNode) is None
    scene.chooseSurfaces(segmentationNode)
    segmentationNode.SetAndObserveTransformNodeID(addWarp(mrmlScene).GetID())
    assert surface.placeIn(segmentationNode, volumeNode) is None
