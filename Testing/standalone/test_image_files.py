"""NIfTI, NRRD and MetaImage in and out: read right with their place, or refused; written whole or not at all."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.core.students import DEFAULT_STUDENT
from LiverGTANLib.core.volume import CtVolume, InputError
from LiverGTANLib.standalone.dicom.reader import read_dicom
from LiverGTANLib.standalone.file_segmentation import write_report
from LiverGTANLib.standalone.image_files import (
    CtFile,
    image_of,
    is_as_written,
    open_ct,
    read_ct,
    read_labels,
    write_mask,
)
from LiverGTANLib.standalone.outputs import require_own_mask, require_own_picture, require_own_report
from support.dicom_cases import ctSlices, ijkToRas, save, smallHu
from support.full_disk import fullDisk

OBLIQUE = np.array([[-0.8, 0.1, 0.3, 12.0], [0.15, -0.9, 0.5, -40.0], [0.1, 0.2, 2.4, 77.0], [0, 0, 0, 1.0]])
"""No right angles: what NRRD and MetaImage can hold, and NIfTI in its sform."""


def turned(axes: tuple[float, float, float] = (-0.8, -0.9, 2.5)) -> np.ndarray:
    """Axes at right angles, turned by 20 degrees."""
    c, s = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * axes
    matrix[:3, 3] = (10, -20, 300)
    return matrix


@pytest.fixture
def hu() -> np.ndarray:
    return smallHu((7, 9, 11))


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        open_ct(path)
    return str(error.value)


def assertReads(path: Path, hu: np.ndarray, matrix: np.ndarray, notes: int = 0) -> CtFile:
    found = open_ct(path)
    np.testing.assert_array_equal(found.ct.hu, hu)
    np.testing.assert_allclose(found.ct.ijk_to_ras, matrix, atol=1e-4)
    assert len(found.notes) == notes
    return found


# In: right


def withSimpleItk(path: Path, hu: np.ndarray, matrix: np.ndarray, compress: bool = True) -> Path:
    lower = path.with_name(path.name.lower())
    sitk.WriteImage(image_of(hu, matrix), str(lower), useCompression=compress)
    return lower.rename(path)


def withNibabel(path: Path, hu: np.ndarray, matrix: np.ndarray, kind=nibabel.Nifti1Image) -> Path:
    nibabel.save(kind(hu.transpose(2, 1, 0), matrix), path)
    return path


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.nii", "a.nii.gz", "a.hdr", "A.NII.GZ"])
def test_every_format_is_read_with_its_place_in_the_patient(hu, tmp_path, name, compress):
    assertReads(withSimpleItk(tmp_path / name, hu, turned(), compress), hu, turned())


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_both_versions_of_nifti_are_read(hu, tmp_path, kind):
    name = "a.hdr" if "Pair" in kind.__name__ else "a.nii.gz"
    assertReads(withNibabel(tmp_path / name, hu, OBLIQUE, kind), hu, OBLIQUE)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", "<i4", ">f4", "<f8", "i1", "u1", "<i8", "<u4"])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_every_type_and_byte_order_is_read(hu, tmp_path, dtype, name):
    values = (hu % 100).astype(dtype)
    if name == "a.nii.gz":
        header = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
        header.set_data_dtype(values.dtype)
        nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), OBLIQUE, header), tmp_path / name)
    elif name == "a.nrrd":
        types = {"i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int", "u4": "uint", "i8": "int64"}
        writeNrrd(tmp_path / name, values, OBLIQUE, types | {"f4": "float", "f8": "double"})
    else:
        types = {"i1": "CHAR", "u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "u4": "UINT", "i8": "LONG"}
        writeMha(tmp_path / name, values, OBLIQUE, types | {"f4": "FLOAT", "f8": "DOUBLE"})
    found = assertReads(tmp_path / name, values, OBLIQUE)
    assert found.ct.hu.dtype == (np.float32 if values.dtype.kind == "f" else np.int16)


def writeNrrd(path: Path, values: np.ndarray, matrix: np.ndarray, types: dict[str, str], encoding: str = "raw") -> None:
    columns = " ".join("({},{},{})".format(*column) for column in matrix[:3, :3].T)
    big = values.dtype.byteorder == ">"
    header = (
        f"NRRD0004\n# a comment\ntype: {types[values.dtype.str[1:]]}\ndimension: 3\nspace: RAS\n"
        f"sizes: {' '.join(map(str, values.shape[::-1]))}\nspace directions: {columns}\nkinds: domain domain domain\n"
        f"endian: {'big' if big else 'little'}\nencoding: {encoding}\nspace origin: ({matrix[0, 3]},{matrix[1, 3]},"
        f"{matrix[2, 3]})\nDicomWindow:=40: 400\n\n"
    )
    packed = {"raw": bytes, "gzip": gzip.compress, "bzip2": __import__("bz2").compress}[encoding](values.tobytes())
    path.write_bytes(header.encode() + packed)


def writeMha(path: Path, values: np.ndarray, matrix: np.ndarray, types: dict[str, str]) -> None:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\n"
        f"BinaryDataByteOrderMSB = {values.dtype.byteorder == '>'}\nCompressedData = False\n"
        f"TransformMatrix = {' '.join(map(repr, (lps[:3, :3] / spacing).T.ravel().tolist()))}\n"
        f"Offset = {' '.join(map(repr, lps[:3, 3].tolist()))}\n"
        f"ElementSpacing = {' '.join(map(repr, spacing.tolist()))}\n"
        f"DimSize = {' '.join(map(str, values.shape[::-1]))}\nElementType = MET_{types[values.dtype.str[1:]]}\n"
        "ElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + values.tobytes())


@pytest.mark.parametrize("field", ["kinds: domain domain domain", "encoding: raw"])
def test_what_a_header_says_at_length_makes_no_long_sentence(tmp_path, field):
    writeNrrd(tmp_path / "a.nrrd", np.zeros((3, 4, 5), np.int16), OBLIQUE, {"i2": "short"})
    data = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(data.replace(field.encode(), (field + "9" * 5000).encode()))
    assert len(refusal(tmp_path / "a.nrrd")) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_packed_nrrd_of_several_megabytes_is_read(tmp_path, encoding):
    hu = np.zeros((40, 200, 260), np.int16)  # packs by a factor of hundreds: one piece in, many out
    hu[20, :, 100] = np.arange(200)
    writeNrrd(tmp_path / "a.nrrd", hu, OBLIQUE, {"i2": "short"}, encoding)
    assertReads(tmp_path / "a.nrrd", hu, OBLIQUE)


def test_slices_in_files_of_their_own_are_read(hu, tmp_path):
    names = [f"slice{k:02d}.raw" for k in range(len(hu))]
    for name, pixels in zip(names, hu):
        (tmp_path / name).write_bytes(pixels.tobytes())
    sizes = " ".join(map(str, hu.shape[::-1]))
    nrrd = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: {sizes}\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n"
    )
    nrrd += "encoding: raw\nendian: little\n"
    (tmp_path / "list.nhdr").write_text(nrrd + "data file: LIST\n" + "\n".join(names) + "\n")
    (tmp_path / "pattern.nhdr").write_text(nrrd + "data file: slice%02d.raw 0 6 1\n")
    mhd = f"NDims = 3\nDimSize = {sizes}\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
    mhd += "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    (tmp_path / "list.mhd").write_text(mhd + "ElementDataFile = LIST\n" + "\n".join(names) + "\n")
    (tmp_path / "pattern.mhd").write_text(mhd + "ElementDataFile = slice%02d.raw 0 6 1\n")
    for name in ("list.nhdr", "pattern.nhdr", "list.mhd", "pattern.mhd"):
        assertReads(tmp_path / name, hu, np.diag([-1.0, -1.0, 2.0, 1.0]))


def test_slope_and_intercept_give_the_values(hu, tmp_path):
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), OBLIQUE)
    for slope, intercept in ((1, -1024), (2, 10)):
        image.header.set_slope_inter(slope, intercept)
        raw = bytearray(image.to_bytes())
        np.frombuffer(raw, "<f4", 2, 112)[:] = slope, intercept
        (tmp_path / "a.nii").write_bytes(raw[:352] + hu.tobytes())
        assertReads(tmp_path / "a.nii", hu.astype(int) * slope + intercept, OBLIQUE)
    np.frombuffer(raw, "<f4", 2, 112)[:] = 0.5, 0
    (tmp_path / "a.nii").write_bytes(raw[:352] + hu.tobytes())
    assertReads(tmp_path / "a.nii", hu / 2, OBLIQUE)


def test_the_file_that_was_named_is_read_not_the_one_beside_it(hu, tmp_path):
    withNibabel(tmp_path / "scan.nii", hu, OBLIQUE)
    withNibabel(tmp_path / "scan.nii.gz", hu + 1, OBLIQUE)
    assertReads(tmp_path / "scan.nii.gz", hu + 1, OBLIQUE)
    assertReads(tmp_path / "scan.nii", hu, OBLIQUE)


def test_packed_or_not_is_seen_from_the_content(hu, tmp_path):
    plain = withNibabel(tmp_path / "a.nii", hu, OBLIQUE).read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(plain)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain))
    for name in ("plain.nii.gz", "packed.nii"):
        assertReads(tmp_path / name, hu, OBLIQUE)


def test_a_packed_file_in_several_parts_is_read(hu, tmp_path):
    plain = withNibabel(tmp_path / "a.nii", hu, OBLIQUE).read_bytes()
    (tmp_path / "parts.nii.gz").write_bytes(gzip.compress(plain[:700]) + gzip.compress(plain[700:]) + bytes(100))
    assertReads(tmp_path / "parts.nii.gz", hu, OBLIQUE)


def test_a_fourth_axis_of_one_is_dropped(hu, tmp_path):
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0)[..., None], OBLIQUE), tmp_path / "a.nii")
    assertReads(tmp_path / "a.nii", hu, OBLIQUE)


@pytest.mark.parametrize("place, padding", [(np.s_[:2], True), (np.s_[:, :, 8:], True), (np.s_[3, 4, 5], False)])
def test_nan_is_padding_where_it_reaches_the_border_and_left_to_be_refused_elsewhere(hu, tmp_path, place, padding):
    values = hu.astype(np.float32)
    values[place] = np.nan
    found = open_ct(withNibabel(tmp_path / "a.nii.gz", values, turned()))
    assert np.isnan(found.ct.hu).any() != padding
    assert [note.startswith(f"{np.isnan(values).mean():.0%}") for note in found.notes] == [True] * padding
    np.testing.assert_array_equal(found.ct.hu, np.where(np.isnan(values), -1024, values) if padding else values)


def withField(path: Path, field: str) -> Path:
    """A NRRD or MetaImage file with one more field in its header."""
    data = path.read_bytes()
    end = data.index(b"\n\n") + 1 if path.suffix == ".nrrd" else data.index(b"ElementType")
    path.write_bytes(data[:end] + f"{field}\n".encode() + data[end:])
    return path


@pytest.mark.parametrize(
    "field, scale, words",
    [
        ('space units: "mm" "mm" "mm"', 1, ""),
        ('space units: "millimeters" "millimeters" "millimeters"', 1, ""),
        ('space units: "cm" "cm" "cm"', 10, "and the mask beside it"),
        ('space units: "pixel" "pixel" "pixel"', 1, "'pixel', which is no length"),
        ("DistanceUnits = mm", 1, ""),
        ("DistanceUnits = cm", 10, "and the mask beside it"),
        ("DistanceUnits = furlong", 1, "'furlong', which is no length"),
    ],
)
def test_positions_of_nrrd_and_metaimage_are_millimeters_and_other_units_told(hu, tmp_path, field, scale, words):
    path = withSimpleItk(tmp_path / ("ct.nrrd" if ":" in field else "ct.mha"), hu, turned(), compress=False)
    before = open_ct(path).ct.ijk_to_ras
    found = open_ct(withField(path, field))
    np.testing.assert_allclose(found.ct.ijk_to_ras[:3], before[:3] * scale)
    assert [words in note for note in found.notes] == [True] * bool(words)
    assert sitk.ReadImage(str(path)).GetSpacing() == pytest.approx((0.8, 0.9, 2.5)), "ITK leaves out the unit"


def test_nrrd_axes_in_several_units_are_refused(hu, tmp_path):
    path = withSimpleItk(tmp_path / "ct.nrrd", hu, turned(), compress=False)
    assert "several units (mm, cm)" in refusal(withField(path, 'space units: "mm" "mm" "cm"'))


@pytest.mark.parametrize(
    "field, told",
    [
        ("RescaleIntercept:=-1024", True),
        ("rescale slope:=2", True),
        ("RescaleSlope:=1", False),
        ("RescaleType:=HU", False),
        ("old min: -1024", True),
        ("RescaleIntercept = -1024", True),
        ("RescaleIntercept = 0", False),
        ("ElementToIntensityFunctionSlope = 2", True),
        ("ElementToIntensityFunctionOffset = 0", False),
    ],
)
def test_a_scale_for_which_the_format_has_no_place_is_told(hu, tmp_path, field, told):
    path = withSimpleItk(tmp_path / ("ct.nrrd" if ":" in field else "ct.mha"), hu, turned(), compress=False)
    found = assertReads(withField(path, field), hu, turned(), notes=told)
    assert all("was not applied" in note for note in found.notes)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), hu)


@pytest.mark.parametrize("name, field", [("ct.nrrd", b"space directions"), ("ct.mha", b"ElementSpacing")])
def test_voxels_whose_size_is_not_stated_are_refused(hu, tmp_path, name, field):
    path = withSimpleItk(tmp_path / name, hu, turned(), compress=False)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(line for line in lines if not line.startswith(field)))
    assert "states no size of its voxels" in refusal(path)


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_a_geometry_that_looks_lost_is_told(hu, tmp_path, name):
    sitk.WriteImage(sitk.GetImageFromArray(hu), str(tmp_path / name))
    assert any("whose geometry was lost" in note for note in open_ct(tmp_path / name).notes)


def test_metaimage_axes_that_are_not_of_length_1_are_told(hu, tmp_path):
    path = withSimpleItk(tmp_path / "ct.mha", hu, np.diag([-0.8, -0.8, 2.5, 1.0]), compress=False)
    before = b"TransformMatrix = 1 0 0 0 1 0 0 0 1"
    assert before in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(before, before.replace(b"1", b"2")))
    found = open_ct(path)
    assert "0.8 x 0.8 x 2.5 mm" in found.notes[0] and "1.6 x 1.6 x 5 mm were taken" in found.notes[0]
    place = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((1, 1, 1))
    np.testing.assert_allclose(found.ct.ijk_to_ras @ [1, 1, 1, 1], [-place[0], -place[1], place[2], 1])


def test_an_image_of_colors_is_called_so_and_not_damaged(tmp_path):
    colors = sitk.GetImageFromArray(np.zeros((5, 6, 7, 3), np.uint8), isVector=True)
    for name in ("ct.mha", "ct.nrrd"):
        sitk.WriteImage(colors, str(tmp_path / name))
        assert "damaged" not in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "second, told",
    [("3_Liver.1_Tilt_1", True), ("3_Liver.1_Tilt_Eq_1", True), ("3_Liver.1_Eq", True), ("3_Liver.1_ROI1", False)],
)
def test_a_file_that_dcm2niix_made_again_for_its_geometry_is_named(hu, tmp_path, second, told):
    first = withNibabel(tmp_path / "3_Liver.1.nii.gz", hu, turned())
    again = withNibabel(tmp_path / f"{second}.nii.gz", hu, turned())
    assert [again.name in note for note in open_ct(first).notes] == [True] * told
    assert open_ct(again).notes == []


@pytest.mark.parametrize("unit, scale", [("meter", 1e-3), ("micron", 1e3), ("unknown", 1), ("mm", 1)])
def test_positions_are_millimeters_whatever_the_unit(hu, tmp_path, unit, scale):
    matrix = turned()
    matrix[:3] *= scale
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), matrix)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    assertReads(tmp_path / "a.nii", hu, turned())


@pytest.mark.parametrize("shear", [0.003, 0.1, 0.9])
def test_sheared_axes_are_kept_as_they_are(hu, tmp_path, shear):
    matrix = np.diag([3.0, 3.0, 3.0, 1.0])
    matrix[0, 1] = shear
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), matrix)
    image.set_sform(matrix, 1)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assertReads(tmp_path / "a.nii.gz", hu, matrix)


# In: told


def withForms(path: Path, hu: np.ndarray, sform: tuple | None, qform: tuple | None) -> Path:
    """(matrix, code) of each form; a form that is None has the code 0. Voxels are 2 x 2.5 x 3 mm."""
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), np.diag([2, 2.5, 3, 1]))
    for form, setter in ((sform, image.set_sform), (qform, image.set_qform)):
        if form:
            setter(*form)
    content = bytearray(image.to_bytes())
    np.frombuffer(content, "<i2", 2, 252)[:] = qform[1] if qform else 0, sform[1] if sform else 0
    path.write_bytes(gzip.compress(content))
    return path


def test_no_orientation_is_told(hu, tmp_path):
    path = withForms(tmp_path / "a.nii.gz", hu, None, None)
    assert "stores no orientation" in assertReads(path, hu, np.diag([2, 2.5, 3, 1]), notes=1).notes[0]
    nibabel.save(nibabel.AnalyzeImage(hu.transpose(2, 1, 0), np.diag([2, 2.5, 3, 1])), tmp_path / "old.hdr")
    assert "stores no orientation" in assertReads(tmp_path / "old.hdr", hu, np.diag([2, 2.5, 3, 1]), notes=1).notes[0]
    text = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {' '.join(map(str, hu.shape[::-1]))}\nspacings: 2 2.5 3\n"
    (tmp_path / "a.nrrd").write_bytes(f"{text}endian: little\nencoding: raw\n\n".encode() + hu.tobytes())
    lps = np.diag([-2, -2.5, 3, 1])
    assert "stores no orientation" in assertReads(tmp_path / "a.nrrd", hu, lps, notes=1).notes[0]
    text = f"NDims = 3\nDimSize = {' '.join(map(str, hu.shape[::-1]))}\nElementSpacing = 2 2.5 3\n"
    (tmp_path / "a.mha").write_bytes(
        f"{text}ElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode() + hu.tobytes()
    )
    assert "stores no orientation" in assertReads(tmp_path / "a.mha", hu, lps, notes=1).notes[0]


def test_two_orientations_that_differ_are_told_and_the_sform_taken(hu, tmp_path):
    other = turned((0.8, 0.9, 2.5))
    path = withForms(tmp_path / "a.nii.gz", hu, (turned(), 2), (other, 1))
    notes = assertReads(path, hu, turned(), notes=1).notes
    assert "two orientations" in notes[0]
    assertReads(withForms(tmp_path / "b.nii.gz", hu, (turned(), 1), (turned(), 1)), hu, turned())
    assertReads(withForms(tmp_path / "c.nii.gz", hu, None, (turned(), 1)), hu, turned())


def test_a_qform_without_its_handedness_is_read_as_the_standard_says(hu, tmp_path):
    content = bytearray(gzip.decompress(withForms(tmp_path / "a.nii.gz", hu, None, (turned(), 1)).read_bytes()))
    assert np.frombuffer(content, "<f4", 1, 76)[0] == 1
    np.frombuffer(content, "<f4", 1, 76)[:] = 0
    (tmp_path / "b.nii").write_bytes(content)
    assertReads(tmp_path / "b.nii", hu, turned())


@pytest.mark.parametrize("sizes, told", [((1, 1, 1), True), ((0.8, 0.9, 1.25), True), ((0.8, 0.9, 2.47), False)])
def test_a_voxel_size_beside_the_sform_that_contradicts_it_is_told(hu, tmp_path, sizes, told):
    content = bytearray(gzip.decompress(withForms(tmp_path / "a.nii.gz", hu, (turned(), 1), None).read_bytes()))
    np.frombuffer(content, "<f4", 3, 80)[:] = sizes
    (tmp_path / "b.nii").write_bytes(content)
    notes = assertReads(tmp_path / "b.nii", hu, turned(), notes=told).notes
    assert not told or ("0.8 x 0.9 x 2.5 mm" in notes[0] and "liver's volume" in notes[0])


@pytest.mark.parametrize("behind, notes", [(bytes(1), 0), (bytes(5000), 0), (b"\x1f", 1), (b"<html>", 1)])
def test_bytes_behind_whole_gzip_data_are_left_out_and_told_unless_they_are_zeros(hu, tmp_path, behind, notes):
    path = withNibabel(tmp_path / "a.nii.gz", hu, turned())
    path.write_bytes(path.read_bytes() + behind)
    assertReads(path, hu, turned(), notes)


def test_without_the_notes_they_are_logged(hu, tmp_path, caplog):
    read_ct(withForms(tmp_path / "a.nii.gz", hu, None, None))
    assert "stores no orientation" in caplog.text


# In: refused

WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "a.nii": lambda path, hu: withNibabel(path, hu, turned()),
    "a.nii.gz": lambda path, hu: withNibabel(path, hu, turned()),
    "packed.nrrd": lambda path, hu: withSimpleItk(path, hu, turned()),
    "raw.nrrd": lambda path, hu: withSimpleItk(path, hu, turned(), compress=False),
    "packed.mha": lambda path, hu: withSimpleItk(path, hu, turned()),
    "raw.mha": lambda path, hu: withSimpleItk(path, hu, turned(), compress=False),
}


@pytest.mark.parametrize("left_out", [1, 4, 200, 0.3, 0.9])
@pytest.mark.parametrize("name", WRITERS)
def test_a_cut_file_is_refused(hu, tmp_path, name, left_out):
    path = WRITERS[name](tmp_path / name, hu)
    content = path.read_bytes()
    path.write_bytes(content[: -int(left_out if left_out >= 1 else left_out * len(content))])
    assert str(path) in refusal(path)


@pytest.mark.parametrize("name", [name for name in WRITERS if "raw" not in name and name != "a.nii"])
def test_a_flipped_bit_in_packed_voxels_is_refused(hu, tmp_path, name):
    path = WRITERS[name](tmp_path / name, hu)
    content = bytearray(path.read_bytes())
    for at in (len(content) // 2, len(content) - 6):
        flipped = content.copy()
        flipped[at] ^= 0x10
        path.write_bytes(flipped)
        assert "incomplete or damaged" in refusal(path)


@pytest.mark.parametrize("name", ["a.nii", "raw.nrrd", "raw.mha"])
def test_more_voxels_than_the_header_says_are_refused(hu, tmp_path, name):
    path = WRITERS[name](tmp_path / name, hu)
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert "more voxels than its header says" in refusal(path)


def test_voxels_that_would_begin_within_the_header_are_refused(hu, tmp_path):
    content = bytearray(withNibabel(tmp_path / "a.nii", hu, turned()).read_bytes())
    for offset in (0, 347):
        np.frombuffer(content, "<f4", 1, 108)[:] = offset
        (tmp_path / "b.nii").write_bytes(content)
        assert f"begin at byte {offset}, within its header" in refusal(tmp_path / "b.nii")


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd", "a.hdr"])
def test_a_header_without_its_voxels_names_the_missing_file(hu, tmp_path, name):
    path = withSimpleItk(tmp_path / name, hu, turned(), compress=False)
    voxels = next(file for file in tmp_path.iterdir() if file != path)
    voxels.unlink()
    assert f"says that its voxels are in {voxels}, which does not exist" in refusal(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("content", [b"", b"x", b"\x1f\x8b no gzip", bytes(2000), b"NRRD0004\n", b"DimSize = 1 2\n"])
def test_what_is_no_image_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert str(path) in refusal(path)


def test_colors_vectors_time_series_and_complex_numbers_are_refused(tmp_path):
    rgb = np.zeros((5, 6, 7), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(rgb, OBLIQUE), tmp_path / "rgb.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.complex64), OBLIQUE), tmp_path / "complex.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7, 1, 3), np.float32), OBLIQUE), tmp_path / "vector.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7, 4), np.int16), OBLIQUE), tmp_path / "time.nii")
    for name in ("vector.nrrd", "vector.mha"):
        image = sitk.GetImageFromArray(np.zeros((5, 6, 7, 3), np.int16), isVector=True)
        sitk.WriteImage(image, str(tmp_path / name))
    for name, words in (("rgb.nii", "colors"), ("complex.nii", "complex"), ("vector.nii", "5 dimensions")):
        assert words in refusal(tmp_path / name)
    assert "4 dimensions" in refusal(tmp_path / "time.nii")
    assert "vector" in refusal(tmp_path / "vector.nrrd")
    assert "vector" in refusal(tmp_path / "vector.mha")


@pytest.mark.parametrize("slope", [np.inf, -np.inf])
def test_scaling_without_end_is_refused(hu, tmp_path, slope):
    path = withNibabel(tmp_path / "a.nii", hu, OBLIQUE)
    content = bytearray(path.read_bytes())
    np.frombuffer(content, "<f4", 1, 112)[:] = slope
    path.write_bytes(content)
    assert str(path) in refusal(path)


@pytest.mark.parametrize(
    "name, before, after",
    [
        ("a.mha", "NDims = 3", "NDims = -1"),
        ("a.mha", "NDims = 3", "NDims = 4"),
        ("a.mha", "BinaryDataByteOrderMSB = False", "BinaryDataByteOrderMSB = 10"),
        ("a.mha", "CompressedData = False", "CompressedData = Fals"),
        ("a.mha", "ElementDataFile = LOCAL", "ElementDataFile = " + "a" * 5000),
        ("a.mha", "Offset = ", "Offset = " + "x" * 70_000),
        ("a.nrrd", "dimension: 3", "dimension: 4"),
        ("a.nrrd", "# a comment", "no comment"),
        ("a.nrrd", "sizes: ", "sizes: " + "9" * 5000),
        ("a.nrrd", "encoding: raw", "encoding: raw\ndata file: " + "a" * 5000),
        ("a.nrrd", "encoding: raw", "encoding: raw\nbyte skip: " + "9" * 30),
        ("a.nrrd", "sizes: ", "sizes: " + "9" * 4000),
        ("a.mha", "ElementDataFile = LOCAL", "HeaderSize = " + "9" * 30 + "\nElementDataFile = a.mha"),
        ("a.mha", "DimSize = ", "DimSize = " + "9" * 4000),
    ],
    ids=range(14),
)
def test_a_header_that_contradicts_itself_is_refused_in_few_words(hu, tmp_path, name, before, after):
    if name == "a.mha":
        writeMha(tmp_path / name, hu.astype("<i2"), OBLIQUE, {"i2": "SHORT"})
    else:
        writeNrrd(tmp_path / name, hu.astype("<i2"), OBLIQUE, {"i2": "short"})
    content = (tmp_path / name).read_bytes()
    assert before.encode() in content
    (tmp_path / name).write_bytes(content.replace(before.encode(), after.encode(), 1))
    assert len(refusal(tmp_path / name)) < 500


@pytest.mark.parametrize("place", [252, 254])
@pytest.mark.parametrize("code", [-1, 6, 256])
def test_an_orientation_of_a_kind_that_does_not_exist_is_refused(hu, tmp_path, place, code):
    path = withNibabel(tmp_path / "a.nii", hu, OBLIQUE)
    content = bytearray(path.read_bytes())
    np.frombuffer(content, "<i2", 1, place)[:] = code
    path.write_bytes(content)
    assert "_code is " in refusal(path)


@contextmanager
def littleMemory(most: float = 30e6) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sides", [(30000, 30000, 30000), (10000, 10000, 10000), (900, 900, 900)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_header_that_claims_too_much_is_refused_before_room_is_made(tmp_path, suffix, sides):
    path, size = tmp_path / f"a{suffix}", " ".join(map(str, sides))
    if suffix.startswith(".nii"):
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.int16)
        header["dim"][:4], header["vox_offset"], header["sform_code"] = (3, *sides), 352, 1
        header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = 1
        content = header.binaryblock + bytes(5000)
        path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    elif suffix == ".nrrd":
        text = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {size}\nencoding: gzip\nendian: little\n\n"
        path.write_bytes(text.encode() + gzip.compress(bytes(5000)))
    else:
        text = f"NDims = 3\nDimSize = {size}\nElementType = MET_SHORT\nCompressedData = True\nElementDataFile = LOCAL\n"
        path.write_bytes(text.encode() + zlib.compress(bytes(5000)))
    with littleMemory():
        message = refusal(path)
    assert "claims" in message or "incomplete" in message


@pytest.mark.slow
def test_a_packed_file_that_never_ends_is_left_early(hu, tmp_path):
    plain = withNibabel(tmp_path / "a.nii", hu, OBLIQUE).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(plain + bytes(100_000_000)))
    with littleMemory():
        assert "more voxels than its header says" in refusal(tmp_path / "bomb.nii.gz")


@pytest.mark.slow
def test_a_header_that_never_ends_is_left_early(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"a" * 50_000_000)
    (tmp_path / "a.mha").write_bytes(b"a = b\n" * 400_000)
    for name in ("a.nrrd", "a.mha"):
        with littleMemory():
            refusal(tmp_path / name)


@pytest.mark.parametrize("pattern", ["a%d.raw 0 999999999999 1", "a%999999999d.raw 0 9 1", "%s.raw 0 9 1", "a%d 0 9 0"])
def test_a_pattern_of_file_names_that_makes_no_sense_is_refused(tmp_path, pattern):
    (tmp_path / "a.nhdr").write_text(
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 10\nencoding: raw\nendian: little\ndata file: {pattern}\n"
    )
    (tmp_path / "a.mhd").write_text(f"DimSize = 2 2 10\nElementType = MET_SHORT\nElementDataFile = {pattern}\n")
    for name in ("a.nhdr", "a.mhd"):
        with littleMemory():
            assert str(tmp_path / name) in refusal(tmp_path / name)


# Labels


@pytest.fixture
def ct(hu) -> CtVolume:
    return CtVolume(hu, turned())


def test_labels_are_turned_onto_the_grid_of_the_ct(ct, tmp_path):
    labels = (np.arange(ct.hu.size).reshape(ct.shape) % 7).astype(np.uint8)
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)):
        for flips in np.ndindex(2, 2, 2):
            array = labels[tuple(slice(None, None, -1 if flip else None) for flip in flips)].transpose(order)
            # Voxel of the stored array -> voxel of the CT, both as (i, j, k).
            step = np.eye(4)
            step[:3, :3] = 0
            for stored, axis in enumerate(order):
                step[2 - axis, 2 - stored] = -1 if flips[axis] else 1
                step[2 - axis, 3] = ct.shape[axis] - 1 if flips[axis] else 0
            nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), ct.ijk_to_ras @ step), tmp_path / "a.nii.gz")
            np.testing.assert_array_equal(read_labels(tmp_path / "a.nii.gz", ct), labels)


def test_labels_elsewhere_are_refused(ct, tmp_path):
    labels = np.zeros(ct.shape, np.uint8)
    for change in (np.diag([2.0, 1, 1, 1]), np.diag([1.1, 1, 1, 1])):
        withNibabel(tmp_path / "a.nii", labels, ct.ijk_to_ras @ change)
        with pytest.raises(InputError, match="grid"):
            read_labels(tmp_path / "a.nii", ct)
    moved = ct.ijk_to_ras.copy()
    moved[2, 3] += 5
    withNibabel(tmp_path / "a.nii", labels, moved)
    with pytest.raises(InputError, match="grid"):
        read_labels(tmp_path / "a.nii", ct)


def test_labels_in_dicom_are_called_so(ct, tmp_path):
    save(tmp_path, ctSlices(ct.hu)[:1])
    for path, words in ((tmp_path / "0000.dcm", "is DICOM, but no segmentation"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=words):
            read_labels(path, ct)


def test_float_labels_are_rounded_when_they_are_nearly_whole_and_refused_otherwise(ct, tmp_path):
    labels = np.zeros(ct.shape, np.float32)
    labels[2:4] = 4.9999
    found = read_labels(withNibabel(tmp_path / "a.nii", labels, ct.ijk_to_ras), ct)
    assert found.dtype.kind == "i"
    assert set(np.unique(found)) == {0, 5}
    for bad, words in ((0.4, "fractions"), (np.nan, "no labels"), (1e9, "no labels"), (-1, "negative")):
        labels[0, 0, 0] = bad
        with pytest.raises(InputError, match=words):
            read_labels(withNibabel(tmp_path / "a.nii", labels, ct.ijk_to_ras), ct)


# Out

SUFFIXES = (".nii.gz", ".nrrd", ".seg.nrrd", ".mha")


@pytest.fixture(scope="module")
def student():
    return weight_file.load(DEFAULT_STUDENT)


def maskOf(shape: tuple[int, ...]) -> BoxMask:
    voxels = np.random.default_rng(1).integers(0, 2, (4, 5, 6)).astype(np.uint8)
    return BoxMask(voxels, (1, 2, 3), shape)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shear", [0.0, 0.001, 0.5])
def test_a_mask_lies_exactly_where_the_ct_lies(hu, tmp_path, student, suffix, shear):
    matrix = turned()
    matrix[0, 1] += shear
    source = CtFile(CtVolume(hu, matrix), [], [])
    mask = maskOf(hu.shape)
    told = write_mask(tmp_path / f"liver{suffix}", mask, source, student)
    assert len(told) == (suffix == ".nii.gz" and shear == 0.5) and all("programs on ITK" in text for text in told)
    assertReads(tmp_path / f"liver{suffix}", mask.full(), matrix)
    np.testing.assert_array_equal(read_labels(tmp_path / f"liver{suffix}", source.ct), mask.full())
    if suffix == ".nii.gz":
        image = nibabel.load(tmp_path / "liver.nii.gz")
        np.testing.assert_allclose(image.affine, matrix, atol=1e-5)
        assert int(image.header["qform_code"]) == (0 if shear == 0.5 else 1), "a qform cannot hold a shear"
    if shear != 0.5:  # with less, which rounded positions make, programs on ITK take the qform
        np.testing.assert_array_equal(
            sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"liver{suffix}"))), mask.full()
        )


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".dcm"])
def test_a_full_disk_leaves_the_former_mask_and_nothing_else(tmp_path, student, suffix):
    found = read_dicom(save(tmp_path / "ct", ctSlices(smallHu())))
    source = CtFile(found.ct, [], [], found.images)
    path = tmp_path / "out" / f"liver{suffix}"
    write_mask(path, maskOf(found.ct.shape), source, student)
    before = path.read_bytes()
    with fullDisk(), pytest.raises(OSError, match="cannot be written") as told:
        write_mask(path, BoxMask(np.ones((8, 30, 40), np.uint8), (0, 0, 0), found.ct.shape), source, student)
    assert "Traceback" not in str(told.value) and "\n" not in str(told.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_mask_written_through_a_link_replaces_what_it_points_to(hu, tmp_path, student):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.nrrd", tmp_path / "link.nrrd"
    target.write_text("former")
    link.symlink_to(target)
    write_mask(link, maskOf(hu.shape), CtFile(CtVolume(hu, turned()), [], []), student)
    assert link.is_symlink()
    assertReads(target, maskOf(hu.shape).full(), turned())


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".dcm"])
def test_a_mask_that_was_changed_since_is_known(tmp_path, student, suffix):
    found = read_dicom(save(tmp_path / "ct", ctSlices(smallHu())))
    path, mask = tmp_path / f"liver{suffix}", maskOf(found.ct.shape)
    write_mask(path, mask, CtFile(found.ct, [], [], found.images), student)
    assert is_as_written(path)
    require_own_mask(path)
    before = path.read_bytes()
    if suffix == ".dcm":
        dataset = pydicom.dcmread(path)
        dataset.PixelData = bytes([dataset.PixelData[0] ^ 1]) + dataset.PixelData[1:]
        dataset.save_as(path)
    else:
        image = sitk.ReadImage(str(path))
        image[0, 0, 0] = 2 - image[0, 0, 0]  # part of the liver as another label, or more of it
        sitk.WriteImage(image, str(path), useCompression=True)
    edited = path.read_bytes()
    with pytest.raises(InputError, match="add --overwrite"):
        require_own_mask(path)
    assert path.read_bytes() == edited != before
    for content in (b"an afternoon's work", before[: len(before) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="it would be lost"):
            require_own_mask(path)
    path.write_bytes(b"")  # as `mktemp` makes it
    require_own_mask(path)


def test_reports_and_pictures_take_the_place_of_reports_and_pictures_alone(tmp_path):
    report, picture = tmp_path / "ct.json", tmp_path / "ct.png"
    for path, require in ((report, require_own_report), (picture, require_own_picture)):
        require(None)
        require(path)
        path.write_bytes(b"")
        require(path)
        path.write_text('{"Modality": "CT", "ConversionSoftware": "dcm2niix"}')
        with pytest.raises(InputError, match="it would be lost"):
            require(path)
        with pytest.raises(InputError, match="it would be lost"):
            path.write_bytes(b"\x89PNG")
            require(path)
    for content in ({"input": "a", "volume_ml": 1}, [{"input": "a", "error": "no image"}], []):
        write_report(report, content)
        require_own_report(report)


def test_a_dicom_segmentation_of_another_format_is_refused(hu, tmp_path, student):
    with pytest.raises(InputError, match=r"write \.nrrd instead"):
        write_mask(tmp_path / "liver.dcm", maskOf(hu.shape), CtFile(CtVolume(hu, turned()), [], []), student)
    assert not list(tmp_path.iterdir())


def test_the_tilted_matrix_of_dicom_survives_every_format(tmp_path, student):
    found = read_dicom(save(tmp_path / "ct", ctSlices(smallHu(), tilt=12)))
    for suffix in SUFFIXES:
        path = tmp_path / f"liver{suffix}"
        write_mask(path, maskOf(found.ct.shape), CtFile(found.ct, [], [], found.images), student)
        assertReads(path, maskOf(found.ct.shape).full(), ijkToRas(tilt=12))
