"""How to reproduce: the command lines on the cards are read back by the command line."""

import dataclasses
import json
import shlex
from pathlib import Path

import pytest

from LiverGTANLib.core import weight_file
from support.training_fixtures import makeBank, noValidation, smallConfig
from training import command_line
from training.__main__ import parse
from training.command_line import plain
from training.errors import UserError
from training.evaluation.card_parts import whole
from training.fit import checkpoint, loop, methods
from training.fit.run_record import MethodRecord
from training.model import nets
from training.options import Calibrate, Stress, SynthesisConfig
from training.paths import ROOT
from training.release import reproduce

WIDTHS = (2, 3, 5)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    """The content of a checkpoint of a small student distilled from a small teacher."""
    folder = tmp_path_factory.mktemp("run")
    config = smallConfig(makeBank(folder / "bank"), steps=3, rate=0.02)
    task = methods.kd("takd", WIDTHS, [nets.UNet3D((3, 5, 7)).eval()], config)
    return checkpoint.read(loop.fit(task, config, folder, noValidation))


def test_a_run_is_started_again_by_its_command(distilled):
    words = shlex.split(reproduce.fit(distilled, "student-30k", "teacher.safetensors"))
    assert words[:3] == ["python", "-m", "training"]
    _, options = parse(words[3:])
    assert (options.stage, options.roles.student_widths) == ("takd", WIDTHS)
    assert options.roles.assistant_widths == (3, 5, 7) and str(options.run) == "runs/student-30k"
    assert options.training.loop.steps == 3 and options.training.loop.rate == 0.02
    assert [str(path) for path in options.training.data.bank] == ["runs/bank"]


@pytest.mark.slow
def test_the_mean_of_runs_is_made_again_by_all_their_commands(distilled):
    content = distilled | {"method": distilled["method"] | {"averaging": {"seeds": [4, 7], "ancestor": None}}}
    command = reproduce.fit(content, "student-30k", "teacher.safetensors")
    first, second, mean = (parse(shlex.split(part)[3:])[1] for part in command.split(" && "))
    assert (first.training.loop.seed, second.training.loop.seed) == (4, 7) and first.stage == second.stage == "takd"
    assert [file.parent for file in mean.checkpoints] == [first.run, second.run]
    assert str(mean.run) == "runs/student-30k"


def test_a_bank_is_made_again_by_its_command():
    config = SynthesisConfig(seed=4, no_liver_share=0.5, exclude=("a", "b"))
    config = dataclasses.replace(
        config, effects=config.effects.without("ascites"), weights=config.weights | {"acrin_flt_breast_001": 3.0}
    )
    values = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    _, again = parse(shlex.split(reproduce.synthesize("bank", 7, values))[3:])
    assert dataclasses.replace(again, count=config.count) == config and again.count == 7


def test_a_bank_of_another_version_has_no_command():
    with pytest.raises(UserError, match="elsewhere_share"):
        reproduce.synthesize("bank", 7, {"seed": 1, "elsewhere_share": 0.1})


def test_the_options_of_a_measurement_are_written_again(tmp_path):
    given = Calibrate("runs/s.npz", ("a.nii.gz=b.nii.gz:5", "c=d"), ("a",), output=tmp_path / "c.json")
    name, again = parse(shlex.split(command_line.command("calibrate", given))[3:])
    assert name == "calibrate" and again == dataclasses.replace(given, output=again.output)
    assert str(again.output) == "runs/calibrate/c.json"


def test_no_folder_of_this_machine_gets_into_a_command(tmp_path, monkeypatch):
    monkeypatch.setenv("LIVERGTAN_DATA", str(tmp_path / "data"))
    assert (
        command_line.portable(f"{tmp_path}/data/ct/a.nii.gz={tmp_path}/data/ct/b.nii.gz:5")
        == "ct/a.nii.gz=ct/b.nii.gz:5"
    )
    assert command_line.portable(f"{tmp_path}/bank") == "runs/bank" and command_line.portable("0.5") == "0.5"
    assert command_line.portable(f"{tmp_path}/runs/new/bank") == "runs/new/bank"


def test_what_a_user_brings_is_not_said_to_lie_among_the_results(tmp_path):
    assert command_line.option("datasets", [f"pairs={tmp_path}/cases:5"]) == ["--datasets", "pairs=cases:5"]
    assert command_line.option("cases", [f"{tmp_path}/a.nii.gz={tmp_path}/b.nii.gz"]) == [
        "--cases",
        "a.nii.gz=b.nii.gz",
    ]


@pytest.mark.parametrize("top", [ROOT / "runs", Path("/elsewhere")])
def test_two_commands_with_outputs_of_one_name_do_not_overwrite_each_other(top):
    """A card's commands name both files for `export --calibration --stress`."""
    calibrated = command_line.record("calibrate", Calibrate("s", ("c=d",), ("c",), output=top / "calibration/s.json"))
    stressed = command_line.record("stress", Stress("s", output=top / "stress/s.json"))
    assert calibrated["output"] != stressed["output"]
    assert calibrated["output"] in calibrated["command"] and str(top) not in calibrated["command"]


