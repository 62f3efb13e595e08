"""Soft labels of packed scans, and a student that learns from them."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from LiverGTANLib.core.files import PARTIAL
from support.full_disk import fullDisk
from support.training_fixtures import SPACING_MM, makeScans, noValidation, smallConfig
from training.data.bank import BankError
from training.data.scan_bank import ScanBank
from training.errors import UserError
from training.fit import checkpoint, loop, methods
from training.options import DataSettings, Soften
from training.studies.soft_labels import SURE, soften

WIDTHS = (2, 3)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return makeScans(tmp_path_factory.mktemp("scans") / "scans")


def scansOnly(scans, **loopSettings):
    data = DataSettings(bank=(), scans=scans, window=(16, 16, 24), spacing_mm=SPACING_MM)
    return dataclasses.replace(smallConfig(scans, **loopSettings), data=data)


def trained(scans, folder, **loopSettings):
    config = scansOnly(scans, **loopSettings)
    return loop.fit(methods.supervised("teacher", WIDTHS, config), config, folder, noValidation)


@pytest.fixture(scope="module")
def teacher(scans, tmp_path_factory):
    """A teacher that learned to find the bright block."""
    return trained(scans, tmp_path_factory.mktemp("teacher"), steps=60, rate=0.02, average=0.9, log_every=50)


@pytest.fixture(scope="module")
def softened(scans, teacher, tmp_path_factory):
    output, lines = tmp_path_factory.mktemp("soft") / "scans", []
    return soften(Soften((str(teacher),), scans, output), lines.append), lines


def test_images_stay_and_labels_become_the_mean_of_teacher_and_label(scans, softened):
    bank, soft = ScanBank(scans), softened[0]
    for number, record in enumerate(bank.records):
        (image, label), (softImage, softLabel) = bank.arrays(number), soft.arrays(number)
        assert np.array_equal(image, softImage)
        assert record.content == soft.records[number].content and soft.records[number].labelled
        if label is not None:
            away = softLabel.astype(int) - label
            assert away.any() and np.abs(away).max() <= 128  # the teacher's half of the answer
            assert 0 < np.corrcoef(softLabel.ravel(), label.ravel())[0, 1] < 1
    assert not ((softLabel > 0) & (softLabel < 255 * SURE - 1)).any()


def test_who_was_set_aside_stays_so(scans, teacher, tmp_path):
    shutil.copytree(scans, tmp_path / "packed")
    (tmp_path / "packed-split.json").write_text('{"one": {"part": "validation"}}')
    soften(Soften((str(teacher),), tmp_path / "packed", tmp_path / "soft"), lambda line: None)
    assert (tmp_path / "soft-split.json").read_text() == (tmp_path / "packed-split.json").read_text()


def test_a_scan_without_label_gets_the_teachers_answer(softened):
    bank, lines = softened
    label = bank.arrays(2)[1]
    assert label[5:11, 5:11, 7:17].mean() > label[14:].mean()
    assert lines[2].startswith("three: ") and lines[2].endswith(" mL") and "differ in" in lines[0]
    assert "name in --unsure" in lines[-1] and str(bank.path) in lines[-1]
    assert bank.path.with_name("scans.png").stat().st_size > 5000


def test_the_share_decides_between_teacher_and_label(scans, teacher, tmp_path):
    label = ScanBank(scans).arrays(0)[1]
    labels = soften(Soften((str(teacher),), scans, tmp_path / "labels", 0.0), lambda line: None)
    assert np.array_equal(labels.arrays(0)[1], label)
    teachers = soften(Soften((str(teacher), str(teacher)), scans, tmp_path / "teachers", 1.0), lambda line: None)
    assert not np.array_equal(teachers.arrays(0)[1], label)


def test_scans_of_which_the_answer_is_wrong_keep_what_they_have(scans, teacher, tmp_path):
    soft = soften(Soften((str(teacher),), scans, tmp_path / "soft", unsure=("one", "three")), lambda line: None)
    assert np.array_equal(soft.arrays(0)[1], ScanBank(scans).arrays(0)[1])
    assert soft.arrays(2)[1] is None and not soft.records[2].labelled and soft.records[1].labelled
    assert not (tmp_path / "soft.png").exists()  # no scan without a label was answered
    with pytest.raises(UserError, match="--unsure names four"):
        soften(Soften((str(teacher),), scans, tmp_path / "other", unsure=("four",)))


def test_the_folder_records_teachers_share_and_the_scans(scans, softened):
    about = softened[0].about["soft_labels"]
    assert about["teachers"][0]["widths"] == list(WIDTHS) and len(about["teachers"][0]["weights_sha256"]) == 64
    assert about["share"] == 0.5 and about["scans_sha256"] == ScanBank(scans).digest()
    assert about["command"].startswith("python -m training soften runs/checkpoint.pt ")


def test_a_student_learns_from_soft_labels_on_coarser_cells(softened, tmp_path):
    scans = softened[0].path
    config = scansOnly(scans, steps=3)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, spacing_mm=1.5 * SPACING_MM))
    file = loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path, noValidation)
    assert all(torch.isfinite(value).all() for value in checkpoint.network(file).state_dict().values())


def test_a_damaged_scan_a_full_disk_or_an_interruption_leave_nothing(scans, teacher, tmp_path):
    """The scans are answered as before a stop; the one without label comes last."""
    damaged = shutil.copytree(scans, tmp_path / "damaged")
    with (damaged / "three-image.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(BankError, match=r"three in .* is not the scan that was packed"):
        soften(Soften((str(teacher),), damaged, tmp_path / "soft"), str)
    with fullDisk(3000), pytest.raises(BankError, match=r"cannot be written to .* \(.*written\); make room"):
        soften(Soften((str(teacher),), scans, tmp_path / "soft"), str)

    def interrupted(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        soften(Soften((str(teacher),), scans, tmp_path / "soft"), interrupted)
    assert [one.name for one in tmp_path.iterdir()] == ["damaged"]


def test_what_a_killed_process_left_is_named_and_stays(scans, teacher, tmp_path, caplog):
    left = tmp_path / f"{PARTIAL}soft-0123"
    left.mkdir()
    soften(Soften((str(teacher),), scans, tmp_path / "soft", 0.0), str)
    assert f"{left} is half of {tmp_path / 'soft'}" in caplog.text and left.is_dir()


def test_the_scans_stay_where_there_is_no_room_for_the_picture(scans, teacher, tmp_path):
    (tmp_path / "soft.png").mkdir()  # so that no file can take this name
    lines = []
    with pytest.raises(OSError, match=r"soft\.png cannot be written"):
        soften(Soften((str(teacher),), scans, tmp_path / "soft"), lines.append)
    assert "soft labels for" in lines[-1] and len(ScanBank(tmp_path / "soft")) == 3
    assert {one.name for one in tmp_path.iterdir()} == {"soft", "soft.png"}


def test_what_cannot_be_softened_is_refused_and_leaves_nothing(scans, teacher, tmp_path):
    other = dataclasses.replace(
        scansOnly(scans, steps=1), data=dataclasses.replace(scansOnly(scans).data, spacing_mm=4)
    )
    coarse = loop.fit(methods.supervised("teacher", WIDTHS, other), other, tmp_path / "coarse", noValidation)
    for teachers, words in (((), "at least one teacher"), ((str(coarse),), "pack the scans on its grid")):
        with pytest.raises(UserError, match=words):
            soften(Soften(teachers, scans, tmp_path / "soft"))
    assert not (tmp_path / "soft").exists()
    with pytest.raises(BankError, match="is there already"):
        soften(Soften((str(teacher),), scans, scans))
    with pytest.raises(ValueError, match="share"):
        Soften((str(teacher),), scans, tmp_path / "soft", 1.5)
