"""The steps of one volume: placement, anatomy, tissue densities, disease, scanner, model grid."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from zlib import crc32

import numpy as np

from LiverGTANLib.core.volume import scale_hu
from training.options import SynthesisConfig
from training.synthesis.effects.anatomy import BowelGas, HazyFat, Mesentery
from training.synthesis.effects.field_of_view import Cut, RoundField
from training.synthesis.effects.fluid import Ascites, Consolidation, Effusion
from training.synthesis.effects.liver_inside import GiantTumor, Lesions, LiverVessels
from training.synthesis.effects.liver_shape import Contour, Resection
from training.synthesis.effects.phase import Contrast
from training.synthesis.effects.real_scans import Gain, LiverDensity
from training.synthesis.effects.scanner import Blur, Noise, Quantized, ThickSlices
from training.synthesis.effects.streaks import MetalStreaks, PhotonStarvation
from training.synthesis.effects.surroundings import Arms, Table, Wall
from training.synthesis.overrides import NO_OVERRIDES, EffectOverrides
from training.synthesis.placement import Placement, place
from training.synthesis.sources import Source
from training.synthesis.synthetic_scan import Effect, SyntheticScan

ANATOMY: dict[str, type[Effect]] = {
    "contour": Contour,
    "resection": Resection,
    "wall": Wall,
    "ascites": Ascites,
    "mesentery": Mesentery,
    "bowel_gas": BowelGas,
}
REAL: dict[str, type[Effect]] = {"gain": Gain, "liver_density": LiverDensity}
DISEASE: dict[str, type[Effect]] = {
    "hazy_fat": HazyFat,
    "vessels": LiverVessels,
    "effusion": Effusion,
    "consolidation": Consolidation,
    "giant_tumor": GiantTumor,
    "lesions": Lesions,
}
SCANNER: dict[str, type[Effect]] = {
    "arms": Arms,
    "table": Table,
    "metal_streaks": MetalStreaks,
    "photon_starvation": PhotonStarvation,
    "blur": Blur,
    "noise": Noise,
    "thick_slices": ThickSlices,
    "quantized": Quantized,
    "cut": Cut,
    "round_field": RoundField,
}

REAL_DISEASE = {name: effect for name, effect in DISEASE.items() if name != "vessels"}
REAL_DISEASE_FACTOR = 0.7
"""Real CTs have vessels and disease of their own; the factor was chosen by looking at contact sheets."""


def make_volume(source: Source, config: SynthesisConfig, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Image (D, H, W) float32 in [-1, 1], label float32 in [0, 1], and the parameters of all that was done."""
    scan, parameters = make_scan(source, config, seed)
    image, label = to_grid(scan, config.hu_window)
    return image, label, parameters


def make_scan(
    source: Source, config: SynthesisConfig, seed: int, overrides: EffectOverrides = NO_OVERRIDES
) -> tuple[SyntheticScan, dict[str, Any]]:
    """The finished scan on the fine grid, in HU, and the parameters of all that was done."""
    rng = stream(seed, "placement")
    without_liver = not source.real and rng.random() < config.no_liver_share
    placement = Placement.random(source, config.fine_shape, rng, without_liver, gentle=source.real)
    placement = overrides.applied("placement", placement)
    scan = place(source, placement, config.fine_shape)
    parameters: dict[str, Any] = {"placement": asdict(placement)}
    for name, effect in overrides.first.items():
        parameters[name] = _draw_and_apply(scan, effect, name, stream(seed, name), overrides)
    if source.real:
        parameters |= apply_effects(scan, REAL, config, seed, overrides=overrides)
        parameters |= apply_effects(scan, REAL_DISEASE, config, seed, REAL_DISEASE_FACTOR, overrides)
    else:
        parameters |= apply_effects(scan, ANATOMY, config, seed, overrides=overrides)
        parameters["contrast"] = _render(scan, config, seed, overrides)
        parameters |= apply_effects(scan, DISEASE, config, seed, overrides=overrides)
    parameters |= apply_effects(scan, SCANNER, config, seed, overrides=overrides)
    return scan, parameters


def apply_effects(
    scan: SyntheticScan,
    effects: dict[str, type[Effect]],
    config: SynthesisConfig,
    seed: int,
    factor: float = 1.0,
    overrides: EffectOverrides = NO_OVERRIDES,
) -> dict[str, Any]:
    """Draw and apply the effects in order; returns the parameters of those that took part."""
    done = {}
    for name, effect in effects.items():
        rng = stream(seed, name)
        if rng.random() >= factor * getattr(config.effects, name):
            continue
        parameters = _draw_and_apply(scan, effect, name, rng, overrides)
        if parameters is not None:
            done[name] = parameters
    return done


def _draw_and_apply(
    scan: SyntheticScan, effect: type[Effect], name: str, rng: np.random.Generator, overrides: EffectOverrides
) -> dict[str, Any] | None:
    drawn = effect.random(scan, rng)
    if drawn is None:
        return None
    drawn = overrides.applied(name, drawn)
    drawn.apply(scan)
    return asdict(drawn)


def stream(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one effect in one volume: switching an effect off leaves the draws of the others alone."""
    return np.random.default_rng([seed, crc32(name.encode())])


def to_grid(scan: SyntheticScan, hu_window: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Clip to the window, then average areas, then scale: the order of `LiverGTANLib.core.volume.to_model_grid`."""
    image = average_areas(np.clip(scan.hu, *hu_window))
    return scale_hu(image, hu_window), average_areas(scan.label)


def average_areas(array: np.ndarray) -> np.ndarray:
    """Area average of three voxels into two along every axis."""
    for axis in range(3):
        a = np.moveaxis(array, axis, 0)
        out = np.empty((len(a) * 2 // 3, *a.shape[1:]), np.float32)
        np.add(a[0::3] * np.float32(2 / 3), a[1::3] * np.float32(1 / 3), out=out[0::2])
        np.add(a[2::3] * np.float32(2 / 3), a[1::3] * np.float32(1 / 3), out=out[1::2])
        array = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(array)


def _render(scan: SyntheticScan, config: SynthesisConfig, seed: int, overrides: EffectOverrides) -> dict[str, Any]:
    allowed = {name: getattr(config.effects, name) > 0 for name in ("fatty", "iron", "odd")}
    contrast = Contrast.random(
        scan, stream(seed, "contrast"), **allowed, phase=overrides.phase, liver_kind=overrides.liver
    )
    contrast = overrides.applied("contrast", contrast)
    contrast.apply(scan)
    return asdict(contrast)
