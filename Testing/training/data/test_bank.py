"""The bank: what is written is read, while it grows, after a kill, and never a wrong file."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from support.full_disk import fullDisk
from training.data.bank import Bank, BankError
from training.data.joined import Joined

SHAPE = (4, 6, 8)
ABOUT = {"source": "a", "kind": "synthetic"}


@pytest.fixture
def bank(tmp_path):
    return Bank.create(tmp_path / "bank", 5, SHAPE, {"spacing_mm": 3.0})


def volume(seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, SHAPE).astype(np.float32), rng.uniform(0, 1, SHAPE).astype(np.float32)


def test_what_is_written_is_read_to_half_a_step(bank):
    image, label = volume(0)
    bank.write(3, image, label, {"labelled": True, **ABOUT})
    read_image, read_label, labelled = bank[0]
    assert read_image.dtype == read_label.dtype == np.float32
    assert np.abs(read_image - image).max() <= 0.5 / 127.5 + 1e-6
    assert np.abs(read_label - label).max() <= 0.5 / 255 + 1e-6
    assert labelled is True
    assert bank.record(0) == {"i": 3, "labelled": True, **ABOUT}


def test_air_and_full_liver_are_exact(bank):
    bank.write(0, np.full(SHAPE, -1.0), np.ones(SHAPE), {"labelled": False, **ABOUT})
    image, label, labelled = bank[0]
    assert (image == -1).all() and (label == 1).all() and labelled is False


def test_values_out_of_range_are_clipped_not_wrapped(bank):
    bank.write(0, np.full(SHAPE, 1.7), np.full(SHAPE, -0.2), {"labelled": True, **ABOUT})
    image, label, _ = bank[0]
    assert (image == 1).all() and (label == 0).all()


def test_length_is_what_is_finished_and_a_reader_sees_it_grow(bank):
    reader = Bank.open(bank.path)
    assert len(reader) == 0 and not reader.done(2)
    bank.write(2, *volume(1), {"labelled": True, **ABOUT})
    assert reader.refresh() == 1 and reader.done(2)
    assert np.array_equal(reader[0][0], bank[0][0])


def test_a_torn_last_line_loses_that_volume_only(bank):
    bank.write(0, *volume(0), {"labelled": True, **ABOUT})
    with (bank.path / "index.jsonl").open("a") as file:
        file.write('{"i": 1, "labell')
    reader = Bank.open(bank.path)
    assert len(reader) == 1 and not reader.done(1)


def test_a_line_after_a_torn_one_is_not_lost(bank):
    with (bank.path / "index.jsonl").open("a") as file:
        file.write('{"i": 1, "labell')
    again = Bank.open(bank.path, writable=True)
    again.write(1, *volume(1), {"labelled": True, **ABOUT})
    assert Bank.open(bank.path).done(1)


@pytest.mark.slow
def test_processes_write_side_by_side(bank, tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path; from training.data.bank import Bank\n"
        "b = Bank.open(Path(sys.argv[1]), writable=True)\n"
        "for n in map(int, sys.argv[2:]):\n"
        "    full = np.full(b.shape, n / 10)\n"
        "    b.write(n, full, full, {'labelled': True, 'source': 'a', 'kind': 'real', 'pad': 'x' * 5000})\n"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(bank.path), *numbers], env=_environment())
        for numbers in (("0", "2", "4"), ("1", "3"))
    ]
    assert [job.wait() for job in jobs] == [0, 0]
    assert bank.refresh() == 5
    assert [round(float(label.mean()), 1) for _, label, _ in bank] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_no_bank_is_reported_clearly(tmp_path):
    with pytest.raises(BankError, match="is not a bank"):
        Bank.open(tmp_path)


@pytest.mark.parametrize("meta, message", [({"format": "other"}, "format"), ({"count": 6}, "not what bank.json says")])
def test_a_bank_that_does_not_fit_its_description_is_refused(bank, meta, message):
    path = bank.path / "bank.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | meta))
    with pytest.raises(BankError, match=message):
        Bank.open(bank.path)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        40_000 * "[",
        '{"format": "livergtan-bank/1"}',
        '{"format": "livergtan-bank/1", "count": "3", "shape": [1, 2, 3]}',
        '{"format": "livergtan-bank/1", "count": 3, "shape": [1, null, 3]}',
        '{"format": "livergtan-bank/1", "count": 1' + 5000 * "0" + "}",
        b"\xff\xfe",
    ],
)
def test_a_broken_description_is_refused_in_a_sentence(bank, text):
    (bank.path / "bank.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BankError) as refused:
        Bank.open(bank.path)
    assert "anew" in str(refused.value) or "synthesize" in str(refused.value)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("line", ["[]", "3", '{"i": 9}', '{"i": "0"}', '{"i": 0, "source": 3, "kind": "real"}'])
def test_a_line_that_is_no_record_is_named(bank, line):
    (bank.path / "index.jsonl").write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(BankError, match="line 2, is no record"):
        Bank.open(bank.path)


def test_a_bank_that_is_not_as_it_was_sealed_is_refused(bank, caplog):
    bank.write(0, *volume(0), {"labelled": True, **ABOUT})
    bank.require_unchanged()
    assert "no digest" in caplog.text
    bank.seal()
    Bank.open(bank.path).require_unchanged()
    labels = np.load(bank.path / "labels.npy", mmap_mode="r+")
    labels[0, 0, 0, 0] ^= 255
    labels.flush()
    os.utime(bank.path / "labels.npy")
    with pytest.raises(BankError, match="is not as it was made"):
        Bank.open(bank.path).require_unchanged()


def test_a_truncated_array_is_refused(bank):
    with (bank.path / "images.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(BankError, match=r"images\.npy"):
        Bank.open(bank.path)


def test_a_full_disk_is_reported_at_once_and_leaves_no_array(tmp_path):
    """A limit on the size of files stands for the full disk: the system refuses the reservation in the same way."""
    with fullDisk(100_000), pytest.raises(BankError, match="No room for a bank of"):
        Bank.create(tmp_path / "bank", 1000, SHAPE, {})
    assert not (tmp_path / "bank" / "images.npy").exists()


def test_a_disk_that_is_full_after_the_arrays_leaves_no_file_either(tmp_path):
    """Else the next run would take them for a bank that lost its description."""
    with fullDisk(2000), pytest.raises(BankError, match=r"No room for a bank of .* \(File too large\)"):
        Bank.create(tmp_path / "bank", 1, SHAPE, {"notes": 2000 * "x"})
    assert not list((tmp_path / "bank").iterdir())
    Bank.create(tmp_path / "bank", 1, SHAPE, {})


def test_reading_cannot_change_a_bank(bank):
    with pytest.raises(ValueError, match="read-only"):
        Bank.open(bank.path).write(0, *volume(0), {"labelled": True, **ABOUT})


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": "."}


def test_joined_banks_are_one_sequence_and_must_share_a_grid(tmp_path):
    first, second = (Bank.create(tmp_path / name, 3, SHAPE, {"spacing_mm": 3.0}) for name in ("first", "second"))
    for bank, level in ((first, 0.2), (second, 0.6)):
        for number in (0, 2):  # one volume is missing in each
            bank.write(
                number,
                np.zeros(SHAPE),
                np.full(SHAPE, level),
                {"source": f"{bank.path.name}-{number}", "kind": "real", "labelled": True},
            )
    joined = Joined((first.path, second.path))
    assert len(joined) == 4
    assert [joined.record(n)["source"] for n in range(4)] == ["first-0", "first-2", "second-0", "second-2"]
    assert [round(float(joined[n][1].mean()), 1) for n in range(4)] == [0.2, 0.2, 0.6, 0.6]
    with pytest.raises(IndexError):
        joined[4]
    Bank.create(tmp_path / "coarse", 1, SHAPE, {"spacing_mm": 4.0})
    with pytest.raises(BankError, match="spacing_mm"):
        Joined((first.path, tmp_path / "coarse"))
    Bank.create(tmp_path / "empty", 1, SHAPE, {"spacing_mm": 3.0})
    with pytest.raises(BankError, match="not hold a finished volume"):
        Joined((first.path, tmp_path / "empty"))
    with pytest.raises(BankError, match="--bank"):
        Joined(())
