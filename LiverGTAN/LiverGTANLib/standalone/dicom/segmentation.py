"""A mask as a DICOM segmentation that refers to the images it was drawn on; written and read with highdicom."""

import hashlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.files import brief
from ...core.segmenter import BoxMask
from ...core.terminology import INTENDED_USE, SEGMENT_COLOR, SEGMENT_NAME, TERMINOLOGY
from ...core.volume import LPS_TO_RAS, CtVolume, InputError
from ...core.weight_file import Student
from .files import CtImage, read_dataset, sop_class

if TYPE_CHECKING:
    from highdicom import PixelMeasuresSequence
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom import Dataset

SERIES_NUMBER_OFFSET = 1000
"""Added to the number of the CT series, so that the segmentation is listed after it."""

LARGEST_OFFSET_VOXELS = 0.1
"""Segmentations state the positions of the images that they were drawn on; the CT's grid is fitted to those."""

SAME_SIZE = 1e-3
"""Share by which voxels of a segmentation and of its CT may differ in volume."""

REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


OWN_GROUP, OWN_CREATOR, OWN_DIGEST = 0x0099, "LiverGTAN", 0x01
"""Private element with the digest of the pixel data as this program wrote them."""


def has_own_voxels(path: Path) -> bool:
    """Whether a file is a segmentation of this program whose pixel data nobody changed since. Raises InputError."""
    dataset = read_dataset(path, pixels=True)
    try:
        stated = dataset.private_block(OWN_GROUP, OWN_CREATOR)[OWN_DIGEST].value
    except KeyError:
        return False
    return "PixelData" in dataset and stated == _digest(dataset)


def _digest(dataset: "Dataset") -> str:
    return hashlib.blake2b(dataset.PixelData, digest_size=16).hexdigest()


def write_segmentation(path: Path, mask: BoxMask, images: list[CtImage], student: Student) -> None:
    """Write the mask, (K, J, I) in the order of `images`, as one binary segment.

    Raises InputError when the images lack what a segmentation must refer to.
    """
    sources = _sources(images)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values in the source that break a rule of the standard
            segmentation = _segmentation(sources, mask, images, student)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # highdicom raises errors of many kinds for what headers lack
        raise InputError(
            f"The headers of the CT do not allow a DICOM segmentation ({brief(error)}); write .nrrd instead."
        ) from error
    stream = io.BytesIO()  # pydicom adds its traceback to the system's error
    segmentation.save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue())  # the traceback of an error would keep a buffer, which keeps the stream open


def _segmentation(sources: list["Dataset"], mask: BoxMask, images: list[CtImage], student: Student) -> "Segmentation":
    import highdicom as hd
    from pydicom.uid import generate_uid

    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=_frames(mask, images, sources),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(student)],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER_OFFSET + max(0, images[0].series_number),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="LiverGTAN",
        manufacturer_model_name=student.name,
        software_versions=student.sha256[:16],
        device_serial_number=student.sha256[:16],
        content_label="LIVER",
        content_description="Liver; for research only",
        pixel_measures=_pixel_measures(images),
        omit_empty_frames=not mask.empty,
        series_description=f"Liver ({student.name})",
    )
    segmentation.ImageComments = INTENDED_USE
    block = segmentation.private_block(OWN_GROUP, OWN_CREATOR, create=True)
    block.add_new(OWN_DIGEST, "LO", _digest(segmentation))
    return segmentation


def _pixel_measures(images: list[CtImage]) -> "PixelMeasuresSequence":
    import highdicom as hd

    return hd.PixelMeasuresSequence(pixel_spacing=images[0].spacing.tolist(), slice_thickness=_thickness(images))


def _thickness(images: list[CtImage]) -> float:
    """The distance of the slices, mm: headers may lack a thickness, or state one with which slices overlap."""
    first, second = images[:2]
    return round(abs(float(np.cross(*first.axes) @ (second.position - first.position))), 4)


