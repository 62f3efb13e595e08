"""Where results go: nothing of the user's is overwritten or lost, and one failed write does not end a batch."""

import csv
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from LiverGTANLib.core.volume import CtVolume, InputError
from LiverGTANLib.standalone import command_line as cli
from LiverGTANLib.standalone.file_segmentation import read_reference, reference_offset
from LiverGTANLib.standalone.image_files import image_of, read_ct
from support.cases import smallCt
from support.dicom_cases import ctSlices, save
from support.full_disk import fullDisk
from training.data import samples

pytestmark = pytest.mark.slow
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def segment(*arguments) -> int:
    return cli.main(["segment", "--engine", "numpy", *map(str, arguments)])


@pytest.fixture
def scan(sampleFolder, tmp_path):
    """A copy of the sample CT, in a folder of its own."""
    (tmp_path / "in").mkdir()
    return shutil.copy(samples.CT, tmp_path / "in" / "ct.nii.gz")


def refused(capsys, *arguments) -> str:
    assert segment(*arguments) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error[error.index("error: ") :]  # what earlier calls warned of stands before


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink", "dots"])
@pytest.mark.parametrize("option", ["-o", "--report", "--picture"])
def test_an_input_is_never_an_output(scan, tmp_path, capsys, link, option):
    before = scan.read_bytes()
    output = tmp_path / "in" / ".." / "in" / "ct.nii.gz" if link == "dots" else scan
    if link.endswith("link"):
        output = tmp_path / "other.nii.gz"
        output.symlink_to(scan) if link == "symlink" else os.link(scan, output)
    arguments = ["-o", output] if option == "-o" else ["-o", tmp_path / "liver.nrrd", option, output]
    assert "is an input" in refused(capsys, scan, *arguments)
    assert scan.read_bytes() == before
    assert not (tmp_path / "liver.nrrd").exists()


def test_a_write_protected_file_is_not_replaced(scan, tmp_path, capsys):
    output = tmp_path / "liver.nrrd"
    output.write_bytes(b"precious")
    output.chmod(0o444)
    assert "write-protected" in refused(capsys, scan, "-o", output)
    assert output.read_bytes() == b"precious"


def test_a_file_is_no_folder_for_results(scan, capsys):
    assert f"{scan} is a file, so nothing can be written below it" in refused(capsys, scan, "-o", scan / "liver.nrrd")


def test_the_voxels_of_a_header_and_the_reference_are_inputs_too(scan, tmp_path, capsys):
    ct = read_ct(scan)
    sitk.WriteImage(image_of(ct.hu, ct.ijk_to_ras), str(tmp_path / "ct.mhd"))
    before = (tmp_path / "ct.raw").read_bytes()
    liver = tmp_path / "liver.nrrd"
    assert "is an input" in refused(capsys, tmp_path / "ct.mhd", "-o", liver, "--report", tmp_path / "ct.raw")
    assert (tmp_path / "ct.raw").read_bytes() == before
    shutil.copy(samples.CT_REFERENCE, tmp_path / "truth.nii.gz")
    truth = tmp_path / "truth.nii.gz"
    assert "is an input" in refused(capsys, scan, "-o", truth, "--reference", f"{truth}:5")


def test_a_slice_of_the_series_is_never_an_output(tmp_path, capsys):
    folder = save(tmp_path / "ct", ctSlices(np.zeros((8, 30, 40), np.int16)))
    before = (folder / "0003.dcm").read_bytes()
    assert "is an input" in refused(capsys, folder, "-o", folder / "0003.dcm")
    assert (folder / "0003.dcm").read_bytes() == before


