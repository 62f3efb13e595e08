"""Points that the user sets, "this is liver" or "this is not liver". Each changes the surroundings that look alike.

The distance of a cell of the model grid from a click is geodesic: the cost of the cheapest path, on which a step costs
its length, and more where the image differs from the clicked place or the network contradicts the click more than
there. It depends on nothing but the click and the analysis, so it is computed once and cached
(Toivanen, Pattern Recognition Letters 17:437, 1996; for segmentation: Criminisi, Sharp, Blake, ECCV 2008).

How far a click reaches follows from its depth within the error that it corrects, which is its distance to the nearest
cell that is as the click says. A click in the middle of a large error changes much, one beside the border little.

All constants were chosen by simulated clicks (Testing/benchmarks/simulated_clicks.py, with other seeds than it reports)
on example_ct and crlm_ct_1100_8bit; the growth of the reach with the depth also on example_ct_dicom and
spl_abdominal_atlas. These are the cases that the benchmark reports, so its gain is not independent of the choice.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np

from . import boxes
from .boxes import Box
from .model_grid import ModelGrid

REACH_MM = 36.0
"""No cell farther away than this, along an axis, is changed."""

CONTRAST = 0.15
"""Difference of the scaled image that doubles the cost of a step (with the usual window 30 HU); it counts by its
square, so that noise costs little and another tissue much."""

CONTRADICTION = 1.0
"""Logits against the click, beyond those at the clicked place, that double the cost of a step."""

DEPTHS_MM = (6.0, 12.0)
"""Depths that count: a click changes at least its close surroundings, two cells, and one far from all that is right no
more than one in the middle of an error 24 mm thick."""

DEPTH_SCALE_MM = 2.5
"""The longest path that is changed is the depth squared by this: an error twice as deep is several times as long, and
a shallow one lies at the border of the right tissue, into which a longer path would lead."""

LONGEST_PATH_MM = DEPTHS_MM[1] ** 2 / DEPTH_SCALE_MM

STRENGTH = 4.0
"""Logits at the clicked place, for or against liver, whatever the network computed: a probability of 0.98."""


@dataclass(frozen=True)
class Click:
    """ras: the point in RAS mm. liver: whether it is liver."""

    ras: tuple[float, float, float]
    liver: bool


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """What a click can change.

    voxel: the clicked one, k, j, i. cells: part of the model grid. geodesic_mm, straight_mm: (d, h, w) float32 of that
    part, distance from the click along the shortest path and in a straight line. touching: the cells that the clicked
    voxel is interpolated from, in indices of that part.
    """

    click: Click
    voxel: tuple[int, int, int]
    cells: Box
    geodesic_mm: np.ndarray
    straight_mm: np.ndarray
    touching: Box


def neighborhood(
    click: Click, image: np.ndarray, logits: np.ndarray, grid: ModelGrid, spacing_mm: float
) -> Neighborhood | None:
    """The surroundings of a click, None when it lies outside the scan.

    image, logits: (D, H, W) float32 on the model grid.
    """
    voxel = _voxel(click, grid)
    if voxel is None:
        return None
    place = grid.cell_of(np.array(voxel))
    touching = boxes.triple(slice(int(a), int(b) + 1) for a, b in zip(np.floor(place), np.ceil(place)))
    cells = boxes.grown(touching, int(REACH_MM // spacing_mm), logits.shape)
    touching = boxes.relative_to(cells, touching)
    contradiction = logits[cells] * np.float32(-1 if click.liver else 1)
    cost = _step_cost(image[cells], contradiction, touching)
    geodesic = _geodesic_distance(cost, touching, LONGEST_PATH_MM / spacing_mm) * np.float32(spacing_mm)
    squares = [((np.arange(c.start, c.stop) - p) * spacing_mm) ** 2 for c, p in zip(cells, place)]
    straight = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2]).astype(np.float32)
    return Neighborhood(click, voxel, cells, geodesic, straight, touching)


def applied(values: np.ndarray, around: Neighborhood, earlier: list[Neighborhood]) -> np.ndarray:
    """The values (logits less the threshold's) of the cells around one click, after it.

    values: (d, h, w), before. earlier: clicks applied before. What is nearer to one of the other kind stays as it is,
    but at the place of the click itself the later one counts.
    """
    sign = np.float32(1 if around.click.liver else -1)
    agreement = values * sign
    agreeing = agreement > 0
    depth = float(around.straight_mm[agreeing].min()) if agreeing.any() else DEPTHS_MM[1]
    reach = min(max(depth, DEPTHS_MM[0]), DEPTHS_MM[1]) ** 2 / DEPTH_SCALE_MM
    weight = np.clip(2 - 2 * around.geodesic_mm / np.float32(reach), 0, 1)
    for other in earlier:
        if other.click.liver != around.click.liver:
            _clear_nearer_to(other, weight, around)
    weight[around.touching] = 1
    np.maximum(agreement, agreement + weight * (STRENGTH - agreement), out=agreement)
    agreement[around.touching] = STRENGTH
    return agreement * sign


def _voxel(click: Click, grid: ModelGrid) -> tuple[int, int, int] | None:
    """Indices k, j, i of the clicked voxel; None outside the scan."""
    ijk = (np.linalg.inv(grid.native_ijk_to_ras) @ [*click.ras, 1])[:3]
    voxel = np.rint(ijk)[::-1]
    if not np.isfinite(voxel).all() or (voxel < 0).any() or (voxel >= grid.native_shape).any():
        return None
    return boxes.triple(int(index) for index in voxel)


def _step_cost(image: np.ndarray, contradiction: np.ndarray, touching: Box) -> np.ndarray:
    """Cost of a step of one cell: 1 where all is as at the click."""
    contrast = ((image - image[touching].mean()) / np.float32(CONTRAST)) ** 2
    excess = np.maximum(contradiction - contradiction[touching].mean(), 0) / np.float32(CONTRADICTION)
    return 1 + contrast + excess


def _geodesic_distance(cost: np.ndarray, touching: Box, longest: float) -> np.ndarray:
    """Cost of the cheapest path, in cells, from `touching` to every cell by steps to the 26 neighbors, or `longest`.

    Each turn lets all paths be a step longer, until none is cheaper for it. The arrays are flat, with a margin that no
    path leads through: in one dimension numpy is several times faster than plane by plane.
    """
    inner = slice(1, -1), slice(1, -1), slice(1, -1)
    distance, step = (np.full([n + 2 for n in cost.shape], np.inf, np.float32) for _ in range(2))
    step[inner] = cost
    distance[inner] = longest
    distance[inner][touching] = 0
    _, height, width = step.shape
    strides = 1, width, height * width
    reached = distance.reshape(-1)[sum(strides) : -sum(strides)]
    costs = [step.reshape(-1)[sum(strides) : -sum(strides)] * np.float32(np.sqrt(axes)) for axes in (1, 2, 3)]
    while True:
        before = reached.copy()
        for nearest, added in zip(_nearest(distance.reshape(-1), *strides), costs):
            np.minimum(reached, nearest + added, out=reached)
        if np.array_equal(reached, before):
            return distance[inner]


def _nearest(distance: np.ndarray, i: int, j: int, k: int) -> list[np.ndarray]:
    """The smallest distance among each cell's neighbors across a face, an edge and a corner, but for the outer ones.

    distance: flat; i, j, k: from each cell to the next along an axis.
    """
    ends = i + j + k

    def pair(of: np.ndarray, step: int) -> np.ndarray:
        return np.minimum(of[: -2 * step], of[2 * step :])

    def smallest(*arrays: np.ndarray) -> np.ndarray:
        cut = [(len(one) - len(distance)) // 2 + ends for one in arrays]
        return reduce(np.minimum, (one[c : len(one) - c] for one, c in zip(arrays, cut)))

    along_i, along_j, along_k = (pair(distance, step) for step in (i, j, k))
    in_ij, in_ik, in_jk = pair(along_i, j), pair(along_i, k), pair(along_j, k)
    return [smallest(along_i, along_j, along_k), smallest(in_ij, in_ik, in_jk), pair(in_ij, k)]


def _clear_nearer_to(other: Neighborhood, weight: np.ndarray, around: Neighborhood) -> None:
    """Set the weight to zero, in place, in cells that are nearer to the other click."""
    both = boxes.intersection(around.cells, other.cells)
    if boxes.is_empty(both):
        return
    here, there = boxes.relative_to(around.cells, both), boxes.relative_to(other.cells, both)
    weight[here][other.geodesic_mm[there] < around.geodesic_mm[here]] = 0
