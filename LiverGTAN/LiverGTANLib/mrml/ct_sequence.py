"""The CTs of a Sequences browser: which they are, reading them, and what speaks against segmenting them.

The segmentations that were made of them are a sequence of the same browser. On the main thread.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk

from ..core.volume import CtVolume, InputError
from . import scene, volume_curve
from .warp import Warp

VOLUME_CLASS = "vtkMRMLScalarVolumeNode"

_SEGMENTATIONS = "LiverGTAN.frames.segmentations"
"""Node reference of a sequence of CTs."""


@dataclass(frozen=True, eq=False)
class CtSequence:
    """Frames of CT in a browser. proxyNode: the volume in which the browser shows the frame that is selected."""

    browserNode: Any
    sequenceNode: Any
    proxyNode: Any

    @staticmethod
    def of(node) -> "CtSequence":
        """node: the volume in which a browser shows its frames, or a browser. Raises InputError."""
        if node is None or node.GetScene() is None:
            raise InputError("Choose a CT of a sequence.")
        if node.IsA("vtkMRMLSequenceBrowserNode"):
            return CtSequence._inBrowser(node)
        for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", node.GetScene()):
            sequence = browser.GetSequenceNode(node)
            if sequence is not None:
                return CtSequence(browser, sequence, node)
        raise InputError(
            f"'{node.GetName()}' is no frame of a sequence: choose the volume in which a browser of the Sequences "
            "module shows them."
        )

    @staticmethod
    def _inBrowser(browser) -> "CtSequence":
        found, nodes = vtk.vtkCollection(), []
        browser.GetSynchronizedSequenceNodes(found, True)
        for n in range(found.GetNumberOfItems()):
            sequence = found.GetItemAsObject(n)
            if sequence.GetNumberOfDataNodes() and sequence.GetDataNodeClassName() == VOLUME_CLASS:
                nodes.append(sequence)
        if len(nodes) != 1:
            many = "several sequences of volumes: give the volume that shows the one to segment"
            raise InputError(f"'{browser.GetName()}' has {many if nodes else 'no frames of a CT'}.")
        proxyNode = browser.GetProxyNode(nodes[0])
        if proxyNode is None:
            raise InputError(f"'{browser.GetName()}' does not show its CT; switch its playback on in Sequences.")
        return CtSequence(browser, nodes[0], proxyNode)

    @property
    def exists(self) -> bool:
        """Whether all nodes are in the scene and the browser still shows the frames in the same volume."""
        nodes = (self.browserNode, self.sequenceNode, self.proxyNode)
        inScene = all(node.GetScene() is not None for node in nodes)
        return inScene and self.browserNode.GetSequenceNode(self.proxyNode) == self.sequenceNode

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.sequenceNode.GetNumberOfDataNodes()

    @property
    def indexTitle(self) -> str:
        """Heading for the index, such as "time [s]"."""
        name, unit = self.sequenceNode.GetIndexName() or "index", self.sequenceNode.GetIndexUnit()
        title = f"{name} [{unit}]" if unit else name
        return f"{title} (index)" if title in volume_curve.TITLES else title

    @property
    def segmentations(self):
        """The sequence of segmentations that was made of the frames and is in the browser, or None."""
        node = scene.owned(self.sequenceNode, _SEGMENTATIONS)
        isShown = node is not None and self.browserNode.IsSynchronizedSequenceNodeID(node.GetID(), True)
        return node if isShown else None

    def own(self, made) -> None:
        """Let a sequence of segmentations (None: none) be the one that was made of the frames."""
        scene.setOwned(self.sequenceNode, _SEGMENTATIONS, made)

    @property
    def otherBrowser(self):
        """Another browser, which shows the segmentations that were made of the frames; None where none does."""
        node = scene.owned(self.sequenceNode, _SEGMENTATIONS)
        if node is None or self.segmentations is not None:
            return None
        browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", node.GetScene())
        return next((one for one in browsers if one.IsSynchronizedSequenceNodeID(node.GetID(), True)), None)

    @property
    def maskProxy(self):
        """The node whose transform the masks of all frames lie under: the one that shows them, else the CT's."""
        return self.browserNode.GetProxyNode(self.segmentations) or self.proxyNode

    def curveKey(self) -> list:
        """Equal as long as the curve of the segmentations is the same; holds no image."""
        frames = [key[:1] + key[2:] for key in (self._frameKey(n) for n in range(self.count))]
        return [maskTimes(self.segmentations), frames, _placeOf(self.proxyNode), _placeOf(self.maskProxy)]

    def key(self) -> list:
        """Equal as long as the frames show the same voxels in the same place."""
        return [self._frameKey(n) for n in range(self.count)] + [_placeOf(self.proxyNode)]

    def _frameKey(self, number: int) -> tuple:
        frame = self.sequenceNode.GetNthDataNode(number)
        image = frame.GetImageData() if frame is not None and frame.IsA("vtkMRMLVolumeNode") else None
        matrix = scene.ijkToLocal(frame).tobytes() if image is not None else b""
        return self.sequenceNode.GetNthIndexValue(number), image, image.GetMTime() if image else 0, matrix


