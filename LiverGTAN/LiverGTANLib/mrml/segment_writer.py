"""A mask becomes a segment through Slicer's Segment Editor logic: undo, masking and other segments respected.

The logic returns silently when it cannot work, so every write is verified. After any error the segmentation is as it
was before: segments, surfaces, reference grid and Undo.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import slicer
from slicer import vtkOrientedImageData, vtkOrientedImageDataResample, vtkSegmentationConverter
from slicer.util import NodeModify, vtkMatrixFromArray
from vtk import VTK_UNSIGNED_CHAR

from ..core import boxes
from ..core.boxes import Box, triple
from ..core.segmenter import BoxMask, PackedMask
from . import scene, surface, warp
from .scene import LABELMAP, SURFACE, labelmapArray
from .surface import MaskSurface
from .undo_history import GEOMETRY, References, UndoHistory

logger = logging.getLogger(__name__)

REMEMBERED_SEGMENTATIONS = 4
"""Segmentations whose last writes can be undone; as many as scans stay analyzed (`CACHED_ANALYSES`)."""

EDITOR_LOGIC = getattr(slicer, "vtkSlicerSegmentEditorLogic", None)  # of Slicer 5.10 or newer
APPLICATION_EDITOR_TAG = "SegmentEditor"
EDITOR_TAG = "LiverGTAN"

SMALLEST_DETERMINANT = 1e-9
"""Of a transform that can be inverted; it makes of a voxel of 1 mm³ one of this many mm³."""

VERIFIED_PLANE_STEP = 8
"""One plane in this many of a written mask is compared: the logic's known failures (nothing written, another grid)
concern all planes."""

MUCH_LARGER = 8.0
"""A segmentation's voxel of this many times the CT's, twice as wide along each axis, is worth a word beforehand; a
choice."""


class _RemovedSurfaces(NamedTuple):
    """What a write took away, and is to be shown again.

    unchanged: surfaces that need not be made, by segment ID, as long as the label maps have their `times` of the write.
    """

    segmentationNode: Any
    unchanged: dict[str, Any]
    times: dict[str, int]

    def stillTrue(self) -> dict[str, Any]:
        """Of `unchanged`, without those of segments that the user edited or removed since."""
        times = labelmapTimes(self.segmentationNode.GetSegmentation())
        return {i: made for i, made in self.unchanged.items() if times.get(i) == self.times.get(i)}


class WriteError(RuntimeError):
    """The mask could not be written; the message says what to do. The segmentation is as it was before."""


class GridMask(NamedTuple):
    """A mask as an image on a segmentation's grid, and the same image before it was resampled onto that, if it was.

    transform: through which `own` got there, None where it lay under the segmentation's parent transform already.
    """

    image: Any
    own: Any
    transform: Any = None

    @property
    def isResampled(self) -> bool:
        """Whether the two have different grids."""
        return self.image is not self.own

    def kept(self) -> float:
        """Part of the voxels of `own`, 0 to 1, in whose middle there is a voxel of the mask as it was resampled."""
        if not self.isResampled:
            return 1.0
        back = _resampled(self.image, self.own, self.transform and self.transform.GetInverse(), pad=False)
        mask = labelmapArray(self.own)
        return int(np.count_nonzero(mask & labelmapArray(back))) / max(1, int(np.count_nonzero(mask)))


@contextmanager
def errorsLogged() -> Iterator[None]:
    """For what takes an error's traces back: another error in it must not hide the first one."""
    try:
        yield
    except Exception:
        logger.exception("What was begun before an error could not be taken back.")


def takeBack(function: Callable, *arguments) -> None:
    """Call what takes a step back, as a callback of an ExitStack, with `errorsLogged`."""
    with errorsLogged():
        function(*arguments)


