"""A liver is split by a plane: voxel by voxel, in every geometry, and with what a scene and a user can do to it."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk
from slicer.util import vtkMatrixFromArray
from vtk.util.numpy_support import vtk_to_numpy

from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import cut_plane, liver_grid, liver_parts, remnant, resection_plan, scene
from LiverGTANLib.mrml.cut_plane import CutPlane
from LiverGTANLib.mrml.liver_grid import LiverGrid
from LiverGTANLib.mrml.liver_parts import PartSurfaces
from LiverGTANLib.mrml.resection_plan import MIRRORED, PlanState, ResectionPlan
from support.mrml_cases import (
    GEOMETRIES,
    SHAPE,
    addSegment,
    addTransform,
    addVolume,
    addWarp,
    ball,
    mrmlScene,
    rotation,
    segmentationNode,
    volumeNode,
    voxels,
    writer,
)

OBLIQUE = np.linalg.qr(np.array([[0.9, 0.3, -0.2], [-0.2, 0.8, 0.5], [0.4, -0.3, 0.9]]))[0]


def segmented(writer, volume):
    """A segmentation with a ball as the liver of a volume."""
    node = scene.createSegmentation(volume)
    writer.write(volume, ball(), node, "student")
    return node


@pytest.fixture
def liverNode(writer, volumeNode):
    return segmented(writer, volumeNode)


@pytest.fixture
def plan(liverNode):
    made = ResectionPlan(liverNode)
    made.place()
    return made


def planeAt(origin, axes, keepsNormalSide: bool = True) -> PlanState:
    return PlanState(CutPlane(origin, axes, keepsNormalSide))


def part(plan, name: str, volume) -> np.ndarray:
    return voxels(plan.partsNode, liver_grid.partId(plan.partsNode, name), volume) > 0


def liver(node, volume) -> np.ndarray:
    return voxels(node, scene.liverSegmentId(node), volume) > 0


def places(volume) -> np.ndarray:
    """(K, J, I, 3) RAS mm in the world of all voxel centers, through the transform one by one."""
    k, j, i = np.indices(SHAPE)
    local = np.stack([i, j, k, np.ones(SHAPE)], axis=-1).reshape(-1, 4) @ scene.ijkToLocal(volume).T
    return scene.transformed(scene.transformBetween(volume, None), local[:, :3]).reshape(*SHAPE, 3)


def center(node, volume) -> np.ndarray:
    return places(volume)[liver(node, volume)].mean(axis=0)


def requireSplit(plan, volume, toleranceMm: float = 1e-3) -> None:
    """Each voxel of the liver is in the part on whose side its center lies, and no other voxel is in any."""
    cut, isLiver = plan.cut(), liver(plan.liverNode, volume)
    distances = cut.distances(places(volume).reshape(-1, 3)).reshape(SHAPE)
    clear = np.abs(distances) > toleranceMm
    remains, resected = part(plan, "remnant", volume), part(plan, "resected", volume)
    np.testing.assert_array_equal(remains | resected, isLiver)
    assert not (remains & resected).any()
    np.testing.assert_array_equal(remains[clear], (isLiver & ((distances > 0) == cut.keepsNormalSide))[clear])


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("keepsNormalSide", [True, False])
def test_every_voxel_is_on_its_side(mrmlScene, writer, name, keepsNormalSide):
    volume = addVolume(mrmlScene, GEOMETRIES[name])
    plan = ResectionPlan(segmented(writer, volume))
    plan.restore(planeAt(center(plan.liverNode, volume) + [1.3, -2.1, 0.7], OBLIQUE, keepsNormalSide))
    requireSplit(plan, volume)
    total = np.count_nonzero(liver(plan.liverNode, volume))
    ml = abs(np.linalg.det(GEOMETRIES[name][:3, :3])) / 1000
    assert plan.volumes.remnantMl == pytest.approx(np.count_nonzero(part(plan, "remnant", volume)) * ml)
    assert plan.volumes.liverMl == pytest.approx(total * ml)


def test_the_first_plane_halves_the_liver_and_leaves_the_left(plan, volumeNode):
    assert plan.volumes.percent == pytest.approx(50, abs=4)
    left = places(volumeNode)[part(plan, "remnant", volumeNode)]
    right = places(volumeNode)[part(plan, "resected", volumeNode)]
    assert left[:, 0].max() <= right[:, 0].min()  # x grows to the patient's right
    assert min(plan.cutNode.GetSize()) > np.ptp(places(volumeNode)[liver(plan.liverNode, volumeNode)], axis=0).max()


def test_liver_and_other_segments_stay_untouched(plan, liverNode, volumeNode):
    addSegment(liverNode, volumeNode, "tumor", np.ones(SHAPE, np.uint8))
    before, tumor = liver(liverNode, volumeNode), voxels(liverNode, "tumor", volumeNode)
    plan.restore(planeAt(center(liverNode, volumeNode), OBLIQUE))
    plan.keepOtherSide()
    np.testing.assert_array_equal(liver(liverNode, volumeNode), before)
    np.testing.assert_array_equal(voxels(liverNode, "tumor", volumeNode), tumor)
    names = [plan.partsNode.GetSegmentation().GetNthSegment(n).GetName() for n in range(2)]
    assert names == ["remnant", "resected"] and plan.partsNode.GetSegmentation().GetNumberOfSegments() == 2
    assert liverNode.GetSegmentation().GetNumberOfSegments() == 2
    requireSplit(plan, volumeNode)


def test_parts_have_color_code_and_the_livers_grid(plan, volumeNode):
    segmentation = plan.partsNode.GetSegmentation()
    for name in ("remnant", "resected"):
        segment = segmentation.GetSegment(name)
        assert segment.GetColor() == pytest.approx(liver_parts.COLORS[name])
        text = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), text) and "10200004^Liver" in str(text)
    assert segmentation.GetNumberOfLayers() == 1
    assert scene.referenceVolume(plan.partsNode) == volumeNode


def test_a_plane_beside_the_liver_leaves_one_part_empty(plan, volumeNode):
    plan.restore(planeAt(np.array([0.0, 0.0, 5000.0]), np.eye(3)))
    assert plan.volumes.remnantMl == 0 and plan.volumes.resectedMl > 0 and plan.volumes.percent == 0
    plan.keepOtherSide()
    assert plan.volumes.resectedMl == 0 and plan.volumes.percent == 100
    requireSplit(plan, volumeNode)


def test_no_liver_no_plan(mrmlScene, volumeNode, segmentationNode):
    before = mrmlScene.GetNumberOfNodes()
    for make in (ResectionPlan(segmentationNode).place, lambda: resection_plan.split(segmentationNode)):
        with pytest.raises(InputError, match="has no voxels; segment it first"):
            make()
    scene.addLiverSegment(segmentationNode)
    segmentationNode.GetSegmentation().GetNthSegment(0).SetTag(scene.SEGMENT_TAG, "student")
    with pytest.raises(InputError, match="has no voxels"):
        ResectionPlan(segmentationNode).place()
    assert mrmlScene.GetNumberOfNodes() == before


def test_a_liver_of_one_voxel_is_cut(mrmlScene, volumeNode, segmentationNode):
    array = np.zeros(SHAPE, np.uint8)
    array[3, 4, 5] = 1
    segmentId = addSegment(segmentationNode, volumeNode, "liver", array)
    scene.tagLiver(segmentationNode, segmentId, volumeNode, "student")
    plan = ResectionPlan(segmentationNode)
    plan.place()
    assert sorted([plan.volumes.remnantMl, plan.volumes.resectedMl])[0] == 0 < plan.volumes.liverMl
    requireSplit(plan, volumeNode)


def test_liver_under_a_transform_is_cut_where_it_is_seen(plan, liverNode, volumeNode, mrmlScene):
    matrix = rotation(2, 25)
    matrix[:3, 3] = 11, -7, 30
    transform = addTransform(mrmlScene, matrix)
    for node in (volumeNode, liverNode):
        node.SetAndObserveTransformNodeID(transform.GetID())
    plan.restore(planeAt(center(liverNode, volumeNode) + [2, 1, 0], OBLIQUE))
    assert plan.partsNode.GetTransformNodeID() == transform.GetID()
    requireSplit(plan, volumeNode)


def test_liver_under_a_warp_is_cut_where_it_is_seen_and_measured_by_true_volumes(mrmlScene, writer):
    volume = addVolume(mrmlScene)
    warp = addWarp(mrmlScene, lambda ras: np.c_[0.0008 * ras[:, 2] ** 2, ras[:, 1] * 0, 0.1 * ras[:, 2]])
    volume.SetAndObserveTransformNodeID(warp.GetID())
    plan = ResectionPlan(segmented(writer, volume))
    plan.restore(planeAt(center(plan.liverNode, volume), OBLIQUE))
    requireSplit(plan, volume, toleranceMm=0.3)
    stretched = 1.1 * np.count_nonzero(part(plan, "remnant", volume)) * 0.7421875**2 * 2.5 / 1000
    assert plan.volumes.remnantMl == pytest.approx(stretched, rel=0.02)
    moving = plan.split()
    assert moving.remnantMl == pytest.approx(plan.volumes.remnantMl, rel=0.02)
    assert plan.measure().remnantMl == pytest.approx(plan.volumes.remnantMl, rel=1e-6)


def test_the_plane_may_lie_under_a_transform(plan, volumeNode, mrmlScene):
    plan.cutNode.SetAndObserveTransformNodeID(addTransform(mrmlScene, rotation(0, 20)).GetID())
    plan.split()
    requireSplit(plan, volumeNode)
    cut = CutPlane(center(plan.liverNode, volumeNode), OBLIQUE)
    plan.restore(PlanState(cut))
    np.testing.assert_allclose(plan.cut().origin, cut.origin, atol=1e-6)
    np.testing.assert_allclose(plan.cut().axes, cut.axes, atol=1e-6)


def test_a_liver_segmented_again_is_told_and_followed(plan, liverNode, volumeNode, writer):
    assert plan.outdated() == ""
    writer.write(volumeNode, ball((3, 6, 8)), liverNode, "student")
    assert plan.outdated() == "The parts are those of an older liver."
    plan.restore(PlanState(plan.cut()))
    assert plan.outdated() == ""
    requireSplit(plan, volumeNode)
    plan.cutNode.SetOriginWorld(*(plan.cut().origin + [0, 0, 3.0]))
    plan.cutNode.SetNormalWorld(0, 0, 1)
    assert plan.outdated() == "The parts are those of another place of the cut."
    liverNode.GetSegmentation().RemoveSegment(scene.liverSegmentId(liverNode))
    assert plan.outdated().startswith("There is no liver any more")


def test_what_was_made_of_it_follows_liver_and_plane_that_move_together(plan, liverNode, volumeNode, mrmlScene):
    transform = addTransform(mrmlScene, rotation(1, 10))
    for node in (volumeNode, liverNode, plan.cutNode):
        node.SetAndObserveTransformNodeID(transform.GetID())
    assert plan.outdated() == resection_plan.MOVED
    plan.partsNode.SetAndObserveTransformNodeID(transform.GetID())
    assert plan.outdated() == ""


def test_deleted_nodes(plan, liverNode, volumeNode, mrmlScene):
    mrmlScene.RemoveNode(plan.cutNode)
    assert plan.cut() is None and not plan.exists
    with pytest.raises(InputError, match="place it again"):
        plan.split()
    plan.place()
    moved = CutPlane(plan.cut().origin + [4, 0, 0], OBLIQUE)
    plan.restore(PlanState(moved))
    mrmlScene.RemoveNode(plan.partsNode)
    plan.place()  # a plane without parts stays where it is
    np.testing.assert_allclose(plan.cut().axes, OBLIQUE, atol=1e-6)
    plan.partsNode.GetSegmentation().RemoveSegment("resected")
    assert plan.measure() is None
    plan.restore(PlanState(plan.cut()))
    requireSplit(plan, volumeNode)
    mrmlScene.RemoveNode(plan.tableNode)
    plan.split()
    plan.finish()
    assert plan.tableNode is None  # deleted on purpose
    assert plan.showTable().GetNumberOfRows() == 7


def test_remove_leaves_nothing_and_shows_the_liver(mrmlScene, plan, liverNode):
    display, segmentId = liverNode.GetDisplayNode(), scene.liverSegmentId(liverNode)
    assert not display.GetSegmentVisibility(segmentId) and plan.partsNode.GetDisplayNode().GetVisibility()
    plan.show(False)
    assert display.GetSegmentVisibility(segmentId) and not plan.partsNode.GetDisplayNode().GetVisibility()
    plan.show(True)
    plan.remove()
    assert display.GetSegmentVisibility(segmentId)
    assert plan.cutNode is plan.partsNode is plan.tableNode is None
    for name in ("vtkMRMLMarkupsPlaneDisplayNode", "vtkMRMLTableNode", "vtkMRMLMarkupsPlaneNode"):
        assert mrmlScene.GetNumberOfNodesByClass(name) == 0, name
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_parts_have_surfaces_when_the_liver_has_one_and_keep_them_while_the_plane_moves(plan, liverNode):
    assert not liver_parts.surfaces(plan.partsNode)
    liverNode.GetSegmentation().CreateRepresentation(scene.SURFACE)
    plan.finish()
    before = liver_parts.surfaces(plan.partsNode)
    assert {s.GetNumberOfPoints() > 0 for s in before.values()} == {True}
    right = before["remnant"].GetBounds()[1]
    plan.cutNode.SetOriginWorld(*(plan.cut().origin + [2, 0, 0]))
    plan.split()
    assert liver_parts.surfaces(plan.partsNode) == before and before["remnant"].GetBounds()[1] == right
    plan.finish()
    assert liver_parts.surfaces(plan.partsNode)["remnant"].GetBounds()[1] > right + 1
    liverNode.GetSegmentation().RemoveRepresentation(scene.SURFACE)
    plan.finish()
    assert not liver_parts.surfaces(plan.partsNode)


def test_surfaces_that_any_thread_makes_of_parts_are_those_of_slicer_and_shown_while_the_parts_are_the_same(
    plan, liverNode
):
    def points(some: dict) -> dict:
        return {segmentId: vtk_to_numpy(made.GetPoints().GetData()) for segmentId, made in some.items()}

    liverNode.GetSegmentation().CreateRepresentation(scene.SURFACE)
    plan.finish()
    expected, found = liver_parts.surfaces(plan.partsNode), PartSurfaces(plan.partsNode, liverNode)
    made = found.make(None, None)
    assert list(made) == list(expected) == liver_parts.segmentIds(plan.partsNode)
    for segmentId, array in points(made).items():
        np.testing.assert_allclose(array, points(expected)[segmentId], atol=1e-4)
    found.show(made)
    assert liver_parts.surfaces(plan.partsNode) == made
    plan.cutNode.SetOriginWorld(*(plan.cut().origin + [2, 0, 0]))
    plan.split()
    assert not found.areCurrent
    found.show(expected)
    assert liver_parts.surfaces(plan.partsNode) == made
    plan.cutNode.SetOriginWorld(1000, 0, 0)
    plan.split()
    sizes = [one.GetNumberOfPoints() for one in PartSurfaces(plan.partsNode, liverNode).make(None, None).values()]
    assert min(sizes) == 0 < max(sizes)
    liverNode.GetSegmentation().RemoveRepresentation(scene.SURFACE)
    assert not PartSurfaces.areWanted(plan.partsNode, liverNode)


def test_saved_and_loaded_all_is_found_again(plan, liverNode, volumeNode, mrmlScene, tmp_path):
    plan.restore(planeAt(center(liverNode, volumeNode), OBLIQUE, False))
    remnant.setWeight(liverNode, 71.5)
    saved, kept = plan.measure(), part(plan, "remnant", volumeNode)
    assert mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    mrmlScene.Clear(False)
    assert mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    (volume,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    loaded = ResectionPlan(scene.findSegmentation(volume))
    assert loaded.exists and loaded.outdated() == "" and not loaded.cut().keepsNormalSide
    assert loaded.measure() == saved and loaded.weightKg() == 71.5
    np.testing.assert_array_equal(part(loaded, "remnant", volume), kept)
    loaded.keepOtherSide()
    requireSplit(loaded, volume)


def test_from_a_script(liverNode, volumeNode, mrmlScene):
    plane = mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode", "own")
    with pytest.raises(InputError, match="'own' has no place yet"):
        resection_plan.split(liverNode, plane)
    for wrong in ({"weightKg": 0}, {"weightKg": float("nan")}, {"weightKg": 72000}, {"remnantSide": "left"}):
        with pytest.raises(InputError):
            resection_plan.split(liverNode, **wrong)
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    plane.SetOriginWorld(*center(liverNode, volumeNode))
    plane.SetNormalWorld(0, 0, 1)
    made = resection_plan.split(liverNode, plane, "opposite", weightKg=50)
    assert made.cutNode != plane and made.volumes.mlPerKg == pytest.approx(made.volumes.remnantMl / 50)
    requireSplit(made, volumeNode)
    assert places(volumeNode)[part(made, "remnant", volumeNode)][:, 2].max() <= plane.GetOriginWorld()[2] + 1e-3
    before = made.volumes
    again = resection_plan.split(liverNode, remnantSide="normal")
    assert again.cutNode == made.cutNode and again.partsNode == made.partsNode
    assert again.volumes.resectedMl == pytest.approx(before.remnantMl) and again.volumes.weightKg == 50
    assert made.volumes == again.volumes  # a liver has one plan


def test_a_script_gets_no_volumes_of_another_cut_or_liver_and_updates_them(liverNode, volumeNode, writer):
    plan = resection_plan.split(liverNode)
    before = plan.volumes
    plan.cutNode.SetOriginWorld(*(plan.cut().origin + [4, 0, 0]))
    with pytest.raises(InputError, match=r"another place of the cut\. Update them first.*update\(\)"):
        plan.volumes  # noqa: B018
    assert "another place" in plan.tableNode.GetCellText(1, 4)
    moved = plan.update()
    assert moved.remnantMl > before.remnantMl and plan.volumes == moved and plan.outdated() == ""
    assert float(plan.tableNode.GetCellText(1, 1)) == pytest.approx(moved.remnantMl, abs=0.06)
    requireSplit(plan, volumeNode)
    writer.write(volumeNode, ball((3, 6, 8)), liverNode, "student")
    with pytest.raises(InputError, match="older liver"):
        plan.volumes  # noqa: B018
    assert plan.update().liverMl != pytest.approx(before.liverMl)
    requireSplit(plan, volumeNode)


def test_an_update_keeps_parts_that_are_current_and_makes_missing_ones(plan, volumeNode, mrmlScene):
    segmentId = liver_grid.partId(plan.partsNode, "remnant")
    voxel = np.zeros(SHAPE, np.uint8)
    voxel[tuple(np.argwhere(part(plan, "remnant", volumeNode))[0])] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxel, plan.partsNode, segmentId, volumeNode)
    assert plan.isEdited()
    edited = plan.volumes
    assert plan.update() == edited and plan.isEdited()
    plan.partsNode.GetSegmentation().RemoveSegment("resected")
    with pytest.raises(InputError, match="A part was deleted"):
        plan.volumes  # noqa: B018
    assert plan.update() == plan.volumes != edited
    mrmlScene.RemoveNode(plan.partsNode)
    with pytest.raises(InputError, match="There is no plan"):
        plan.volumes  # noqa: B018
    plan.update()
    requireSplit(plan, volumeNode)
    mrmlScene.RemoveNode(plan.cutNode)
    with pytest.raises(InputError, match="cut plane was removed"):
        plan.volumes  # noqa: B018
    with pytest.raises(InputError, match="place it again"):
        plan.update()


def test_lines_of_the_literature_stand_in_the_table_with_their_sources(plan):
    cells = [[plan.tableNode.GetCellText(r, c) for c in range(5)] for r in range(plan.tableNode.GetNumberOfRows())]
    assert [plan.tableNode.GetColumnName(c) for c in range(5)] == list(remnant.COLUMNS)
    assert [row[0] for row in cells[:3]] == ["Liver", "Remnant", "Resected"]
    assert float(cells[1][1]) == pytest.approx(plan.volumes.remnantMl, abs=0.06) and cells[1][3] == "nan"
    shares = {row[0].partition(" %")[0]: row for row in cells[3:]}
    assert set(shares) == {"20", "30", "40", "0.5"}
    for row in cells[3:]:
        assert "doi 10." in row[4] and "divides by" in row[4]
    assert shares["0.5"][1] == "nan" and float(shares["0.5"][3]) == 5
    remnant.setWeight(plan.liverNode, 60)
    plan.measure()
    cells = [[plan.tableNode.GetCellText(r, c) for c in range(5)] for r in range(plan.tableNode.GetNumberOfRows())]
    assert float(cells[6][1]) == 300 and float(cells[6][3]) == 5
    assert float(cells[3][1]) == pytest.approx(0.2 * plan.volumes.liverMl, abs=0.06)


def test_words_judge_nothing(plan):
    volumes = remnant.RemnantVolumes(620, 880, 70)
    assert volumes.text() == "Remnant 620 mL (41 % of the liver, 8.9 mL/kg), resected 880 mL (59 %)."
    assert "300 mL: 20 % of the liver, normal liver (Kishi et al.)" in volumes.linesText().splitlines()
    assert volumes.linesText().splitlines()[-1].startswith("350 mL: 0.5 % of body weight")
    assert "needs the weight" in remnant.RemnantVolumes(620, 880).linesText()
    for word in ("safe", "enough", "too small", "sufficient"):
        assert word not in volumes.text() + volumes.linesText()
    assert remnant.RemnantVolumes(0, 0).percent == 0


@pytest.mark.parametrize(
    ("text", "kg"), [("72", 72), (" 72,5 kg", 72.5), ("72.5", 72.5), ("", None), ("  ", None), ("100 KG", 100)]
)
def test_a_weight_is_read_as_it_is_typed(text, kg):
    assert remnant.parseWeight(text) == kg


@pytest.mark.parametrize(
    "text", ["seventy", "0", "-70", "70000", "nan", "inf", "7 0", "154 lb", "1_0", "1e2", "70.", "+70", "７０", "7O"]
)
def test_what_is_no_weight_is_refused(text):
    with pytest.raises(InputError, match="is no body weight in kg"):
        remnant.parseWeight(text)


@pytest.mark.parametrize("text", ["1.000", "1,000", "72.500", "1.000.000", "70,000 kg"])
def test_a_weight_that_could_be_a_thousand_times_as_much_is_refused(text):
    with pytest.raises(InputError, match="a thousand times as much; type the weight in kg with at most two decimals"):
        remnant.parseWeight(text)


class DicomDatabase:
    """What is used of Slicer's DICOM database."""

    def __init__(self, values: dict[tuple[str, str], str], isOpen: bool = True):
        self._values, self.isOpen = values, isOpen

    def instanceValue(self, uid: str, tag: str) -> str:
        if uid == "gone":
            raise RuntimeError("The file is not there.")
        return self._values.get((uid, tag), "")


