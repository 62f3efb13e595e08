"""DICOM in: each situation read right, with its place in the patient, or refused in words that name the file."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from LiverGTANLib.core.input_checks import check
from LiverGTANLib.core.volume import InputError
from LiverGTANLib.standalone.dicom.reader import DicomCt, read_dicom
from support.dicom_cases import (
    ORIGIN_LPS,
    SPACING,
    ctSlices,
    dicomDir,
    enhancedCt,
    ijkToRas,
    otherObject,
    save,
    setPixels,
    smallHu,
)


@pytest.fixture
def hu() -> np.ndarray:
    return smallHu()


def assertIs(found: DicomCt, hu: np.ndarray, matrix: np.ndarray | None = None) -> None:
    np.testing.assert_array_equal(found.ct.hu, hu)
    np.testing.assert_allclose(found.ct.ijk_to_ras, ijkToRas() if matrix is None else matrix, atol=1e-4)


def refusal(path: Path, number: int | None = None) -> str:
    with pytest.raises(InputError) as error:
        read_dicom(path, number)
    return str(error.value)


def test_a_series_is_read_with_its_place_in_the_patient(hu, tmp_path):
    found = read_dicom(save(tmp_path / "ct", ctSlices(hu)))
    assertIs(found, hu)
    assert found.ct.hu.dtype == np.int16
    assert found.notes == []
    # Voxel i = 2, j = 1, k = 3 of the first series, in RAS.
    np.testing.assert_allclose(
        found.ct.ijk_to_ras @ [2, 1, 3, 1],
        [-(ORIGIN_LPS[0] + 2 * SPACING[0]), -(ORIGIN_LPS[1] + SPACING[1]), ORIGIN_LPS[2] + 3 * SPACING[2], 1],
    )
    assert [image.path.name for image in found.images] == [f"{k:04d}.dcm" for k in range(8)]


def test_order_of_files_and_instance_numbers_play_no_part(hu, tmp_path):
    slices = ctSlices(hu)
    for number, dataset in enumerate(slices):
        dataset.InstanceNumber = 100 - number
    shuffled = [slices[k] for k in (5, 0, 7, 2, 1, 6, 3, 4)]
    assertIs(read_dicom(save(tmp_path / "ct", shuffled)), hu)


def test_head_first_slices_come_out_with_the_same_voxels_at_the_same_places(hu, tmp_path):
    slices = ctSlices(hu)
    for dataset in slices:
        dataset.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]  # rows run to the right: the normal points to the feet
    found = read_dicom(save(tmp_path / "ct", slices))
    np.testing.assert_array_equal(found.ct.hu, hu[::-1])
    expected = [-ORIGIN_LPS[0], -ORIGIN_LPS[1], ORIGIN_LPS[2] + 7 * SPACING[2], 1]
    np.testing.assert_allclose(found.ct.ijk_to_ras[:, 3], expected)
    assert found.ct.ijk_to_ras[2, 2] == -SPACING[2]


@pytest.mark.parametrize("tilt", [5.0, 15.0, -20.0])
def test_a_tilted_gantry_is_kept_in_the_geometry_and_told(hu, tmp_path, tilt):
    found = read_dicom(save(tmp_path / "ct", ctSlices(hu, tilt)))
    assertIs(found, hu, ijkToRas(tilt))
    assert any(f"tilted by {abs(tilt):.0f} degrees" in finding.reason for finding in check(found.ct))


def test_a_tilt_that_the_header_states_and_the_positions_do_not_show_is_told(hu, tmp_path):
    found = read_dicom(save(tmp_path / "ct", ctSlices(hu, GantryDetectorTilt=12.5)))
    assertIs(found, hu)
    assert "states a gantry tilt of 12.5 degrees" in found.notes[0]
    assert read_dicom(save(tmp_path / "tilted", ctSlices(hu, 12.5, GantryDetectorTilt=12.5))).notes == []


def test_how_pixels_are_displayed_does_not_change_their_hounsfield_units(hu, tmp_path):
    slices = ctSlices(hu, PresentationLUTShape="INVERSE", WindowCenter=40, WindowWidth=400)
    for dataset in slices:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    assertIs(read_dicom(save(tmp_path / "ct", slices)), hu)


def test_spacing_between_slices_is_that_of_the_positions(hu, tmp_path):
    assertIs(read_dicom(save(tmp_path / "ct", ctSlices(hu, SpacingBetweenSlices=-5, SliceThickness=9))), hu)


def test_positions_rounded_to_a_tenth_of_a_millimeter_are_even(hu, tmp_path):
    slices = ctSlices(hu, spacing=(3, 4, 0.625))
    for dataset in slices:
        dataset.ImagePositionPatient = [round(float(mm), 1) for mm in dataset.ImagePositionPatient]
    found = read_dicom(save(tmp_path / "ct", slices))
    assert found.ct.spacing[2] == pytest.approx(0.625, abs=0.02)


def test_each_slice_is_rescaled_as_it_says(hu, tmp_path):
    slices = ctSlices(hu)
    slices[3].RescaleIntercept = -1000
    hu[3] += 24
    assertIs(read_dicom(save(tmp_path / "ct", slices)), hu)
    slices[4].RescaleSlope = 0.5
    found = read_dicom(save(tmp_path / "ct", slices))
    assert found.ct.hu.dtype == np.float32
    np.testing.assert_allclose(found.ct.hu[4], (hu[4] + 1024) * 0.5 - 1024)
    slices[4].RescaleSlope = 0
    assert "0004.dcm has a RescaleSlope of 0" in refusal(save(tmp_path / "ct", slices))


def test_padding_that_would_look_like_metal_is_air(hu, tmp_path):
    slices = ctSlices(hu, PixelPaddingValue=65535)
    for dataset in slices:
        pixels = (hu[0].astype(np.int32) + 1024).astype("<u2")
        pixels[:5, :5] = 65535
        dataset.PixelData, dataset.BitsStored, dataset.HighBit = pixels.tobytes(), 16, 15
    found = read_dicom(save(tmp_path / "ct", slices))
    assert (found.ct.hu[:, :5, :5] == -1024).all()
    np.testing.assert_array_equal(found.ct.hu[:, 5:], np.broadcast_to(hu[0, 5:], (8, 25, 40)))


def test_values_beyond_16_bits_keep_their_value(hu, tmp_path):
    slices = ctSlices(hu)
    pixels = np.full(hu.shape[1:], 60000, "<u2")
    slices[2].PixelData, slices[2].BitsStored, slices[2].HighBit = pixels.tobytes(), 16, 15
    found = read_dicom(save(tmp_path / "ct", slices))
    assert (found.ct.hu[2] == 60000 - 1024).all()
    np.testing.assert_array_equal(found.ct.hu[3:], hu[3:])


LARGE = (4, 64, 64)
"""JPEG 2000 is not written for smaller images."""


def compressed(syntax: str) -> list[pydicom.Dataset]:
    slices = ctSlices(smallHu(LARGE))
    for dataset in slices:
        dataset.compress(syntax, generate_instance_uid=False)
    return slices


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_pixels_are_read(tmp_path, syntax):
    hu = smallHu(LARGE)
    assertIs(read_dicom(save(tmp_path / "ct", compressed(syntax))), hu)


def test_lossless_jpeg_is_read(tmp_path):
    hu = smallHu(LARGE)
    folder = save(tmp_path / "ct", ctSlices(hu))
    for path in folder.iterdir():
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(path))
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.ReadImage(str(path)))
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assertIs(read_dicom(folder), hu)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_way_of_writing_elements_is_read(hu, tmp_path, syntax):
    slices = ctSlices(hu)
    for dataset in slices:
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
    assertIs(read_dicom(save(tmp_path / "ct", slices)), hu)


def test_files_without_preamble_and_without_suffix_are_read(hu, tmp_path):
    folder = save(tmp_path / "ct", ctSlices(hu))
    for number, path in enumerate(sorted(folder.iterdir())):
        bare = pydicom.dcmread(path)
        del bare.file_meta
        bare.save_as(folder / f"1.2.840.{number}", implicit_vr=True, little_endian=True)
        path.unlink()
    assertIs(read_dicom(folder), hu)


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    folder = save(tmp_path / "ct", compressed(JPEG2000Lossless))
    decoder = type(pydicom.pixels.get_decoder(JPEG2000Lossless))
    monkeypatch.setattr(decoder, "is_available", property(lambda self: False))
    message = refusal(folder)
    assert "0000.dcm is compressed (JPEG 2000" in message
    assert "install pylibjpeg pylibjpeg-openjpeg" in message


def test_a_compressed_image_that_claims_another_size_is_refused(tmp_path):
    slices = compressed(JPEG2000Lossless)
    code = slices[1].PixelData
    at = code.index(b"\xff\x4f\xff\x51") + 8
    slices[1].PixelData = code[:at] + (60000).to_bytes(4, "big") * 2 + code[at + 8 :]
    message = refusal(save(tmp_path / "ct", slices))
    assert "0001.dcm" in message
    assert "60000" in message


def test_missing_slices_are_named(hu, tmp_path):
    slices = ctSlices(hu)
    del slices[3:5]
    message = refusal(save(tmp_path / "ct", slices))
    assert "2 slices are missing: 15 mm lie between 0002.dcm and 0003.dcm where slices are 5 mm apart" in message


def test_parts_of_a_scan_with_a_gap_between_them_are_no_phases(tmp_path):
    slices = ctSlices(smallHu((16, 10, 12)))
    for k, dataset in enumerate(slices):
        dataset.AcquisitionNumber = 1 + k // 8
    del slices[7:9]
    assert "2 slices are missing" in refusal(save(tmp_path / "ct", slices))


def test_uneven_slices_are_refused(tmp_path):
    slices = [d for k, d in enumerate(ctSlices(smallHu((20, 10, 12)))) if k < 8 or k % 3 == 0]
    assert "unevenly spaced, 5 to 15 mm apart" in refusal(save(tmp_path / "ct", slices))


def test_slices_shifted_sideways_are_refused(hu, tmp_path):
    slices = ctSlices(hu)
    slices[4].ImagePositionPatient[0] += 30
    message = refusal(save(tmp_path / "ct", slices))
    assert "0004.dcm lies 30 mm off the row of the other slices" in message


def test_a_doubled_slice_is_named(hu, tmp_path):
    slices = ctSlices(hu)
    message = refusal(save(tmp_path / "ct", joined(slices, ctSlices(hu)[2:3])))
    assert "0002.dcm and 0008.dcm lie at the same position" in message


def test_a_copy_of_a_file_is_left_out_and_told(hu, tmp_path):
    folder = save(tmp_path / "ct", ctSlices(hu))
    shutil.copy(folder / "0002.dcm", folder / "0002 (1).dcm")
    found = read_dicom(folder)
    assertIs(found, hu)
    assert found.notes == ["Left out, as no part of the volume: copies of a slice (1)."]


def test_one_identifier_for_all_slices_is_no_copy(hu, tmp_path):
    slices = ctSlices(hu, SOPInstanceUID="1.2.3")
    assertIs(read_dicom(save(tmp_path / "ct", slices)), hu)
    phases = joined(slices, ctSlices(hu + 1, SOPInstanceUID="1.2.3"))
    assert "two images at each position" in refusal(save(tmp_path / "two", phases))


def joined(first: list, second: list) -> list:
    for dataset in second:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(dataset, keyword, first[0][keyword].value)
    return [*first, *second]


def test_two_phases_that_nothing_tells_apart_are_refused(hu, tmp_path):
    message = refusal(save(tmp_path / "ct", joined(ctSlices(hu), ctSlices(hu))))
    assert "8 pairs in all: two images at each position" in message


@pytest.mark.parametrize("keyword, values", [("AcquisitionNumber", (1, 2)), ("ContrastBolusAgent", ("", "iodine"))])
def test_two_phases_that_an_attribute_tells_apart_are_listed_and_chosen_by_number(hu, tmp_path, keyword, values):
    first, second = (ctSlices(h, **{keyword: value}) for h, value in zip((hu, hu + 5), values))
    for dataset in first + second:  # differs from slice to slice, so it tells no phases apart
        dataset.AcquisitionTime = f"12{int(dataset.InstanceNumber):04d}"
    folder = save(tmp_path / "ct", joined(first, second))
    message = refusal(folder)
    assert "2 CT series (several phases in one series); choose one by the number that its line begins with" in message
    assert f"{keyword} {values[1]}" in message
    assertIs(read_dicom(folder, 1), hu)
    chosen = read_dicom(folder, 2)
    assertIs(chosen, hu + 5)
    assert "taken was" in chosen.notes[0]


def test_two_phases_that_are_numbered_one_after_the_other_are_listed_and_chosen_by_number(hu, tmp_path):
    second = ctSlices(hu + 5)
    for dataset in second:
        dataset.InstanceNumber += 500
    folder = save(tmp_path / "ct", joined(ctSlices(hu), second))
    lines = refusal(folder).splitlines()
    assert "several phases in one series" in lines[0]
    assert "images 1 to 8" in lines[1]
    assert "images 501 to 508" in lines[2]
    assertIs(read_dicom(folder, 2), hu + 5)


def test_two_phases_that_are_numbered_in_turn_are_refused(hu, tmp_path):
    slices = joined(ctSlices(hu), ctSlices(hu))
    for number, dataset in enumerate(slices):
        dataset.InstanceNumber = 2 * number - (15 if number > 7 else 0)
    assert "two images at each position" in refusal(save(tmp_path / "ct", slices))


def test_a_number_out_of_the_list_shows_the_list(hu, tmp_path):
    folder = save(tmp_path / "ct", [*ctSlices(hu), *ctSlices(hu)])
    message = refusal(folder, 3)
    assert "there is no number 3" in message
    assert message.count("40 x 30 x 8 voxels of 3 x 4 x 5 mm") == 2


def test_several_series_are_listed_with_description_and_size(hu, tmp_path):
    thin = ctSlices(smallHu((12, 30, 40)), SeriesNumber=7, SeriesDescription="thin")
    folder = save(tmp_path / "ct", [*thin, *ctSlices(hu)])
    lines = refusal(folder).splitlines()
    assert lines[1:] == [
        '  2: series 2 "Abdomen", 40 x 30 x 8 voxels of 3 x 4 x 5 mm',
        '  7: series 7 "thin", 40 x 30 x 12 voxels of 3 x 4 x 5 mm',
    ]


def test_a_number_of_the_list_is_never_the_series_number_of_another(hu, tmp_path):
    """Two phases of series 1, and series 2: the second of the list is not series 2."""
    phases = [ctSlices(hu + n, SeriesNumber=1, AcquisitionNumber=n, SeriesInstanceUID="1.2.3") for n in (0, 1)]
    folder = save(tmp_path / "ct", joined(*phases) + ctSlices(hu + 2, SeriesNumber=2))
    assert [line.split(",")[0] for line in refusal(folder).splitlines()[1:]] == [
        '  3: series 1 "Abdomen"',
        '  4: series 1 "Abdomen"',
        '  5: series 2 "Abdomen"',
    ]
    assert "there is no number 2" in refusal(folder, 2)
    assertIs(read_dicom(folder, 4), hu + 1)
    assertIs(read_dicom(folder, 5), hu + 2)


@pytest.mark.parametrize("modality", ["MR", "PT", ""])
def test_ct_images_that_are_said_to_be_of_another_modality_are_told(hu, tmp_path, modality):
    (note,) = read_dicom(save(tmp_path / "ct", ctSlices(hu, Modality=modality))).notes
    assert f"no plain Hounsfield units (Modality {modality or 'empty'})" in note


def test_a_faulty_series_in_the_list_says_so(hu, tmp_path):
    gap = ctSlices(hu, SeriesNumber=9)
    del gap[3]
    folder = save(tmp_path / "ct", [*ctSlices(hu), *gap])
    assert "1 slice is missing" in refusal(folder).splitlines()[2]
    assertIs(read_dicom(folder, 2), hu)
    assert "1 slice is missing" in refusal(folder, 9)


def test_the_series_of_the_abdomen_is_taken_and_named(hu, tmp_path):
    head = ctSlices(hu, BodyPartExamined="HEAD", SeriesNumber=1)
    body = ctSlices(hu + 1, BodyPartExamined="ABDOMEN", SeriesNumber=4)
    found = read_dicom(save(tmp_path / "ct", [*head, *body]))
    assertIs(found, hu + 1)
    assert found.notes[0].startswith('2 CT series were found; taken was series 4 "Abdomen" (abdomen)')


def test_a_short_series_beside_the_volume_is_left_out_and_told(hu, tmp_path):
    found = read_dicom(save(tmp_path / "ct", [*ctSlices(hu), *ctSlices(hu)[:2]]))
    assertIs(found, hu)
    assert found.notes == ["Left out, as no part of the volume: images in series of fewer than 4 (2)."]


@pytest.mark.parametrize("labeled", [True, False])
def test_a_localizer_in_the_series_is_left_out_and_told(hu, tmp_path, labeled):
    extra = ctSlices(hu)[0]
    extra.ImageOrientationPatient, extra.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [-70, 0, 430]
    if labeled:
        extra.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    found = read_dicom(save(tmp_path / "ct", joined(ctSlices(hu), [extra])))
    assertIs(found, hu)
    assert found.notes == ["Left out, as no part of the volume: localizers (1)."]


def test_one_slice_of_another_pixel_size_orientation_or_matrix_is_named(hu, tmp_path):
    def series(change) -> Path:
        slices = ctSlices(hu)
        change(slices[7])
        return save(tmp_path / "ct", slices)

    def zoom(dataset):
        dataset.PixelSpacing = [4, 2.5]

    def turn(dataset):
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.995, 0.0998]

    def shrink(dataset):
        setPixels(dataset, hu[0, :20, :20])

    assert "0007.dcm has pixels of" in refusal(series(zoom))
    assert "0007.dcm has another orientation than 0000.dcm" in refusal(series(turn))
    assert "0007.dcm has 20 x 20 pixels" in refusal(series(shrink))


@pytest.mark.parametrize(
    "keyword, value", [("PixelSpacing", [5, 4]), ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0.1])]
)
@pytest.mark.parametrize("odd", [slice(6, None), slice(1, None, 2)])
def test_a_scan_that_changes_in_between_is_refused(tmp_path, keyword, value, odd):
    slices = ctSlices(smallHu((12, 10, 14)))
    for dataset in slices[odd]:
        setattr(dataset, keyword, value)
    assert f"{odd.start:04d}.dcm has" in refusal(save(tmp_path / "ct", slices))


def test_reformats_in_one_series_are_listed(hu, tmp_path):
    coronal = ctSlices(hu)
    for k, dataset in enumerate(coronal):
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [-70, 5 * k, 200]
    folder = save(tmp_path / "ct", joined(ctSlices(hu), coronal))
    assert "2 CT series" in refusal(folder)
    assertIs(read_dicom(folder, 1), hu)


def test_a_series_identifier_for_each_slice_is_one_series(hu, tmp_path):
    slices = ctSlices(hu)
    for dataset in slices:
        dataset.SeriesInstanceUID = generate_uid()
    assertIs(read_dicom(save(tmp_path / "ct", slices)), hu)


def test_nested_folders_and_other_files_are_no_trouble(hu, tmp_path):
    slices = ctSlices(hu)
    save(tmp_path / "ct" / "a" / "b", slices[:4])
    save(tmp_path / "ct" / "c", slices[4:], start=4)
    (tmp_path / "ct" / "readme.txt").write_text("notes")
    (tmp_path / "ct" / "a" / "._0001.dcm").write_bytes(b"resource fork")
    (tmp_path / "ct" / "thumbnail.jpg").write_bytes(b"\xff\xd8\xff" + bytes(300))
    found = read_dicom(tmp_path / "ct")
    assertIs(found, hu)
    assert found.notes == []


def test_a_dicomdir_is_followed_and_must_be_whole(hu, tmp_path):
    directory = dicomDir(save(tmp_path / "ct", ctSlices(hu)))
    assertIs(read_dicom(directory), hu)
    assertIs(read_dicom(directory.parent), hu)
    next(path for path in sorted(directory.parent.rglob("*")) if path.is_file() and path != directory).unlink()
    assert "lists 8 files, of which 1 are not there" in refusal(directory)


def test_a_dicomdir_does_not_lead_out_of_its_folder(hu, tmp_path):
    directory = dicomDir(save(tmp_path / "ct", ctSlices(hu)))
    listed = pydicom.dcmread(directory)
    next(r for r in listed.DirectoryRecordSequence if "ReferencedFileID" in r).ReferencedFileID = ["..", "CT", "0000"]
    listed.save_as(directory)
    assert "lists a file outside its folder" in refusal(directory)


def test_other_objects_beside_the_series_are_told(hu, tmp_path):
    page = otherObject("CT", SecondaryCaptureImageStorage)
    setPixels(page, hu[0])
    others = [otherObject("RTSTRUCT", RTStructureSetStorage), page]
    found = read_dicom(save(tmp_path / "ct", [*ctSlices(hu), *others]))
    assertIs(found, hu)
    assert "RTSTRUCT (1)" in found.notes[0]
    assert "CT pages without a position (dose report or picture) (1)" in found.notes[0]


def test_a_folder_without_ct_says_what_it_holds(hu, tmp_path):
    slices = ctSlices(hu, Modality="MR")
    for dataset in slices:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    assert "holds no DICOM series of CT slices (found: MR (8))" in refusal(save(tmp_path / "ct", slices))


@pytest.mark.parametrize(
    "keyword, value",
    [
        ("ImagePositionPatient", None),
        ("ImageOrientationPatient", None),
        ("PixelSpacing", None),
        ("PixelSpacing", [0, 3]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImagePositionPatient", [0, 0]),
    ],
)
def test_a_slice_without_a_usable_place_is_named(hu, tmp_path, keyword, value):
    slices = ctSlices(hu)
    if value is None:
        del slices[2][keyword]
    else:
        setattr(slices[2], keyword, value)
    message = refusal(save(tmp_path / "ct", slices))
    assert "0002.dcm has" in message
    assert keyword in message


def test_equal_positions_are_refused(hu, tmp_path):
    slices = ctSlices(hu, spacing=(3, 4, 0))
    assert "same position" in refusal(save(tmp_path / "ct", slices))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.2, 0.5, 0.95])
def test_a_cut_file_is_named_wherever_it_breaks_off(hu, tmp_path, share):
    folder = save(tmp_path / "ct", ctSlices(hu))
    path = folder / "0007.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "0007.dcm" in refusal(folder)


def test_a_cut_compressed_file_is_named(tmp_path):
    folder = save(tmp_path / "ct", compressed(JPEG2000Lossless))
    path = folder / "0003.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: int(0.5 * len(content))])
    assert "0003.dcm" in refusal(folder)


def test_color_pictures_are_refused(hu, tmp_path):
    slices = ctSlices(hu)
    for dataset in slices:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.PixelData = dataset.PixelData * 3
    assert "has color pixels" in refusal(save(tmp_path / "ct", slices))


def test_an_enhanced_file_is_read_by_its_frames_positions(hu, tmp_path):
    order = [3, 0, 1, 7, 6, 2, 4, 5]
    enhancedCt(hu, order=order).save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    found = read_dicom(tmp_path / "enhanced.dcm")
    assertIs(found, hu)
    assert [image.frame for image in found.images] == list(np.argsort(order))
    assertIs(read_dicom(tmp_path), hu)


def test_phases_in_an_enhanced_file_are_listed_and_chosen(hu, tmp_path):
    both = np.concatenate([hu, hu + 3])
    enhancedCt(both, phases=2).save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    assert "TemporalPositionIndex 2" in refusal(tmp_path / "enhanced.dcm")
    assertIs(read_dicom(tmp_path / "enhanced.dcm", 2), hu + 3)


def test_an_enhanced_file_that_does_not_describe_its_frames_is_refused(hu, tmp_path):
    dataset = enhancedCt(hu)
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    assert "does not describe each of its frames" in refusal(tmp_path / "enhanced.dcm")


def test_parts_of_an_enhanced_image_must_all_be_there(hu, tmp_path):
    parts = [hu[:3], hu[3:6], hu[6:]]
    name, place = pydicom.uid.generate_uid(), 0
    first = enhancedCt(hu)
    for number, values in enumerate(parts, start=1):
        part = enhancedCt(values)
        part.SeriesInstanceUID, part.StudyInstanceUID = first.SeriesInstanceUID, first.StudyInstanceUID
        part.FrameOfReferenceUID, part.ConcatenationUID = first.FrameOfReferenceUID, name
        part.InConcatenationNumber, part.InConcatenationTotalNumber = number, len(parts)
        for k, frame in enumerate(part.PerFrameFunctionalGroupsSequence):
            frame.PlanePositionSequence[0].ImagePositionPatient[2] = ORIGIN_LPS[2] + 5 * (place + k)
        place += len(values)
        save(tmp_path, [part], start=number)
    assertIs(read_dicom(tmp_path), hu)
    assert "0001.dcm is part of a scan in 3 files, of which number 2 is missing (and 1 more)" in refusal(
        tmp_path / "0001.dcm"
    )
    (tmp_path / "0003.dcm").unlink()
    assert "of which number 3 is missing;" in refusal(tmp_path)


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "FrameOfReferenceUID", "SeriesInstanceUID"])
def test_a_slice_of_another_patient_or_scan_in_a_gap_is_named(hu, tmp_path, keyword):
    slices = ctSlices(hu)
    setattr(slices[5], keyword, "1.2.3")
    message = refusal(save(tmp_path / "ct", slices))
    assert "1 slice is missing" in message
    assert f"0005.dcm, which lies among them, was left out: it has another {keyword}." in message


def test_a_single_slice_asks_for_the_folder(hu, tmp_path):
    folder = save(tmp_path / "ct", ctSlices(hu))
    assert "0003.dcm is a single slice; give the folder of the whole series" in refusal(folder / "0003.dcm")


def test_a_deflated_bomb_is_refused_without_filling_the_memory(hu, tmp_path, monkeypatch):
    monkeypatch.setattr("LiverGTANLib.standalone.dicom.files.LARGEST_INFLATED_BYTES", 10**6)
    slices = ctSlices(hu)[:4]
    slices[2].file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    slices[2].PixelData = bytes(3 * 10**6)
    assert "0002.dcm holds more than" in refusal(save(tmp_path / "ct", slices))


def test_a_header_that_claims_more_than_any_ct_is_refused_before_room_is_made(hu, tmp_path):
    slices = ctSlices(hu)
    for dataset in slices:
        dataset.Rows = dataset.Columns = 65535
    assert "claims 65535 x 65535 x 8 voxels" in refusal(save(tmp_path / "ct", slices))


def interleaved(hu: np.ndarray, step_mm: float = 2.5) -> tuple[list, list]:
    """Two volumes of which the slices of the second lie evenly between those of the first."""
    first = ctSlices(hu, ContrastBolusAgent="")
    second = ctSlices(hu + 5, origin=(*ORIGIN_LPS[:2], ORIGIN_LPS[2] + step_mm))
    return first, joined(first, second)[len(first) :]


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "TemporalPositionIdentifier", "KVP", "ConvolutionKernel"])
def test_phases_whose_slices_lie_between_each_other_are_listed(hu, tmp_path, keyword):
    first, second = interleaved(hu)
    for dataset in second:
        setattr(dataset, keyword, "2")
    folder = save(tmp_path / "ct", [*first, *second])
    assert f"{keyword} 2, 40 x 30 x 8 voxels of 3 x 4 x 5 mm" in refusal(folder)
    assertIs(read_dicom(folder, 1), hu)


@pytest.mark.parametrize("backwards", [False, True])
def test_phases_between_each_other_are_told_apart_by_the_numbers_of_their_images(hu, tmp_path, backwards):
    first, second = interleaved(hu)
    for n, dataset in enumerate(second):
        dataset.InstanceNumber = 508 - n if backwards else 501 + n
    folder = save(tmp_path / "ct", [*first, *second])
    assert "images 501 to 508" in refusal(folder)
    assertIs(read_dicom(folder, 1), hu)


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_two_patients_or_places_in_one_series_are_listed(hu, tmp_path, keyword):
    slices = ctSlices(hu)
    for dataset in slices[4:]:
        setattr(dataset, keyword, "1.2.3")
    folder = save(tmp_path / "ct", slices)
    message = refusal(folder)
    assert "several patients, studies or frames of reference in one series" in message
    assert f"{keyword} as in 0004.dcm, 40 x 30 x 4 voxels" in message
    np.testing.assert_array_equal(read_dicom(folder, 1).ct.hu, hu[:4])
    for n, dataset in enumerate(slices):  # an anonymizer's, for each image
        setattr(dataset, keyword, f"1.2.3.{n}")
    assertIs(read_dicom(save(tmp_path / "anonymized", slices)), hu)


def test_one_patient_may_be_written_in_several_ways(hu, tmp_path):
    slices = ctSlices(hu)
    slices[3].PatientName = "CASE ONE"
    assertIs(read_dicom(save(tmp_path / "ct", slices)), hu)


@pytest.mark.parametrize(
    "keyword, value",
    [
        ("RescaleIntercept", -1000),
        ("RescaleSlope", 2),
        ("ConvolutionKernel", "B70f"),
        ("KVP", 80),
        ("AcquisitionNumber", 2),
        ("SliceThickness", 9),
        ("ImageType", ["DERIVED", "SECONDARY", "AXIAL"]),
    ],
)
def test_slices_that_were_not_made_alike_are_told(hu, tmp_path, keyword, value):
    slices = ctSlices(hu, SliceThickness=5)
    for dataset in slices[5:]:
        setattr(dataset, keyword, value)
    (note,) = read_dicom(save(tmp_path / "ct", slices)).notes
    assert f"not all made alike: {keyword} " in note
    assert "(5 slices)" in note and "(3 slices)" in note


def test_one_acquisition_for_each_slice_is_usual(hu, tmp_path):
    slices = ctSlices(hu)
    for dataset in slices:
        dataset.AcquisitionNumber = dataset.InstanceNumber
    slices[0].RescaleSlope = "1.0"
    assert read_dicom(save(tmp_path / "ct", slices)).notes == []


@pytest.mark.parametrize(
    "keyword, value, words",
    [("ImageType", ["DERIVED", "SECONDARY", "MIP"], "MIP"), ("RescaleType", "MGML", "RescaleType MGML")],
)
def test_values_that_are_no_plain_hounsfield_units_by_the_header_are_told(hu, tmp_path, keyword, value, words):
    (note,) = read_dicom(save(tmp_path / "ct", ctSlices(hu, **{keyword: value}))).notes
    assert f"no plain Hounsfield units ({words})" in note


def faulty(hu: np.ndarray, **attributes) -> list:
    """A series of which the third slice says something else of its pixels than is there."""
    slices = ctSlices(hu)
    for keyword, value in attributes.items():
        setattr(slices[2], keyword, value)
    return slices


@pytest.mark.parametrize(
    "attributes, words",
    [
        ({"BitsStored": 8, "HighBit": 7}, "says 8 bits (BitsStored) and holds values that need more"),
        ({"BitsStored": 8, "HighBit": 7, "PixelRepresentation": 1}, "says 8 bits"),
        ({"HighBit": 15}, "HighBit of 15 with 12 bits stored"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "color pixels"),
    ],
)
def test_pixels_that_their_header_describes_wrongly_are_refused(hu, tmp_path, attributes, words):
    message = refusal(save(tmp_path / "ct", faulty(hu, **attributes)))
    assert "0002.dcm" in message and words in message


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_more_pixels_than_the_header_says_are_refused(hu, tmp_path, keyword):
    slices = ctSlices(hu)
    for dataset in slices:
        setattr(dataset, keyword, dataset[keyword].value - 1)
    assert "0000.dcm says" in refusal(save(tmp_path / "ct", slices))


def test_signed_pixels_and_padding_beyond_their_bits_are_read(hu, tmp_path):
    """Twelve bits with their sign in the unused ones, and padding that needs all sixteen."""
    slices = ctSlices(hu, PixelPaddingValue=-3000)
    for dataset, values in zip(slices, hu):
        pixels = values.astype("<i2")
        pixels[:3] = -3000
        dataset.PixelData, dataset.PixelRepresentation, dataset.RescaleIntercept = pixels.tobytes(), 1, 0
    found = read_dicom(save(tmp_path / "ct", slices))
    np.testing.assert_array_equal(found.ct.hu[:, 3:], hu[:, 3:])


def test_floating_point_pixels_and_a_range_of_padding_are_read(hu, tmp_path):
    slices = ctSlices(hu)
    for dataset, values in zip(slices, hu):
        del dataset.PixelData, dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.FloatPixelData = (values + np.float32(0.5)).astype("<f4").tobytes()
        dataset.BitsAllocated = 32
    np.testing.assert_allclose(read_dicom(save(tmp_path / "float", slices)).ct.hu, hu + 0.5)
    slices = ctSlices(hu, PixelPaddingValue=60000, PixelPaddingRangeLimit=60010)
    for dataset, values in zip(slices, hu):
        pixels = (values.astype(np.int32) + 1024).astype("<u2")
        pixels[:3] = 60005
        dataset.PixelData, dataset.BitsStored, dataset.HighBit = pixels.tobytes(), 16, 15
    found = read_dicom(save(tmp_path / "range", slices))
    assert (found.ct.hu[:, :3] == -1024).all()
    np.testing.assert_array_equal(found.ct.hu[:, 3:], hu[:, 3:])


@pytest.mark.parametrize(
    "attributes, words",
    [
        ({"SpacingBetweenSlices": 10}, "5 mm apart by their positions and 10 mm by SpacingBetweenSlices"),
        ({"SpacingBetweenSlices": -5, "SliceThickness": 5}, ""),
        ({"SliceThickness": 10}, ""),
        ({"SliceThickness": 15}, "Slices 15 mm thick lie only 5 mm apart"),
        ({"SliceThickness": 2.5}, "Slices 2.5 mm thick lie 5 mm apart"),
        ({"ReconstructionDiameter": 60}, "120 mm wide by PixelSpacing and 60 mm by ReconstructionDiameter"),
        ({"ReconstructionDiameter": 120}, ""),
        ({"ReconstructionDiameter": 500}, ""),
        ({"SpacingBetweenSlices": "", "SliceThickness": "", "ReconstructionDiameter": 0}, ""),
    ],
)
def test_sizes_that_contradict_each_other_are_told(tmp_path, attributes, words):
    notes = read_dicom(save(tmp_path / "ct", ctSlices(smallHu(), **attributes))).notes
    assert len(notes) == bool(words)
    assert all(words in note for note in notes)


@pytest.mark.parametrize("step, told", [(5, False), (-5, False), (2.5, True), (0, False)])
def test_slice_locations_that_contradict_the_positions_are_told(tmp_path, step, told):
    slices = ctSlices(smallHu())
    for k, dataset in enumerate(slices):
        dataset.SliceLocation = 30 + step * k
    notes = read_dicom(save(tmp_path / "ct", slices)).notes
    assert ["2.5 mm by SliceLocation" in note for note in notes] == [True] * told


@pytest.mark.parametrize(
    "attributes, words",
    [
        ({"SeriesDescription": "Abdomen 70 keV"}, "70 KEV"),
        ({"SeriesDescription": "DE_Iodine 5.0"}, "IODINE"),
        ({"SeriesDescription": "VNC 3.0 liver"}, "VNC"),
        ({"SeriesDescription": "Monoenergetic Plus"}, "MONOENERGETIC"),
        ({"SeriesDescription": "Zeffective"}, "ZEFFECTIVE"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"]}, "MAT_SPECIFIC"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]}, "VMI"),
        ({"SeriesDescription": "Portal venous 3.0 I40f 120 kV"}, ""),
        ({"SeriesDescription": "Abdomen venous Br40 KMONO"}, ""),
        ({"SeriesDescription": "Venenphase 120 kV AXIAL/TRANSFORMATION"}, ""),
    ],
)
def test_images_of_other_quantities_than_plain_hounsfield_units_are_told(tmp_path, attributes, words):
    notes = read_dicom(save(tmp_path / "ct", ctSlices(smallHu(), **attributes))).notes
    assert [f"no plain Hounsfield units ({words}" in note for note in notes] == [True] * bool(words)