def _placeOf(volumeNode) -> tuple:
    """Equal as long as the transforms above a volume are the same."""
    transform = above = volumeNode.GetParentTransformNode()
    chain = []  # the time alone stays when a transform is put under an older one
    while above is not None:
        chain.append(above.GetID())
        above = above.GetParentTransformNode()
    return *chain, transform.GetTransformToWorldMTime() if transform else 0


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame as it was read. ct: None where it cannot be, for the reason `problem`. ijkToLocal: (4, 4), in mm as
    stored in its node."""

    index: str
    ct: CtVolume | None
    ijkToLocal: np.ndarray
    problem: str = ""


def readFrames(source: CtSequence) -> list[Frame]:
    """The voxels are not copied. What a transform that bends space does to a grid is measured once for each grid."""
    mrmlScene = source.sequenceNode.GetScene()
    warps: dict[tuple, Warp] = {}
    reader = scene.addHiddenNode(mrmlScene, VOLUME_CLASS, "LiverGTAN frame")
    try:
        reader.SetAndObserveTransformNodeID(source.proxyNode.GetTransformNodeID())
        return [_readFrame(source.sequenceNode, number, reader, warps) for number in range(source.count)]
    finally:
        mrmlScene.RemoveNode(reader)


def _readFrame(sequenceNode, number: int, reader, warps: dict) -> Frame:
    index, node = sequenceNode.GetNthIndexValue(number), sequenceNode.GetNthDataNode(number)
    try:
        if node is None or not node.IsA(VOLUME_CLASS):
            raise InputError("The frame holds no volume.")
        scene.readCt(node)  # refuses what the copy would not show: a label map
        reader.CopyContent(node, False)
        ct, ijkToLocal = scene.readCt(reader), scene.ijkToLocal(reader)
        if scene.isWarped(reader):
            key = ijkToLocal.tobytes(), ct.shape
            if key not in warps:
                warps[key] = Warp.of(reader)
            ct = replace(ct, ijk_to_ras=warps[key].ijkToRas, voxel_volumes=warps[key].voxelVolumes)
        return Frame(index, ct, ijkToLocal)
    except InputError as error:
        return Frame(index, None, np.eye(4), str(error))


def maskTimes(made) -> dict:
    """Changes when the mask of a frame does; frames without segments, which browsing adds for new CTs, are left out."""
    states = {
        made.GetNthIndexValue(n): _labelmapState(made.GetNthDataNode(n)) for n in range(made.GetNumberOfDataNodes())
    }
    return {index: state for index, state in states.items() if state}


def _labelmapState(node) -> tuple:
    segmentation = node.GetSegmentation()
    ids = segmentation.GetSegmentIDs()
    return tuple((i, _time(segmentation.GetSegment(i).GetRepresentation(scene.LABELMAP))) for i in ids)


def _time(labelmap) -> int:
    return labelmap.GetMTime() if labelmap is not None else 0


# What speaks against segmenting the frames


def requireSegmentable(source: CtSequence) -> None:
    """Raise InputError, which says what to do, where the frames cannot be segmented."""
    if source.browserNode.GetRecordingActive():
        raise InputError(f"'{source.browserNode.GetName()}' is recording; stop that first.")
    if not source.count:
        raise InputError(f"The sequence '{source.sequenceNode.GetName()}' has no frames.")
    if source.sequenceNode.GetDataNodeClassName() != VOLUME_CLASS:
        raise InputError(f"'{source.sequenceNode.GetName()}' is no sequence of CTs; choose one of scalar volumes.")
    _requireOwnIndex(source)
    _requireFixedTransforms(source)
    requireNoOtherBrowser(source)


def requireNoOtherBrowser(source: CtSequence) -> None:
    """Raise InputError where another browser of the same frames shows their segmentations, which would be lost."""
    other = source.otherBrowser
    if other is not None:
        shown = other.GetProxyNode(source.sequenceNode)
        raise InputError(
            f"The frames of '{source.sequenceNode.GetName()}' are segmented already, in the browser "
            f"'{other.GetName()}'; choose '{shown.GetName() if shown else 'its CT'}', the volume in which that browser "
            "shows them."
        )


def _requireOwnIndex(source: CtSequence) -> None:
    """Raise InputError where the browser also selects items at which there is no frame of the CT: no mask belongs
    there, but the CT of the item before is shown."""
    master, sequence = source.browserNode.GetMasterSequenceNode(), source.sequenceNode
    indices = (master.GetNthIndexValue(n) for n in range(master.GetNumberOfDataNodes()))
    if master != sequence and any(sequence.GetItemNumberFromIndexValue(index, True) < 0 for index in indices):
        raise InputError(
            f"'{sequence.GetName()}' has other items than '{master.GetName()}', by which "
            f"'{source.browserNode.GetName()}' is browsed; make it the browser's master sequence in Sequences first."
        )


def _requireFixedTransforms(source: CtSequence) -> None:
    """Raise InputError where a transform above the CT is one of the frames of a sequence itself."""
    transform = source.proxyNode.GetParentTransformNode()
    while transform is not None:
        for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", transform.GetScene()):
            if browser.GetSequenceNode(transform) is not None:
                raise InputError(
                    f"'{source.proxyNode.GetName()}' lies under the transform '{transform.GetName()}', which is "
                    "another one in each frame; take it off in the Transforms module first."
                )
        transform = transform.GetParentTransformNode()
