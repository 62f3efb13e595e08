"""A markups curve that cuts the liver in two: straight on beyond its ends, and across the plane that it lies in.

On the main thread.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import slicer

from ..core.volume import InputError
from . import scene
from .cut_plane import COLOR, SIDE, CutPlane

CLASS = "vtkMRMLMarkupsCurveNode"
CLOSED_CLASS = "vtkMRMLMarkupsClosedCurveNode"
SPLINE = slicer.vtkCurveGenerator.CURVE_TYPE_CARDINAL_SPLINE
LINEAR = slicer.vtkCurveGenerator.CURVE_TYPE_LINEAR_SPLINE
ON_SURFACE = slicer.vtkCurveGenerator.CURVE_TYPE_SHORTEST_DISTANCE_ON_SURFACE

BENT_POINTS = 5
"""Control points of a plane that becomes a curve: a straight line can be bent to an S. A choice."""

FAR_MM = 3000.0
"""So far the curve goes on beyond its ends: farther than a scan is long."""

MOST_POINTS = 120
"""A curve of more points is followed in so many equal steps; Slicer draws ten between two control points."""

RASTER_MM = 2.0
RASTER_FROM = 15_000
"""Of more points than this, distances are computed on a raster across the curve's direction, and interpolated. For a
wave of 120 points and 20 cm that takes 12 ms of processor time plus a share for each point; without it 10,000 points
take 9 ms and 50,000 take 43. Within 10 mm of the curve the two differ by less than 0.05 mm."""

LEAST_BEND_MM = 1.0
"""A curve whose points are nowhere farther than this from a straight line lies in no plane of its own. A choice."""

PARALLEL = 1e-6
"""Sine of the angle between steps that count as parallel: far below what is drawn, far above rounding."""

TOUCHING_MM = 1.0
"""Points of a curve that crosses itself, and are nearer to each other than this, are named as the cause: Slicer draws a
loop through them. A choice."""

_DIRECTION = "LiverGTAN.direction"
"""Attribute of the curve: a vector, as stored in the node, along which it goes on; without it, across its own plane."""


@dataclass(frozen=True, eq=False)
class CutCurve:
    """controls: (N, 3) control points, RAS mm. line: (M, 3) the curve through them. direction: unit vector.
    curveType: vtkMRMLMarkupsCurveNode's number of how the line goes through the points.

    The cut is made of straight lines along `direction` through the curve. Its normal side is that to the left of the
    curve for who looks against `direction`. keepsNormalSide: whether that side remains.
    """

    controls: np.ndarray
    line: np.ndarray
    direction: np.ndarray
    keepsNormalSide: bool = True
    curveType: int = SPLINE

    nodeClass = CLASS
    isFlat = False

    @property
    def key(self) -> bytes:
        """Equal for curves that cut alike and are drawn alike."""
        numbers = np.r_[self.controls.ravel(), self.line.ravel(), self.direction, self.keepsNormalSide, self.curveType]
        return numbers.astype(float).round(6).tobytes()

    @cached_property
    def _axes(self) -> np.ndarray:
        """(2, 3) unit vectors that with the direction make a right-handed system."""
        first = np.cross(np.eye(3)[np.abs(self.direction).argmin()], self.direction)
        first /= np.linalg.norm(first)
        return np.array([first, np.cross(self.direction, first)])

    @cached_property
    def _path(self) -> np.ndarray:
        """(P, 2) the curve as seen along its direction, with its straight continuations."""
        seen = self.line @ self._axes.T
        steps = np.linalg.norm(np.diff(seen, axis=0), axis=1)
        seen = seen[np.r_[True, steps > 1e-6]]
        if len(seen) < 2:
            raise InputError("The curve has no length across its direction; move its points apart.")
        path = _thinned(seen) if len(seen) > MOST_POINTS else seen
        ends = path[[0, -1]] - path[[1, -2]]
        ends *= FAR_MM / np.linalg.norm(ends, axis=1, keepdims=True)
        path = np.vstack([path[0] + ends[0], path, path[-1] + ends[1]])
        if _crossesItself(path):
            raise InputError(self._whyItCrosses())
        return path

    def _whyItCrosses(self) -> str:
        apart = np.linalg.norm(np.diff(self.controls, axis=0), axis=1)
        first = int(apart.argmin()) + 1
        if apart[first - 1] > TOUCHING_MM or self.curveType == LINEAR:
            return "The curve, or its straight continuation beyond an end, crosses itself; move its points."
        return (
            f"Points {first} and {first + 1} of the curve lie in the same place, where it turns back on itself; remove "
            "one of them, or move them apart."
        )

    def requireUsable(self) -> None:
        """Raises InputError when the curve does not part space in two."""
        _ = self._path

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Of (N, 3) points in RAS mm from the cut, in mm; positive on its normal side. Raises InputError as above."""
        seen = points @ self._axes.T
        if len(seen) < RASTER_FROM:
            return self._distances(seen)
        from scipy.ndimage import map_coordinates

        first = seen.min(axis=0) - RASTER_MM
        shape = np.ceil((seen.max(axis=0) - first) / RASTER_MM).astype(int) + 2
        raster = first + RASTER_MM * np.argwhere(np.ones(shape, bool))
        found = self._distances(raster).reshape(shape)
        return map_coordinates(found, ((seen - first) / RASTER_MM).T, order=1, mode="nearest")

    def _distances(self, seen: np.ndarray) -> np.ndarray:
        """Of (N, 2) points as seen along the direction."""
        path = self._path
        nearest, isLeft = np.full(len(seen), np.inf), np.zeros(len(seen), bool)
        x, y = np.ascontiguousarray(seen.T)
        for start, end in pairwise(path):
            step, fromX, fromY = end - start, x - start[0], y - start[1]
            share = np.clip((fromX * step[0] + fromY * step[1]) / (step @ step), 0, 1)
            np.minimum(nearest, (fromX - share * step[0]) ** 2 + (fromY - share * step[1]) ** 2, out=nearest)
        for start, end in _edges(np.vstack([path, _aroundTheLeft(path)])):
            crosses = (start[1] > y) != (end[1] > y)
            if crosses.any():
                at = start[0] + (y[crosses] - start[1]) / (end[1] - start[1]) * (end[0] - start[0])
                isLeft[crosses] ^= x[crosses] < at
        return np.where(isLeft, 1, -1) * np.sqrt(nearest)

    def relation(self, corners: np.ndarray) -> list[float]:
        """See `CutPlane.relation`."""
        points = np.vstack([self.controls, self.controls[:1] + 100 * self.direction])
        apart = np.linalg.norm(points[:, None] - corners[None], axis=2)
        return [*apart.ravel().tolist(), 1000.0 * self.keepsNormalSide, 1000.0 * self.curveType]

    def keeping(self, normalSide: bool) -> "CutCurve":
        """The same curve with this side remaining."""
        return replace(self, keepsNormalSide=normalSide)


