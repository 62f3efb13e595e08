"""Cheap views of a training volume: shift with cut, intensity, blur, noise.

A random view only draws parameters (`draw`), a deterministic one applies them (`apply`), so a seed names a view.
Left and right are never flipped: the liver lies on one side. Images are scaled HU in [-1, 1], air is -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from LiverGTANLib.core.boxes import triple
from LiverGTANLib.core.volume import AIR
from training.options import AugmentRanges


@dataclass(frozen=True)
class View:
    """Parameters of one augmented view."""

    shift: tuple[int, int, int]
    gain: float
    offset: float
    gamma: float
    blur: bool
    noise: float
    seed: int


def draw(ranges: AugmentRanges, random: np.random.Generator) -> View:
    """A view drawn uniformly from the ranges, always from as many random numbers: switching one effect off leaves the
    others alone."""
    shares = random.random(3)
    around = random.uniform(-1, 1, 3)
    blurred, noisy, noise = random.random(3)
    return View(
        shift=triple(int(share * (2 * s + 1)) - s for share, s in zip(shares, ranges.shift, strict=True)),
        gain=1 + ranges.gain * around[0],
        offset=ranges.offset * around[1],
        gamma=float(np.exp(ranges.gamma * around[2])),
        blur=bool(blurred < ranges.blurred),
        noise=ranges.noise * noise if noisy < ranges.noisy else 0.0,
        seed=int(random.integers(2**31)),
    )


def apply(image_DHW: torch.Tensor, label_DHW: torch.Tensor, view: View) -> tuple[torch.Tensor, torch.Tensor]:
    """(image, label) seen through the view; new tensors of the same shapes."""
    image = intensity(image_DHW, view)
    if view.blur:
        image = functional.avg_pool3d(image[None, None], 3, 1, 1, count_include_pad=False)[0, 0].lerp(image, 0.4)
    if view.noise:
        generator = torch.Generator(image.device).manual_seed(view.seed)
        image = image + view.noise * torch.randn(image.shape, generator=generator, device=image.device)
    # Clipped last because a CT is clipped to the HU window after all that the scanner does to it.
    image = image.clamp(-1, 1)
    if not any(view.shift):
        return image, label_DHW
    return shift(image, view.shift, AIR), shift(label_DHW, view.shift, 0.0)


def intensity(image_DHW: torch.Tensor, view: View) -> torch.Tensor:
    """Gamma over the window, then gain and offset; what is at the window's floor (air, lung) stays there."""
    curved = ((image_DHW + 1) / 2).pow_(view.gamma).mul_(2 * view.gain).add_(view.offset - view.gain)
    return torch.where(image_DHW <= AIR, image_DHW, curved)


def shift(volume: torch.Tensor, by: tuple[int, int, int], fill: float) -> torch.Tensor:
    """The volume moved by whole voxels; what comes in from outside is `fill`."""
    moved = torch.full_like(volume, fill)
    into = tuple(slice(max(b, 0), n + min(b, 0)) for b, n in zip(by, volume.shape, strict=True))
    outof = tuple(slice(max(-b, 0), n + min(-b, 0)) for b, n in zip(by, volume.shape, strict=True))
    moved[into] = volume[outof]
    return moved
