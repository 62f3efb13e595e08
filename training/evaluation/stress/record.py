"""What was measured under one condition, and how it comes back from JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ConditionResult:
    """One example. told: what the product says about the answer ("" nothing). Metrics are None without a reference."""

    case: str
    found_ml: float
    told: str
    trained_on: bool
    dice: float | None = None
    nsd3: float | None = None
    volume_error: float | None = None
    counts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One condition. `figures`: means over the examples, by name; `dice_loss` is against the same without condition."""

    condition: str
    source: str
    kind: str
    tried: str
    cases: list[ConditionResult]
    figures: dict[str, float]
    advice: str


def records(result: dict[str, Any]) -> list[Record]:
    """The records of what `run.run` gives, also after JSON."""
    return [
        Record(
            **{name: value for name, value in record.items() if name not in ("cases", "expectation")},
            cases=[ConditionResult(**case) for case in record["cases"]],
        )
        for record in result["records"]
    ]
