"""Connected components and holes of what is above zero on the model grid."""

import numpy as np


def label_components(positive: np.ndarray) -> np.ndarray:
    """Number of its connected component (faces touch) for every true voxel, 0 elsewhere."""
    from scipy.ndimage import label

    return label(positive)[0]


def largest_component(labels: np.ndarray) -> int:
    """Number of the component with most voxels; 0 when there is none."""
    sizes = np.bincount(labels.ravel())
    return 1 + int(sizes[1:].argmax()) if len(sizes) > 1 else 0


def negate_other_components(values: np.ndarray, labels: np.ndarray, number: int) -> None:
    """Turn the sign, in place, of all that belongs to another component than `number`."""
    np.negative(values, out=values, where=(labels != 0) & (labels != number))


def fill_holes(values: np.ndarray) -> None:
    """Turn the sign, in place, of what positive values enclose; what reaches the array's edge is no hole."""
    from scipy.ndimage import label

    regions, count = label(np.pad(values <= 0, 1, constant_values=True))
    if count > 1:
        regions = regions[1:-1, 1:-1, 1:-1]
        # The padding belongs to the outside and is labeled first.
        np.abs(values, out=values, where=regions > 1)
