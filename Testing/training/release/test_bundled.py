"""The bundled students: card, hash, budget, both engines, and the figures on the real sample scans, together."""

import re

import pytest

from LiverGTANLib.core import weight_file
from training import options, paths
from training.data import held_out
from training.evaluation.card_parts import stored, whole
from training.evaluation.training_history import runs
from training.fit import checkpoint, network_file
from training.fit.run_record import MethodRecord
from training.model import nets
from training.release import held_out_table, install, model_card, reproduce, student_card

LEAST_DICE = {"student-100k": 0.90, "student-30k": 0.85}
NAMES = sorted(LEAST_DICE)
SHOWN = {"dice": 0.003, "nsd2": 0.02, "nsd3": 0.02, "hd95": 0.5, "assd": 0.1, "volume_error": 0.005}
"""How far a figure may be from the card's on another processor."""


@pytest.fixture(scope="module")
def rows(sampleFolder):
    """Both students with both engines on the sample cases, by (student, case, engine)."""
    cases = held_out.sample_cases()
    return {(row.model, row.case, row.engine): row for row in held_out_table.rows(NAMES, cases)}


def test_the_bundled_students_are_those_of_the_budgets():
    assert sorted(weight_file.available()) == sorted(install.BUDGETS) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_engines_give_the_figures_of_the_card(name, rows):
    on_card = {(row["case"], row["engine"]): row for row in weight_file.load(name).card["metrics"]}
    found = {key[1:]: row for key, row in rows.items() if key[0] == name}
    assert len(found) == 4 and found.keys() <= on_card.keys()
    for key, row in found.items():
        assert row.metrics.dice >= LEAST_DICE[name], key
        for figure, tolerance in SHOWN.items():
            assert getattr(row.metrics, figure) == pytest.approx(on_card[key][figure], abs=tolerance), (key, figure)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_engines_agree_on_the_samples(name, rows):
    for case in {key[1] for key in rows}:
        numpy_row, torch_row = (rows[name, case, engine].metrics for engine in ("numpy", "torch"))
        assert numpy_row.dice == pytest.approx(torch_row.dice, abs=0.002), case


@pytest.mark.parametrize("name", NAMES)
def test_the_card_fits_the_weights_and_the_budget(name):
    bundle = weight_file.load(name)  # refuses weights whose SHA-256 is not the card's
    card, net = bundle.card, nets.UNet3D(bundle.widths)
    assert card["name"] == name
    assert card["parameters_before_folding"] == nets.parameters(net) <= install.BUDGETS[name]
    assert card["parameters"] == sum(array.size for array in bundle.weights.values())
    shown = f"{nets.gmac(net):.3f} G for {' x '.join(map(str, options.WINDOW))} voxels"
    assert shown in model_card.file().read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_complete_and_honest(name):
    card = whole(weight_file.load(name).card)
    training = card["training"]
    assert all(source["license"] and source["origin"] and source["label"] for source in training["data"])
    trained = {source["name"] for source in training["data"]}
    assert trained and not trained & {row["case"] for row in card["metrics"]}
    assert all(row["reference"] != "not stated" for row in card["metrics"])
    assert "dirty" not in training["code"] and len(card["limitations"]) >= 3
    assert training["command"].startswith("python -m training fit") and training["banks"]
    assert "Not a medical device" in card["intended_use"] and card["date"]


@pytest.mark.parametrize("name", NAMES)
def test_the_card_holds_each_part_of_its_history_once(name):
    card = weight_file.load(name).card
    assert stored(whole(card)) == card


CONDITIONS = (
    "non-contrast CT",
    "arterial",
    "slices of 5 mm",
    "slices of 8 mm",
    "low dose",
    "fatty",
    "tumor",
    "effusion",
    "ascites",
    "splenomegaly",
    "cropped field",
    "cut at the top",
    "cut at the bottom",
    "arms down",
    "chest",
    "pelvis",
    "no liver",
    "head",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_holds_every_measurement(name):
    card = weight_file.load(name).card
    assert card["calibration"]["temperature"] > 0 and card["calibration"]["ece_before"] > 0
    assert not set(card["calibration"]["measured_on"]) & set(card["calibration"]["fitted_on"])
    assert all(one["setup"] and one["result"] and one["expectation"] for one in card["hard_cases"])
    measured = " ".join(one["condition"] for one in card["hard_cases"])
    assert not [condition for condition in CONDITIONS if condition not in measured]
    assert all(command in card["commands"] for command in ("calibrate", "stress"))
    assert {row["case"] for row in card["metrics"]} >= set(held_out.HUMAN_LABELLED)


def committed_teachers(name: str) -> list[dict]:
    """What a card says of the committed teacher, in whichever of its runs that taught."""
    training = whole(weight_file.load(name).card)["training"]
    teachers = [run["teacher"] for run in runs(training) if run["teacher"]]
    return [teacher for teacher in teachers if teacher.get("file") == paths.TEACHER]


@pytest.mark.parametrize("name", NAMES)
def test_the_card_names_the_committed_teacher_and_all_compute(name):
    assert nets.parameters(checkpoint.network(student_card.TEACHER_FILE)) == 1_255_697
    digests = [teacher["sha256"] for teacher in committed_teachers(name)]
    assert network_file.sha256(student_card.TEACHER_FILE) in digests
    training = whole(weight_file.load(name).card)["training"]
    for part in (training, *committed_teachers(name)):
        assert all(minutes > 0 for minutes in part["minutes"].values()) and "dirty" not in part["code"]


def test_the_model_card_names_every_run_and_teacher_once():
    text = model_card.file().read_text(encoding="utf-8")
    cards = {name: whole(weight_file.load(name).card) for name in NAMES}
    folders = reproduce.Folders()
    reproduce.commands(cards, folders)
    known = {run["command"]: run for card in cards.values() for run in runs(card["training"])}
    for run in known.values():
        folder = folders.of(run).removeprefix("runs/")
        [row] = [line for line in text.splitlines() if re.match(rf"\| \d+ +\| {folder} ", line)]
        assert f" {run['steps']:,} " in row
        if run["teacher"]:
            teacher = folders.of_teacher(run["teacher"]).removeprefix("runs/")
            assert re.search(rf"\| \d+ +\| {teacher} ", text) or f"| {teacher} " in row


def test_no_line_of_the_model_card_is_too_wide_to_read():
    lines = model_card.file().read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_of_the_teacher_what_its_own_file_says(name):
    committed, digest = checkpoint.read(student_card.TEACHER_FILE), network_file.sha256(student_card.TEACHER_FILE)
    [teacher] = [one for one in committed_teachers(name) if one["sha256"] == digest]
    assert teacher["watched_dice"] and teacher["watched_dice"] == committed["watched"]
    assert {key: teacher[key] for key in committed["training"]} == committed["training"]


@pytest.mark.parametrize("name", NAMES)
def test_facts_of_the_training_are_fields_that_make_the_commands(name):
    training = whole(weight_file.load(name).card)["training"]
    for run in runs(training):
        assert MethodRecord.of(run["method"]).sentence and run["seeds"]
        assert all(part.partition(" --run ")[1] for part in run["command"].split(" && "))
        assert run["command"].endswith(f"--run {run['run']}") or f"--run {run['run']} " in run["command"]


def test_the_model_card_is_what_the_json_cards_say():
    assert model_card.file().read_text(encoding="utf-8") == model_card.text(model_card.bundled_sheets())
