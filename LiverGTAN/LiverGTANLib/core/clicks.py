"""Points a person sets: "this is liver" and "this is not". Each changes the surroundings that look alike.

How far a cell of the model grid is from a click is measured along the easiest path to it: a step counts its length,
and more where the image differs from the clicked place or the network leans further against the click than there.
This distance depends on nothing but the click and the analysis, so it is found once and kept.

How far a click reaches follows from where it is: from its depth within what it corrects, which is its distance to the
nearest cell that is as asked. A click in the middle of a large error changes much, one beside the border little.
"""

from dataclasses import dataclass

import numpy as np

from .model_grid import Box, ModelGrid

REACH_MM = 36.0
"""No cell farther away than this, along an axis, is changed."""

CONTRAST = 0.15
"""Difference of the scaled image that doubles the length of a step (with the usual window 30 HU); it counts by its
square, so that noise costs little and another tissue much."""

DOUBT = 1.0
"""Logits against the click, beyond those at the clicked place, that double the length of a step."""

DEPTHS_MM = (6.0, 12.0)
"""Depths that count: a click changes at least its close surroundings, two cells, and one far from all that is right no
more than one in the middle of an error 24 mm thick."""

DEPTH_SCALE_MM = 2.5
"""The farthest path that is changed is the depth squared by this: an error twice as deep is several times as long, and
a shallow one lies at the border of the right tissue, into which a longer path would lead."""

FARTHEST_PATH_MM = DEPTHS_MM[1] ** 2 / DEPTH_SCALE_MM

STRENGTH = 4.0
"""Logits at the clicked place, for or against liver, whatever the network said."""


@dataclass(frozen=True)
class Click:
    """ras: the point in RAS mm. liver: whether it is liver."""

    ras: tuple[float, float, float]
    liver: bool


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """What a click can change.

    cells: part of the model grid. path_mm, straight_mm: (d, h, w) float32, distance from the click along the easiest
    path and as the crow flies. touching: the cells that the clicked voxel is interpolated from, within `cells`.
    """

    click: Click
    cells: Box
    path_mm: np.ndarray
    straight_mm: np.ndarray
    touching: Box


def neighborhood(
    click: Click, image: np.ndarray, logits: np.ndarray, frame: ModelGrid, spacing_mm: float
) -> Neighborhood | None:
    """The surroundings of a click by distance, None when it lies outside the scan.

    image, logits: (D, H, W) float32 on the model grid.
    """
    place = _place(click, frame)
    if place is None:
        return None
    reach = int(REACH_MM // spacing_mm)
    low = np.floor(place).astype(int)
    high = np.ceil(place).astype(int)
    cells = tuple(slice(max(0, a - reach), min(n, b + reach + 1)) for a, b, n in zip(low, high, logits.shape))
    touching = tuple(slice(a - c.start, b + 1 - c.start) for a, b, c in zip(low, high, cells))
    against = logits[cells] * np.float32(-1 if click.liver else 1)
    resistance = _resistance(image[cells], against, touching)
    path = _path_lengths(resistance, touching, FARTHEST_PATH_MM / spacing_mm) * np.float32(spacing_mm)
    squares = [((np.arange(c.start, c.stop) - p) * spacing_mm) ** 2 for c, p in zip(cells, place)]
    straight = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2]).astype(np.float32)
    return Neighborhood(click, cells, path, straight, touching)


def apply(values: np.ndarray, near: Neighborhood, earlier: list[Neighborhood]) -> None:
    """Change, in place, the values (logits less the threshold's, on the model grid) around one click.

    earlier: clicks applied before. One of the other kind keeps what is nearer to it, but at the place of the click
    itself the later one counts.
    """
    sign = np.float32(1 if near.click.liver else -1)
    asked = values[near.cells] * sign
    right = asked > 0
    depth = float(near.straight_mm[right].min()) if right.any() else DEPTHS_MM[1]
    reach = min(max(depth, DEPTHS_MM[0]), DEPTHS_MM[1]) ** 2 / DEPTH_SCALE_MM
    share = np.clip(2 - 2 * near.path_mm / np.float32(reach), 0, 1)
    for other in earlier:
        if other.click.liver != near.click.liver:
            _leave_what_is_nearer(share, near, other)
    share[near.touching] = 1
    np.maximum(asked, asked + share * (STRENGTH - asked), out=asked)
    asked[near.touching] = STRENGTH
    values[near.cells] = asked * sign


def _place(click: Click, frame: ModelGrid) -> np.ndarray | None:
    """Cells (D, H, W, with fractions) of the center of the clicked voxel."""
    ijk = (np.linalg.inv(frame.native_ijk_to_ras) @ [*click.ras, 1])[:3]
    voxel = np.rint(ijk)[::-1]
    if not np.isfinite(voxel).all() or (voxel < 0).any() or (voxel >= frame.native_shape).any():
        return None
    return frame.cell_of(voxel)


def _resistance(image: np.ndarray, against: np.ndarray, touching: Box) -> np.ndarray:
    """What a step of one cell costs: 1 where all is as at the click."""
    contrast = ((image - image[touching].mean()) / np.float32(CONTRAST)) ** 2
    doubt = np.maximum(against - against[touching].mean(), 0) / np.float32(DOUBT)
    return 1 + contrast + doubt


def _path_lengths(resistance: np.ndarray, touching: Box, farthest: float) -> np.ndarray:
    """Length in cells of the easiest path from `touching` to every cell by steps to the 26 neighbors, or `farthest`."""
    length = np.full(resistance.shape, farthest, np.float32)
    length[touching] = 0
    while True:
        before = length.copy()
        for axis in range(3):
            for step in (1, -1):
                _sweep(np.moveaxis(length, axis, 0)[::step], np.moveaxis(resistance, axis, 0)[::step])
        if np.array_equal(length, before):
            return length


def _sweep(length: np.ndarray, resistance: np.ndarray) -> None:
    """Carry lengths, in place, from each plane to the next one."""
    beside, across = np.float32(np.sqrt(2)), np.float32(np.sqrt(3))
    framed = np.full((length.shape[1] + 2, length.shape[2] + 2), np.inf, np.float32)
    for plane, cost, previous in zip(length[1:], resistance[1:], length):
        framed[1:-1, 1:-1] = previous
        rows = np.minimum(framed[:-2], framed[2:])
        diagonal = np.minimum(rows[:, :-2], rows[:, 2:]) + across * cost
        edge = np.minimum(rows[:, 1:-1], np.minimum(framed[1:-1, :-2], framed[1:-1, 2:])) + beside * cost
        np.minimum(plane, previous + cost, out=plane)
        np.minimum(plane, edge, out=plane)
        np.minimum(plane, diagonal, out=plane)


def _leave_what_is_nearer(share: np.ndarray, near: Neighborhood, other: Neighborhood) -> None:
    """No share, in place, in cells whose path from the other click is the shorter one."""
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(near.cells, other.cells))
    if any(part.stop <= part.start for part in both):
        return
    mine, theirs = (
        tuple(slice(p.start - c.start, p.stop - c.start) for p, c in zip(both, n.cells)) for n in (near, other)
    )
    share[mine][other.path_mm[theirs] < near.path_mm[mine]] = 0