def read_segmentation(path: Path, images: list[CtImage]) -> np.ndarray:
    """The mask of a segmentation of `images`, (K, J, I) uint8, found by the identifiers of the images.

    Raises InputError when it holds several segments.
    """
    import highdicom as hd

    segmentation = hd.seg.segread(path)
    if segmentation.number_of_segments != 1:
        raise InputError(f"{path} holds {segmentation.number_of_segments} segments, not one.")
    frames = [image.frame for image in images if image.frame is not None]
    if not frames:
        found = segmentation.get_pixels_by_source_instance(
            [image.instance for image in images], ignore_spatial_locations=True, assert_missing_frames_are_empty=True
        )
    else:
        found = segmentation.get_pixels_by_source_frame(
            images[0].instance,
            [frame + 1 for frame in frames],
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
    return found[..., 0].astype(np.uint8)


def read_segments(path: Path, ct: CtVolume) -> np.ndarray:
    """The number of the segment of each voxel of a CT, (K, J, I), 0 for none, by where the frames lie.

    Raises InputError for what is no segmentation or not on the CT's grid, and where segments overlap.
    """
    import highdicom as hd

    if str(read_dataset(path, ("SOPClassUID", "Modality")).get("Modality", "")) != "SEG":
        raise InputError(f"{path} is DICOM, but no segmentation (SEG); give a mask of this scan.")
    try:
        volume = hd.seg.segread(path).get_volume(combine_segments=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # highdicom raises errors of many kinds, for overlapping segments as for damaged files
        raise InputError(f"{path} is no segmentation of one label a voxel ({brief(error)}).") from error
    kji = np.argwhere(volume.array)
    lps = volume.affine @ np.c_[kji, np.ones(len(kji))].T
    found = (np.linalg.solve(LPS_TO_RAS @ ct.ijk_to_ras, lps)[2::-1]).T
    places = np.rint(found).astype(int)
    apart = np.abs(found - places).max(initial=0)
    same_size = np.isclose(abs(np.linalg.det(volume.affine)), abs(np.linalg.det(ct.ijk_to_ras)), rtol=SAME_SIZE)
    if apart > LARGEST_OFFSET_VOXELS or not same_size or (places < 0).any() or (places >= ct.shape).any():
        raise InputError(f"{path} does not lie on the CT's grid; give a mask drawn on this scan.")
    labels = np.zeros(ct.shape, np.int32)
    labels[tuple(places.T)] = volume.array[tuple(kji.T)]
    return labels


def _sources(images: list[CtImage]) -> list["Dataset"]:
    """Headers of the files, in the order of the slices."""
    sources = [read_dataset(path) for path in dict.fromkeys(image.path for image in images)]
    if images[0].frame is not None and len(sources) > 1:
        raise InputError("A DICOM segmentation refers to one multi-frame file, not to several; write .nrrd instead.")
    for keyword in REQUIRED:
        missing = [image.name for image, source in zip(images, sources) if not source.get(keyword)]
        if missing:
            raise InputError(f"{missing[0]} has no {keyword}, which a DICOM segmentation needs; write .nrrd instead.")
    if len({(source.StudyInstanceUID, source.SeriesInstanceUID) for source in sources}) > 1:
        raise InputError(
            "Each slice has a series identifier of its own, and a DICOM segmentation refers to one series; write .nrrd "
            "instead."
        )
    if len({image.instance for image in images}) < len(sources):
        raise InputError(
            "Slices share one identifier (SOPInstanceUID), so none can be referred to; write .nrrd instead."
        )
    for source in sources:
        for keyword in MAY_BE_EMPTY:
            if keyword not in source:
                setattr(source, keyword, "")
        source.SOPClassUID = sop_class(source)  # a few writers state it in the file's own header alone
        source.SliceThickness = _thickness(images)  # asked for, though the measures are given
    return sources


def _frames(mask: BoxMask, images: list[CtImage], sources: list["Dataset"]) -> np.ndarray:
    """The mask with a plane for every frame of the source; frames that are not part of the volume are empty."""
    numbers = [image.frame for image in images if image.frame is not None]
    if not numbers:
        return mask.full()
    frames = np.zeros((int(sources[0].NumberOfFrames), *mask.shape[1:]), np.uint8)
    frames[numbers] = mask.full()
    return frames


def _description(student: Student) -> "SegmentDescription":
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    category, kind = (Code(code, scheme, meaning) for scheme, code, meaning in _codes())
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=SEGMENT_NAME,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=student.name,
            family=codes.DCM.ArtificialIntelligence,
            version=student.sha256[:16],
            source="LiverGTAN",
        ),
        display_color=hd.color.CIELabColor.from_rgb(*(255 * channel for channel in SEGMENT_COLOR)),
    )


def _codes() -> list[list[str]]:
    """(scheme, code, meaning) of category and type, as Slicer's terminology entry has them."""
    return [entry.split("^") for entry in TERMINOLOGY.split("~")[1:3]]
