"""Connected components and holes of what is above zero."""

import numpy as np

from LiverGTANLib.core import boxes, components

SHAPE = (5, 6, 7)


def test_the_largest_component_is_that_with_most_voxels_whose_faces_touch():
    values = np.full(SHAPE, -1.0)
    values[0, 0, :3] = 2
    values[1:3, 2:4, 4] = 3
    values[3, 4, 5] = 1  # touches the block before it by a corner alone
    labels = components.label_components(values > 0)
    number = components.largest_component(labels)
    components.negate_other_components(values, labels, number)
    assert boxes.bounding_box(values > 0) == (slice(1, 3), slice(2, 4), slice(4, 5))
    assert (values[0, 0, :3] == -2).all() and values[3, 4, 5] == -1
    assert components.largest_component(np.zeros(SHAPE, int)) == 0


def test_a_hole_is_filled_and_a_bay_is_not():
    values = np.ones(SHAPE)
    values[2, 3, 3] = -5
    values[:2, 1, 1] = -4
    components.fill_holes(values)
    assert values[2, 3, 3] == 5
    assert (values[:2, 1, 1] == -4).all()
