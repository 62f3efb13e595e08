"""The result of a calibration as text, reliability diagram and entry of the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from LiverGTANLib.core.files import atomic_write


def card_entry(result: dict[str, Any]) -> dict[str, Any]:
    """What goes under "calibration" in a card, of which the extension reads the temperature.

    A temperature that does not help on other cases than those it was fitted on is left at 1.
    """
    temperature = result["temperature"] if result["helps"] else 1.0
    errors = ("ece_before", "ece_after") if result["helps"] else ("ece_before",)
    names = (*errors, "shell_mm", "fitted_on", "measured_on")
    return {"temperature": temperature} | {name: result[name] for name in names}


def text(result: dict[str, Any]) -> str:
    """Errors by case and what follows from them."""
    lines = [
        f"{name}: {_change(figures)}; {figures['reference_ml']:.0f} mL, found {figures['found_ml']:.0f}, interval "
        f"{_ends(figures, 'before')} -> {_ends(figures, 'after')}"
        for name, figures in result["cases"].items()
    ]
    lines += [f"{part} together: {_change(result[part])}" for part in ("fitted", "measured")]
    verdict = "helps" if result["helps"] else "does not help (so it stays out of the card)"
    lines.append(
        f"Temperature {result['temperature']:g}, fitted on {', '.join(result['fitted_on'])}: {verdict} on "
        f"{', '.join(result['measured_on'])}."
    )
    return "\n".join(lines)


def write(result: dict[str, Any], path: Path, picture: Path) -> None:
    """JSON and the reliability diagram."""
    with atomic_write(path) as file:
        file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(result, picture)


def draw(result: dict[str, Any], path: Path) -> None:
    """Share of liver over probability, for the cases of the fit and the others, before and after; below, the voxels."""
    from matplotlib.figure import Figure

    from training.evaluation.picture import save

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    for column, part in enumerate(("fitted", "measured")):
        above, below = axes[:, column]
        above.plot([0, 1], [0, 1], color="gray", linewidth=0.8, linestyle="--")
        for when, label in (("before", "as it is"), ("after", f"temperature {result['temperature']:g}")):
            bins = [b for b in result["diagram"][part][when] if b["share"] > 0]
            error = result[part][f"ece_{when}"]
            above.plot(
                [b["probability"] for b in bins],
                [b["liver"] for b in bins],
                marker="o",
                markersize=3,
                label=f"{label}: ECE {error:.3f}",
            )
            below.step([b["probability"] for b in bins], [b["share"] for b in bins], where="mid")
        names = result["fitted_on" if part == "fitted" else "measured_on"]
        above.set_title(f"{part}: {', '.join(names)}", fontsize=8)
        above.legend(fontsize=8)
        below.set_yscale("log")
        below.set_xlabel("probability of liver")
    axes[0, 0].set_ylabel("share that is liver")
    axes[1, 0].set_ylabel("share of voxels")
    figure.suptitle(f"{result['student']}: voxels within {result['shell_mm']:g} mm of the border", fontsize=10)
    save(figure, path)


def _change(figures: dict[str, Any]) -> str:
    return (
        f"ECE {figures['ece_before']:.4f} -> {figures['ece_after']:.4f}, cross entropy "
        f"{figures['nll_before']:.4f} -> {figures['nll_after']:.4f}"
    )


def _ends(figures: dict[str, Any], when: str) -> str:
    low, high = figures[f"interval_{when}"]
    return f"{low:.0f} to {high:.0f} ({'holds' if figures[f'inside_{when}'] else 'misses'})"
