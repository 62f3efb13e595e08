"""The command line: settings from file and options, messages, the ablation's table."""

import dataclasses
import json

import pytest

from support.training_fixtures import makeBank, options, smallConfig
from training.__main__ import COMMANDS, main, parse
from training.errors import UserError
from training.fit import checkpoint
from training.options import Config
from training.settings import from_toml, to_toml


@pytest.fixture(scope="module")
def smallBank(tmp_path_factory):
    return makeBank(tmp_path_factory.mktemp("bank") / "bank")


def test_settings_survive_the_file(tmp_path):
    config = dataclasses.replace(Config(), loop=dataclasses.replace(Config().loop, steps=7, rate=1e-5))
    (tmp_path / "config.toml").write_text(to_toml(config), encoding="utf-8")
    assert from_toml(Config(), tmp_path / "config.toml") == config


def test_the_command_line_goes_over_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "run.toml"
    text = 'run = "runs/x"\n[training.loop]\nsteps = 5\nbatch = 4\n[roles]\nstudent_widths = [2, 3]\n'
    file.write_text(text, encoding="utf-8")
    name, fit = parse(["fit", "kd", "--config", str(file), "--steps", "9"])
    assert (name, fit.stage, str(fit.run), fit.roles.student_widths) == ("fit", "kd", "runs/x", (2, 3))
    assert (fit.training.loop.steps, fit.training.loop.batch, fit.training.loop.seed) == (9, 4, 0)


@pytest.mark.parametrize(("text", "message"), [("stepps = 3", "unknown setting stepps"), ("[[", "cannot be read")])
def test_a_wrong_settings_file_is_explained(text, message, tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text(text, encoding="utf-8")
    assert main(["fit", "student", "--config", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_every_command_explains_itself(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert f"python -m training {name}" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["trian"])
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "student", "--bank", "no/bank"], "no/bank"),
        (["export", "no.pt"], "no checkpoint no.pt"),
        (["evaluate", "student-100k", "--cases", "a=b"], "There is no a"),
        (["card", "no.npz"], "no student file"),
    ],
)
def test_missing_files_end_in_one_sentence(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.count("\n") == 1


def test_a_case_of_the_bank_cannot_validate(smallBank, tmp_path, capsys):
    from training.synthesis.phantom import write_case

    case = write_case(tmp_path, 3)
    words = ["fit", "student", "--run", str(tmp_path / "run"), "--bank", str(smallBank), "--validation", case]
    assert main(words) == 2
    assert "phantom-3 is in a bank" in capsys.readouterr().err


def test_describe_prints_the_sizes(capsys):
    assert main(["describe"]) == 0
    text = capsys.readouterr().out
    for figure in ("1,255,697", "97,021", "16-32-64-128"):
        assert figure in text


@pytest.fixture(scope="module")
def table(smallBank, tmp_path_factory):
    """An ablation of two arms, one student, two seeds; its folder and its arguments."""
    from training.synthesis.phantom import write_case

    folder = tmp_path_factory.mktemp("ablation")
    arguments = [
        "ablate",
        "--cases",
        write_case(folder, 3),
        "--arms",
        "student",
        "takd:dist",
        "--students",
        "2-3",
        "--seeds",
        "0",
        "1",
        "--folder",
        str(folder / "table"),
        "--teacher-widths",
        "4",
        "6",
        "--assistant-widths",
        "3",
        "4",
        *options(smallConfig(smallBank, steps=3)),
    ]
    assert main(arguments) == 0
    return folder / "table", arguments


def test_the_ablation_writes_its_table_and_plot(table):
    folder, _ = table
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert arms_and_seeds(text) == [("student", "2"), ("takd:dist", "2")]
    assert "Every student took 3 steps" in text and "Teacher (4, 6)" in text
    assert (folder / "table.png").stat().st_size > 5_000
    results = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert len(results) == 4 and all(result["seconds"]["cpu"] > 0 for result in results)


def arms_and_seeds(text: str) -> list[tuple[str, str]]:
    """Two columns of the table."""
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")]
    return [(row[2], row[5]) for row in rows[2:]]


def test_the_ablation_goes_on_where_it_stopped(table, capsys):
    folder, arguments = table
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("checkpoint.pt")}
    (folder / "takd-dist" / "2-3" / "seed1" / "result.json").unlink()
    assert main(arguments) == 0
    assert "run 4 of 4" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("checkpoint.pt")} == before
    assert len(json.loads((folder / "table.json").read_text(encoding="utf-8"))) == 4


def test_an_ablation_with_a_misspelled_arm_or_student_does_not_start(table, capsys):
    _, arguments = table
    assert main([word if word != "takd:dist" else "tadk" for word in arguments]) == 2
    assert main([word if word != "2-3" else "student-10k" for word in arguments]) == 2
    assert "'tadk' is no arm" in capsys.readouterr().err


def test_an_ablation_on_several_devices_is_refused(table, capsys):
    assert main([*table[1], "--devices", "2"]) == 2
    assert "one device" in capsys.readouterr().err


def test_the_settings_of_a_run_start_it_again(smallBank, tmp_path):
    words = [
        "fit",
        "student",
        "--student-widths",
        "2",
        "3",
        "--run",
        str(tmp_path / "run"),
        *options(smallConfig(smallBank, steps=2)),
        "--deterministic",
    ]
    assert main(words) == 0
    _, again = parse(["fit", "student", "--config", str(tmp_path / "run" / "fit.toml")])
    assert again == parse(words)[1] and again.training.loop.deterministic
    assert main(["fit", "student", "--config", str(tmp_path / "run" / "fit.toml")]) == 0


def test_no_settings_are_read_by_name_from_elsewhere(tmp_path):
    with pytest.raises(UserError, match="needs a TOML file"):
        parse(["fit", "student", "--config"])


def test_arms_may_begin_from_a_trained_student_that_the_table_shows_too(table, tmp_path):
    folder, arguments = table
    begin = folder / "student" / "2-3" / "seed0" / "checkpoint.pt"
    words = [str(tmp_path / "table") if word == str(folder) else word for word in arguments]
    words += ["--also", f"best={begin}", "--teacher", str(folder / "teacher" / "checkpoint.pt")]
    assert main([*words, "--starts", str(begin)]) == 0
    text = (tmp_path / "table" / "table.md").read_text(encoding="utf-8")
    assert arms_and_seeds(text) == [("start", "1"), ("student", "2"), ("takd:dist", "2"), ("best", "1")]
    assert [line.count("not counted") for line in text.splitlines()[2:6]] == [2, 0, 0, 2]
    settings = checkpoint.read(tmp_path / "table" / "takd-dist" / "2-3" / "seed1" / "checkpoint.pt")["settings"]
    assert settings["loop"]["start"] == str(begin)
    assert (tmp_path / "table" / "assistant" / "dist-2-3-seed0" / "checkpoint.pt").exists()


def test_a_student_of_another_size_is_not_shown(table, capsys):
    teacher = table[0] / "teacher" / "checkpoint.pt"
    assert main([*table[1], "--also", f"large={teacher}"]) == 2
    assert "none of 2-3" in capsys.readouterr().err


def test_each_student_needs_its_own_start(table, capsys):
    assert main([*table[1], "--starts", "a.pt", "b.pt"]) == 2
    assert "give one for each" in capsys.readouterr().err
