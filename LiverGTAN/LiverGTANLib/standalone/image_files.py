"""Images in and out of files with SimpleITK, for use without Slicer."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.files import atomic_write
from ..core.segmenter import BoxMask
from ..core.terminology import SEGMENT_COLOR, SEGMENT_NAME, TERMINOLOGY
from ..core.volume import LPS_TO_RAS, CtVolume, InputError

INPUT_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
OUTPUT_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nrrd", ".mha")


def suffix_of(path: Path, suffixes: tuple[str, ...]) -> str | None:
    """The longest of `suffixes` that ends the file's name, None when none does."""
    return next(
        (suffix for suffix in sorted(suffixes, key=len, reverse=True) if path.name.lower().endswith(suffix)), None
    )


def stem_of(path: Path) -> str:
    """A file's or folder's name without an image suffix."""
    suffix = suffix_of(path, INPUT_SUFFIXES)
    return path.name[: -len(suffix)] if suffix else path.name


def read_ct(path: str | Path) -> CtVolume:
    """A CT from NIfTI, NRRD, MetaImage or a folder of one DICOM series.

    Raises InputError with a sentence when there is no such file, it is damaged or holds no 3-D scalar image.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    image = _read_dicom(path) if path.is_dir() else _read_file(path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path} is a color or vector image; choose a scalar CT.")
    if image.GetDimension() != 3:
        raise InputError(f"{path} has {image.GetDimension()} dimensions; choose one 3-D volume.")
    return CtVolume(sitk.GetArrayFromImage(image), ijk_to_ras(image), stem_of(path))


def ijk_to_ras(image: sitk.Image) -> np.ndarray:
    """(4, 4) matrix from voxel indices to RAS mm (SimpleITK's own positions are LPS)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ matrix


def image_of(array_kji: np.ndarray, matrix_ijk_to_ras: np.ndarray) -> sitk.Image:
    """An array with its place in the patient as a SimpleITK image."""
    image = sitk.GetImageFromArray(array_kji)
    matrix = LPS_TO_RAS @ np.asarray(matrix_ijk_to_ras, float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    return image


def read_labels(path: str | Path, ct: CtVolume) -> np.ndarray:
    """A label image on the CT's grid, (K, J, I); it may be stored with its axes in another order or direction.

    Raises InputError when it does not cover the same space with voxels of the same size.
    """
    image = _read_file(Path(path))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path} is no 3-D label image; give a mask on the CT's grid.")
    step = np.linalg.inv(ijk_to_ras(image)) @ ct.ijk_to_ras
    last = np.asarray(ct.shape[::-1], float) - 1
    corners = np.array([step @ [*(np.array(corner) * last), 1] for corner in np.ndindex(2, 2, 2)])[:, :3]
    size = np.array(image.GetSize()) - 1
    if np.abs(corners.min(axis=0)).max() > 0.5 or np.abs(corners.max(axis=0) - size).max() > 0.5:
        raise InputError(f"{path} does not lie on the CT's grid; give a mask drawn on this scan.")
    grid = image_of(np.zeros(ct.shape, np.uint8), ct.ijk_to_ras)
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor))


def write_mask(path: str | Path, mask: BoxMask, ct: CtVolume) -> None:
    """Write the mask on the CT's grid; the suffix decides on the format, `.seg.nrrd` is a Slicer segmentation.

    The file appears whole or not at all; raises OSError with a sentence when it cannot be written.
    """
    path = Path(path)
    suffix = suffix_of(path, OUTPUT_SUFFIXES)
    if suffix is None:
        raise InputError(f"{path.name} is no output this program writes; end it in {', '.join(OUTPUT_SUFFIXES)}.")
    image = image_of(mask.full(), ct.ijk_to_ras)
    if suffix == ".seg.nrrd":
        for key, value in _segment_header(mask).items():
            image.SetMetaData(key, value)
    with atomic_write(path, suffix) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:  # what SimpleITK raises for a full disk too
            raise OSError(_last_line(error)) from error


def _read_file(path: Path) -> sitk.Image:
    if suffix_of(path, INPUT_SUFFIXES) is None:
        raise InputError(f"{path} is no image this program reads; give {', '.join(INPUT_SUFFIXES)} or a DICOM folder.")
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read: {_last_line(error)}") from error


def _read_dicom(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise InputError(f"{folder} holds no DICOM series; give the folder that holds the slices.")
    if len(series) > 1:
        raise InputError(f"{folder} holds {len(series)} DICOM series; put the one to segment in a folder of its own.")
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"The DICOM series in {folder} cannot be read: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _segment_header(mask: BoxMask) -> dict[str, str]:
    """What Slicer keeps of a segmentation with one segment in a NRRD header."""
    extent = [edge for part in mask.box[::-1] for edge in (part.start, part.stop - 1)]
    return {
        "Segment0_ID": SEGMENT_NAME,
        "Segment0_Name": SEGMENT_NAME,
        "Segment0_NameAutoGenerated": "0",
        "Segment0_Color": " ".join(f"{channel:.6f}" for channel in SEGMENT_COLOR),
        "Segment0_ColorAutoGenerated": "0",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Extent": " ".join(map(str, extent)),
        "Segment0_Tags": f"TerminologyEntry:{TERMINOLOGY}|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
