"""What a person has set, as read from the parameter node and the markups, and set again by Undo. Main thread only."""

from dataclasses import dataclass

from slicer.util import NodeModify

from ..core.postprocess import MaskParameters, PostprocessSettings
from . import points, roi

SETTINGS = {
    "threshold": "threshold",
    "smoothing": "smoothing_mm",
    "largestComponent": "largest_component",
    "fillHoles": "fill_holes",
}
"""Parameter -> field of `PostprocessSettings`."""


@dataclass(frozen=True, eq=False)
class ChosenParameters:
    """recipe: what the mask is made with. The nodes are where region and clicks come from, None where there is none."""

    recipe: MaskParameters
    roiNode: object
    liverNode: object
    notLiverNode: object


def settings(parameters, moving: dict | None = None) -> PostprocessSettings:
    """moving: values of parameters that are being dragged and not set yet."""
    values = {**{name: getattr(parameters, name) for name in SETTINGS}, **(moving or {})}
    return PostprocessSettings(**{SETTINGS[name]: value for name, value in values.items()})


def read(parameters, moving: dict | None = None) -> ChosenParameters:
    """Raises ValueError when the ROI is no box."""
    return make(settings(parameters, moving), parameters.region, parameters.liverPoints, parameters.notLiverPoints)


def ofVolume(volumeNode, chosen: PostprocessSettings | None) -> ChosenParameters:
    """These settings with the ROI and the points that belong to this volume."""
    return make(chosen, roi.find(volumeNode), points.find(volumeNode, True), points.find(volumeNode, False))


def make(chosen: PostprocessSettings | None, roiNode, liverNode, notLiverNode) -> ChosenParameters:
    """Nodes may be None; settings too, for the defaults. Raises ValueError when the ROI is no box."""
    recipe = MaskParameters(
        chosen or PostprocessSettings(), roi.readRegion(roiNode), points.read(liverNode, notLiverNode)
    )
    return ChosenParameters(recipe, roiNode, liverNode, notLiverNode)


def take(parameters, volumeNode) -> None:
    """Let the parameter node show the ROI and the points of this volume."""
    parameters.region = roi.find(volumeNode)
    parameters.liverPoints = points.find(volumeNode, True)
    parameters.notLiverPoints = points.find(volumeNode, False)


def give(parameters) -> None:
    """Let the volume keep the ROI and the points that the parameter node shows."""
    if parameters.inputVolume:
        roi.adopt(parameters.inputVolume, parameters.region)
        points.adopt(parameters.inputVolume, parameters.liverPoints, True)
        points.adopt(parameters.inputVolume, parameters.notLiverPoints, False)


def restore(parameters, choices: ChosenParameters) -> None:
    """Set everything as it was, as far as its nodes are still in the scene."""
    recipe = choices.recipe
    with NodeModify(parameters.parameterNode):
        for name, field in SETTINGS.items():
            setattr(parameters, name, getattr(recipe.settings, field))
        parameters.region = _present(choices.roiNode) if recipe.region else None
    if recipe.region and parameters.region:
        roi.writeRegion(parameters.region, recipe.region)
    points.write(_present(parameters.liverPoints), _present(parameters.notLiverPoints), recipe.clicks)


def _present(node):
    return node if node is not None and node.GetScene() is not None else None
