"""Images in and out of files, for use without Slicer: NIfTI, NRRD, MetaImage and DICOM."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.files import atomic_write, real_path
from ..core.segmenter import BoxMask
from ..core.terminology import SEGMENT_COLOR, SEGMENT_NAME, TERMINOLOGY
from ..core.volume import LPS_TO_RAS, CtVolume, InputError
from ..core.weight_file import Student
from .dicom.files import DICOM_SUFFIXES, CtImage, holds_dicom, is_dicom
from .dicom.reader import read_dicom
from .dicom.segmentation import has_own_voxels, read_segmentation, read_segments, write_segmentation
from .metaimage import read_metaimage_header
from .nifti import fits_qform, read_nifti_header, write_nifti
from .nrrd import read_nrrd_header, write_nrrd
from .voxel_data import DIGEST, LOST_GEOMETRY, NAN_PADDING, VolumeHeader, digest_of, read_voxels, without_nan

logger = logging.getLogger(__name__)

HEADER_READERS: dict[str, Callable[[Path], VolumeHeader]] = {
    ".nii.gz": read_nifti_header,
    ".nii": read_nifti_header,
    ".hdr": read_nifti_header,
    ".nrrd": read_nrrd_header,
    ".nhdr": read_nrrd_header,
    ".mha": read_metaimage_header,
    ".mhd": read_metaimage_header,
}
INPUT_SUFFIXES = tuple(HEADER_READERS)
OUTPUT_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nrrd", ".mha", ".dcm")

SAME_PLACE_MM = 0.01
"""Formats store positions with seven digits at least."""

LARGEST_OFFSET_VOXELS = 0.02
"""Positions that are written with few digits differ by less; half a voxel is taken for one grid (`on_grid`)."""

LARGEST_LABEL_FRACTION = 0.01
"""How far a label may be from a whole number: labels that were resampled linearly are farther, rounding is nearer."""


@dataclass(frozen=True, eq=False)
class CtFile:
    """A CT that was read. notes: what a user should know of the way it was read. files: all that were read for it.

    images: of a DICOM series, in the order of the slices; None for other formats.
    """

    ct: CtVolume
    notes: list[str]
    files: list[Path]
    images: list[CtImage] | None = None


def suffix_of(path: Path, suffixes: tuple[str, ...]) -> str | None:
    """The longest of `suffixes` that ends the file's name, None when none does."""
    return next(
        (suffix for suffix in sorted(suffixes, key=len, reverse=True) if path.name.lower().endswith(suffix)), None
    )


def stem_of(path: Path) -> str:
    """A file's or folder's name without an image suffix."""
    suffix = suffix_of(path, (*INPUT_SUFFIXES, *DICOM_SUFFIXES))
    return path.name[: -len(suffix)] if suffix else path.name