def test_the_weight_of_the_dicom_header_counts_until_one_is_set(plan, liverNode, volumeNode, monkeypatch):
    assert plan.weightKg() is None
    volumeNode.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    assert plan.weightKg() is None  # no database
    database = DicomDatabase({("1.2", "0010,1030"): "81.5 "})
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    assert plan.weightKg() == 81.5
    remnant.setWeight(liverNode, 60)
    assert plan.weightKg() == 60
    remnant.setWeight(liverNode, None)
    assert plan.weightKg() == 81.5
    database.isOpen = False
    assert plan.weightKg() is None
    database.isOpen = True
    for uid, value in (("1.2", ""), ("1.2", "0"), ("1.2", "heavy"), ("gone", "")):
        database._values = {(uid, "0010,1030"): value}
        volumeNode.SetAttribute("DICOM.instanceUIDs", uid)
        assert plan.weightKg() is None


def test_a_saved_weight_that_is_none_is_left_out(plan, liverNode):
    liverNode.SetAttribute("LiverGTAN.weightKg", "heavy")
    assert plan.weightKg() is None


def test_large_grids_interpolate_places_without_error(mrmlScene, writer, volumeNode, liverNode):
    grid = LiverGrid.of(liverNode)
    assert grid.lattice.places.shape == (2, 2, 2, 3)
    points, extent = grid.middle()
    np.testing.assert_allclose(points.mean(axis=0), center(liverNode, volumeNode), atol=0.5)
    assert extent == pytest.approx(np.ptp(places(volumeNode)[liver(liverNode, volumeNode)], axis=0).max(), rel=1e-3)


