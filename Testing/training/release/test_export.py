"""From a checkpoint to a student file: folding, parity of the engines, card, evaluation."""

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.phantom import phantom_ct
from LiverGTANLib.core.volume import HU_WINDOW, SPACING_MM
from LiverGTANLib.standalone.image_files import image_of
from support.training_fixtures import makeBank, measure_like, noValidation, options, runWithBest, smallConfig
from training.__main__ import main
from training.data.bank import Bank
from training.data.cases import Case
from training.errors import UserError
from training.evaluation import evaluate
from training.evaluation.card_parts import stored, whole
from training.evaluation.metrics import measure
from training.fit import checkpoint, loop, methods
from training.model import folding, nets
from training.release import export, held_out_table, provenance, reproduce, student_card

WIDTHS = (2, 3, 5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of a network that has learned a little, so that its batch norms have statistics."""
    folder = tmp_path_factory.mktemp("run")
    config = smallConfig(makeBank(folder / "bank"), steps=10, rate=0.02)
    return loop.fit(methods.supervised("student", WIDTHS, config), config, folder, noValidation)


@pytest.fixture(scope="module")
def phantomCase(tmp_path_factory):
    """A phantom's CT and mask as files; coarse, for a network that has learned little answers with much surface."""
    folder, (ct, liver) = tmp_path_factory.mktemp("case"), phantom_ct((5.0, 5.0, 5.0))
    for name, array in (("phantom-7", ct.hu), ("liver", liver)):
        sitk.WriteImage(image_of(array, ct.ijk_to_ras), str(folder / f"{name}.nii.gz"))
    return f"{folder / 'phantom-7.nii.gz'}={folder / 'liver.nii.gz'}"


def write(trained, path):
    net = checkpoint.network(trained)
    card = student_card.complete(folding.card("student-test", net, SPACING_MM, HU_WINDOW), trained)
    return net, export.write(net, path, card)


def test_folding_changes_nothing(trained):
    net = checkpoint.network(trained)
    exact = folding.in_memory(net, "net", SPACING_MM, HU_WINDOW)
    image = export.probe(net.multiple)
    expected = folding.forward(net, image)
    assert np.abs(expected).max() > 0.05
    for engine in export.exact(exact):
        assert np.abs(engine.forward(image) - expected).max() < 1e-4


def test_the_written_student_runs_in_both_engines_like_the_network(trained, tmp_path):
    net, written = write(trained, tmp_path / "student-test.npz")
    assert set(export.differences(net, written)) == {"numpy", "torch"}
    assert max(export.differences(net, written).values()) < 1e-4
    image = export.probe(net.multiple)
    assert np.abs(folding.forward(export.rounded(net), image) - folding.forward(net, image)).max() < 0.05
    assert weight_file.load(tmp_path / "student-test.json").widths == WIDTHS


def test_an_engine_that_departs_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(UserError, match="differs from the trained network"):
        write(trained, tmp_path / "student-test.npz")
    assert not list(tmp_path.iterdir())


def test_the_card_tells_where_the_student_comes_from(trained, tmp_path):
    _, written = write(trained, tmp_path / "student-test.npz")
    card = written.card
    assert card["training"]["steps"] == 10 and [one["volumes"] for one in card["training"]["banks"]] == [6]
    assert card["training"]["data"] == [
        {
            "name": "phantom",
            "origin": provenance.origin("phantom", "synthetic")["origin"],
            "license": "Apache-2.0",
            "label": "exact",
        }
    ]
    assert card["metrics"] == [] and "Not a medical device" in card["intended_use"]
    assert "phantom alone" in card["limitations"][0] and len(student_card.limitations([{"name": "scan"}])) >= 3
    assert str(tmp_path) not in json.dumps(card)


def test_data_of_unknown_origin_are_not_stated_on_a_card(tmp_path):
    bank = tmp_path / "bank"
    bank.mkdir()
    (bank / "bank.json").write_text("{}")
    (bank / "index.jsonl").write_text('{"i": 0, "source": "found_on_a_usb_stick", "kind": "real"}\n{"i": 1, "sou\n')
    [source] = provenance.sources([bank])
    assert source == {"name": "found_on_a_usb_stick"} | dict.fromkeys(("origin", "license", "label"), "not stated")
    assert "not stated" in student_card.limitations([source])[0]
    assert "Of some of the training data" in student_card.limitations([source, {"name": "scan"}])[-1]
    with pytest.raises(UserError, match="does not say where found_on_a_usb_stick come from"):
        provenance.require_stated([source])


def exported(trained, folder, *more):
    return main(["export", str(trained), "--name", "student-test", "--output", str(folder), *more])


def test_a_data_set_of_ones_own_is_exported_without_a_table_of_origins(tmp_path, capsys):
    bank = Bank.open(makeBank(tmp_path / "bank"), writable=True)
    (bank.path / "index.jsonl").write_text((bank.path / "index.jsonl").read_text().replace("phantom-", "patient-"))
    config = smallConfig(bank.path, steps=2)
    file = loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path / "run", noValidation)
    assert exported(file, tmp_path / "out") == 0
    card = whole(weight_file.load(tmp_path / "out" / "student-test.json").card)
    assert {source["license"] for source in card["training"]["data"]} == {"not stated"}
    assert len(card["training"]["data"]) == 6 and "not stated" in card["limitations"][0]


