"""The surface of the liver, or of the parts of a plan, as STL or OBJ files for printing. On the main thread.

Coordinates are mm in LPS (left, posterior, superior), as Slicer writes and reads such files unless told otherwise. The
scene stays as it is.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import slicer
import vtk

from ..core.files import atomic_write, require_name, require_new
from ..core.volume import LPS_TO_RAS, InputError, memory_errors_explained
from . import liver_grid, liver_parts, resection_plan, scene
from .scene import LABELMAP, SURFACE

SUFFIXES = (".stl", ".obj")

_FLYING_EDGES = "0"
"""Conversion method of Slicer. The surface nets that the 3-D view shows leave edges that more than two triangles share
where voxels touch at an edge, which printing software refuses: 22 on the sample CT's liver; flying edges leave none."""

_HEADER = "3D Slicer output. SPACE=LPS"
"""What Slicer writes at the beginning of such a file, and reads the axes from."""


@dataclass(frozen=True)
class ExportedSurface:
    """path: of the file. volumeMl: enclosed by the surface, which smooths the voxels' steps. openEdges: of triangles
    that have no neighbor there, or more than one; a surface without is watertight."""

    path: Path
    volumeMl: float
    openEdges: int

    def __str__(self) -> str:
        closed = "watertight" if not self.openEdges else f"not watertight: {self.openEdges} open edges"
        return f"{self.path.name} (encloses {self.volumeMl:.0f} mL, {closed})"


def exportLiver(liverNode, path: str | Path, overwrite: bool = False) -> ExportedSurface:
    """The liver of a segmentation, as `liver_grid.liverSegmentId` finds it, into a file whose suffix is the format.

    Raises InputError when there is no liver, the name stands for no format, or the file exists and `overwrite` is
    False, and OSError when it cannot be written. After an error no file is left, and one that was there is as before.
    """
    (exported,) = _export(liverNode, {liver_grid.liverSegmentId(liverNode): require_name(path)}, overwrite)
    return exported


def exportParts(liverNode, path: str | Path, overwrite: bool = False) -> list[ExportedSurface]:
    """Remnant and resected part of a liver's plan into two files, see `partPaths`; both or, after an error, none.

    Raises what `exportLiver` raises, and InputError when there is no plan, a part is missing or the parts are not those
    of liver and plane as they are now.
    """
    partsNode = resection_plan.current(liverNode).partsNode
    return _export(partsNode, dict(zip(liver_parts.segmentIds(partsNode), partPaths(path))), overwrite)


def partPaths(path: str | Path) -> list[Path]:
    """Files of the parts for a chosen name: plan.stl becomes plan-remnant.stl and plan-resected.stl."""
    path = require_name(path)
    return [path.with_name(f"{path.stem}-{name}{path.suffix}") for name in liver_grid.PARTS]


@memory_errors_explained()
def _export(segmentationNode, paths: dict[str, Path], overwrite: bool) -> list[ExportedSurface]:
    for path in paths.values():
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path.name} is no surface that is written; end the name in {' or '.join(SUFFIXES)}.")
        require_new(path, overwrite)
    surfaces = {path: _surface(segmentationNode, segmentId) for segmentId, path in paths.items()}
    with ExitStack() as files:
        for path, surface in surfaces.items():
            _write(surface, files.enter_context(atomic_write(path)))
    return [ExportedSurface(path, _volumeMl(surface), _openEdges(surface)) for path, surface in surfaces.items()]


def _surface(segmentationNode, segmentId: str):
    """Triangles in LPS mm, made of the segment's voxels. Raises InputError when there are none."""
    source = segmentationNode.GetSegmentation()
    segment = source.GetSegment(segmentId) if segmentId else None
    if segment is None or not scene.segmentVoxels(segment):
        name = segment.GetName() if segment is not None else "The liver"
        raise InputError(f"{name} of '{segmentationNode.GetName()}' has no voxels; segment the liver first.")
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(LABELMAP)
    copy.CopyConversionParameters(source)
    rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule
    copy.SetConversionParameter(rule.GetConversionMethodParameterName(), _FLYING_EDGES)
    copy.CopySegmentFromSegmentation(source, segmentId)
    if not copy.CreateRepresentation(SURFACE, True):
        raise InputError(f"Slicer could not make a surface of '{segmentationNode.GetName()}'; see the application log.")
    toLps = vtk.vtkGeneralTransform()
    toLps.PostMultiply()
    toLps.Concatenate(scene.transformBetween(segmentationNode, None))
    toLps.Concatenate(LPS_TO_RAS.ravel().tolist())
    return _triangles(copy.GetSegment(segmentId).GetRepresentation(SURFACE), toLps)


def _triangles(polyData, transform):
    """Moved, made of triangles alone, and with their outer sides outward also where the transform mirrors."""
    moved = vtk.vtkTransformPolyDataFilter()
    moved.SetInputData(polyData)
    moved.SetTransform(transform)
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputConnection(moved.GetOutputPort())
    oriented = vtk.vtkPolyDataNormals()
    oriented.SetInputConnection(triangles.GetOutputPort())
    oriented.AutoOrientNormalsOn()
    oriented.SplittingOff()
    oriented.Update()
    return oriented.GetOutput()


def _write(triangles, path: Path) -> None:
    """Raises OSError when the file cannot be written."""
    if path.suffix.lower() == ".stl":
        writer = vtk.vtkSTLWriter()
        writer.SetFileTypeToBinary()
        writer.SetHeader(_HEADER)
    else:
        writer = vtk.vtkOBJWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(triangles)
    if not writer.Write() or writer.GetErrorCode() or not path.stat().st_size:
        raise OSError(vtk.vtkErrorCode.GetStringFromErrorCode(writer.GetErrorCode()))
    if path.suffix.lower() != ".stl":
        path.write_text(f"# {_HEADER}\n" + path.read_text(encoding="ascii"), encoding="ascii")


def _openEdges(triangles) -> int:
    edges = vtk.vtkFeatureEdges()
    edges.SetInputData(triangles)
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.BoundaryEdgesOn()
    edges.NonManifoldEdgesOn()
    edges.Update()
    return edges.GetOutput().GetNumberOfCells()


def _volumeMl(triangles) -> float:
    mass = vtk.vtkMassProperties()
    mass.SetInputData(triangles)
    mass.Update()
    return mass.GetVolume() / 1000
