"""What an arm of a study gains over its base, paired by seed and case, with an interval over both."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.evaluation.markdown import markdown_table
from training.studies.stored_results import Result

BASE = "student"
"""The ablation's arm without distillation."""
DRAWS = 10_000
"""Of the bootstrap: its percentiles then vary by less than a twentieth of the interval's width."""


def table(results: list[Result], base: str = BASE) -> str:
    """The differences of all arms as Markdown; empty where no arm shares a seed with the base."""
    cells = {(one["cell"]["student"], one["cell"]["arm"]) for one in results}
    students = dict.fromkeys(one["cell"]["student"] for one in results)
    arms = dict.fromkeys(one["cell"]["arm"] for one in results)
    rows = [
        [student, arm, *figures(gains)]
        for student in students
        for arm in arms
        if arm != base and (student, arm) in cells and len(gains := differences(results, student, arm, base))
    ]
    head = ("Student", "Arm", "Seeds", f"Dice points over `{base}`", "95 % interval", "By seed", "Better in")
    return markdown_table(head, rows, text_columns=2) if rows else ""


def differences(results: list[Result], student: str, arm: str, base: str = BASE) -> np.ndarray:
    """Dice of the arm minus that of the base, (seeds, cases), of the seeds that both have, in order."""
    ours, theirs = by_seed(results, student, arm), by_seed(results, student, base)
    shared = sorted(ours.keys() & theirs.keys())
    return np.array([[ours[seed][case] - theirs[seed][case] for case in theirs[seed]] for seed in shared])


def by_seed(results: list[Result], student: str, arm: str) -> dict[int, dict[str, float]]:
    """Seed -> case -> Dice."""
    return {
        one["cell"]["seed"]: {case: figures["dice"] for case, figures in one["cases"].items()}
        for one in results
        if (one["cell"]["student"], one["cell"]["arm"]) == (student, arm) and one["steps"]
    }


def figures(gains: np.ndarray) -> Iterator[str]:
    """The cells of a row: seeds, mean, interval, means by seed, and in how many of all pairs the arm is better."""
    yield str(len(gains))
    yield f"{100 * gains.mean():+.2f}"
    yield " to ".join(f"{100 * bound:+.2f}" for bound in interval(gains)) if len(gains) > 1 else "one seed"
    yield " ".join(f"{100 * gain:+.2f}" for gain in gains.mean(1))
    yield f"{np.count_nonzero(gains > 0)} of {gains.size}"


def interval(gains: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of the mean of (seeds, cases), both drawn anew with replacement (Owen 2007, the
    pigeonhole bootstrap). Of so few seeds and cases it is rather too narrow."""
    random = np.random.default_rng(0)
    seeds, cases = (random.integers(count, size=(DRAWS, count)) for count in gains.shape)
    means = gains[seeds[:, :, None], cases[:, None, :]].mean((1, 2))
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
