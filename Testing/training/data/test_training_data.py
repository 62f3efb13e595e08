"""Banks and scans as one sequence of volumes, and the scan bank on disk."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from support.training_fixtures import SHAPE, makeBank, makeScans
from training.data import scan_bank
from training.data.bank import BankError
from training.data.batches import Batches
from training.data.scan_bank import ScanBank
from training.data.training_data import TrainingData
from training.options import Config, DataSettings, LoopSettings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return makeBank(folder / "bank"), makeScans(folder / "scans")


def settings(folders, **changes) -> DataSettings:
    bank, scans = folders
    return dataclasses.replace(DataSettings(bank=(bank,), scans=scans, window=SHAPE), **changes)


def test_the_bank_holds_what_was_stored(folders):
    bank = ScanBank(folders[1])
    assert [record.name for record in bank.records] == ["one", "two", "three"]
    image, label = bank.arrays(0)
    assert image.dtype == np.uint8 and label.max() == 255 and bank.arrays(2)[1] is None
    assert bank.records[2].liver is None and bank.records[0].liver == (7.5, 7.5, 11.5)


def test_scans_and_banks_have_their_shares_in_every_stretch(folders):
    data = TrainingData(settings(folders, scan_share=0.6))
    labels = [data.volume(position, 0, CPU) for position in range(10)]
    assert [label.shape for _, label, _ in labels] == [SHAPE] * 10
    drawn = [int((position + 1) * 0.6) - int(position * 0.6) for position in range(10)]
    assert sum(drawn) == 6 and data.share == 0.6
    stored = TrainingData(settings(folders, scans=None))
    # every stored volume still comes once an epoch: the four of the first ten positions are its first four
    from_bank = [position for position, scan in enumerate(drawn) if not scan]
    for place, position in enumerate(from_bank):
        assert labels[position][2] == stored.volume(place, 0, CPU)[2]


def test_scans_alone_need_no_bank(folders):
    data = TrainingData(settings(folders, bank=()))
    assert data.share == 1.0 and data.shape == SHAPE and data.sources == {"one", "two", "three"}
    labelled = {data.volume(position, 0, CPU)[2] for position in range(12)}
    assert labelled == {True, False}


def test_a_patient_that_is_left_out_is_never_drawn(folders):
    data = TrainingData(settings(folders, bank=(), leave_out=("b",)))
    assert data.sources == {"one"} and all(data.volume(position, 0, CPU)[2] for position in range(8))


def drawn(data, count, monkeypatch):
    """Numbers of the scans of which the first views are."""
    numbers = []
    arrays = ScanBank.arrays
    monkeypatch.setattr(ScanBank, "arrays", lambda bank, number: (numbers.append(number), arrays(bank, number))[1])
    for position in range(count):
        data.volume(position, 0, CPU)
    return numbers


def test_scans_of_equal_weight_take_turns_so_that_every_one_is_seen(folders, tmp_path, monkeypatch):
    scans = shutil.copytree(folders[1], tmp_path / "scans")
    about = json.loads((scans / "scans.json").read_text())
    for record in about["scans"]:
        record["weight"] = 1.0
    (scans / "scans.json").write_text(json.dumps(about))
    numbers = drawn(TrainingData(settings((folders[0], scans), bank=())), 9, monkeypatch)
    assert [set(numbers[n : n + 3]) for n in (0, 3, 6)] == [{0, 1, 2}] * 3


def test_scans_of_other_weights_are_drawn_by_them(folders, tmp_path, monkeypatch):
    scans = shutil.copytree(folders[1], tmp_path / "scans")
    about = json.loads((scans / "scans.json").read_text())
    for record, weight in zip(about["scans"], (20.0, 1.0, 1.0)):
        record["weight"] = weight
    (scans / "scans.json").write_text(json.dumps(about))
    assert drawn(TrainingData(settings((folders[0], scans), bank=())), 12, monkeypatch).count(0) > 8


def test_batches_depend_on_seed_and_step_alone(folders):
    config = Config(data=settings(folders), loop=LoopSettings(batch=4))
    first, again = (Batches(config, 0, 1).at(3) for _ in range(2))
    assert torch.equal(first.image, again.image) and torch.equal(first.label, again.label)
    halves = [Batches(config, rank, 2).at(3).image for rank in range(2)]
    assert torch.equal(first.image[0::2], halves[0]) and torch.equal(first.image[1::2], halves[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bank": (), "scans": None}, "nothing to train on"),
        ({"leave_out": ("z",)}, "--leave-out names z; the patients are a, b"),
        ({"leave_out": ("a", "b")}, "Every patient"),
        ({"window": (16, 16, 16)}, "differ in voxels"),
        ({"spacing_mm": 4.0}, "cells of 2.5 mm and the settings 4.0 mm"),
        ({"spacing_mm": 4.0, "scans": None}, "set --spacing-mm"),
        ({"scans": Path("nowhere")}, "python -m training pack"),
    ],
)
def test_data_that_do_not_fit_are_refused(folders, changes, message):
    with pytest.raises(BankError, match=message):
        TrainingData(settings(folders, **changes))


def test_what_is_there_is_not_replaced(folders):
    with pytest.raises(BankError, match="there already"):
        scan_bank.write(folders[1], iter(()), {"spacing_mm": 2.0, "hu_window": [-160, 240]})


def test_a_failure_leaves_no_half_bank(tmp_path):
    def scans():
        yield from ()
        raise OSError(28, "No space left on device")

    with pytest.raises(BankError, match="No space left"):
        scan_bank.write(tmp_path / "scans", scans(), {"spacing_mm": 2.0, "hu_window": [-160, 240]})
    assert list(tmp_path.iterdir()) == []


def test_another_format_and_a_missing_array_are_named(tmp_path):
    folder = makeScans(tmp_path / "scans")
    (folder / "two-image.npy").unlink()
    with pytest.raises(BankError, match=r"two-image\.npy"):
        ScanBank(folder).arrays(1)
    index = json.loads((folder / "scans.json").read_text())
    (folder / "scans.json").write_text(json.dumps(index | {"format": "other"}))
    with pytest.raises(BankError, match="'other'"):
        ScanBank(folder)


@pytest.mark.parametrize(
    "names",
    [("one-image.npy", "two-image.npy"), ("one-label.npy", "one-image.npy"), ("one-label.npy", "three-image.npy")],
)
def test_arrays_that_were_exchanged_are_never_trained_on(tmp_path, names):
    folder = makeScans(tmp_path / "scans")
    first, second = (folder / name for name in names)
    before = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(before)
    data = TrainingData(DataSettings(bank=(), scans=folder, window=SHAPE))
    with pytest.raises(BankError, match="is not the scan that was packed"):
        for position in range(6):
            data.volume(position, 0, CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"spacing_mm": -2.0},
        {"spacing_mm": "two"},
        {"spacing_mm": 0},
        {"hu_window": [1]},
        {"scans": []},
        {"scans": [{"name": "one"}]},
        {"scans": 5},
    ],
)
def test_an_index_that_was_changed_is_refused(tmp_path, change):
    folder = makeScans(tmp_path / "scans")
    index = json.loads((folder / "scans.json").read_text())
    (folder / "scans.json").write_text(json.dumps(index | change))
    with pytest.raises(BankError, match=r"scans\.json was changed or is damaged"):
        ScanBank(folder)


def test_two_scans_of_one_name_are_refused(tmp_path):
    """They have one file."""
    folder = makeScans(tmp_path / "scans")
    text = (folder / "scans.json").read_text()
    (folder / "scans.json").write_text(text.replace('"name": "two"', '"name": "one"'))
    with pytest.raises(BankError, match="two scans have one name"):
        ScanBank(folder)


@pytest.mark.parametrize("weight", [0, -1.0, "much", float("nan")])
def test_a_weight_that_is_none_is_refused(tmp_path, weight):
    folder = makeScans(tmp_path / "scans")
    index = json.loads((folder / "scans.json").read_text())
    index["scans"][0]["weight"] = weight
    (folder / "scans.json").write_text(json.dumps(index))
    with pytest.raises(BankError, match=r"changed or is damaged|NaN, which is no JSON"):
        ScanBank(folder)


def test_labelled_only_draws_nothing_without_a_label(folders):
    data = TrainingData(settings(folders, labelled_only=True))
    assert all(data.volume(position, 0, CPU)[2] for position in range(12))
