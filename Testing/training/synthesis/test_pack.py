"""`pack`: which CTs are taken, what is known of them, and that a run trained on them says so on its card."""

import json
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest

from support.volumes import write_image
from training.__main__ import main, parse
from training.data.scan_bank import ScanBank
from training.errors import UserError
from training.options import Pack
from training.release import model_card, provenance, reproduce
from training.synthesis.pack import pack
from training.synthesis.phantom import ct_phantom

MM = 6.0


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The options of a scan bank of a data folder: an expert's label, a pseudo-label, none, and a held-out CT."""
    folder = tmp_path_factory.mktemp("data")
    ct, mask = ct_phantom(0, MM)
    half = mask & (np.arange(len(mask))[:, None, None] < len(mask) // 2)
    for number, name in enumerate(("msd_liver_02", "msd_liver_06", "msd_liver_07", "tcga_ov_09_2043", "msd_liver_05")):
        place = (0.0, 0.0, 500.0 * number)  # else they were copies of each other
        write_image(folder / "ct" / f"{name}.nii.gz", ct.hu + number, MM, place)
        if name.startswith("msd"):
            write_image(folder / "ct" / f"{name}_liver.nii.gz", mask.astype(np.uint8), MM, place)
    write_image(folder / "ct" / "msd_liver_02_liver_pseudo.nii.gz", half.astype(np.uint8), MM)
    config = Pack(
        data=folder,
        output=folder / "scans",
        cache=folder / "cache",
        fine_mm=6.0,
        unlabelled=("tcga_ov_09_2043",),
        workers=1,
    )
    pack(config, report=str)
    return config


def test_held_out_cases_stay_out_and_people_label_better_than_machines(packed):
    bank = ScanBank(packed.output)
    by_name = {record.name: record for record in bank.records}
    assert list(by_name) == ["msd_liver_02", "msd_liver_06", "msd_liver_07", "tcga_ov_09_2043"]
    assert [record.labelled for record in bank.records] == [True, True, True, False]
    assert by_name["msd_liver_06"].patient == by_name["msd_liver_07"].patient == "msd_liver_06"
    assert by_name["msd_liver_02"].weight > by_name["msd_liver_06"].weight
    whole, again = bank.arrays(0)[1], bank.arrays(1)[1]
    assert (whole == again).all()  # the expert's, not the machine's half of it


def test_what_is_not_packed_is_recorded_with_the_reason(packed):
    about = ScanBank(packed.output).about
    assert about["set_aside"] == {"msd_liver_05": "held out to measure on"} and about["left_out"] == {}


def test_what_was_set_aside_or_cannot_be_used_is_told_and_recorded(packed, tmp_path):
    """Three pairs of which one mask is half of the liver, and one patient is drawn for validation."""
    for number, name in enumerate("abc"):
        ct, mask = ct_phantom(number, MM)
        if name == "b":
            mask[:, :, : int(np.median(np.nonzero(mask)[2]))] = False
        write_image(tmp_path / "own" / "images" / f"{name}.nii.gz", ct.hu, MM)
        write_image(tmp_path / "own" / "labels" / f"{name}.nii.gz", mask.astype(np.uint8), MM)
    options = replace(
        packed, output=tmp_path / "scans", cache=tmp_path, datasets=(f"pairs={tmp_path / 'own'}",), unlabelled=()
    )
    reports = []
    bank = pack(replace(options, skip_bad=True, validation_share=0.5, seed=0), report=reports.append)
    aside = bank.about["set_aside"]
    assert "student-100k" in bank.about["left_out"]["b"] and any("  b: the mask is not the liver" in r for r in reports)
    assert aside["msd_liver_02"].startswith("of the data folder") and aside["msd_liver_05"].startswith("held out")
    assert [record.name for record in bank.records] == ["a"]
    assert aside["c"] == "for validation, see scans-split.json"
    assert "Not trained on, for validation, see scans-split.json: c" in reports
    assert "1 unusable and" in reports[-1]
    assert "too, so that no copy of them under another name is trained on: msd_liver_05" in reports[0]


def own(folder, source, name, labels=True):
    """A data set of one CT, a file of the data folder `source` under another name."""
    write = folder / "images" / f"{name}.nii.gz", folder / "labels" / f"{name}.nii.gz"
    for file, ending in zip(write, ("", "_liver")[: 1 + labels], strict=False):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.with_name(f"{source.name}{ending}.nii.gz"), file)
    return (f"pairs={folder}",) if labels else (f"unlabelled={folder / 'images'}",)


