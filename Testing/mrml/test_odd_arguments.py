"""What scripts pass by mistake: names for nodes, nodes of other kinds or scenes, settings that no slider has.

Each is refused with a sentence, and leaves the scene as it was.
"""

from types import SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from LiverGTANLib.core.postprocess import PostprocessSettings
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import self_test
from support.module_fixtures import logic, students
from support.mrml_cases import addTransform, rotation

pytestmark = pytest.mark.slow


@pytest.fixture
def given(logic, slicerHost):
    """What a script may pass, by what it is."""
    volumeNode, _ = self_test.addPhantom()
    other = slicer.vtkMRMLScene()
    strange = other.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "strange")
    strange.CopyContent(volumeNode)
    nodes = {
        "name": "Phantom",
        "number": 3,
        "list": [volumeNode],
        "transform": addTransform(slicer.mrmlScene, rotation(2, 5)),
        "strange": strange,
    }
    logic.getParameterNode()
    before = slicer.mrmlScene.GetNumberOfNodes()
    yield SimpleNamespace(volume=volumeNode, nodes=nodes, scene=other)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode", other)


def test_what_is_no_node_of_the_scene_is_refused_by_each_way_in(logic, given, tmp_path):
    ways = (
        logic.process,
        lambda node: logic.process(given.volume, node),
        lambda node: logic.process(given.volume, region=node),
        lambda node: logic.process(given.volume, liverPoints=node),
        lambda node: logic.process(given.volume, notLiverPoints=node),
        logic.segmentSequence,
        logic.measureSequence,
        lambda node: logic.follow(volume=node),
        logic.splitLiver,
        logic.review,
        lambda node: logic.exportPlan(node, tmp_path / "plan.csv"),
        lambda node: logic.exportSurface(node, tmp_path / "liver.stl"),
        lambda node: logic.exportParts(node, tmp_path / "liver.stl"),
        lambda node: logic.exportDicom(node, tmp_path),
    )
    for way in ways:
        for kind, node in given.nodes.items():
            with pytest.raises(InputError) as caught:
                way(node)
            assert kind != "name" or "slicer.util.getNode('Phantom')" in str(caught.value)
    for way in ways[8:]:
        with pytest.raises(InputError):
            way(None)


def test_in_a_list_what_is_no_ct_does_not_stop_the_others(logic, given):
    batch = logic.processAll([*given.nodes.values(), None])
    assert not batch.results and len(batch.problems) == 6
    assert all("attribute" not in problem.reason for problem in batch.problems)
    for no_list in (None, given.volume, "Phantom"):
        with pytest.raises(InputError, match="list of CTs"):
            logic.processAll(no_list)


def test_settings_that_no_slider_has_are_refused(logic, given):
    for settings, match in (
        (PostprocessSettings(threshold=-1), "threshold cannot be -1"),
        (PostprocessSettings(threshold=float("nan")), "threshold cannot be nan"),
        (PostprocessSettings(threshold="0.5"), "threshold cannot be 0.5"),
        (PostprocessSettings(smoothing_mm=-3), "smoothing cannot be -3"),
        (PostprocessSettings(smoothing_mm=float("inf")), "smoothing cannot be inf"),
        ({"threshold": 0.4}, "are no settings"),
    ):
        with pytest.raises(InputError, match=match):
            logic.process(given.volume, settings=settings)
    with pytest.raises(InputError, match="student"):
        logic.process(given.volume, student=5)


def test_an_roi_that_cannot_restrict_is_no_roi_that_leaves_all_of_the_liver(logic, given):
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "own")
    roiNode.SetSizeWorld(100, 100, 0)
    with pytest.raises(InputError, match="side of the ROI 'own' is 0 mm"):
        logic.process(given.volume, region=roiNode)
    roiNode.SetSizeWorld(100, 100, 100)
    roiNode.SetInsideOut(True)
    with pytest.raises(InputError, match="ROI 'own' is set to 'Inside out'"):
        logic.process(given.volume, region=roiNode)
    slicer.mrmlScene.RemoveNode(roiNode)


def test_weights_and_numbers_of_slices_are_checked(logic, slicerHost):
    volumeNode, _ = self_test.addPhantom()
    result = logic.process(volumeNode)
    for weight in ("72", "heavy", True):
        with pytest.raises(InputError, match="no body weight"):
            logic.splitLiver(result.segmentation, weightKg=weight)
    volume = f"{result.volumeMl:.0f} mL"
    assert repr(result).startswith(f"<SegmentationResult: liver of 'Phantom' in 'Phantom liver', {volume}")
    for one in (result, result.request, result.found.mask, result.request.job.ct):
        assert len(repr(one)) < 200  # a script prints it: no voxels
    review = logic.review(result.segmentation)
    for number in (-1, 99999, None, "x", 1.5):
        with pytest.raises(InputError, match="There is no slice"):
            review.mark(number)
    assert not review.reviewed


@pytest.mark.parametrize("name", [None, "", " ", 3])
def test_what_is_no_name_of_a_file_is_refused_by_each_export(logic, name):
    segmentation = logic.process(self_test.addPhantom()[0]).segmentation
    logic.splitLiver(segmentation)
    ways = (
        lambda: logic.exportTable(name),
        lambda: logic.exportPlan(segmentation, name),
        lambda: logic.exportSurface(segmentation, name),
        lambda: logic.exportParts(segmentation, name),
        lambda: logic.exportDicom(segmentation, name),
    )
    for way in ways:
        with pytest.raises(InputError, match="name of a file or folder"):
            way()