class SegmentWriter:
    """Writes liver masks into segmentations of one scene and undoes it.

    One writer remembers the last writes into the segmentations that it wrote last. logicClass: the class of the Segment
    Editor logic, None where this Slicer has none.
    """

    def __init__(self, mrmlScene, logicClass=EDITOR_LOGIC):
        if not hasattr(logicClass, "ModifySegmentByLabelmap"):
            raise WriteError(
                "LiverGTAN writes through the Segment Editor logic of Slicer 5.10 or newer, which this "
                "Slicer lacks; please update 3D Slicer."
            )
        self._scene = mrmlScene
        self._removedSurfaces: _RemovedSurfaces | None = None
        self._resampled = False
        self.kept: float | None = None
        """See `GridMask.kept`, of the mask that was written last; None where it has the CT's grid."""
        self._histories: list[UndoHistory] = []  # the one that was written last comes last
        self._historiesBefore: list[UndoHistory] = []
        self._logic = logicClass()
        self._logic.SetMRMLScene(mrmlScene)

    def write(
        self,
        volumeNode,
        boxMask: BoxMask,
        segmentationNode,
        student: str,
        surfaceLater: bool = False,
        assisted: bool = False,
        surfaceOfMask: MaskSurface | None = None,
    ) -> str:
        """Make the mask the liver segment of the segmentation and return the segment's ID.

        boxMask lies on the volume's voxel grid. student: its name becomes the value of the segment's tag.
        assisted: whether the user had a part in the mask by points or an ROI.
        surfaceLater: leave a surface that was shown in 3D to the caller's `makeSurface`, as making it takes long.
        surfaceOfMask: shown at once where the mask is written as it is; no other is made then.
        """
        _requireLabelmaps(segmentationNode)
        history = self.historyOf(segmentationNode) or UndoHistory(segmentationNode)
        history.keep()
        before = References.of(segmentationNode)
        try:
            isAdopted = self._adoptReferenceGeometry(segmentationNode, volumeNode)
            onGrid = onReferenceGrid(boxMask, volumeNode, segmentationNode)
            modifier, self._resampled = onGrid.image, onGrid.isResampled
            self.kept = None if isAdopted or not self._resampled else onGrid.kept()
            packed = PackedMask.of(labelmapArray(modifier)) if self._resampled else boxMask.packed
            editor = self._editorFor(segmentationNode, volumeNode)
            requireOthersKept(segmentationNode, scene.liverSegmentId(segmentationNode), editor, modifier)
            _saveStateInSegmentEditor(segmentationNode)
            liverId = scene.liverSegmentId(segmentationNode)
            history.begin(before, liverId, [] if self._replacesFreely else _others(segmentationNode, liverId))
            handDrawn = self.masking and scene.isLiverEdited(segmentationNode)
            segmentId = self._setLiver(segmentationNode, editor, modifier, packed)
            isMade = self.wroteExactly and _fits(surfaceOfMask, boxMask, modifier, segmentationNode)
            if isMade and self._removedSurfaces is not None:
                self._removedSurfaces.unchanged[segmentId] = surfaceOfMask.polyData
            scene.tagLiver(segmentationNode, segmentId, volumeNode, student, assisted or handDrawn)
            segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
            scene.noteVoxels(segment, scene.localToVoxels(segmentationNode, volumeNode))
            if handDrawn:  # some of it stays where masking protects it
                scene.noteEdit(segment)
            history.end(segmentId)
            if self._removedSurfaces is not None:
                self._removedSurfaces.times.update(labelmapTimes(segmentationNode.GetSegmentation()))
            if isMade or not surfaceLater:
                self.makeSurface()
        except BaseException:
            with errorsLogged():
                self._removedSurfaces = None  # it comes back with the state
                history.takeBack()
                before.restore(segmentationNode)
            raise
        self._historiesBefore = self._histories
        self._histories = [*(one for one in self._histories if one is not history), history]
        return segmentId

    def keep(self) -> None:
        """The last write stays: it can be undone, but not be taken back any more."""
        self._histories[-1].keep()
        self._histories = [one for one in self._histories if one.isInScene][-REMEMBERED_SEGMENTATIONS:]
        self._historiesBefore = []

    def takeBack(self) -> None:
        """Take the last write back, as if it had never been."""
        self._removedSurfaces = None  # it comes back with the state
        self._histories[-1].takeBack()
        self._histories = self._historiesBefore

    def historyOf(self, segmentationNode) -> UndoHistory | None:
        """What can be undone in a segmentation, and what was noted of its state; None before the first write."""
        return next((one for one in self._histories if one.isOf(segmentationNode)), None)

    @property
    def lastHistory(self) -> UndoHistory | None:
        """That of the segmentation that was written last."""
        return self._histories[-1] if self._histories else None

    def _setLiver(self, segmentationNode, editor, modifier, packed: PackedMask) -> str:
        """Set the liver segment, a new one if there is none, to the modifier; returns its ID."""
        with NodeModify(segmentationNode):
            segmentId = scene.liverSegmentId(segmentationNode) or scene.addLiverSegment(segmentationNode)
            editor.SetSelectedSegmentID(segmentId)
            if not self._modify(segmentationNode, segmentId, modifier, packed):
                raise WriteError(
                    "Slicer's Segment Editor logic did not accept the mask; nothing was changed. "
                    "Try a new segmentation, and look into the application log."
                )
        return segmentId

    def makeSurface(self) -> None:
        """Make the surface again that the last write took away, if it did. Raises WriteError when that fails."""
        removed, self._removedSurfaces = self._removedSurfaces, None
        if removed is None or removed.segmentationNode.GetScene() is None:
            return
        if not surface.show(removed.segmentationNode.GetSegmentation(), removed.stillTrue()):
            raise WriteError(
                f"The surface of '{removed.segmentationNode.GetName()}' could not be made; look into the application "
                "log, and press Show 3D to try again."
            )

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

    def _adoptReferenceGeometry(self, segmentationNode, volumeNode) -> bool:
        """Put the segmentation on the volume's grid; False where it keeps its own, see `keepsItsGrid`."""
        if keepsItsGrid(segmentationNode):
            return False
        segmentation = segmentationNode.GetSegmentation()
        if scene.matrixOf(scene.transformBetween(volumeNode, segmentationNode)) is None:
            matrix, extent = warp.straightGrid(volumeNode, segmentationNode)
            geometry = vtkSegmentationConverter.SerializeImageGeometry(vtkMatrixFromArray(matrix), extent)
            segmentation.SetConversionParameter(GEOMETRY, geometry)
            scene.setReference(segmentationNode, segmentationNode.GetReferenceImageGeometryReferenceRole(), volumeNode)
        elif scene.referenceVolume(segmentationNode) != volumeNode or not _sameGrid(segmentationNode, volumeNode):
            segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        return True

    def _modify(self, segmentationNode, segmentId: str, modifier, packed: PackedMask) -> bool:
        """Set the segment to the modifier, whose voxels `packed` holds; True if the write was verified."""
        segmentation = segmentationNode.GetSegmentation()
        segment = segmentation.GetSegment(segmentId)
        # Setting takes the logic two steps; without this a shown surface would be made after each of them.
        if segmentation.ContainsRepresentation(SURFACE):
            others = self._surfacesOfOthers(segmentation, segmentId)
            self._removedSurfaces = _RemovedSurfaces(segmentationNode, others, {})
            segmentation.RemoveRepresentation(SURFACE)
        separate(segmentation, segmentId, modifier if self.masking else None)
        before = labelmapTime(segment)
        if self.masking:
            modifier = enlarged(modifier, segment.GetRepresentation(LABELMAP))
        elif self._replacesFreely and _replace(segmentation, segmentId, modifier, packed):
            return True
        else:
            segmentation.ClearSegment(segmentId)  # An empty segment is set several times faster.
        self._logic.ModifySegmentByLabelmap(
            segmentationNode, segmentId, modifier, self._logic.ModificationModeSet, False, False
        )
        if labelmapTime(segment) <= before:  # the logic leaves an empty segment untouched where it masks all
            return self.masking and not scene.segmentVoxels(segment)
        return self.masking or _sampledPlanesMatch(segment, modifier)

    def _surfacesOfOthers(self, segmentation, segmentId: str) -> dict[str, Any]:
        """By segment ID, of segments that a write leaves as they are."""
        others = [i for i in segmentation.GetSegmentIDs() if i != segmentId] if self._replacesFreely else []
        found = {i: segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in others}
        return {i: polyData for i, polyData in found.items() if polyData is not None}

    @property
    def masking(self) -> bool:
        """Whether the masking of the Segment Editor applied to the last write."""
        return isMasking(self._logic.GetSegmentEditorNode())

    @property
    def wroteExactly(self) -> bool:
        """Whether the segment that was written last has the voxels of the mask: on its grid, and nothing masked."""
        return not self.masking and not self._resampled

    @property
    def _replacesFreely(self) -> bool:
        editor = self._logic.GetSegmentEditorNode()
        return editor.GetOverwriteMode() == editor.OverwriteNone


