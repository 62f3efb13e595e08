"""A mask becomes a segment through Slicer's Segment Editor logic: undo, masking and other segments respected.

The logic returns silently when it cannot work, so every write is verified; when it failed, the segmentation is
restored and WriteError raised.
"""

import numpy as np
import slicer
from slicer import vtkOrientedImageData, vtkOrientedImageDataResample, vtkSegmentationConverter
from slicer.util import NodeModify
from vtk import VTK_UNSIGNED_CHAR

from ..core import boxes
from ..core.boxes import Box, triple
from ..core.segmenter import BoxMask
from . import scene
from .scene import LABELMAP, SURFACE, labelmapArray

UNDO_STATES = 10
EDITOR_LOGIC = getattr(slicer, "vtkSlicerSegmentEditorLogic", None)  # of Slicer 5.10 or newer
APPLICATION_EDITOR_TAG = "SegmentEditor"
EDITOR_TAG = "LiverGTAN"

VERIFIED_PLANE_STEP = 8
"""One plane in this many of a written mask is compared: the logic's known failures (nothing written, another grid)
concern all planes."""


class WriteError(RuntimeError):
    """The mask could not be written; the message says what to do. The segmentation is as it was before."""


class SegmentWriter:
    """Writes liver masks into segmentations of one scene and undoes it.

    One writer remembers the last undo states of the segmentation it wrote last, as a Segment Editor does.
    logicClass: the class of the Segment Editor logic, None where this Slicer has none.
    """

    def __init__(self, mrmlScene, logicClass=EDITOR_LOGIC):
        if not hasattr(logicClass, "ModifySegmentByLabelmap"):
            raise WriteError(
                "LiverGTAN writes through the Segment Editor logic of Slicer 5.10 or newer, which this "
                "Slicer lacks; please update 3D Slicer."
            )
        self._scene = mrmlScene
        self._surfaceRemovedFrom = None
        self._logic = logicClass()
        self._logic.SetMRMLScene(mrmlScene)
        self._logic.SetMaximumNumberOfUndoStates(UNDO_STATES)

    def write(self, volumeNode, boxMask: BoxMask, segmentationNode, student: str, surfaceLater: bool = False) -> str:
        """Make the mask the liver segment of the segmentation and return the segment's ID.

        boxMask lies on the volume's voxel grid. student: its name becomes the value of the segment's tag.
        surfaceLater: leave a surface that was shown in 3D to the caller's `makeSurface`, as making it takes long.
        """
        _requireLabelmaps(segmentationNode)
        self._adoptReferenceGeometry(segmentationNode, volumeNode)
        modifier = _onReferenceGrid(_orientedImage(boxMask, volumeNode, segmentationNode), segmentationNode)
        editor = self._editorFor(segmentationNode, volumeNode)
        _saveStateInSegmentEditor(segmentationNode)
        if not self._logic.SaveStateForUndo():
            raise WriteError("The segmentation's state could not be saved for Undo; choose another segmentation.")
        segmentId = ""
        with NodeModify(segmentationNode):
            segmentId = scene.liverSegmentId(segmentationNode) or scene.addLiverSegment(segmentationNode)
            editor.SetSelectedSegmentID(segmentId)
            written = self._modify(segmentationNode, segmentId, modifier)
        if not surfaceLater:
            self.makeSurface()
        if not written:
            self._logic.Undo()
            raise WriteError(
                "Slicer's Segment Editor logic did not accept the mask; nothing was changed. "
                "Try a new segmentation, and look into the application log."
            )
        segmentationNode.GetSegmentation().GetSegment(segmentId).SetTag(scene.SEGMENT_TAG, student)
        return segmentId

    def makeSurface(self) -> None:
        """Make the surface again that the last write took away, if it did."""
        segmentationNode, self._surfaceRemovedFrom = self._surfaceRemovedFrom, None
        if segmentationNode is not None and segmentationNode.GetScene() is not None:
            segmentationNode.GetSegmentation().CreateRepresentation(SURFACE)

    def canUndo(self, segmentationNode) -> bool:
        return self._holds(segmentationNode) and self._logic.CanUndo()

    def canRedo(self, segmentationNode) -> bool:
        return self._holds(segmentationNode) and self._logic.CanRedo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    def _holds(self, segmentationNode) -> bool:
        return segmentationNode is not None and self._logic.GetSegmentationNode() == segmentationNode

    def _editorFor(self, segmentationNode, volumeNode):
        """Our own editor node: using the application's would change what the user has selected there."""
        editor = self._scene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if editor is None:
            editor = scene.addHiddenNode(self._scene, "vtkMRMLSegmentEditorNode", singletonTag=EDITOR_TAG)
        self._logic.SetSegmentEditorNode(editor)
        editor.SetAndObserveSegmentationNode(segmentationNode)
        editor.SetAndObserveSourceVolumeNode(volumeNode)
        _copyMasking(self._scene.GetSingletonNode(APPLICATION_EDITOR_TAG, "vtkMRMLSegmentEditorNode"), editor)
        return editor

    def _adoptReferenceGeometry(self, segmentationNode, volumeNode) -> None:
        """Put the segmentation on the volume's grid, unless segments of others were drawn on another one."""
        segmentation = segmentationNode.GetSegmentation()
        ours = scene.liverSegmentId(segmentationNode)
        others = [segmentation.GetSegment(s) for s in segmentation.GetSegmentIDs() if s != ours]
        if any(map(scene.segmentVoxels, others)) and _referenceGeometry(segmentationNode) is not None:
            return
        if scene.referenceVolume(segmentationNode) == volumeNode and _sameGrid(segmentationNode, volumeNode):
            return
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)

    def _modify(self, segmentationNode, segmentId: str, modifier) -> bool:
        """Set the segment to the modifier; True if the write was verified."""
        segmentation = segmentationNode.GetSegmentation()
        segment = segmentation.GetSegment(segmentId)
        before = _labelmapTime(segment)
        # Setting takes the logic two steps; without this a shown surface would be made after each of them.
        if segmentation.ContainsRepresentation(SURFACE):
            segmentation.RemoveRepresentation(SURFACE)
            self._surfaceRemovedFrom = segmentationNode
        if self.masking:
            # The logic protects by masking only what lies within the image that it is given.
            modifier = _enlarged(modifier, segment.GetRepresentation(LABELMAP))
        elif self._replacesFreely and _replaceInPlace(segmentation, segmentId, modifier):
            return True
        else:
            segmentation.ClearSegment(segmentId)  # An empty segment is set several times faster.
        self._logic.ModifySegmentByLabelmap(
            segmentationNode, segmentId, modifier, self._logic.ModificationModeSet, False, False
        )
        if _labelmapTime(segment) <= before:
            return False
        return self.masking or _sampledPlanesMatch(segment, modifier)

    @property
    def masking(self) -> bool:
        """Whether the masking of the Segment Editor applied to the last write."""
        editor = self._logic.GetSegmentEditorNode()
        everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
        return editor.GetMaskMode() != everywhere or bool(editor.GetSourceVolumeIntensityMask())

    @property
    def _replacesFreely(self) -> bool:
        editor = self._logic.GetSegmentEditorNode()
        return editor.GetOverwriteMode() == editor.OverwriteNone


