"""Two lists of markups points of a volume, "liver" and "not liver", as clicks. On the main thread.

The volume refers to its lists, so they are found again with the scene. The order in which points of both lists were
placed matters where they contradict each other; each point has its number in its description, behind what the user
wrote there.
"""

import re
from dataclasses import dataclass

import vtk
from slicer.util import NodeModify

from ..core.clicks import Click
from ..core.terminology import SEGMENT_COLOR
from . import scene

_ROLES = {True: "LiverGTAN.liverPoints", False: "LiverGTAN.notLiverPoints"}
_NAMES = {True: "liver", False: "not liver"}
_COLORS = {True: SEGMENT_COLOR, False: (0.2, 0.5, 1.0)}
_NUMBER = re.compile(r"\bclick (\d+)\b")


def find(volumeNode, liver: bool):
    """The list of this volume, or None."""
    return scene.owned(volumeNode, _ROLES[liver])


def create(volumeNode, liver: bool):
    """A new empty list of this volume."""
    mrmlScene = volumeNode.GetScene()
    name = mrmlScene.GenerateUniqueName(f"{volumeNode.GetName()} {_NAMES[liver]}")
    node = mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSelectedColor(*_COLORS[liver])
    node.GetDisplayNode().SetPointLabelsVisibility(False)
    assign(volumeNode, node, liver)
    return node


def createHidden(mrmlScene, name: str, liver: bool):
    """A new empty list that belongs to no volume, cannot be dragged, and is not saved with the scene."""
    node = scene.addHiddenNode(mrmlScene, "vtkMRMLMarkupsFiducialNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetLocked(True)
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetSelectedColor(*_COLORS[liver])
    display.SetPointLabelsVisibility(False)
    return node


def removeLast(*nodes) -> None:
    """Remove the point of these lists that was placed last, if there is one."""
    numberPoints(*nodes)
    placed = [(_numberOf(text) or 0, node, index) for node in nodes for index, text in enumerate(_texts(node))]
    if placed:
        _, node, index = max(placed, key=lambda entry: entry[0])
        node.RemoveNthControlPoint(index)


def assign(volumeNode, node, liver: bool) -> None:
    """Make a list (or None) the one of this volume."""
    scene.setOwned(volumeNode, _ROLES[liver], node)


def numberPoints(*nodes) -> None:
    """Number the placed points that have no number yet, after all that have one."""
    lists = [node for node in nodes if node is not None]
    highest = max((n for node in lists for n in map(_numberOf, _texts(node)) if n is not None), default=0)
    for node in lists:
        for index, text in enumerate(_texts(node)):
            if _numberOf(text) is None and _isPlaced(node, index):
                highest += 1
                node.SetNthControlPointDescription(index, f"{text} click {highest}".lstrip())


def read(liverNode, notLiverNode) -> tuple[Click, ...]:
    """The placed points of both lists (None: no list), in the order in which they were placed."""
    found = []
    for node, liver in ((liverNode, True), (notLiverNode, False)):
        for index, text in enumerate(_texts(node) if node else []):
            if _isPlaced(node, index):
                position = tuple(node.GetNthControlPointPositionWorld(index))
                found.append((_numberOf(text) or float("inf"), Click(position, liver)))
    return tuple(click for _, click in sorted(found, key=lambda entry: entry[0]))


@dataclass(frozen=True)
class SavedPoint:
    """A placed point with what the user may have set of it."""

    click: Click
    label: str
    description: str
    locked: bool
    visible: bool

    @property
    def key(self):
        """What a point is known by: its number, or its place where it has none yet."""
        number = _numberOf(self.description)
        return (self.click.liver, self.click.ras if number is None else number)

    def addTo(self, node) -> None:
        """Add the point to a list, with all that was saved of it."""
        index = node.AddControlPointWorld(vtk.vtkVector3d(*self.click.ras), self.label)
        node.SetNthControlPointDescription(index, self.description)
        node.SetNthControlPointLocked(index, self.locked)
        node.SetNthControlPointVisibility(index, self.visible)


def save(liverNode, notLiverNode) -> tuple[SavedPoint, ...]:
    """The placed points of both lists (None: no list)."""
    return tuple(
        point
        for node, liver in ((liverNode, True), (notLiverNode, False))
        if node is not None
        for point in _saved(node, liver).values()
    )


def restore(liverNode, notLiverNode, saved: tuple[SavedPoint, ...]) -> None:
    """Remove, add and move points so that both lists (None: no list) hold those that were saved.

    Labels, descriptions and locks of points that are still there are left as they are.
    """
    for node, liver in ((liverNode, True), (notLiverNode, False)):
        if node is None:
            continue
        wanted = {point.key: point for point in saved if point.click.liver == liver}
        with NodeModify(node):
            for index, point in reversed(_saved(node, liver).items()):
                found = wanted.pop(point.key, None)
                if found is None:
                    node.RemoveNthControlPoint(index)
                elif found.click != point.click:
                    node.SetNthControlPointPositionWorld(index, found.click.ras)
            for point in wanted.values():
                point.addTo(node)


def _saved(node, liver: bool) -> dict[int, SavedPoint]:
    """The placed points of a list, by index."""
    return {
        index: SavedPoint(
            Click(tuple(node.GetNthControlPointPositionWorld(index)), liver),
            node.GetNthControlPointLabel(index),
            text,
            bool(node.GetNthControlPointLocked(index)),
            bool(node.GetNthControlPointVisibility(index)),
        )
        for index, text in enumerate(_texts(node))
        if _isPlaced(node, index)
    }


def _texts(node) -> list[str]:
    return [node.GetNthControlPointDescription(index) for index in range(node.GetNumberOfControlPoints())]


def _numberOf(text: str) -> int | None:
    match = _NUMBER.search(text or "")
    return int(match[1]) if match else None


def _isPlaced(node, index: int) -> bool:
    """Whether the point is placed, and not a preview that still follows the mouse."""
    return node.GetNthControlPointPositionStatus(index) == node.PositionDefined
