"""Volumes of the training simulator that show one difficulty each, on the same bodies with and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from LiverGTANLib.core.boxes import triple
from LiverGTANLib.core.volume import CtVolume
from training.data.tissues import Tissue
from training.evaluation.stress.example import Example
from training.options import Effects, SynthesisConfig
from training.synthesis.effects.scanner import Noise
from training.synthesis.effects.spleen import Splenomegaly
from training.synthesis.overrides import EffectOverrides
from training.synthesis.pipeline import make_scan
from training.synthesis.placement import Placement
from training.synthesis.sources import Source
from training.synthesis.synthetic_scan import Effect, SyntheticScan

FIRST_SEED = 9_000
NOTE = (
    "Simulated volumes come from the simulator that the student was trained with, with other seeds: their figures "
    "compare conditions with each other. For what to expect of real scans read the real ones."
)
CLEAR_MM = 30.0
"""A window without liver ends this far from it."""
LEAST_BODY_MM = 60.0
"""So much of the body a window without liver must show."""
ABOVE_MM, BELOW_MM = 35.0, 5.0
"""What a window around a whole liver shows above and below it: lung for effusions, hardly more than a scan plans."""

OFF = Effects(**dict.fromkeys(Effects.__dataclass_fields__, 0.0))
ORDINARY = replace(OFF, wall=1.0, mesentery=1.0, bowel_gas=1.0, vessels=1.0, blur=1.0, noise=1.0, table=1.0)
"""What every volume has; a condition adds to it."""


@dataclass(frozen=True)
class Setup:
    """One condition: which effects are on, how their drawn parameters are changed, and which part of the body is seen.

    words: the same in words, beyond phase and liver.
    window: "whole" liver, its "lower" or "upper" two thirds, or "chest" or "pelvis" without any.
    """

    on: tuple[str, ...] = ()
    words: str = ""
    phase: str = "portal"
    liver: str = "normal"
    window: str = "whole"
    change: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    first: Mapping[str, type[Effect]] = field(default_factory=dict)

    @property
    def effects(self) -> Effects:
        """The effects of every volume, and those that are on."""
        return replace(ORDINARY, **dict.fromkeys(self.on, 1.0))

    def overrides(self, source: Source, shape: tuple[int, ...]) -> EffectOverrides:
        """What the condition changes, for a volume of a source and a shape."""
        change: dict[str, Callable[[Any], Any]] = {
            "noise": _ordinary_noise,
            "placement": lambda drawn: placed(drawn, source, shape, self.window),
        }
        return EffectOverrides(self.phase, self.liver, change | dict(self.change), self.first)


def volumes(setup: Setup, maps: list[Source], count: int, first_seed: int = FIRST_SEED) -> Iterator[Example]:
    """Up to `count` volumes in HU at 2 mm; bodies on which the condition has no place are left out."""
    config = SynthesisConfig(effects=setup.effects, no_liver_share=0.0)
    wanted = {*setup.on, *setup.first}
    for number in range(count):
        source = maps[number % len(maps)]
        if not _reaches(source, setup.window):
            continue
        seed = first_seed + number
        scan, done = make_scan(source, config, seed, setup.overrides(source, config.fine_shape))
        if all(done.get(name) is not None for name in wanted):
            yield Example(f"{source.name}, seed {seed}", _ct(scan), _reference(scan, setup.window))


def placed(drawn: Placement, source: Source, shape: tuple[int, ...], window: str) -> Placement:
    """The drawn placement moved to the window, and scaled so that a whole liver fits into it."""
    bottom, top = _liver_levels(source)
    mm = 1 / source.spacing_mm
    first, last = bottom - BELOW_MM * mm, top + ABOVE_MM * mm
    scale = max(drawn.scale[0], (last - first) / shape[0])
    half = scale * shape[0] / 2
    height = top - bottom
    z = {
        "whole": (first + last) / 2,
        "lower": top - height / 3 - half,
        "upper": bottom + height / 3 + half,
        "chest": top + half + CLEAR_MM * mm,
        "pelvis": bottom - half - CLEAR_MM * mm,
    }[window]
    _, y, x = source.body_center
    factor = scale / drawn.scale[0]
    bulges = () if window in ("chest", "pelvis") else drawn.bulges
    return replace(drawn, center=(z, float(y), float(x)), scale=triple(s * factor for s in drawn.scale), bulges=bulges)


def _liver_levels(source: Source) -> tuple[float, float]:
    levels = source.liver_voxels[:, 0]
    return float(levels.min()), float(levels.max())


def _reaches(source: Source, window: str) -> bool:
    """Whether the body goes on far enough above or below its liver."""
    bottom, top = _liver_levels(source)
    room = {"chest": len(source.tissue) - top, "pelvis": bottom}.get(window, np.inf)
    return room * source.spacing_mm > CLEAR_MM + LEAST_BODY_MM


def _ct(scan: SyntheticScan) -> CtVolume:
    """The scan as scanners store it: indices growing to the left, the back and the head."""
    hu = np.rint(np.clip(scan.hu[:, ::-1, ::-1], -1024, 3071)).astype(np.int16)
    mm = scan.spacing_mm
    matrix = np.diag([-mm, -mm, mm, 1.0])
    matrix[:3, 3] = np.array([hu.shape[2], hu.shape[1], -hu.shape[0]]) * mm / 2
    return CtVolume(hu, matrix, scan.source)


def _reference(scan: SyntheticScan, window: str) -> np.ndarray:
    """The liver, empty for a window beside it. Raises RuntimeError when bending brought liver into such a window."""
    liver = scan.label[:, ::-1, ::-1] > 0.5
    if window in ("chest", "pelvis") and liver.any():
        raise RuntimeError(f"The {window} of {scan.source} shows liver; enlarge CLEAR_MM.")
    return liver


def _ordinary_noise(drawn: Noise) -> Noise:
    return replace(drawn, sd=10.0)


def _low_dose(drawn: Noise) -> Noise:
    return replace(drawn, sd=45.0, grain=0.6)


def _fatty(drawn):
    """At least 20 HU darker than the spleen."""
    hu = list(drawn.hu)
    hu[Tissue.LIVER] = min(hu[Tissue.LIVER], hu[Tissue.SPLEEN] - 20)
    return replace(drawn, hu=tuple(hu))


def _hypodense(drawn):
    lesion = replace(drawn.lesion, kind="hypodense", body=-45.0, rim=-25.0, core=-60.0)
    return replace(drawn, lesion=lesion, deposit=0.0)


def _effusion(drawn):
    return replace(
        drawn,
        right=True,
        level=max(drawn.level, 0.5),
        base_mm=max(drawn.base_mm, 15.0),
        collapse_mm=max(drawn.collapse_mm, 12.0),
        fluid_hu=12.0,
    )


def _ascites(drawn):
    return replace(drawn, rim_mm=max(drawn.rim_mm, 6.0), reach_mm=max(drawn.reach_mm, 25.0))


def _slices(thickness_mm: float):
    return lambda drawn: replace(drawn, thickness_mm=thickness_mm, interval_mm=thickness_mm)


def _cropped(drawn):
    return replace(drawn, low=(0, 30, 40), high=(0, 30, 40))


def _tight_circle(drawn):
    return replace(drawn, radius_mm=100.0)


EFFUSION = "fluid of 12 HU over half of the right lung or more, collapsed lung above it"
SETUPS: dict[str, Setup] = {
    "none": Setup(),
    "non-contrast CT": Setup(phase="non-contrast"),
    "arterial phase": Setup(phase="arterial"),
    "slices of 5 mm": Setup(("thick_slices",), "slices of 5 mm", change={"thick_slices": _slices(5.0)}),
    "slices of 8 mm": Setup(("thick_slices",), "slices of 8 mm", change={"thick_slices": _slices(8.0)}),
    "low dose": Setup(("noise",), "noise of 45 HU instead of 10", change={"noise": _low_dose}),
    "fatty liver": Setup(
        (), "at least 20 HU darker than the spleen", phase="non-contrast", liver="fatty", change={"contrast": _fatty}
    ),
    "large hypodense tumor": Setup(
        ("giant_tumor",), "a mass of 8 to 50 % of the liver, 25 to 60 HU darker", change={"giant_tumor": _hypodense}
    ),
    "pleural effusion": Setup(("effusion",), EFFUSION, change={"effusion": _effusion}),
    "pleural effusion on non-contrast CT": Setup(
        ("effusion",), EFFUSION, phase="non-contrast", change={"effusion": _effusion}
    ),
    "ascites": Setup(
        ("ascites",),
        "fluid around a shrunken liver and within 25 mm of the organs or more",
        change={"ascites": _ascites},
    ),
    "splenomegaly": Setup((), "a spleen grown until it lies against the liver", first={"splenomegaly": Splenomegaly}),
    "cropped field of view": Setup(("cut",), "176 x 168 mm in view", change={"cut": _cropped}),
    "round field of view": Setup(("round_field",), "a circle of 200 mm in view", change={"round_field": _tight_circle}),
    "liver cut at the top": Setup((), "upper third of the liver out of view", window="lower"),
    "liver cut at the bottom": Setup((), "lower third of the liver out of view", window="upper"),
    "arms down": Setup(("arms",), "one or two arms beside the trunk"),
    "chest only": Setup((), "chest without liver", window="chest"),
    "pelvis only": Setup((), "pelvis without liver", window="pelvis"),
}
"""Name of the condition -> how it is made. "none" is what the others are compared with."""
