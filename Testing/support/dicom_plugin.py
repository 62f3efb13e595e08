"""A stand-in for QuantitativeReporting's DICOMSegmentationPlugin: the same calls and demands, and the same converter.

Read off Py/DICOMSegmentationPlugin.py of QIICR/QuantitativeReporting: a label map whose scalars are not named
"ImageScalars", or are 0 everywhere, is empty; codes are what Slicer's terminology logic makes of a segment's tag; the
algorithm's type is MANUAL unless a tag says another one, which then needs a name. dcmqi writes and reads the file.
"""

import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pydicom
import slicer
import vtk

NAME = "subject_hierarchy_export.SEG%Y-%m-%d_%H%M%S.dcm"
"""With the second in which it is written."""


class Database:
    """Slicer's DICOM database: files by the identifiers of their images."""

    isOpen = True

    def __init__(self, files: dict[str, Path]):
        self.files, self.inserted = files, []

    def fileForInstance(self, uid: str) -> str:
        return str(self.files.get(uid, ""))

    def instanceValue(self, uid: str, tag: str) -> str:
        return ""

    def insert(self, path: str) -> None:
        self.inserted.append(Path(path))
        self.files[pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID] = Path(path)


@dataclass
class Exportable:
    subjectHierarchyItemID: int
    directory: str = ""


class DICOMSegmentationPluginClass:
    def examineForExport(self, item: int) -> list[Exportable]:
        return [Exportable(item)] if _nodeOf(item).IsA("vtkMRMLSegmentationNode") else []

    def export(self, exportables: list[Exportable]) -> str:
        for exportable in exportables:
            path = Path(exportable.directory) / time.strftime(NAME)
            try:
                _write(_nodeOf(exportable.subjectHierarchyItemID), path)
            except ValueError as error:
                return str(error)
            slicer.dicomDatabase.insert(str(path))
        return ""


def readBack(path: Path, folder: Path) -> list[dict]:
    """What dcmqi tells of each segment of a file."""
    _run("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder)
    return [
        segment for group in json.loads((folder / "meta.json").read_text())["segmentAttributes"] for segment in group
    ]


def _nodeOf(item: int):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemDataNode(item)


def _write(node, path: Path) -> None:
    segmentation = node.GetSegmentation()
    segmentIds = [s for s in segmentation.GetSegmentIDs() if not _isEmpty(segmentation.GetSegment(s))]
    if not segmentIds:
        raise ValueError("No non empty segments found.")
    images = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()).GetAttribute("DICOM.instanceUIDs")
    with tempfile.TemporaryDirectory() as folder:
        labels = [_labelmap(node, segmentId, Path(folder) / f"{segmentId}.nrrd") for segmentId in segmentIds]
        series = Path(folder) / "series"
        series.mkdir()
        for number, uid in enumerate(images.split()):
            (series / f"{number}.dcm").symlink_to(slicer.dicomDatabase.fileForInstance(uid))
        metadata = Path(folder) / "meta.json"
        about = {"SeriesNumber": "102", "InstanceNumber": "1", "SeriesDescription": node.GetName()}
        about["ContentCreatorName"] = "Slicer"
        about["segmentAttributes"] = [[_attributes(segmentation.GetSegment(s))] for s in segmentIds]
        metadata.write_text(json.dumps(about))
        inputs = ("--inputDICOMDirectory", series, "--inputImageList", ",".join(labels), "--inputMetadata", metadata)
        _run("itkimage2segimage", *inputs, "--outputDICOM", path)


def _isEmpty(segment) -> bool:
    scalars = segment.GetRepresentation("Binary labelmap").GetPointData().GetArray("ImageScalars")
    return scalars is None or scalars.GetValueRange() == (0, 0)


def _labelmap(node, segmentId: str, path: Path) -> str:
    merged, one = slicer.vtkOrientedImageData(), vtk.vtkStringArray()
    one.InsertNextValue(segmentId)
    node.GenerateMergedLabelmapForAllSegments(merged, 0, None, one)
    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.vtkSlicerSegmentationsModuleLogic.CreateLabelmapVolumeFromOrientedImageData(merged, label)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(label)
    slicer.mrmlScene.RemoveNode(label)
    return str(path)


def _attributes(segment) -> dict:
    kind, name = _tag(segment, "DICOM.SegmentAlgorithmType") or "MANUAL", _tag(segment, "DICOM.SegmentAlgorithmName")
    if kind != "MANUAL" and not name:
        raise ValueError(f"Segment {segment.GetName()} has no SegmentAlgorithmName.")
    entry = slicer.vtkSlicerTerminologyEntry()
    tag = _tag(segment, segment.GetTerminologyEntryTagName())
    slicer.vtkSlicerTerminologiesModuleLogic().DeserializeTerminologyEntry(tag, entry)
    codes = {"Category": entry.GetCategoryObject(), "Type": entry.GetTypeObject()}
    attributes = {f"SegmentedProperty{of}CodeSequence": _code(code) for of, code in codes.items()}
    attributes |= {"labelID": 1, "SegmentLabel": segment.GetName(), "SegmentAlgorithmType": kind}
    attributes["SegmentDescription"] = entry.GetCategoryObject().GetCodeMeaning()
    attributes["recommendedDisplayRGBValue"] = [255 * channel for channel in segment.GetColor()]
    return attributes | ({"SegmentAlgorithmName": name} if name else {})


def _code(code) -> dict[str, str]:
    return {
        "CodeValue": code.GetCodeValue(),
        "CodingSchemeDesignator": code.GetCodingSchemeDesignator(),
        "CodeMeaning": code.GetCodeMeaning(),
    }


def _tag(segment, name: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _run(program: str, *arguments) -> None:
    import dcmqi

    words = [str(word) for word in (dcmqi._lookup(program), *arguments)]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
