"""`crossvalidate`: each patient is left out once, measured on its own cases, and finished folds are taken again."""

import json

import numpy as np
import pytest

from support.training_fixtures import options, smallConfig
from support.volumes import write_image
from training.__main__ import main
from training.data import scan_bank
from training.data.scan_bank import ScanToStore
from training.fit import checkpoint
from training.studies import cross_validation
from training.synthesis.phantom import ct_phantom

MM = 8.0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(cases, scans): three CTs of two patients as files, and packed."""
    folder, scans = tmp_path_factory.mktemp("cases"), []
    cases = []
    for number, (name, patient) in enumerate((("one", "a"), ("two", "b"), ("three", "b"))):
        ct, mask = ct_phantom(number, MM)
        files = [
            write_image(folder / f"{name}{ending}.nii.gz", values, MM)
            for ending, values in (("", ct.hu), ("_liver", mask.astype(np.uint8)))
        ]
        cases.append("=".join(map(str, files)))
        scans.append(ScanToStore(name, patient, 1.0, name, ct.hu, mask.astype(np.uint8) * np.uint8(255)))
    about = {"spacing_mm": MM, "hu_window": [-160.0, 240.0], "git": "test", "config": {}}
    scan_bank.write(folder / "scans", iter(scans), about)
    return cases, folder / "scans"


def words(data, folder, *more):
    cases, scans = data
    small = options(smallConfig(scans, steps=2))
    small[small.index("--bank") : small.index("--bank") + 2] = ["--bank"]
    return [
        *[
            "crossvalidate",
            "--cases",
            *cases,
            "--scans",
            str(scans),
            "--window",
            "16",
            "16",
            "24",
            "--folder",
            str(folder),
        ],
        *["--student-widths", "2", "3", *small, *more],
    ]


@pytest.mark.slow
def test_every_patient_is_left_out_once_and_folds_are_taken_again(data, tmp_path, capsys, monkeypatch):
    assert main(words(data, tmp_path)) == 0
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert (
        text in capsys.readouterr().out and "mean ± sd over patients" in text and "2-3, arm student, 2 updates" in text
    )
    results = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert {one["patient"]: list(one["cases"]) for one in results} == {"a": ["one"], "b": ["two", "three"]}
    for patient in "ab":
        settings = checkpoint.read(tmp_path / patient / "checkpoint.pt")["settings"]
        assert settings["data"]["leave_out"] == [patient]
    monkeypatch.setattr(cross_validation, "measured", lambda *_: 1 / 0)  # nothing is measured again
    assert main(words(data, tmp_path)) == 0
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text


def test_a_case_that_is_not_packed_is_refused(data, tmp_path, capsys):
    cases, scans = data
    other = [cases[0].replace("one.nii.gz=", "other.nii.gz=")]
    (scans.parent / "other.nii.gz").write_bytes((scans.parent / "one.nii.gz").read_bytes())
    assert main(words((other, scans), tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert "other is not among" in error and "--validation-share 0" in error and not (tmp_path / "run").exists()


def test_without_scans_the_command_says_what_is_needed(data, tmp_path, capsys):
    given = words(data, tmp_path / "run")
    place = given.index("--scans")
    assert main(given[:place] + given[place + 2 :]) == 2
    assert "--scans" in capsys.readouterr().err