def test_two_outputs_never_have_one_place(scan, tmp_path, capsys):
    for first, second in (("a.nrrd", "a.nrrd"), ("a.nrrd", "A.NRRD")):
        assert "are one file" in refused(capsys, scan, "-o", tmp_path / first, "--report", tmp_path / second)
    both = tmp_path / "x"
    assert "are one file" in refused(capsys, scan, "-o", tmp_path / "a.nrrd", "--report", both, "--picture", both)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    out = tmp_path / "out"
    for name in ("volumes.csv", "cohort.html", "ct.seg.nrrd"):
        assert "are one file" in refused(capsys, scan, scan, "-o", out, "--report", out / name)
    for output in (scan, tmp_path / "liver.nrrd"):
        assert "need a folder" in refused(capsys, scan, scan, "-o", output)


@posix
@pytest.mark.parametrize("option", ["--report", "--picture"])
def test_devices_and_folders_are_no_outputs(scan, tmp_path, capsys, option):
    for place in ("/dev/null", tmp_path):
        assert "not a file" in refused(capsys, scan, "-o", tmp_path / "a.nrrd", option, place)
    assert os.path.exists("/dev/null") and not os.path.isfile("/dev/null")
    os.mkfifo(tmp_path / "pipe.nrrd")
    assert "not a file" in refused(capsys, scan, "-o", tmp_path / "pipe.nrrd")


