"""Checkpoints and single networks, damaged or made to mislead: refused with a sentence, or what was written."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from support.training_fixtures import makeBank, noValidation, smallConfig, takeSteps
from training.errors import UserError
from training.fit import checkpoint, loop, machine, methods, network_file


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    config = smallConfig(makeBank(tmp_path_factory.mktemp("bank") / "bank"), steps=1)
    task = methods.supervised("student", (2, 3), config)
    return loop.fit(task, config, tmp_path_factory.mktemp("run"), noValidation)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> Path:
    config = smallConfig(makeBank(tmp_path_factory.mktemp("bank") / "bank"), steps=2)
    file = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    run = loop.TrainingRun(methods.supervised("student", (2, 3), config), config, machine.start(config), file)
    takeSteps(run, 1)
    run.save()
    return file


@pytest.fixture(scope="module")
def networkFile(trained, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "student.safetensors"
    network_file.write(file, checkpoint.read(trained), "student", {"case": 0.5})
    return file


def refusal(file: Path, read=checkpoint.read) -> str:
    with pytest.raises(UserError) as error:
        read(file)
    sentence = str(error.value)
    assert file.name in sentence and len(sentence) < 500 + len(str(file))
    return sentence


def saved(tmp_path: Path, content) -> Path:
    torch.save(content, tmp_path / "changed.pt")
    return tmp_path / "changed.pt"


def test_the_digest_is_that_of_the_content_and_not_handed_on(trained):
    stored, content = torch.load(trained, weights_only=True), checkpoint.read(trained)
    assert stored.pop("digest") == checkpoint.digest(content) == checkpoint.digest(stored)
    assert "digest" not in content


@pytest.mark.parametrize("fixture", ["trained", "networkFile"])
def test_any_flipped_byte_is_refused_or_changes_nothing(fixture, request, tmp_path):
    source = request.getfixturevalue(fixture)
    before, data = checkpoint.digest(checkpoint.read(source)), source.read_bytes()
    rng, file = np.random.default_rng(0), tmp_path / f"changed{source.suffix}"
    refused = 0
    for place in rng.integers(0, len(data), 80):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        try:
            assert checkpoint.digest(checkpoint.read(file)) == before
        except UserError as error:
            assert len(str(error)) < 500 + len(str(file))
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("fixture", ["trained", "networkFile"])
def test_a_cut_file_is_refused(fixture, request, tmp_path, share):
    source = request.getfixturevalue(fixture)
    file = tmp_path / f"cut{source.suffix}"
    file.write_bytes(source.read_bytes()[: int(share * source.stat().st_size)])
    refusal(file)


@pytest.mark.parametrize("name", checkpoint.PARTS)
def test_missing_and_odd_parts_are_named(trained, tmp_path, name):
    content = checkpoint.read(trained)
    assert name in refusal(saved(tmp_path, content | {name: b"bytes" if name == "nets" else 1.5})) or name == "nets"
    del content[name]
    if name != "start":  # None, when a run began from random weights
        assert name in refusal(saved(tmp_path, content))


@pytest.mark.parametrize(
    "change",
    [
        {"widths": (2, 4)},
        {"widths": (10**9, 10**9)},
        {"widths": (2,)},
        {"widths": None},
        {"widths": (2, "3")},
        {"stem": 10**6},
        {"stem": "2"},
        {"average": {}},
        {"average": None},
        {"average": {"stem.0.weight": 3}},
    ],
    ids=str,
)
def test_a_network_that_is_none_is_refused_before_room_is_made(trained, tmp_path, change):
    content = checkpoint.read(trained)
    content["nets"]["student"] |= change
    assert "nets.student" in refusal(saved(tmp_path, content), checkpoint.network)


def test_weights_that_are_no_numbers_are_refused(trained, tmp_path):
    content = checkpoint.read(trained)
    content["nets"]["student"]["average"]["head.weight"].fill_(float("nan"))
    assert "nets.student" in refusal(saved(tmp_path, content))


@pytest.mark.parametrize("part", ["weights", "optimizer", "optimizer_start_step", "growths"])
@pytest.mark.parametrize("value", [None, {}, "text"])
def test_a_run_is_not_resumed_from_parts_that_do_not_fit(interrupted, tmp_path, part, value):
    content = checkpoint.read(interrupted)
    content["nets"]["student"][part] = value
    if value == {} and part == "growths":
        del content["nets"]["student"][part]
    bank = Path(content["settings"]["data"]["bank"][0])
    config = smallConfig(bank, steps=2)
    file = tmp_path / "checkpoint.pt"
    torch.save(content, file)
    task = methods.supervised("student", (2, 3), config)
    if (part, value) == ("growths", "text"):
        return  # a text is a list of letters; nothing is made of them
    with pytest.raises(UserError, match="cannot be resumed"):
        loop.fit(task, config, tmp_path, noValidation)


def test_a_finished_run_holds_the_average_alone(trained, interrupted):
    finished, resumable = (checkpoint.read(file)["nets"]["student"] for file in (trained, interrupted))
    assert resumable["optimizer"]["state"] and not finished["optimizer"]
    assert all(finished["weights"][name] is value for name, value in finished["average"].items())
    assert trained.stat().st_size < interrupted.stat().st_size


def test_a_file_that_was_written_before_digests_is_read_and_a_wrong_digest_refused(trained, tmp_path):
    content = checkpoint.read(trained)
    assert checkpoint.digest(checkpoint.read(saved(tmp_path, content))) == checkpoint.digest(content)
    stale = content | {"digest": checkpoint.digest(content), "step": content["step"] + 1}
    assert "digest differs" in refusal(saved(tmp_path, stale))


# Made to mislead


def repacked(source: Path, target: Path, compression: int, extra: bytes = b"") -> Path:
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w", compression) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name) + (extra if name.endswith("data/0") else b""))
    return target


def test_packed_members_are_refused_unread(trained, tmp_path):
    file = repacked(trained, tmp_path / "bomb.pt", zipfile.ZIP_DEFLATED, bytes(50_000_000))
    assert file.stat().st_size < 1_000_000
    assert "packed or encrypted" in refusal(file)


def test_members_that_lie_over_each_other_are_refused(trained, tmp_path):
    data = bytearray(repacked(trained, tmp_path / "a.pt", zipfile.ZIP_STORED).read_bytes())
    first = data.index(b"PK\x01\x02")
    sizes = struct.pack("<II", len(data) - 1, len(data) - 1)
    data[first + 20 : first + 28] = sizes
    (tmp_path / "a.pt").write_bytes(data)
    assert "over each other" in refusal(tmp_path / "a.pt")


class Harm:
    def __reduce__(self):
        return (print, ("this must not run",))


def laughs(levels: int) -> list:
    """Little to store, 2 to the power of levels to look at."""
    value: list = [0]
    for _ in range(levels):
        value = [value, value]
    return value


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "content",
    [
        Harm(),
        {"format": checkpoint.FORMAT, "nets": Harm()},
        {"format": checkpoint.FORMAT, "x": laughs(25)},
        {"format": checkpoint.FORMAT, "x": nested(200)},
        {"format": checkpoint.FORMAT, "x": torch.zeros(1).expand(10**10)},
        {"format": checkpoint.FORMAT, "x": torch.zeros(3, device="meta")},
        {"format": checkpoint.FORMAT, "x": torch.eye(3).to_sparse()},
        {"format": "x" * 10_000},
        {"format": checkpoint.FORMAT},
        [1, 2, 3],
        torch.zeros(3),
        "text",
        None,
    ],
    ids=["code", "code inside", "doubled", "nested", "expanded", "meta", "sparse", "long", "nothing", *"ltsn"],
)
def test_other_contents_are_refused(tmp_path, capsys, content):
    refusal(saved(tmp_path, content))
    assert "must not run" not in capsys.readouterr().out


def test_other_formats_are_refused(trained, tmp_path):
    torch.save(checkpoint.read(trained), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"format": checkpoint.FORMAT}))
    for name in ("old.pt", "pickle.pt"):
        assert "cannot be read" in refusal(tmp_path / name)


# Single networks


def rewritten(source: Path, target: Path, change) -> Path:
    """The file with another header: change gets it as a dict and returns one, or bytes."""
    data = source.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = change(json.loads(data[8 : 8 + length]))
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return target


def about(change):
    """A change of the record in the metadata, which then has no digest, as those of earlier versions."""

    def changed(header):
        content = json.loads(header["__metadata__"]["livergtan"])
        del content["sha256"]
        change(content)
        return header | {"__metadata__": {"livergtan": json.dumps(content)}}

    return changed


def offsets(begin: int, end: int):
    return lambda header: header | {"head.weight": header["head.weight"] | {"data_offsets": [begin, end]}}


@pytest.mark.parametrize(
    "change",
    [
        lambda header: b"[" * 100_000,
        lambda header: b"{}",
        lambda header: b" " * 2**21,
        lambda header: header | {"__metadata__": {}},
        lambda header: header | {"__metadata__": {"livergtan": "[" * 100_000}},
        lambda header: header | {"__metadata__": {"livergtan": '{"step": ' + "9" * 10_000 + "}"}},
        lambda header: header | {"__metadata__": {"livergtan": '{"step": NaN}'}},
        lambda header: header | {"__metadata__": {"livergtan": "[]"}},
        about(lambda content: content.update(sha256="0" * 64)),
        lambda header: header | {"head.weight": header["head.weight"] | {"dtype": "F32"}},
        lambda header: header | {"head.weight": header["head.weight"] | {"shape": [2**62, 2**62]}},
        lambda header: {("a" * 500_000 if name == "head.weight" else name): one for name, one in header.items()},
        offsets(0, 32),
        offsets(2**40, 2**40 + 32),
        offsets(32, 0),
        about(lambda content: content.pop("role")),
        about(lambda content: content.pop("sizes")),
        about(lambda content: content.pop("settings")),
        about(lambda content: content.update(sizes=5)),
        about(lambda content: content.update(role=["student"])),
        about(lambda content: content.update(sizes={"widths": [2, 4], "stem": 2})),
        about(lambda content: content.update(sizes={"widths": [10**9] * 6, "stem": 2})),
        about(lambda content: content.update(format="livergtan-checkpoint/1")),
        about(lambda content: content.update(step="three")),
    ],
    ids=range(24),
)
def test_headers_that_lie_are_refused(networkFile, tmp_path, change):
    refusal(rewritten(networkFile, tmp_path / "changed.safetensors", change), checkpoint.network)


@pytest.mark.parametrize("length", [2**20 + 1, 2**40, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused_before_it_is_read(networkFile, tmp_path, length):
    file = tmp_path / "changed.safetensors"
    file.write_bytes(struct.pack("<Q", length) + networkFile.read_bytes()[8:])
    assert "larger than any network" in refusal(file)


def test_a_network_that_was_written_before_digests_is_read(networkFile, tmp_path):
    file = rewritten(networkFile, tmp_path / "changed.safetensors", about(lambda content: None))
    assert checkpoint.network_digest(file) == checkpoint.network_digest(networkFile)
