"""The ablation: its table and plot, what it takes again, and what it refuses."""

import json
import shutil

import pytest

from support.training_fixtures import makeBank, makeScans, options, smallConfig
from training.__main__ import main
from training.fit import checkpoint
from training.options import Ablate
from training.paths import ROOT
from training.studies import ablation

pytestmark = pytest.mark.slow
RESULTS = ROOT / "training" / "results"


@pytest.fixture(scope="module")
def smallBank(tmp_path_factory):
    return makeBank(tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def table(smallBank, tmp_path_factory):
    """An ablation of two arms, one student, two seeds; its folder and its arguments."""
    from training.synthesis.phantom import write_case

    folder = tmp_path_factory.mktemp("ablation")
    arguments = [
        "ablate",
        "--cases",
        write_case(folder, 7),
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
    assert "Every student took 3 steps" in text and "Teacher (4, 6)" in text and "Dice on the same cases" in text
    gains = text.split("\n\n")[1].splitlines()
    assert [cell.strip() for cell in gains[2].split("|")][1:4] == ["2-3", "takd:dist", "2"]
    assert (folder / "table.png").stat().st_size > 5_000
    results = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert len(results) == 4 and all(result["seconds"]["cpu"] > 0 for result in results)


def arms_and_seeds(text: str) -> list[tuple[str, str]]:
    """Two columns of the first table."""
    lines = text.partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
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
    assert "'tadk' is not an arm" in capsys.readouterr().err


def test_an_ablation_on_several_devices_is_refused(table, capsys):
    assert main([*table[1], "--devices", "2"]) == 2
    assert "one device" in capsys.readouterr().err


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


def test_the_ablation_does_not_mix_runs_of_other_settings(table, capsys):
    folder, arguments = table
    before = {file: file.read_bytes() for file in folder.rglob("*.json")}
    assert main([*arguments, "--steps", "6", "--loss", "cwd"]) == 2
    error = capsys.readouterr().err
    assert "teacher/checkpoint.pt belongs to another run" in error
    assert "loop.steps: 3 -> 6" in error and "distill.loss: kl -> cwd" in error
    assert {file: file.read_bytes() for file in folder.rglob("*.json")} == before


def test_an_arm_is_not_trained_on_as_another(table, capsys):
    folder, arguments = table
    (folder / "student").rename(folder / "kd")
    try:
        assert main([word if word != "student" else "kd" for word in arguments]) == 2
    finally:
        (folder / "kd").rename(folder / "student")
    assert "stage: student -> kd" in capsys.readouterr().err


def test_figures_of_other_cases_are_not_taken_again(table, tmp_path, capsys):
    from training.synthesis.phantom import write_case

    folder, arguments = table
    case, other = arguments[2], write_case(tmp_path, 8)
    trained = {file: file.stat().st_mtime_ns for file in folder.rglob("checkpoint.pt")}
    assert main([word if word != case else other for word in arguments]) == 0
    assert "result.json is of another network or of other cases; measured anew" in capsys.readouterr().out
    assert all(
        set(one["cases"]) == {"phantom-8"} for one in json.loads((folder / "table.json").read_text(encoding="utf-8"))
    )
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("checkpoint.pt")} == trained
    assert main(arguments) == 0


@pytest.mark.parametrize("label", ["student", "start", "", "../x"])
def test_a_label_that_would_overwrite_another_row_is_refused(table, label, capsys):
    assert main([*table[1], "--also", f"{label}={table[0] / 'teacher' / 'checkpoint.pt'}"]) == 2
    assert "--also cannot be labelled" in capsys.readouterr().err


def files_of(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_refused_ablation_leaves_everything_as_it_was(table, capsys):
    """The last cell holds another arm's run, and the first one's result is missing: nothing is measured or written."""
    folder, arguments = table
    last, first = folder / "takd-dist" / "2-3" / "seed1", folder / "student" / "2-3" / "seed0" / "result.json"
    content = first.read_bytes()
    first.unlink()
    last.rename(folder / "aside")
    shutil.copytree(folder / "student" / "2-3" / "seed1", last)
    before = files_of(folder)
    try:
        assert main(arguments) == 2
        assert files_of(folder) == before
    finally:
        shutil.rmtree(last)
        (folder / "aside").rename(last)
        first.write_bytes(content)
    assert "stage: student -> takd" in capsys.readouterr().err


def changed_by_hand(result, **values):
    return json.dumps(result | values, indent=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda result: changed_by_hand(result, figures=result["figures"] | {"dice": 0.999}),
        lambda result: changed_by_hand(result, cell=result["cell"] | {"arm": "gtan"}),
        lambda result: changed_by_hand(result, steps=90_000),
        lambda result: json.dumps({name: value for name, value in result.items() if name != "cell"}),
        lambda result: json.dumps({name: value for name, value in result.items() if name != "figures"}),
        lambda result: json.dumps([result]),
        lambda result: json.dumps(result)[:-9],
    ],
)
def test_a_result_that_was_changed_by_hand_is_measured_anew(table, change, capsys):
    folder, arguments = table
    file = folder / "student" / "2-3" / "seed0" / "result.json"
    before = file.read_text()
    file.write_text(change(json.loads(before)))
    assert main(arguments) == 0
    assert "measured anew" in capsys.readouterr().out
    assert json.loads(file.read_text()) == json.loads(before)
    first = json.loads((folder / "table.json").read_text(encoding="utf-8"))[0]
    assert first == json.loads(before)


def test_another_cells_result_is_not_taken_for_ones_own(table, capsys):
    folder, arguments = table
    ours, theirs = (folder / arm / "2-3" / "seed0" / "result.json" for arm in ("student", "takd-dist"))
    before = ours.read_text()
    ours.write_text(theirs.read_text())
    assert main(arguments) == 0
    assert json.loads(ours.read_text()) == json.loads(before)


def test_a_case_of_the_bank_shows_no_student(table, smallBank, capsys):
    case = table[1][2]
    copied = [str(word) for word in (table[0].parent / "phantom-0.nii.gz", table[0].parent / "phantom-0-liver.nii.gz")]
    for source, target in zip(case.split("="), copied):
        shutil.copy(source, target)
    assert main([word if word != case else "=".join(copied) for word in table[1]]) == 2
    assert "phantom-0 is in the training data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0", "0"], "--seeds has 0 twice"),
        (["--arms", "student", "student"], "--arms has student twice"),
        (["--students", "2-3", "2-3"], "--students has 2-3 twice"),
        (["--arms"], "--arms is empty"),
        (["--cases"], "--cases is empty"),
    ],
)
def test_a_run_is_not_counted_twice(table, words, message, capsys):
    assert main([*table[1], *words]) == 2
    assert message in capsys.readouterr().err


