"""Two lists of markups points of a volume, "liver" and "not liver", as clicks. On the main thread.

The volume refers to its lists, so they are found again with the scene. The order in which points of both lists were
placed matters where they contradict each other; each point has its number in its description.
"""

import re

import vtk
from slicer.util import NodeModify

from ..core.clicks import Click
from ..core.terminology import SEGMENT_COLOR
from . import scene

_ROLES = {True: "LiverGTAN.liverPoints", False: "LiverGTAN.notLiverPoints"}
_NAMES = {True: "liver", False: "not liver"}
_COLORS = {True: SEGMENT_COLOR, False: (0.2, 0.5, 1.0)}
_NUMBER = re.compile(r"click (\d+)$")


def find(volumeNode, liver: bool):
    """The list of this volume, or None."""
    return volumeNode.GetNodeReference(_ROLES[liver]) if volumeNode else None


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


def assign(volumeNode, node, liver: bool) -> None:
    """Make a list (or None) the one of this volume."""
    scene.setReference(volumeNode, _ROLES[liver], node)


def numberPoints(*nodes) -> None:
    """Number the placed points that have no number yet, after all that have one."""
    lists = [node for node in nodes if node is not None]
    highest = max((n for node in lists for n in map(_numberOf, _texts(node)) if n is not None), default=0)
    for node in lists:
        for index, text in enumerate(_texts(node)):
            if _numberOf(text) is None and _isPlaced(node, index):
                highest += 1
                node.SetNthControlPointDescription(index, f"click {highest}")


def read(liverNode, notLiverNode) -> tuple[Click, ...]:
    """The placed points of both lists (None: no list), in the order in which they were placed."""
    found = []
    for node, liver in ((liverNode, True), (notLiverNode, False)):
        for index, text in enumerate(_texts(node) if node else []):
            if _isPlaced(node, index):
                position = tuple(node.GetNthControlPointPositionWorld(index))
                found.append((_numberOf(text) or float("inf"), Click(position, liver)))
    return tuple(click for _, click in sorted(found, key=lambda entry: entry[0]))


def write(liverNode, notLiverNode, clicks: tuple[Click, ...]) -> None:
    """Replace the points of both lists (None: no list) by these clicks, numbered in this order."""
    for node, liver in ((liverNode, True), (notLiverNode, False)):
        if node is None:
            continue
        with NodeModify(node):
            node.RemoveAllControlPoints()
            for order, click in enumerate(clicks, start=1):
                if click.liver == liver:
                    index = node.AddControlPointWorld(vtk.vtkVector3d(*click.ras))
                    node.SetNthControlPointDescription(index, f"click {order}")


def _texts(node) -> list[str]:
    return [node.GetNthControlPointDescription(index) for index in range(node.GetNumberOfControlPoints())]


def _numberOf(text: str) -> int | None:
    match = _NUMBER.match(text or "")
    return int(match[1]) if match else None


def _isPlaced(node, index: int) -> bool:
    """Whether the point is placed, and not a preview that still follows the mouse."""
    return node.GetNthControlPointPositionStatus(index) == node.PositionDefined
