"""A folder goes on with the run that it holds, and with no other: every difference is named."""

import dataclasses
import shutil

import numpy as np
import pytest

from support.training_fixtures import logged, makeBank, noValidation, options, smallConfig, takeSteps
from training.__main__ import main
from training.command_line import plain
from training.data.bank import Bank
from training.errors import UserError
from training.fit import checkpoint, loop, methods, start
from training.fit.run_record import Averaging, GrowthStep, MethodRecord
from training.model.nets import UNet3D

WIDTHS = (2, 3)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return makeBank(tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def teachers():
    """Two networks of one size that differ in weights."""
    return [start.initial_network((3, 5), smallConfig("none", seed=seed)).eval() for seed in (0, 1)]


@pytest.fixture
def run(bank, teachers, tmp_path):
    """The folder of a KD run, and a function that goes on with it after changes."""
    folder, config = tmp_path / "run", smallConfig(bank, steps=2)

    def goOn(config, stage="kd", widths=WIDTHS, teacher=teachers[0]):
        return loop.fit(methods.kd(stage, widths, [teacher], config), config, folder, noValidation)

    goOn(config)
    return folder, config, goOn


def changed(config, part, **values):
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **values)})


@pytest.mark.parametrize(
    ("part", "values", "named"),
    [
        ("loop", {"steps": 6}, "loop.steps: 2 -> 6"),
        ("loop", {"seed": 3}, "loop.seed: 0 -> 3"),
        ("loop", {"rate": 0.5}, "loop.rate: 0.004 -> 0.5"),
        ("distill", {"loss": "dist"}, "distill.loss: kl -> dist"),
        ("distill", {"temperature": 3.0}, "distill.temperature: None -> 3.0"),
        ("growth", {"grow_at": (0.1,)}, r"growth.grow_at: \[0.25, 0.5\] -> \[0.1\]"),
        ("machine", {"precision": "bf16-mixed"}, "precision: 32-true -> bf16-mixed"),
    ],
)
def test_a_run_of_other_settings_is_refused(run, part, values, named):
    folder, config, goOn = run
    before = (folder / "checkpoint.pt").read_bytes()
    with pytest.raises(UserError, match=rf"checkpoint\.pt belongs to another run \({named}\); give the settings"):
        goOn(changed(config, part, **values))
    assert (folder / "checkpoint.pt").read_bytes() == before


def test_every_difference_is_named_at_once(run, teachers):
    _, config, goOn = run
    with pytest.raises(UserError) as refused:
        goOn(
            changed(changed(config, "loop", steps=4, seed=1), "data", validation=("a=b",)), "takd", (2, 4), teachers[1]
        )
    text = str(refused.value)
    for name in ("stage: kd -> takd", "student.widths: [2, 3] -> [2, 4]", "loop.steps", "loop.seed", "data.validation"):
        assert name in text
    assert "teacher0: widths [3, 5], SHA-256 " in text


def test_other_data_are_refused_and_the_same_data_elsewhere_are_not(run, bank, tmp_path):
    _, config, goOn = run
    copied = shutil.copytree(bank, tmp_path / "copy")
    goOn(changed(config, "data", bank=(copied,)))
    writable = Bank.open(copied, writable=True)
    writable.labels[2] = np.flip(writable.labels[2], 0)
    writable.labels.flush()
    with pytest.raises(UserError, match=r"bank 1: 6 volumes, SHA-256 \w{16} -> 6 volumes, SHA-256 \w{16}"):
        goOn(changed(config, "data", bank=(copied,)))


def test_what_leaves_the_weights_alone_may_differ(bank, tmp_path):
    config = smallConfig(bank, steps=4)
    loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path / "whole", noValidation)
    task, fabric = methods.supervised("student", WIDTHS, config), loop.machine.start(config)
    run = loop.TrainingRun(task, config, fabric, tmp_path / "parts" / "checkpoint.pt")
    takeSteps(run, 2)
    run.save()
    other = changed(config, "loop", log_every=2, validate_every=3, checkpoint_seconds=0.0, deterministic=True)
    other = changed(other, "machine", threads=2)
    whole, parts = (
        checkpoint.read(file)["nets"]["student"]["average"]
        for file in (
            tmp_path / "whole" / "checkpoint.pt",
            loop.fit(methods.supervised("student", WIDTHS, other), other, tmp_path / "parts", noValidation),
        )
    )
    for name, value in whole.items():
        assert np.allclose(value, parts[name], atol=1e-4), name


def test_the_start_is_known_by_its_network_not_by_its_place(bank, tmp_path):
    first, second = smallConfig(bank, steps=1), smallConfig(bank, steps=1, seed=1)
    starts = [
        loop.fit(methods.supervised("student", WIDTHS, one), one, tmp_path / str(number), noValidation)
        for number, one in enumerate((first, second))
    ]

    def goOn(start):
        config = smallConfig(bank, steps=2, start=start)
        return loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path / "run", noValidation)

    goOn(starts[0])
    goOn(shutil.copy(starts[0], tmp_path / "moved.pt"))
    with pytest.raises(UserError, match=r"start: SHA-256 \w{16} -> SHA-256 \w{16}"):
        goOn(starts[1])