@pytest.mark.parametrize(
    ("stage", "teachers", "words"),
    [
        ("teacher", (), ["teacher", "--teacher-widths", "2", "3"]),
        ("student", (), ["student", "--student-widths", "2", "3"]),
        ("assistant", ((4, 6),), ["kd", "--student-widths", "2", "3", "--teacher", "t.pt"]),
        ("kd", ((4, 6),), ["kd", "--student-widths", "2", "3", "--teacher", "t.pt"]),
        (
            "takd",
            ((3, 4),),
            ["takd", "--student-widths", "2", "3", "--assistant-widths", "3", "4", "--teacher", "t.pt"],
        ),
        (
            "dgkd",
            ((4, 6), (3, 4)),
            ["dgkd", "--student-widths", "2", "3", "--assistant-widths", "3", "4", "--teacher", "t.pt"],
        ),
        ("gtan", ((4, 6),), ["gtan", "--student-widths", "2", "3", "--teacher", "t.pt"]),
    ],
)
def test_the_command_of_every_stage_follows_from_the_recorded_method(stage, teachers, words, distilled):
    method = MethodRecord(stage, "kl" if teachers else None, teachers)
    role = stage if stage in ("teacher", "assistant") else "student"
    content = distilled | {
        "method": plain(dataclasses.asdict(method)),
        "networks": {role: {"widths": [2, 3], "stem": 2}},
    }
    found = shlex.split(reproduce.fit(content, "x", "t.pt"))
    assert [word for word in found if word not in ("--run", "runs/x")][4 : 4 + len(words)] == words


def test_the_commands_of_the_bundled_students_write_each_folder_once_and_read_what_is_there():
    cards = {name: whole(weight_file.load(name).card) for name in weight_file.available()}
    written, missing = set(), set()
    lines = reproduce.commands(cards, reproduce.Folders())
    for command in (part for line in lines for part in line.split(" && ")):
        words = shlex.split(command)
        outputs = {words[k + 1] for k, word in enumerate(words) if word in ("--run", "--output")}
        for word in set(words) - outputs:
            if word.startswith("runs/") and not any(word == one or word.startswith(f"{one}/") for one in written):
                missing.add(Path(word).parts[1])
        assert not outputs & written, command
        written |= outputs
    assert {name.partition("-")[0] for name in missing} <= {"network"}  # of which the digest alone is known


def run(name: str, stage: str, **facts) -> dict:
    """A run as cards have it."""
    command = f"python -m training fit {stage} --run runs/{name}" + (" --teacher t.pt" if "teacher" in facts else "")
    facts = {"teacher": {}} | facts
    return {"run": f"runs/{name}", "command": command, "banks": [], "weights_sha256": 64 * name[-1]} | facts


def test_a_teacher_that_a_command_before_made_is_read_from_its_folder():
    teacher, other = run("student-a", "student"), {"widths": [2, 3], "weights_sha256": 64 * "c"}
    taught = run("student-b", "kd", teacher={"widths": [2, 3], "weights_sha256": teacher["weights_sha256"]})
    cards = {
        "student-a": {"training": teacher},
        "student-b": {"training": taught},
        "student-d": {"training": run("student-d", "kd", teacher=other)},
    }
    lines = reproduce.commands(cards, reproduce.Folders())
    assert [line.partition(" --teacher ")[2] for line in lines if " fit kd " in line] == [
        "runs/student-a/checkpoint.pt",
        "runs/network-cccccccccccc/checkpoint.pt",
    ]


def test_of_several_teachers_only_the_committed_one_is_written_to_its_file():
    first = run("teacher", "teacher", data=[], sha256="old", file="training/weights/teacher.safetensors")
    second = run("teacher-2", "teacher", data=[], sha256="new", file="training/weights/teacher.safetensors")
    start = run("student-a", "kd", teacher=first, data=[])
    cards = {"student-b": {"training": run("student-b", "kd", teacher=second, start=start)}}
    lines = reproduce.commands(cards, reproduce.Folders(), committed="new")
    assert [line for line in lines if " keep " in line] == ["python -m training keep runs/teacher-2/checkpoint.pt"]


def test_a_shown_command_is_one_command_again_when_it_is_copied():
    long = command_line.line(
        "calibrate", "s.npz", "--cases", *(f"data/{n:030}.nii.gz=m" for n in range(9)), "--fit", "a b"
    )
    both = f"{long} && {command_line.line('average', 'a.pt', 'b.pt')}"
    shown = reproduce.wrapped(both)
    assert max(map(len, shown.splitlines())) <= 120 and len(shown.splitlines()) > 5
    assert shlex.split(shown.replace("\\\n", "")) == shlex.split(both)  # as a shell reads it
    assert all(line.endswith(" \\") for line in shown.splitlines()[:-1])
