"""A mask becomes a segment through Slicer's Segment Editor logic: undo, masking and other segments respected.

The logic returns silently when it cannot work, so every write is read back; when it failed, the segmentation is
restored and WriteError raised.
"""

import numpy as np
import slicer
from slicer import vtkOrientedImageData, vtkOrientedImageDataResample, vtkSegmentationConverter
from slicer.util import NodeModify, arrayFromVTKMatrix, vtkMatrixFromArray
from vtk import VTK_UNSIGNED_CHAR
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from . import scene
from .segmenter import BoxMask

UNDO_STATES = 10
APPLICATION_EDITOR_TAG = "SegmentEditor"
OUR_EDITOR_TAG = "LiverGTAN"

_LABELMAP = vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
_SURFACE = vtkSegmentationConverter.GetClosedSurfaceRepresentationName()


class WriteError(RuntimeError):
    """The mask could not be written; the message says what to do. The segmentation is as it was before."""


class SegmentWriter:
    """Writes liver masks into segmentations of one scene and undoes it.

    One writer remembers the last undo states of the segmentation it wrote last, as a Segment Editor does.
    """

    def __init__(self, mrmlScene):
        logicClass = getattr(slicer, "vtkSlicerSegmentEditorLogic", None)
        if not hasattr(logicClass, "ModifySegmentByLabelmap"):
            raise WriteError("LiverGTAN writes through the Segment Editor logic of Slicer 5.10 or newer, which this "
                             "Slicer lacks; please update 3D Slicer.")
        self._scene = mrmlScene
        self._logic = logicClass()
        self._logic.SetMRMLScene(mrmlScene)
        self._logic.SetMaximumNumberOfUndoStates(UNDO_STATES)

    def write(self, volumeNode, boxMask: BoxMask, segmentationNode, madeBy: str) -> str:
        """Make the mask the liver segment of the segmentation and return the segment's ID.

        boxMask lies on the volume's voxel grid. madeBy (the student's name) is kept in the segment's tag.
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
        if not written:
            self._logic.Undo()
            raise WriteError("Slicer's Segment Editor logic did not accept the mask; nothing was changed. "
                             "Try a new segmentation, and look into the application log.")
        segmentationNode.GetSegmentation().GetSegment(segmentId).SetTag(scene.SEGMENT_TAG, madeBy)
        return segmentId

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
        """Our own editor node: using the application's would change what the person has selected there."""
        editor = self._scene.GetSingletonNode(OUR_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if editor is None:
            editor = self._scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            editor.UnRegister(None)
            editor.SetSingletonTag(OUR_EDITOR_TAG)
            editor.SetHideFromEditors(True)
            editor.SetSaveWithScene(False)
            editor = self._scene.AddNode(editor)
        self._logic.SetSegmentEditorNode(editor)
        editor.SetAndObserveSegmentationNode(segmentationNode)
        editor.SetAndObserveSourceVolumeNode(volumeNode)
        _copyMasking(self._scene.GetSingletonNode(APPLICATION_EDITOR_TAG, "vtkMRMLSegmentEditorNode"), editor)
        return editor

    def _adoptReferenceGeometry(self, segmentationNode, volumeNode) -> None:
        """Put the segmentation on the volume's grid, unless segments of others were drawn on another one."""
        segmentation = segmentationNode.GetSegmentation()
        ours = scene.liverSegmentId(segmentationNode)
        others = [s for s in segmentation.GetSegmentIDs() if s != ours and _hasVoxels(segmentation.GetSegment(s))]
        if others and _referenceGeometry(segmentationNode) is not None:
            return
        if scene.referenceVolume(segmentationNode) == volumeNode and _sameGrid(segmentationNode, volumeNode):
            return
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)

    def _modify(self, segmentationNode, segmentId: str, modifier) -> bool:
        """Set the segment to the modifier; True if the segment then really holds it."""
        segmentation = segmentationNode.GetSegmentation()
        editor = self._logic.GetSegmentEditorNode()
        before = _labelmapTime(segmentation.GetSegment(segmentId))
        # Setting takes the logic two steps; without this a shown surface would be made after each of them.
        shownIn3d = segmentation.ContainsRepresentation(_SURFACE)
        if shownIn3d:
            segmentation.RemoveRepresentation(_SURFACE)
        if _isMasking(editor):
            modifier = _coveringToo(modifier, segmentation.GetSegment(segmentId).GetRepresentation(_LABELMAP))
        else:
            segmentation.ClearSegment(segmentId)  # An empty segment is set several times faster.
        self._logic.ModifySegmentByLabelmap(
            segmentationNode, segmentId, modifier, self._logic.ModificationModeSet, False, False)
        if shownIn3d:
            segmentation.CreateRepresentation(_SURFACE)
        if _labelmapTime(segmentation.GetSegment(segmentId)) <= before:
            return False
        return _isMasking(editor) or _holdsExactly(segmentation.GetSegment(segmentId), modifier)