def test_undefined_figures_are_told_beside_the_means():
    figures = {"dice": 0.0, "nsd2": 0.0, "nsd3": 0.0, "hd95": float("nan"), "assd": float("nan")}
    result = {"cell": {"arm": "kd", "student": "2-3", "seed": 1}, "cases": {"a": figures, "b": figures | {"hd95": 1.0}}}
    assert list(ablation.undefined_figures([result])) == [
        "Undefined (an empty mask) and left out of the means of 2-3 kd, seed 1: hd95, assd on a; assd on b."
    ]


def test_arms_that_share_data_and_teachers_are_trained_in_one_loop(smallBank, tmp_path):
    ablate = Ablate(
        ("ct=mask",), ("student", "kd", "takd", "dgkd", "gtan"), ("2-3", "3-4"), (0, 1), training=smallConfig(smallBank)
    )
    runs = [ablation.cell_run(ablate, cell, [tmp_path / "teacher.pt"]) for cell in ablation.plan(ablate)]
    groups = [sorted({run.cell.arm for run in group}) for group in ablation.trained_together(runs)]
    assert groups == [["student"], ["gtan", "kd"], ["takd"], ["dgkd"]] * 2
    assert all(len({run.cell.student for run in group}) == 2 for group in ablation.trained_together(runs))