def _saveStateInSegmentEditor(segmentationNode) -> None:
    """Make this change known to Undo in the Segment Editor module too, if it edits the segmentation."""
    widget = getattr(getattr(slicer, "modules", None), "SegmentEditorWidget", None)
    editor = getattr(widget, "editor", None)
    if editor and editor.segmentationNode() == segmentationNode:
        editor.saveStateForUndo()


def _copyMasking(applicationEditor, editor) -> None:
    """Take over the masking of the Segment Editor if it edits the same segmentation, else mask nothing.

    "Modify other segments: overwrite all" is what every editor node starts with, so it says nothing about what the
    user wants; erasing a tumor because the liver lies around it would be wrong. Other segments are then left as they
    are, as with "allow overlap".
    """
    if applicationEditor is not None and applicationEditor.GetSegmentationNode() != editor.GetSegmentationNode():
        applicationEditor = None
    template = applicationEditor or slicer.vtkMRMLSegmentEditorNode()
    editor.SetMaskMode(template.GetMaskMode())
    editor.SetMaskSegmentID(template.GetMaskSegmentID())
    sameVolume = template.GetSourceVolumeNode() == editor.GetSourceVolumeNode() if applicationEditor else False
    editor.SetSourceVolumeIntensityMask(bool(sameVolume and template.GetSourceVolumeIntensityMask()))
    editor.SetSourceVolumeIntensityMaskRange(*template.GetSourceVolumeIntensityMaskRange())
    overwrite = template.GetOverwriteMode()
    editor.SetOverwriteMode(editor.OverwriteNone if overwrite == editor.OverwriteAllSegments else overwrite)


def _requireLabelmaps(segmentationNode) -> None:
    """The Segment Editor logic edits label maps; converting a user's surfaces unasked would lose them."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSourceRepresentationName() == LABELMAP:
        return
    if segmentation.GetNumberOfSegments() > 0:
        raise WriteError(
            f"'{segmentationNode.GetName()}' is made of surfaces; choose another segmentation, or make "
            "'Binary labelmap' its source representation in the Segmentations module."
        )
    segmentation.SetSourceRepresentationName(LABELMAP)


def _orientedImage(boxMask: BoxMask, volumeNode, segmentationNode):
    """The mask as an image with the volume's lattice, as seen under the segmentation's parent transform."""
    ijkToSegmentation = scene.ijkToLocal(volumeNode)
    if segmentationNode.GetParentTransformNode() != volumeNode.GetParentTransformNode():
        toWorld = scene.localToWorld(segmentationNode)
        ijkToSegmentation = np.linalg.inv(toWorld) @ scene.ijkToWorld(volumeNode)
    return scene.orientedImage(boxMask, ijkToSegmentation)


def _onReferenceGrid(image, segmentationNode):
    """The image on the segmentation's own grid, on which the logic requires it; usually that is what it is on."""
    reference = _referenceGeometry(segmentationNode)
    if reference is None or _sameLattice(image, reference):
        return image
    resampled = _resampled(image, reference)
    if resampled is None:
        raise WriteError("The mask does not fit the grid of the chosen segmentation; choose or create another one.")
    return resampled