@pytest.fixture
def beside(packed, tmp_path):
    """The options to pack a data set of `own` beside the data folder."""
    return replace(packed, output=tmp_path / "scans", unlabelled=(), validation_share=0.0)


@pytest.mark.parametrize("source", ["msd_liver_05", "msd_liver_02"])
@pytest.mark.parametrize("labels", [True, False])
def test_a_ct_of_ones_own_that_is_called_as_a_held_out_case_is_refused(beside, tmp_path, source, labels):
    """Whether it is the held-out case, or another CT that has its name."""
    datasets = own(tmp_path / "own", beside.data / "ct" / source, "msd_liver_05", labels)
    with pytest.raises(UserError, match=r"have one name: msd_liver_05 \(.*Rename the files of the data set"):
        pack(replace(beside, datasets=datasets), report=str)
    assert not list(tmp_path.glob("scans*"))


def test_a_held_out_case_of_another_name_is_refused(beside, tmp_path):
    datasets = own(tmp_path / "own", beside.data / "ct" / "msd_liver_05", "mine")
    with pytest.raises(UserError, match=r"two parts of the split: mine \(train\) = msd_liver_05 \(validation\)"):
        pack(replace(beside, datasets=datasets), report=str)
    assert not list(tmp_path.glob("scans*"))


def test_a_ct_of_ones_own_may_be_called_as_one_that_is_not_read(beside, tmp_path):
    datasets = own(tmp_path / "own", beside.data / "ct" / "msd_liver_07", "msd_liver_02")
    bank = pack(replace(beside, datasets=datasets), report=str)
    assert [(record.name, record.weight) for record in bank.records] == [("msd_liver_02", 1.0)]
    assert set(bank.about["set_aside"]) == {"msd_liver_05", "msd_liver_06", "msd_liver_07", "tcga_ov_09_2043"}


def test_cts_that_are_not_packed_are_prepared_only_to_be_compared_with_others(packed, tmp_path):
    """Without a CT to pack there is nothing to compare them with."""
    reports = []
    left = replace(packed, output=tmp_path / "scans", cache=tmp_path / "cache", unlabelled=())
    everything = ("msd_liver_02", "msd_liver_06", "msd_liver_07", "tcga_ov_09_2043")
    with pytest.raises(UserError, match="no real CT to pack"):
        pack(replace(left, exclude=everything), report=reports.append)
    assert not (tmp_path / "cache").exists() and not any("prepared" in line for line in reports)


def test_it_is_on_the_card_and_made_again_by_its_command(packed, monkeypatch):
    contents = {record.name: record.content[:16] for record in ScanBank(packed.output).records}
    known = {name: entry | {"content": contents.get(name, "")} for name, entry in provenance.known().items()}
    monkeypatch.setattr(provenance, "known", lambda: known)
    about = provenance.describe_bank(packed.output)
    assert (about["scans"], about["patients"]) == (4, 3) and "4 whole CTs of 3 patients" in model_card.bank_line(about)
    name, again = parse(shlex.split(about["command"])[3:])
    assert name == "pack" and again == replace(packed, data=None, cache=Pack().cache, output=again.output, workers=2)
    made = {source["name"]: source["label"] for source in provenance.sources([packed.output])}
    assert made["msd_liver_02"] == "expert" and made["tcga_ov_09_2043"].startswith("none")
    assert reproduce.bank_commands(about) == [about["command"]]


def test_what_is_there_is_left_alone(packed):
    before = (packed.output / "scans.json").read_bytes()
    with pytest.raises(UserError, match="is there already"):
        pack(packed, report=str)
    assert (packed.output / "scans.json").read_bytes() == before


def test_without_any_ct_the_command_says_what_is_needed(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    assert main(["pack", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "scans")]) == 2
    assert "no real CT to pack" in capsys.readouterr().err and not (tmp_path / "scans").exists()


def test_labels_of_another_origin_are_refused(packed, tmp_path):
    (tmp_path / "labels").mkdir()
    with pytest.raises(UserError, match="--labels"):
        pack(replace(packed, output=tmp_path / "scans", labels=tmp_path / "labels"), report=str)
    assert not (tmp_path / "scans").exists() and json.loads((packed.output / "scans.json").read_text())["config"]
