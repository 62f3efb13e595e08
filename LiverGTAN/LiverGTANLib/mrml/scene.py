"""MRML in and out: a volume node as `CtVolume`, a mask as an image of Slicer, and the segmentation node for its liver.

Everything here runs on the main thread and opens no window. `segment_writer` puts the mask into the segmentation.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import slicer
import vtk
from slicer import vtkOrientedImageData, vtkSegmentationConverter
from slicer.util import arrayFromVTKMatrix, vtkMatrixFromArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..core.lru_cache import LruCache
from ..core.segmenter import BoxMask, PackedMask
from ..core.terminology import SEGMENT_COLOR, SEGMENT_NAME, TERMINOLOGY
from ..core.volume import CtVolume, InputError

LABELMAP = vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
SURFACE = vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
SEGMENT_TAG = "LiverGTAN"
"""Segment tag of the one segment that belongs to this module. Its value names the student that made it and ends with
the ID of the segment: a copy of the segment has another ID, and is the user's own."""

DIGEST_TAG = "LiverGTAN.digest"
"""Segment tag with `voxelDigest` of the mask as this module wrote it. It is saved with the segment, so that an edit is
known after loading too."""

EDITED = "edited"
"""In the place of a digest, which it never equals."""

PLACE_TAG = "LiverGTAN.place"
"""Segment tag with the place of that mask: twelve numbers in its segmentation, in mm, and twelve in its CT, in voxels
(none where that is no matrix)."""

SAME_MM = 1e-3
"""Numbers of matrices that differ by less are the same (a choice); what a saved scene rounds is less."""

SAME_VOXEL = 0.02
"""As `SAME_MM`, in voxels; a choice."""

_digests = LruCache(1024)
"""Of masks and images, by the time of their last change, which VTK gives to one object alone; so many frames of a
sequence are not read again."""

ALGORITHM_TYPE_TAG, ALGORITHM_NAME_TAG = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"
"""Segment tags that Slicer's plugin for DICOM segmentations writes and reads (DICOMSegmentationPlugin.py)."""

LONGEST_ALGORITHM_NAME = 64
"""Characters of a long string (LO) in DICOM PS3.5, 6.2."""

LIVER_ROLE = "LiverGTAN.volume"
"""Node reference of a segmentation to the volume whose liver its segment is. Where segments had been drawn on another
volume before, that one stays the reference volume."""

_OUTPUT_ROLE = "LiverGTAN.segmentation"
"""Node references of a volume to the segmentations that its liver went into, the one that was used last comes last."""

_OWNER_ROLE = "LiverGTAN.owner"
"""Node references of an ROI or a list of points to the volumes that it belongs to, of a plan to the liver's node."""

SURFACE_SMOOTHING = "0.5"
"""How strongly surface nets smooth as they are made, from 0 to 1, as Slicer's default. On the sample CT's liver and the
same on 512x512x129 voxels they lie nearer to the faces of the voxels than what Slicer makes by default, in an eighth of
the time: 0.53 mm on average against 0.58, and 0.17 against 0.23; with 0.8 0.74 and 0.23. Their volume is 1.2 and 0.2 %
below that of the voxels, with 0.8 2.3 and 0.3 %. With normals no terraces are seen, see `surface.shade`. All figures:
Testing/benchmarks/surface.py."""


def readCt(volumeNode) -> CtVolume:
    """The node's voxels, not copied, with their place in the world.

    A linear parent transform is part of the geometry, so that a rotated scan is still seen upright. Under one that
    bends space the geometry is that of the node itself; `warp.Warp` measures where its voxels are.
    Raises InputError for what is not one 3-D scalar image.
    """
    imageData = volumeNode.GetImageData() if volumeNode else None
    scalars = imageData.GetPointData().GetScalars() if imageData else None
    if scalars is None:
        raise InputError("The volume holds no image; load a CT or choose another volume.")
    name = volumeNode.GetName()
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"'{name}' is a label map; choose the CT that it was drawn on.")
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(f"'{name}' has {scalars.GetNumberOfComponents()} values in each voxel; choose a scalar CT.")
    # The array wraps the memory of the VTK array and keeps it alive, also when the node is deleted meanwhile.
    hu = vtk_to_numpy(scalars).reshape(imageData.GetDimensions()[::-1])
    matrix = ijkToLocal(volumeNode) if isWarped(volumeNode) else ijkToWorld(volumeNode)
    return CtVolume(hu=hu, ijk_to_ras=matrix, name=name)