def test_the_users_segments_beside_the_parts_outlive_the_plan(plan, volumeNode, mrmlScene):
    parts, cut = plan.partsNode, plan.cut()
    tumor = np.zeros(SHAPE, np.uint8)
    tumor[0, :2, :2] = 1  # beside the liver
    addSegment(parts, volumeNode, "tumor", tumor)
    parts.GetSegmentation().CollapseBinaryLabelmaps(False)  # into the label map of the parts
    plan.remove()
    assert plan.cutNode is plan.partsNode is plan.tableNode is None
    assert list(parts.GetSegmentation().GetSegmentIDs()) == ["tumor"] and parts.GetScene() == mrmlScene
    np.testing.assert_array_equal(voxels(parts, "tumor", volumeNode), tumor)
    plan.restore(PlanState(cut))
    assert plan.partsNode == parts and parts.GetSegmentation().GetNumberOfSegments() == 3
    requireSplit(plan, volumeNode)
    np.testing.assert_array_equal(voxels(parts, "tumor", volumeNode), tumor)
    parts.GetSegmentation().RemoveSegment("tumor")
    plan.remove()
    assert parts.GetScene() is None


@pytest.mark.parametrize("name", ["partsNode", "cutNode", "tableNode"])
def test_a_copy_of_a_node_of_the_plan_is_left_to_the_user(plan, volumeNode, mrmlScene, name):
    original = getattr(plan, name)
    copy = mrmlScene.AddNewNodeByClass(original.GetClassName())
    copy.Copy(original)
    time = copy.GetMTime()
    mrmlScene.RemoveNode(original)
    assert getattr(plan, name) is None
    plan.restore(planeAt(center(plan.liverNode, volumeNode), OBLIQUE))
    assert getattr(plan, name) not in (None, copy)
    requireSplit(plan, volumeNode)
    plan.remove()
    assert copy.GetScene() == mrmlScene and copy.GetMTime() == time