def bent(plane, lengthMm: float) -> CutCurve:
    """A plane as a curve of this length that cuts like it, and goes on as near to the patient's long axis as it can."""
    normal = plane.axes[2]
    along = np.array([0.0, 0.0, 1.0]) - normal[2] * normal
    if np.linalg.norm(along) < 0.1:  # an axial plane
        along = plane.axes[0]
    direction = along / np.linalg.norm(along)
    course = np.cross(normal, direction)  # whose left, seen against the direction, is the side of the normal
    places = np.linspace(-lengthMm / 2, lengthMm / 2, BENT_POINTS)
    controls = plane.origin + places[:, None] * course
    return CutCurve(controls, controls, direction, plane.keepsNormalSide)


def flattened(curve: CutCurve) -> CutPlane:
    """The plane along a curve's direction that fits the curve best."""
    center = curve.line.mean(axis=0)
    _, _, axes = np.linalg.svd((curve.line - center) @ curve._axes.T)
    course = axes[0] @ curve._axes
    if course @ (curve.line[-1] - curve.line[0]) < 0:
        course = -course
    normal = np.cross(curve.direction, course)
    return CutPlane(
        center, np.array([curve.direction, np.cross(normal, curve.direction), normal]), curve.keepsNormalSide
    )


def create(mrmlScene, name: str):
    """A new curve without points."""
    curveNode = mrmlScene.AddNewNodeByClass(CLASS, mrmlScene.GenerateUniqueName(name))
    with scene.removedOnError(curveNode):
        _makeDisplay(curveNode)
    return curveNode


def reveal(curveNode) -> None:
    """Show the curve, where it was hidden or has no display node any more."""
    if curveNode.GetDisplayNode() is None:
        _makeDisplay(curveNode)
    curveNode.GetDisplayNode().SetVisibility(True)


def _makeDisplay(curveNode) -> None:
    curveNode.CreateDefaultDisplayNodes()
    display = curveNode.GetDisplayNode()
    display.SetSelectedColor(*COLOR)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)


def read(curveNode) -> CutCurve | None:
    """Where the curve is in the world; None without a curve, and while it has fewer than two points.

    Raises InputError for a closed curve or one on a model's surface, and for a straight one that does not say along
    which direction it goes on.
    """
    if curveNode is None:
        return None
    name = curveNode.GetName()
    if curveNode.IsA(CLOSED_CLASS):
        raise InputError(
            f"'{name}' is a closed curve; an open one, from one side of the liver to the other, is needed."
        )
    if curveNode.GetCurveType() == ON_SURFACE:
        raise InputError(f"'{name}' runs on the surface of a model; choose another curve type in the Markups module.")
    controls = _controls(curveNode)
    if len(controls) < 2 or not np.isfinite(controls).all():
        return None
    points = curveNode.GetCurvePointsWorld()
    line = np.array([points.GetPoint(n) for n in range(points.GetNumberOfPoints())], float).reshape(-1, 3)
    direction = _storedDirection(curveNode)
    if direction is None:
        direction = _acrossOwnPlane(controls, name)
    keeps = curveNode.GetAttribute(SIDE) != "opposite"
    return CutCurve(controls, line if len(line) >= 2 else controls, direction, keeps, curveNode.GetCurveType())