def open_ct(path: str | Path, series: int | None = None) -> CtFile:
    """A CT from NIfTI, NRRD, MetaImage or DICOM (a folder, a multi-frame file or a DICOMDIR).

    series: number of the DICOM series, as the error lists them when there are several.
    Raises InputError with a sentence when there is no such file, it is damaged or holds no 3-D scalar image.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        _require_no_folder_of_images(path)
    if path.is_dir() or is_dicom_file(path):
        found = read_dicom(path, series)
        return CtFile(found.ct, found.notes, [image.path for image in found.images], found.images)
    if series is not None:
        raise InputError(f"{path} is no DICOM; leave out the number of the series.")
    header = read_header(path)
    voxels, padded = without_nan(read_voxels(header))
    notes = [NAN_PADDING.format(path.name, padded)] * (padded > 0)
    if np.array_equal(np.abs(header.ijk_to_ras), np.eye(4)):
        notes.append(LOST_GEOMETRY.format(path.name))
    return CtFile(CtVolume(voxels, header.ijk_to_ras, stem_of(path)), header.notes + notes, [path, *header.files])


def _require_no_folder_of_images(folder: Path) -> None:
    """Raise InputError for a folder of images in other formats than DICOM: it says how to have them all segmented."""
    images = sorted(path.name for path in folder.iterdir() if path.is_file() and suffix_of(path, INPUT_SUFFIXES))
    if images and not holds_dicom(folder):
        pattern = folder / f"*{suffix_of(Path(images[0]), INPUT_SUFFIXES)}"
        raise InputError(
            f"{folder} holds {len(images)} image files ({images[0]}...) and no DICOM; give the files, as in {pattern}, "
            "and a folder as output."
        )


def read_ct(path: str | Path) -> CtVolume:
    """The CT alone, as `open_ct` reads it; what there is to know of the way it was read is logged."""
    opened = open_ct(path)
    for note in opened.notes:
        logger.warning(note)
    return opened.ct


def read_header(path: Path) -> VolumeHeader:
    """The header of a NIfTI, NRRD or MetaImage file, from which `read_voxels` goes on. Raises InputError."""
    suffix = suffix_of(path, INPUT_SUFFIXES)
    if suffix is None or not path.is_file():
        raise InputError(f"{path} is no image this program reads; give {', '.join(INPUT_SUFFIXES)} or DICOM.")
    return HEADER_READERS[suffix](path)


def read_labels(path: str | Path, ct: CtVolume) -> np.ndarray:
    """A label image on the CT's grid, (K, J, I) integers; its axes may be stored in another order or direction.

    The labels of a DICOM segmentation are the numbers of its segments.

    Raises InputError when it does not cover the same space with voxels of the same size, or its values are no labels.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the file of the mask.")
    if is_dicom_file(path):
        return read_segments(path, ct)
    header = read_header(path)
    if not on_grid(header, ct):
        raise InputError(f"{path} does not lie on the CT's grid; give a mask drawn on this scan.")
    return in_order_of(ct, header, read_label_values(header))


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM and no image of another format."""
    return path.is_file() and suffix_of(path, INPUT_SUFFIXES) is None and is_dicom(path)


def on_grid(header: VolumeHeader, ct: CtVolume) -> bool:
    """Whether an image has the CT's voxels to within half of one, its axes perhaps in another order or direction."""
    axes = _axes_along(header, ct)
    return (
        voxels_apart(header, ct) <= 0.5
        and len(set(axes)) == 3
        and bool((np.array(header.shape_ijk)[axes] == ct.shape[::-1]).all())
    )


def in_order_of(ct: CtVolume, header: VolumeHeader, values: np.ndarray) -> np.ndarray:
    """The values of an image for which `on_grid` holds, with their axes as the CT's, (K, J, I)."""
    step, axes = np.linalg.solve(header.ijk_to_ras, ct.ijk_to_ras), _axes_along(header, ct)
    # Axis a of the CT runs along axis axes[a] of the image; arrays have their axes in the order k, j, i.
    turned = values.transpose([2 - axis for axis in axes[::-1]])
    return turned[tuple(slice(None, None, -1 if step[axes[a], a] < 0 else None) for a in (2, 1, 0))]


def _axes_along(header: VolumeHeader, ct: CtVolume) -> np.ndarray:
    return np.abs(np.linalg.solve(header.ijk_to_ras, ct.ijk_to_ras)[:3, :3]).argmax(axis=0)


def voxels_apart(header: VolumeHeader, ct: CtVolume) -> float:
    """How far the outermost voxels of an image lie from those of the CT, in voxels along an axis at most."""
    step = np.linalg.solve(header.ijk_to_ras, ct.ijk_to_ras)
    last = np.asarray(ct.shape[::-1], float) - 1
    corners = np.array([step @ [*(np.array(corner) * last), 1] for corner in np.ndindex(2, 2, 2)])[:, :3]
    size = np.array(header.shape_ijk) - 1
    return float(max(np.abs(corners.min(axis=0)).max(), np.abs(corners.max(axis=0) - size).max()))


def read_label_values(header: VolumeHeader) -> np.ndarray:
    """The labels of an image, (K, J, I) integers from 0 on. Raises InputError for values that are none."""
    path, values = header.path, read_voxels(header)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or np.abs(values).max() > 2**15:
            raise InputError(f"{path} holds values that are no labels (not finite, or above 32,768); give a mask.")
        labels = np.round(values)
        if np.abs(values - labels).max() > LARGEST_LABEL_FRACTION:
            raise InputError(f"{path} holds fractions, which are no labels; give a mask of whole numbers.")
        values = labels.astype(np.int32)
    if (lowest := values.min(initial=0)) < 0:
        raise InputError(
            f"{path} holds negative values (down to {lowest}), which are no labels; give a mask that is 0 where "
            "nothing is marked."
        )
    return values


