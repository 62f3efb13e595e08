"""The comparison of designs to read (Markdown, plot) and for programs (JSON)."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

from LiverGTANLib.core.files import atomic_write
from training.evaluation.markdown import markdown_table
from training.evaluation.picture import save
from training.model.nets import STEM
from training.studies.stored_results import write_json

HEAD = (
    "Design",
    "Widths",
    "Stem",
    "Grid mm",
    "Parameters",
    "GMAC",
    "Dice",
    "Dice by seed",
    "Dice by case",
    "HD95 mm",
    "Volume error",
    "NumPy ms",
    "torch ms",
    "CPU min",
    "Assistant grows to the teacher",
)
MARKERS = "osD^v<>PX*"
COLORS = ("#c03028", "#2060a0", "#308040")
FOUND = 0.5
"""Less mean Dice is a run that failed, not a point of a trade-off."""


def write(folder: Path, results: list[dict], times: dict[str, Any]) -> None:
    """`table.json`, `table.md` and `table.png` of the finished designs."""
    times = times | {"load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None}
    rows = table_rows(results, times)
    content = {"results": results, "times": times}
    write_json(folder / "table.json", content)
    with atomic_write(folder / "table.md") as part:
        part.write_text(markdown(rows, results, times), encoding="utf-8")
    plot(rows, folder / "table.png")


def table_rows(results: list[dict], times: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a design, of all its runs."""
    groups: dict[str, list[dict]] = {}
    for result in results:
        groups.setdefault(result["design"]["name"], []).append(result)
    return [row(group, times["designs"][name]) for name, group in groups.items()]


def row(group: list[dict], times: dict[str, Any]) -> dict[str, Any]:
    """What table and plot show of one design: means over its runs, one a seed, and the cases."""
    every = [list(result["cases"].values()) for result in group]
    by_seed = [statistics.fmean(case["dice"] for case in cases) for cases in every]
    figures = [case for cases in every for case in cases]
    errors = [abs(case["volume_ml"] / case["reference_ml"] - 1) for case in figures if case["reference_ml"]]
    return {
        **group[0]["design"],
        "parameters": group[0]["parameters"],
        "growth": group[0]["growth"],
        "by_seed": by_seed,
        "dices": [statistics.fmean(case["dice"] for case in of_case) for of_case in zip(*every, strict=True)],
        "dice": statistics.fmean(by_seed),
        "hd95": statistics.fmean(case["hd95"] for case in figures),
        "volume_error": statistics.fmean(errors) if errors else float("nan"),
        "gmac": times["gmac"],
        "numpy": times["numpy"]["median"] if "numpy" in times else None,
        "torch": times["torch"]["median"],
        "cpu": statistics.fmean(result["seconds"]["cpu"] / 60 for result in group),
    }


def markdown(rows: list[dict], results: list[dict], times: dict[str, Any]) -> str:
    """The table, with what one must know to read it."""
    lines = []
    for one in rows:
        values = (
            one["name"],
            "-".join(map(str, one["widths"])),
            "2x2x2" if one["stem"] == STEM else "3x3x3, overlapping",
            f"{one['spacing_mm']:g}",
            f"{one['parameters']:,}",
            f"{one['gmac']:.3f}",
            f"{one['dice']:.4f}",
            " ".join(f"{dice:.4f}" for dice in one["by_seed"]),
            " ".join(f"{dice:.4f}" for dice in one["dices"]),
            f"{one['hd95']:.1f}",
            f"{one['volume_error']:.1%}",
            "-" if one["numpy"] is None else f"{one['numpy']:.1f}",
            f"{one['torch']:.1f}",
            f"{one['cpu']:.1f}",
            one["growth"],
        )
        lines.append(values)
    return "\n".join([markdown_table(HEAD, lines), "", *notes(rows, results, times)]) + "\n"


def notes(rows: list[dict], results: list[dict], times: dict[str, Any]) -> list[str]:
    """Runs, cases, banks, and how time was taken."""
    loop, cases = results[0]["loop"], results[0]["cases"]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(result["loop"]["seed"] for result in results))
    banks = dict.fromkeys(bank(result) for result in results)
    load = "" if times["load"] is None else f" (load average then: {times['load']:.1f})"
    lost = [one["name"] for one in rows if one["dice"] <= FOUND]
    grids = dict.fromkeys(" x ".join(map(str, one["grid"])) for one in times["designs"].values())
    return [
        f"- Equal runs: {loop['steps']} steps of {loop['batch']} volumes, peak rate {loop['rate']:g}, seeds "
        f"{seeds}, from random weights, Dice + cross entropy; what differs less than the seeds do may be chance.",
        f"- Banks: {'; '.join(banks)}. Views are shifted by the same millimeters on every grid; their blur spans three "
        "voxels on each.",
        f"- Dice at native resolution, mean, by seed and by case ({', '.join(cases)}), of the moving average of the "
        "weights in float32 through the product's way up and threshold. Volume error: mean of the absolute values.",
        f"- Not in the plot, because they found next to no liver after so few steps: {', '.join(lost) or 'none'}.",
        f"- Time of the network alone, median of {times['rounds']} forward passes in turns on the grid of "
        f"{times['scan']} ({'; '.join(grids)}: padded to sides that the levels can halve){load}. NumPy on "
        f"{times['numpy_threads']} threads: {times['engines']['numpy']}. torch on {times['torch_threads']}: "
        f"{times['engines']['torch']}.",
    ]


def bank(result: dict) -> str:
    """What the volumes of a design's bank are."""
    shape, spacing = result["bank"]["shape"], result["design"]["spacing_mm"]
    extent = " x ".join(f"{n * spacing:.0f}" for n in shape)
    scans = result["bank"].get("scans", 0)
    views = f" and views of {scans} CTs" if scans else ""
    return (
        f"{result['bank']['volumes']} volumes{views} of {' x '.join(map(str, shape))} at {spacing:g} mm ({extent} mm)"
    )


def plot(rows: list[dict], path: Path) -> None:
    """Dice against the time of each engine: one color a budget, one marker a design."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(13, 5.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    budgets = list(dict.fromkeys(one["budget"] for one in rows))
    families = list(dict.fromkeys(family(one) for one in rows))
    for panel, engine in zip(panels, ("numpy", "torch"), strict=True):
        for one in rows:
            if one[engine] is None:
                continue
            panel.scatter(
                one[engine],
                one["dice"],
                s=55,
                color=COLORS[budgets.index(one["budget"]) % len(COLORS)],
                marker=MARKERS[families.index(family(one)) % len(MARKERS)],
                label=f"{one['name']} ({one['parameters']:,})",
            )
        panel.set_xlabel(f"{engine}: ms a forward pass")
        panel.set_xscale("log")
        for ticks in (panel.xaxis.set_major_formatter, panel.xaxis.set_minor_formatter):
            ticks(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.grid(alpha=0.3, which="both")
    panels[0].set_ylim(*limits([one["dice"] for one in rows]))
    panels[0].set_ylabel("Dice at native resolution (mean of cases)")
    handles, labels = panels[1].get_legend_handles_labels()  # torch runs every design
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, title="Design (parameters)")
    save(figure, path)


def limits(dices: list[float]) -> tuple[float, float]:
    """Of the axis: those that found a liver at all; one that found none would press the others together."""
    found = [dice for dice in dices if dice > FOUND] or [0.0, 1.0]
    return min(found) - 0.01, max(found) + 0.01


def family(one: dict) -> str:
    """A design's name without its budget."""
    return one["name"].rpartition("-")[0]