def write(curveNode, cut: CutCurve) -> None:
    """Put the curve there."""
    curveNode.SetCurveType(cut.curveType)
    inverse = scene.transformBetween(None, curveNode)
    local = scene.transformed(inverse, np.vstack([cut.controls, cut.controls[0] + cut.direction]))
    vector = local[-1] - local[0]
    if not np.array_equal(_controls(curveNode), cut.controls):
        if curveNode.GetNumberOfControlPoints() == len(cut.controls):
            for index, point in enumerate(local[:-1]):
                curveNode.SetNthControlPointPosition(index, *point)
        else:
            curveNode.RemoveAllControlPoints()
            for point in local[:-1]:
                curveNode.AddControlPoint(*point)
    curveNode.SetAttribute(_DIRECTION, " ".join(repr(float(number)) for number in vector))
    curveNode.SetAttribute(SIDE, None if cut.keepsNormalSide else "opposite")


def _controls(curveNode) -> np.ndarray:
    """(N, 3) of the control points that have a place, RAS mm in the world."""
    placed = curveNode.PositionDefined
    indices = range(curveNode.GetNumberOfControlPoints())
    defined = [n for n in indices if curveNode.GetNthControlPointPositionStatus(n) == placed]
    places = []
    for index in defined:
        place = [0.0] * 3
        curveNode.GetNthControlPointPositionWorld(index, place)
        places.append(place)
    return np.array(places, float).reshape(-1, 3)


def _storedDirection(curveNode) -> np.ndarray | None:
    """In the world; None where the curve is not one that `write` put somewhere."""
    try:
        vector = np.array([float(number) for number in (curveNode.GetAttribute(_DIRECTION) or "").split()])
    except ValueError:
        return None
    if vector.shape != (3,) or not np.isfinite(vector).all():
        return None
    point = [0.0] * 3
    curveNode.GetNthControlPointPosition(0, point)
    ends = scene.transformed(scene.transformBetween(curveNode, None), np.array([point, point + vector]))
    length = np.linalg.norm(ends[1] - ends[0])
    return (ends[1] - ends[0]) / length if length > 0 else None


def _acrossOwnPlane(controls: np.ndarray, name: str) -> np.ndarray:
    """The normal of the plane that fits the points best, toward the patient's head, front or left."""
    _, extents, axes = np.linalg.svd(controls - controls.mean(axis=0), full_matrices=True)
    if len(controls) < 3 or extents[1] / np.sqrt(len(controls)) < LEAST_BEND_MM:
        raise InputError(
            f"'{name}' is straight, so that it lies in no plane of its own; give it a point beside the line, or use a "
            "cut plane."
        )
    direction = axes[2]
    largest = np.abs(direction).argmax()
    return direction if direction[largest] * (-1, 1, 1)[largest] > 0 else -direction


def _thinned(path: np.ndarray) -> np.ndarray:
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    places = np.linspace(0, along[-1], MOST_POINTS)
    return np.stack([np.interp(places, along, path[:, axis]) for axis in range(2)], axis=1)


def _edges(polygon: np.ndarray):
    return zip(polygon, np.roll(polygon, -1, axis=0))


def _aroundTheLeft(path: np.ndarray) -> np.ndarray:
    """(Q, 2) far points from the end of a path back to its start, which with it enclose all that is on its left."""
    center = path[1:-1].mean(axis=0)
    offsets = path[[-1, 0]] - center
    first, last = np.arctan2(offsets[:, 1], offsets[:, 0])
    last += 2 * np.pi * (last <= first)
    angles = np.linspace(first, last, 33)
    return center + 2 * FAR_MM * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _crossesItself(path: np.ndarray) -> bool:
    """Whether two parts of a path that are no neighbors cross each other, or it turns back on itself."""
    start, step = path[:-1], np.diff(path, axis=0)
    length = np.linalg.norm(step, axis=1)
    turns = (step[1:] * step[:-1]).sum(axis=1) / (length[1:] * length[:-1])
    if (turns < -1 + PARALLEL).any():
        return True
    between = start[None] - start[:, None]
    cross = step[:, None, 0] * step[None, :, 1] - step[:, None, 1] * step[None, :, 0]
    cross = np.where(np.abs(cross) > PARALLEL * length[:, None] * length[None], cross, np.nan)
    own = (between[..., 0] * step[None, :, 1] - between[..., 1] * step[None, :, 0]) / cross
    other = (between[..., 0] * step[:, None, 1] - between[..., 1] * step[:, None, 0]) / cross
    meets = (own >= 0) & (own <= 1) & (other >= 0) & (other <= 1)
    return bool(np.triu(meets, 2).any())