def write_mask(path: str | Path, mask: BoxMask, source: CtFile, student: Student) -> list[str]:
    """Write the mask on the CT's grid; the suffix decides on the format, `.seg.nrrd` is a Slicer segmentation.

    It is read back and compared before it takes the place of a former file: after an error that one is still there.
    Returned is what a user should know of the file. Raises InputError when the format cannot hold this mask, OSError
    when it cannot be written.
    """
    path = real_path(path)  # what a link points to is replaced, not the link
    suffix = require_output_suffix(path, source.images is not None)
    array = mask.full()
    with atomic_write(path, suffix) as temporary:
        if suffix == ".dcm" and source.images is not None:
            write_segmentation(temporary, mask, source.images, student)
            same = np.array_equal(read_segmentation(temporary, source.images), array)
        else:
            metadata = {DIGEST: digest_of(array), **(_segment_header(mask) if suffix == ".seg.nrrd" else {})}
            _write_array(temporary, array, source.ct.ijk_to_ras, metadata)
            same = _holds(temporary, array, source.ct.ijk_to_ras, path)
        if not same:
            _require_room(temporary)
            raise OSError("what arrived on the disk is not what was sent there")
    if suffix == ".nii.gz" and not fits_qform(source.ct.ijk_to_ras, source.ct.shape[::-1]):
        return [
            f"{path.name} holds the tilted axes of this CT as they are, and programs on ITK refuse such NIfTI; .nrrd "
            "holds them for all."
        ]
    return []


def is_as_written(path: Path) -> bool:
    """Whether a file is a mask of this program whose voxels nobody changed since. Raises OSError."""
    try:
        if suffix_of(path, OUTPUT_SUFFIXES) == ".dcm":
            return has_own_voxels(path)
        header = read_header(path)
        return bool(header.digest) and digest_of(read_voxels(header)) == header.digest
    except InputError:
        return False


def require_output_suffix(path: Path, from_dicom: bool = True) -> str:
    """The suffix of an output. Raises InputError for a name that stands for no format that can be written."""
    suffix = suffix_of(path, OUTPUT_SUFFIXES)
    if suffix is None:
        raise InputError(
            f"{path.name} is no output this program writes; end it in {', '.join(OUTPUT_SUFFIXES)}, or "
            "name a folder, which has no suffix or exists."
        )
    if suffix == ".dcm" and not from_dicom:
        raise InputError(
            f"{path.name}: a DICOM segmentation refers to DICOM images; for this input write .nrrd instead."
        )
    return suffix


def _holds(path: Path, array: np.ndarray, matrix: np.ndarray, target: Path) -> bool:
    try:
        header = read_header(path)
        voxels = read_voxels(header)
    except InputError:
        return False
    corner = np.array([*(np.array(array.shape[::-1]) - 1), 1], float)
    moved = (header.ijk_to_ras - matrix) @ np.array([corner, [0, 0, 0, 1]]).T
    if np.abs(moved).max() > SAME_PLACE_MM:
        raise InputError(f"{target.name} cannot hold the tilted axes of this CT; write .nrrd instead.")
    return np.array_equal(voxels, array)


def image_of(array_kji: np.ndarray, matrix_ijk_to_ras: np.ndarray):
    """An array with its place in the patient as a SimpleITK image."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array_kji)
    matrix = LPS_TO_RAS @ np.asarray(matrix_ijk_to_ras, float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    return image


def _write_array(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray, metadata: dict[str, str]) -> None:
    suffix = suffix_of(path, INPUT_SUFFIXES)
    if suffix == ".nii.gz":
        write_nifti(path, array, ijk_to_ras, metadata[DIGEST])
        return
    if suffix == ".nrrd":
        write_nrrd(path, array, ijk_to_ras, metadata)
        return
    import SimpleITK as sitk

    image = image_of(array, ijk_to_ras)
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        _require_room(path)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise OSError(lines[-1] if lines else "unknown reason") from error


def _require_room(path: Path) -> None:
    """Raise the system's own OSError, which image libraries keep to themselves, where a MiB cannot be written."""
    with path.open("wb") as stream:
        stream.write(bytes(2**20))
        stream.flush()
        os.fsync(stream.fileno())


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
