"""Connected components and holes of what is above zero."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from LiverGTANLib.core import boxes, components
from LiverGTANLib.core.components import remove_specks

SHAPE = (5, 6, 7)
SHAPES = st.tuples(*[st.integers(1, 8)] * 3)


def drawn(shape, share: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


def assert_same_runs(first: components.Runs, second: components.Runs) -> None:
    np.testing.assert_array_equal(first.starts, second.starts)
    np.testing.assert_array_equal(first.stops, second.stops)


def by_labels(positive: np.ndarray, fewest: int, but, open_faces: bool) -> np.ndarray:
    """The voxels of components of fewer without one of `but`; with `open_faces` none that reaches a face."""
    labels, _ = label(positive)
    sizes = np.bincount(labels.ravel()).astype(float)
    sizes[0] = np.inf
    sizes[[labels[voxel] for voxel in but]] = np.inf
    if open_faces:
        for axis in range(3):
            sizes[np.unique(np.take(labels, (0, -1), axis))] = np.inf
    return sizes[labels] < fewest


@pytest.mark.slow
@given(SHAPES, st.floats(0, 1), st.integers(1, 12), st.integers(0, 10**6), st.integers(0, 2))
@settings(max_examples=300, deadline=None)
def test_small_components_and_holes_are_those_of_labeling(shape, share, fewest, seed, count):
    mask = drawn(shape, share, seed)
    rng = np.random.default_rng(seed)
    kept = [tuple(int(rng.integers(n)) for n in shape) for _ in range(count)]
    removed, filled, both = mask.copy(), mask.copy(), mask.copy()
    remove_specks(removed, fewest, kept, None)
    np.testing.assert_array_equal(removed, mask & ~by_labels(mask > 0, fewest, kept, open_faces=False))
    remove_specks(filled, fewest, None, kept)
    np.testing.assert_array_equal(filled, mask | by_labels(mask == 0, fewest, kept, open_faces=True))
    remove_specks(both, fewest, kept, kept)
    remove_specks(removed, fewest, None, kept)
    np.testing.assert_array_equal(both, removed)


@pytest.mark.slow
@given(st.tuples(*[st.integers(1, 16)] * 3), st.floats(0.2, 0.8), st.integers(2, 5), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_beside_what_changed_the_same_components_and_holes_are_found_as_in_all(shape, share, fewest, seed):
    rng, mask = np.random.default_rng(seed), drawn(shape, share, seed)
    but = [tuple(int(rng.integers(n)) for n in shape) for _ in range(seed % 3)]
    for _ in range(mask.size):  # a cleared component may leave a hole, and a filled hole join two components
        before = mask.copy()
        remove_specks(mask, fewest, but, but)
        if np.array_equal(mask, before):
            break
    ends = [sorted(rng.integers(0, n + 1, 2)) for n in shape]
    box = boxes.triple(slice(int(a), int(b)) for a, b in ends)
    mask[box] = rng.random(boxes.shape(box)) < share
    whole = mask.copy()
    remove_specks(whole, fewest, but, but)
    remove_specks(mask, fewest, but, but, changed=box)
    np.testing.assert_array_equal(mask, whole)


@pytest.mark.slow
@given(SHAPES, st.floats(0, 1), st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_runs_have_the_components_boxes_and_voxels_of_labeling(shape, share, seed):
    mask, rng = drawn(shape, share, seed), np.random.default_rng(seed)
    runs = components.runs_of(mask)
    for at_once in (1, 5, 8, 40):
        with mock.patch.object(components, "CHANGES_AT_ONCE", at_once):
            assert_same_runs(components.runs_of(mask), runs)
    found, (expected, count) = runs.painted(1 + runs.components(), np.int32), label(mask)
    pairs = set(zip(found.ravel(), expected.ravel()))
    assert len(pairs) == len(np.unique(found)) == count + (not mask.all())
    assert runs.box() == boxes.bounding_box(mask)
    ends = [sorted(rng.integers(0, n + 1, 2)) for n in shape]
    box = boxes.triple(slice(int(a), int(b)) for a, b in ends)
    parts, which = runs.within(box)
    np.testing.assert_array_equal(parts.painted(1 + runs.components()[which], np.int32), found[box])
    wanted = drawn(shape, 0.5, seed + 1)
    assert_same_runs(runs.where(wanted.ravel()[runs.voxels()] > 0), components.runs_of(mask & wanted))


def test_long_winding_components_are_followed_to_their_end():
    mask = np.zeros((3, 41, 41), np.uint8)
    mask[1, ::2] = 1
    mask[1, 1::4, -1] = 1
    mask[1, 3::4, 0] = 1
    whole = mask.copy()
    remove_specks(mask, int(whole.sum()))
    np.testing.assert_array_equal(mask, whole)
    remove_specks(mask, int(whole.sum()) + 1)
    assert not mask.any()
