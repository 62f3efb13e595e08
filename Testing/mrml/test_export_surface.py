"""STL and OBJ of the liver and of a plan's parts: place, volume, tightness, what exists already, and failures."""

import csv

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from LiverGTANLib.core import files
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import export_surface, scene, self_test
from LiverGTANLib.mrml.resection_plan import ResectionPlan
from support.module_fixtures import logic, students
from support.mrml_cases import addWarp

pytestmark = pytest.mark.slow


@pytest.fixture
def result(logic):
    return logic.process(self_test.addPhantom()[0])


def readByVtk(path):
    """As other software reads it: numbers as they stand in the file."""
    reader = vtk.vtkSTLReader() if path.suffix == ".stl" else vtk.vtkOBJReader()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


def readBySlicer(path):
    """As Slicer loads it, in RAS."""
    model, storage = slicer.vtkMRMLModelNode(), slicer.vtkMRMLModelStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(model)
    return model.GetPolyData()


def boundsOfLiver(segmentation) -> np.ndarray:
    """Of its surface as the 3-D view shows it."""
    surface = vtk.vtkPolyData()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.GetSegmentClosedSurfaceRepresentation(segmentation, scene.liverSegmentId(segmentation), surface)
    return np.array(surface.GetBounds())


@pytest.mark.parametrize("suffix", export_surface.SUFFIXES)
def test_the_liver_is_a_watertight_surface_in_lps_that_slicer_finds_where_it_was(logic, result, tmp_path, suffix):
    segmentation = result.segmentation
    nodes, time = slicer.mrmlScene.GetNumberOfNodes(), segmentation.GetSegmentation().GetMTime()
    exported = logic.exportSurface(segmentation, tmp_path / f"liver{suffix}")
    assert exported.path.is_file() and exported.openEdges == 0 and "watertight" in str(exported)
    assert exported.volumeMl == pytest.approx(result.volumeMl, rel=0.02)
    bounds, lps = boundsOfLiver(segmentation), np.array(readByVtk(exported.path).GetBounds())
    np.testing.assert_allclose(readBySlicer(exported.path).GetBounds(), bounds, atol=5)
    np.testing.assert_allclose(lps, [-bounds[1], -bounds[0], -bounds[3], -bounds[2], *bounds[4:]], atol=5)
    assert [path.name for path in tmp_path.glob("*liver*")] == [f"liver{suffix}"]
    assert (slicer.mrmlScene.GetNumberOfNodes(), segmentation.GetSegmentation().GetMTime()) == (nodes, time)


def isLinear(node):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 0, -1)  # mirrors
    matrix.SetElement(0, 3, 50)
    transform.SetMatrixTransformToParent(matrix)
    return transform


def isWarp(node):
    return addWarp(slicer.mrmlScene, lambda ras: 0.02 * ras * [0, 0, 1])


@pytest.mark.parametrize("makeTransform", [isLinear, isWarp])
def test_a_transform_is_part_of_the_place_and_outside_stays_outside(logic, result, tmp_path, makeTransform):
    result.segmentation.SetAndObserveTransformNodeID(makeTransform(result.segmentation).GetID())
    exported = logic.exportSurface(result.segmentation, tmp_path / "liver.stl")
    surface = readBySlicer(exported.path)
    np.testing.assert_allclose(surface.GetBounds(), boundsOfLiver(result.segmentation), atol=5)
    points = np.array([surface.GetPoint(n) for n in range(surface.GetNumberOfPoints())])
    triangles = points[np.array([[surface.GetCell(n).GetPointId(c) for c in range(3)] for n in range(2000)])]
    assert exported.openEdges == 0
    outward = vtk.vtkPolyDataNormals()
    outward.SetInputData(surface)
    outward.AutoOrientNormalsOn()
    outward.SplittingOff()
    outward.ComputeCellNormalsOn()
    outward.Update()
    expected = vtk_to_numpy(outward.GetOutput().GetCellData().GetNormals())[:2000]
    found = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    assert ((found * expected).sum(axis=1) >= 0).all()


def test_parts_are_two_files_whose_volumes_are_those_of_the_plan(logic, result, tmp_path):
    plan = logic.splitLiver(result.segmentation)
    exported = logic.exportParts(result.segmentation, tmp_path / "plan.stl")
    assert [one.path.name for one in exported] == ["plan-remnant.stl", "plan-resected.stl"]
    volumes = [plan.volumes.remnantMl, plan.volumes.resectedMl]
    np.testing.assert_allclose([one.volumeMl for one in exported], volumes, rtol=0.02)
    assert all(one.openEdges == 0 for one in exported)


