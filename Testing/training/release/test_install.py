"""One command replaces the bundled weights, or nothing; the cards say how it all was made."""

import dataclasses
import json
from pathlib import Path

import pytest

from LiverGTANLib.core import weight_file
from support.cases import smallCt
from support.training_fixtures import makeBank, noValidation, smallConfig
from training.__main__ import main
from training.data.cases import Case
from training.errors import UserError
from training.evaluation.card_parts import whole
from training.evaluation.stress.conditions import Condition
from training.evaluation.stress.example import Example
from training.evaluation.stress.hard_cases import measure_conditions
from training.evaluation.training_history import refuse_if_trained_on
from training.fit import checkpoint, loop, methods
from training.model import folding
from training.options import Card, Export
from training.release import export, held_out_table, install, model_card, reproduce, student_card
from training.release.run_history import RunHistory
from training.studies import ablation

WIDTHS = (2, 3, 5)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return makeBank(tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def trained(bank, tmp_path_factory):
    """The checkpoint of a small student with a small teacher, whose network file is there."""
    folder = tmp_path_factory.mktemp("run")
    config = smallConfig(bank, steps=3, rate=0.02)
    teacher = loop.fit(methods.supervised("teacher", (3, 5, 7), config), config, folder / "teacher", noValidation)
    assert main(["keep", str(teacher), "--output", str(folder / "teacher.safetensors")]) == 0
    task = methods.kd("kd", WIDTHS, [checkpoint.network(teacher)], config)
    return loop.fit(task, config, folder / "student", noValidation)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    from training.synthesis.phantom import write_case

    return Case.parse(write_case(tmp_path_factory.mktemp("case"), 7))


@pytest.fixture
def extension(monkeypatch, tmp_path, trained, case):
    """An extension without students, the teacher's file in its place, and a phantom for the sample CTs."""
    monkeypatch.setattr(weight_file, "MODELS", tmp_path / "Models")
    monkeypatch.setattr(student_card, "ROOT", trained.parents[1])
    monkeypatch.setattr(student_card, "TEACHER_FILE", trained.parents[1] / "teacher.safetensors")
    monkeypatch.setattr(install, "REQUIRED_CASES", (case.name,))
    monkeypatch.setattr(held_out_table, "cases", lambda report=print: [case])
    return tmp_path / "Models"


@pytest.fixture
def measured(trained, tmp_path):
    """Options of `export --install` with files like those of `calibrate` and `stress` about the student."""
    net = checkpoint.network(trained)
    written = export.write(net, tmp_path / "x.npz", folding.card("x", net, 3.0, (-160.0, 240.0)))
    about = {"student": "student-30k", "sha256": written.sha256}
    calibration = about | {
        "temperature": 1.3,
        "helps": True,
        "ece_before": 0.08,
        "ece_after": 0.05,
        "shell_mm": 15.0,
        "fitted_on": ["a"],
        "measured_on": ["b"],
        "command": "python -m training calibrate s.npz --output c.json",
        "output": "c.json",
    }
    condition = Condition("non-contrast CT", "simulated", "empty", "noise", lambda: [Example("noise", smallCt())], "")
    stress = measure_conditions(written, [condition], report=lambda text: None)
    stress |= {"command": "python -m training stress s.npz --output s.json", "output": "s.json"}
    table = [
        {
            "cell": {"arm": arm, "student": "student-30k", "seed": seed},
            "seconds": {"wall": 60.0, "cpu": 90.0},
            "figures": dict.fromkeys(ablation.FIGURES, dice),
        }
        for arm, seed, dice in (("student", 0, 0.9), ("student", 1, 0.92), ("gtan", 0, 0.93))
    ]
    for name, content in (("c.json", calibration), ("s.json", stress), ("table.json", table)):
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    return Export(
        trained,
        "student-30k",
        tmp_path / "out",
        calibration=tmp_path / "c.json",
        stress=tmp_path / "s.json",
        ablation=tmp_path / "table.json",
        install=True,
    )


@pytest.mark.slow
def test_all_that_is_known_is_installed(extension, measured):
    install.export_student(measured, report=lambda text: None)
    assert sorted(path.name for path in extension.iterdir()) == ["MODEL_CARD.md", "student-30k.json", "student-30k.npz"]
    card = whole(weight_file.load("student-30k").card)
    assert [(row["case"], row["engine"]) for row in card["metrics"]] == [("phantom-7", "numpy"), ("phantom-7", "torch")]
    assert card["calibration"]["temperature"] == 1.3 and card["hard_cases"][0]["condition"].startswith(
        "non-contrast CT"
    )
    teacher = card["training"]["teacher"]
    assert teacher["file"] == "teacher.safetensors" and teacher["steps"] == 3
    assert teacher["minutes"].keys() == {"wall", "cpu"} and teacher["banks"]
    text = model_card.file().read_text(encoding="utf-8")
    assert text == model_card.text(model_card.bundled_sheets())
    for expected in (
        "**non-contrast CT",
        "temperature: 1.3",
        "expected calibration error: 0.08",
        "phantom-7",
        "fit teacher",
        "keep runs/",
        "fit kd",
        "--install",
        card["sha256"],
    ):
        assert expected in text, expected
    assert card["ablation"] == [
        {"arm": "student", "seeds": 2, "dice": 0.91, "sd": 0.0141, "wall_minutes": 1.0},
        {"arm": "gtan", "seeds": 1, "dice": 0.93, "sd": None, "wall_minutes": 1.0},
    ]
    assert [
        cell.strip() for cell in next(line for line in text.splitlines() if line.startswith("| gtan ")).split("|")
    ] == [
        "",
        "gtan",
        "1",
        "0.9300",
        "one run",
        "1.0",
        "",
    ]
    assert str(measured.output) not in json.dumps(card)


def test_the_card_of_a_bundled_student_is_shown_by_name_and_left_as_it_is(capsys):
    file = weight_file.available()["student-30k"]
    before = file.stat().st_mtime_ns
    model_card.card(Card(Path("student-30k")))
    assert json.loads(capsys.readouterr().out) == weight_file.load("student-30k").card
    assert file.stat().st_mtime_ns == before


def test_a_card_of_no_student_says_what_to_give():
    with pytest.raises(UserError, match=r"student-40k is no student: give student-100k, student-30k, or a student's"):
        model_card.card(Card(Path("student-40k")))


@pytest.mark.slow
def test_nothing_is_installed_without_every_measurement(extension, measured):
    for change, message in (({"stress": None}, "hard cases"), ({"name": "student-x"}, "bundles student-100k")):
        with pytest.raises(UserError, match=message):
            install.export_student(dataclasses.replace(measured, **change), report=lambda text: None)
    assert not extension.exists()


@pytest.mark.slow
def test_measurements_of_other_weights_are_refused(extension, measured):
    content = json.loads(measured.stress.read_text()) | {"sha256": "0" * 64}
    measured.stress.write_text(json.dumps(content))
    with pytest.raises(UserError, match="about other weights"):
        install.export_student(measured, report=lambda text: None)
    measured.stress.write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        install.export_student(measured, report=lambda text: None)
    assert not extension.exists()


def put(measured) -> None:
    """Installs the student without the evaluation, which takes its time."""
    install.put(install.export_student(dataclasses.replace(measured, install=False), report=lambda text: None))


def test_the_old_files_stay_when_a_step_fails(extension, measured, monkeypatch):
    put(measured)
    before = {path: path.read_bytes() for path in extension.iterdir()}
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(UserError, match="differs from the trained network"):
        install.export_student(measured, report=lambda text: None)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in extension.iterdir()} == before


