"""What the documentation says was measured is what the measurements wrote."""

import json
from pathlib import Path

import pytest

from training.evaluation.summary import mean, mean_and_sd

ROOT = Path(__file__).resolve().parents[3] / "training"


@pytest.mark.parametrize("name", ["ablation", "scratch", "variations", "designs"])
def test_the_readme_holds_the_tables_as_they_were_written(name):
    table = (ROOT / "results" / f"{name}.md").read_text(encoding="utf-8").strip()
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("student", ["student-100k", "student-30k"])
def test_the_ablation_lists_every_run_that_its_means_are_of(student):
    """Each row of the table again, from the runs in the JSON file beside it."""
    results = json.loads((ROOT / "results" / "ablation.json").read_text(encoding="utf-8"))
    text = (ROOT / "results" / "ablation.md").read_text(encoding="utf-8")
    for arm in ("student", "kd", "kd:cwd", "kd:dist", "takd", "dgkd", "gtan", "gtan-fresh"):
        runs = [one for one in results if (one["cell"]["student"], one["cell"]["arm"]) == (student, arm)]
        assert sorted(one["cell"]["seed"] for one in runs) == [0, 1, 2]
        assert len({one["steps"] for one in runs}) == 1 and all(one["seconds"]["cpu"] > 0 for one in runs)
        dice, sd = mean_and_sd([mean([case["dice"] for case in one["cases"].values()]) for one in runs])
        [row] = [line for line in text.splitlines() if f"| {student} |" in line and f"| {arm} |" in line]
        assert f"| {dice:.4f} ± {sd:.4f} |" in row