def _fits(surfaceOfMask: MaskSurface | None, mask: BoxMask, modifier, segmentationNode) -> bool:
    return surfaceOfMask is not None and surfaceOfMask.fits(mask, modifier, segmentationNode.GetSegmentation())


def isMasking(editorNode) -> bool:
    """Whether "Editable area" or "Editable intensity range" of a Segment Editor protects anything."""
    everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    return editorNode.GetMaskMode() != everywhere or bool(editorNode.GetSourceVolumeIntensityMask())


def _others(segmentationNode, liverId: str) -> list[str]:
    """IDs of the segments that are not ours."""
    return [i for i in segmentationNode.GetSegmentation().GetSegmentIDs() if i != liverId]


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


def surfacesInTheWay(segmentationNode) -> str:
    """Why nothing can be written into a segmentation that is made of surfaces; empty when something can.

    The Segment Editor logic edits label maps; converting a user's surfaces unasked would lose them.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSourceRepresentationName() == LABELMAP or segmentation.GetNumberOfSegments() == 0:
        return ""
    return (
        f"'{segmentationNode.GetName()}' is made of surfaces; choose another segmentation, or make 'Binary labelmap' "
        "its source representation in the Segmentations module."
    )


def keepsItsGrid(segmentationNode) -> bool:
    """Whether the liver is put on the grid that is there: segments of others were drawn on it, and resampling them
    onto the CT's would change them."""
    segmentation = segmentationNode.GetSegmentation()
    others = map(segmentation.GetSegment, _others(segmentationNode, scene.liverSegmentId(segmentationNode)))
    return _referenceGeometry(segmentationNode) is not None and any(map(scene.segmentVoxels, others))