def test_a_copy_of_the_liver_has_a_plan_of_its_own(plan, liverNode, volumeNode, mrmlScene):
    copy = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.Copy(liverNode)
    other = ResectionPlan(copy)
    assert other.cutNode is other.partsNode is other.tableNode is None
    other.place()
    assert other.partsNode != plan.partsNode
    other.remove()
    requireSplit(plan, volumeNode)


def test_a_copy_of_a_part_is_left_to_the_user(plan, volumeNode):
    segmentation = plan.partsNode.GetSegmentation()
    before = part(plan, "remnant", volumeNode)
    addSegment(plan.partsNode, volumeNode, "mine", before.astype(np.uint8))
    segmentation.GetSegment("mine").DeepCopyMetadata(segmentation.GetSegment("remnant"))
    segmentation.RemoveSegment("remnant")
    plan.restore(planeAt(center(plan.liverNode, volumeNode), OBLIQUE))
    np.testing.assert_array_equal(voxels(plan.partsNode, "mine", volumeNode) > 0, before)
    requireSplit(plan, volumeNode)


def test_the_weight_is_that_of_one_patient(plan, liverNode, volumeNode, writer, mrmlScene):
    remnant.setWeight(liverNode, 70)
    other = addVolume(mrmlScene)
    writer.write(other, ball(), liverNode, "student")
    assert plan.weightKg() is None and plan.measure().mlPerKg is None
    remnant.setWeight(liverNode, 50)
    assert plan.weightKg() == 50
    mrmlScene.RemoveNode(other)
    assert plan.weightKg() == 50
    writer.write(volumeNode, ball(), liverNode, "student")
    assert plan.weightKg() is None


