"""Small images on disk for tests of readers."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_image(
    path: Path,
    array: np.ndarray,
    spacing: float | tuple[float, float, float],
    origin=(0.0, 0.0, 0.0),
    flipped: bool = False,
) -> Path:
    """Array [k, j, i] with LPS axes; `flipped` turns i and j to the right and the front, in array and direction."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing((spacing,) * 3 if isinstance(spacing, float) else spacing)
    image.SetOrigin(origin)
    if flipped:
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def write_series(
    folder: Path,
    hu: np.ndarray,
    spacing: tuple[float, float, float],
    names: list[str] | None = None,
    descending: bool = False,
) -> None:
    """A DICOM CT series, one file a slice, [k, j, i] with LPS axes; `descending` names the uppermost slice first."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    order = range(len(hu))[::-1] if descending else range(len(hu))
    for number, k in enumerate(order):
        image = sitk.GetImageFromArray(hu[k : k + 1].astype(np.int16))
        image.SetSpacing(spacing)
        for tag, value in (
            ("0008|0060", "CT"),
            ("0020|000d", "1.2.3"),
            ("0020|000e", f"1.2.3.{number}"),
            ("0008|0018", f"1.2.3.4.{number + 1}"),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0020|0032", f"0\\0\\{k * spacing[2]:g}"),
            ("0020|0013", str(number + 1)),
            ("0028|1052", "0"),
            ("0028|1053", "1"),
        ):
            image.SetMetaData(tag, value)
        name = names[number] if names else f"i{number:04d},0000b.dcm"
        writer.SetFileName(str(folder / name))
        writer.Execute(image)
