"""Effects of one volume that are set instead of drawn: to study one condition at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from training.synthesis.synthetic_scan import Effect


@dataclass(frozen=True)
class EffectOverrides:
    """Without any, a seed gives the volume that it gives in a bank.

    phase, liver: contrast phase and kind of liver (`phase.PHASES`, `phase.LIVERS`).
    change: by name of an effect, of "placement" or of "contrast": from what was drawn to what is applied.
    first: effects that banks do not have, applied to the anatomy before all others.
    """

    phase: str | None = None
    liver: str | None = None
    change: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    first: Mapping[str, type[Effect]] = field(default_factory=dict)

    def applied(self, name: str, drawn: Any) -> Any:
        """The drawn parameters of an effect with its change."""
        return self.change[name](drawn) if name in self.change else drawn


NO_OVERRIDES = EffectOverrides()