def test_without_a_label_map_nothing_is_measured_and_it_is_told(plan, liverNode):
    liverNode.GetSegmentation().CreateRepresentation(scene.SURFACE)
    plan.finish()
    for node in (liverNode, plan.partsNode):
        node.GetSegmentation().SetSourceRepresentationName(scene.SURFACE)
        node.GetSegmentation().RemoveRepresentation(scene.LABELMAP)
    assert plan.outdated() == "The liver has no label map any more; the parts are those of the liver before."
    with pytest.raises(InputError, match=r"'remnant' in '.* parts' has no label map and cannot be measured"):
        plan.measure()
    assert not plan.isEdited()


def test_plane_and_curve_look_like_a_cut_and_can_be_moved(plan):
    display = plan.cutNode.GetDisplayNode()
    assert display.GetHandlesInteractive() and display.GetRotationHandleVisibility()
    assert display.GetOpacity() == cut_plane.OPACITY
    for _ in range(2):
        display = plan.cutNode.GetDisplayNode()
        assert display.GetSelectedColor() == pytest.approx(cut_plane.COLOR)
        assert not display.GetPropertiesLabelVisibility() and not display.GetPointLabelsVisibility()
        plan.bend()


# A curve


def addCurve(mrmlScene, points, className: str = "vtkMRMLMarkupsCurveNode"):
    node = mrmlScene.AddNewNodeByClass(className, "own curve")
    for point in points:
        node.AddControlPointWorld(*point)
    return node


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_curve_in_a_slice_cuts_straight_through_all_slices(mrmlScene, writer, name):
    volume = addVolume(mrmlScene, GEOMETRIES[name])
    node = segmented(writer, volume)
    middle = center(node, volume)
    offsets = [(0, -40, 0), (3, -6, 0), (-2, 0, 0), (4, 7, 0), (0, 40, 0)]
    curve = addCurve(mrmlScene, middle + np.array(offsets, float))
    curve.SetCurveTypeToLinear()
    plan = resection_plan.split(node, curve)
    assert plan.cutNode != curve and plan.cutNode.GetNumberOfControlPoints() == 5
    isLiver = liver(node, volume)
    seen = places(volume)[isLiver] - middle
    border = np.interp(seen[:, 1], [o[1] for o in offsets], [o[0] for o in offsets])
    clear = np.abs(seen[:, 0] - border) > 1.3  # corners are rounded off between places 3 mm apart
    isLeft = seen[:, 0] < border  # of the curve, which runs to the front, as seen from the head
    np.testing.assert_array_equal(part(plan, "remnant", volume)[isLiver][clear], isLeft[clear])
    assert plan.outdated() == "" and 0.2 < isLeft.mean() < 0.8
    resectedMl = plan.volumes.resectedMl
    assert resection_plan.split(node, remnantSide="opposite").volumes.remnantMl == pytest.approx(resectedMl)


