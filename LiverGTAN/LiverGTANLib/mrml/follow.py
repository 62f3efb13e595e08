"""What is segmented unasked, for users who want that: volumes that are loaded, one whose voxels change, and image files
that come into a folder. Main thread only.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from ..core.volume import InputError
from . import scene
from .ct_sequence import CtSequence
from .parameters import ChosenParameters
from .session import Session

SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")
"""Image files that hold header and voxels in one, so that a file is complete when it does not grow any more."""

_SHOWING = (
    "vtkMRMLSelectionNode",
    "vtkMRMLSliceCompositeNode",
    "vtkMRMLAbstractViewNode",
    "vtkMRMLDisplayNode",
    "vtkMRMLSubjectHierarchyNode",
)
"""Classes of nodes that refer to a volume where it is only shown or listed."""


def obstacle(session: Session, chosen: ChosenParameters) -> str:
    """Why a volume is not segmented unasked, empty when it is. What its analysis shows is known only after that."""
    reason, _ = session.obstacles(chosen)
    if reason:
        return reason
    if session.isLarge(chosen):
        return "The scan is large: press Segment to segment it."
    return ""


def liverOfFrames(volumeNode):
    """The segmentation in which a browser shows the livers of this volume's frames, None where it shows none."""
    try:
        source = CtSequence.of(volumeNode)
    except InputError:  # it is no frame of a sequence
        return None
    made = source.segmentations
    return source.browserNode.GetProxyNode(made) if made is not None else None


class VolumeWatch(VTKObservationMixin):
    """Calls onVolume(node) for volumes that are loaded and for new voxels (or another place) of one volume, perhaps
    several times for one change, and perhaps before the voxels are there.
    """

    def __init__(self, mrmlScene, onVolume: Callable):
        VTKObservationMixin.__init__(self)
        self._scene, self._onVolume = mrmlScene, onVolume
        self.loaded = False
        self.volumeNode: Any = None
        self._key: tuple | None = None

    def watchLoaded(self, on: bool) -> None:
        """Report CTs that are loaded from now on, or no longer."""
        self.removeObservers(self._onNodeAdded)
        self.removeObservers(self._onExpected)
        self.loaded = on
        if on:
            self.addObserver(self._scene, self._scene.NodeAddedEvent, self._onNodeAdded)

    def watchVolume(self, volumeNode) -> None:
        """None: no volume."""
        self.removeObservers(self._onImage)
        self.volumeNode, self._key = volumeNode, None
        if volumeNode is not None:
            self._key = scene.imageKey(volumeNode)
            for event in scene.imageEvents(volumeNode):
                self.addObserver(volumeNode, event, self._onImage)

    def expect(self, volumeNode) -> None:
        """Call onVolume once more for this volume, when it gets its voxels."""
        if not self.hasObserver(volumeNode, volumeNode.ImageDataModifiedEvent, self._onExpected):
            self.addObserver(volumeNode, volumeNode.ImageDataModifiedEvent, self._onExpected)

    def _onExpected(self, caller, event) -> None:
        self.removeObserver(caller, caller.ImageDataModifiedEvent, self._onExpected)
        self._onVolume(caller)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller, event, node) -> None:
        """What a scene brings along was worked on before. Loading one file is a batch process too, which therefore does
        not distinguish a scene from a file."""
        if node is not None and scene.isScan(node) and not self._scene.IsImporting() and not self._scene.IsRestoring():
            self._onVolume(node)

    def _onImage(self, caller, event) -> None:
        if self._scene.IsClosing() or self._scene.IsImporting():
            return
        before, self._key = self._key, scene.imageKey(caller)
        if self._key != before:  # else another property of the node is another one
            self._onVolume(caller)


def isLoaded(volumeNode) -> bool:
    """Whether the volume was read from files: others are made by modules (resampled, subtracted, filtered)."""
    storage = volumeNode.GetStorageNode()
    return bool((storage and storage.GetFileName()) or volumeNode.GetAttribute("DICOM.instanceUIDs"))


