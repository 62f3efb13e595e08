"""A segmentation as a DICOM segmentation object, through Slicer's own plugin for it. On the main thread.

The plugin comes with the extension QuantitativeReporting. It writes every segment of the node with the codes of its
terminology and what its tags say of its origin; what it reads has them again, and becomes a segmentation under the
study of its CT.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import slicer

from ..core.files import require_name
from ..core.volume import InputError
from . import scene
from .exported_file import ExportedFile
from .scene import LABELMAP

PLUGIN = "DICOMSegmentationPlugin"
WRITTEN = "subject_hierarchy_export.SEG*.dcm"
"""Names of the files that the plugin writes (DICOMSegmentationPlugin.py)."""

CLOCK_TICK = 0.02
"""Seconds by which the clocks of file systems and of `time.strftime` may be late."""

MISSING_PLUGIN = (
    "Slicer writes DICOM segmentations through its extension QuantitativeReporting, which is not installed: install it "
    "in the Extensions Manager and restart Slicer. Without it, save the segmentation as .seg.nrrd (File > Save), or "
    "use LiverGTAN's command line, which writes .dcm."
)


def exportDicom(segmentationNode, folder: str | Path, editedSince: bool = False) -> Path:
    """Write the segmentation into a folder, made if need be, and into Slicer's DICOM database; returns the file.

    editedSince: whether the liver was edited after this module wrote it, which the file then says.
    Raises InputError when that is not possible (see `obstacle`), and OSError when it failed: half a file of it is
    removed then, and whatever else came into the folder meanwhile stays and is named.
    """
    folder = require_name(folder).absolute()
    if reason := obstacle(segmentationNode):
        raise InputError(reason)
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob(WRITTEN))
    waitForNewName(before)
    error, cause = _export(handOver(segmentationNode, editedSince), folder)
    images = set(_imagesOf(scene.referenceVolume(segmentationNode)))
    came = sorted(set(folder.glob(WRITTEN)) - before)
    ours = [path for path in came if ExportedFile.read(path).isOf(images)]
    if error:
        came = [path for path in came if path not in ours or not _removeHalf(path)]
    else:
        # The plugin puts its file into the database; another program, which may write the same CT, does not.
        written = [path for path in ours if _isInDatabase(path)] or ours
        if len(written) == 1:
            return written[0]
        error = "which file came of it cannot be told" if written else "no file came of it"
    left = f" New in {folder}, and left there: {', '.join(path.name for path in came)}." if came else ""
    raise OSError(
        f"'{segmentationNode.GetName()}' could not be written as DICOM: {error}.{left} "
        "The application log may say more."
    ) from cause


def _export(item: int, folder: Path) -> tuple[str, Exception | None]:
    """Let the plugin write an item of the subject hierarchy; returns why it could not, empty when it did."""
    plugin = slicer.modules.dicomPlugins[PLUGIN]()
    exportables = plugin.examineForExport(item)
    for exportable in exportables:
        exportable.directory = str(folder)
    try:
        return plugin.export(exportables) if exportables else "it is not offered for export", None
    except Exception as raised:
        return str(raised) or type(raised).__name__, raised


def _isInDatabase(path: Path) -> bool:
    stored = slicer.dicomDatabase.fileForInstance(ExportedFile.read(path).instance)
    return bool(stored) and Path(stored).exists() and path.samefile(stored)


def _removeHalf(path: Path) -> bool:
    """Remove a file if its end is missing; returns whether it is gone."""
    if not ExportedFile.read(path).isWhole:
        with suppress(OSError):
            path.unlink()
    return not path.exists()


def waitForNewName(files: set[Path]) -> None:
    """Until the second in which the newest of the files was written is over: the plugin names its files by seconds, and
    would replace one of the same second."""
    newest = int(max((path.stat().st_mtime for path in files), default=0))
    if 0 <= time.time() - newest < 1 + CLOCK_TICK:
        time.sleep(newest + 1 + CLOCK_TICK - time.time())


def handOver(segmentationNode, editedSince: bool = False) -> int:
    """Let the segmentation be what Slicer's export asks for; returns its item in the subject hierarchy."""
    segment = segmentationNode.GetSegmentation().GetSegment(scene.liverSegmentId(segmentationNode))
    if editedSince and segment is not None:
        segment.SetTag(scene.ALGORITHM_TYPE_TAG, "SEMIAUTOMATIC")
    scene.placeBeside(segmentationNode, scene.referenceVolume(segmentationNode))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(segmentationNode.GetScene())
    return hierarchy.GetItemByDataNode(segmentationNode)


def obstacle(segmentationNode) -> str:
    """Why Slicer cannot write the segmentation as DICOM, and what to do; empty when it can."""
    if segmentationNode is None:
        return "Segment the liver first."
    return next(_obstacles(segmentationNode), "")


def _obstacles(segmentationNode) -> Iterator[str]:
    name, volumeNode = segmentationNode.GetName(), scene.referenceVolume(segmentationNode)
    if PLUGIN not in getattr(slicer.modules, "dicomPlugins", {}):
        yield MISSING_PLUGIN
    if volumeNode is None:
        yield f"'{name}' lies on the grid of no volume; choose its CT as source geometry in the Segmentations module."
        return
    uids = _imagesOf(volumeNode)
    if not uids:
        yield (
            f"'{volumeNode.GetName()}' was not loaded from DICOM, to whose images a DICOM segmentation refers; load "
            "the CT through Slicer's DICOM module, or save the segmentation as .seg.nrrd (File > Save)."
        )
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        yield "Slicer's DICOM database is not open; open the DICOM module first."
    elif missing := sum(not database.fileForInstance(uid) for uid in uids):
        yield (
            f"{missing} of the {len(uids)} DICOM images of '{volumeNode.GetName()}' are not in Slicer's DICOM database "
            "any more; import them again."
        )
    if segmentationNode.GetParentTransformNode() != volumeNode.GetParentTransformNode():
        yield (
            f"'{name}' and '{volumeNode.GetName()}' lie under different transforms; a DICOM segmentation lies where "
            "its CT was scanned: put both under the same one, or under none."
        )
    yield from _segmentObstacles(segmentationNode)


def _imagesOf(volumeNode) -> list[str]:
    """SOP instance UIDs of the DICOM images of a volume."""
    return (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()


def _segmentObstacles(segmentationNode) -> Iterator[str]:
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()]
    if not segments:
        yield "Segment the liver first."
    for segment in segments:
        if segment.GetRepresentation(LABELMAP) is None or not scene.segmentVoxels(segment):
            yield f"The segment '{segment.GetName()}' has no voxels, as none in DICOM may be; fill or remove it."
        if not scene.terminologyOf(segment):
            yield f"The segment '{segment.GetName()}' has no terminology; double-click its color in the Segment Editor."
