"""A markups plane that cuts the liver in two, and which side of it remains. On the main thread."""

from dataclasses import dataclass

import numpy as np

from . import scene

CLASS = "vtkMRMLMarkupsPlaneNode"
COLOR = (0.35, 0.35, 0.95)
OPACITY = 0.3
"""A choice: the liver is seen through the plane."""

SIZE = 1.2
"""Times the liver's largest extent, so that the plane's outline lies outside of it; a choice."""

SIDE = "LiverGTAN.remnantSide"
"""Attribute of the plane; "opposite" where the remnant lies on the side that the normal does not point to."""


@dataclass(frozen=True, eq=False)
class CutPlane:
    """origin: RAS mm. axes: (3, 3), one unit vector a row; the last one is the normal.

    keepsNormalSide: whether the side that the normal points to remains.
    """

    origin: np.ndarray
    axes: np.ndarray
    keepsNormalSide: bool = True

    nodeClass = CLASS
    isFlat = True

    @property
    def key(self) -> bytes:
        """Equal for planes that cut alike and are drawn alike."""
        return np.r_[self.origin, self.axes.ravel(), self.keepsNormalSide].astype(float).round(6).tobytes()

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Of (N, 3) points in RAS mm from the plane, in mm; positive on the side that its normal points to."""
        return (points - self.origin) @ self.axes[2]

    def relation(self, corners: np.ndarray) -> list[float]:
        """Numbers in mm that are equal, but for rounding, where plane and liver lie to each other as before.

        corners: (N, 3) of the liver's box, RAS mm in the world.
        """
        return [*self.distances(corners).tolist(), 1000.0 * self.keepsNormalSide]

    def keeping(self, normalSide: bool) -> "CutPlane":
        """The same plane with this side remaining."""
        return CutPlane(self.origin, self.axes, normalSide)


def sagittal(points: np.ndarray) -> CutPlane:
    """A sagittal plane with half of (N, 3) points in RAS mm on each side; the patient's left remains."""
    origin = np.array([np.median(points[:, 0]), *points[:, 1:].mean(axis=0)])
    return CutPlane(origin, np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]))


def create(mrmlScene, name: str, sizeMm: float):
    """A new plane of this side length, which handles move and turn; it is nowhere until `write`."""
    planeNode = mrmlScene.AddNewNodeByClass(CLASS, mrmlScene.GenerateUniqueName(name))
    with scene.removedOnError(planeNode):
        planeNode.SetSizeMode(planeNode.SizeModeAbsolute)
        planeNode.SetSize(sizeMm, sizeMm)
        _makeDisplay(planeNode)
    return planeNode


def reveal(planeNode) -> None:
    """Show the plane, with handles that move and turn it, where it was hidden or has no display node any more."""
    if planeNode.GetDisplayNode() is None:
        _makeDisplay(planeNode)
    planeNode.GetDisplayNode().SetVisibility(True)


def _makeDisplay(planeNode) -> None:
    planeNode.CreateDefaultDisplayNodes()
    display = planeNode.GetDisplayNode()
    display.SetSelectedColor(*COLOR)
    display.SetOpacity(OPACITY)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    display.SetHandlesInteractive(True)
    display.SetTranslationHandleVisibility(True)
    display.SetRotationHandleVisibility(True)
    display.SetScaleHandleVisibility(False)


def read(planeNode) -> CutPlane | None:
    """Where the plane is in the world; None without a plane, and while it has no place or no direction."""
    if planeNode is None or not planeNode.GetIsPlaneValid():
        return None
    axes = [[0.0] * 3 for _ in range(3)]
    planeNode.GetAxesWorld(*axes)
    origin, rows = np.array(planeNode.GetOriginWorld(), float), np.array(axes, float)
    length = np.linalg.norm(rows[2])
    if not (np.isfinite(origin).all() and np.isfinite(rows).all() and length > 0):
        return None
    rows[2] /= length  # a parent transform may scale it
    return CutPlane(origin, rows, planeNode.GetAttribute(SIDE) != "opposite")


def write(planeNode, cut: CutPlane) -> None:
    """Move the plane there."""
    # SetOriginWorld of Slicer 5.10 takes a place in the world for one under the parent transform.
    (origin,) = scene.transformed(scene.transformBetween(None, planeNode), cut.origin[None])
    planeNode.SetPlaneType(planeNode.PlaneTypePointNormal)
    planeNode.SetOrigin(*origin)
    planeNode.SetAxesWorld(*(list(axis) for axis in cut.axes))
    planeNode.SetOrigin(*origin)  # axes turn about the plane's center
    planeNode.SetAttribute(SIDE, None if cut.keepsNormalSide else "opposite")
