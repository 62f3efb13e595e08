"""Several volumes one after the other: each liver into its own segmentation, errors by volume in one list."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import slicer

from ..core.segmentation_job import JobResult
from ..core.volume import InputError
from . import parameters, scene
from .parameters import ChosenParameters
from .refusal import logFailure
from .session import SegmentationRequest, SegmentationResult, Session

logger = logging.getLogger(__name__)

EDITED = "Its liver was edited by hand, and is left as it is; segment it by itself to replace it."


@dataclass(frozen=True)
class VolumeProblem:
    """Why a volume was not segmented."""

    volume: str
    reason: str


class VolumeBatch:
    """The volumes still to do, the results of the others, and what went wrong.

    chosen: student, engine and settings for all volumes; segmentation, ROI and points are those of each volume.
    Raises InputError when `volumes` is no list.
    """

    def __init__(self, session: Session, volumes, chosen: ChosenParameters) -> None:
        self._session, self._chosen = session, chosen
        if isinstance(volumes, str) or not isinstance(volumes, Iterable):
            raise InputError(f"Give a list of CTs, not {str(volumes)[:80]!r}.")
        self._waiting = list(volumes)
        self._count = len(self._waiting)
        self.results: list[SegmentationResult] = []
        self.problems: list[VolumeProblem] = []

    @property
    def position(self) -> str:
        """For the user: which one of how many is being worked on."""
        return f"{self._count - len(self._waiting)} of {self._count}"

    def prepareNext(self) -> SegmentationRequest | None:
        """The request of the next volume that can be read, None when all are done."""
        while self._waiting:
            volumeNode = self._waiting.pop(0)
            if volumeNode is None or (isinstance(volumeNode, slicer.vtkMRMLNode) and volumeNode.GetScene() is None):
                self.problems.append(VolumeProblem("(removed)", "The volume was removed meanwhile."))
                continue
            try:
                scene.requireNode(slicer.mrmlScene, "CT", volumeNode, "vtkMRMLScalarVolumeNode")
                chosen = parameters.forVolume(self._chosen, volumeNode)
                if chosen.segmentationNode is not None and self._session.isEdited(chosen.segmentationNode):
                    self.problems.append(VolumeProblem(volumeNode.GetName(), EDITED))
                    continue
                return self._session.prepare(chosen)
            except Exception as error:
                self._addProblem(volumeNode, error)
        return None

    def write(self, request: SegmentationRequest, found: JobResult, tableNode=None) -> SegmentationResult | None:
        """Write what was found in a volume; None when that fails, which goes into the list.

        tableNode: see `Session.apply`.
        """
        try:
            result = self._session.apply(request, found, tableNode=tableNode)
        except Exception as error:
            self.addProblem(request, error)
            return None
        self._chosen = replace(self._chosen, tableNode=result.tableNode)
        self.results.append(result)
        return result

    def addProblem(self, request: SegmentationRequest, error: BaseException) -> None:
        """This volume could not be segmented."""
        self._addProblem(request.volumeNode, error)

    def skipRemoved(self, name: str) -> None:
        """The volume of this name, or its segmentation, was removed while it was worked on."""
        self.problems.append(VolumeProblem(name, "The volume or its segmentation was removed meanwhile."))

    def summary(self) -> str:
        """How it ended, in a few lines for the user."""
        lines = [f"{len(self.results)} of {self._count} volumes segmented."]
        lines += [f"{problem.volume}: {problem.reason}" for problem in self.problems]
        for one in self.results:
            if one.remarks or one.warnings:
                lines += [f"{one.volumeNode.GetName()}: {one.volumeMl:.0f} mL", *one.remarks, *one.warnings]
        return "\n".join(lines)

    def _addProblem(self, volumeNode, error: BaseException) -> None:
        name = volumeNode.GetName() if isinstance(volumeNode, slicer.vtkMRMLNode) else str(volumeNode)[:80]
        logFailure(logger, f"'{name}' was not segmented.", error)
        reason = str(error) or type(error).__name__
        self.problems.append(VolumeProblem(name, reason))
