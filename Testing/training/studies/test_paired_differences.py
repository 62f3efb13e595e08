"""Gains over no distillation: paired by seed and case, with an interval that covers what it should."""

import numpy as np

from training.studies import paired_differences


def result(arm: str, seed: int, dice: list[float], steps: int | None = 3) -> dict:
    cell = {"arm": arm, "student": "student-30k", "seed": seed}
    return {"cell": cell, "steps": steps, "cases": {name: {"dice": value} for name, value in zip("abc", dice)}}


RESULTS = [
    result("student", 0, [0.90, 0.92, 0.94]),
    result("student", 1, [0.91, 0.90, 0.95]),
    result("kd", 0, [0.91, 0.93, 0.93]),
    result("kd", 1, [0.92, 0.92, 0.96]),
    result("kd", 2, [0.99, 0.99, 0.99]),  # no such seed without distillation
    result("bundled", 0, [0.97, 0.97, 0.97], steps=None),  # not trained here
]


def test_gains_are_paired_by_seed_and_case():
    gains = paired_differences.differences(RESULTS, "student-30k", "kd")
    np.testing.assert_allclose(gains, [[0.01, 0.01, -0.01], [0.01, 0.02, 0.01]])
    row = paired_differences.table(RESULTS).splitlines()[2]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[1:5] == ["student-30k", "kd", "2", "+0.83"] and cells[6:8] == ["+0.33 +1.33", "5 of 6"]
    low, high = (float(bound) for bound in cells[5].split(" to "))
    assert -1 < low < 0.83 < high < 2
    np.testing.assert_array_equal(gains, paired_differences.differences(RESULTS[::-1], "student-30k", "kd"))


def test_networks_that_no_run_trained_are_not_compared():
    assert "bundled" not in paired_differences.table(RESULTS)
    assert paired_differences.table([one for one in RESULTS if one["cell"]["arm"] != "student"]) == ""


def test_one_seed_has_no_interval():
    assert "one seed" in paired_differences.table([RESULTS[0], RESULTS[2]])


def test_the_interval_covers_the_mean_of_its_seeds_and_cases():
    random, covered = np.random.default_rng(1), 0
    for _ in range(60):
        gains = 0.01 + 0.004 * random.standard_normal((6, 1)) + 0.004 * random.standard_normal((1, 8))
        low, high = paired_differences.interval(gains + 0.002 * random.standard_normal((6, 8)))
        covered += low <= 0.01 <= high
    assert covered >= 48  # of 60: nearly 95 %, for so few seeds and cases somewhat less
