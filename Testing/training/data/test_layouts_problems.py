"""Problems of a data set are listed together, by case; splits are by patient, recorded, and share no scan."""

import json

import numpy as np
import pytest

from LiverGTANLib.core.volume import CtVolume
from support.volumes import write_image
from training.data import layouts
from training.data.cache import prepare
from training.data.scans import Scan, content_hash
from training.data.splits import recorded_split, refuse_shared_content, split
from training.errors import UserError
from training.synthesis.phantom import ct_phantom

MM = 8.0


@pytest.fixture(scope="module")
def body():
    ct, mask = ct_phantom(0, MM)
    return ct.hu, mask.astype(np.uint8)


def pair(folder, name, hu, mask, **where):
    write_image(folder / "images" / f"{name}.nii.gz", hu, MM)
    write_image(folder / "labels" / f"{name}.nii.gz", mask, MM, **where)


def silent(text):
    pass


@pytest.mark.slow
def test_all_problems_are_listed_by_case_before_anything_starts(tmp_path, body):
    hu, mask = body
    pair(tmp_path, "good", hu, mask)
    pair(tmp_path, "shape", hu, mask[:-1])
    pair(tmp_path, "moved", hu, mask, origin=(30.0, 0.0, 0.0))
    pair(tmp_path, "empty", hu, mask * 0)
    pair(tmp_path, "shifted", hu, np.roll(mask, 14, axis=0))
    pair(tmp_path, "fraction", hu, mask * 0.5)
    pair(tmp_path, "mr", np.abs(hu), mask)
    pair(tmp_path, "lonely-ct", hu, mask)
    (tmp_path / "labels" / "lonely-ct.nii.gz").unlink()
    pair(tmp_path, "lonely-mask", hu, mask)
    (tmp_path / "images" / "lonely-mask.nii.gz").unlink()
    pair(tmp_path, "broken", hu, mask)
    (tmp_path / "images" / "broken.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        prepare(layouts.read(f"pairs={tmp_path}"), tmp_path / "cache", MM, report=silent)
    lines = {line.split(":")[0].strip(): line for line in str(caught.value).splitlines()[1:]}
    assert "9 of 10 scans" in str(caught.value) and "good" not in lines
    for name, reason in {
        "shape": "voxels",
        "moved": "lie elsewhere",
        "empty": "no liver",
        "shifted": "HU): it is flipped, shifted or of another scan",
        "fraction": "whole-numbered",
        "mr": "Hounsfield units",
        "lonely-ct": "mask missing",
        "lonely-mask": "CT missing",
        "broken": "cannot be read",
    }.items():
        assert reason in lines[name], lines[name]


@pytest.mark.slow
def test_prepared_scans_are_stored_and_memory_mapped(tmp_path, body):
    hu, mask = body
    pair(tmp_path, "a", hu, mask)
    scans, reports = layouts.read(f"pairs={tmp_path}"), []
    [entry] = prepare(scans, tmp_path / "cache", MM, report=reports.append)
    assert isinstance(entry.hu, np.memmap) and entry.hu.dtype == np.int16 and entry.label.dtype == np.uint8
    assert np.array_equal(entry.hu, np.maximum(hu[:, ::-1, ::-1], -1024))
    assert np.array_equal(entry.label > 127, mask[:, ::-1, ::-1] > 0)
    assert entry.tissue.shape == entry.hu.shape and entry.spacing_mm == MM
    reports.clear()
    assert prepare(scans, tmp_path / "cache", MM, report=reports.append)[0].content == entry.content and not reports


def test_a_changed_file_is_prepared_again(tmp_path, body):
    hu, mask = body
    pair(tmp_path, "a", hu, mask)
    scans = layouts.read(f"pairs={tmp_path}")
    [before] = prepare(scans, tmp_path / "cache", MM, report=silent)
    pair(tmp_path, "a", hu + np.int16(1), mask)
    [after] = prepare(scans, tmp_path / "cache", MM, report=silent)
    assert after.folder != before.folder and after.content != before.content
    assert int(after.hu.max()) == int(before.hu.max()) + 1


def test_another_spacing_has_its_own_entry(tmp_path, body):
    pair(tmp_path, "a", *body)
    scans = layouts.read(f"pairs={tmp_path}")
    [fine], [coarse] = (prepare(scans, tmp_path / "cache", mm, report=silent) for mm in (MM, 2 * MM))
    assert np.allclose(np.array(fine.hu.shape) / coarse.hu.shape, 2, atol=0.15)
    assert fine.content == coarse.content


@pytest.mark.slow
def test_several_processes_find_the_same_problems(tmp_path, body):
    hu, mask = body
    pair(tmp_path, "good", hu, mask)
    pair(tmp_path, "empty", hu, mask * 0)
    with pytest.raises(UserError, match="1 of 2 scans"):
        prepare(layouts.read(f"pairs={tmp_path}"), tmp_path / "cache", MM, workers=2, report=silent)


# --- the same scan ---


def test_the_hash_sees_through_name_format_and_orientation(tmp_path, body):
    hu, _ = body
    one = write_image(tmp_path / "one.nii.gz", hu, MM)
    two = write_image(tmp_path / "two.mha", hu[:, ::-1, ::-1].astype(np.float32), MM, flipped=True)
    other = write_image(tmp_path / "other.nii.gz", hu + np.int16(1), MM)
    digests = [content_hash(Scan(p.name, p.name, p).read()[0]) for p in (one, two, other)]
    assert digests[0] == digests[1] != digests[2]


def test_the_hash_ignores_what_pads_the_air():
    hu = np.random.default_rng(0).integers(-1000, 500, (4, 5, 6)).astype(np.int16)
    padded, filled = hu.copy(), hu.copy()
    padded[0], filled[0] = -3024, -1024
    assert content_hash(CtVolume(padded, np.eye(4))) == content_hash(CtVolume(filled, np.eye(4)))


# --- splits ---


def scans_of(patients, per_patient=2, **more):
    return [Scan(f"{p}-{n}", p, f"/ct/{p}-{n}", f"/mask/{p}-{n}", **more) for p in patients for n in range(per_patient)]


PATIENTS = [f"patient{n}" for n in range(200)]


def test_all_scans_of_a_patient_share_a_part():
    parts = split(scans_of(PATIENTS), 0.2, 0)
    for patient in PATIENTS:
        assert parts[f"{patient}-0"] == parts[f"{patient}-1"]
    assert 25 <= sum(part == "validation" for part in parts.values()) / 2 <= 55


def test_new_patients_do_not_move_old_ones():
    few, many = split(scans_of(PATIENTS[:50]), 0.2, 0), split(scans_of(PATIENTS), 0.2, 0)
    assert all(many[name] == part for name, part in few.items())


def test_the_data_sets_own_split_holds():
    scans = scans_of(["a"], part="test") + scans_of(["b"], part="validation")
    assert set(split(scans, 0.0, 0).values()) == {"test", "validation"}


def test_one_patient_in_two_parts_is_refused():
    scans = [Scan("a", "same", "/a", "/m", part="train"), Scan("b", "same", "/b", "/m", part="test")]
    with pytest.raises(UserError, match="Patient same"):
        split(scans, 0.2, 0)


def test_unlabelled_scans_are_trained_on():
    assert set(split([Scan(p, p, "/ct") for p in PATIENTS], 0.9, 0).values()) == {"train"}


def test_the_split_is_recorded_and_read_back(tmp_path):
    path = tmp_path / "split.json"
    first = recorded_split(path, scans_of(PATIENTS[:30]), 0.3, 0)
    again = recorded_split(path, scans_of(PATIENTS[:40]), 0.3, 99)  # another seed moves only the new ones
    assert all(again[name] == part for name, part in first.items())
    entry = json.loads(path.read_text())["scans"]["patient0-0"]
    assert entry["patient"] == "patient0" and entry["ct"] == "/ct/patient0-0" and entry["part"] == first["patient0-0"]


def test_a_broken_record_is_explained(tmp_path):
    (tmp_path / "split.json").write_text("[]")
    with pytest.raises(UserError, match="not a record of a split"):
        recorded_split(tmp_path / "split.json", scans_of(["a"]), 0.2, 0)


def test_the_same_scan_across_the_split_is_refused_and_within_a_part_named():
    parts = {"a": "train", "b": "train", "c": "validation"}
    assert refuse_shared_content({"a": "1", "b": "1", "c": "2"}, parts) == [["a", "b"]]
    with pytest.raises(UserError, match=r"a \(train\) = c \(validation\)"):
        refuse_shared_content({"a": "1", "b": "2", "c": "1"}, parts)