def test_an_ablation_without_this_student_is_refused(extension, measured):
    measured.ablation.write_text("[]")
    with pytest.raises(UserError, match="not have a run of student-30k"):
        install.export_student(measured, report=lambda text: None)
    assert not extension.exists()


def test_a_student_that_is_too_large_for_its_name_is_refused(measured, monkeypatch):
    monkeypatch.setitem(install.BUDGETS, "student-30k", 100)
    with pytest.raises(UserError, match="may have 100 parameters"):
        install.export_student(measured, report=lambda text: None)
    assert not measured.output.exists()


def test_samples_that_are_absent_forbid_it(extension, measured, monkeypatch, case):
    monkeypatch.setattr(install, "REQUIRED_CASES", ("another",))
    with pytest.raises(UserError, match="sample CTs, which are absent"):
        install.export_student(measured, report=lambda text: None)
    assert not extension.exists()


def test_a_teacher_that_is_not_the_committed_one_is_not_made_up(extension, trained, monkeypatch):
    monkeypatch.setattr(student_card, "TEACHER_FILE", trained.with_name("absent.safetensors"))
    part = student_card.training(trained, "student-30k")
    (digest,) = (one["sha256"] for one in checkpoint.read(trained)["teachers"].values())
    assert (
        part["teacher"] == {"widths": [3, 5, 7], "weights_sha256": digest}
        and "runs/teacher/checkpoint.pt" in part["command"]
    )
    history = RunHistory({"student-30k": {"training": part}}, reproduce.Folders(), None)
    assert f"| network-{digest[:12]} " in history.methods()
    assert list(history.notes()) == ["Run 1: of its teacher, of widths 3-5-7, only the digest is known."]
    [chain] = history.chains()
    assert chain.endswith(", without the teacher of run 1.")


def test_a_case_of_the_teacher_or_of_the_beginning_is_refused_too():
    for role in ("teacher", "start"):
        card = {"training": {"data": [], role: {"data": [{"name": "scan"}]}}}
        with pytest.raises(UserError, match="scan was trained on"):
            refuse_if_trained_on(["scan"], card)


def test_a_source_with_labels_of_two_makers_names_both():
    one = {"name": "ct", "origin": "somewhere", "license": "CC BY 4.0", "label": "a teacher"}
    both = model_card.merged(one, one | {"label": "a surgeon; a teacher"})
    assert both == one | {"label": "a surgeon; a teacher"}


def test_the_model_card_is_written_by_a_command(extension, measured, capsys):
    assert main(["card", "--bundled"]) == 2
    put(measured)
    expected = model_card.file().read_text(encoding="utf-8")
    model_card.file().write_text("by hand", encoding="utf-8")
    assert main(["card", "--bundled"]) == 0
    assert model_card.file().read_text(encoding="utf-8") == expected
    assert main(["card"]) == 2 and "--bundled" in capsys.readouterr().err
