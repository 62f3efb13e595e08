"""The segment that is selected in a Segment Editor, and a mask as its effects write it there."""

from dataclasses import dataclass
from typing import Any

from ..core.segmenter import BoxMask
from ..core.volume import InputError
from . import scene
from .scene import LABELMAP
from .segment_writer import (
    WriteError,
    enlarged,
    isMasking,
    labelmapTime,
    onReferenceGrid,
    requireOthersKept,
    separate,
)


@dataclass(frozen=True)
class EditorSegment:
    """What is chosen in the Segment Editor: nodes are None, and the ID is empty, where nothing is.

    isMasked: whether its masking protects some voxels.
    """

    volumeNode: Any
    segmentationNode: Any
    segmentId: str
    isMasked: bool = False

    @staticmethod
    def of(editorNode) -> "EditorSegment":
        """editorNode: the editor's parameters (vtkMRMLSegmentEditorNode), or None."""
        if editorNode is None:
            return EditorSegment(None, None, "")
        return EditorSegment(
            editorNode.GetSourceVolumeNode(),
            editorNode.GetSegmentationNode(),
            editorNode.GetSelectedSegmentID() or "",
            isMasking(editorNode),
        )

    @property
    def segment(self):
        """The vtkSegment, None where none is selected."""
        if self.segmentationNode is None or not self.segmentId:
            return None
        return self.segmentationNode.GetSegmentation().GetSegment(self.segmentId)

    @property
    def obstacle(self) -> str:
        """Why nothing can be segmented into it, empty when it can."""
        if self.volumeNode is None:
            return "Choose a source volume in the Segment Editor: the CT."
        if self.volumeNode.GetImageData() is None:
            return f"'{self.volumeNode.GetName()}' holds no image; choose another source volume."
        if self.segment is None:
            return "Add or select a segment: the liver goes into it."
        return ""

    @property
    def time(self) -> int:
        """When its voxels were changed last."""
        return labelmapTime(self.segment)

    @property
    def isEmpty(self) -> bool:
        """Whether the segment has no voxels."""
        return scene.segmentVoxels(self.segment) == 0

    def image(self, mask: BoxMask, editorNode):
        """The mask as an image on the segmentation's grid.

        Raises InputError when nothing is selected, and WriteError when the mask has no place in the segmentation, or
        other segments would not keep theirs.
        """
        if self.obstacle:
            raise InputError(self.obstacle)
        image = onReferenceGrid(mask, self.volumeNode, self.segmentationNode).image
        requireOthersKept(self.segmentationNode, self.segmentId, editorNode, image)
        return image

    def modifier(self, image):
        """An image that `image` gave, large enough for the editor's masking; the segment is made ready for it."""
        separate(self.segmentationNode.GetSegmentation(), self.segmentId, image)
        labelmap = self.segment.GetRepresentation(LABELMAP)
        return image if labelmap is None else enlarged(image, labelmap)

    def requireWritten(self, before: int) -> None:
        """Raise when a write that was asked for at the time `before` did not do what the user expects.

        WriteError: Slicer's editor did not accept the mask, of which it gives no sign itself. InputError: its masking
        left nothing.
        """
        maskedAway = self.isMasked and self.segment is not None and self.isEmpty  # was empty, and is not touched
        if self.segment is None or (self.time <= before and not maskedAway):
            raise WriteError(
                "Slicer's Segment Editor did not accept the mask; the segment is as it was before. Check the geometry "
                "of the segmentation, and look into the application log."
            )
        if self.isEmpty:
            name = self.segment.GetName()
            raise InputError(
                f"The masking of the Segment Editor leaves nothing of the liver: '{name}' is empty. Change "
                "'Editable area' or 'Editable intensity range' below, and apply again."
            )
