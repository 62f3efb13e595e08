"""Review of a mask: the order of slices, what counts as reviewed, and what changes, transforms and a saved scene do."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from slicer.util import arrayFromSegmentBinaryLabelmap, updateSegmentBinaryLabelmapFromArray

from LiverGTANLib.core.segmentation_job import Preview
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.core.terminology import TERMINOLOGY
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.mrml import review, scene, self_test
from LiverGTANLib.mrml.review import NETWORK, OUTLINE, Review
from support.module_fixtures import logic, students
from support.mrml_cases import (
    GEOMETRIES,
    SHAPE,
    STRAIGHT,
    addSegment,
    addTransform,
    addVolume,
    addWarp,
    ball,
    mrmlScene,
    rotation,
    segmentationNode,
    volumeNode,
)

ML = abs(np.linalg.det(STRAIGHT[:3, :3])) / 1000


def drawn(segmentationNode, volumeNode, array=None) -> Review:
    """A review of a mask drawn by hand; it does not jump."""
    addSegment(segmentationNode, volumeNode, "liver", ball().full() if array is None else array)
    return Review(segmentationNode, jump=lambda ras: None)


def put(found: Review, volumeNode, array) -> None:
    updateSegmentBinaryLabelmapFromArray(array, found.node, found.segmentId, volumeNode)


def walk(found: Review) -> list[int]:
    """Numbers of all slices that `next` goes to until everything is reviewed."""
    numbers = []
    while (place := found.next()) is not None:
        numbers.append(place.number)
        assert len(numbers) < 1000
    return numbers


def slicesOf(mask) -> list[int]:
    return np.flatnonzero(mask.any(axis=(1, 2))).tolist()


def test_a_mask_drawn_by_hand_is_gone_through_by_the_change_of_its_outline(segmentationNode, volumeNode):
    mask = ball().full()
    mask[9] = 0  # the slice was forgotten
    found = drawn(segmentationNode, volumeNode, mask)
    first = found.next()
    assert first.order == OUTLINE and first.number in (8, 9, 10) and not first.reviewed
    changes = [np.logical_xor(mask[9], mask[n]).sum() / 2 for n in (8, 10)]
    assert first.areaCm2 == pytest.approx(sum(changes) * 0.7421875**2 / 100, rel=1e-5)
    assert first.number == 9
    walk(found)
    assert found.share == 1 and set(slicesOf(mask)) <= found.reviewed


def test_every_slice_is_shown_once_or_lies_beside_one_that_was(segmentationNode, volumeNode):
    found = drawn(segmentationNode, volumeNode)
    numbers = walk(found)
    assert len(set(numbers)) == len(numbers)
    assert all(min(abs(n - shown) for shown in numbers) <= 1 for n in slicesOf(ball().full()))
    assert found.next() is None


def test_thick_slices_are_all_shown(mrmlScene):
    thick = STRAIGHT @ np.diag([1, 1, 4, 1])  # 10 mm
    volumeNode = addVolume(mrmlScene, thick)
    found = drawn(scene.createSegmentation(volumeNode), volumeNode)
    assert sorted(walk(found)) == slicesOf(ball().full())


def test_thin_slices_within_reach_count_with_the_one_shown(mrmlScene):
    thin = STRAIGHT @ np.diag([1, 1, 0.4, 1])  # 1 mm
    volumeNode = addVolume(mrmlScene, thin)
    found = drawn(scene.createSegmentation(volumeNode), volumeNode)
    found.mark(9)
    assert found.reviewed == {7, 8, 9, 10, 11}
    found.mark(10, False)
    assert found.reviewed == {7}


def test_the_share_is_one_of_volume(segmentationNode, volumeNode):
    mask = ball().full()
    found = drawn(segmentationNode, volumeNode, mask)
    found.mark(9)
    assert found.share == pytest.approx(mask[8:11].sum() / mask.sum())
    assert found.slices.ml.sum() == pytest.approx(mask.sum() * ML)


def test_an_edit_takes_back_the_slice_that_it_changed_and_no_other(segmentationNode, volumeNode):
    mask = ball().full()
    found = drawn(segmentationNode, volumeNode, mask)
    walk(found)
    edited = mask.copy()
    edited[9, 0, 0] = 1  # far from the rest, so that the box of the whole grows
    put(found, volumeNode, edited)
    assert set(slicesOf(mask)) - found.reviewed == {9}
    assert found.share == pytest.approx(1 - edited[9].sum() / edited.sum())
    assert found.next().number == 9
    put(found, volumeNode, mask)  # as Undo does
    assert found.share == 1


def test_each_of_several_masks_of_a_slice_is_remembered(segmentationNode, volumeNode):
    """As in the frames of a sequence, which have one node and one place to remember it."""
    first, second = ball().full(), np.roll(ball().full(), 2, axis=2)
    found = drawn(segmentationNode, volumeNode, first)
    found.mark(9)
    put(found, volumeNode, second)
    assert found.reviewed == set()
    found.mark(9)
    found.mark(12)
    put(found, volumeNode, first)
    assert found.reviewed == {8, 9, 10}
    found.startOver()
    put(found, volumeNode, second)
    assert found.reviewed == {8, 9, 10, 11, 12, 13}


def test_a_label_map_with_more_margin_has_the_same_slices(segmentationNode, volumeNode):
    mask = ball().full()
    found = drawn(segmentationNode, volumeNode, mask)
    found.mark(9)
    larger = scene.orientedImage(BoxMask(mask, (0, 0, 0), SHAPE), scene.ijkToLocal(volumeNode))
    shifted = scene.orientedImage(
        BoxMask(mask[2:, 3:, 4:], (0, 0, 0), SHAPE), scene.ijkToLocal(volumeNode) @ moved(4, 3, 2)
    )
    for image in (larger, shifted):
        segmentationNode.GetSegmentation().GetSegment(found.segmentId).AddRepresentation(scene.LABELMAP, image)
        assert len(found.reviewed) == 3
        assert found.share == pytest.approx(mask[8:11].sum() / mask.sum())
    found.mark(8)  # is 10 on the lattice before
    segmentationNode.GetSegmentation().GetSegment(found.segmentId).AddRepresentation(scene.LABELMAP, larger)
    assert found.reviewed == {8, 9, 10, 11}


def moved(*ijk) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = ijk
    return matrix


def test_erased_slices_and_other_segments_do_not_touch_the_rest(segmentationNode, volumeNode):
    mask = ball().full()
    found = drawn(segmentationNode, volumeNode, mask)
    walk(found)
    addSegment(segmentationNode, volumeNode, "tumor", ball((2, 3, 3), (8, 12, 16)).full())
    assert found.share == 1
    mask[:6] = 0
    put(found, volumeNode, mask)
    assert found.share == 1 and set(slicesOf(mask)) <= found.reviewed


def test_marks_are_taken_back_one_by_one(segmentationNode, volumeNode):
    found = drawn(segmentationNode, volumeNode)
    found.mark(6)
    found.mark(12)
    found.startOver()
    assert found.share == 0
    found.undo()
    assert found.reviewed == {5, 6, 7, 11, 12, 13}
    found.undo()
    assert found.reviewed == {5, 6, 7}
    found.undo()
    assert found.reviewed == set() and not found.canUndo
    with pytest.raises(InputError):
        found.undo()


def test_what_the_user_leaves_open_is_not_counted_when_it_is_left(segmentationNode, volumeNode):
    found = drawn(segmentationNode, volumeNode)
    first = found.next().number
    found.mark(first, False)
    second = found.next().number
    assert second != first and found.reviewed == set()
    assert first in walk(found)  # in the next round
    assert found.share == 1


def test_previous_goes_back_the_way_that_was_gone(segmentationNode, volumeNode):
    seen = []
    addSegment(segmentationNode, volumeNode, "liver", ball().full())
    found = Review(segmentationNode, jump=seen.append)
    assert found.previous() is None
    one, two, three = (found.next() for _ in range(3))
    back = found.previous()
    assert (back.number, back.reviewed) == (two.number, True)
    assert found.previous().number == one.number and found.previous() is None
    assert seen == [one.ras, two.ras, three.ras, two.ras, one.ras]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_place_lies_on_its_slice_in_any_geometry(mrmlScene, geometry):
    """Of an oblique scan too: the slice is one of the scan, along its most axial axis."""
    matrix = GEOMETRIES[geometry]
    volumeNode = addVolume(mrmlScene, matrix)
    transform = addTransform(mrmlScene, rotation(1, 12))
    segmentation = scene.createSegmentation(volumeNode)
    mask = ball().full()
    found = drawn(segmentation, volumeNode, mask)
    for node in (volumeNode, segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    toWorld = scene.ijkToWorld(volumeNode)
    axial = int(np.abs(toWorld[2, :3] / np.linalg.norm(toWorld[:3, :3], axis=0)).argmax())
    place = found.next()
    ijk = np.linalg.inv(toWorld) @ [*place.ras, 1]
    assert ijk[axial] == pytest.approx(place.number, abs=1e-4)
    box = [(n.min() - 1, n.max() + 1) for n in np.nonzero(mask)[::-1]]
    assert all(low <= x <= high for x, (low, high) in zip(ijk, box))
    before = found.reviewed | {place.number}
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(rotation(1, -5)))  # the mask is the same
    found.next()
    assert before <= found.reviewed


def test_under_a_warp_the_share_is_of_true_volume(mrmlScene):
    volumeNode = addVolume(mrmlScene)
    segmentation = scene.createSegmentation(volumeNode)
    found = drawn(segmentation, volumeNode)
    plain = found.slices.ml / found.slices.ml.sum()
    warp = addWarp(mrmlScene, lambda ras: np.c_[ras[:, :2] * 0, 0.004 * ras[:, 2] ** 2])
    for node in (volumeNode, segmentation):
        node.SetAndObserveTransformNodeID(warp.GetID())
    ml = found.slices.ml
    larger = ml / ml.sum() / plain
    assert larger.max() > 1.05 * larger.min()
    assert found.next() is not None and 0 <= found.share < 1
    walk(found)
    assert found.share == pytest.approx(1)


def test_nothing_is_left_to_review_in_a_segment_without_voxels(segmentationNode, volumeNode):
    found = drawn(segmentationNode, volumeNode, np.zeros(SHAPE, np.uint8))
    assert found.share is None and found.next() is None and found.open() == []


def test_which_segment_is_reviewed(segmentationNode, volumeNode):
    with pytest.raises(InputError, match="no segment"):
        Review(segmentationNode)
    first = addSegment(segmentationNode, volumeNode, "left lobe", ball().full())
    assert Review(segmentationNode).segmentId == first
    addSegment(segmentationNode, volumeNode, "spleen", ball().full())
    with pytest.raises(InputError, match="several segments"):
        Review(segmentationNode)
    segments = segmentationNode.GetSegmentation()
    coded = addSegment(segmentationNode, volumeNode, "Leber", ball().full())
    segments.GetSegment(coded).SetTag(segments.GetSegment(coded).GetTerminologyEntryTagName(), TERMINOLOGY)
    assert Review(segmentationNode).segmentId == coded  # as the one that is planned with
    segments.RemoveSegment(coded)
    named = addSegment(segmentationNode, volumeNode, "Liver", ball().full())
    assert Review(segmentationNode).segmentId == named
    found = Review(segmentationNode, first)
    segmentationNode.GetSegmentation().RemoveSegment(first)
    assert not found.exists
    with pytest.raises(InputError, match="not there any more"):
        found.next()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"segment": "liver"}', '{"slices": 3, "ijkToLocal": [1]}'])
def test_a_damaged_attribute_means_nothing_is_reviewed(segmentationNode, volumeNode, text):
    found = drawn(segmentationNode, volumeNode)
    segmentationNode.SetAttribute(review._REVIEWED, text)
    assert found.reviewed == set()
    found.mark(9)
    assert found.reviewed == {8, 9, 10}


def test_another_grid_of_the_mask_is_not_taken_for_the_one_reviewed(segmentationNode, volumeNode, mrmlScene):
    found = drawn(segmentationNode, volumeNode)
    walk(found)
    other = addVolume(mrmlScene, STRAIGHT @ np.diag([1, 1, 1.1, 1]))
    updateSegmentBinaryLabelmapFromArray(ball().full(), segmentationNode, found.segmentId, other)
    assert found.reviewed == set()


def test_what_was_reviewed_is_saved_with_the_scene(segmentationNode, volumeNode, slicerHost, tmp_path):
    mask = ball().full()
    found = drawn(segmentationNode, volumeNode, mask)
    found.mark(9)
    found.mark(13)
    share = found.share
    for node, name in ((segmentationNode, "mask.seg.nrrd"), (volumeNode, "ct.nrrd")):
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(tmp_path / name))
        assert node.GetStorageNode().WriteData(node)
    mrmlScene = slicerHost.scene
    mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert mrmlScene.Commit()
    mrmlScene.Clear(0)
    assert mrmlScene.Connect()
    again = Review(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0])
    assert again.share == pytest.approx(share) and len(again.reviewed) == 6


def test_the_networks_uncertain_border_comes_first(logic, slicerHost):
    """3 mm cells on slices of 3 mm: eight uncertain cells in one slice, two in another one, and none elsewhere."""
    volumeNode, liver = self_test.addPhantom()
    result = logic.process(volumeNode)
    found = logic.review(result.segmentation)
    assert found.order == NETWORK and max(found.areas().values()) > 0
    request = logic.session.prepare(result.request.chosen)
    border = request.job.uncertain_border()
    most, some = (slicesOf(liver)[len(slicesOf(liver)) * n // 4] for n in (1, 3))
    places = np.argwhere(liver[most])[0], np.argwhere(liver[some])[0]
    cells, toCells = np.zeros_like(border.mask.voxels), np.linalg.inv(border.ijk_to_ras) @ scene.ijkToWorld(volumeNode)
    for number, (j, i), count in zip((most, some), places, (8, 2)):
        w, h, d = np.rint(toCells @ [i, j, number, 1])[:3].astype(int) - border.mask.start[::-1]
        cells[d, h, w : w + count] = 1
    found.useNetwork(Preview(BoxMask(cells, border.mask.start, border.mask.shape), border.ijk_to_ras), request)
    areas = {number: area for number, area in found.areas().items() if area > 0}
    assert areas == {most: pytest.approx(8 * 0.09), some: pytest.approx(2 * 0.09)}
    first, second, third = (found.next() for _ in range(3))
    assert (first.number, second.number) == (most, some) and third.areaCm2 == 0
    i, j, k, _ = np.linalg.inv(scene.ijkToWorld(volumeNode)) @ [*first.ras, 1]
    assert k == pytest.approx(most) and j == pytest.approx(places[0][0], abs=1.5)
    assert i == pytest.approx(places[0][1] + 3.5 * 3 / 2, abs=20 / 2)


def test_a_review_goes_by_the_outline_where_the_ct_is_gone(logic, slicerHost):
    volumeNode, _ = self_test.addPhantom()
    result = logic.process(volumeNode)
    slicer.mrmlScene.RemoveNode(volumeNode)
    assert logic.review(result.segmentation).order == OUTLINE


def test_slice_views_jump_to_the_place(logic, slicerHost):
    volumeNode, _ = self_test.addPhantom()
    result = logic.process(volumeNode)
    nodes = []
    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
        node.SetLayoutName(name)
        node.SetOrientation(orientation)
        nodes.append(node)
    place = logic.review(result.segmentation).next()
    offsets = [node.GetSliceOffset() for node in nodes]
    assert offsets == pytest.approx([place.ras[2], place.ras[1], -place.ras[0]], abs=1e-3)
    assert result.segmentation.GetAttribute(review._REVIEWED) is None
    mask = arrayFromSegmentBinaryLabelmap(result.segmentation, result.segmentId, volumeNode)
    assert mask[place.number].any()
