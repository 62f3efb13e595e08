"""The sample CT as scanners, archives and converters really write it: the same liver at the same place, or no mask."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from LiverGTANLib.core import measurements
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone import command_line as cli
from LiverGTANLib.standalone.dicom.segmentation import read_segmentation
from LiverGTANLib.standalone.image_files import image_of, open_ct, read_labels
from support.dicom_cases import ctSlices, save, smallHu

pytestmark = pytest.mark.slow


def segment(*arguments) -> int:
    return cli.main(["segment", "--engine", "numpy", *map(str, arguments)])


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "liver.nrrd"


def refused(capsys, source: Path, output: Path, *more) -> str:
    assert segment(source, "-o", output, *more) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert not output.exists()
    return error


def dice(output: Path, ct: CtVolume, liver: np.ndarray) -> float:
    return measurements.dice(read_labels(output, ct), liver)


def slicesOf(ct: CtVolume, **more) -> list:
    """The sample as a DICOM series: its voxels run to R, A, S, those of DICOM to L, P, S."""
    last = ct.ijk_to_ras @ [*(np.array(ct.shape[::-1]) - 1), 1]
    origin = (-last[0], -last[1], ct.ijk_to_ras[2, 3])
    return ctSlices(ct.hu[:, ::-1, ::-1], origin=origin, spacing=tuple(ct.spacing), **more)


@pytest.mark.parametrize("kind", ["plain", "one_way_round", "monochrome1", "localizer"])
def test_a_series_gives_the_mask_of_the_plain_file(sampleCt, sampleLiver, tmp_path, output, capsys, kind):
    slices = slicesOf(sampleCt, SpacingBetweenSlices=-3 if kind == "one_way_round" else 3)
    for dataset in slices:
        if kind == "monochrome1":
            dataset.PhotometricInterpretation = "MONOCHROME1"
    if kind == "localizer":
        slices.append(ctSlices(smallHu())[0])
        slices[-1].SeriesInstanceUID, slices[-1].ImageType = slices[0].SeriesInstanceUID, ["ORIGINAL", "LOCALIZER"]
    folder = save(tmp_path / "ct", slices[::-1])
    assert segment(folder, "-o", output) == 0
    assert segment(folder, "-o", tmp_path / "liver.dcm") == 0
    told = capsys.readouterr().err
    assert ("localizers (1)" in told) == (kind == "localizer")
    assert dice(output, sampleCt, sampleLiver) > 0.85
    source = open_ct(folder)
    plain = read_labels(output, source.ct)
    np.testing.assert_array_equal(read_segmentation(tmp_path / "liver.dcm", source.images), plain)


@pytest.mark.parametrize("kind", ["gap_below", "gap_in_liver", "unequal", "two_phases", "nowhere"])
def test_a_series_that_is_no_volume_is_refused(sampleCt, tmp_path, output, capsys, kind):
    slices = slicesOf(sampleCt)
    words = "slices are missing"
    if kind == "gap_below":
        del slices[20:60]
    elif kind == "gap_in_liver":
        del slices[80:88]
    elif kind == "unequal":
        slices, words = slices[:60] + slices[60::3], "unevenly spaced"
    elif kind == "two_phases":
        shared = ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
        second = slicesOf(sampleCt, **{keyword: slices[0][keyword].value for keyword in shared})
        slices, words = slices + second, "two images at each position"
    else:
        words = "no usable ImagePositionPatient"
        for dataset in slices:
            del dataset.ImagePositionPatient
    assert words in refused(capsys, save(tmp_path / "ct", slices), output)


def test_one_of_two_series_is_chosen_by_its_number(sampleCt, sampleLiver, tmp_path, output, capsys):
    folder = save(tmp_path / "ct", [*slicesOf(sampleCt, SeriesNumber=4), *ctSlices(smallHu())])
    error = refused(capsys, folder, output)
    assert error.splitlines()[1].startswith('  2: series 2 "Abdomen"')
    assert error.splitlines()[2].startswith('  4: series 4 "Abdomen"')
    assert segment(folder, "-o", output, "--series", "4") == 0
    assert "taken was series 4" in capsys.readouterr().err
    assert dice(output, sampleCt, sampleLiver) > 0.85
    assert "no number 3" in refused(capsys, folder, tmp_path / "other.nrrd", "--series", "3")


@pytest.mark.parametrize("tilt", [10, 20])
def test_a_tilted_gantry_gives_a_mask_on_the_tilted_slices(sampleCt, sampleLiver, tmp_path, output, capsys, tilt):
    """The scan and its reference are resampled to tilted planes; the mask must fit that reference there."""
    angle = np.deg2rad(tilt)
    axes = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)]])
    lps = sitk.DICOMOrient(image_of(sampleCt.hu, sampleCt.ijk_to_ras), "LPS")
    truth = sitk.DICOMOrient(image_of(sampleLiver.astype(np.uint8), sampleCt.ijk_to_ras), "LPS")
    (columns, rows, count), origin = lps.GetSize(), lps.GetOrigin()
    direction = np.stack([*axes, np.cross(*axes)], 1).ravel().tolist()
    heights = np.arange(origin[2], origin[2] + 3 * count + 3 * rows * np.sin(angle), 3.0)

    def tilted(image: sitk.Image, interpolator: int, outside: float) -> np.ndarray:
        planes = [
            sitk.Resample(
                image,
                [columns, rows, 1],
                sitk.Transform(),
                interpolator,
                [*origin[:2], float(height)],
                [3, 3, 1.0],
                direction,
                outside,
            )
            for height in heights
        ]
        return np.concatenate([sitk.GetArrayFromImage(plane) for plane in planes])

    hu = tilted(lps, sitk.sitkLinear, -1024)
    series = ctSlices(hu, tilt=tilt, origin=(*origin[:2], float(heights[0])), spacing=(3, 3, 3))
    assert segment(save(tmp_path / "ct", series), "-o", output) == 0
    assert f"tilted by {tilt} degrees" in capsys.readouterr().err
    found = open_ct(output).ct
    assert abs(np.linalg.det(found.ijk_to_ras[:3, :3])) == pytest.approx(27 * np.cos(angle), rel=1e-4)
    untilted = tmp_path / "untilted.nrrd"
    assert segment(write(tmp_path / "plain.nii.gz", sampleCt.hu, sampleCt.ijk_to_ras), "-o", untilted) == 0
    plain = tilted(sitk.ReadImage(str(untilted)), sitk.sitkNearestNeighbor, 0)
    assert measurements.dice(found.hu, plain) > 0.92
    assert measurements.dice(found.hu, tilted(truth, sitk.sitkNearestNeighbor, 0)) > 0.82


def write(path: Path, hu: np.ndarray, matrix: np.ndarray, sform: int = 1, qform: int = 0) -> Path:
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), matrix)
    content = bytearray(image.to_bytes())
    np.frombuffer(content, "<i2", 2, 252)[:] = qform, sform
    image = nibabel.Nifti1Image.from_bytes(bytes(content))
    path.write_bytes(content if path.suffix == ".nii" else gzip.compress(bytes(content), 1))
    return path


def test_a_cut_file_is_refused(sampleCt, tmp_path, output, capsys):
    path = write(tmp_path / "ct.nii.gz", sampleCt.hu, sampleCt.ijk_to_ras)
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    assert "incomplete or damaged" in refused(capsys, path, output)


def test_voxels_that_are_no_numbers_are_refused_in_every_format(sampleCt, tmp_path, output, capsys):
    hu = np.where(sampleCt.hu <= -900, np.nan, sampleCt.hu).astype(np.float32)
    write(tmp_path / "nan.nii.gz", hu, sampleCt.ijk_to_ras)
    sitk.WriteImage(image_of(hu, sampleCt.ijk_to_ras), str(tmp_path / "nan.nrrd"))
    hu[np.isnan(hu)] = np.inf
    write(tmp_path / "infinite.nii", hu, sampleCt.ijk_to_ras)
    for name in ("nan.nii.gz", "nan.nrrd", "infinite.nii"):
        assert "NaN or infinite" in refused(capsys, tmp_path / name, output)


def test_values_that_are_no_hounsfield_units_are_refused_by_what_they_are(sampleCt, tmp_path, output, capsys):
    padded = sampleCt.hu + np.int16(1024)
    padded[:8] = -2000
    for hu, words in ((padded, "about 1000 too high"), (np.clip(sampleCt.hu, 0, 200), "clipped to 0 to 200")):
        assert words in refused(capsys, write(tmp_path / "ct.nii.gz", hu, sampleCt.ijk_to_ras), output)


def test_no_orientation_is_told_and_the_body_looked_at(sampleCt, sampleLiver, tmp_path, output, capsys):
    path = write(tmp_path / "ct.nii.gz", sampleCt.hu, np.diag([3.0, 3, 3, 1]), sform=0)
    assert segment(path, "-o", output) == 0
    told = capsys.readouterr().err
    assert "stores no orientation" in told
    assert "exchanged" not in told
    mask = open_ct(output).ct.hu
    assert measurements.dice(mask, sampleLiver) > 0.85
    turned = np.ascontiguousarray(sampleCt.hu[:, ::-1, ::-1])
    assert segment(write(path, turned, np.diag([3.0, 3, 3, 1]), sform=0), "-o", output) == 0
    assert "front and back, and left and right were exchanged" in capsys.readouterr().err


@pytest.mark.parametrize("axis, words", [(2, "left and right"), (1, "front and back"), (0, "head and feet")])
def test_a_body_that_lies_the_wrong_way_round_is_told(sampleCt, tmp_path, output, capsys, axis, words):
    hu = np.ascontiguousarray(np.flip(sampleCt.hu, axis))
    assert segment(write(tmp_path / "ct.nii.gz", hu, sampleCt.ijk_to_ras), "-o", output) == 0
    assert f"looks as if {words} were exchanged" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_slight_shear_gives_the_same_liver_at_the_place_of_the_scan(sampleCt, sampleLiver, tmp_path, capsys, suffix):
    sheared = sampleCt.ijk_to_ras.copy()
    sheared[0, 1] += 0.003
    output = tmp_path / f"liver{suffix}"
    assert segment(write(tmp_path / "ct.nii.gz", sampleCt.hu, sheared), "-o", output) == 0
    (warning,) = capsys.readouterr().err.splitlines()  # nothing of the shear
    assert "cut by the upper end of the scan" in warning
    mask = open_ct(output).ct
    np.testing.assert_allclose(mask.ijk_to_ras, sheared, atol=1e-4)
    assert measurements.dice(mask.hu, sampleLiver) > 0.85


def test_a_child_sized_body_gets_a_mask(sampleCt, sampleLiver, tmp_path, output, capsys):
    small = sampleCt.ijk_to_ras @ np.diag([0.5, 0.5, 0.5, 1])
    assert segment(write(tmp_path / "ct.nii.gz", sampleCt.hu, small), "-o", output) == 0
    assert measurements.dice(open_ct(output).ct.hu, sampleLiver) > 0.7
    smaller = sampleCt.ijk_to_ras @ np.diag([0.35, 0.35, 0.35, 1])
    assert segment(write(tmp_path / "ct.nii.gz", sampleCt.hu, smaller), "-o", output) == 0
    assert "as a child's does" in capsys.readouterr().err