def _sameGrid(segmentationNode, volumeNode) -> bool:
    reference = _referenceGeometry(segmentationNode)
    if reference is None or reference.GetDimensions() != volumeNode.GetImageData().GetDimensions():
        return False
    return np.allclose(scene.imageToWorld(reference), scene.ijkToLocal(volumeNode), atol=1e-4)


def _labelmapTime(segment) -> int:
    labelmap = segment.GetRepresentation(LABELMAP)
    return labelmap.GetMTime() if labelmap else 0


def _replaceInPlace(segmentation, segmentId: str, modifier) -> bool:
    """Copy the mask into the label map of a segment that shares it with no other and is large enough, else False.

    Many times faster than the logic's way, which reads all voxels several times.
    """
    segment = segmentation.GetSegment(segmentId)
    labelmap = segment.GetRepresentation(LABELMAP)
    if labelmap is None or labelmap.IsEmpty() or _sharesItsLabelmap(segmentation, segmentId):
        return False
    if not _sameLattice(labelmap, modifier) or not _covers(labelmap, modifier):
        return False
    array, inside = labelmapArray(labelmap), _sharedParts(labelmap, modifier)[0]
    mask = labelmapArray(modifier)
    if array[inside].shape == array.shape:
        np.multiply(mask, segment.GetLabelValue(), out=array, casting="unsafe")
    else:
        array[:] = 0
        array[inside] = mask * array.dtype.type(segment.GetLabelValue())
    labelmap.GetPointData().GetScalars().Modified()
    labelmap.Modified()
    return True


def _sharesItsLabelmap(segmentation, segmentId: str) -> bool:
    holders = [segmentation.GetSegment(s).GetRepresentation(LABELMAP) for s in segmentation.GetSegmentIDs()]
    return holders.count(segmentation.GetSegment(segmentId).GetRepresentation(LABELMAP)) > 1


def _sampledPlanesMatch(segment, modifier) -> bool:
    """Whether the segment has the modifier's voxels, as far as the compared planes show."""
    labelmap = segment.GetRepresentation(LABELMAP)
    mask = labelmapArray(modifier)
    inLabelmap, inModifier = _sharedParts(labelmap, modifier)
    held = labelmapArray(labelmap)[inLabelmap][::VERIFIED_PLANE_STEP] == segment.GetLabelValue()
    return np.array_equal(held, mask[inModifier][::VERIFIED_PLANE_STEP] != 0) and (
        held.any() or not mask[::VERIFIED_PLANE_STEP].any()
    )


def _box(image) -> Box:
    """(k, j, i) slices of an image on its lattice."""
    extent = image.GetExtent()
    return triple(slice(extent[2 * axis], extent[2 * axis + 1] + 1) for axis in (2, 1, 0))


def _sharedParts(first, second) -> tuple[Box, Box]:
    """Where two images of one lattice overlap, as (k, j, i) slices of each one's array."""
    shared = boxes.intersection(_box(first), _box(second))
    return boxes.relative_to(_box(first), shared), boxes.relative_to(_box(second), shared)


def _covers(image, other) -> bool:
    """Whether all of the other image of the same lattice lies within this one."""
    return boxes.intersection(_box(image), _box(other)) == _box(other)


def _enlarged(image, labelmap):
    """The image enlarged by zeros to cover the label map too."""
    whole = boxes.enclosing(_box(image), _box(labelmap))
    if whole == _box(image):
        return image
    larger = vtkOrientedImageData()
    larger.SetExtent(*[end for part in reversed(whole) for end in (part.start, part.stop - 1)])
    larger.CopyDirections(image)
    larger.SetSpacing(image.GetSpacing())
    larger.SetOrigin(image.GetOrigin())
    larger.AllocateScalars(VTK_UNSIGNED_CHAR, 1)
    array = labelmapArray(larger)
    array[:] = 0
    array[_sharedParts(larger, image)[0]] = labelmapArray(image)
    return larger


def _sameLattice(image, other) -> bool:
    return vtkOrientedImageDataResample.DoGeometriesMatch(image, other)


def _resampled(image, reference):
    """The image on the grid of the reference, None when that is not possible."""
    result = vtkOrientedImageData()
    done = vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, result, False, True
    )
    return result if done else None


def _referenceGeometry(segmentationNode):
    """The segmentation's reference grid as an image without voxels, or None."""
    name = vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = segmentationNode.GetSegmentation().GetConversionParameter(name)
    reference = vtkOrientedImageData()
    if not text or not vtkSegmentationConverter.DeserializeImageGeometry(text, reference, False):
        return None
    return reference
