"""`python -m LiverGTANLib segment` as a user calls it: formats, reports, pictures, batches and failures."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

from LiverGTANLib.core import measurements, weight_file
from LiverGTANLib.standalone import command_line as cli
from LiverGTANLib.standalone import image_files, outputs
from support import band_student
from support.cases import ROOT
from support.cohort_cases import write_ct
from training.data import samples


def run(*arguments) -> int:
    """With the numpy engine: other tests have loaded torch, and comparing the two takes seconds."""
    return cli.main(["segment", "--engine", "numpy", *map(str, arguments)])


@pytest.fixture
def sample(sampleFolder):
    return samples.CT


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_every_output_format_lies_on_the_cts_grid(sample, sampleLiver, tmp_path, capsys, suffix):
    output = tmp_path / f"liver{suffix}"
    assert run(sample, "-o", output) == 0
    ct, mask = sitk.ReadImage(str(sample)), sitk.ReadImage(str(output))
    assert mask.GetSize() == ct.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, name)(), getattr(ct, name)(), atol=1e-5)
    assert measurements.dice(sitk.GetArrayFromImage(mask), sampleLiver) > 0.8
    assert "Liver" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    (tmp_path / "other").touch()
    assert output.stat().st_mode == (tmp_path / "other").stat().st_mode, "readable as any file of this user"


@pytest.mark.slow
def test_a_scan_said_to_be_half_as_large_is_warned_of(sample, tmp_path, capsys):
    half = sitk.ReadImage(str(sample))
    half.SetSpacing([spacing / 2 for spacing in half.GetSpacing()])
    sitk.WriteImage(half, str(tmp_path / "half.nii.gz"))
    assert run(tmp_path / "half.nii.gz", "-o", tmp_path / "liver.nii.gz") == 0
    said = capsys.readouterr()
    assert "warning: Less than 300 mL" in said.err and "look at the mask" in said.err
    assert int(said.out.split()[1]) < 300


@pytest.mark.slow
def test_a_dicom_folder_is_read(sampleFolder, tmp_path, capsys):
    reference = f"{samples.DICOM_REFERENCE}:{samples.LIVER_LABEL}"
    assert run(samples.DICOM, "-o", tmp_path / "liver.nii.gz", "--reference", reference) == 0
    assert float(capsys.readouterr().out.rsplit("Dice ", 1)[1]) > 0.8


@pytest.mark.slow
def test_seg_nrrd_is_a_slicer_segmentation(sample, tmp_path, slicerHost):
    import slicer
    import vtk

    output = tmp_path / "liver.seg.nrrd"
    assert run(sample, "-o", output) == 0
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(output))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(node)
    segment = node.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "liver"
    np.testing.assert_allclose(segment.GetColor(), np.array([221, 130, 101]) / 255, atol=1e-3)
    terminology = vtk.mutable("")
    assert segment.GetTag("TerminologyEntry", terminology)
    assert "SCT^10200004^Liver" in str(terminology)


@pytest.mark.slow
def test_the_report_tells_what_was_done(sample, tmp_path, capsys):
    report_file = tmp_path / "report.json"
    assert (
        run(
            sample,
            "-o",
            tmp_path / "liver.nrrd",
            "--report",
            report_file,
            "--student",
            "student-30k",
            "--reference",
            f"{samples.CT_REFERENCE}:{samples.LIVER_LABEL}",
        )
        == 0
    )
    report = json.loads(report_file.read_text())
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "liver.nrrd")))
    assert report["volume_ml"] == pytest.approx(voxels.sum() * 0.027, abs=0.01)
    low, high = report["volume_range_ml"]
    assert 0.5 * report["volume_ml"] < low < report["volume_ml"] < high < 1.5 * report["volume_ml"]
    assert f"mL ({low:.0f} to {high:.0f}), " in capsys.readouterr().out
    assert report["cut_by_end_of_scan"] == ["upper"] and "cut by the upper end" in report["warnings"][0]
    assert report["student"] == {"name": "student-30k", "sha256": weight_file.load("student-30k").sha256}
    assert report["engine"] == "numpy"
    assert set(report["seconds"]) == {"read", "resample", "network", "mask", "check"}
    assert report["geometry"]["shape_kji"] == [112, 101, 122]
    assert 0.8 < report["dice"] <= 1


@pytest.mark.slow
def test_the_picture_shows_slices_and_a_surface(sample, tmp_path):
    from LiverGTANLib.standalone.picture import shaded as picture_of

    assert run(sample, "-o", tmp_path / "liver.nrrd", "--picture", tmp_path / "liver.png") == 0
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "liver.png")))[..., :3].astype(int)
    assert picture.shape[1] > 1000
    for quarter in np.array_split(picture, 4, axis=1):
        reddish = (quarter[..., 0] - quarter[..., 2] > 40).sum()
        assert reddish > 100, "each view shows the liver in its color"
    outputs.require_own_picture(tmp_path / "liver.png")
    few = np.zeros((20, 20, 20), np.float32)
    few[10, 10, 10:12] = 1
    assert not picture_of(few).any(), "smoothing leaves nothing of a few voxels"


@pytest.mark.slow
def test_several_inputs_go_into_a_folder_and_errors_do_not_stop_it(sample, sampleFolder, tmp_path, capsys):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no image")
    output = tmp_path / "out"
    assert run(bad, sample, samples.MR, "-o", output) == 2
    with (output / "volumes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [bool(row["error"]) for row in rows] == [True, False, True]
    assert float(rows[1]["volume_ml"]) > 500
    assert "MR" in rows[2]["error"]
    assert sorted(path.name for path in output.iterdir()) == [
        "cohort.html",
        "example_ct.seg.nrrd",
        "records",
        "thumbnails",
        "volumes.csv",
    ]
    assert "1 of 3 segmented" in capsys.readouterr().out


def make_input(kind: str, folder):
    """Inputs that must be refused."""
    # NIfTI readers turn NaN into 0 on their own; NRRD keeps it.
    path = folder / (f"{kind}.nrrd" if kind == "nan" else f"{kind}.nii.gz")
    rng = np.random.default_rng(0)
    arrays = {
        "color": rng.integers(0, 255, (20, 40, 40, 3)).astype(np.uint8),
        "eight_bit": rng.integers(0, 255, (20, 40, 40)).astype(np.uint8),
        "nan": np.where(rng.random((20, 40, 40)) > 0.99, np.nan, rng.normal(0, 100, (20, 40, 40))).astype(np.float32),
        "flat": rng.normal(0, 100, (2, 40, 40)).astype(np.int16),
    }
    if kind in arrays:
        image = sitk.GetImageFromArray(arrays[kind], isVector=kind == "color")
        image.SetSpacing((3, 3, 3))
        sitk.WriteImage(image, str(path))
    elif kind == "four_d":
        sitk.WriteImage(sitk.JoinSeries([sitk.Image([20, 20, 20], sitk.sitkInt16)] * 3), str(path))
    elif kind == "two_d":
        sitk.WriteImage(sitk.Image([20, 30], sitk.sitkInt16), str(path))
    elif kind == "damaged":
        path.write_bytes(b"\x1f\x8b no gzip")
    elif kind == "empty_folder":
        path.mkdir()
    elif kind == "text":
        path = folder / "notes.txt"
        path.write_text("no image")
    return path


@pytest.mark.parametrize(
    "kind, words",
    [
        ("missing", "does not exist"),
        ("damaged", "cannot be read"),
        ("empty_folder", "no DICOM series"),
        ("text", "no image this program reads"),
        ("color", "vector"),
        ("four_d", "4 dimensions"),
        ("two_d", "is flat (20 x 30 pixels)"),
        ("eight_bit", "8-bit"),
        ("nan", "NaN"),
        ("flat", "slices"),
    ],
)
def test_bad_inputs_end_with_one_line_and_status_2(kind, words, tmp_path, capsys):
    path = make_input(kind, tmp_path)
    before = sorted(tmp_path.iterdir())
    assert run(path, "-o", tmp_path / "liver.nrrd") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert words in error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-o", "liver.stl"], "no output this program writes"),
        (["-o", "liver.nrrd", "--student", "student-1"], "bundled students"),
        (["-o", "liver.nrrd", "--reference", f"{samples.DICOM_REFERENCE}:5"], "grid"),
        (["-o", "missing.txt/liver.nrrd"], "missing.txt"),
    ],
)
def test_bad_requests_leave_nothing_behind(sample, arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missing.txt").write_text("a file where a folder should be")
    assert run(sample, *arguments) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["missing.txt"]


def test_a_failure_keeps_the_former_output(tmp_path, capsys):
    output = tmp_path / "liver.nrrd"
    output.write_text("the former result")
    assert run(make_input("eight_bit", tmp_path), "-o", output, "--overwrite") == 2
    assert "an 8-bit" in capsys.readouterr().err and output.read_text() == "the former result"


@pytest.mark.parametrize("cause", ["input", "student", "Ctrl-C"])
def test_what_a_failed_run_leaves_is_not_taken_for_its_own(tmp_path, capsys, monkeypatch, cause):
    student = band_student.save(tmp_path, "band")
    ct = write_ct(tmp_path / "one.nii.gz")
    outputs = [tmp_path / "liver.nrrd", tmp_path / "liver.json"]
    arguments = ["-o", outputs[0], "--report", outputs[1], "--student"]
    assert run(ct, *arguments, student) == 0
    assert "there before" not in capsys.readouterr().err
    before = [path.read_bytes() for path in outputs]
    if cause == "Ctrl-C":
        monkeypatch.setattr(cli, "segment_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(ct, *arguments, student)
    else:
        other = make_input("eight_bit", tmp_path) if cause == "input" else ct
        assert run(other, *arguments, student if cause == "input" else "no student") == 2
    assert [path.read_bytes() for path in outputs] == before
    assert capsys.readouterr().err.endswith(f"note: not of this run, but there before: {outputs[0]}, {outputs[1]}\n")


def test_a_mask_that_was_written_before_the_report_failed_is_of_this_run(tmp_path, capsys, monkeypatch):
    def fullDisk(*_):
        raise OSError("no room")

    student, outputs = band_student.save(tmp_path, "band"), [tmp_path / "liver.nrrd", tmp_path / "liver.json"]
    arguments = ["-o", outputs[0], "--report", outputs[1], "--student", student]
    assert run(write_ct(tmp_path / "one.nii.gz"), *arguments) == 0
    monkeypatch.setattr(cli, "write_report", fullDisk)
    assert run(write_ct(tmp_path / "two.nii.gz", 1.1), *arguments) == 2
    assert capsys.readouterr().err.endswith(f"note: not of this run, but there before: {outputs[1]}\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to single processes")
@pytest.mark.parametrize("moment", ["numpy", "LiverGTANLib.standalone.file_segmentation"])
def test_ctrl_c_while_the_libraries_load_ends_with_one_line_and_status_130(moment):
    program = (
        "import builtins, runpy, signal, sys; real = builtins.__import__\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells have what runs behind ignore it
        "def interrupted(name, *others, **more):\n"
        f"    if {moment!r}.endswith(name.lstrip('.') or '-'): signal.raise_signal(signal.SIGINT)\n"
        "    return real(name, *others, **more)\n"
        "builtins.__import__ = interrupted; sys.argv = ['x', 'segment', 'a.nrrd', '-o', 'b.nrrd']\n"
        "runpy.run_module('LiverGTANLib', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "LiverGTAN", capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")


def test_ctrl_c_during_a_run_on_one_input_is_said_in_one_line(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "read_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "ct.nrrd", "-o", tmp_path / "liver.nrrd")
    assert capsys.readouterr().err == "Stopped.\n"


def test_without_matplotlib_a_picture_is_refused_before_anything_is_written(sample, tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "LiverGTANLib.standalone.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert run(sample, "-o", tmp_path / "liver.nrrd", "--picture", tmp_path / "liver.png") == 2
    assert "needs matplotlib" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_path_with_odd_letters_works(sample, tmp_path):
    folder = tmp_path / "Lékař 顎口腔 ř"
    folder.mkdir()
    odd = folder / "játra.nii.gz"
    odd.write_bytes(sample.read_bytes())
    assert run(odd, "-o", folder / "výsledek.nrrd") == 0
    assert image_files.read_labels(folder / "výsledek.nrrd", image_files.read_ct(odd)).any()


@pytest.mark.slow
def test_the_module_runs_as_a_program_and_imports_nothing_heavy_for_one_nifti_file(sample, tmp_path):
    unneeded = ("torch", "SimpleITK", "pydicom", "matplotlib", "scipy.ndimage", "LiverGTANLib.standalone.cohort.cohort")
    program = (
        f"import sys, runpy; sys.modules.update(dict.fromkeys({unneeded})); sys.argv = ['x', 'segment', *sys.argv[1:]];"
        "runpy.run_module('LiverGTANLib', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(sample), "-o", str(tmp_path / "liver.seg.nrrd")],
        cwd=ROOT / "LiverGTAN",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "(numpy, student-100k)" in done.stdout
