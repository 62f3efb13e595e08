"""`evaluate --bundled`: which cases, what is skipped, what is refused, and how the table reads."""

import csv

import pytest

from support.training_fixtures import measure_like
from training import paths
from training.__main__ import main
from training.data import held_out, samples
from training.errors import UserError
from training.evaluation.evaluate import EvaluationRow
from training.evaluation.metrics import Metrics
from training.release import held_out_table


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No data folder, and no network for the samples."""
    monkeypatch.setenv(paths.DATA_VARIABLE, str(tmp_path / "nothing"))

    def fetch():
        raise samples.SampleError("The sample CT could not be downloaded (no network).")

    monkeypatch.setattr(samples, "fetch", fetch)


def table() -> list[dict[str, str]]:
    return held_out_table.lines(
        [
            EvaluationRow(case, model, "numpy", 0.0, measure_like(dice))
            for model in ("student-a", "student-b")
            for case, dice in (("example_ct", 0.9), ("crlm_ct_1100_8bit", 1.0))
        ]
    )


def test_what_is_absent_is_reported_in_a_sentence(nowhere):
    reports = []
    assert held_out.cases(reports.append) == []
    assert len(reports) == 4 and "no network" in reports[0] and paths.DATA_VARIABLE in reports[1]


def test_without_any_case_the_command_says_what_is_needed(nowhere, capsys, tmp_path):
    assert main(["evaluate", "--bundled", "--output", str(tmp_path / "table.csv")]) == 2
    assert "no held-out case" in capsys.readouterr().err and not (tmp_path / "table.csv").exists()


def test_the_case_with_a_human_reference_is_found_where_the_data_are(sharedData, monkeypatch):
    monkeypatch.setenv(paths.DATA_VARIABLE, str(sharedData))
    assert [case.name for case in held_out.human_labelled_cases()] == list(held_out.HUMAN_LABELLED)


def test_rows_come_case_by_case_and_means_last():
    lines = table()
    assert [line["case"] for line in lines] == ["example_ct"] * 2 + ["crlm_ct_1100_8bit"] * 2 + [
        "mean, expert-labelled"
    ] * 2 + ["mean, samples"] * 2
    assert [line["dice"] for line in lines[-4:]] == ["1.0000"] * 2 + ["0.9000"] * 2  # not mixed
    assert lines[-1]["volume_error"] == "0.1000"  # the size of -10 %


def test_a_mean_over_a_case_without_a_mask_is_not_that_of_the_others():
    missed = Metrics(0.0, 0.0, 0.0, float("nan"), float("nan"), 0.0, 1000.0)
    rows = [
        EvaluationRow(case, "student-a", "numpy", 0.0, metrics)
        for case, metrics in (("msd_liver_05", measure_like(0.9)), ("crlm_ct_1100_8bit", missed))
    ]
    mean = held_out_table.lines(rows)[-1]
    assert (mean["dice"], mean["hd95"], mean["assd"], mean["volume_error"]) == ("0.4500", "nan", "nan", "0.5500")


def test_the_table_is_aligned_and_names_the_makers_of_the_references(tmp_path):
    text = held_out_table.write(table(), tmp_path / "table.csv")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "**student-a, numpy**" in text and "**student-b, numpy**" in text
    assert len(rows) == 12 and len({len(row) for row in rows}) == 1 and len(rows[0]) <= 120
    assert "-10.0%" in rows[2] and "10.0%" in rows[-1] and "-10.0%" not in rows[-1]
    assert "- crlm_ct_1100_8bit: human-corrected" in text and "not a radiologist" in text
    assert "- crlm_ct_1100_8bit: validation of training, fit of the temperature" in text
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["reference"] for row in csv.DictReader(stream)][-1] == "1 cases"


def test_a_case_that_was_trained_on_is_refused_before_anything_runs(monkeypatch):
    class Known:
        name = "icrp110_male"

    with pytest.raises(UserError, match="icrp110_male was trained on"):
        next(held_out_table.rows(["student-100k"], [Known()]))


@pytest.mark.parametrize(
    "words", [["evaluate"], ["evaluate", "student-100k"], ["evaluate", "student-100k", "--bundled"]]
)
def test_an_incomplete_evaluation_is_explained(words, capsys):
    assert main(words) == 2
    assert "--bundled" in capsys.readouterr().err