def test_runs_of_other_tables_are_taken_over(table, tmp_path, capsys):
    folder, arguments = table
    words = [str(tmp_path / "table") if word == str(folder) else word for word in arguments]
    words += ["--teacher", str(folder / "teacher" / "checkpoint.pt"), "--tables", str(folder / "table.json")]
    assert main([*words, "--arms", "student", "kd"]) == 0
    out = capsys.readouterr().out
    assert f"{folder / 'table.json'}: 4 runs are taken over" in out
    assert "run 1 of 2: kd/2-3/seed0" in out and "student/2-3" not in out
    text = (tmp_path / "table" / "table.md").read_text(encoding="utf-8")
    assert arms_and_seeds(text) == [("student", "2"), ("kd", "2"), ("takd:dist", "2")]
    known, merged = (
        json.loads((one / "table.json").read_text(encoding="utf-8")) for one in (folder, tmp_path / "table")
    )
    assert len(merged) == 6 and all(result in merged for result in known)
    assert main([*words, "--folder", str(tmp_path / "other")]) == 0  # nothing is left to train
    assert json.loads((tmp_path / "other" / "table.json").read_text(encoding="utf-8")) == known


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "4"], "student/2-3/seed0 is of 3 updates"),
        (["--students", "3-4"], "is of the student 2-3"),
        (["--tables", "nothing.json"], "nothing.json cannot be read as a table"),
    ],
)
def test_tables_of_other_work_are_refused(table, tmp_path, words, message, capsys):
    folder, arguments = table
    teacher = str(folder / "teacher" / "checkpoint.pt")
    known = [
        *arguments,
        "--tables",
        str(folder / "table.json"),
        "--folder",
        str(tmp_path / "table"),
        "--teacher",
        teacher,
    ]
    assert main([*known, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "table").exists()


def test_a_row_of_other_tables_takes_no_other_network(table, tmp_path, capsys):
    folder, arguments = table
    run = folder / "student" / "2-3" / "seed0" / "checkpoint.pt"
    words = [
        *arguments,
        "--arms",
        "student",
        "--folder",
        str(tmp_path / "table"),
        "--tables",
        str(folder / "table.json"),
    ]
    assert main(words) == 2
    assert "Give the --teacher that the runs of --tables learned from" in capsys.readouterr().err
    words += ["--teacher", str(folder / "teacher" / "checkpoint.pt")]
    for also in ([f"takd:dist={run}"], [f"x={run}", f"x={run}"]):
        assert main([*words, "--also", *also]) == 2
        assert "cannot be labelled" in capsys.readouterr().err
    assert not (tmp_path / "table").exists()


def test_the_table_of_another_study_is_refused(table, capsys):
    words = [
        "--tables",
        str(RESULTS / "cross-validation.json"),
        "--teacher",
        str(table[0] / "teacher" / "checkpoint.pt"),
    ]
    assert main([*table[1], *words]) == 2
    assert "cross-validation.json cannot be read as a table" in capsys.readouterr().err


def test_a_table_that_somebody_changed_is_refused(table, tmp_path, capsys):
    results = json.loads((table[0] / "table.json").read_text(encoding="utf-8"))
    results[1]["figures"]["dice"] += 0.01
    (tmp_path / "table.json").write_text(json.dumps(results))
    teacher = str(table[0] / "teacher" / "checkpoint.pt")
    assert main([*table[1], "--tables", str(tmp_path / "table.json"), "--teacher", teacher]) == 2
    assert "is not as `ablate` wrote it" in capsys.readouterr().err


def test_the_arm_on_soft_labels_learns_from_their_scans(tmp_path, capsys):
    from training.synthesis.phantom import write_case

    labels, soft = makeScans(tmp_path / "labels"), makeScans(tmp_path / "soft")
    words = [
        "ablate",
        "--cases",
        write_case(tmp_path, 7),
        "--students",
        "2-3",
        "--seeds",
        "0",
        "--arms",
        "student",
        "soft",
    ]
    config = smallConfig(tmp_path, steps=2)
    words += ["--folder", str(tmp_path / "table"), "--teacher-widths", "4", "6", *options(config)[2:], "--bank"]
    words += ["--scans", str(labels), "--window", "16", "16", "16"]
    assert main(words) == 2
    assert "Give the arm `soft` and --soft-scans together" in capsys.readouterr().err
    assert main([*words, "--soft-scans", str(soft)]) == 0
    assert arms_and_seeds((tmp_path / "table" / "table.md").read_text(encoding="utf-8")) == [
        ("student", "1"),
        ("soft", "1"),
    ]
    scans = [
        checkpoint.read(tmp_path / "table" / arm / "2-3" / "seed0" / "checkpoint.pt")["settings"]["data"]["scans"]
        for arm in ("student", "soft")
    ]
    assert scans == [str(labels), str(soft)]