def largerVoxels(volumeNode, segmentationNode) -> str:
    """What to say of a grid of a segmentation whose voxels are much larger than a volume's; empty when they are not."""
    reference = _referenceGeometry(segmentationNode)
    if reference is None:
        return ""
    between = scene.matrixOf(scene.transformBetween(volumeNode, segmentationNode))
    toLocal = scene.ijkToLocal(volumeNode) if between is None else between @ scene.ijkToLocal(volumeNode)
    sizes = [abs(np.linalg.det(matrix[:3, :3])) for matrix in (scene.imageToWorld(reference), toLocal)]
    if sizes[0] < MUCH_LARGER * sizes[1]:
        return ""
    widths = " x ".join(f"{mm:.3g}" for mm in reference.GetSpacing())
    return (
        f"The voxels of '{segmentationNode.GetName()}' ({widths} mm) are much larger than those of "
        f"'{volumeNode.GetName()}': the liver loses detail in them. To keep it, choose a new segmentation."
    )


def _requireLabelmaps(segmentationNode) -> None:
    if reason := surfacesInTheWay(segmentationNode):
        raise WriteError(reason)
    segmentationNode.GetSegmentation().SetSourceRepresentationName(LABELMAP)


def onReferenceGrid(boxMask: BoxMask, volumeNode, segmentationNode) -> GridMask:
    """The mask as an image under the segmentation's parent transform.

    The logic requires it on the segmentation's own grid; usually that is the volume's grid. Raises WriteError and
    InputError when it has no place there.
    """
    transform, ijkToLocal = scene.transformBetween(volumeNode, segmentationNode), scene.ijkToLocal(volumeNode)
    matrix, reference = scene.matrixOf(transform), _referenceGeometry(segmentationNode)
    if matrix is None:
        image = scene.orientedImage(boxMask, ijkToLocal)
        extent = warp.extentOf(boxMask.box, volumeNode, segmentationNode, scene.imageToWorld(reference))
        reference.SetExtent(extent)
        onGrid = GridMask(_resampled(image, reference, transform, pad=False), image, transform)
    else:
        if abs(np.linalg.det(matrix[:3, :3])) < SMALLEST_DETERMINANT:
            raise WriteError(
                f"The transform of '{segmentationNode.GetName()}' cannot be inverted, so that the mask has no place in "
                "it; correct it, or take it off in the Transforms module."
            )
        image = scene.orientedImage(boxMask, matrix @ ijkToLocal)
        if reference is None or _sameLattice(image, reference):
            return GridMask(image, image)
        onGrid = GridMask(_resampled(image, reference), image)
    if onGrid.image is None or not (boxMask.empty or labelmapArray(onGrid.image).any()):
        raise WriteError("The mask does not fit the grid of the chosen segmentation; choose or create another one.")
    return onGrid


def _sameGrid(segmentationNode, volumeNode) -> bool:
    reference = _referenceGeometry(segmentationNode)
    if reference is None or reference.GetDimensions() != volumeNode.GetImageData().GetDimensions():
        return False
    return np.allclose(scene.imageToWorld(reference), scene.ijkToLocal(volumeNode), atol=1e-4)


def labelmapTime(segment) -> int:
    """When the label map of a segment was changed last, 0 without one."""
    labelmap = segment.GetRepresentation(LABELMAP)
    return labelmap.GetMTime() if labelmap else 0


def labelmapTimes(segmentation) -> dict[str, int]:
    """`labelmapTime` by segment ID."""
    return {i: labelmapTime(segmentation.GetSegment(i)) for i in segmentation.GetSegmentIDs()}


