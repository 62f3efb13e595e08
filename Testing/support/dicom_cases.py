"""Small DICOM series on disk, as scanners and archives write them, for tests of readers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

ORIGIN_LPS = (-70.0, -50.0, 100.0)
SPACING = (3.0, 4.0, 5.0)
"""mm along i (columns), j (rows), k."""


def smallHu(shape: tuple[int, int, int] = (8, 30, 40), seed: int = 0) -> np.ndarray:
    """(K, J, I) int16 whose values differ from voxel to voxel."""
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def ijkToRas(tilt: float = 0.0, origin: Sequence[float] = ORIGIN_LPS, spacing: Sequence[float] = SPACING) -> np.ndarray:
    """The matrix that `ctSlices` with these arguments stands for. tilt: of the gantry, degrees."""
    angle = np.deg2rad(tilt)
    matrix = np.eye(4)
    matrix[:3, 0] = (spacing[0], 0, 0)
    matrix[:3, 1] = (0, spacing[1] * np.cos(angle), -spacing[1] * np.sin(angle))
    matrix[:3, 2] = (0, 0, spacing[2])
    matrix[:3, 3] = origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def ctSlices(
    hu: np.ndarray, tilt: float = 0.0, origin: Sequence[float] = ORIGIN_LPS, spacing: Sequence[float] = SPACING, **more
) -> list[Dataset]:
    """One CT image a slice, feet first; `more` are attributes of all of them."""
    angle = np.deg2rad(tilt)
    common = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "SeriesNumber": 2,
        "SeriesDescription": "Abdomen",
        "PixelSpacing": [spacing[1], spacing[0]],
        "ImageOrientationPatient": [1, 0, 0, 0, float(np.cos(angle)), -float(np.sin(angle))],
        **more,
    }
    positions = [[origin[0], origin[1], origin[2] + k * spacing[2]] for k in range(len(hu))]
    return [
        _slice(pixels, InstanceNumber=k + 1, ImagePositionPatient=positions[k], **common) for k, pixels in enumerate(hu)
    ]


def _slice(pixels: np.ndarray, **attributes) -> Dataset:
    dataset = _dataset(CTImageStorage)
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", "Case^One", "1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    setPixels(dataset, pixels)
    return dataset


def _dataset(sopClass: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sopClass
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def setPixels(dataset: Dataset, hu: np.ndarray) -> None:
    """Store HU of one image, or of all frames, as a scanner does: clipped to 12 bits without sign, air at 24."""
    dataset.Rows, dataset.Columns = hu.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = np.clip(hu.astype(np.int32) + 1024, 0, 4095).astype("<u2").tobytes()


def save(folder: Path, slices: Sequence[Dataset], start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(slices, start):
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return folder


def otherObject(modality: str, sopClass: str) -> Dataset:
    """A DICOM object without pixels, such as a set of contours."""
    dataset = _dataset(sopClass)
    dataset.Modality, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = modality, generate_uid(), generate_uid()
    return dataset


def enhancedCt(hu: np.ndarray, phases: int = 1, order: Sequence[int] | None = None) -> Dataset:
    """All slices, of one phase after the other, as frames of one file; order: places of the frames in it."""
    dataset = _dataset(EnhancedCTImageStorage)
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", "Case^One", "1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (
        generate_uid() for _ in range(3)
    )
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.ImageType = 3, 1, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    order = list(order if order is not None else range(len(hu)))
    setPixels(dataset, hu[order])
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.NumberOfFrames = len(order)
    rescale = Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [SPACING[1], SPACING[0]], 5, -5
    orientation = Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared = Dataset()
    shared.PixelValueTransformationSequence, shared.PixelMeasuresSequence = [rescale], [measures]
    shared.PlaneOrientationSequence = [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    slices = len(hu) // phases
    dataset.PerFrameFunctionalGroupsSequence = [_frame(n % slices, n // slices) for n in order]
    return dataset


def _frame(k: int, phase: int) -> Dataset:
    position, content, frame = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [ORIGIN_LPS[0], ORIGIN_LPS[1], ORIGIN_LPS[2] + k * SPACING[2]]
    content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "1", k + 1, phase + 1
    frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
    return frame


def dicomDir(folder: Path) -> Path:
    """A DICOMDIR that lists the files of a folder."""
    from pydicom.fileset import FileSet

    listed = FileSet()
    for path in sorted(folder.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20200101", "120000", "1", ""
        listed.add(dataset)
    disc = folder.parent / "disc"
    listed.write(disc)
    return disc / "DICOMDIR"
