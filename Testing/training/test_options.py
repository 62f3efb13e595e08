"""The command line: settings from file and options, messages."""

import ast
import contextlib
import dataclasses
import errno
import itertools
from pathlib import Path

import pytest

from support.training_fixtures import makeBank, options, smallConfig
from training import options as options_file
from training.__main__ import COMMANDS, main, parse
from training.errors import UserError
from training.fit import checkpoint
from training.options import Config, Describe, SynthesisConfig
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepps = 3", "unknown setting stepps"),
        ("[training.loop]\nstepps = 3", "unknown setting training.loop.stepps; known here are steps, batch"),
        ("[training.loop]\nsteps = '3'", 'training.loop.steps must be a whole number, not "3"'),
        ("[training.loop]\nsteps = 1.5", "training.loop.steps must be a whole number, not 1.5"),
        ("[training.loop]\ndeterministic = 1", "training.loop.deterministic must be true or false, not 1"),
        ("[training.data]\nbank = 'runs/a'", 'training.data.bank must be a list of paths (texts), not "runs/a"'),
        (
            "[training.data.augment]\nshift = [1, 2]",
            "training.data.augment.shift must be a list of 3 whole numbers, not [1, 2]",
        ),
        ("[training.distill]\nloss = 'l2'", "training.distill.loss must be one of 'kl', 'cwd', "),
        ("[training.distill]\ntemperature = 'hot'", 'training.distill.temperature must be a number, not "hot"'),
        ("[[training]]\nsteps = 3", "training must be a table with settings, under one heading in single brackets"),
        ("[[training.loop]]\nsteps = 3", "training.loop must be a table with settings"),
        ("training = 3", "training must be a table with settings"),
        ("[roles]\nteacher = ['a', 3]", "roles.teacher must be a list of paths (texts)"),
        ("run = ['" + 100 * "a" + "']", 'run must be a path (a text), not ["aaaaaaa'),
        ("[[", "cannot be read"),
    ],
)
def test_a_wrong_settings_file_is_explained(text, message, tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text(text, encoding="utf-8")
    assert main(["fit", "student", "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error) < 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--log-every", "0"], "log_every must be at least 1"),
        (["--steps", "0", "--batch", "-2"], "steps and batch must be at least 1"),
        (["--rate", "0"], "rate and clip must be above 0"),
        (["--rate", "nan"], "rate and clip must be above 0"),
        (["--average", "1"], "average must be from 0 to below 1"),
        (["--temperature", "0"], "temperature must be above 0"),
        (["--grow-at", "0.5", "1.5"], "grow_at are shares of the run"),
        (["--threads", "0"], "threads must be at least 1"),
    ],
)
def test_numbers_that_no_training_takes_are_refused(words, message, capsys):
    with contextlib.suppress(SystemExit):
        assert main(["fit", "student", *words]) == 2
    found = capsys.readouterr()
    assert message in " ".join((found.err + found.out).split()) and "Traceback" not in found.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[weights]\na = 'much'", "weights must be a table of numbers, not {"),
        ("real_share = 2.0", "real_share is a share: give a number from 0 to 1"),
        ("[weights]\na = 0.0", "The weights of a must be above 0"),
        ("[effects]\nnoise = 3.0", "effects.noise is a probability"),
    ],
)
def test_wrong_settings_of_a_bank_are_explained(text, message, tmp_path, capsys):
    file = tmp_path / "bank.toml"
    file.write_text(text, encoding="utf-8")
    assert main(["synthesize", "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error and str(file) in error


@pytest.mark.slow
def test_every_command_explains_itself(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert f"python -m training {name}" in capsys.readouterr().out


@pytest.mark.slow
def test_every_option_says_what_it_is():
    tree, silent = ast.parse(Path(options_file.__file__).read_text(encoding="utf-8")), []
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name != "Effects"):
        for field, after in itertools.pairwise([*kind.body, ast.Pass()]):
            nested = isinstance(field, ast.AnnAssign) and "default_factory" in ast.unparse(field)
            if isinstance(field, ast.AnnAssign) and not nested and not isinstance(after, ast.Expr):
                silent.append(f"{kind.name}.{field.target.id}")
    assert silent == ["SynthesisConfig.effects"]  # whose class says what they are


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
        (["card", "run/checkpoint.pt"], "run/checkpoint.pt is no student: give student-100k"),
        (["export", "student.json"], "belongs to an exported student, which is no checkpoint"),
        (
            ["fit", "kd", "--bank", "--teacher", "student.npz", "--scans", "x"],
            "x is not a folder of packed scans (No such",
        ),
        (["calibrate", "card.md", "--cases", "ct=ct", "--fit", "ct"], "'card.md' is no student"),
        (["evaluate", "student-30k", "--cases", "a=b", "--output", "ct/x.csv"], "(File exists)"),
        (["evaluate", "student-30k", "--cases", "a=b", "--output", 300 * "x" + ".csv"], "(File name too long)"),
        (["stress", "student-30k", "--output", "x.md"], "name a file .json"),
        (["fit", "student", "--config", "ct/x.toml"], "ct/x.toml cannot be read (Not a directory)"),
        (["pack", "--data", ".", "--datasets", "pairs=.", "--output", "ct/x"], "error: "),
    ],
)
def test_missing_files_end_in_one_sentence(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ct").touch()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.count("\n") == 1


def test_an_error_of_the_system_ends_in_a_sentence(capsys, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/labels.json")

    monkeypatch.setattr("training.model.nets.describe", full)
    assert main(["describe"]) == 2
    assert capsys.readouterr().err == (
        "error: runs/x/labels.json: No space left on device; make room or give another folder.\n"
    )


@pytest.mark.slow
def test_a_command_whose_output_nobody_reads_says_nothing(capsys, monkeypatch):
    def unread(text: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("sys.stdout.write", unread)
    with pytest.raises(BrokenPipeError):  # of which `exit_status` makes the status of a closed pipe
        main(["describe"])
    assert capsys.readouterr().err == ""


def test_a_case_of_the_bank_cannot_validate(smallBank, tmp_path, capsys):
    from training.synthesis.phantom import write_case

    case = write_case(tmp_path, 3)
    words = ["fit", "student", "--run", str(tmp_path / "run"), "--bank", str(smallBank), "--validation", case]
    assert main(words) == 2
    assert "phantom-3 is in the training data" in capsys.readouterr().err


@pytest.mark.slow
def test_describe_prints_the_sizes(capsys):
    assert main(["describe"]) == 0
    text = capsys.readouterr().out
    for figure in ("1,255,697", "97,021", "16-32-64-128", "grid 80 x 112 x 128"):
        assert figure in text


def test_multiply_accumulates_are_stated_for_a_training_volume_of_today():
    assert Describe().shape == Config().data.window == SynthesisConfig().shape


@pytest.mark.parametrize("shape", [("1", "2", "3"), ("0", "0", "0"), ("-16", "16", "16"), ("64", "96", "100")])
def test_describe_refuses_grids_that_no_network_takes(shape, capsys):
    assert main(["describe", "--shape", *shape]) == 2
    found = capsys.readouterr()
    assert "every side must be a multiple of 16" in found.err and not found.out


def test_describe_takes_no_options_that_it_ignores(capsys):
    with pytest.raises(SystemExit):
        main(["describe", "--teacher", "runs/teacher/checkpoint.pt"])
    assert main(["describe", "--student-widths", "3", "4", "5", "6"]) == 0
    assert "3-4-5-6" in capsys.readouterr().out


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


def test_settings_take_the_types_that_they_declare(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        'run = "a"\n[training.data]\nbank = ["b", "c"]\n[training.loop]\nstart = "d.pt"\nrate = 1\n'
        "[training.growth]\ngrow_at = [0.5]\n",
        encoding="utf-8",
    )
    _, fit = parse(["fit", "gtan", "--config", str(file)])
    assert (fit.run, fit.training.data.bank, fit.training.loop.start) == (
        Path("a"),
        (Path("b"), Path("c")),
        Path("d.pt"),
    )
    assert fit.training.growth.grow_at == (0.5,) and isinstance(fit.training.loop.rate, float)


def test_tables_of_settings_survive_the_file(tmp_path):
    config = SynthesisConfig(weights={"a b": 2.0}, picture=tmp_path / "x.png")
    (tmp_path / "config.toml").write_text(to_toml(config), encoding="utf-8")
    assert from_toml(SynthesisConfig(), tmp_path / "config.toml") == config


def test_no_settings_are_read_by_name_from_elsewhere(tmp_path):
    with pytest.raises(UserError, match="needs a TOML file"):
        parse(["fit", "student", "--config"])


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "student-30k", "--cases", "{file}={file}", "--output", "{file}"],
        ["evaluate", "--bundled", "--output", "{file}"],
        ["keep", "{file}", "--output", "{file}"],
        ["evaluate", "--bundled", "--output", "{folder}"],
    ],
)
def test_what_is_not_an_output_is_never_overwritten(words, tmp_path, capsys):
    file = tmp_path / "ct.nii.gz"
    file.write_bytes(b"precious")
    (tmp_path / "table.csv").mkdir()
    assert main([word.format(file=file, folder=tmp_path / "table.csv") for word in words]) == 2
    assert "cannot be the output" in capsys.readouterr().err and file.read_bytes() == b"precious"