def test_an_unfinished_run_is_not_exported_and_its_best_step_is(tmp_path, capsys):
    config = smallConfig(makeBank(tmp_path / "bank"), steps=4, validate_every=2)
    run = runWithBest(config, tmp_path, 0.75)
    assert exported(run.file, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "is at step 2 of 4; let the run finish first" in error and "best.pt" in error
    assert not (tmp_path / "out").exists()
    assert exported(tmp_path / "best.pt", tmp_path / "out") == 0
    assert "step 2 of 4, the best by validation (mean Dice 0.7500)" in capsys.readouterr().out
    training = whole(weight_file.load(tmp_path / "out" / "student-test.json").card)["training"]
    assert training["chosen_by"] == {"validation_dice": 0.75, "of_steps": 4} and training["steps"] == 2
    [command] = reproduce.export_commands("student-test", {"training": training})
    assert command == "python -m training export runs/student-test/best.pt --name student-test"


def test_a_shift_moves_every_logit_and_is_on_the_card(trained, tmp_path):
    words = ["export", str(trained), "--name", "student-test"]
    assert main([*words, "--output", str(tmp_path / "a")]) == 0
    assert main([*words, "--output", str(tmp_path / "b"), "--shift", "-0.5"]) == 0
    plain, moved = (weight_file.load(tmp_path / folder / "student-test.json") for folder in "ab")
    assert np.allclose(moved.weights["head.bias"], plain.weights["head.bias"] - 0.5, atol=1e-3)
    plain, moved = (whole(one.card) for one in (plain, moved))
    assert "logit_shift" not in plain["training"] and moved["training"]["logit_shift"] == -0.5
    [command] = reproduce.export_commands("student-test", moved)
    assert command.endswith("--name student-test --shift -0.5")


def test_the_cases_that_were_watched_are_on_the_card_wherever_they_were_named(tmp_path):
    config = smallConfig(makeBank(tmp_path / "bank"), steps=2, validate_every=1)
    task = methods.supervised("student", WIDTHS, config)
    file = loop.fit(task, config, tmp_path / "run", lambda net: {"set_aside": 0.5})
    assert student_card.training(file, "student-test")["watched"] == ["set_aside"]


def test_a_run_from_a_student_file_tells_the_history_of_both_and_stores_what_they_share_once(trained, tmp_path):
    assert exported(trained, tmp_path / "first") == 0
    first = tmp_path / "first" / "student-test.json"
    config = smallConfig(makeBank(tmp_path / "bank"), steps=2, start=first)
    file = loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path / "run", noValidation)
    assert exported(file, tmp_path / "second") == 0
    begun, card = (weight_file.load(folder / first.name).card for folder in (first.parent, tmp_path / "second"))
    assert whole(card)["training"]["start"] == whole(begun)["training"]
    assert card == stored(whole(card)) and set(begun["training_parts"]) < set(card["training_parts"])


def test_another_student_is_not_overwritten(trained, tmp_path, capsys):
    assert exported(trained, tmp_path) == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    config = smallConfig(makeBank(tmp_path / "other" / "bank"), steps=2)
    other = loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path / "other" / "run", noValidation)
    assert exported(other, tmp_path) == 2
    assert "holds a student of other weights" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


def test_half_a_student_is_not_overwritten(trained, tmp_path, capsys):
    (tmp_path / "student-test.json").write_text("my notes")
    assert exported(trained, tmp_path) == 2
    assert "is there, but cannot be read" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["student-test.json"]