@pytest.mark.parametrize("arguments", [["-o", ""], ["-o", "  "], ["-o", "a.nrrd", "--report", ""]])
def test_an_empty_name_is_refused(scan, tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        segment(scan, *arguments)
    assert left.value.code == 2
    assert "the name of a file or folder is empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_dicom_segmentation_of_a_nifti_file_is_refused_before_anything_is_computed(scan, tmp_path, capsys):
    assert "write .nrrd instead" in refused(capsys, scan, "-o", tmp_path / "liver.dcm")


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_outputs_have_the_rights_of_any_new_file(scan, tmp_path, mask):
    before = os.umask(mask)
    try:
        assert segment(scan, "-o", tmp_path / "a.nii.gz", "--report", tmp_path / "a.json") == 0
    finally:
        os.umask(before)
    for name in ("a.nii.gz", "a.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~mask


# Batches


def rows(folder) -> list[dict]:
    with (folder / "volumes.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("content", ["patient,age\nA,61\n", "", "\x00\x01", "input,output,mine\n1,2,3\n"])
def test_a_table_of_the_users_is_not_overwritten(scan, tmp_path, capsys, content):
    table = tmp_path / "in" / "volumes.csv"
    table.write_text(content)
    assert "was not written by this program" in refused(capsys, scan, "-o", tmp_path / "in")
    assert table.read_text() == content
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["ct.nii.gz", "volumes.csv"]


def test_a_table_of_an_earlier_version_is_replaced_and_its_cases_are_left(scan, tmp_path, capsys):
    out = tmp_path / "out"
    assert segment(scan, "-o", out) == 0
    now = (out / "volumes.csv").read_bytes()
    before = "id,input,output,volume_ml,volume_z,seconds,warnings,error\nct,in/ct.nii.gz,ct.seg.nrrd,1.0,,1.0,,\n"
    (out / "volumes.csv").write_text(before)
    assert segment(scan, "-o", out) == 0
    assert "1 of 1 case is done already" in capsys.readouterr().err and (out / "volumes.csv").read_bytes() == now


def test_a_mask_drawn_by_hand_is_not_overwritten(scan, tmp_path, capsys):
    drawn = tmp_path / "in" / "ct.seg.nrrd"
    drawn.write_text("an afternoon's work")
    assert "ct.seg.nrrd exists and is not listed" in refused(capsys, scan, "-o", tmp_path / "in")
    assert drawn.read_text() == "an afternoon's work"


def test_a_batch_replaces_its_own_results_and_keeps_the_rows_of_others(scan, tmp_path):
    other = shutil.copy(scan, tmp_path / "in" / "other.nii.gz")
    out = tmp_path / "out"
    assert segment(scan, other, "-o", out) == 0
    assert segment(other, "-o", out, "--threshold", "0.9") == 0
    found = rows(out)
    assert [row["output"] for row in found] == ["ct.seg.nrrd", "other.seg.nrrd"]
    assert float(found[1]["volume_ml"]) < float(found[0]["volume_ml"])


@pytest.mark.parametrize("count", [1, 2])
def test_a_folder_is_made_for_one_input_as_for_several_and_a_suffix_is_no_folder(scan, tmp_path, capsys, count):
    assert segment(*[scan] * count, "-o", tmp_path / "new" / "masks", "--format", ".nii.gz") == 0
    assert (tmp_path / "new" / "masks" / "ct.nii.gz").is_file()
    assert len(rows(tmp_path / "new" / "masks")) == 1
    assert "no output this program writes" in refused(capsys, *[scan] * count, "-o", tmp_path / "liver.stl")
    assert "--format" in refused(capsys, scan, "-o", tmp_path / "liver.nrrd", "--format", ".nii.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "new"]


def test_a_batch_in_another_format_keeps_the_rows_of_the_masks_that_stay(scan, tmp_path):
    for suffix in (".seg.nrrd", ".nii.gz", ".seg.nrrd"):
        assert segment(scan, "-o", tmp_path / "out", "--format", suffix) == 0
    assert sorted(row["output"] for row in rows(tmp_path / "out")) == ["ct.nii.gz", "ct.seg.nrrd"]


def test_a_batch_writes_dicom_segmentations_of_dicom_alone(scan, tmp_path, capsys):
    noise = np.random.default_rng(0).normal(-60, 60, (12, 40, 40)).astype(np.int16)
    folder = save(tmp_path / "series", ctSlices(noise))
    assert segment(folder, scan, "-o", tmp_path / "out", "--format", ".dcm") == 2
    assert "1 of 2 segmented" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "cohort.html",
        "records",
        "series.dcm",
        "thumbnails",
        "volumes.csv",
    ]
    assert pydicom.dcmread(tmp_path / "out" / "series.dcm").Modality == "SEG"
    assert "write .nrrd instead" in rows(tmp_path / "out")[1]["error"]


def test_a_pattern_is_resolved_where_the_shell_did_not(scan, tmp_path, capsys):
    shutil.copy(scan, tmp_path / "in" / "other [1].nii.gz")
    assert segment(tmp_path / "in" / "*.nii.gz", "-o", tmp_path / "out") == 0
    assert segment(tmp_path / "in" / "other [1].nii.gz", "-o", tmp_path / "one.nrrd") == 0
    assert sorted(row["output"] for row in rows(tmp_path / "out")) == ["ct.seg.nrrd", "other [1].seg.nrrd"]
    assert "does not exist" in refused(capsys, tmp_path / "*.mha", "-o", tmp_path / "two.nrrd")


def test_a_folder_of_images_is_refused_with_what_to_do(scan, tmp_path, capsys):
    (tmp_path / "in" / "notes.txt").touch()
    assert f"as in {tmp_path / 'in' / '*.nii.gz'}" in refused(capsys, tmp_path / "in", "-o", tmp_path / "a.nrrd")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_listed_in_the_table(scan, tmp_path):
    odd = shutil.copy(scan, os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.nii.gz"))
    assert segment(odd, scan, "-o", tmp_path / "out", "--report", tmp_path / "report.json") == 0
    assert segment(scan, odd, "-o", tmp_path / "out") == 0
    assert b"\xff.nii.gz" in (tmp_path / "out" / "volumes.csv").read_bytes()


def test_one_mask_that_cannot_be_written_does_not_end_the_batch(scan, tmp_path, capsys):
    ct = read_ct(scan)
    empty = tmp_path / "in" / "pelvis.nii.gz"  # its empty mask is a small file
    sitk.WriteImage(image_of(ct.hu[:14], ct.ijk_to_ras), str(empty))
    out = tmp_path / "out"
    assert segment(scan, empty, "-o", out) == 0
    first = (out / "ct.seg.nrrd").read_bytes()
    with fullDisk(len(first) * 3 // 4):
        assert segment(scan, empty, "-o", out, "--threshold", "0.4") == 2
    assert "1 of 2 segmented" in capsys.readouterr().out
    assert (out / "ct.seg.nrrd").read_bytes() == first
    assert not list(out.rglob(".partial*"))
    failed, done = rows(out)
    assert "cannot be written" in failed["error"]
    assert "The mask of an earlier run was left as it is" in failed["error"]
    assert done["error"] == ""
    assert "liver is in view" in done["warnings"]


def test_warnings_of_a_batch_are_told(sampleFolder, tmp_path, capsys):
    ct = read_ct(samples.CT)
    mirrored = tmp_path / "mirrored.nii.gz"
    sitk.WriteImage(image_of(np.ascontiguousarray(ct.hu[:, :, ::-1]), ct.ijk_to_ras), str(mirrored))
    assert segment(mirrored, samples.CT, "-o", tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "left and right were exchanged" in error
    assert error.count("exchanged") == 1
    assert error.count("cut by the upper end of the scan") == 2


@posix
@pytest.mark.parametrize("option", ["-o", "--report", "--picture"])
def test_links_that_lead_in_a_circle_are_refused(scan, tmp_path, capsys, option):
    here, there = tmp_path / "here.nrrd", tmp_path / "there.nrrd"
    here.symlink_to(there)
    there.symlink_to(here)
    outputs = ["-o", here] if option == "-o" else ["-o", tmp_path / "liver.nrrd", option, here]
    assert "leads to itself" in refused(capsys, scan, *outputs)
    assert here.is_symlink() and not (tmp_path / "liver.nrrd").exists()
    assert "leads to itself" in refused(capsys, scan, "-o", here / "liver.nrrd")
    assert "does not exist" in refused(capsys, here, "-o", tmp_path / "liver.nrrd")
    assert segment(here, scan, "-o", tmp_path / "out") == 2
    assert [bool(row["error"]) for row in rows(tmp_path / "out")] == [True, False]


@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd", ".nii.gz", ".mha"])
def test_why_a_mask_cannot_be_written_is_said_once(scan, tmp_path, capsys, suffix):
    with fullDisk(2000):
        error = refused(capsys, scan, "-o", tmp_path / f"liver{suffix}")
    assert error.count("cannot be written") == 1 and error.count("liver") == 1
    assert "File too large" in error
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="only Linux has it")
def test_a_folder_of_the_system_is_no_series(tmp_path, capsys):
    """Its files have no size, and reading some of them fails or waits for ever."""
    assert "holds no DICOM series" in refused(capsys, "/proc/self/task", "-o", tmp_path / "liver.nrrd")


@pytest.mark.parametrize("threshold, words", [("0.99", "unusually small"), ("0.01", ""), ("0.5", "")])
def test_what_a_threshold_leaves_is_told_if_it_is_odd(scan, tmp_path, capsys, monkeypatch, threshold, words):
    monkeypatch.setattr("LiverGTANLib.core.measurements.USUAL_LIVER_ML", (1100.0, 4500.0))
    assert segment(scan, "-o", tmp_path / "liver.nrrd", "--threshold", threshold) == 0
    error = capsys.readouterr().err
    assert (f"At a threshold of {threshold} the liver is" in error) == bool(words) and words in error


def test_fluid_in_the_mask_is_told(scan, sampleLiver, tmp_path, capsys):
    ct = read_ct(scan)
    middle = np.argwhere(sampleLiver).mean(axis=0)
    hu = ct.hu.copy()
    hu[np.linalg.norm((np.indices(ct.shape).T - middle) * ct.spacing[::-1], axis=-1).T < 25] = 8
    sitk.WriteImage(image_of(hu, ct.ijk_to_ras), str(cyst := tmp_path / "cyst.nrrd"))
    for path, said in ((scan, False), (cyst, True)):
        assert segment(path, "-o", tmp_path / "liver.nrrd") == 0
        assert ("as dark as fluid" in capsys.readouterr().err) == said


@pytest.mark.parametrize("threshold", ["0", "1e-300", "0.999999", "nan", "1"])
def test_a_threshold_that_leaves_nothing_or_everything_is_refused(scan, tmp_path, capsys, threshold):
    with pytest.raises(SystemExit):
        segment(scan, "-o", tmp_path / "liver.nrrd", "--threshold", threshold)
    assert f"{threshold} is not between 0.01 and 0.99" in capsys.readouterr().err


# References


@pytest.mark.parametrize("label, words", [(777, "has no label 777; it holds 0, 1,"), (5, "")])
def test_a_label_that_is_absent_is_refused(scan, tmp_path, capsys, label, words):
    arguments = [scan, "-o", tmp_path / "liver.nrrd", "--reference", f"{samples.CT_REFERENCE}:{label}"]
    if words:
        assert words in refused(capsys, *arguments)
        assert not (tmp_path / "liver.nrrd").exists()
    else:
        assert segment(*arguments) == 0


def test_float_labels_of_a_reference_count_as_whole_numbers(scan, sampleLiver, tmp_path, capsys):
    ct = read_ct(scan)
    truth = tmp_path / "truth.nrrd"
    sitk.WriteImage(image_of((sampleLiver * np.float32(4.9999)), ct.ijk_to_ras), str(truth))
    assert segment(scan, "-o", tmp_path / "liver.nrrd", "--reference", f"{truth}:5") == 0
    assert float(capsys.readouterr().out.rsplit("Dice ", 1)[1]) > 0.8


@pytest.mark.parametrize(
    "labels, chosen, words",
    [
        ((0, 1, 2), [], "holds the labels 1, 2; say which is the liver"),
        ((0, 0, 0), [], "is empty"),
        ((0, 0, 0), [1], "is empty"),
        ((0, 1, 2), [0], "Label 0"),
        ((0, 1, 2), [1, 3], "has no label 3; it holds 0, 1, 2"),
    ],
)
def test_a_reference_whose_liver_is_not_clear_is_refused(tmp_path, labels, chosen, words):
    ct = smallCt()
    truth = write_labels(tmp_path / "truth.nrrd", ct, labels)
    with pytest.raises(InputError, match=words):
        read_reference(ct, truth, chosen)


def test_labels_of_a_reference_are_chosen_one_by_one(tmp_path):
    ct = smallCt()
    truth = write_labels(tmp_path / "truth.nrrd", ct, (0, 1, 2))
    for chosen, count in (([1], 1), ([2], 1), ([1, 2], 2)):
        assert read_reference(ct, truth, chosen).sum() * 3 == count * np.prod(ct.shape)
    assert cli._reference(f"{truth}:1+2") == (truth, [1, 2])
    assert cli._reference(f"{truth}:a") == (Path(f"{truth}:a"), [])


@pytest.mark.parametrize("voxels, said", [(0, False), (0.001, False), (0.33, True)])
def test_a_reference_beside_the_grid_is_told(tmp_path, voxels, said):
    ct = smallCt()
    moved = ct.ijk_to_ras.copy()
    moved[1, 3] += voxels * 3
    truth = write_labels(tmp_path / "truth.nrrd", CtVolume(ct.hu, moved), (0, 1, 1))
    note = reference_offset(ct, truth)
    assert bool(note) == said and (not said or "0.33 voxels beside the CT's grid" in note)


def write_labels(path: Path, ct: CtVolume, labels: tuple[int, int, int]) -> Path:
    """Each in a third of the slices."""
    values = np.repeat(np.array(labels, np.uint8), len(ct.hu) // 3)[:, None, None] * np.ones(ct.shape, np.uint8)
    sitk.WriteImage(image_of(values, ct.ijk_to_ras), str(path))
    return path