def test_the_command_refuses_before_it_writes(bank, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["fit", "student", "--student-widths", "2", "3", "--run", str(folder), *options(smallConfig(bank, steps=2))]
    assert main(words) == 0
    settings, log = (folder / "fit.toml").read_text(), logged(folder)
    assert main([*words, "--seed", "4", "--student-widths", "2", "4"]) == 2
    error = capsys.readouterr().err
    assert "fit.toml belongs to another run" in error
    assert "loop.seed: 0 -> 4" in error and "student_widths: [2, 3] -> [2, 4]" in error
    assert (folder / "fit.toml").read_text() == settings and logged(folder) == log
    assert main([*words, "--log-every", "7"]) == 0
    assert (folder / "fit.toml").read_text() == settings  # the run had finished: 7 took no part


def test_a_refused_command_does_not_lock_a_folder(bank, tmp_path, capsys):
    """The folder holds a checkpoint of `student`, as an ablation leaves it, and no fit.toml."""
    folder, config = tmp_path / "run", smallConfig(bank, steps=2)
    loop.fit(methods.supervised("student", WIDTHS, config), config, folder, noValidation)
    words = ["fit", "student", "--student-widths", "2", "3", "--run", str(folder), *options(config)]
    assert main([*words, "--seed", "4"]) == 2
    assert "checkpoint.pt belongs to another run" in capsys.readouterr().err
    assert not (folder / "fit.toml").exists()
    assert main(words) == 0


def test_settings_without_a_checkpoint_lock_nothing(bank, tmp_path):
    folder, config = tmp_path / "run", smallConfig(bank, steps=2)
    words = ["fit", "student", "--student-widths", "2", "3", "--run", str(folder), *options(config)]
    assert main(words) == 0
    (folder / "checkpoint.pt").unlink()
    assert main([*words, "--seed", "4"]) == 0
    assert "seed = 4" in (folder / "fit.toml").read_text()


def test_what_a_resumed_run_took_is_written(bank, tmp_path):
    folder, config = tmp_path / "run", smallConfig(bank, steps=4)
    words = ["fit", "student", "--student-widths", "2", "3", "--run", str(folder), *options(config)]
    task = methods.supervised("student", WIDTHS, config)
    run = loop.TrainingRun(task, config, loop.machine.start(config), folder / "checkpoint.pt")
    takeSteps(run, 1)
    run.save()
    assert main([*words, "--log-every", "3"]) == 0
    assert "log_every = 3" in (folder / "fit.toml").read_text()


def test_a_checkpoint_of_an_earlier_format_is_refused_with_its_name(bank, tmp_path):
    import torch

    config = smallConfig(bank, steps=1)
    file = loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path, noValidation)
    torch.save(checkpoint.read(file) | {"format": "livergtan-checkpoint/1"}, file)
    with pytest.raises(UserError, match="has the format livergtan-checkpoint/1"):
        checkpoint.read(file)


def test_a_run_that_other_code_goes_on_with_names_both(bank, tmp_path, monkeypatch):
    config = smallConfig(bank, steps=4)
    run = loop.TrainingRun(
        methods.supervised("student", WIDTHS, config), config, loop.machine.start(config), tmp_path / "checkpoint.pt"
    )
    monkeypatch.setattr(checkpoint, "commit", lambda: "aaa")
    run.save()
    monkeypatch.setattr(checkpoint, "commit", lambda: "bbb")
    file = loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path, noValidation)
    assert checkpoint.read(file)["code"] == "aaa, bbb"


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (MethodRecord("student"), "Dice + cross entropy on labels, no distillation"),
        (MethodRecord("kd", "kl", ((16, 32),)), "KD (kl) from 1 teacher(s) of widths (16, 32)"),
        (MethodRecord("takd", "cwd", ((9, 18),)), "TAKD (cwd) from 1 teacher(s) of widths (9, 18)"),
        (MethodRecord("dgkd", "kl", ((16, 32), (9, 18))), "DGKD (kl) from widths [(16, 32), (9, 18)]"),
        (
            MethodRecord("gtan", "kl", ((4, 6),), (GrowthStep(0, (2, 3)), GrowthStep(5, (4, 6))), inherit=False),
            "GTAN (kl): assistant grown (2, 3) -> (4, 6) beside the student, not inheriting weights",
        ),
        (
            MethodRecord("student", averaging=Averaging((4, 7), "runs/first/checkpoint.pt")),
            "Dice + cross entropy on labels, no distillation; mean of the weights of 2 runs (seeds 4, 7) and of the "
            "network that all began from",
        ),
    ],
)
def test_the_sentence_of_a_card_is_made_from_the_fields(record, sentence):
    assert record.sentence == sentence
    assert MethodRecord.of(plain(dataclasses.asdict(record))) == record


def test_the_record_of_growth_is_what_grows(bank, teachers):
    config = smallConfig(bank, steps=8)
    task = methods.gtan((2, 3), [UNet3D((6, 9))], config)
    assert [(one.step, one.widths) for one in task.method.growth] == [(0, (2, 3)), (2, (3, 5)), (4, (6, 9))]