@pytest.mark.parametrize("moved", ["together", "curve"])
def test_a_curve_follows_transforms(plan, liverNode, volumeNode, mrmlScene, moved):
    plan.bend()
    plan.cutNode.SetNthControlPointPositionWorld(2, *(plan.cut().controls[2] + [6, 0, 0]))
    plan.split()
    plan.finish()
    before = part(plan, "remnant", volumeNode)
    transform = addTransform(mrmlScene, rotation(0, 25)).GetID()
    for node in (volumeNode, liverNode, plan.cutNode, plan.partsNode) if moved == "together" else (plan.cutNode,):
        node.SetAndObserveTransformNodeID(transform)
    assert (plan.outdated() == "") == (moved == "together")
    plan.restore(PlanState(plan.cut()))
    assert plan.outdated() == ""
    changed = np.count_nonzero(part(plan, "remnant", volumeNode) != before)
    assert changed < 0.01 * before.sum() if moved == "together" else changed > 0.03 * before.sum()


def test_a_bent_plane_cuts_like_the_plane_under_a_warp_too(mrmlScene, writer):
    volume = addVolume(mrmlScene)
    volume.SetAndObserveTransformNodeID(addWarp(mrmlScene).GetID())
    plan = ResectionPlan(segmented(writer, volume))
    plan.restore(planeAt(center(plan.liverNode, volume), OBLIQUE * np.sign(np.linalg.det(OBLIQUE))))
    before = part(plan, "remnant", volume)
    plan.bend()
    assert np.count_nonzero(part(plan, "remnant", volume) != before) <= 0.002 * before.sum()
    plan.bend()
    assert plan.cut().isFlat and np.count_nonzero(part(plan, "remnant", volume) != before) <= 0.002 * before.sum()