def _saveStateInSegmentEditor(segmentationNode) -> None:
    """Let Undo in the Segment Editor module know this change too, if that module is open on the segmentation."""
    widget = getattr(getattr(slicer, "modules", None), "SegmentEditorWidget", None)
    editor = getattr(widget, "editor", None)
    if editor and editor.segmentationNode() == segmentationNode:
        editor.saveStateForUndo()


def _copyMasking(applicationEditor, editor) -> None:
    """Take over the masking of the Segment Editor if it edits the same segmentation, else mask nothing.

    "Modify other segments: overwrite all" is what every editor node starts with, so it tells no wish; to erase a
    tumor because a liver lies around it would be wrong. Other segments are then kept, as with "allow overlap".
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


def _isMasking(editor) -> bool:
    everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    return editor.GetMaskMode() != everywhere or bool(editor.GetSourceVolumeIntensityMask())


def _requireLabelmaps(segmentationNode) -> None:
    """The Segment Editor logic edits label maps; to convert a person's surfaces unasked would lose them."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSourceRepresentationName() == _LABELMAP:
        return
    if segmentation.GetNumberOfSegments() > 0:
        raise WriteError(f"'{segmentationNode.GetName()}' is made of surfaces; choose another segmentation, or make "
                         "'Binary labelmap' its source representation in the Segmentations module.")
    segmentation.SetSourceRepresentationName(_LABELMAP)


def _orientedImage(boxMask: BoxMask, volumeNode, segmentationNode):
    """The mask as an image with the volume's lattice, as seen under the segmentation's parent transform."""
    voxels, start = boxMask.voxels, boxMask.start
    if voxels.size == 0:
        voxels, start = np.zeros((1, 1, 1), np.uint8), (0, 0, 0)
    ijkToSegmentation = scene.ijkToLocal(volumeNode)
    if segmentationNode.GetParentTransformNode() != volumeNode.GetParentTransformNode():
        toWorld = scene.localToWorld(segmentationNode)
        ijkToSegmentation = np.linalg.inv(toWorld) @ scene.ijkToWorld(volumeNode)
    image = vtkOrientedImageData()
    image.SetExtent(*[e for axis in (2, 1, 0) for e in (start[axis], start[axis] + voxels.shape[axis] - 1)])
    image.SetGeometryFromImageToWorldMatrix(vtkMatrixFromArray(ijkToSegmentation))
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels, np.uint8).ravel(), deep=True))
    return image


def _onReferenceGrid(image, segmentationNode):
    """The image on the segmentation's own grid, on which the logic requires it; usually that is what it is on."""
    reference = _referenceGeometry(segmentationNode)
    if reference is None or vtkOrientedImageDataResample.DoGeometriesMatch(image, reference):
        return image
    resampled = vtkOrientedImageData()
    if not vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            image, reference, resampled, False, True):
        raise WriteError("The mask does not fit the grid of the chosen segmentation; choose or create another one.")
    return resampled