def isScan(node) -> bool:
    """Whether selectors offer the node as a CT; label maps, color images and tensors are of derived classes."""
    return node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()


def imageEvents(volumeNode) -> tuple:
    """Events of a volume after which `imageKey` may be another one.

    Scripts that write voxels send the node's own event alone (slicer.util.arrayFromVolumeModified).
    """
    return vtk.vtkCommand.ModifiedEvent, volumeNode.ImageDataModifiedEvent, volumeNode.TransformModifiedEvent


def segmentEvents(segmentationNode) -> tuple:
    """Events of a segmentation node after which its segments, their voxels or their place may be others.

    Where its whole content is replaced, as by a browser of sequences, it sends the node's own event alone.
    """
    events = slicer.vtkSegmentation
    changed = events.SourceRepresentationModified, events.SegmentAdded, events.SegmentRemoved
    return (*changed, vtk.vtkCommand.ModifiedEvent, segmentationNode.TransformModifiedEvent)


def imageKey(volumeNode) -> tuple:
    """Equal as long as the node shows the same voxels in the same place; what a cached analysis belongs to."""
    image = volumeNode.GetImageData()
    voxels = volumeNode.GetID(), image.GetMTime() if image else 0
    if not isWarped(volumeNode):
        return (*voxels, ijkToWorld(volumeNode).tobytes())
    # A warp is no matrix that could be compared. The time is that of the newest transform up to the world, so it grows
    # when one is changed, but not when a node is put under an older one.
    transform = above = volumeNode.GetParentTransformNode()
    chain = []
    while above is not None:
        chain.append(above.GetID())
        above = above.GetParentTransformNode()
    return (*voxels, ijkToLocal(volumeNode).tobytes(), *chain, transform.GetTransformToWorldMTime())


def relativeKey(volumeNode, segmentationNode) -> tuple:
    """Equal as long as the volume shows the same voxels, a segmentation lies to it as before, and both are as large.

    A transform that moves both together changes nothing, unless it scales them, or bends space.
    """
    image = volumeNode.GetImageData()
    voxels = volumeNode.GetID(), image.GetMTime() if image else 0, ijkToLocal(volumeNode).tobytes()
    if isWarped(volumeNode) or isWarped(segmentationNode):
        transform = segmentationNode.GetParentTransformNode()
        times = (transform.GetID(), transform.GetTransformToWorldMTime()) if transform is not None else ()
        return (*voxels, *imageKey(volumeNode), *times)
    between = matrixOf(transformBetween(volumeNode, segmentationNode))
    size = abs(np.linalg.det(localToWorld(volumeNode)[:3, :3]))
    return (*voxels, (between.round(6) + 0.0).tobytes(), round(size, 6))  # 0.0, for -0.0 has other bytes


def isWarped(transformableNode) -> bool:
    """Whether the node lies under a transform that bends space."""
    transform = transformableNode.GetParentTransformNode()
    return transform is not None and not transform.IsTransformToWorldLinear()


def ijkToWorld(volumeNode) -> np.ndarray:
    """(4, 4): voxel indices i, j, k to world RAS mm. Raises ValueError for a warped volume."""
    return localToWorld(volumeNode) @ ijkToLocal(volumeNode)


def ijkToLocal(volumeNode) -> np.ndarray:
    """(4, 4): voxel indices i, j, k to RAS mm as stored in the node, under its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return arrayFromVTKMatrix(matrix)


def localToWorld(transformableNode) -> np.ndarray:
    """(4, 4) of the node's parent transform, the identity when there is none. Raises ValueError for a warped node."""
    matrix = matrixOf(transformBetween(transformableNode, None))
    if matrix is None:
        raise ValueError(f"'{transformableNode.GetName()}' lies under a transform that no matrix can replace.")
    return matrix


def transformBetween(source, target):
    """From RAS mm as stored in a transformable node to those stored in another; None: to or from the world."""
    transform = vtk.vtkGeneralTransform()
    parents = (node.GetParentTransformNode() if node is not None else None for node in (source, target))
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, transform)
    return transform


def matrixOf(transform) -> np.ndarray | None:
    """(4, 4) of a transform, None when it bends space."""
    linear = vtk.vtkTransform()
    isLinear = slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(transform, linear)
    return arrayFromVTKMatrix(linear.GetMatrix()) if isLinear else None