def _replace(segmentation, segmentId: str, modifier, packed: PackedMask) -> bool:
    """Copy the mask, without its margin, into the label map of a segment that shares it with no other; False where
    there is none to copy, or no label map.

    A fifth of the time of the logic, which reads all voxels several times, and does the same where nothing is masked.
    """
    segment = segmentation.GetSegment(segmentId)
    labelmap = segment.GetRepresentation(LABELMAP)
    if labelmap is None or packed.box is None:
        return False
    image = vtkOrientedImageData()
    image.CopyDirections(modifier)
    image.SetSpacing(modifier.GetSpacing())
    image.SetOrigin(modifier.GetOrigin())
    image.SetExtent(_extentOf(boxes.absolute(_box(modifier), packed.box)))
    image.GetPointData().SetScalars(scene.labelScalars(labelmapArray(modifier)[packed.box].copy()))
    segment.SetLabelValue(1)
    labelmap.ShallowCopy(image)
    labelmap.Modified()
    scene.rememberDigest(labelmap, 1, packed.digest)
    segmentation.InvokeEvent(segmentation.RepresentationModified, segmentId)  # draws views anew, as from the logic
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if logic.GetSegmentStatus(segment) == logic.NotStarted:
        logic.SetSegmentStatus(segment, logic.InProgress)
    return True


def requireOthersKept(segmentationNode, segmentId: str, editorNode, modifier) -> None:
    """Raises WriteError where "Modify other segments" would put segments onto the grid of the modifier.

    Slicer takes from others what is written by resampling each of them, also those that it does not touch.
    """
    display, segmentation = segmentationNode.GetDisplayNode(), segmentationNode.GetSegmentation()
    others = [] if editorNode.GetOverwriteMode() == editorNode.OverwriteNone else _others(segmentationNode, segmentId)
    if editorNode.GetOverwriteMode() == editorNode.OverwriteVisibleSegments:
        others = [i for i in others if display is not None and display.GetSegmentVisibility(i)]
    segments = [one for one in map(segmentation.GetSegment, others) if scene.segmentVoxels(one)]
    changed = [one for one in segments if not _sameLattice(one.GetRepresentation(LABELMAP), modifier)]
    if changed:
        names = ", ".join(f"'{one.GetName()}'" for one in changed)
        raise WriteError(
            f"Slicer would change all of {names}, drawn on another grid than that of '{segmentationNode.GetName()}': "
            "choose 'Allow overlap' for 'Modify other segments' in the Segment Editor, and try again."
        )


def separate(segmentation, segmentId: str, modifier=None) -> None:
    """Give a segment that is to be written a label map of its own, on the grid of the modifier where one is given.

    Slicer resamples a label map onto the grid of what is written into it, with all segments that share it, and puts an
    empty segment into the first of them; its masking protects a segment on the grid of the modifier alone.
    """
    segmentation.SeparateSegmentLabelmap(segmentId)
    segment = segmentation.GetSegment(segmentId)
    labelmap = segment.GetRepresentation(LABELMAP)
    if modifier is None or labelmap is None or labelmap.IsEmpty() or _sameLattice(labelmap, modifier):
        return
    labelmap.DeepCopy(_resampled(labelmap, modifier))
    labelmap.Modified()


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


def _extentOf(box: Box) -> list[int]:
    """Of an image on its lattice whose voxels are those of a box (k, j, i)."""
    return [end for part in reversed(box) for end in (part.start, part.stop - 1)]


def _sharedParts(first, second) -> tuple[Box, Box]:
    """Where two images of one lattice overlap, as (k, j, i) slices of each one's array."""
    shared = boxes.intersection(_box(first), _box(second))
    return boxes.relative_to(_box(first), shared), boxes.relative_to(_box(second), shared)


def enlarged(image, labelmap):
    """The image enlarged by zeros to cover a label map of its grid too.

    Slicer's masking protects only what lies within the image that is written.
    """
    whole = boxes.enclosing(_box(image), _box(labelmap))
    if whole == _box(image):
        return image
    larger = vtkOrientedImageData()
    larger.SetExtent(_extentOf(whole))
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


def _resampled(image, reference, transform=None, pad: bool = True):
    """The image, transformed, on the grid of the reference, None when that is not possible.

    pad: enlarge the reference's extent to hold the image.
    """
    result = vtkOrientedImageData()
    done = vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, result, False, pad, transform
    )
    return result if done else None


def _referenceGeometry(segmentationNode):
    """The segmentation's reference grid as an image without voxels, or None."""
    text = segmentationNode.GetSegmentation().GetConversionParameter(GEOMETRY)
    reference = vtkOrientedImageData()
    if not text or not vtkSegmentationConverter.DeserializeImageGeometry(text, reference, False):
        return None
    return reference
