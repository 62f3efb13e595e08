"""Which values of a mask are liver: tables of labels in both forms, odd sets of values, undecided voxels."""

import json

import numpy as np
import pytest

from support.volumes import write_image
from training.data import layouts
from training.data.labels import label_table
from training.data.scans import Scan, ScanError
from training.errors import UserError


@pytest.mark.parametrize(
    ("labels", "liver"),
    [
        ({"0": "background", "1": "liver", "2": "cancer"}, (1, 2)),  # MSD, nnU-Net v1
        ({"background": 0, "liver": 1, "cancer": 2}, (1, 2)),  # nnU-Net v2
        ({"background": 0, "whole_liver": [1, 2], "tumor": 2}, (1, 2)),  # regions
        ({"background": 0, "Liver": 6, "spleen": 1}, (6,)),
        ({"background": 0, "liver": 1, "liver_vessels": 2}, (1,)),
        ({"background": 0, "liver": 1, "liver_segment_4": 2}, (1,)),
        ({"background": 0, "liver": 1, "kidney": 2, "tumor": 3}, (1,)),
        ({"background": 0, "liver": 1, "kidney": 2, "liver tumour": 3}, (1, 3)),
        ({"background": 0, "liver": [1, 3], "lesion": 3, "ignore": 4}, (1, 3)),
        ({"background": 0, "liver": 1, "non-liver": 2}, (1,)),
        ({"background": "0", "liver": "1"}, (1,)),
    ],
)
def test_only_the_whole_liver_and_its_lesions_count(labels, liver, tmp_path):
    table = label_table(labels, tmp_path / "dataset.json")
    assert table.liver == liver
    assert table.ignore == labels.get("ignore")


@pytest.mark.parametrize("name", ["liver_vessels", "liver segment 1", "left liver lobe", "nonliver", "spleen", "tumor"])
def test_a_part_of_the_liver_is_not_the_liver(name, tmp_path):
    with pytest.raises(UserError, match="does not name the whole liver"):
        label_table({"background": 0, name: 1}, tmp_path / "dataset.json")


@pytest.mark.parametrize("labels", [None, [], {}, {"liver": "one"}, {"liver": 1.5}, {"liver": None}, {"liver": -1}])
def test_what_is_not_a_table_of_labels_is_explained(labels, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.json"):
        label_table(labels, tmp_path / "dataset.json")


def test_what_sounds_like_liver_and_is_not_taken_is_logged(tmp_path, caplog):
    label_table({"background": 0, "liver": 1, "liver_vessels": 2}, tmp_path / "dataset.json")
    assert "not taken for liver: liver_vessels; taken: liver" in caplog.text


def scan_of(**more):
    return Scan("a", "a", "/ct", "/mask", **more)


def values(*found, kind=np.uint8):
    return np.array([[found]], kind)


def test_labels_near_whole_numbers_are_rounded_and_it_is_told():
    told = []
    mask = scan_of().is_liver(values(0, 1.0001, 0.9999, kind=np.float32), told.append)
    assert mask.ravel().tolist() == [False, True, True]
    assert any("were rounded" in note for note in told)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (values(0, 0.5, kind=np.float32), "fractions"),
        (values(0, np.nan, kind=np.float32), "not labels"),
        (values(0, -3, kind=np.int16), "not labels"),
        (values(0, 1, 5, 7), "nothing says which is the liver"),
        (values(0, 3, 4), "nothing says which is the liver"),
    ],
)
def test_values_that_do_not_say_where_the_liver_is_are_refused(found, reason):
    with pytest.raises(ScanError, match=reason):
        scan_of().is_liver(found, lambda note: None)


@pytest.mark.parametrize("found", [values(0, 1), values(0, 255), values(0, 5), values(0, 1, kind=np.float32)])
def test_a_single_value_is_the_liver(found):
    told = []
    assert scan_of().is_liver(found, told.append).ravel().tolist() == [False, True] and not told


def test_liver_and_tumor_are_both_liver_and_it_is_told():
    told = []
    assert scan_of().is_liver(values(0, 1, 2), told.append).sum() == 2
    assert told == ["labels 1 and 2 were both taken for liver (liver and tumor)"]


