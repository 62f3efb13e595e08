"""The mask while something is dragged: coarse, in a hidden segmentation that is never saved and is removed after.

The liver segment is hidden meanwhile. A scene that is saved meanwhile shows it as before: it is shown between the
events of saving, and as Slicer saves scenes without them too, its display node notes how it was shown for when the
scene is loaded.
"""

from typing import Any, NamedTuple

import numpy as np
import slicer
from slicer.util import VTKObservationMixin

from ..core.engines.engine import IsCancelled, Progress
from ..core.input_checks import Finding
from ..core.segmentation_job import JobResult, Preview
from ..core.terminology import SEGMENT_COLOR
from ..core.volume import memory_errors_explained
from ..core.worker import Work
from . import scene, surface
from .session import SegmentationRequest, remarksOn

_NAME = "LiverGTAN preview"
_SEGMENT = "preview"
_NOTE = "LiverGTAN.shown."
"""Attribute of a display node, ends with the ID of a hidden segment: "1" or "0" each for fill, outline and 3D."""


def _volume(found: JobResult) -> str:
    interval = found.interval
    volume = str(interval) if interval.low > 0 else f"{interval.volume:.0f} mL"
    remark = "; ".join(remarksOn(found, interval.volume))
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

    @property
    def isThere(self) -> bool:
        """Whether the segment and its display are still in a scene."""
        owner = self.display.GetDisplayableNode() if self.display.GetScene() is not None else None
        return owner is not None and owner.GetSegmentation().GetSegment(self.segmentId) is not None

    def hide(self) -> None:
        """Hide the segment, and note in the scene how it was shown."""
        shown = self.fill, self.outline, self.visible3D
        self.display.SetAttribute(_NOTE + self.segmentId, "".join("1" if one else "0" for one in shown))
        self._showAs(False, False, False)

    def show(self) -> None:
        """Show the segment as it was shown before, if it is still there."""
        self.display.RemoveAttribute(_NOTE + self.segmentId)
        if self.isThere:
            self._showAs(self.fill, self.outline, self.visible3D)

    def _showAs(self, fill: bool, outline: bool, visible3D: bool) -> None:
        self.display.SetSegmentVisibility2DFill(self.segmentId, fill)
        self.display.SetSegmentVisibility2DOutline(self.segmentId, outline)
        self.display.SetSegmentVisibility3D(self.segmentId, visible3D)


def showReplaced(mrmlScene) -> None:
    """After a scene was loaded: show the segments that a preview had replaced when it was saved."""
    for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode", mrmlScene):
        for name in filter(lambda name: name.startswith(_NOTE), display.GetAttributeNames()):
            fill, outline, visible3D = (one == "1" for one in display.GetAttribute(name))
            _Hidden(display, name.removeprefix(_NOTE), fill, outline, visible3D).show()


class PreviewSegment(VTKObservationMixin):
    """Shows a preview in place of the liver segment, in slice views and, where that has a surface, in 3D."""

    def __init__(self, mrmlScene):
        VTKObservationMixin.__init__(self)
        self._scene = mrmlScene
        self._node = None
        self._hidden: _Hidden | None = None

    @property
    def shown(self) -> bool:
        """Whether the preview is in the scene."""
        return self._node is not None and self._scene.IsNodePresent(self._node)

    def segmentAndDescribe(
        self, request: SegmentationRequest, segmentId: str = "", body: list[Finding] | None = None
    ) -> Work:
        """Work for any thread that finds the liver; gives the result, its volume as it is told to the user before it is
        written, with what is to be said of it (empty for an empty mask), and the surface for `show`, if any.

        body: see `SegmentationJob.segment`; None: it is checked.
        """
        job, wanted = request.job, self._isSeenIn3D(request.chosen.segmentationNode, segmentId)
        place = request.gridToLocal(job.ct.ijk_to_ras)

        def work(progress: Progress, cancelled: IsCancelled) -> tuple[JobResult, str, Any]:
            check = body is None
            found = job.segment_and_check(progress, cancelled) if check else job.segment(progress, cancelled, body)
            if found.mask.empty:
                return found, "", None
            with memory_errors_explained():
                made = surface.ofMask(found.mask, place, cancelled) if wanted else None
            return found, _volume(found), made.polyData if made is not None else None

        return work

    def find(self, request: SegmentationRequest) -> Work:
        """Work for any thread; gives a preview and, if the liver segment is seen in 3D, its surface, else None."""
        wanted, toLocal = self._isSeenIn3D(request.chosen.segmentationNode), request.gridToLocal(np.eye(4))

        def work(progress: Progress, cancelled: IsCancelled) -> tuple[Preview, Any]:
            found = request.job.preview(progress, cancelled, with_logits=wanted)
            if found.logits is None:
                return found, None
            return found, surface.ofLogits(found.logits, found.mask, toLocal @ found.ijk_to_ras, cancelled)

        return work

    @memory_errors_explained()
    def show(self, preview: Preview, request: SegmentationRequest, segmentId: str = "", polyData=None) -> None:
        """Show the preview of what was requested in place of the segment where the finished mask will go, if any.

        segmentId: of that segment; empty: the one that belongs to this module. polyData: the surface of the preview,
        where that segment is seen in 3D; None: Slicer makes one.
        """
        if not self.shown:
            self._node = self._create()
        self.replace(request.chosen.segmentationNode, segmentId)
        self._node.SetAndObserveTransformNodeID(request.volumeNode.GetTransformNodeID())
        segmentation = self._node.GetSegmentation()
        segmentation.RemoveRepresentation(scene.SURFACE)  # it would be made anew of the voxels
        image = scene.orientedImage(preview.mask, request.gridToLocal(preview.ijk_to_ras))
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetBinaryLabelmapToSegment(image, self._node, _SEGMENT, logic.MODE_REPLACE)
        if self._hidden is not None and self._hidden.hasSurface and not preview.mask.empty:
            self._node.GetDisplayNode().SetOpacity3D(self._hidden.display.GetOpacity3D())
            surface.show(segmentation, {} if polyData is None else {_SEGMENT: polyData})
        self._node.GetDisplayNode().SetVisibility3D(segmentation.ContainsRepresentation(scene.SURFACE))

    def _isSeenIn3D(self, segmentationNode, segmentId: str = "") -> bool:
        """Whether the segment is, or was until the preview took its place. segmentId: see `show`."""
        segmentId = segmentId or (scene.liverSegmentId(segmentationNode) if segmentationNode else "")
        display = segmentationNode.GetDisplayNode() if segmentId else None
        if display is None:
            return False
        isHidden = self._hidden is not None and self._hidden[:2] == (display, segmentId)
        return (self._hidden if isHidden else _Hidden.of(display, segmentId)).hasSurface

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
            self._hidden.hide()
            self.addObserver(self._scene, self._scene.StartSaveEvent, self._onStartSave)
            self.addObserver(self._scene, self._scene.EndSaveEvent, self._onEndSave)

    def _showHidden(self) -> None:
        self.removeObservers()
        hidden, self._hidden = self._hidden, None
        if hidden is not None:
            hidden.show()

    def _onStartSave(self, caller, event) -> None:
        self._hidden.show()

    def _onEndSave(self, caller, event) -> None:
        if self._hidden.isThere:
            self._hidden.hide()

    def _create(self):
        node = scene.addHiddenNode(self._scene, "vtkMRMLSegmentationNode", _NAME)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().SetVisibility3D(False)
        scene.chooseSurfaces(node)
        node.GetSegmentation().AddEmptySegment(_SEGMENT, _SEGMENT, SEGMENT_COLOR)
        return node