def test_what_exists_is_left_unless_the_caller_says_otherwise(logic, result, tmp_path):
    logic.splitLiver(result.segmentation)
    (tmp_path / "plan-resected.stl").write_text("mine")
    for export in (
        lambda: logic.exportSurface(result.segmentation, tmp_path / "plan-resected.stl"),
        lambda: logic.exportParts(result.segmentation, tmp_path / "plan.stl"),
        lambda: logic.exportPlan(result.segmentation, tmp_path / "plan-resected.stl"),
        lambda: logic.exportTable(tmp_path / "plan-resected.stl"),
    ):
        with pytest.raises(InputError, match="exists already"):
            export()
    assert [path.name for path in tmp_path.glob("plan*")] == ["plan-resected.stl"]
    assert (tmp_path / "plan-resected.stl").read_text() == "mine"
    logic.exportParts(result.segmentation, tmp_path / "plan.stl", overwrite=True)
    assert readByVtk(tmp_path / "plan-resected.stl").GetNumberOfPoints() > 1000


def test_a_part_that_cannot_be_written_leaves_neither(logic, result, tmp_path, monkeypatch):
    logic.splitLiver(result.segmentation)
    write, written = export_surface._write, []

    def fullDisk(triangles, path):
        write(triangles, path)
        written.append(path)
        if len(written) == 2:
            raise OSError("no space left on device")

    monkeypatch.setattr(export_surface, "_write", fullDisk)
    with pytest.raises(OSError, match="no space left"):
        logic.exportParts(result.segmentation, tmp_path / "plan.stl")
    assert not list(tmp_path.glob("*plan*")) and not list(tmp_path.glob(f"{files.PARTIAL}*"))


def test_a_writer_that_fails_without_a_word_is_noticed(logic, result, tmp_path, monkeypatch):
    class SilentWriter(vtk.vtkSTLWriter):
        def Write(self):
            return 1

    monkeypatch.setattr(vtk, "vtkSTLWriter", SilentWriter)
    with pytest.raises(OSError, match=r"liver\.stl cannot be written"):
        logic.exportSurface(result.segmentation, tmp_path / "liver.stl")
    assert not list(tmp_path.glob("*.stl"))


@pytest.mark.parametrize("name", ["liver", "liver.ply", "liver.stl.gz"])
def test_a_name_without_a_known_format_is_refused(logic, result, tmp_path, name):
    with pytest.raises(InputError, match=r"\.stl or \.obj"):
        logic.exportSurface(result.segmentation, tmp_path / name)


def test_without_liver_plan_or_current_parts_nothing_is_written(logic, result, tmp_path):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(InputError, match="segment the liver first"):
        logic.exportSurface(empty, tmp_path / "liver.stl")
    exports = (logic.exportParts, logic.exportPlan)
    for export in exports:
        with pytest.raises(InputError, match="place a cut plane first"):
            export(result.segmentation, tmp_path / "plan.stl")
    plan = logic.splitLiver(result.segmentation)
    plan.cutNode.SetOriginWorld(*(np.array(plan.cutNode.GetOriginWorld()) + [20, 0, 0]))
    for export in exports:
        with pytest.raises(InputError, match="another place of the cut"):
            export(result.segmentation, tmp_path / "plan.stl")
    plan.partsNode.GetSegmentation().RemoveSegment(plan.partsNode.GetSegmentation().GetNthSegmentID(0))
    for export in exports:
        with pytest.raises(InputError, match="A part was deleted"):
            export(result.segmentation, tmp_path / "plan.stl")
    assert not list(tmp_path.glob("*.stl"))


def test_the_plan_is_a_table_in_a_csv_file(logic, result, tmp_path):
    plan = logic.splitLiver(result.segmentation, weightKg=70)
    logic.exportPlan(result.segmentation, tmp_path / "plan.csv")
    with (tmp_path / "plan.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["Quantity"]: row for row in csv.DictReader(file)}
    assert float(rows["Remnant"]["mL"]) == pytest.approx(plan.volumes.remnantMl, abs=0.06)
    assert float(rows["Remnant"]["mL/kg"]) == pytest.approx(plan.volumes.remnantMl / 70, abs=0.06)
    assert rows["20 % of the liver, normal liver"]["Source"].startswith("Kishi")
    assert ResectionPlan(result.segmentation).tableNode.GetNumberOfRows() == len(rows)
