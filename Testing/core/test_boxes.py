"""Boxes of a grid, against masks of the same voxels."""

import numpy as np
import pytest

from LiverGTANLib.core import boxes

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given
from hypothesis import strategies as st

SHAPE = (5, 6, 7)
BOXES = st.tuples(*(st.tuples(st.integers(0, n), st.integers(0, n)).map(lambda e: slice(*sorted(e))) for n in SHAPE))


def voxels(box) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[box] = True
    return mask


@given(BOXES, BOXES)
def test_intersection_and_enclosing_box_are_those_of_the_voxels(first, second):
    np.testing.assert_array_equal(voxels(boxes.intersection(first, second)), voxels(first) & voxels(second))
    both = voxels(first) | voxels(second)
    found = boxes.enclosing(first, second)
    assert both.any() != boxes.is_empty(found)
    if both.any():
        assert found == boxes.bounding_box(both)


@given(BOXES, BOXES)
def test_a_box_within_another_is_found_again(outer, box):
    inner = boxes.intersection(outer, box)
    assert boxes.absolute(outer, boxes.relative_to(outer, inner)) == inner
    np.testing.assert_array_equal(voxels(outer)[outer][boxes.relative_to(outer, inner)], voxels(outer)[inner])
    assert voxels(inner)[inner].shape == boxes.shape(inner)


@given(BOXES, st.integers(0, 3))
def test_a_grown_box_stays_in_the_grid(box, cells):
    found = boxes.grown(box, cells, SHAPE)
    for part, before, n in zip(found, box, SHAPE):
        assert part == slice(max(0, before.start - cells), min(n, before.stop + cells))


def test_nothing_has_no_bounding_box():
    assert boxes.bounding_box(np.zeros(SHAPE, bool)) is None
    assert boxes.bounding_box(np.ones(SHAPE, bool)) == boxes.whole(SHAPE)