def transformed(transform, points: np.ndarray) -> np.ndarray:
    """(N, 3) points in mm through a transform."""
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    before.SetData(numpy_to_vtk(np.ascontiguousarray(points, float)))
    after.SetDataTypeToDouble()
    transform.TransformPoints(before, after)
    return vtk_to_numpy(after.GetData()).copy()


def orientedImage(boxMask: BoxMask, ijkToRas: np.ndarray) -> vtkOrientedImageData:
    """The mask as an image of its box alone, sharing its memory. ijkToRas: (4, 4) of the whole grid, in mm."""
    voxels, start = boxMask.voxels, boxMask.start
    if voxels.size == 0:
        voxels, start = np.zeros((1, 1, 1), np.uint8), (0, 0, 0)
    image = vtkOrientedImageData()
    image.SetExtent(*[e for axis in (2, 1, 0) for e in (start[axis], start[axis] + voxels.shape[axis] - 1)])
    image.SetGeometryFromImageToWorldMatrix(vtkMatrixFromArray(ijkToRas))
    image.GetPointData().SetScalars(labelScalars(np.ascontiguousarray(voxels, np.uint8)))
    return image


def labelScalars(voxels: np.ndarray):
    """The voxels of a label map as a VTK array, which shares their memory and keeps it alive.

    It has the name that Slicer gives: its export of DICOM segmentations takes a label map without it for empty.
    """
    scalars = numpy_to_vtk(voxels.reshape(-1))
    scalars.SetName("ImageScalars")
    return scalars


def labelmapArray(image) -> np.ndarray:
    """The voxels of an oriented image as a (k, j, i) view; an empty one has no voxels."""
    scalars = image.GetPointData().GetScalars()
    extent = image.GetExtent()
    shape = [max(0, extent[2 * axis + 1] - extent[2 * axis] + 1) for axis in (2, 1, 0)]
    if scalars is None or 0 in shape:
        return np.zeros((0, 0, 0), np.uint8)
    return vtk_to_numpy(scalars).reshape(shape)