class FolderWatch:
    """The image file that came into a folder last, or was written anew last, since the watch began.

    waiting: name of a file that is still being written, empty when there is none.
    """

    def __init__(self, folder: str | Path):
        """Raises InputError when it is no folder that can be read."""
        self.folder, self.waiting = Path(folder), ""
        self._candidate: tuple | None = None
        self._partial: tuple | None = None  # a file that ends too early, and its stamp
        self._known = self._stamps()

    def poll(self) -> Path | None:
        """The newest file that is complete, once. It is when it is as it was at the poll before; older ones are left.

        Raises InputError when the folder cannot be read (any more).
        """
        found = self._stamps()
        new = {path: stamp for path, stamp in found.items() if self._known.get(path) != stamp}
        newest = max(new, key=lambda path: new[path], default=None)
        before, self._candidate = self._candidate, (newest, new[newest]) if newest else None
        isComplete = newest is not None and before == self._candidate and self._isWhole(newest, new[newest])
        self.waiting = newest.name if newest and not isComplete else ""
        if not isComplete:
            return None
        self._known = found
        return newest

    def _isWhole(self, path: Path, stamp: tuple[int, int]) -> bool:
        """Whether a file ends where it should, as far as that is known beforehand: Slicer reads NIfTI files that end
        too early, with zeros for what is missing. Other files it refuses.
        """
        if stamp[1] == 0 or self._partial == (path, stamp):
            return False
        if path.name.lower().endswith((".nii", ".nii.gz")) and not _isWholeNifti(path):
            self._partial = path, stamp
            return False
        return True

    def _stamps(self) -> dict[Path, tuple[int, int]]:
        """File -> (time of the last change, bytes)."""
        stamps = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                        with suppress(FileNotFoundError):  # removed or renamed since it was listed
                            status = entry.stat()
                            stamps[Path(entry.path)] = status.st_mtime_ns, status.st_size
        except OSError as error:
            raise InputError(f"The folder '{self.folder}' cannot be read: {error.strerror or error}.") from error
        return stamps


def _isWholeNifti(path: Path) -> bool:
    """Whether a NIfTI file holds as many bytes as its header says; True where that cannot be known."""
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            needed = _niftiBytes(file.read(176))
            if not packed:
                return path.stat().st_size >= needed
            while chunk := file.read(1 << 24):
                needed -= len(chunk)
            return needed <= 176
    except (EOFError, zlib.error):  # the stream ends within a block
        return False
    except OSError:  # cannot be read, or is no gzip file: Slicer says so
        return True


def _niftiBytes(header: bytes) -> int:
    """Bytes of a NIfTI-1 or NIfTI-2 file with header and voxels, 0 where the header is of neither (nifti1.h, nifti2.h
    of nifti.nimh.nih.gov)."""
    for order in "<>":
        size = struct.unpack_from(f"{order}i", header.ljust(4, b"\0"))[0]
        if size in (348, 540) and len(header) < 176:
            return size
        if size == 348:
            dim, bits = struct.unpack_from(f"{order}8h", header, 40), struct.unpack_from(f"{order}h", header, 72)[0]
            return int(struct.unpack_from(f"{order}f", header, 108)[0]) + _voxelBytes(dim, bits)
        if size == 540:
            dim, bits = struct.unpack_from(f"{order}8q", header, 16), struct.unpack_from(f"{order}h", header, 14)[0]
            return struct.unpack_from(f"{order}q", header, 168)[0] + _voxelBytes(dim, bits)
    return 0


def _voxelBytes(dim: tuple[int, ...], bits: int) -> int:
    return math.prod(max(1, n) for n in dim[1 : 1 + max(0, min(7, dim[0]))]) * bits // 8


class FolderVolumes:
    """The volumes that were read from a folder's files."""

    def __init__(self):
        self._nodes: dict[Path, tuple[str, tuple]] = {}  # file -> ID of its node, and the image as it was read

    def read(self, path: Path):
        """Read a file into its node, or into a new one where there is none, or that is in use or was changed.

        Raises InputError when that fails.
        """
        nodeId, image = self._nodes.get(path, ("", ()))
        node = slicer.mrmlScene.GetNodeByID(nodeId) if nodeId else None
        isFree = node is not None and node.GetStorageNode() is not None and scene.imageKey(node) == image
        if isFree and not _isUsed(node):
            done = node.GetStorageNode().ReadData(node)
        else:
            node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), path.name.partition(".")[0])
            done = node is not None
        if not done:
            raise InputError(f"'{path.name}' could not be read; look into the application log.")
        self._nodes[path] = node.GetID(), scene.imageKey(node)
        return node


def _isUsed(volumeNode) -> bool:
    """Whether another node that is saved with the scene refers to a volume: a segmentation, an ROI, a module's choice.
    Where it is only shown does not count."""
    mrmlScene = volumeNode.GetScene()
    nodes = slicer.util.getNodesByClass("vtkMRMLNode", mrmlScene)
    others = (node for node in nodes if node.GetSaveWithScene() and not any(map(node.IsA, _SHOWING)))
    return any(mrmlScene.IsNodeReferencingNodeID(node, volumeNode.GetID()) for node in others)
