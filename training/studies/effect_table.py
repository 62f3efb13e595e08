"""What groups of effects are worth, to read (Markdown, plot) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from LiverGTANLib.core.files import atomic_write
from training.evaluation.markdown import markdown_table
from training.evaluation.picture import save
from training.evaluation.summary import mean, mean_and_sd, mean_sd_text
from training.studies import paired_differences
from training.studies.effect_groups import BASE
from training.studies.stored_results import Result, write_json

FIGURES = {"dice": 4, "nsd2": 4, "hd95": 2}
"""Digits of each figure in the table."""
COUNTS = {"fluid_ml": "fluid, ", "tumor_ml": "tumor, "}
"""What is counted in the mask where a condition has no reference; elsewhere all of a mask that should be empty."""
Key = tuple[str, str]
"""A condition and where its examples come from."""


def write(folder: Path, results: list[Result]) -> None:
    """`table.json`, `table.md` and `table.png` of the finished runs."""
    write_json(folder / "table.json", results)
    with atomic_write(folder / "table.md") as part:
        part.write_text(markdown(results), encoding="utf-8")
    plot(results, folder / "table.png")


def markdown(results: list[Result]) -> str:
    """Figures of every group, paired differences, changes under the hard conditions, and how they were measured."""
    gains = paired_differences.table(results, BASE)
    parts = [figures_table(results), *([gains] if gains else []), *hard_tables(results), "\n".join(notes(results))]
    return "\n\n".join(parts) + "\n"


def groups_of(results: list[Result]) -> list[str]:
    """The names of the groups in the order of their first runs."""
    return list(dict.fromkeys(one["cell"]["arm"] for one in results))


def figures_table(results: list[Result]) -> str:
    """Mean ± sd over seeds of the mean over cases."""
    rows = []
    for group in groups_of(results):
        runs = [one for one in results if one["cell"]["arm"] == group]
        shown = [
            mean_sd_text(mean_and_sd([run_mean(run, name) for run in runs]), digits) for name, digits in FIGURES.items()
        ]
        error = mean_sd_text(mean_and_sd([100 * run_mean(run, "volume_error") for run in runs]), 1)
        minutes = mean([run["seconds"]["cpu"] / 60 for run in runs])
        rows.append([group, str(len(runs)), *shown, error, f"{minutes:.1f}"])
    head = ("Switched off", "Seeds", "Dice", "NSD 2 mm", "HD95 mm", "Volume error %", "CPU min")
    return markdown_table(head, [[named(row[0]), *row[1:]] for row in rows], text_columns=1)


def named(group: str) -> str:
    """A group in the column of what is switched off."""
    return f"nothing ({BASE})" if group == BASE else group


def run_mean(run: Result, name: str) -> float:
    """The mean of the size of a figure over a run's cases."""
    return mean([abs(case[name]) for case in run["cases"].values()])


def hard_tables(results: list[Result]) -> Iterator[str]:
    """Two tables: Dice points under the conditions with a reference, and mL in the mask elsewhere.

    The first row has the values of the run with all effects, the others the changes without a group, mean and by seed.
    """
    every = {seed: hard_figures(run) for seed, run in runs_of(results, BASE).items()}
    keys = list(dict.fromkeys(key for values in every.values() for key in values))
    known = {(one["condition"], one["source"]): one for one in results[0]["hard"]}
    for what, chosen in (
        ("Dice points", [key for key in keys if known[key]["kind"] == "reference"]),
        ("mL in the mask", [key for key in keys if known[key]["kind"] != "reference"]),
    ):
        if chosen:
            rows = [
                [named(BASE), *(f"{mean([values[key] for values in every.values()]):.1f}" for key in chosen)],
                *([group, *(change(results, group, key) for key in chosen)] for group in groups_of(results)[1:]),
            ]
            head = (f"Switched off ({what})", *(heading(known[key]) for key in chosen))
            yield markdown_table(head, rows, text_columns=1)


def heading(record: Result) -> str:
    """The column of a condition."""
    counted = next((words for name, words in COUNTS.items() if name in record["figures"]), "")
    return f"{counted}{record['condition']}, {record['source']}"


def runs_of(results: list[Result], group: str) -> dict[int, Result]:
    """Seed -> run of a group."""
    return {one["cell"]["seed"]: one for one in results if one["cell"]["arm"] == group}


def hard_figures(run: Result) -> dict[Key, float]:
    """Condition -> Dice points, or mL where there is no reference."""
    return {(one["condition"], one["source"]): figure(one["figures"]) for one in run["hard"]}


