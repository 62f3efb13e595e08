"""Batches drawn from a bank as a pure function of (seed, step), shared out over processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from training.data import augment
from training.data.joined import Joined
from training.options import Config

BLOCK = 4
"""Voxels along an axis: how coarsely it is decided what is near the liver."""


@dataclass(frozen=True)
class TrainingBatch:
    """image and label are B1DHW float32, weights the loss weights of the voxels, labelled (B,) 0 or 1."""

    image: torch.Tensor
    label: torch.Tensor
    weights: torch.Tensor
    labelled: torch.Tensor

    def to(self, device: torch.device) -> TrainingBatch:
        """The batch on a device."""
        parts = (self.image, self.label, self.weights, self.labelled)
        return TrainingBatch(*(part.to(device, non_blocking=True) for part in parts))


class Batches:
    """Each epoch visits every volume once, in an order and through views that the seed and the step decide."""

    def __init__(self, config: Config, rank: int, world: int) -> None:
        self.bank = Joined(config.data.bank)
        self.config, self.rank, self.world = config, rank, world

    def at(self, step: int) -> TrainingBatch:
        """This process's share of the batch of a step. Raises FileNotFoundError when the bank was removed."""
        self.bank.still_there()
        size = self.config.loop.batch
        positions = range(step * size, (step + 1) * size)[self.rank :: self.world]
        images, labels, labelled = zip(*(self.sample(position) for position in positions), strict=True)
        label = torch.stack(labels)[:, None]
        image = torch.stack(images)[:, None].contiguous(memory_format=torch.channels_last_3d)
        return TrainingBatch(image, label, voxel_weights(label), torch.tensor(labelled, dtype=torch.float32))

    def sample(self, position: int) -> tuple[torch.Tensor, torch.Tensor, bool]:
        """The augmented volume at a position of the endless sequence of volumes."""
        seed, count = self.config.loop.seed, len(self.bank)
        epoch, place = divmod(position, count)
        order = np.random.default_rng([seed, epoch]).permutation(count)
        image, label, labelled = self.bank[int(order[place])]
        view = augment.draw(self.config.data.augment, np.random.default_rng([seed, position, 1]))
        return *augment.apply(torch.from_numpy(image), torch.from_numpy(label), view), labelled


def near_liver(label: torch.Tensor) -> torch.Tensor:
    """Liver and a shell of one to two blocks around it, as 0/1 of the label's shape.

    More than nine voxels in ten are easy background, so near and far are weighed apart (see `voxel_weights`).
    """
    blocks = functional.max_pool3d(label.float(), BLOCK, BLOCK, ceil_mode=True)
    blocks = (functional.max_pool3d(blocks, 3, 1, 1) > 0).float()
    grown = blocks
    for axis in (2, 3, 4):
        grown = grown.repeat_interleave(BLOCK, axis)
    return grown[:, :, : label.shape[2], : label.shape[3], : label.shape[4]]


def voxel_weights(label: torch.Tensor) -> torch.Tensor:
    """Voxel weights with mean 1 a volume: near and far share equally; uniform where one of the two is empty."""
    inside = near_liver(label)
    share = inside.mean((2, 3, 4), keepdim=True)
    weights = inside / (2 * share.clamp_min(1e-6)) + (1 - inside) / (2 * (1 - share).clamp_min(1e-6))
    return torch.where((share > 0) & (share < 1), weights, torch.ones_like(weights))
