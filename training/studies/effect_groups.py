"""The groups of effects whose worth is measured: each is all that draws one thing, and is switched off as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from LiverGTANLib.core.volume import SPACING_MM
from training.errors import UserError
from training.options import DataSettings

BASE = "all effects"
"""The run with which the others are compared."""
WITHIN_A_CELL_MM = SPACING_MM / 2
"""Views that are not moved still lie between the cells of the product's grid."""


@dataclass(frozen=True)
class EffectGroup:
    """What is switched off together.

    views, augment: settings of `ViewRanges` and `AugmentRanges` without the effects; the latter draws views of stored
    volumes, too. effects: of the synthetic bank, which is made again without them. bank: whether there is a bank.
    """

    name: str
    views: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, Any] = field(default_factory=dict)
    effects: tuple[str, ...] = ()
    bank: bool = True

    def without(self, data: DataSettings) -> DataSettings:
        """The settings of the data without this group, but for `effects`."""
        views, augment = replace(data.views, **self.views), replace(data.augment, **self.augment)
        return replace(data, views=views, augment=augment, bank=data.bank if self.bank else ())


GROUPS = (
    EffectGroup(
        "views: movement",
        {"scale": (1.0, 1.0), "stretch": 0.0, "degrees": 0.0, "shift_mm": WITHIN_A_CELL_MM},
        {"shift": (0, 0, 0)},
    ),
    EffectGroup("views: bend", {"bend_mm": 0.0}),
    EffectGroup("views: contrast", {"contrast": (1.0, 1.0), "offset_hu": 0.0}, {"offset": 0.0, "gain": 0.0}),
    EffectGroup("views: density", {"densities": 0.0}),
    EffectGroup("views: tumors", {"tumors": 0.0}),
    EffectGroup("views: effusion", {"effusions": 0.0}),
    EffectGroup("views: slices", {"thick": 0.0}),
    EffectGroup("views: cut", {"cut": 0.0}),
    EffectGroup("views: round field", {"round_fields": 0.0}),
    EffectGroup("views: look", {}, {"gamma": 0.0, "noise": 0.0, "noisy": 0.0, "blurred": 0.0}),
    EffectGroup("synthetic volumes", bank=False),
    EffectGroup(
        "synthetic: disease",
        effects=("contour", "resection", "vessels", "lesions", "giant_tumor", "fatty", "iron", "odd"),
    ),
    EffectGroup("synthetic: fluid", effects=("ascites", "effusion", "consolidation")),
    EffectGroup("synthetic: surroundings", effects=("wall", "mesentery", "bowel_gas", "hazy_fat", "arms", "table")),
    EffectGroup(
        "synthetic: scanner",
        effects=(
            "metal_streaks",
            "photon_starvation",
            "blur",
            "noise",
            "thick_slices",
            "quantized",
            "cut",
            "round_field",
        ),
    ),
)
"""All of them; `gain` and `liver_density` of `Effects` change stored volumes of real CTs alone."""


def chosen(names: tuple[str, ...]) -> list[EffectGroup]:
    """The groups of these names, all for none, after the run with all effects. Raises UserError for an unknown name,
    and for one that is given twice."""
    known = {group.name: group for group in GROUPS}
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise UserError(
            f"--groups must name different ones of {', '.join(map(repr, known))}, not {', '.join(map(repr, names))}."
        )
    return [EffectGroup(BASE), *(known[name] for name in names or known)]