def imageToWorld(image) -> np.ndarray:
    """(4, 4): voxel indices i, j, k of an oriented image to RAS mm."""
    matrix = vtkMatrixFromArray(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    return arrayFromVTKMatrix(matrix)


def segmentVoxels(segment) -> int:
    """Number of voxels of a segment."""
    labelmap = segment.GetRepresentation(LABELMAP)
    return 0 if labelmap is None else int(np.count_nonzero(labelmapArray(labelmap) == segment.GetLabelValue()))


def voxelDigest(segment) -> str:
    """Equal for segments of the same shape; empty without a label map."""
    labelmap = segment.GetRepresentation(LABELMAP)
    return "" if labelmap is None else maskDigest(labelmap, segment.GetLabelValue())[0]


def maskDigest(labelmap, value: int) -> tuple[str, list[int]]:
    """(digest of the voxels of a value in their bounding box, i, j, k of its first voxel: empty without any).

    Of the box, because Slicer crops and pads label maps, also when it saves and loads them.
    """
    return _digests.get_or_make(
        (labelmap.GetMTime(), labelmap.GetExtent(), value), lambda: _maskDigest(labelmap, value)
    )


def _maskDigest(labelmap, value: int) -> tuple[str, list[int]]:
    packed, extent = PackedMask.of(labelmapArray(labelmap) == value), labelmap.GetExtent()
    box = packed.box
    return packed.digest, [extent[2 * axis] + box[2 - axis].start for axis in range(3)] if box else []


def rememberDigest(labelmap, value: int, digest: str) -> None:
    """Remember what `maskDigest` would find in a label map whose every side a voxel of this value touches."""
    extent = labelmap.GetExtent()
    _digests.store((labelmap.GetMTime(), extent, value), (digest, list(extent[::2])))


def imageDigest(image) -> str:
    """Equal for images of the same voxels, whatever their grids; empty without any."""
    return digestOf(image)()


def digestOf(image) -> Callable[[], str]:
    """`imageDigest` of an image as it is, for any thread: it reads all voxels once, 31 ms for 512x512x129."""
    scalars, key = image.GetPointData().GetScalars(), (image.GetMTime(), image.GetExtent())
    if scalars is None:
        return str
    voxels = vtk_to_numpy(scalars)  # keeps them alive
    return lambda: _digests.get_or_make(key, lambda: f"{zlib.crc32(np.ascontiguousarray(voxels).data):08x}")


def gridOfMask(segment) -> np.ndarray | None:
    """(4, 4) from voxel indices that count from the segment's first voxel to mm, None without voxels."""
    labelmap = segment.GetRepresentation(LABELMAP) if segment is not None else None
    first = maskDigest(labelmap, segment.GetLabelValue())[1] if labelmap is not None else []
    if not first:
        return None
    grid = imageToWorld(labelmap)
    grid[:3, 3] += grid[:3, :3] @ first
    return grid


def localToVoxels(segmentationNode, volumeNode) -> np.ndarray | None:
    """(4, 4) from mm of a segmentation to voxel indices of a volume, None where there is no such matrix."""
    between, grid = matrixOf(transformBetween(segmentationNode, volumeNode)), ijkToLocal(volumeNode)
    return None if between is None or not np.linalg.det(grid) else np.linalg.inv(grid) @ between


def noteVoxels(segment, toCt: np.ndarray | None) -> None:
    """Note that the segment's voxels, where they are, are those that this module made.

    toCt: `localToVoxels` of its CT.
    """
    segment.SetTag(DIGEST_TAG, voxelDigest(segment))
    segment.SetTag(PLACE_TAG, " ".join(f"{number:.6f}" for number in _placeOfMask(segment, toCt)))


def noteEdit(segment) -> None:
    """Note that voxels of the segment are the user's, though this module wrote others of them last."""
    segment.SetTag(DIGEST_TAG, EDITED)


def voxelState(segment) -> str:
    """Equal as long as the segment's voxels are the same, in the same place of its segmentation."""
    return f"{voxelDigest(segment)} {np.round(_placeOfMask(segment, None), 3)}"


def isEdited(segment, toCt: np.ndarray | None) -> bool:
    """Whether the segment's voxels, or their place, are not what `noteVoxels` noted last.

    A mask that was moved together with its CT (both hardened under one transform) is none that was edited. Where
    nothing was noted, nothing is edited.
    """
    noted = _tagOf(segment, DIGEST_TAG)
    if not noted or noted != voxelDigest(segment):
        return bool(noted)
    place, before = _placeOfMask(segment, toCt), [float(number) for number in _tagOf(segment, PLACE_TAG).split()]
    isMoved = bool(before) and not _isSame(place[:12], before[:12], SAME_MM)
    if isMoved and len(place) == len(before) == 24:
        isMoved = not _isSame(place[12:], before[12:], SAME_VOXEL)
    return isMoved


def liverSegment(segmentationNode):
    """This module's liver in a segmentation, None without one or without a segmentation."""
    segmentId = liverSegmentId(segmentationNode) if segmentationNode is not None else ""
    return segmentationNode.GetSegmentation().GetSegment(segmentId) if segmentId else None


def isLiverEdited(segmentationNode) -> bool:
    """Whether the liver in a segmentation was edited after this module wrote it, also before it was loaded."""
    segment = liverSegment(segmentationNode)
    if segment is None:
        return False
    volumeNode = liverVolume(segmentationNode)
    return isEdited(segment, localToVoxels(segmentationNode, volumeNode) if volumeNode is not None else None)


def _placeOfMask(segment, toCt: np.ndarray | None) -> list[float]:
    grid = gridOfMask(segment)
    if grid is None:
        return []
    places = [grid] if toCt is None else [grid, toCt @ grid]
    return [float(number) for place in places for number in place[:3].ravel()]


def _isSame(one: list[float], other: list[float], tolerance: float) -> bool:
    return len(one) == len(other) and np.allclose(one, other, rtol=0, atol=tolerance)


def createSegmentation(volumeNode):
    """A new segmentation "<volume> liver" on the volume's grid, beside it in the subject hierarchy."""
    scene = volumeNode.GetScene()
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} {SEGMENT_NAME}")
    segmentationNode = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    with removedOnError(segmentationNode):
        segmentationNode.CreateDefaultDisplayNodes()
        segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        chooseSurfaces(segmentationNode)
        placeBeside(segmentationNode, volumeNode)
    return segmentationNode


def chooseSurfaces(segmentationNode) -> None:
    """Have surfaces made the way that is fastest and smooth: as surface nets that smooth themselves."""
    for name, value in _surfaceParameters().items():
        segmentationNode.GetSegmentation().SetConversionParameter(name, value)


def makesChosenSurfaces(segmentation) -> bool:
    """Whether surfaces are made as `chooseSurfaces` has them made: the user has chosen nothing else since."""
    return all(segmentation.GetConversionParameter(name) == value for name, value in _surfaceParameters().items())