def figure(figures: dict[str, float]) -> float:
    """The figure of a condition that the table shows."""
    if "dice" in figures:
        return 100 * figures["dice"]
    return next((figures[name] for name in COUNTS if name in figures), figures["found_ml"])


def changes(results: list[Result], group: str, key: Key) -> list[float]:
    """A condition's figure without a group minus that with all effects, of the seeds that both have."""
    with_all, without = runs_of(results, BASE), runs_of(results, group)
    shared = [seed for seed in without if seed in with_all]
    return [hard_figures(without[seed])[key] - hard_figures(with_all[seed])[key] for seed in shared]


def change(results: list[Result], group: str, key: Key) -> str:
    """The same as a cell: the mean, and by seed."""
    found = changes(results, group, key)
    by_seed = " ".join(map(signed, found))
    return f"{signed(mean(found))} ({by_seed})" if len(found) > 1 else by_seed


def signed(value: float) -> str:
    """One digit behind the point, and no zero below zero."""
    return f"{round(value, 1) + 0.0:+.1f}"


def notes(results: list[Result]) -> Iterator[str]:
    """Runs, data, cases, and how to read the changes."""
    first = results[0]
    loop, data, cases, hard = first["loop"], first["data"], first["cases"], first["conditions"]
    stored, scans = (part["volumes"] for part in (first["volumes"][0], first["volumes"][-1]))
    seeds = ", ".join(str(seed) for seed in runs_of(results, BASE))
    yield (
        f"- Equal runs of widths {first['cell']['student']}: {loop['steps']} steps of {loop['batch']} volumes, peak "
        f"rate {loop['rate']:g}, seeds {seeds}, from random weights, Dice + cross entropy, labels alone. "
        f"{data['scan_share']:.0%} of the volumes are views of {scans} CTs, the others of {stored} synthetic volumes, "
        f"{' x '.join(map(str, data['window']))} voxels of {data['spacing_mm']:g} mm. All runs of a seed draw the same "
        "scans and volumes in the same order."
    )
    yield (
        f"- Dice at native resolution, numpy engine, mean of {len(cases)} cases ({', '.join(cases)}). Below 0 the "
        "student is worse without the group: it pays. Intervals over seeds and cases; of so few they are too narrow."
    )
    yield (
        f"- Hard conditions as `stress` makes them, {hard['volumes']} simulated volumes each: these come from the "
        "simulator of the synthetic volumes, with other seeds. Of the mL, fluid and whatever is found in a pelvis are "
        "wrong, and tumor is part of the liver."
    )
    if (spread := seed_spread(results)) is not None:
        yield f"- With all effects the seeds differ by {spread:.2f} Dice points on the cases."


def seed_spread(results: list[Result]) -> float | None:
    """Largest minus smallest mean Dice of the runs with all effects, in points; None for a single one."""
    dice = [100 * run_mean(run, "dice") for run in runs_of(results, BASE).values()]
    return max(dice) - min(dice) if len(dice) > 1 else None


def plot(results: list[Result], path: Path) -> None:
    """Change of Dice without each group, a dot a seed: on the cases, and on average of the hard conditions."""
    from matplotlib.figure import Figure

    groups = groups_of(results)[1:]
    student = results[0]["cell"]["student"]
    hard = [(one["condition"], one["source"]) for one in results[0]["hard"] if one["kind"] == "reference"]
    figure_ = Figure(figsize=(8, 1.3 + 0.4 * len(groups)), layout="constrained")
    axis = figure_.subplots()
    for place, group in enumerate(groups):
        dots = {"#2060a0": 100 * paired_differences.differences(results, student, group, BASE).mean(-1)}
        for color, source in (("#308040", "real"), ("#c03028", "simulated")):
            of_keys = [changes(results, group, key) for key in hard if key[1] == source]
            dots |= {color: np.mean(of_keys, axis=0)} if of_keys else {}
        for number, (color, values) in enumerate(dots.items()):
            axis.scatter(values, [place + 0.2 * (number - 1)] * len(values), s=22, color=color)
    for color, label in (
        ("#2060a0", "expert-labelled CTs"),
        ("#308040", "hard conditions, real"),
        ("#c03028", "hard conditions, simulated"),
    ):
        axis.scatter([], [], s=22, color=color, label=label)
    axis.axvline(0, color="0.5", linewidth=1)
    axis.set_yticks(range(len(groups)), groups)
    axis.set_ylim(max(len(groups), 1) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("Dice points without the group (a dot a seed): left of 0 it pays")
    figure_.legend(loc="outside lower center", ncols=3, fontsize=8)
    save(figure_, path)
