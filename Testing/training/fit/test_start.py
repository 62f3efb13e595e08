"""What `--start` takes: checkpoints and student files, widened where they are narrower."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from support.training_fixtures import makeBank, smallConfig
from training.errors import UserError
from training.fit import checkpoint, start
from training.model import folding
from training.model.nets import UNet3D
from training.release import export


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(bank, student file, its network)."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(1)
    net = UNet3D((2, 3, 4)).eval()
    export.write(net, folder / "tiny.npz", folding.card("tiny", net, 3.0, (-160.0, 240.0)))
    return makeBank(folder / "bank"), folder / "tiny.npz", net


def configured(files):
    config = smallConfig(files[0])
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, start=files[1]))


@pytest.mark.parametrize("widths", [(2, 3, 4), (3, 5, 6)])
def test_a_student_file_is_gone_on_with(files, widths):
    image = np.random.default_rng(0).uniform(-1, 1, (16, 16, 24)).astype(np.float32)
    net = start.initial_network(widths, configured(files))
    assert net.widths == widths and net.training
    difference = np.abs(folding.forward(net, image) - folding.forward(files[2], image)).max()
    assert difference < 0.05  # float16, and the noise that makes copies differ


def test_its_digest_is_that_of_the_file(files):
    assert len(start.digest(files[1])) == 64


def test_a_wider_start_is_refused(files):
    with pytest.raises(UserError, match=r"cannot be the start: .*Give at least its widths .*--student-widths \d"):
        start.initial_network((2, 2, 2), configured(files))


def test_a_file_that_is_not_there_is_named(files, tmp_path):
    with pytest.raises(UserError, match="none"):
        start.network(tmp_path / "none.npz", configured(files))


def test_a_bundled_students_name_is_answered_with_its_file(files):
    with pytest.raises(UserError, match=r"give its file, --start .*student-30k\.json"):
        start.network(Path("student-30k"), configured(files))


def test_a_run_finds_what_it_began_from_when_another_student_took_its_place(files, tmp_path):
    named, run = tmp_path / "bundled.npz", tmp_path / "run"
    for suffix in checkpoint.STUDENT_SUFFIXES:
        shutil.copy(files[1].with_suffix(suffix), named.with_suffix(suffix))
    content = {"start": start.digest(named), "settings": {"loop": {"start": str(named)}}}
    start.keep_copy(named, run)
    assert start.of_run(run / "checkpoint.pt", content) == named
    named.with_suffix(".json").unlink()
    assert start.of_run(run / "checkpoint.pt", content) == run / "start.json"
    assert start.digest(run / "start.json") == content["start"]
    (run / "start.json").unlink()
    with pytest.raises(UserError, match=r"put it beside the checkpoint as start\.npz"):
        start.of_run(run / "checkpoint.pt", content)
    assert start.of_run(run / "checkpoint.pt", {"start": None}) is None
