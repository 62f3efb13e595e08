"""Pleural fluid drawn into views of real CTs: lung beside the liver becomes fluid, partly collapsed lung.

Few CTs with an effusion have a liver outlined by people, and networks take the fluid for liver. The lung of any
labelled CT is air next to a liver of known outline, so fluid laid there has an exact label: none. Axes D/H/W grow to
superior, anterior, right; values are scaled HU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from LiverGTANLib.core.volume import AIR, HU_WINDOW

HU_PER_UNIT = (HU_WINDOW[1] - HU_WINDOW[0]) / 2
"""The scaled image spans -1 to 1 over the HU window."""
TISSUE = -0.3
"""A voxel beside air holds air by what it lacks to this (-20 HU): the partial volume of lung at the diaphragm."""


COARSE = 4
"""Lung beside the liver is looked for in every fourth voxel."""
WAVES = 4.0
"""Standard deviation of the fluid's surface around a plane, in voxels."""


@dataclass(frozen=True)
class Effusion:
    """share: of the lung within `reach` voxels of the liver that lies below the fluid's surface: it
    fills all lung from below and behind.

    tilt: of the fluid's surface, in radians from level to upright; value: of the fluid; grain: of its noise, from white
    (0) to that of smooth kernels (1); collapsed: share of the filled lung that is airless lung of `lung_value`; seed:
    of noise and of where the collapsed lung lies.
    """

    share: float
    reach: int
    tilt: float
    value: float
    grain: float
    collapsed: float
    lung_value: float
    seed: int


def draw(random: np.random.Generator, voxel_mm: float) -> Effusion:
    """Fluid of -5 to 30 HU, level with lung up to 20 to 90 mm from the liver; airless lung of 20 to 90 HU."""
    return Effusion(
        share=float(random.uniform(0.3, 1.0)),
        reach=round(float(random.uniform(20, 90)) / voxel_mm),
        tilt=float(random.uniform(0, 0.45 * np.pi)),
        value=scaled(float(random.uniform(-5, 30))),
        grain=float(random.random()),
        collapsed=float(random.uniform(0, 0.4)),
        lung_value=scaled(float(random.uniform(20, 90))),
        seed=int(random.integers(2**31)),
    )


def scaled(hu: float) -> float:
    """HU on the scale of images, -1 to 1 over the window."""
    return (hu - sum(HU_WINDOW) / 2) / HU_PER_UNIT


def add(image: torch.Tensor, label: torch.Tensor, effusion: Effusion) -> None:
    """Fills lung with fluid up to a surface, in place; nothing where the view shows no liver or no lung beside it."""
    lung = (image <= AIR) & inside_body(image)
    generator = torch.Generator().manual_seed(effusion.seed)
    heights = surface_height(image.shape, effusion, generator).to(image.device)
    coarse = (slice(None, None, COARSE),) * 3
    beside = heights[coarse][lung[coarse] & dilated(label[coarse] > 0.5, effusion.reach // COARSE)]
    if not len(beside):
        return
    filled = lung & (heights <= torch.quantile(beside, effusion.share))
    fluid = contents(image.shape, effusion, generator).to(image.device)
    fluid += noise_level(image, label) * noise(image.shape, effusion.grain, generator).to(image.device)
    air_share = ((TISSUE - image) / (TISSUE - AIR)).clamp_(0, 1) * dilated(filled, 1)
    image.add_(air_share * (fluid - AIR))


def inside_body(image: torch.Tensor) -> torch.Tensor:
    """Voxels with tissue on all four sides in their slice: lung and bowel, not the room."""
    tissue = (image > AIR).to(torch.uint8)
    sides = [tissue.cummax(axis).values * tissue.flip(axis).cummax(axis).values.flip(axis) for axis in (1, 2)]
    return (sides[0] * sides[1]).bool()


def dilated(mask: torch.Tensor, voxels: int) -> torch.Tensor:
    """The mask grown by a cube of that half width."""
    grown = mask[None, None].float()
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = 2 * voxels + 1, voxels
        grown = functional.max_pool3d(grown, size, 1, pad)
    return grown[0, 0] > 0


def surface_height(shape: torch.Size, effusion: Effusion, generator: torch.Generator) -> torch.Tensor:
    """Distance of each voxel above a wavy surface that lies level (tilt 0) or stands before the back (pi / 2)."""
    up, forward = (torch.arange(n, dtype=torch.float32) for n in shape[:2])
    plane = np.cos(effusion.tilt) * up[:, None] + np.sin(effusion.tilt) * forward
    return WAVES * smooth_noise(shape, 30, generator) + plane[..., None]


def contents(shape: torch.Size, effusion: Effusion, generator: torch.Generator) -> torch.Tensor:
    """Fluid with lumps of airless lung."""
    lumps = smooth_noise(shape, 10, generator)
    lung = lumps > torch.quantile(lumps[::4, ::4, ::4].flatten(), 1 - effusion.collapsed)
    return torch.where(lung, effusion.lung_value, effusion.value)


def noise_level(image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Standard deviation of the scan's noise as the liver shows it: fluid must not be known by its noise."""
    inside = averaged(label) > 0.99
    rough = (image - averaged(image))[inside]
    return rough.std() if len(rough) > 1 else image.new_zeros(())


def noise(shape: torch.Size, grain: float, generator: torch.Generator) -> torch.Tensor:
    """Noise of sd 1."""
    white = torch.randn(shape, generator=generator)
    mixed = white.lerp(3 * averaged(white), grain)
    return mixed / mixed.std()


def averaged(image: torch.Tensor) -> torch.Tensor:
    """The mean of 3 x 3 x 3 voxels."""
    return functional.avg_pool3d(image[None, None], 3, 1, 1, count_include_pad=False)[0, 0]


def smooth_noise(shape: torch.Size, voxels: int, generator: torch.Generator) -> torch.Tensor:
    """Random values at nodes so many voxels apart, interpolated."""
    nodes = torch.randn([1, 1, *(max(3, n // voxels) for n in shape)], generator=generator)
    return functional.interpolate(nodes, size=shape, mode="trilinear")[0, 0]
