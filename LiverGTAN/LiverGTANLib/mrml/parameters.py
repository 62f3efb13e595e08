"""What the user has set: read from the parameter node and the markups, and set again by Undo. Main thread only."""

import math
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from slicer.util import NodeModify

from ..core.postprocess import MaskParameters, PostprocessSettings
from ..core.students import DEFAULT_STUDENT
from ..core.volume import InputError
from . import points, roi, scene, table
from .points import SavedPoint

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
    student: str = DEFAULT_STUDENT
    engine: str = AUTOMATIC
    settings: PostprocessSettings = field(default_factory=PostprocessSettings)
    roiNode: Any = None
    liverNode: Any = None
    notLiverNode: Any = None
    tableNode: Any = None
    showUncertainty: bool = False

    @property
    def roiObstacle(self) -> str:
        """See `roi.obstacle`; empty without an ROI."""
        return roi.obstacle(self.roiNode) if self.roiNode is not None else ""

    def maskParameters(self, dragged: dict | None = None) -> MaskParameters:
        """The settings with the ROI and the points as they are in the scene now.

        dragged: values of parameters whose slider is still being moved, by name. Raises InputError for an
        `roi.obstacle`.
        """
        if self.roiObstacle:
            raise InputError(self.roiObstacle)
        values = {SETTINGS[name]: value for name, value in (dragged or {}).items()}
        settings = replace(self.settings, **values)
        region = roi.readRegion(self.roiNode) if self.roiNode else None
        clicks = points.read(self.liverNode, self.notLiverNode) if self.liverNode or self.notLiverNode else ()
        return MaskParameters(settings, region, clicks)


def requireChosen(chosen: ChosenParameters, mrmlScene) -> None:
    """Raises InputError for nodes, a student or settings that a script gave and that are none."""
    given = (
        ("CT", chosen.volumeNode, "vtkMRMLScalarVolumeNode"),
        ("segmentation", chosen.segmentationNode, "vtkMRMLSegmentationNode"),
        ("ROI", chosen.roiNode, "vtkMRMLMarkupsROINode"),
        ("list of points 'liver'", chosen.liverNode, "vtkMRMLMarkupsFiducialNode"),
        ("list of points 'not liver'", chosen.notLiverNode, "vtkMRMLMarkupsFiducialNode"),
    )
    for purpose, node, className in given:
        if node is not None:
            scene.requireNode(mrmlScene, purpose, node, className)
    if not isinstance(chosen.student, (str, os.PathLike)):
        raise InputError(f"The student cannot be {chosen.student!r}; give its name or its file.")
    requireSettings(chosen.settings)


def requireSettings(settings: Any) -> None:
    """Raises InputError for what no slider could have set: it would give a mask that has little to do with a liver."""
    if not isinstance(settings, PostprocessSettings):
        raise InputError(
            f"{str(settings)[:80]!r} are no settings; give LiverGTANLib.core.postprocess.PostprocessSettings."
        )
    threshold: Any = settings.threshold
    smoothing: Any = settings.smoothing_mm
    if not isinstance(threshold, (int, float, np.number)) or not 0 < threshold <= 1:
        raise InputError(f"The threshold cannot be {threshold}: it is a probability, above 0 and up to 1.")
    if not isinstance(smoothing, (int, float, np.number)) or not 0 <= smoothing < math.inf:
        raise InputError(f"The smoothing cannot be {smoothing}: it is a length in mm, 0 for none.")


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


def assignToVolume(chosen: ChosenParameters) -> None:
    """Make what is chosen that of the chosen volume, so that it is found again with it."""
    if chosen.volumeNode:
        if scene.liverVolume(chosen.segmentationNode) == chosen.volumeNode:
            scene.useSegmentation(chosen.volumeNode, chosen.segmentationNode)
        roi.assign(chosen.volumeNode, chosen.roiNode)
        points.assign(chosen.volumeNode, chosen.liverNode, True)
        points.assign(chosen.volumeNode, chosen.notLiverNode, False)


def findOrCreateTable(parameterNode):
    """The table node of the parameter node; a new one is made and chosen when there is none."""
    if parameterNode.measurements is None:
        parameterNode.measurements = table.create(parameterNode.parameterNode.GetScene())
    return parameterNode.measurements


@dataclass(frozen=True, eq=False)
class SetState:
    """What was set when a mask was made. asked: settings, ROI and points as they were in the scene."""

    chosen: ChosenParameters
    asked: MaskParameters
    points: tuple[SavedPoint, ...]

    @staticmethod
    def of(chosen: ChosenParameters, dragged: dict | None = None) -> "SetState":
        """What is set now. dragged, and errors: see `ChosenParameters.maskParameters`."""
        saved = points.save(chosen.liverNode, chosen.notLiverNode) if chosen.liverNode or chosen.notLiverNode else ()
        return SetState(chosen, chosen.maskParameters(dragged), saved)


def restore(parameterNode, state: SetState) -> None:
    """Set everything again as it was when a mask was made; ROI and points of the volume that the mask is of, alone.

    An ROI or a list of points that was deleted since is made again.
    """
    with NodeModify(parameterNode.parameterNode):
        restoreSettings(parameterNode, state.asked.settings)
        with suppress(ValueError):  # a script may have used a file
            parameterNode.student = state.chosen.student
        volumeNode = _present(state.chosen.volumeNode)
        if volumeNode is not None:
            _restoreMarkups(volumeNode, state)
        if volumeNode is not None and volumeNode == parameterNode.inputVolume:
            showMarkupsOf(volumeNode, parameterNode)


def restoreSettings(parameterNode, settings: PostprocessSettings) -> None:
    """Set what a mask was made with, but for values that only a script can ask for."""
    for name, fieldName in SETTINGS.items():
        with suppress(ValueError):
            setattr(parameterNode, name, getattr(settings, fieldName))


def _restoreMarkups(volumeNode, state: SetState) -> None:
    roiNode = None
    if state.asked.region:
        roiNode = _present(state.chosen.roiNode) or roi.create(volumeNode)
        roi.writeRegion(roiNode, state.asked.region)
    roi.assign(volumeNode, roiNode)
    lists = {liver: points.find(volumeNode, liver) for liver in (True, False)}
    for liver in {point.click.liver for point in state.points}:
        lists[liver] = lists[liver] or points.create(volumeNode, liver)
    points.restore(lists[True], lists[False], state.points)


def _present(node):
    return node if node is not None and node.GetScene() is not None else None