def test_a_label_that_the_data_set_does_not_name_is_refused():
    with pytest.raises(ScanError, match="labels 3, which its data set does not name"):
        scan_of(liver=(1, 2), known=(0, 1, 2)).is_liver(values(0, 1, 3), print)


def test_undecided_voxels_are_refused_and_an_unused_ignore_label_is_not():
    scan = scan_of(liver=(1,), known=(0, 1, 2), ignore=2)
    assert scan.is_liver(values(0, 1), print).sum() == 1
    with pytest.raises(ScanError, match="leaves 2 voxels undecided"):
        scan.is_liver(values(0, 1, 2, 2), print)


# --- the same in whole data sets ---


def write_scan(folder, name, labels):
    hu = np.zeros((4, 5, 6), np.int16)
    write_image(folder / "imagesTr" / f"{name}_0000.nii.gz", hu, 3.0)
    write_image(folder / "labelsTr" / f"{name}.nii.gz", np.full((4, 5, 6), labels, np.uint8), 3.0)


@pytest.mark.parametrize("labels", [{"0": "background", "1": "liver"}, {"background": 0, "liver": 1, "ignore": 2}])
def test_nnunet_reads_both_forms_of_the_table(tmp_path, labels):
    write_scan(tmp_path, "one", 1)
    write_scan(tmp_path, "two", 2)
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels}))
    one, two = layouts.read(f"nnunet={tmp_path}")
    assert one.liver == (1,) and one.read()[1].all()
    with pytest.raises(ScanError):
        two.read()


def test_files_that_macos_leaves_are_not_scans(tmp_path):
    write_scan(tmp_path, "one", 1)
    for name in ("imagesTr/._one_0000.nii.gz", "labelsTr/._one.nii.gz"):
        (tmp_path / name).write_bytes(b"Mac OS X")
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "labels": {"liver": 1}}))
    assert [scan.name for scan in layouts.read(f"nnunet={tmp_path}")] == ["one"]


def test_the_liver_of_a_folder_of_several_organs_is_named(tmp_path):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0], labels[1], labels[2] = 1, 5, 7
    write_image(tmp_path / "images" / "a.nii.gz", np.zeros((4, 5, 6), np.int16), 3.0)
    write_image(tmp_path / "labels" / "a.nii.gz", labels, 3.0)
    [scan] = layouts.read(f"pairs={tmp_path}:5")
    np.testing.assert_array_equal(scan.read()[1], labels == 5)
    with pytest.raises(ScanError, match="labels 1, 5, 7"):
        layouts.read(f"pairs={tmp_path}")[0].read()


def test_an_entry_without_a_file_is_that_scans_fault_alone(tmp_path):
    write_scan(tmp_path, "good", 1)
    good = {"image": "imagesTr/good_0000.nii.gz", "label": "labelsTr/good.nii.gz"}
    entries = [good, {"image": "imagesTr/half.nii.gz"}, "imagesTr/text.nii.gz"]
    content = {"labels": {"0": "background", "1": "liver"}, "training": entries, "test": [{"no": "image"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    first, *others = layouts.read(f"msd={tmp_path}")
    assert first.fault is None and first.read()[1].all()
    assert [bool(scan.fault) or not scan.ct.exists() for scan in others] == [True, True, True]


def test_a_name_that_is_there_twice_is_refused_by_case(tmp_path):
    image = np.zeros((4, 5, 6), np.int16)
    for place in ("a/volume-0.nii", "b/volume-0.nii", "a/volume-1.nii"):
        write_image(tmp_path / place, image, 3.0)
    for number in (0, 1):
        write_image(tmp_path / f"a/segmentation-{number}.nii", image, 3.0)
    twice, once = layouts.read(f"lits={tmp_path}")
    assert "several times" in twice.fault and once.fault is None


@pytest.mark.parametrize("content", ["[]", '"liver"', "{", "[" * 100_000])
def test_a_broken_dataset_json_is_explained(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    for layout in ("nnunet", "msd"):
        with pytest.raises(UserError, match=r"dataset\.json"):
            layouts.read(f"{layout}={tmp_path}")