def _surfaceParameters() -> dict[str, str]:
    """Conversion parameter -> value."""
    rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule
    return {
        rule.GetConversionMethodParameterName(): "1",
        rule.GetSurfaceNetInternalSmoothingParameterName(): "1",
        rule.GetSmoothingFactorParameterName(): SURFACE_SMOOTHING,
        rule.GetDecimationFactorParameterName(): "0.0",
        rule.GetComputeSurfaceNormalsParameterName(): "1",
        rule.GetJointSmoothingParameterName(): "0",
    }


def removeNode(node) -> None:
    """Remove a node with its display and storage nodes and its item in the subject hierarchy."""
    mrmlScene = node.GetScene()
    if mrmlScene is None:
        return
    displays = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    parts = [*(node.GetNthDisplayNode(n) for n in range(displays)), node.GetStorageNode()]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrmlScene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    if item:
        hierarchy.RemoveItem(item, False, False)
    mrmlScene.RemoveNode(node)
    for part in parts:
        if part is not None and part.GetScene() is not None:
            mrmlScene.RemoveNode(part)


@contextmanager
def removedOnError(node) -> Iterator[None]:
    """Remove a new node again when this block ends with an error."""
    try:
        yield
    except BaseException:
        removeNode(node)
        raise


def addHiddenNode(mrmlScene, className: str, name: str = "", singletonTag: str = ""):
    """A new node that selectors do not offer and that is not saved with the scene."""
    node = mrmlScene.CreateNodeByClass(className)
    node.UnRegister(None)
    node.SetName(name)
    if singletonTag:
        node.SetSingletonTag(singletonTag)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return mrmlScene.AddNode(node)


def placeBeside(segmentationNode, volumeNode) -> None:
    """Put the segmentation under the volume's study in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    volumeItem = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    if not volumeItem:
        return
    study, item = hierarchy.GetItemParent(volumeItem), hierarchy.GetItemByDataNode(segmentationNode)
    if item:
        hierarchy.SetItemParent(item, study)
    else:
        hierarchy.CreateItem(study, segmentationNode)


def findSegmentation(volumeNode):
    """The segmentation that holds this volume's liver and was used last, or None."""
    if volumeNode is None:
        return None
    used = _references(volumeNode, _OUTPUT_ROLE)[::-1]
    # A volume that refers to none was never segmented in this scene; its liver may be there from a file. A copy of the
    # segmentation that the user keeps is never chosen unasked.
    known = volumeNode.GetNumberOfNodeReferences(_OUTPUT_ROLE)
    candidates = used if known else slicer.util.getNodesByClass("vtkMRMLSegmentationNode", volumeNode.GetScene())
    return next((node for node in candidates if liverVolume(node) == volumeNode), None)


def useSegmentation(volumeNode, segmentationNode) -> None:
    """From now on this is the segmentation that the volume's liver was put into last."""
    used = _references(volumeNode, _OUTPUT_ROLE)
    if not used or used[-1] != segmentationNode:
        volumeNode.RemoveNodeReferenceIDs(_OUTPUT_ROLE)
        for node in [*(one for one in used if one != segmentationNode), segmentationNode]:
            volumeNode.AddNodeReferenceID(_OUTPUT_ROLE, node.GetID())


def requireNode(mrmlScene, purpose: str, node, className: str) -> None:
    """Raises InputError where a script gives something else than a node of this class in the scene.

    purpose: what it is for, to the user.
    """
    if isinstance(node, str):
        raise InputError(f"The {purpose} cannot be a name; give the node itself: slicer.util.getNode({node[:80]!r}).")
    if not isinstance(node, slicer.vtkMRMLNode):
        raise InputError(f"The {purpose} cannot be {str(node)[:80]}; give a node, a {className}.")
    if not node.IsA(className):
        raise InputError(f"The {purpose} cannot be '{node.GetName()}', a {node.GetClassName()}; give a {className}.")
    if not mrmlScene.IsNodePresent(node):
        raise InputError(f"The {purpose} '{node.GetName()}' is not in Slicer's scene; add it, or give another.")


def owned(owner, role: str):
    """The node that an owner (a volume, or the segmentation with a liver) refers to in this role and that is its own.

    None when there is none. A copy of an owner refers to what belongs to the node that it was copied from.
    """
    node = owner.GetNodeReference(role) if owner else None
    if node is None or not node.GetNumberOfNodeReferences(_OWNER_ROLE):
        return node
    return node if owner in _references(node, _OWNER_ROLE) else None


