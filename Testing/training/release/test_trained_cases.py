"""Whoever evaluates a network on a CT that it was trained on is told so, by the CT's voxels or by its name."""

import csv
import dataclasses
import shutil

import pytest
import SimpleITK as sitk

from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.standalone.image_files import image_of
from support import band_student
from support.training_fixtures import makeScans, noValidation, smallConfig
from training.__main__ import main
from training.data.cases import Case
from training.data.scans import content_hash
from training.fit import loop, methods
from training.options import DataSettings
from training.release import provenance, student_card
from training.release.trained_cases import trained_on


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Files of a phantom's CT and mask."""
    folder, (ct, liver) = tmp_path_factory.mktemp("phantom"), phantom_ct((6.0, 6.0, 6.0))
    for name, array in (("ct", ct.hu), ("liver", liver)):
        sitk.WriteImage(image_of(array, ct.ijk_to_ras), str(folder / f"{name}.nii.gz"))
    return folder


@pytest.fixture
def case(phantom, tmp_path):
    """A function that gives the phantom under a name."""

    def named(name: str) -> Case:
        shutil.copy(phantom / "ct.nii.gz", tmp_path / f"{name}.nii.gz")
        return Case(tmp_path / f"{name}.nii.gz", phantom / "liver.nii.gz")

    return named


@pytest.fixture(scope="module")
def trained(phantom, tmp_path_factory):
    """Folder of a run on scans of which the first, "one", has the phantom's voxels, and of its exported student."""
    folder = tmp_path_factory.mktemp("trained")
    content = content_hash(Case(phantom / "ct.nii.gz", phantom / "liver.nii.gz").ct)
    data = DataSettings(bank=(), scans=makeScans(folder / "scans", content), window=(16, 16, 24), labelled_only=True)
    config = dataclasses.replace(smallConfig(folder, steps=2, batch=1), data=data)
    file = loop.fit(methods.supervised("student", (2, 3, 5), config), config, folder / "run", noValidation)
    assert main(["export", str(file), "--name", "student-own", "--output", str(folder)]) == 0
    return folder


def test_a_bundled_student_knows_its_cts_by_their_voxels_under_any_name(case, monkeypatch):
    assert trained_on("student-100k", [case("mine")]) == {}
    said = trained_on("student-100k", [case("msd_liver_02")])
    assert "of this name with other voxels" in said["msd_liver_02"]
    content = content_hash(case("mine").ct)[: provenance.CONTENT_DIGITS]
    entry = provenance.known()["msd_liver_02"] | {"content": content}
    monkeypatch.setattr(provenance, "known", lambda: {"msd_liver_02": entry})
    said = trained_on("student-100k", [case("mine"), case("msd_liver_02"), case("msd_liver_03")])
    assert "trained on this CT (there as msd_liver_02)" in said["mine"]
    assert "trained on this CT:" in said["msd_liver_02"]
    assert "(there as msd_liver_02)" in said["msd_liver_03"], "the voxels go before the name"
    monkeypatch.setattr(provenance, "known", dict)
    assert trained_on("student-100k", [case("mine")]) == {}
    assert "on a CT of this name:" in trained_on("student-100k", [case("msd_liver_02")])["msd_liver_02"]


@pytest.mark.parametrize("file", ["run/checkpoint.pt", "run/checkpoint.pt:student", "student-own.npz"])
def test_a_checkpoint_and_its_student_know_theirs(trained, case, file):
    said = trained_on(str(trained / file), [case("mine"), case("two"), case("other")])
    assert said.keys() == {"mine", "two", "other"} and all("(there as one)" in text for text in said.values())


def test_a_network_without_a_history_says_that_it_is_not_known(trained, case, tmp_path, caplog):
    assert trained_on(str(band_student.save(tmp_path, "band")), [case("mine")]) == {}
    assert "trained on is not known (nothing is recorded)" in caplog.text
    caplog.clear()
    shutil.copytree(trained, tmp_path / "copy")
    (trained / "scans").rename(trained / "elsewhere")
    try:
        assert trained_on(str(tmp_path / "copy" / "run" / "checkpoint.pt"), [case("mine")]) == {}
        assert "trained on is not known" in caplog.text
        assert "mine" in trained_on(str(trained / "student-own.json"), [case("mine")]), "the card knows"
    finally:
        (trained / "elsewhere").rename(trained / "scans")


def test_evaluate_says_it_beside_the_figures_and_in_the_table(trained, case, tmp_path, capsys, caplog):
    student, table = trained / "student-own.npz", tmp_path / "table.csv"
    one = case("mine")
    words = ["evaluate", str(student), "--cases", f"{one.ct_path}={one.mask_path}", "--output", str(table)]
    assert main(words) == 0
    assert "Not of unseen cases, in the means too: mine" in capsys.readouterr().out
    assert "mine: the network was trained on this CT (there as one)" in caplog.text
    with table.open(encoding="utf-8", newline="") as stream:
        [row] = csv.DictReader(stream)
    assert row["trained_on"].startswith("the network was trained on this CT")
    assert "trained_on" not in student_card.metrics(table, "student-own")[0]
