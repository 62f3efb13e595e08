"""Batches drawn from a bank as a pure function of (seed, step), shared out over processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from training.data import augment
from training.data.joined import Joined
from training.model.losses import balance
from training.options import Config


@dataclass(frozen=True)
class TrainingBatch:
    """image and label are B1DHW float32, weights the loss weights of the voxels, labelled (B,) 0 or 1."""

    image: torch.Tensor
    label: torch.Tensor
    weights: torch.Tensor
    labelled: torch.Tensor

    def to(self, device: torch.device) -> TrainingBatch:
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
        return TrainingBatch(image, label, balance(label), torch.tensor(labelled, dtype=torch.float32))

    def sample(self, position: int) -> tuple[torch.Tensor, torch.Tensor, bool]:
        """The augmented volume at a position of the endless sequence of volumes."""
        seed, count = self.config.loop.seed, len(self.bank)
        epoch, place = divmod(position, count)
        order = np.random.default_rng([seed, epoch]).permutation(count)
        image, label, labelled = self.bank[int(order[place])]
        view = augment.draw(self.config.data.augment, np.random.default_rng([seed, position, 1]))
        return *augment.apply(torch.from_numpy(image), torch.from_numpy(label), view), labelled
