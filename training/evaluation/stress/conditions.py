"""The hard cases: which examples show which condition, and what the user should look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from training.evaluation.stress import real, simulated
from training.evaluation.stress.example import Example
from training.evaluation.stress.head import head_ct
from training.synthesis.sources import Source

HEADS = 4
BASELINE = "none"
ADVICE = {
    "non-contrast CT": "Without contrast look closely at hilum, gallbladder and the border to stomach and heart.",
    "arterial phase": "Look closely at the borders to stomach and spleen.",
    "slices of 5 mm": "Look closely at dome and tip.",
    "slices of 8 mm": "Look closely at dome and tip.",
    "low dose": "Look for a ragged outline.",
    "fatty liver": "Borders to bowel and to a brighter spleen may move.",
    "large hypodense tumor": "Parts of a large tumor may be left out; they belong to the liver and must be added.",
    "pleural effusion": "Fluid and collapsed lung on the dome may be taken for liver; look there in coronal cuts.",
    "pleural effusion on non-contrast CT": "Fluid and collapsed lung on the dome are easily taken for liver; look "
    "there in coronal cuts and remove what is not liver.",
    "ascites": "Fluid beside the liver may be taken for it, and shrunken livers may be outlined too large.",
    "splenomegaly": "Look at the border between the left lobe and the spleen.",
    "cropped field of view": "Look at the sides where the picture ends.",
    "round field of view": "Look at the rim of the field of view.",
    "liver cut at the top": "The volume is that of the visible part only.",
    "liver cut at the bottom": "The volume is that of the visible part only.",
    "arms down": "Look beside the arms.",
}
NO_LIVER = "no liver in the scan"
EMPTY = ("chest only", "pelvis only", NO_LIVER, "head only")


@dataclass(frozen=True)
class Condition:
    """source: "simulated", "real" or "drawn". counts: what else is measured in the mask, by name of the figure.

    setup: how the examples were made, in words. kind: "reference" (examples have one), "empty" (there must be no mask),
    "unlabelled" (there is no reference).
    """

    name: str
    source: str
    kind: str
    setup: str
    examples: Callable[[], Iterable[Example]]
    advice: str = ""
    counts: Mapping[str, real.Count] = field(default_factory=dict)


def all_conditions(maps: list[Source], library: real.Library, volumes: int) -> list[Condition]:
    """In the order of the table; each simulated one on `volumes` volumes. Without the CTs real ones lack examples."""
    return [
        *_simulated(maps, volumes),
        *_altered(library),
        *_unlabelled(library),
        *_trunks(library),
        _absent(library),
        _heads(),
    ]


def _simulated(maps: list[Source], volumes: int) -> list[Condition]:
    return [
        Condition(
            name,
            "simulated",
            _kind(name),
            _in_words(setup),
            partial(simulated.volumes, setup, maps, volumes),
            ADVICE.get(name, ""),
        )
        for name, setup in simulated.SETUPS.items()
    ]


def _in_words(setup: simulated.Setup) -> str:
    """What was simulated, in words."""
    phase = "non-contrast CT" if setup.phase == "non-contrast" else f"{setup.phase} phase"
    liver = [] if setup.window in ("chest", "pelvis") else [f"{setup.liver} liver"]
    words = ", ".join([phase, *liver, *([setup.words] if setup.words else [])])
    return f"volumes of the training's simulator from other seeds: {words}"


def _altered(library: real.Library) -> list[Condition]:
    examples = library.labelled()
    return [
        Condition(name, "real", "reference", setup, partial(real.altered, examples, change), ADVICE.get(name, ""))
        for name, (setup, change) in real.ALTERED.items()
    ]


FLUID_SETUP = (
    "non-contrast chest CT with effusion and collapsed lung on the dome; mL of the mask between -20 and 32 HU "
    "(smoothed), which is fluid"
)
TUMOR_SETUP = (
    "giant tumor of the left lobe after embolization; mL of the mask between 40 and 110 HU (smoothed), "
    "which is mostly tumor (liver has about 130)"
)


def _unlabelled(library: real.Library) -> list[Condition]:
    kinds = (
        ("pleural effusion on non-contrast CT", real.EFFUSION, FLUID_SETUP, "fluid_ml", real.ml_between(-20, 32)),
        ("large hypodense tumor", real.GIANT_TUMOR, TUMOR_SETUP, "tumor_ml", real.ml_between(40, 110)),
    )
    return [
        Condition(name, "real", "unlabelled", setup, partial(library.unlabelled, ct), ADVICE[name], {figure: count})
        for name, ct, setup, figure, count in kinds
    ]


def _trunks(library: real.Library) -> list[Condition]:
    trunks = list(library.trunks())
    return [
        Condition(
            name,
            "real",
            "empty",
            f"whole trunks: the part {real.MARGIN_MM:g} mm or more {side} the liver",
            partial(real.without_liver, trunks, above=side == "above"),
        )
        for name, side in (("chest only", "above"), ("pelvis only", "below"))
    ]


def _absent(library: real.Library) -> Condition:
    setup = "CTs of parts of the body without any liver"
    return Condition(NO_LIVER, "real", "empty", setup, library.livers_absent)


def _heads() -> Condition:
    def examples() -> Iterable[Example]:
        for seed in range(HEADS):
            ct = head_ct(seed)
            yield Example(ct.name, ct, np.zeros(ct.shape, bool))

    return Condition("head only", "drawn", "empty", "heads drawn of ellipsoids, with noise", examples)


def _kind(name: str) -> str:
    return "empty" if name in EMPTY else "reference"
