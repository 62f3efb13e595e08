"""What was measured under one condition, and how it comes back from JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ConditionResult:
    """One example. message: what the extension says of the mask, empty when it says nothing.

    Metrics are None without a reference. counts: mL of something in the mask, by name of the figure.
    """

    case: str
    found_ml: float
    message: str
    trained_on: bool
    dice: float | None = None
    nsd3: float | None = None
    volume_error: float | None = None
    counts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One condition. setup: how it was made, in words.

    figures: means over the examples, by name; `dice_loss` is against the same examples without the condition.
    """

    condition: str
    source: str
    kind: str
    setup: str
    cases: list[ConditionResult]
    figures: dict[str, float]
    advice: str


def records(result: dict[str, Any]) -> list[Record]:
    """The records of a stress test's result, also after JSON."""
    return [
        Record(
            **{name: value for name, value in record.items() if name not in ("cases", "expectation")},
            cases=[ConditionResult(**case) for case in record["cases"]],
        )
        for record in result["records"]
    ]
