"""How to reproduce: the command lines on the cards are read back by the command line."""

import dataclasses
import json
import shlex

import pytest

from support.training_fixtures import makeBank, smallConfig, untold
from training import command_line
from training.__main__ import parse
from training.fit import checkpoint, loop, methods
from training.model import nets
from training.options import Calibrate, SynthesisConfig
from training.release import reproduce

WIDTHS = (2, 3, 5)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The content of a checkpoint of a small student that a small teacher taught."""
    folder = tmp_path_factory.mktemp("run")
    config = smallConfig(makeBank(folder / "bank"), steps=3, rate=0.02)
    task = methods.distilled("student", WIDTHS, [nets.UNet3D((3, 5, 7)).eval()], config)
    return checkpoint.read(loop.fit(task, config, folder, untold))


def test_a_run_is_started_again_by_its_command(taught):
    words = shlex.split(reproduce.fit(taught, "student-30k", "kept.safetensors"))
    assert words[:3] == ["python", "-m", "training"]
    _, options = parse(words[3:])
    assert (options.stage, options.roles.student_widths) == ("takd", WIDTHS)  # no teacher of the known size
    assert options.roles.assistant_widths == (3, 5, 7) and str(options.run) == "runs/student-30k"
    assert options.training.loop.steps == 3 and options.training.loop.rate == 0.02
    assert [str(path) for path in options.training.data.bank] == ["runs/bank"]


def test_the_mean_of_runs_is_made_again_by_all_their_commands(taught):
    content = taught | {"method": taught["method"] + "; mean of the weights of 2 runs (seeds 4, 7)"}
    command = reproduce.fit(content, "student-30k", "kept.safetensors")
    first, second, mean = (parse(shlex.split(part)[3:])[1] for part in command.split(" && "))
    assert (first.training.loop.seed, second.training.loop.seed) == (4, 7) and first.stage == second.stage == "takd"
    assert [file.parent for file in mean.checkpoints] == [first.run, second.run]
    assert reproduce.checkpoint_of({"command": command}) == f"{mean.run}/checkpoint.pt"
    assert str(mean.run) == "runs/student-30k"


def test_a_bank_is_made_again_by_its_command():
    config = SynthesisConfig(seed=4, no_liver_share=0.5, exclude=("a", "b"))
    config = dataclasses.replace(
        config, effects=config.effects.without("ascites"), weights=config.weights | {"acrin_flt_breast_001": 3.0}
    )
    values = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    _, again = parse(shlex.split(reproduce.synthesize("bank", 7, values))[3:])
    assert dataclasses.replace(again, count=config.count) == config and again.count == 7


def test_the_options_of_a_measurement_are_said_again(tmp_path):
    given = Calibrate("runs/s.npz", ("a.nii.gz=b.nii.gz:5", "c=d"), ("a",), output=tmp_path / "c.json")
    name, again = parse(shlex.split(command_line.command("calibrate", given))[3:])
    assert name == "calibrate" and again == dataclasses.replace(given, output=again.output)
    assert str(again.output) == "runs/c.json"


def test_no_folder_of_this_machine_gets_into_a_command(tmp_path, monkeypatch):
    monkeypatch.setenv("LIVERGTAN_DATA", str(tmp_path / "data"))
    assert (
        command_line.portable(f"{tmp_path}/data/ct/a.nii.gz={tmp_path}/data/ct/b.nii.gz:5")
        == "ct/a.nii.gz=ct/b.nii.gz:5"
    )
    assert command_line.portable(f"{tmp_path}/bank") == "runs/bank" and command_line.portable("0.5") == "0.5"


@pytest.mark.parametrize(
    ("method", "roles", "widths", "stage"),
    [
        ("Dice + cross entropy", {"teacher": {}}, None, "teacher"),
        ("Dice + cross entropy", {"student": {}}, None, "student"),
        ("KD (kl) from 1", {"student": {}}, [16, 32, 64, 128], "kd"),
        ("KD (kl) from 1", {"student": {}}, [9, 18, 36, 62], "takd"),
        ("DGKD (kl)", {"student": {}}, [16, 32, 64, 128], "dgkd"),
        ("GTAN (kl): assistant", {"student": {}, "assistant": {}}, [16, 32, 64, 128], "gtan"),
    ],
)
def test_the_stage_is_known_from_the_checkpoint(method, roles, widths, stage):
    teachers = {"teacher0": {"widths": widths}} if widths else {}
    assert reproduce.stage({"method": method, "nets": roles, "teachers": teachers}) == stage
