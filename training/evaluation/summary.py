"""Mean and spread of figures of which some may be undefined (a distance to an empty mask)."""

from __future__ import annotations

import math
import statistics


def mean(values: list[float]) -> float:
    """Mean of the defined values, NaN when there are none."""
    known = [value for value in values if math.isfinite(value)]
    return statistics.fmean(known) if known else float("nan")


def mean_and_sd(values: list[float]) -> tuple[float, float]:
    """(mean, sample sd) of the defined values; the sd of a single one is NaN, because it is unknown."""
    known = [value for value in values if math.isfinite(value)]
    return mean(values), statistics.stdev(known) if len(known) > 1 else float("nan")


def mean_sd_text(figures: tuple[float, float], digits: int) -> str:
    """Mean ± sd of `mean_and_sd`; the mean alone where one run says nothing of the spread."""
    middle, sd = figures
    return f"{middle:.{digits}f}" + (f" ± {sd:.{digits}f}" if math.isfinite(sd) else "")
