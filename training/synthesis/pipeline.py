"""The way of one volume: place, change anatomy, give densities, add disease, scan, bring to the model grid."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from zlib import crc32

import numpy as np

from LiverGTANLib.core.volume import scale_hu
from training.synthesis.config import SynthesisConfig
from training.synthesis.effects.anatomy import BowelGas, HazyFat, Mesentery
from training.synthesis.effects.field_of_view import Cut, RoundField
from training.synthesis.effects.fluid import Ascites, Consolidation, Effusion
from training.synthesis.effects.liver_inside import GiantTumor, Lesions, LiverVessels
from training.synthesis.effects.liver_shape import Contour, Resection
from training.synthesis.effects.phase import Contrast
from training.synthesis.effects.placement import Placement, place
from training.synthesis.effects.real_scans import Gain, LiverDensity
from training.synthesis.effects.scanner import Blur, Noise, Quantized, ThickSlices
from training.synthesis.effects.streaks import MetalStreaks, PhotonStarvation
from training.synthesis.effects.surroundings import Arms, Table, Wall
from training.synthesis.overrides import ANYTHING, EffectOverrides
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

REAL_DISEASE = 0.7
"""Disease is drawn less often in real CTs: they have their own."""


def make_volume(source: Source, config: SynthesisConfig, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Image (D, H, W) float32 in [-1, 1], label float32 in [0, 1], and the parameters of all that was done."""
    scene, parameters = make_scene(source, config, seed)
    image, label = to_grid(scene, config.hu_window)
    return image, label, parameters


def make_scene(
    source: Source, config: SynthesisConfig, seed: int, wish: EffectOverrides = ANYTHING
) -> tuple[SyntheticScan, dict[str, Any]]:
    """The finished scan on the fine grid, in HU, and the parameters of all that was done."""
    rng = stream(seed, "placement")
    without_liver = not source.real and rng.random() < config.no_liver_share
    placement = Placement.random(source, config.fine_shape, rng, without_liver, gentle=source.real)
    placement = wish.fulfilled("placement", placement)
    scene = place(source, placement, config.fine_shape)
    parameters: dict[str, Any] = {"placement": asdict(placement)}
    for name, effect in wish.first.items():
        parameters[name] = _do(scene, effect, name, stream(seed, name), wish)
    if source.real:
        parameters |= run(scene, REAL, config, seed, wish=wish)
        parameters |= run(scene, {k: v for k, v in DISEASE.items() if k != "vessels"}, config, seed, REAL_DISEASE, wish)
    else:
        parameters |= run(scene, ANATOMY, config, seed, wish=wish)
        parameters["contrast"] = _render(scene, config, seed, wish)
        parameters |= run(scene, DISEASE, config, seed, wish=wish)
    parameters |= run(scene, SCANNER, config, seed, wish=wish)
    return scene, parameters


def run(
    scene: SyntheticScan,
    effects: dict[str, type[Effect]],
    config: SynthesisConfig,
    seed: int,
    factor: float = 1.0,
    wish: EffectOverrides = ANYTHING,
) -> dict[str, Any]:
    """Draw and apply the effects in order; returns the parameters of those that took part."""
    done = {}
    for name, effect in effects.items():
        rng = stream(seed, name)
        if rng.random() >= factor * getattr(config.effects, name):
            continue
        parameters = _do(scene, effect, name, rng, wish)
        if parameters is not None:
            done[name] = parameters
    return done


def _do(
    scene: SyntheticScan, effect: type[Effect], name: str, rng: np.random.Generator, wish: EffectOverrides
) -> dict[str, Any] | None:
    drawn = effect.random(scene, rng)
    if drawn is None:
        return None
    drawn = wish.fulfilled(name, drawn)
    drawn.apply(scene)
    return asdict(drawn)


def stream(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one effect in one volume: switching an effect off leaves the draws of the others alone."""
    return np.random.default_rng([seed, crc32(name.encode())])


def to_grid(scene: SyntheticScan, hu_window: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Clip to the window, then average areas, then scale: the order of `LiverGTANLib.volume.to_model_grid`."""
    image = average_areas(np.clip(scene.hu, *hu_window))
    return scale_hu(image, hu_window), average_areas(scene.label)


def average_areas(array: np.ndarray) -> np.ndarray:
    """Area average of three voxels into two along every axis."""
    for axis in range(3):
        a = np.moveaxis(array, axis, 0)
        out = np.empty((len(a) * 2 // 3, *a.shape[1:]), np.float32)
        np.add(a[0::3] * np.float32(2 / 3), a[1::3] * np.float32(1 / 3), out=out[0::2])
        np.add(a[2::3] * np.float32(2 / 3), a[1::3] * np.float32(1 / 3), out=out[1::2])
        array = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(array)


def _render(scene: SyntheticScan, config: SynthesisConfig, seed: int, wish: EffectOverrides) -> dict[str, Any]:
    allowed = {name: getattr(config.effects, name) > 0 for name in ("fatty", "iron", "odd")}
    contrast = Contrast.random(scene, stream(seed, "contrast"), **allowed, phase=wish.phase, liver_kind=wish.liver)
    contrast = wish.fulfilled("contrast", contrast)
    contrast.apply(scene)
    return asdict(contrast)