def test_the_same_weights_keep_the_figures_of_their_card(trained, tmp_path, capsys):
    assert exported(trained, tmp_path) == 0
    card = weight_file.load(tmp_path / "student-test.json").card | {"metrics": [{"case": "a", "dice": 0.9}]}
    student_card.write(tmp_path / "student-test.npz", card)
    assert exported(trained, tmp_path) == 0
    assert weight_file.load(tmp_path / "student-test.json").card["metrics"] == [{"case": "a", "dice": 0.9}]
    assert "its card keeps metrics" in capsys.readouterr().out


TABLE = """case,model,engine,seconds,dice
a,student-test,numpy,0.1,0.91
a,student-other,numpy,0.1,0.99
mean of experts,student-test,numpy,0.1,0.95
"""


def test_a_card_takes_its_own_cases_alone(trained, tmp_path, capsys):
    write(trained, tmp_path / "student-test.npz")
    heading = next(iter(held_out_table.MEANS))
    (tmp_path / "table.csv").write_text(TABLE.replace("mean of experts", f'"{heading}"'))
    assert main(["card", str(tmp_path / "student-test.npz"), "--metrics", str(tmp_path / "table.csv")]) == 0
    rows = weight_file.load(tmp_path / "student-test.json").card["metrics"]
    assert [(row["case"], row["dice"]) for row in rows] == [("a", 0.91)]
    assert "2 rows of other students, or of means, were left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("case,model,engine,dice\na,student-other,numpy,0.9\n", "has cases of student-other, none of student-test"),
        ("name,score\na,0.9\n", "lacks the columns case, model, engine, dice"),
        ("case,model,engine,dice\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_a_table_that_says_nothing_of_the_student_changes_no_card(trained, tmp_path, content, message, capsys):
    write(trained, tmp_path / "student-test.npz")
    before = (tmp_path / "student-test.json").read_bytes()
    (tmp_path / "table.csv").write_text(content)
    assert main(["card", str(tmp_path / "student-test.npz"), "--metrics", str(tmp_path / "table.csv")]) == 2
    assert message in capsys.readouterr().err and (tmp_path / "student-test.json").read_bytes() == before


@pytest.mark.slow
def test_evaluation_reaches_the_card_and_the_picture(trained, phantomCase, tmp_path, capsys):
    write(trained, tmp_path / "student-test.npz")
    table = tmp_path / "evaluation.csv"
    arguments = [
        "evaluate",
        str(tmp_path / "student-test.json"),
        "--cases",
        phantomCase,
        "--engines",
        "numpy",
        "torch",
        "--output",
        str(table),
        "--picture",
        str(tmp_path / "cases.png"),
    ]
    assert main(arguments) == 0
    assert f"Wrote {table}, {table.with_suffix('.summary.csv')}, " in capsys.readouterr().out
    assert (tmp_path / "cases.png").stat().st_size > 10_000
    assert main(["card", str(tmp_path / "student-test.npz"), "--metrics", str(table)]) == 0
    rows = weight_file.load(tmp_path / "student-test.json").card["metrics"]
    assert [row["engine"] for row in rows] == ["numpy", "torch"]
    assert rows[0]["dice"] == pytest.approx(rows[1]["dice"], abs=0.01)
    assert f'"dice": {rows[0]["dice"]}' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("words", [["student-30k", "--cases"], ["--bundled"]])
def test_an_evaluation_replaces_no_figures_unasked(words, phantomCase, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(held_out_table, "cases", lambda: [Case.parse(phantomCase)])
    given = ["evaluate", *words, *([phantomCase] if "--cases" in words else [])]
    assert main(given) == 0 and not list(tmp_path.iterdir())
    printed = capsys.readouterr().out
    assert "phantom-7" in printed and "--output FILE.csv" in printed
    assert main([*given, "--output", "kept.csv"]) == 0
    assert "phantom-7" in (tmp_path / "kept.csv").read_text() and "Wrote kept.csv" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_from_labels_to_an_evaluated_student_in_one_command(phantomCase, tmp_path):
    words = [
        "fit",
        "all",
        "--name",
        "student-test",
        "--run",
        str(tmp_path / "run"),
        "--cases",
        phantomCase,
        "--student-widths",
        "2",
        "3",
        "--teacher-widths",
        "3",
        "5",
        *options(smallConfig(makeBank(tmp_path / "bank"), steps=4)),
    ]
    assert main(words) == 0
    card = whole(weight_file.load(tmp_path / "run" / "student-test.json").card)
    assert [row["engine"] for row in card["metrics"]] == ["numpy", "torch"]
    assert card["training"]["method"]["stage"] == "gtan" and card["training"]["teacher"]["widths"] == [3, 5]


@pytest.mark.slow
def test_a_checkpoint_and_its_student_file_agree(trained, phantomCase, tmp_path):
    write(trained, tmp_path / "student-test.npz")
    case = Case.parse(phantomCase)
    found = [
        next(evaluate.evaluate(str(source), [case], ("numpy",)))[1]
        for source in (trained, f"{trained}:student", tmp_path / "student-test.json")
    ]
    assert np.array_equal(found[0], found[1])
    assert (found[0] != found[2]).mean() < 0.001


@pytest.mark.slow
def test_a_folder_of_masks_is_evaluated_too(phantomCase, tmp_path):
    case = Case.parse(phantomCase)
    moved = np.roll(case.mask, 1, 0).astype(np.uint8)
    sitk.WriteImage(image_of(moved, case.ct.ijk_to_ras), str(tmp_path / f"{case.name}.nii.gz"))
    row, mask = next(evaluate.evaluate(str(tmp_path), [case], ()))
    assert row.metrics == measure(moved > 0, case.mask, case.ct.ijk_to_ras)
    assert np.array_equal(mask, moved > 0)
    other = dataclasses.replace(case, ct_path=case.ct_path.with_name("other.nii.gz"))
    with pytest.raises(UserError, match="does not hold a mask named other"):
        evaluate.saved_mask(tmp_path, other)


@pytest.mark.slow
def test_the_label_of_a_case_is_chosen(phantomCase):
    files, case = phantomCase, Case.parse(f"{phantomCase}:1")
    assert case.label == 1 and np.array_equal(case.mask, Case.parse(files).mask)
    assert not Case.parse(f"{files}:5").mask.any()


@pytest.mark.parametrize("text", ["ct.nii.gz", "ct.nii.gz=seg.nii.gz:liver", "absent.nii.gz=absent.nii.gz"])
def test_bad_cases_are_refused(text):
    with pytest.raises(UserError):
        Case.parse(text)


def test_summary_knows_which_way_is_worse():
    rows = [evaluate.EvaluationRow(str(n), "m", "e", 0.0, measure_like(dice)) for n, dice in enumerate((0.5, 0.9, 1.0))]
    table = {line["metric"]: line for line in evaluate.summary(rows)}
    assert (table["dice"]["worst_decile"], table["dice"]["mean"], table["dice"]["cases"]) == ("0.5000", "0.8000", "3")
    assert table["hd95"]["worst_decile"] == "5.0000" and table["volume_error"]["worst_decile"] == "-0.1000"


def test_the_summary_tells_how_many_figures_are_undefined():
    nothing = dataclasses.replace(measure_like(0.0), hd95=float("nan"), assd=float("nan"))
    rows = [evaluate.EvaluationRow(str(n), "m", "e", 0.0, one) for n, one in enumerate((measure_like(0.9), nothing))]
    table = {line["metric"]: line for line in evaluate.summary(rows)}
    assert (table["hd95"]["cases"], table["hd95"]["undefined"], table["hd95"]["mean"]) == ("1", "1", "1.0000")
    assert (table["dice"]["cases"], table["dice"]["undefined"]) == ("2", "0")
    [nowhere] = [line for line in evaluate.summary(rows[1:]) if line["metric"] == "hd95"]
    assert (nowhere["cases"], nowhere["undefined"], nowhere["mean"]) == ("0", "1", "nan")


def test_a_case_that_was_trained_on_reaches_no_card(trained, tmp_path):
    write(trained, tmp_path / "student-test.npz")
    card = tmp_path / "student-test.json"
    before = card.read_text()
    (tmp_path / "table.csv").write_text("case,model,engine,dice\nphantom,student-test,numpy,0.99\n")
    with pytest.raises(UserError, match="phantom was trained on"):
        student_card.rewrite(card, tmp_path / "table.csv")
    assert card.read_text() == before


def test_a_network_that_cannot_be_halved_is_refused(tmp_path):
    net = nets.UNet3D((2, 3)).eval()
    with torch.no_grad():
        net.head.weight.fill_(1e6)
    with pytest.raises(ValueError, match="float16"):
        export.write(net, tmp_path / "student.npz", folding.card("student", net, SPACING_MM, HU_WINDOW))