def test_curves_that_cannot_cut_are_refused(liverNode, volumeNode, mrmlScene):
    middle = center(liverNode, volumeNode)
    arc = middle + np.array([(-20, 0, 0), (0, 9, 0), (20, 0, 0)], float)
    closed = addCurve(mrmlScene, arc, "vtkMRMLMarkupsClosedCurveNode")
    straight = addCurve(mrmlScene, middle + np.array([(-20, 0, 0), (0, 0, 0), (20, 0, 0)], float))
    loop = addCurve(mrmlScene, middle + np.array([(-9, 0, 0), (20, 0, 0), (20, 15, 0), (0, 15, 0), (0, -30, 0)], float))
    loop.SetCurveTypeToLinear()
    doubled, doubledEnd = (addCurve(mrmlScene, np.insert(arc, end, arc[end], axis=0)) for end in (0, 2))
    short = addCurve(mrmlScene, arc[:1])
    onSurface = addCurve(mrmlScene, arc)
    onSurface.SetCurveTypeToShortestDistanceOnSurface()
    line = mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "own line")
    for node, words in (
        (closed, "is a closed curve"),
        (straight, "is straight"),
        (loop, "crosses itself"),
        (doubled, "Points 1 and 2 of the curve lie in the same place"),
        (doubledEnd, "Points 3 and 4 of the curve lie in the same place"),
        (short, "has no place yet"),
        (onSurface, "runs on the surface of a model"),
        (line, "neither a markups plane nor a markups curve"),
    ):
        with pytest.raises(InputError, match=words):
            resection_plan.split(liverNode, node)
    assert ResectionPlan(liverNode).nodes == [] and mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


