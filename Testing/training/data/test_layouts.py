"""Readers of public data sets, each on a small one that the test writes in that very layout."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from support.volumes import write_image, write_series
from training.data import layouts
from training.data.cache import prepare
from training.data.scans import ScanError
from training.errors import UserError
from training.synthesis.phantom import ct_phantom

MM = 8.0


@pytest.fixture(scope="module")
def bodies():
    """(hu, liver mask) of three phantoms, [k, j, i] with LPS axes."""
    made = [ct_phantom(seed, MM) for seed in range(3)]
    return [(ct.hu, mask.astype(np.uint8)) for ct, mask in made]


def with_tumor(mask):
    """Label 2 in the middle of label 1, as LiTS and MSD have it."""
    labels = mask.copy()
    middle = np.argwhere(mask).mean(axis=0).astype(int)
    labels[tuple(slice(m - 2, m + 2) for m in middle)] *= 2
    return labels


def assert_reads(scan, hu, mask):
    ct, read = scan.read()
    assert np.array_equal(ct.hu, hu) and np.array_equal(read, mask > 0)
    assert np.allclose(ct.spacing, MM)


@pytest.mark.slow
def test_lits(tmp_path, bodies):
    for n, (hu, mask) in zip((0, 2, 10), bodies, strict=True):
        folder = tmp_path / ("Training Batch 1" if n < 5 else "Training Batch 2")
        write_image(folder / f"volume-{n}.nii", hu, MM)
        write_image(folder / f"segmentation-{n}.nii", with_tumor(mask), MM)
    scans = layouts.read(f"lits={tmp_path}")
    assert [s.name for s in scans] == ["lits-0", "lits-2", "lits-10"]
    for scan, (hu, mask) in zip(scans, bodies, strict=True):
        assert_reads(scan, hu, mask)  # the tumor belongs to the liver


@pytest.mark.slow
def test_msd_task03(tmp_path, bodies):
    (hu, mask), (other, _), _ = bodies
    write_image(tmp_path / "imagesTr" / "liver_7.nii.gz", hu, MM)
    write_image(tmp_path / "labelsTr" / "liver_7.nii.gz", with_tumor(mask), MM)
    write_image(tmp_path / "imagesTs" / "liver_141.nii.gz", other, MM)
    (tmp_path / "dataset.json").write_text(
        json.dumps(
            {
                "name": "Liver",
                "modality": {"0": "CT"},
                "labels": {"0": "background", "1": "liver", "2": "cancer"},
                "training": [{"image": "./imagesTr/liver_7.nii.gz", "label": "./labelsTr/liver_7.nii.gz"}],
                "test": ["./imagesTs/liver_141.nii.gz"],
            }
        )
    )
    labelled, bare = layouts.read(f"msd={tmp_path}")
    assert labelled.name == "liver_7" and labelled.liver == (1, 2)
    assert_reads(labelled, hu, mask)
    assert not bare.labelled and np.array_equal(bare.read()[0].hu, other)


@pytest.mark.parametrize("separator", [";", ","])
def test_totalsegmentator_v2(tmp_path, bodies, separator):
    splits = ("train", "val", "test")
    rows = [separator.join(("image_id", "age", "split"))]
    for n, ((hu, mask), part) in enumerate(zip(bodies, splits, strict=True)):
        write_image(tmp_path / f"s{n:04d}" / "ct.nii.gz", hu, MM)
        write_image(tmp_path / f"s{n:04d}" / "segmentations" / "liver.nii.gz", mask * (n != 2), MM)
        write_image(tmp_path / f"s{n:04d}" / "segmentations" / "spleen.nii.gz", mask * 0, MM)
        rows.append(separator.join((f"s{n:04d}", "50", part)))
    (tmp_path / "meta.csv").write_text("\ufeff" + "\n".join(rows), encoding="utf-8")
    scans = layouts.read(f"totalsegmentator={tmp_path}")
    assert [s.part for s in scans] == ["train", "validation", "test"]
    assert_reads(scans[0], *bodies[0])
    assert len(prepare(scans, tmp_path / "cache", MM, report=lambda t: None)) == 3  # a scan without liver is fine


def write_chaos(folder, hu, mask, descending):
    write_series(folder / "DICOM_anon", hu, (MM, MM, MM), descending=descending)
    (folder / "Ground").mkdir()
    for number, k in enumerate(range(len(hu))[::-1] if descending else range(len(hu))):
        picture = sitk.GetImageFromArray(mask[k] * np.uint8(255))
        sitk.WriteImage(picture, str(folder / "Ground" / f"liver_GT_{number:03d}.png"))


@pytest.mark.parametrize("descending", [False, True])
def test_chaos_ct(tmp_path, bodies, descending):
    hu, mask = bodies[0][0][20:32], bodies[0][1][20:32]
    write_chaos(tmp_path / "Train_Sets" / "CT" / "5", hu, mask, descending)
    [scan] = layouts.read(f"chaos={tmp_path}")
    assert scan.name == "chaos-ct-5"
    assert_reads(scan, hu, mask)
    ct, _ = scan.read()
    assert np.allclose(ct.ijk_to_ras, np.diag([-MM, -MM, MM, 1]))


def test_chaos_test_set_is_unlabelled(tmp_path, bodies):
    write_series(tmp_path / "CT" / "3" / "DICOM_anon", bodies[0][0][20:30], (MM, MM, MM))
    [scan] = layouts.read(f"chaos={tmp_path}")
    assert not scan.labelled and np.array_equal(scan.read()[0].hu, bodies[0][0][20:30])


def test_dicom_names_count_as_numbers(tmp_path, bodies):
    hu = bodies[0][0][10:22]
    write_series(tmp_path / "x" / "DICOM_anon", hu, (MM, MM, MM), names=[f"IM{n}.dcm" for n in range(len(hu))])
    [scan] = layouts.read(f"chaos={tmp_path}")
    assert np.array_equal(scan.read()[0].hu, hu)


def test_a_missing_dicom_slice_is_reported(tmp_path, bodies):
    write_series(tmp_path / "x" / "DICOM_anon", bodies[0][0][10:22], (MM, MM, MM))
    sorted((tmp_path / "x" / "DICOM_anon").iterdir())[5].unlink()
    [scan] = layouts.read(f"chaos={tmp_path}")
    with pytest.raises(ScanError, match="1 slice is missing"):
        scan.read()


def test_two_series_in_one_folder_are_reported(tmp_path, bodies):
    folder = tmp_path / "x" / "DICOM_anon"
    write_series(folder, bodies[0][0][10:16], (MM, MM, MM))
    write_series(folder, bodies[0][0][10:16], (4.0, 4.0, MM), names=[f"other{n}.dcm" for n in range(6)])
    [scan] = layouts.read(f"chaos={tmp_path}")
    with pytest.raises(ScanError, match="more than one series"):
        scan.read()


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_nnunet_raw(tmp_path, bodies, ending):
    (hu, mask), (other, _), _ = bodies
    write_image(tmp_path / "imagesTr" / f"case_1_0000{ending}", hu, MM)
    write_image(tmp_path / "labelsTr" / f"case_1{ending}", mask * np.uint8(3), MM)
    write_image(tmp_path / "imagesTs" / f"case_9_0000{ending}", other, MM)
    (tmp_path / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "CT"},
                "file_ending": ending,
                "numTraining": 1,
                "labels": {"background": 0, "spleen": 1, "liver": [3, 4], "liver_tumour": 4},
            }
        )
    )
    labelled, bare = layouts.read(f"nnunet={tmp_path}")
    assert labelled.name == "case_1" and labelled.liver == (3, 4)
    assert_reads(labelled, hu, mask)
    assert bare.name == "case_9" and not bare.labelled


def test_folder_pairs(tmp_path, bodies):
    (hu, mask), *_ = bodies
    write_image(tmp_path / "images" / "anna.mha", hu, MM)
    write_image(tmp_path / "labels" / "anna.nii.gz", mask, MM)
    [scan] = layouts.read(f"pairs={tmp_path}")
    assert_reads(scan, hu, mask)


def test_unlabelled_files_and_series(tmp_path, bodies):
    write_image(tmp_path / "deep" / "one.nii.gz", bodies[0][0], MM)
    write_series(tmp_path / "two", bodies[1][0][:12], (MM, MM, MM))
    scans = layouts.read(f"unlabelled={tmp_path}")
    assert [s.name for s in scans] == ["deep-one", "two"] and not any(s.labelled for s in scans)
    assert layouts.read(f"unlabelled={tmp_path / 'two'}")[0].name == "two"
    assert [s.read()[0].hu.shape[0] for s in scans] == [len(bodies[0][0]), 12]


# --- what goes wrong before anything is read ---


@pytest.mark.parametrize(
    "text, message", [("lits", "write LAYOUT=FOLDER"), ("btcv=/tmp", "one of lits"), ("lits=/nowhere", "no folder")]
)
def test_a_wrong_data_set_is_explained(text, message):
    with pytest.raises(UserError, match=message):
        layouts.read(text)


@pytest.mark.parametrize("layout", ["lits", "totalsegmentator", "chaos", "pairs", "unlabelled"])
def test_an_empty_folder_is_explained(tmp_path, layout):
    with pytest.raises(UserError, match=f"nothing in the layout {layout}"):
        layouts.read(f"{layout}={tmp_path}")


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_a_missing_description_is_explained(tmp_path, layout):
    with pytest.raises(UserError, match=r"dataset\.json cannot be read"):
        layouts.read(f"{layout}={tmp_path}")


def test_a_data_set_without_liver_or_ct_is_refused(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": {"background": 0, "spleen": 1}}))
    with pytest.raises(UserError, match="does not name the whole liver"):
        layouts.read(f"nnunet={tmp_path}")
    path.write_text(json.dumps({"channel_names": {"0": "T2"}, "labels": {"background": 0, "liver": 1}}))
    with pytest.raises(UserError, match="not CT"):
        layouts.read(f"nnunet={tmp_path}")
