"""Many CTs into one folder: which are found, what a later run does again, and what is said of those that fail."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from LiverGTANLib.core.volume import InputError
from LiverGTANLib.standalone.cohort import case_list, case_segmentation, cohort, records
from LiverGTANLib.standalone.cohort.cases import CohortCase, find_cases
from LiverGTANLib.standalone.cohort.plan import name_cases
from LiverGTANLib.standalone.cohort.records import CaseRecord
from LiverGTANLib.standalone.cohort.table import rows_of, volume_scores, write_table
from support.cases import ROOT
from support.cohort_cases import LIVER_ML, bandStudent, rowsOf, segment, write_ct
from support.dicom_cases import ctSlices, save

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def folderOf(tmp_path, *names: str) -> Path:
    for name in names:
        write_ct(tmp_path / "in" / name)
    return tmp_path / "in"


def noise(count: int) -> np.ndarray:
    """Slices without a liver."""
    return np.random.default_rng(0).normal(-60, 60, (count, 30, 30)).astype(np.int16)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.seg.nrrd")}


# What is found


def test_a_folder_stands_for_the_images_and_series_below_it_and_no_output_is_an_input(bandStudent, tmp_path, capsys):
    top = folderOf(tmp_path, "ct.nii.gz", "p1/ct.nrrd", "p2/deep/ct.mha")
    save(top / "series", ctSlices(noise(12)))
    (top / "notes.txt").write_text("no image")
    (top / ".hidden.nii.gz").write_text("no image")
    (top / "empty").mkdir()
    for _ in range(2):
        assert segment(bandStudent, top, "-o", top / "masks") == 0
    assert list(rowsOf(top / "masks")) == ["ct", "ct-2", "ct-3", "series"]
    assert "4 of 4 segmented, 4 of them before" in capsys.readouterr().out
    assert float(rowsOf(top / "masks")["ct-2"]["volume_ml"]) == pytest.approx(LIVER_ML, rel=0.1)


@posix
def test_links_in_a_folder_are_followed_once(tmp_path):
    top = folderOf(tmp_path, "a.nii.gz")
    (top / "loop").symlink_to(top)
    write_ct(tmp_path / "elsewhere" / "b.nii.gz")
    (top / "linked").symlink_to(tmp_path / "elsewhere")
    assert sorted(case.path.name for case in find_cases([top], tmp_path / "out")[0]) == ["a.nii.gz", "b.nii.gz"]


def test_a_folder_without_rights_is_an_error_of_its_own(bandStudent, tmp_path, monkeypatch):
    top, listed = folderOf(tmp_path, "a.nii.gz", "closed/b.nii.gz"), os.scandir

    def closed(path):  # as for any user but root
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert segment(bandStudent, top, "-o", tmp_path / "out") == 2
    rows = rowsOf(tmp_path / "out")
    assert "cannot be read (Permission denied)" in rows["closed"]["error"] and rows["a"]["error"] == ""


def test_masks_do_not_go_among_the_inputs_of_a_folder(bandStudent, tmp_path, capsys):
    top = folderOf(tmp_path, "a.nii.gz")
    assert segment(bandStudent, top, "-o", top) == 2
    assert "give another folder" in capsys.readouterr().err
    assert [path.name for path in top.iterdir()] == ["a.nii.gz"]


def test_an_empty_folder_and_a_missing_file_are_errors_of_their_own(bandStudent, tmp_path):
    top = folderOf(tmp_path, "a.nii.gz")
    (tmp_path / "empty").mkdir()
    assert segment(bandStudent, top, tmp_path / "empty", tmp_path / "gone.nii.gz", "-o", tmp_path / "out") == 2
    rows = rowsOf(tmp_path / "out")
    assert [rows[name]["error"] != "" for name in ("a", "empty", "gone")] == [False, True, True]
    assert "no DICOM series" in rows["empty"]["error"] and "does not exist" in rows["gone"]["error"]


def test_an_input_given_twice_is_one_case(bandStudent, tmp_path, capsys):
    top = folderOf(tmp_path, "a.nii.gz", "b.nii.gz")
    assert segment(bandStudent, top, top / "a.nii.gz", top / "*.nii.gz", "-o", tmp_path / "out") == 0
    assert list(rowsOf(tmp_path / "out")) == ["a", "b"]
    assert "3 inputs were given more than once" in capsys.readouterr().err


def test_names_never_collide_and_fit_every_disk(tmp_path):
    paths = ("a/ct", "b/ct", "ct-2", "c/CT.nii.gz", "d/ct-2.nrrd", ".nii.gz", "ř" * 120 + ".nii", "e/DICOMDIR")
    names = name_cases([CohortCase(tmp_path / path) for path in paths], [], tmp_path, ".seg.nrrd")
    assert len({name.casefold() for name in names}) == len(paths)
    assert names[:3] == ["ct", "ct-2", "ct-2-2"] and names[5] == "scan" and names[7] == "e"
    assert max(len(name.encode()) for name in names) <= 150
    odd = [CohortCase(tmp_path / name) for name in ("=1+1.nii", "-ct.nii", "@x", "+.nii")]
    assert name_cases(odd, [], tmp_path, ".seg.nrrd") == ["1+1", "ct", "x", "scan"], "no formulas, and no options"


# Lists of cases


def listed(tmp_path, content: str | bytes) -> list[tuple[str, str, int | None]]:
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "list.csv").write_bytes(data)
    return [(case.path.name, case.id, case.series) for case in case_list.read_case_list(tmp_path / "list.csv")]


@pytest.mark.parametrize(
    "content",
    [
        "path,id\na b.nii,one\nc.nii,\n",
        "\ufeffpath,id\r\n\r\na b.nii,one\r\nc.nii,\r\n",
        "ID; Path ;age\none;a b.nii;61\n;c.nii\n",
        "path\tid\na b.nii\tone\nc.nii",
        '"path", "id"\n"a b.nii", "one"\n"c.nii"\n',
        "path,id\na b.nii,one\nc.nii,\n".encode("utf-16"),
    ],
)
def test_lists_as_spreadsheets_write_them_are_read(tmp_path, content):
    assert listed(tmp_path, content) == [("a b.nii", "one", None), ("c.nii", "", None)]


@pytest.mark.parametrize(
    "content, words",
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("file,id\na.nii,1\n", "one column path"),
        ("path,path\na.nii,b.nii\n", "one column path"),
        ("a.nii\nb.nii\n", "one column path"),
        ("path,id\n", "lists no case"),
        ("path,id\na.nii,1\n,2\n", "line 3: no path"),
        ("path,id\na.nii,1\nb.nii,1\n", "line 3: the id 1 stands in line 2"),
        ("path,id\na.nii,P\nb.nii,p\n", "line 3: the id p stands in line 2"),
        ("path,id\na.nii,../b\n", "cannot name a file"),
        ("path,id\na.nii,.b\n", "begin and end it"),
        ("path,id\na.nii,=1+1\n", "begin and end it"),
        ("path,id\na.nii,@SUM(A1)\n", "begin and end it"),
        ("path,id\na.nii,con\n", "device on Windows"),
        (f"path,id\na.nii,{'x' * 101}\n", "at most 100"),
        ("path,id\n/data/a, b.nii,1\n", "3 fields under 2 headings"),
        ('path,id\n"a.nii,1\n', "check its quotes"),
        ('path,id\n"a" b.nii,1\n', "check its quotes"),
        ("path,series\na.nii,first\n", "is no number"),
        ("path,id\njátra.nii,1\n".encode("cp1250"), "line 2, is not UTF-8"),
    ],
)
def test_lists_that_are_not_clear_are_refused_with_the_line(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        listed(tmp_path, content)


def test_a_list_names_its_cases_and_its_paths_start_at_its_folder(bandStudent, tmp_path, monkeypatch, capsys):
    folderOf(tmp_path, "scans/x.nii.gz", "scans/y.nii.gz")
    (tmp_path / "in" / "list.csv").write_text("path,id\nscans/x.nii.gz,P-7\nscans/y.nii.gz,\nscans/x.nii.gz,P-8\n")
    monkeypatch.chdir(tmp_path)
    assert segment(bandStudent, "in/list.csv", "-o", "out") == 0
    assert list(rowsOf(tmp_path / "out")) == ["P-7", "y", "P-8"]
    assert "note: 1 input has several ids" in capsys.readouterr().err
    assert segment(bandStudent, "in/list.csv", "-o", "liver.nrrd") == 2
    assert "need a folder" in capsys.readouterr().err


def test_which_series_of_a_list_was_taken_is_a_note_as_in_a_single_run(bandStudent, tmp_path, capsys):
    for number in (2, 3):
        save(tmp_path / "both", ctSlices(noise(12), SeriesNumber=number), start=100 * number)
    (tmp_path / "list.csv").write_text("path,series\nboth,3\n")
    taken = f'{tmp_path / "both"}: 2 CT series were found; taken was series 3 "Abdomen"'
    for listed in (tmp_path / "list.csv",) * 2:  # once from the CT, once from the record
        assert segment(bandStudent, listed, "-o", tmp_path / "out") == 0
        said = capsys.readouterr().err
        assert f"note: {taken}" in said and f"warning: {taken}" not in said
        row = rowsOf(tmp_path / "out")["both"]
        assert row["notes"].startswith("2 CT series were found") and "were found" not in row["warnings"]
    page = (tmp_path / "out" / "cohort.html").read_text(encoding="utf-8")
    assert '<li class="note">2 CT series were found' in page
    assert segment(bandStudent, tmp_path / "both", "--series", 3, "-o", tmp_path / "a.nrrd") == 0
    assert "note: 2 CT series were found; taken was series 3" in capsys.readouterr().err


def test_cts_without_a_liver_are_counted(bandStudent, tmp_path, capsys):
    for name in ("a", "none", "nothing"):
        write_ct(tmp_path / "in" / f"{name}.nii.gz", liver=name == "a")
    for before in ("", ", 3 of them before"):
        assert segment(bandStudent, tmp_path / "in", "-o", tmp_path / "out") == 0
        assert f"3 of 3 segmented{before}, 2 without a liver;" in capsys.readouterr().out
    page = (tmp_path / "out" / "cohort.html").read_text(encoding="utf-8")
    assert "3 cases; 2 without a liver;" in page


# What is done again


@pytest.fixture(scope="module")
def finished(bandStudent, tmp_path_factory):
    """A folder of three cases, one of them bad, and what one run made of it."""
    folder = tmp_path_factory.mktemp("finished")
    folderOf(folder, "a.nii.gz", "b.nii.gz")
    (folder / "in" / "bad.nii.gz").write_bytes(b"no image")
    assert segment(bandStudent, folder / "in", "-o", folder / "out") == 2
    (folder / "in").rename(folder / "moved")  # a copy may then take its place
    return folder


@pytest.fixture
def again(finished, bandStudent, tmp_path, capsys):
    """A copy of it, and a function that segments it once more and returns the names of the masks that were written."""
    for source, target in (("moved", "in"), ("out", "out")):
        shutil.copytree(finished / source, tmp_path / target)
    before = times(tmp_path / "out")

    def once_more(*options, place="in") -> tuple[set[str], str]:
        segment(bandStudent, tmp_path / place, "-o", tmp_path / "out", *options)
        after = times(tmp_path / "out")
        return {name for name in after if after[name] != before.get(name)}, capsys.readouterr().err

    assert once_more()[0] == set()  # learns where the inputs lie now
    return once_more


def test_what_is_finished_is_left_and_what_failed_is_tried_again(again, tmp_path):
    written, said = again()
    assert written == set()
    assert "2 of 3 cases are done already" in said and "1 case is done again (bad): failed before" in said
    write_ct(tmp_path / "in" / "bad.nii.gz")
    written, _ = again()
    assert written == {"bad.seg.nrrd"} and rowsOf(tmp_path / "out")["bad"]["error"] == ""
    assert "3 cases" in (tmp_path / "out" / "cohort.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda folder: write_ct(folder / "in" / "a.nii.gz", 1.1), "the input changed"),
        (lambda folder: (folder / "out" / "a.seg.nrrd").unlink(), "the mask is gone"),
        (lambda folder: (folder / "out" / "records" / "a.seg.nrrd.json").unlink(), ""),
    ],
    ids=["input", "mask", "record"],
)
def test_what_changed_is_done_again_and_said(again, tmp_path, change, words):
    change(tmp_path)
    written, said = again()
    if words:
        assert written == {"a.seg.nrrd"} and f"(a): {words}" in said
    else:
        assert written == set() and "not listed in the records" in said


def test_another_setting_does_all_again_and_says_which(again):
    written, said = again("--threshold", "0.6")
    assert written == {"a.seg.nrrd", "b.seg.nrrd"}
    assert "2 cases are done again (a, b): threshold 0.5 is now 0.6" in said


@posix
def test_an_input_changed_in_place_with_its_size_and_time_is_another(again, tmp_path):
    path = tmp_path / "in" / "a.nii.gz"
    before, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:4] + bytes([data[4] ^ 1]) + data[5:])  # the time in a gzip header
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns
    written, said = again()
    assert written == {"a.seg.nrrd"} and "(a): the input changed" in said


def test_a_copy_with_new_dates_and_another_place_are_the_same_input(again, tmp_path):
    os.utime(tmp_path / "in" / "a.nii.gz", (1, 1))
    assert again()[0] == set()
    (tmp_path / "in").rename(tmp_path / "moved")
    assert again(place="moved")[0] == set()
    assert rowsOf(tmp_path / "out")["a"]["input"] == str(tmp_path / "moved" / "a.nii.gz")


def test_another_input_of_the_same_name_takes_no_mask(again, tmp_path):
    write_ct(tmp_path / "other" / "a.nii.gz", 1.1)
    assert again(place="other")[0] == {"a-2.seg.nrrd"}
    (tmp_path / "in" / "b.nii.gz").unlink()
    write_ct(tmp_path / "more" / "b.nii.gz", 1.1)
    assert "b-2.seg.nrrd" in again(place="more")[0]
    assert {"a", "a-2", "b", "b-2"} <= set(rowsOf(tmp_path / "out"))


def edit(mask: Path, change) -> bytes:
    """Change the voxels of a mask as a user does in Slicer; the bytes of the file."""
    image = sitk.ReadImage(str(mask))
    voxels = sitk.GetArrayFromImage(image)
    change(voxels)
    edited = sitk.GetImageFromArray(voxels)
    edited.CopyInformation(image)
    sitk.WriteImage(edited, str(mask), useCompression=True)
    return mask.read_bytes()


def test_a_run_on_one_ct_replaces_its_own_mask_and_no_edited_one(bandStudent, tmp_path, capsys):
    mask, folder = tmp_path / "liver.seg.nrrd", folderOf(tmp_path, "a.nii.gz")
    arguments = (folder / "a.nii.gz", "-o", mask)
    for options in ([], ["--threshold", "0.6"], []):
        assert segment(bandStudent, *arguments, *options) == 0
    original, edited = mask.read_bytes(), edit(mask, halve)
    assert segment(bandStudent, *arguments) == 2
    assert "edited since, or of another program" in capsys.readouterr().err and mask.read_bytes() == edited
    assert segment(bandStudent, *arguments, "--overwrite") == 0 and mask.read_bytes() == original


def halve(voxels: np.ndarray) -> None:
    """Leave out half of the planes that hold liver."""
    planes = np.flatnonzero(voxels.any(axis=(1, 2)))
    voxels[planes[: len(planes) // 2]] = 0


def add_label(voxels: np.ndarray) -> None:
    voxels[0, 0, 0] = 2


def test_an_edited_mask_stays_with_its_own_volume_whatever_changes(again, tmp_path, capsys):
    mask, out = tmp_path / "out" / "a.seg.nrrd", tmp_path / "out"
    before, original = rowsOf(out)["a"], mask.read_bytes()
    edited = edit(mask, halve)
    ml = np.count_nonzero(sitk.GetArrayFromImage(sitk.ReadImage(str(mask)))) * 0.216
    for options, others in (([], set()), (["--threshold", "0.6"], {"b.seg.nrrd"}), ([], {"b.seg.nrrd"})):
        written, said = again(*options, "--report", tmp_path / "report.json")
        assert written - {mask.name} == others and mask.read_bytes() == edited
        assert said.count("1 mask was edited by hand (a)") == 1 and "a.nii.gz: The mask" not in said
        row = rowsOf(out)["a"]
        assert float(row["volume_ml"]) == pytest.approx(ml, abs=0.01) and ml < 0.8 * float(before["volume_ml"])
        assert row["volume_low_ml"] == row["volume_high_ml"] == ""
        assert row["warnings"].startswith("Edited by hand") and row["seconds"] == row["error"] == ""
        report = json.loads((tmp_path / "report.json").read_text())[0]
        assert report["edited_by_hand"] and report["volume_ml"] == float(row["volume_ml"])
        assert "cut_by_end_of_scan" not in report
        page = (out / "cohort.html").read_text(encoding="utf-8")
        assert "1 edited by hand" in page and "thumbnails/a.seg" not in page and "thumbnails/b.seg" in page
    mask.write_bytes(original)
    again()
    assert rowsOf(out)["a"] == before, "an edit that is taken back leaves no trace"
    mask.unlink()
    assert "a.seg.nrrd" in again()[0]


@pytest.mark.parametrize("change", ["cropped", "resampled", "moved"])
def test_an_edited_mask_beside_the_voxels_of_its_ct_is_told(again, tmp_path, change):
    mask = tmp_path / "out" / "a.seg.nrrd"
    image = sitk.ReadImage(str(mask))
    if change == "cropped":
        image = image[1:, 2:-2, :-1]
    elif change == "resampled":
        image = sitk.Expand(image, (1, 1, 2), sitk.sitkNearestNeighbor)
    else:
        image.SetOrigin([place + 1.5 for place in image.GetOrigin()])
    sitk.WriteImage(image, str(mask))
    again()
    row = rowsOf(tmp_path / "out")["a"]
    assert ("no longer lies on the voxels of its CT" in row["warnings"]) == (change != "cropped")
    assert float(row["volume_ml"]) > 0


def test_an_edited_mask_stays_the_only_one_of_its_case_in_another_format(again, tmp_path):
    edited = edit(tmp_path / "out" / "a.seg.nrrd", halve)
    for _ in range(2):
        _, said = again("--format", ".nii.gz")
        assert "a.seg.nrrd: not written anew as .nii.gz" in said
        rows = list(csv.DictReader((tmp_path / "out" / "volumes.csv").open(newline="", encoding="utf-8")))
        assert [row["output"] for row in rows if row["id"] == "a"] == ["a.seg.nrrd"]
    assert (tmp_path / "out" / "a.seg.nrrd").read_bytes() == edited
    assert (tmp_path / "out" / "b.nii.gz").exists() and not (tmp_path / "out" / "a.nii.gz").exists()


def test_a_formula_in_a_sentence_of_the_table_is_text(tmp_path):
    rows = rows_of([CaseRecord("x.nii.gz", "x", "/x", None, "failed", {}, error="=1+1.nii is empty")], tmp_path)
    write_table(tmp_path, rows)
    assert rowsOf(tmp_path)["x"]["error"] == "'=1+1.nii is empty"


def test_overwrite_into_a_folder_says_what_to_do_with_an_edited_mask(bandStudent, tmp_path, capsys):
    folder = folderOf(tmp_path, "a.nii.gz")
    assert segment(bandStudent, folder, "-o", tmp_path / "out", "--overwrite") == 2
    assert "move or delete it, and give the same command without --overwrite" in capsys.readouterr().err


def test_only_edited_masks_leave_the_exit_status_at_success(again, bandStudent, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "in" / "bad.nii.gz").unlink()
    edit(out / "a.seg.nrrd", halve)
    assert segment(bandStudent, tmp_path / "in", "-o", out, "--threshold", "0.6") == 0
    assert "2 of 2 segmented, 1 of them before, 1 edited by hand;" in capsys.readouterr().out


def test_an_edited_mask_of_several_labels_has_no_volume_and_one_that_cannot_be_read_is_an_error(again, tmp_path):
    out = tmp_path / "out"
    edit(out / "a.seg.nrrd", add_label)
    (out / "b.seg.nrrd").write_bytes(b"an afternoon's work")
    again("--threshold", "0.6")
    rows = rowsOf(out)
    assert rows["a"]["volume_ml"] == "" and "has 2 labels" in rows["a"]["warnings"] and rows["a"]["error"] == ""
    assert rows["b"]["volume_ml"] == "" and "volume cannot be measured" in rows["b"]["error"]
    assert (out / "b.seg.nrrd").read_bytes() == b"an afternoon's work"


@pytest.mark.parametrize(
    "values, words",
    [
        ((-1, 1), "holds negative values (down to -1), which are no labels"),
        ((-1.0, 1.0), "holds negative values (down to -1), which are no labels"),
        ((0.0, 0.4), "holds fractions, which are no labels"),
        ((0.0, np.nan), "no labels (not finite"),
    ],
    ids=["background -1", "float background -1", "probabilities", "NaN"],
)
def test_an_edited_mask_of_values_that_are_no_labels_is_an_error_and_not_measured(again, tmp_path, values, words):
    mask = tmp_path / "out" / "a.seg.nrrd"
    image = sitk.ReadImage(str(mask))
    voxels = np.where(sitk.GetArrayFromImage(image) > 0, *reversed(values))
    edited = sitk.GetImageFromArray(voxels.astype(np.int16 if isinstance(values[0], int) else np.float32))
    edited.CopyInformation(image)
    sitk.WriteImage(edited, str(mask), useCompression=True)
    before = mask.read_bytes()
    again()
    row = rowsOf(tmp_path / "out")["a"]
    assert row["volume_ml"] == "" and "volume cannot be measured" in row["error"] and words in row["error"]
    assert mask.read_bytes() == before


def test_an_edited_mask_whose_ct_changed_says_so(again, tmp_path):
    edit(tmp_path / "out" / "a.seg.nrrd", halve)
    write_ct(tmp_path / "in" / "a.nii.gz", 1.1)
    _, said = again()
    assert "a.nii.gz: The liver is unusually small" in said and "is not the one for which this mask was written" in said


@pytest.mark.parametrize("last", ["read_file", "write_mask"])
def test_a_mask_that_was_edited_after_a_failure_or_interruption_stays(again, tmp_path, monkeypatch, last):
    done = getattr(case_segmentation, last)

    def stop(*arguments):
        done(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(case_segmentation, last, stop)
        with pytest.raises(KeyboardInterrupt):
            again("--threshold", "0.6")
    edited = edit(tmp_path / "out" / "a.seg.nrrd", halve)
    again()
    assert (tmp_path / "out" / "a.seg.nrrd").read_bytes() == edited


@pytest.mark.parametrize("name", ["a", "new"], ids=["edited", "put there"])
@pytest.mark.parametrize("when", ["before its case", "within its case"])
def test_a_mask_that_the_user_edits_or_puts_there_while_the_run_goes_on_stays(again, tmp_path, monkeypatch, name, when):
    own, edited = tmp_path / "out" / f"{name}.seg.nrrd", []
    write_ct(tmp_path / "in" / "new.nii.gz", 1.1)
    module, function = (cohort, "segment_case") if when == "before its case" else (case_segmentation, "segment_file")
    original = getattr(module, function)

    def editAndGoOn(first, *arguments):
        """first: the task or the path of a case."""
        if name in (getattr(first, "id", ""), str(getattr(first, "name", "")).partition(".")[0]):
            if name == "new":
                shutil.copy(tmp_path / "out" / "a.seg.nrrd", own)
            edited.append(edit(own, halve))
        return original(first, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(module, function, editAndGoOn)
        _, said = again("--threshold", "0.6")
    assert len(edited) == 1 and own.read_bytes() == edited[0] and "edited by hand" in said
    _, said = again()
    assert own.read_bytes() == edited[0] and "edited by hand" in said
    assert float(rowsOf(tmp_path / "out")[name]["volume_ml"]) > 0


@pytest.mark.parametrize("name", ["bad", "c"], ids=["failed", "interrupted"])
def test_a_mask_of_ones_own_for_a_case_that_got_none_stays(again, tmp_path, monkeypatch, name):
    def stop(*_):
        raise KeyboardInterrupt

    write_ct(tmp_path / "in" / f"{name}.nii.gz")
    if name == "c":
        with monkeypatch.context() as patched:
            patched.setattr("LiverGTANLib.standalone.cohort.case_segmentation.segment_file", stop)
            patched.setattr("LiverGTANLib.standalone.cohort.plan._was_interrupted", lambda task: task.id == "bad")
            with pytest.raises(KeyboardInterrupt):
                again()
    own = tmp_path / "out" / f"{name}.seg.nrrd"
    shutil.copy(tmp_path / "out" / "a.seg.nrrd", own)
    edited = edit(own, halve)
    _, said = again()
    assert own.read_bytes() == edited and "edited by hand" in said
    assert float(rowsOf(tmp_path / "out")[name]["volume_ml"]) > 0


def test_an_edited_dicom_segmentation_is_measured_too(bandStudent, tmp_path):
    import pydicom

    save(tmp_path / "series", ctSlices(noise(12)))
    out = tmp_path / "out"
    assert segment(bandStudent, tmp_path / "series", "-o", out, "--format", ".dcm") == 0
    dataset = pydicom.dcmread(out / "series.dcm")
    pixels = np.zeros(len(dataset.PixelData), np.uint8)
    pixels[:10] = 255  # a bit for each voxel
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(out / "series.dcm")
    assert segment(bandStudent, tmp_path / "series", "-o", out, "--format", ".dcm") == 0
    report = records.read_records(out)["series.dcm"].report
    voxel = np.prod(np.linalg.norm(np.array(report["geometry"]["ijk_to_ras"])[:3, :3], axis=0)) / 1000
    assert float(rowsOf(out)["series"]["volume_ml"]) == pytest.approx(80 * voxel, abs=0.01)


def test_cases_of_earlier_commands_are_marked_and_dropped_without_mask_and_input(again, tmp_path):
    out = tmp_path / "out"
    edit(out / "a.seg.nrrd", halve)
    for name in ("a.nii.gz", "bad.nii.gz"):
        (tmp_path / "in" / name).unlink()
    again(place="in/b.nii.gz")
    rows = rowsOf(out)
    assert list(rows) == ["a", "b"] and rows["b"]["warnings"].count("Not among") == 0
    assert rows["a"]["warnings"].startswith("Not among the inputs of the last command. Edited by hand")
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert (
        "1 case; " in page
        and "1 more not among the inputs of the last command" in page
        and "1 with an error" not in page
    )
    (out / "a.seg.nrrd").unlink()
    again(place="in/b.nii.gz")
    assert list(rowsOf(out)) == ["b"] and "a.seg.nrrd" in records.read_records(out)


def test_the_path_of_a_case_is_said_once(again, tmp_path):
    _, said = again()
    assert said.count(str(tmp_path / "in" / "bad.nii.gz")) == 1 and "bad.nii.gz cannot be read" in said


@pytest.mark.parametrize("below", ["", "deeper"])
def test_the_folder_of_a_series_that_lacks_slices_is_said_once(bandStudent, tmp_path, capsys, below):
    slices = ctSlices(noise(12))
    save(tmp_path / "series" / below, slices[:5] + slices[6:])
    assert segment(bandStudent, tmp_path / "series", "-o", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"error: {tmp_path / 'series' / below}: 1 slice is missing" in said and said.count(str(tmp_path)) == 1


def change_report(folder: Path, change) -> None:
    """Of case a."""
    file = folder / "out" / "records" / "a.seg.nrrd.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    change(record["report"])
    file.write_text(json.dumps(record), encoding="utf-8")


def test_every_volume_has_the_range_of_its_record(again, tmp_path):
    rows = rowsOf(tmp_path / "out")
    for name in ("a", "b"):
        record = records.read_records(tmp_path / "out")[f"{name}.seg.nrrd"]
        ends = [float(rows[name][end]) for end in ("volume_low_ml", "volume_high_ml")]
        assert ends == record.report["volume_range_ml"]
    assert rows["bad"]["volume_low_ml"] == rows["bad"]["volume_high_ml"] == ""
    change_report(tmp_path, lambda report: report.update(volume_range_ml=[300.5, 360.25]))
    assert again()[0] == set()
    row = rowsOf(tmp_path / "out")["a"]
    assert (row["volume_low_ml"], row["volume_high_ml"]) == ("300.5", "360.25")
    assert ">300 to 360</td>" in (tmp_path / "out" / "cohort.html").read_text(encoding="utf-8")


def test_a_case_of_an_earlier_version_without_a_range_stays_done_and_says_so(again, tmp_path):
    change_report(tmp_path, lambda report: report.pop("volume_range_ml"))
    assert again()[0] == set()
    row = rowsOf(tmp_path / "out")["a"]
    assert row["volume_low_ml"] == row["volume_high_ml"] == "" and "without a range" in row["notes"]
    (tmp_path / "out" / "a.seg.nrrd").unlink()
    assert again()[0] == {"a.seg.nrrd"}
    row = rowsOf(tmp_path / "out")["a"]
    assert row["volume_low_ml"] and row["volume_high_ml"] and row["notes"] == ""


def test_a_damaged_record_costs_its_case_alone_and_no_mask(again, tmp_path):
    (tmp_path / "out" / "records" / "a.seg.nrrd.json").write_text("{")
    written, said = again()
    assert written == set() and "a.seg.nrrd exists and is not listed" in said
    (tmp_path / "out" / "a.seg.nrrd").unlink()
    assert again()[0] == {"a.seg.nrrd"}


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no write-protected file")
def test_a_write_protected_mask_is_left_and_stops_no_other(again, tmp_path):
    protected = tmp_path / "out" / "a.seg.nrrd"
    protected.chmod(0o444)
    assert again()[0] == set()
    before = protected.read_bytes()
    again("--threshold", "0.6")
    rows = rowsOf(tmp_path / "out")
    assert protected.read_bytes() == before
    assert "write-protected" in rows["a"]["error"] and rows["b"]["error"] == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["report"].update(volume_ml="much"),
        lambda record: record["report"].update(seconds=[1, 2]),
        lambda record: record["report"].update(volume_range_ml=[1]),
        lambda record: record["report"].update(volume_range_ml=["low", "high"]),
        lambda record: record["report"].pop("warnings"),
        lambda record: record["input_state"].update(companions=5),
        lambda record: record.update(series="one"),
    ],
    ids=range(7),
)
def test_a_record_with_a_field_of_the_wrong_type_is_damaged(again, tmp_path, change):
    file = tmp_path / "out" / "records" / "a.seg.nrrd.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    change(record)
    file.write_text(json.dumps(record), encoding="utf-8")
    written, said = again()
    assert written == set() and "a.seg.nrrd exists and is not listed" in said and "Traceback" not in said


def test_slices_that_are_added_to_a_series_make_it_another_input(bandStudent, tmp_path, capsys):
    slices = ctSlices(noise(14))
    folder = save(tmp_path / "series", slices[:12])
    for count, words in ((12, ""), (12, "done already"), (14, "the input changed")):
        save(folder, slices[12:count], start=12)
        assert segment(bandStudent, folder, "-o", tmp_path / "out") == 0
        assert words in capsys.readouterr().err
    report = records.read_records(tmp_path / "out")["series.seg.nrrd"].report
    assert report["geometry"]["shape_kji"] == [14, 30, 30]


# Interruptions and failures


def test_after_an_interruption_all_is_whole_and_the_next_run_goes_on(bandStudent, tmp_path, monkeypatch, capsys):
    top = folderOf(tmp_path, "a.nii.gz", "b.nii.gz", "c.nii.gz")
    real, seen = cohort.segment_case, []

    def interrupted(task, engine):
        seen.append(task.id)
        if task.id == "b":
            monkeypatch.setattr("LiverGTANLib.standalone.cohort.case_segmentation.write_mask", ctrlC)
        return real(task, engine)

    def ctrlC(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cohort, "segment_case", interrupted)
        with pytest.raises(KeyboardInterrupt):
            segment(bandStudent, top, "-o", tmp_path / "out")
    monkeypatch.undo()
    assert seen == ["a", "b"] and "the same command goes on" in capsys.readouterr().err
    rows = rowsOf(tmp_path / "out")
    assert rows["a"]["error"] == "" and "Interrupted" in rows["b"]["error"] and "c" not in rows
    (tmp_path / "out" / ".partial-of-a-killed-process.seg.nrrd").write_bytes(b"half")
    with monkeypatch.context() as patched:
        patched.setattr(cohort, "segment_case", lambda task, engine: seen.append(task.id) or real(task, engine))
        assert segment(bandStudent, top, "-o", tmp_path / "out") == 0
    assert seen == ["a", "b", "c", "b"], "the case that may have ended the run is done last"
    assert [row["error"] for row in rowsOf(tmp_path / "out").values()] == ["", "", ""]
    assert not list(tmp_path.rglob(".partial*"))


def test_a_defect_in_one_case_is_logged_and_the_others_are_done(bandStudent, tmp_path, monkeypatch, caplog):
    top = folderOf(tmp_path, "a.nii.gz", "b.nii.gz")
    real = records.state_of

    def broken(path, *others):
        return real(path, *others) if path.name != "a.nii.gz" else {}["no such key"]

    monkeypatch.setattr(records, "state_of", broken)
    assert segment(bandStudent, top, "-o", tmp_path / "out") == 2
    rows = rowsOf(tmp_path / "out")
    assert "unexpected KeyError" in rows["a"]["error"] and rows["b"]["error"] == ""
    assert "Traceback" in caplog.text


def test_an_input_that_changes_while_it_is_read_is_an_error(bandStudent, tmp_path, monkeypatch):
    top = folderOf(tmp_path, "a.nii.gz")
    real = records.state_of

    def late(path, *others):
        state = real(path, *others)
        write_ct(path, 1.1)
        return state

    monkeypatch.setattr(records, "state_of", late)
    assert segment(bandStudent, top, "-o", tmp_path / "out") == 2
    assert "changed while it was read" in rowsOf(tmp_path / "out")["a"]["error"]
    assert not times(tmp_path / "out")


def test_the_report_holds_every_case_in_order(again, tmp_path):
    again("--report", tmp_path / "report.json")
    reports = json.loads((tmp_path / "report.json").read_text())
    assert [Path(report["input"]).name for report in reports] == ["a.nii.gz", "b.nii.gz", "bad.nii.gz"]
    assert reports[0]["volume_ml"] > 0 and "cannot be read" in reports[2]["error"]


# Two at once


HOLD = "from LiverGTANLib.standalone.cohort.lock import locked; import sys, time; from pathlib import Path\n"
HOLD += "with locked(Path(sys.argv[1]), Path(sys.argv[1], 'records')): print('held', flush=True); time.sleep(600)"


def test_a_second_run_into_the_same_folder_is_refused_until_the_first_process_is_gone(bandStudent, tmp_path, capsys):
    top, out = folderOf(tmp_path, "a.nii.gz"), tmp_path / "out"
    (out / "records").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], cwd=ROOT / "LiverGTAN", stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        assert segment(bandStudent, top, "-o", out) == 2
        error = capsys.readouterr().err
        assert f"Another run writes into {out} (process {other.pid} on " in error and len(error.splitlines()) == 1
        assert [path.name for path in out.iterdir()] == ["records"]
        other.kill()  # without a chance to clean up
    assert segment(bandStudent, top, "-o", out) == 0


# What stands out


def test_scores_follow_the_definition_and_stay_away_where_they_mean_nothing():
    volumes = [1000.0, 1100, 1200, 1300, 1400, 5000, None, 0]
    scores = volume_scores(volumes)
    logarithms = np.log(volumes[:6])
    apart = logarithms - np.median(logarithms)
    np.testing.assert_allclose(scores[:6], apart / (1.4826 * np.median(np.abs(apart))), atol=0.005)
    assert scores[5] > 3.5 > max(map(abs, scores[:5])) and scores[6:] == [None, None]
    assert volume_scores([1.0, 2, 3, 4]) == [None] * 4
    alike = volume_scores([1000.0] * 5 + [2000])
    assert alike[:5] == [0] * 5 and alike[5] > 3.5
    assert volume_scores([1000.0] * 5) == [0] * 5
    nearly = volume_scores([1000.0, 1000.1, 1000.2, 1000.3, 1030, 1200])
    assert max(map(abs, nearly[:5])) < 1 and nearly[5] > 3.5, "3 % is what the network is off by, 20 % is not"