# Parts that are not what the cut makes of the liver


@pytest.mark.parametrize("hardened", [False, True])
def test_parts_under_a_transform_of_their_own_are_said_to_be_moved_and_made_anew(plan, volumeNode, tmp_path, hardened):
    plan.partsNode.SetAndObserveTransformNodeID(addTransform(slicer.mrmlScene, np.diag([2.0, 1, 1, 1])).GetID())
    if hardened:
        plan.partsNode.HardenTransform()
    assert plan.measure() is None and plan.outdated() == plan.remark() == resection_plan.MOVED
    assert plan.tableNode.GetCellText(1, 1) == "nan" and plan.tableNode.GetCellText(1, 4) == resection_plan.MOVED
    with pytest.raises(InputError, match="moved away"):
        resection_plan.export(plan.liverNode, tmp_path / "plan.csv")
    plan.restore(PlanState(plan.cut()))
    assert plan.remark() == "" and plan.partsNode.GetTransformNodeID() is None
    requireSplit(plan, volumeNode)
    assert plan.measure().liverMl == pytest.approx(plan.grid().ml)


def test_parts_hardened_by_whole_voxels_were_moved_and_those_with_their_liver_were_not(plan, volumeNode):
    step = np.eye(4)
    step[:3, 3] = scene.ijkToLocal(volumeNode)[:3, 0]
    transform = addTransform(slicer.mrmlScene, step)
    plan.partsNode.SetAndObserveTransformNodeID(transform.GetID())
    plan.partsNode.HardenTransform()
    assert plan.outdated() == resection_plan.MOVED
    for node in (plan.liverNode, plan.cutNode):
        node.SetAndObserveTransformNodeID(transform.GetID())
        node.HardenTransform()
    assert plan.outdated() == ""


@pytest.mark.parametrize("grown", [False, True])
def test_the_liver_of_edited_parts_is_its_segment(plan, volumeNode, tmp_path, grown):
    whole, segmentId = plan.volumes.liverMl, liver_grid.partId(plan.partsNode, "remnant")
    array = liver(plan.liverNode, volumeNode) if grown else part(plan, "remnant", volumeNode)
    if grown:
        plan.partsNode.GetSegmentation().SeparateSegmentLabelmap(segmentId)
    else:
        array[: np.argwhere(array)[:, 0].mean().astype(int)] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), plan.partsNode, segmentId, volumeNode)
    volumes = plan.measure()
    assert volumes.liverMl == pytest.approx(whole) and resection_plan.EDITED in plan.remark()
    assert volumes.percent == pytest.approx(100 * array.sum() / liver(plan.liverNode, volumeNode).sum())
    assert float(plan.tableNode.GetCellText(0, 1)) == pytest.approx(whole, abs=0.06)
    assert float(plan.tableNode.GetCellText(3, 1)) == pytest.approx(0.2 * whole, abs=0.06)
    resection_plan.export(plan.liverNode, tmp_path / "plan.csv")


def test_a_plan_that_was_mirrored_says_that_its_sides_may_have_changed(plan, liverNode, mrmlScene):
    assert plan.notice() == ""
    mirror = addTransform(mrmlScene, np.diag([-1.0, 1, 1, 1]))
    for node in (liverNode, plan.cutNode, plan.partsNode):
        node.SetAndObserveTransformNodeID(mirror.GetID())
    plan.split()
    plan.finish()
    assert plan.notice() == MIRRORED and MIRRORED in plan.remark()
    plan.keepOtherSide()
    assert plan.remark() == ""


def test_nobody_is_sent_to_an_update_that_cannot_help(liverNode, mrmlScene):
    plan = resection_plan.split(liverNode)
    mrmlScene.RemoveNode(plan.cutNode)
    with pytest.raises(InputError) as error:
        plan.volumes  # noqa: B018
    assert str(error.value) == resection_plan.NO_CUT
    with pytest.raises(InputError, match="place it again"):
        plan.update()