def setOwned(owner, role: str, node) -> None:
    """Let a node (or None) be the one that belongs to an owner in this role."""
    setReference(owner, role, node)
    if node is not None and owner not in _references(node, _OWNER_ROLE):
        node.AddNodeReferenceID(_OWNER_ROLE, owner.GetID())


def _references(node, role: str) -> list:
    """The nodes that a node refers to in this role, but for those that were removed."""
    count = node.GetNumberOfNodeReferences(role)
    return [other for other in (node.GetNthNodeReference(role, n) for n in range(count)) if other is not None]


def setReference(node, role: str, other) -> None:
    """Make a node refer to another one (None: to none) in this role; saved with the scene."""
    if other is None:
        if node.GetNodeReferenceID(role):
            node.RemoveNodeReferenceIDs(role)
    elif node.GetNodeReference(role) != other:
        node.SetNodeReferenceID(role, other.GetID())


def referenceVolume(segmentationNode):
    """The volume on whose grid the segmentation was made, or None."""
    return segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())


def liverSegmentId(segmentationNode) -> str:
    """ID of the segment that belongs to this module, empty when there is none.

    A user's own segment called "liver" is not ours and stays untouched.
    """
    segmentation = segmentationNode.GetSegmentation()
    for segmentId in segmentation.GetSegmentIDs():
        if _tagOf(segmentation.GetSegment(segmentId)).endswith(f" {segmentId}"):
            return segmentId
    return ""


def copyTags(source, target) -> None:
    """Mark a segment as ours as another one is marked, or not at all."""
    if not _tagOf(source):
        target.RemoveTag(SEGMENT_TAG)
        return
    for tag in (SEGMENT_TAG, DIGEST_TAG, PLACE_TAG, ALGORITHM_TYPE_TAG, ALGORITHM_NAME_TAG):
        if value := _tagOf(source, tag):
            target.SetTag(tag, value)


def terminologyOf(segment) -> str:
    """Category, type, modifier and region as Slicer serializes them; empty when none was chosen."""
    return _tagOf(segment, segment.GetTerminologyEntryTagName())


def _tagOf(segment, tag: str = SEGMENT_TAG) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(tag, value) else ""


def liverVolume(segmentationNode):
    """The volume whose liver our segment is; None without such a segment, or when its volume is not known or gone."""
    if segmentationNode is None or not liverSegmentId(segmentationNode):
        return None
    if segmentationNode.GetNodeReferenceID(LIVER_ROLE):  # it stays when its volume is removed
        return segmentationNode.GetNodeReference(LIVER_ROLE)
    return referenceVolume(segmentationNode)


def tagLiver(segmentationNode, segmentId: str, volumeNode, student: str, assisted: bool = False) -> None:
    """Mark a segment as ours: made by this student, the liver of this volume. assisted: by points or an ROI."""
    tagSegment(segmentationNode, segmentId, student, assisted)
    setReference(segmentationNode, LIVER_ROLE, volumeNode)


def tagSegment(segmentationNode, segmentId: str, student: str, assisted: bool = False) -> None:
    """As `tagLiver`, in a segmentation that refers to no volume."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    segment.SetTag(SEGMENT_TAG, f"{student} {segmentId}")
    describeAlgorithm(segment, student, assisted)


def describeAlgorithm(segment, name: str, assisted: bool) -> None:
    """What a DICOM segmentation says of the segment's origin; without it, Slicer writes that it was drawn by hand.

    assisted: whether a user had a part in it.
    """
    segment.SetTag(ALGORITHM_TYPE_TAG, "SEMIAUTOMATIC" if assisted else "AUTOMATIC")
    segment.SetTag(ALGORITHM_NAME_TAG, f"{SEGMENT_TAG} {name}"[:LONGEST_ALGORITHM_NAME])


def addLiverSegment(segmentationNode) -> str:
    """A new empty liver segment with name, color and terminology; returns its ID."""
    segmentation = segmentationNode.GetSegmentation()
    taken = bool(segmentation.GetSegmentIdBySegmentName(SEGMENT_NAME))
    name = f"{SEGMENT_NAME} ({SEGMENT_TAG})" if taken else SEGMENT_NAME
    segmentId = segmentation.AddEmptySegment(segmentation.GenerateUniqueSegmentID(SEGMENT_NAME), name, SEGMENT_COLOR)
    segment = segmentation.GetSegment(segmentId)
    segment.SetTag(segment.GetTerminologyEntryTagName(), TERMINOLOGY)
    segment.SetNameAutoGenerated(False)
    return segmentId
