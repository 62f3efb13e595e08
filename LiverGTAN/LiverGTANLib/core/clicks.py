"""Points that the user sets, "this is liver" or "this is not liver". Each changes the surroundings that look alike.

The distance of a cell of the model grid from a click is geodesic: the cost of the cheapest path, on which a step costs
its length, and more where the image differs from the clicked place or the network contradicts the click more than
there. It depends on nothing but the click and the analysis, so it is computed once, by raster scans, and cached
(Toivanen, Pattern Recognition Letters 17:437, 1996; for segmentation: Criminisi, Sharp, Blake, ECCV 2008).

How far a click reaches follows from its depth within the error that it corrects, which is its distance to the nearest
cell that is as the click says. A click in the middle of a large error changes much, one beside the border little.

All constants were chosen by simulated clicks (Testing/benchmarks/simulated_clicks.py, with other seeds than it reports)
on example_ct and crlm_ct_1100_8bit; the growth of the reach with the depth also on example_ct_dicom and
spl_abdominal_atlas. These are the cases that the benchmark reports, so its gain is not independent of the choice.
"""

from dataclasses import dataclass

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


def apply(values: np.ndarray, around: Neighborhood, earlier: list[Neighborhood]) -> None:
    """Change, in place, the values (logits less the threshold's, on the model grid) around one click.

    earlier: clicks applied before. What is nearer to one of the other kind stays as it is, but at the place of the
    click itself the later one counts.
    """
    sign = np.float32(1 if around.click.liver else -1)
    agreement = values[around.cells] * sign
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
    values[around.cells] = agreement * sign


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
    """Cost of the cheapest path, in cells, from `touching` to every cell by steps to the 26 neighbors, or `longest`."""
    distance = np.full(cost.shape, longest, np.float32)
    distance[touching] = 0
    while True:
        before = distance.copy()
        for axis in range(3):
            for step in (1, -1):
                _scan(np.moveaxis(distance, axis, 0)[::step], np.moveaxis(cost, axis, 0)[::step])
        if np.array_equal(distance, before):
            return distance


def _scan(distance: np.ndarray, cost: np.ndarray) -> None:
    """Carry distances, in place, from each plane to the next one."""
    beside, across = np.float32(np.sqrt(2)), np.float32(np.sqrt(3))
    bordered = np.full((distance.shape[1] + 2, distance.shape[2] + 2), np.inf, np.float32)
    for plane, step, previous in zip(distance[1:], cost[1:], distance):
        bordered[1:-1, 1:-1] = previous
        rows = np.minimum(bordered[:-2], bordered[2:])
        diagonal = np.minimum(rows[:, :-2], rows[:, 2:]) + across * step
        edge = np.minimum(rows[:, 1:-1], np.minimum(bordered[1:-1, :-2], bordered[1:-1, 2:])) + beside * step
        np.minimum(plane, previous + step, out=plane)
        np.minimum(plane, edge, out=plane)
        np.minimum(plane, diagonal, out=plane)


def _clear_nearer_to(other: Neighborhood, weight: np.ndarray, around: Neighborhood) -> None:
    """Set the weight to zero, in place, in cells that are nearer to the other click."""
    both = boxes.intersection(around.cells, other.cells)
    if boxes.is_empty(both):
        return
    here, there = boxes.relative_to(around.cells, both), boxes.relative_to(other.cells, both)
    weight[here][other.geodesic_mm[there] < around.geodesic_mm[here]] = 0
