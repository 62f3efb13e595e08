"""Masks that were edited after this program wrote them: they stay, and what is said of them is measured from them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core import measurements
from ...core.terminology import INTENDED_USE
from ...core.volume import InputError
from ..dicom.segmentation import read_segmentation
from ..errors import sentence
from ..image_files import LARGEST_OFFSET_VOXELS, is_as_written, open_ct, read_header, read_label_values
from ..voxel_data import VolumeHeader
from .records import EDITED, CaseRecord, digest, is_unchanged

BESIDE_CT = (
    "The mask no longer lies on the voxels of its CT (resampled, moved, or of another scan): the volume is that of the "
    "mask by itself."
)
OTHER_CT = "The CT is gone, or is not the one for which this mask was written."


def is_edited(record: CaseRecord, folder: Path) -> bool:
    """Whether the file of the mask is there and is not what this program wrote. Raises OSError.

    Where the run was killed before it recorded what it wrote, the voxels are compared with what the file says of them.
    """
    mask = folder / record.output
    if not mask.is_file():
        return False
    return not is_as_written(mask) if record.mask is None else digest([mask]) != record.mask


def current_record(record: CaseRecord, folder: Path) -> CaseRecord:
    """The record, or if its mask was edited one of the mask as it is now, which is never written into the folder.

    So an edit that is taken back leaves no trace. The volume is None where the mask has several labels; a mask that
    cannot be read is an error.
    """
    try:
        if not is_edited(record, folder):
            return record
        labels, volume_ml, beside = _measure(record, folder / record.output)
    except (InputError, OSError) as error:
        said = f"The mask was changed after this program wrote it, and its volume cannot be measured: {sentence(error)}"
        return replace(record, state=EDITED, error=said, report={})
    warnings = [BESIDE_CT] * beside
    if labels > 1:
        warnings.append(f"The mask has {labels} labels, so the volume of the liver is not known.")
    elif unusual := measurements.unusual_size(volume_ml):
        warnings.append(f"The liver is {unusual}.")
    if record.input_state and not is_unchanged(Path(record.input), record.input_state, folder):
        warnings.append(OTHER_CT)
    report: dict[str, Any] = {
        "input": record.input,
        "volume_ml": round(volume_ml, 2) if labels <= 1 else None,
        "edited_by_hand": True,
        "seconds": {},
        "notes": [],
        "warnings": warnings,
        "intended_use": INTENDED_USE,
    }
    return replace(record, state=EDITED, error="", report=report)


def _measure(record: CaseRecord, mask: Path) -> tuple[int, float, bool]:
    """Number of labels, the volume of all in mL, and whether the mask lies beside the grid of its CT.

    Raises InputError or OSError with a sentence, also for values that are no labels.
    """
    beside = False
    if mask.suffix.lower() == ".dcm":
        values, ijk_to_ras = _read_dicom(record, mask)
    else:
        header = read_header(mask)
        values, ijk_to_ras = read_label_values(header), header.ijk_to_ras
        beside = "geometry" in record.report and _lies_beside(header, record.report["geometry"])
    return len(np.unique(values[values != 0])), measurements.volume_ml(values, ijk_to_ras), beside


def _lies_beside(header: VolumeHeader, geometry: dict[str, Any]) -> bool:
    """Whether voxels of an image are none of a CT's; one that was cropped, or has other axes first, has only such.

    geometry: of the CT, as a report has it.
    """
    to_ct = np.linalg.solve(geometry["ijk_to_ras"], header.ijk_to_ras)
    nearest = np.rint(to_ct)
    last = np.array(header.shape_ijk) - 1
    corners = np.array([[*(last * corner), 1] for corner in np.ndindex(2, 2, 2)]).T
    places = (nearest @ corners)[:3].T
    return bool(
        round(abs(np.linalg.det(nearest))) != 1
        or np.abs((to_ct - nearest) @ corners).max() > LARGEST_OFFSET_VOXELS
        or places.min() < 0
        or (places >= geometry["shape_kji"][::-1]).any()
    )


def _read_dicom(record: CaseRecord, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """Its frames are placed by the images that it refers to."""
    source = open_ct(record.input, record.series)
    try:
        return read_segmentation(mask, source.images or []), source.ct.ijk_to_ras
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # highdicom raises errors of many kinds
        raise InputError(f"{mask} is no segmentation of this CT ({error}).") from error