def _coveringToo(image, labelmap):
    """The image enlarged by zeros to cover the label map: the logic protects by masking only what lies within it."""
    extent = [f(a, b) for f, a, b in zip((min, max) * 3, image.GetExtent(), labelmap.GetExtent())]
    if labelmap.IsEmpty() or extent == list(image.GetExtent()):
        return image
    enlarged = vtkOrientedImageData()
    enlarged.SetExtent(*extent)
    enlarged.CopyDirections(image)
    enlarged.SetSpacing(image.GetSpacing())
    enlarged.SetOrigin(image.GetOrigin())
    enlarged.AllocateScalars(VTK_UNSIGNED_CHAR, 1)
    array = labelmapArray(enlarged)
    array[:] = 0
    inside = tuple(_sharedRange(enlarged, image, axis)[0] for axis in (2, 1, 0))
    array[inside] = labelmapArray(image)
    return enlarged


def _referenceGeometry(segmentationNode):
    """The segmentation's reference grid as an image without voxels, or None."""
    name = vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = segmentationNode.GetSegmentation().GetConversionParameter(name)
    reference = vtkOrientedImageData()
    if not text or not vtkSegmentationConverter.DeserializeImageGeometry(text, reference, False):
        return None
    return reference


def _sameGrid(segmentationNode, volumeNode) -> bool:
    reference = _referenceGeometry(segmentationNode)
    if reference is None or reference.GetDimensions() != volumeNode.GetImageData().GetDimensions():
        return False
    matrix = vtkMatrixFromArray(np.eye(4))
    reference.GetImageToWorldMatrix(matrix)
    return np.allclose(arrayFromVTKMatrix(matrix), scene.ijkToLocal(volumeNode), atol=1e-4)


def _labelmapTime(segment) -> int:
    labelmap = segment.GetRepresentation(_LABELMAP)
    return labelmap.GetMTime() if labelmap else 0


def _hasVoxels(segment) -> bool:
    labelmap = segment.GetRepresentation(_LABELMAP)
    return labelmap is not None and bool((labelmapArray(labelmap) == segment.GetLabelValue()).any())


def _holdsExactly(segment, modifier) -> bool:
    """Whether the segment has the modifier's voxels and no others."""
    labelmap, wanted = segment.GetRepresentation(_LABELMAP), labelmapArray(modifier) != 0
    held = labelmapArray(labelmap) == segment.GetLabelValue()
    if np.count_nonzero(held) != np.count_nonzero(wanted):
        return False
    shared = [_sharedRange(labelmap, modifier, axis) for axis in (2, 1, 0)]
    inLabelmap, inModifier = (tuple(r[n] for r in shared) for n in (0, 1))
    return np.count_nonzero(held[inLabelmap] & wanted[inModifier]) == np.count_nonzero(wanted)


def _sharedRange(first, second, axis: int) -> tuple[slice, slice]:
    """Where two images of one lattice overlap along i, j or k, as slices of each."""
    (a0, a1), (b0, b1) = (image.GetExtent()[2 * axis:2 * axis + 2] for image in (first, second))
    low, high = max(a0, b0), max(max(a0, b0), min(a1, b1) + 1)
    return slice(low - a0, high - a0), slice(low - b0, high - b0)


def labelmapArray(image) -> np.ndarray:
    """The voxels of an oriented image as a (k, j, i) view; an empty one has no voxels."""
    scalars = image.GetPointData().GetScalars()
    extent = image.GetExtent()
    shape = [max(0, extent[2 * axis + 1] - extent[2 * axis] + 1) for axis in (2, 1, 0)]
    if scalars is None or 0 in shape:
        return np.zeros((0, 0, 0), np.uint8)
    return vtk_to_numpy(scalars).reshape(shape)
