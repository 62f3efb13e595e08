"""The mask while something is dragged: coarse, in a hidden segmentation that is never saved and is removed after."""

from typing import Any, NamedTuple

import slicer

from ..core.engines.engine import IsCancelled, Progress
from ..core.input_checks import Finding
from ..core.segmentation_job import JobResult, Preview
from ..core.terminology import SEGMENT_COLOR
from ..core.volume import memory_errors_explained
from ..core.worker import Work
from . import scene
from .session import SegmentationRequest, remarksOn

_NAME = "LiverGTAN preview"
_SEGMENT = "preview"


def segmentAndDescribe(request: SegmentationRequest, body: list[Finding] | None = None) -> Work:
    """Work for any thread that finds the liver; gives the result, and its volume as it is told to the user before it is
    written, with what is to be said of it (empty for an empty mask). body: see `SegmentationJob.segment`; None: it is
    checked.
    """
    job = request.job

    def work(progress: Progress, cancelled: IsCancelled) -> tuple[JobResult, str]:
        found = job.segment_and_check(progress, cancelled) if body is None else job.segment(progress, cancelled, body)
        return found, "" if found.mask.empty else _volume(request, found)

    return work


def _volume(request: SegmentationRequest, found: JobResult) -> str:
    interval = found.interval
    volume = str(interval) if interval.low > 0 else f"{interval.volume:.0f} mL"
    remark = "; ".join(remarksOn(request, found, interval.volume))
    return f"{volume} ({remark})" if remark else volume


class _Hidden(NamedTuple):
    """How a segment was shown before: filled and outlined in slice views, and in 3D."""

    display: Any
    segmentId: str
    fill: bool
    outline: bool
    visible3D: bool

    @classmethod
    def of(cls, display, segmentId: str) -> "_Hidden":
        """How a segment is shown by a display node."""
        slices = display.GetSegmentVisibility2DFill(segmentId), display.GetSegmentVisibility2DOutline(segmentId)
        return cls(display, segmentId, *slices, display.GetSegmentVisibility3D(segmentId))

    @property
    def hasSurface(self) -> bool:
        """Whether the segment was seen in 3D."""
        owner = self.display.GetDisplayableNode()
        shown = self.visible3D and self.display.GetVisibility() and self.display.GetVisibility3D()
        return bool(owner and shown and owner.GetSegmentation().ContainsRepresentation(scene.SURFACE))

    def showAs(self, fill: bool, outline: bool, visible3D: bool) -> None:
        """Show the segment in this way."""
        self.display.SetSegmentVisibility2DFill(self.segmentId, fill)
        self.display.SetSegmentVisibility2DOutline(self.segmentId, outline)
        self.display.SetSegmentVisibility3D(self.segmentId, visible3D)


class PreviewSegment:
    """Shows a preview in place of the liver segment, in slice views and, where that has a surface, in 3D."""

    def __init__(self, mrmlScene):
        self._scene = mrmlScene
        self._node = None
        self._hidden: _Hidden | None = None

    @property
    def shown(self) -> bool:
        """Whether the preview is in the scene."""
        return self._node is not None and self._scene.IsNodePresent(self._node)

    @memory_errors_explained()
    def show(self, preview: Preview, request: SegmentationRequest, segmentId: str = "") -> None:
        """Show the preview of what was requested in place of the segment where the finished mask will go, if any.

        segmentId: of that segment; empty: the one that belongs to this module.
        """
        if not self.shown:
            self._node = self._create()
        self.replace(request.chosen.segmentationNode, segmentId)
        self._node.SetAndObserveTransformNodeID(request.volumeNode.GetTransformNodeID())
        image = scene.orientedImage(preview.mask, request.gridToLocal(preview.ijk_to_ras))
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetBinaryLabelmapToSegment(image, self._node, _SEGMENT, logic.MODE_REPLACE)
        self._showSurface(self._hidden is not None and self._hidden.hasSurface and not preview.mask.empty)

    def _showSurface(self, wanted: bool) -> None:
        """Have a surface in 3D, which takes 7 ms for a liver on cells of 2.5 mm; once made, it follows the voxels."""
        segmentation, display = self._node.GetSegmentation(), self._node.GetDisplayNode()
        if wanted and not segmentation.ContainsRepresentation(scene.SURFACE):
            display.SetOpacity3D(self._hidden.display.GetOpacity3D())
            segmentation.CreateRepresentation(scene.SURFACE)
        display.SetVisibility3D(wanted)

    def remove(self) -> None:
        """Remove the preview and show the liver segment again as it was shown before."""
        if self.shown:
            self._scene.RemoveNode(self._node)
        self._node = None
        self._showHidden()

    def replace(self, segmentationNode, segmentId: str = "") -> None:
        """Hide another segment from now on, as described in `show`, and show again the one that was hidden before."""
        segmentId = segmentId or (scene.liverSegmentId(segmentationNode) if segmentationNode else "")
        display = segmentationNode.GetDisplayNode() if segmentId else None
        if self._hidden is not None and self._hidden[:2] != (display, segmentId):
            self._showHidden()
        if display is not None and self._hidden is None:
            self._hidden = _Hidden.of(display, segmentId)
            self._hidden.showAs(False, False, False)

    def _showHidden(self) -> None:
        hidden, self._hidden = self._hidden, None
        if hidden is None or not self._scene.IsNodePresent(hidden.display):
            return
        owner = hidden.display.GetDisplayableNode()
        if owner is not None and owner.GetSegmentation().GetSegment(hidden.segmentId) is not None:
            hidden.showAs(hidden.fill, hidden.outline, hidden.visible3D)

    def _create(self):
        node = scene.addHiddenNode(self._scene, "vtkMRMLSegmentationNode", _NAME)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().SetVisibility3D(False)
        scene.chooseSurfaces(node)
        node.GetSegmentation().AddEmptySegment(_SEGMENT, _SEGMENT, SEGMENT_COLOR)
        return node
