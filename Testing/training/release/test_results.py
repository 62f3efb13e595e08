"""What the documentation says was measured is what the measurements wrote."""

import json

import pytest

from training.evaluation.seal import is_sealed
from training.evaluation.summary import mean, mean_and_sd
from training.paths import ROOT
from training.studies import ablation, design_table, effect_table

RESULTS = ROOT / "training" / "results"
README = (RESULTS / "README.md").read_text(encoding="utf-8")


def test_the_readme_holds_what_the_arms_gain_as_it_was_written():
    assert (RESULTS / "ablation.md").read_text(encoding="utf-8").split("\n\n")[1] in README


def test_the_readme_holds_the_folds_as_they_were_written():
    assert (RESULTS / "cross-validation.md").read_text(encoding="utf-8").strip() in README


def test_the_readme_leads_to_every_table_and_picture():
    files = [file.name for file in RESULTS.iterdir() if file.suffix in (".md", ".png") and file.name != "README.md"]
    assert [name for name in files if f"({name})" not in README] == ["cross-validation.md"]


def test_the_table_of_the_ablation_is_that_of_its_runs():
    results = json.loads((RESULTS / "ablation.json").read_text(encoding="utf-8"))
    written = (RESULTS / "ablation.md").read_text(encoding="utf-8")
    lines = written.partition("\n\n")[0].splitlines()
    shown = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines if "| student-" in line]
    rows = [ablation.summarize(results, arm, student) for student, arm in shown]
    assert {(run["cell"]["student"], run["cell"]["arm"]) for run in results} == {tuple(pair) for pair in shown}
    assert written.startswith(ablation.markdown(rows, results, {}).rstrip())  # the line of the teacher comes last
    assert len({one["steps"] for one in results}) == 1 and all(is_sealed(one) for one in results)


def test_the_table_of_designs_is_that_of_its_runs():
    content = json.loads((RESULTS / "designs.json").read_text(encoding="utf-8"))
    results, times = content["results"], content["times"]
    rows = design_table.table_rows(results, times)
    assert design_table.markdown(rows, results, times) == (RESULTS / "designs.md").read_text(encoding="utf-8")


def test_the_table_of_effects_is_that_of_its_runs():
    results = json.loads((RESULTS / "effects.json").read_text(encoding="utf-8"))
    assert effect_table.markdown(results) == (RESULTS / "effects.md").read_text(encoding="utf-8")
    assert len({(one["steps"], one["network_sha256"]) for one in results}) == len(results)
    assert all(is_sealed(one) for one in results) and len({one["steps"] for one in results}) == 1


@pytest.mark.parametrize("arm", ["student", "kd", "gtan"])
@pytest.mark.parametrize("student", ["student-30k", "student-100k"])
def test_the_ablation_lists_every_run_that_its_means_are_of(student, arm):
    """Each row of the table again, from the runs in the JSON file beside it."""
    results = json.loads((RESULTS / "ablation.json").read_text(encoding="utf-8"))
    runs = [one for one in results if (one["cell"]["student"], one["cell"]["arm"]) == (student, arm)]
    assert sorted(one["cell"]["seed"] for one in runs) == [0, 1, 2]
    assert all(one["seconds"]["cpu"] > 0 for one in runs)
    again = mean_and_sd([mean([case["dice"] for case in one["cases"].values()]) for one in runs])
    assert ablation.summarize(results, arm, student)["dice"] == pytest.approx(again)


@pytest.mark.parametrize("name", ["30k", "100k"])
def test_the_cards_hold_what_calibration_measured(name):
    from training.evaluation.calibration.report import card_entry

    card = json.loads((ROOT / f"LiverGTAN/Resources/Models/student-{name}.json").read_text(encoding="utf-8"))
    calibration = json.loads((RESULTS / f"calibration-{name}.json").read_text(encoding="utf-8"))
    assert card["calibration"] == card_entry(calibration) and calibration["sha256"] == card["sha256"]


@pytest.mark.parametrize("name", ["30k", "100k"])
def test_the_cards_hold_the_hard_cases_of_the_table(name):
    card = json.loads((ROOT / f"LiverGTAN/Resources/Models/student-{name}.json").read_text(encoding="utf-8"))
    table = (RESULTS / f"stress-{name}.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    listed = [
        {"condition": f"{'none of these' if condition == 'none' else condition} ({source})"}
        | {"setup": setup, "result": result, "expectation": expectation}
        for condition, source, setup, result, expectation in rows[1:]
    ]
    assert listed == card["hard_cases"]
