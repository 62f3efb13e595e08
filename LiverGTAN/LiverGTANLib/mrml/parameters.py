"""What the user has set: read from the parameter node and the markups, and set again by Undo. Main thread only."""

from dataclasses import dataclass, field, replace
from typing import Any

from slicer.util import NodeModify

from ..core import weight_file
from ..core.postprocess import MaskParameters, PostprocessSettings
from . import points, roi, scene, table

AUTOMATIC = "automatic"
"""The panel's word for the engine that `engines.factory.AUTOMATIC` is."""

SETTINGS = {
    "threshold": "threshold",
    "smoothing": "smoothing_mm",
    "largestComponent": "largest_component",
    "fillHoles": "fill_holes",
}
"""Parameter -> field of `PostprocessSettings`."""


@dataclass(frozen=True, eq=False)
class ChosenParameters:
    """One reading of the parameter node, or what a script asks for. Nodes are None where none is chosen.

    student: name or file. engine: "automatic", "numpy" or "torch". tableNode: where the measurements go.
    """

    volumeNode: Any = None
    segmentationNode: Any = None
    student: str = weight_file.DEFAULT
    engine: str = AUTOMATIC
    settings: PostprocessSettings = field(default_factory=PostprocessSettings)
    roiNode: Any = None
    liverNode: Any = None
    notLiverNode: Any = None
    tableNode: Any = None
    showUncertainty: bool = False

    def maskParameters(self, dragged: dict | None = None) -> MaskParameters:
        """The settings with the ROI and the points as they are in the scene now.

        dragged: values of parameters whose slider is still being moved, by name. Raises ValueError when the ROI is no
        box.
        """
        values = {SETTINGS[name]: value for name, value in (dragged or {}).items()}
        settings = replace(self.settings, **values)
        region = roi.readRegion(self.roiNode) if self.roiNode else None
        clicks = points.read(self.liverNode, self.notLiverNode) if self.liverNode or self.notLiverNode else ()
        return MaskParameters(settings, region, clicks)


def read(parameterNode) -> ChosenParameters:
    """Each parameter is read once."""
    p = parameterNode
    return ChosenParameters(
        p.inputVolume,
        p.outputSegmentation,
        p.student,
        p.engine,
        PostprocessSettings(**{field: getattr(p, name) for name, field in SETTINGS.items()}),
        p.region,
        p.liverPoints,
        p.notLiverPoints,
        p.measurements,
        p.showUncertainty,
    )


def forVolume(chosen: ChosenParameters, volumeNode) -> ChosenParameters:
    """The same for another volume, with the segmentation, the ROI and the points that belong to it."""
    return replace(
        chosen,
        volumeNode=volumeNode,
        segmentationNode=scene.findSegmentation(volumeNode),
        roiNode=roi.find(volumeNode),
        liverNode=points.find(volumeNode, True),
        notLiverNode=points.find(volumeNode, False),
    )


def showMarkupsOf(volumeNode, parameterNode) -> None:
    """Let the parameter node show the ROI and the points of this volume (None: none)."""
    parameterNode.region = roi.find(volumeNode)
    parameterNode.liverPoints = points.find(volumeNode, True)
    parameterNode.notLiverPoints = points.find(volumeNode, False)


def assignMarkups(chosen: ChosenParameters) -> None:
    """Make the chosen ROI and points those of the chosen volume, so that they are found again with it."""
    if chosen.volumeNode:
        roi.assign(chosen.volumeNode, chosen.roiNode)
        points.assign(chosen.volumeNode, chosen.liverNode, True)
        points.assign(chosen.volumeNode, chosen.notLiverNode, False)


def findOrCreateTable(parameterNode):
    """The table node of the parameter node; a new one is made and chosen when there is none."""
    if parameterNode.measurements is None:
        parameterNode.measurements = table.create(parameterNode.parameterNode.GetScene())
    return parameterNode.measurements


def restore(parameterNode, chosen: ChosenParameters, made: MaskParameters) -> None:
    """Set everything as it was when a mask was made, as far as its nodes are still in the scene."""
    with NodeModify(parameterNode.parameterNode):
        for name, field in SETTINGS.items():
            setattr(parameterNode, name, getattr(made.settings, field))
        parameterNode.region = _present(chosen.roiNode) if made.region else None
    if made.region and parameterNode.region:
        roi.writeRegion(parameterNode.region, made.region)
    points.write(_present(parameterNode.liverPoints), _present(parameterNode.notLiverPoints), made.clicks)


def _present(node):
    return node if node is not None and node.GetScene() is not None else None
