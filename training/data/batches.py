"""Batches drawn from banks and scans as a pure function of (seed, step), shared out over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from training.data.training_data import TrainingData
from training.options import Config

CPU = torch.device("cpu")
BLOCK = 4
"""Voxels along an axis: how coarsely it is decided what is near the liver."""


@dataclass(frozen=True)
class TrainingBatch:
    """image and label are B1DHW float32, weights the loss weights of the voxels, labelled (B,) 0 or 1."""

    image: torch.Tensor
    label: torch.Tensor
    weights: torch.Tensor
    labelled: torch.Tensor


class DrawnBatch(NamedTuple):
    """What is drawn of a batch: image and label (B1DHW) and labelled as `TrainingBatch` has them."""

    image: torch.Tensor
    label: torch.Tensor
    labelled: torch.Tensor

    def compact(self) -> DrawnBatch:
        """The same in half precision, which is finer than a CT's noise (0.2 HU): the way from a process to another
        takes longer than a step if float32 and weights travel, too."""
        return DrawnBatch(self.image.half(), self.label.half(), self.labelled)

    def on(self, device: torch.device) -> TrainingBatch:
        """The batch on a device, in float32."""
        image, label, labelled = (part.to(device, non_blocking=True).float() for part in self)
        return TrainingBatch(image, label, voxel_weights(label), labelled)


class Batches:
    """Batches as a pure function of (seed, step), made on the device on which they are used."""

    def __init__(self, config: Config, rank: int, world: int, device: torch.device = CPU) -> None:
        self.data = TrainingData(config.data)
        self.config, self.rank, self.world, self.device = config, rank, world, device

    def at(self, step: int) -> TrainingBatch:
        """This process's share of the batch of a step. Raises FileNotFoundError when the data were removed."""
        return self.drawn(step).on(self.device)

    def drawn(self, step: int) -> DrawnBatch:
        """`at` without the weights."""
        self.data.still_there()
        size, seed = self.config.loop.batch, self.config.loop.seed
        positions = range(step * size, (step + 1) * size)[self.rank :: self.world]
        volumes = (self.data.volume(position, seed, self.device) for position in positions)
        images, labels, labelled = zip(*volumes, strict=True)
        label = torch.stack(labels)[:, None]
        layout = torch.channels_last_3d if self.device.type == "cpu" else torch.contiguous_format
        image = torch.stack(images)[:, None].contiguous(memory_format=layout)
        known = torch.tensor(labelled, dtype=torch.float32, device=self.device)
        return DrawnBatch(image, label, known)


class BatchesByStep(Dataset):
    """`Batches` on the processor for the processes of a `DataLoader`, opened in each of them."""

    def __init__(self, config: Config, rank: int, world: int) -> None:
        self.config, self.rank, self.world = config, rank, world

    @cached_property
    def batches(self) -> Batches:
        """The batches, of this process."""
        return Batches(self.config, self.rank, self.world)

    def __getitem__(self, step: int) -> DrawnBatch | Exception:
        """The batch in half precision, or what its preparation raised, which `DataLoader` would raise with a traceback
        in its message."""
        try:
            return self.batches.drawn(step).compact()
        except Exception as error:
            return error


def drawn_by_processes(
    dataset: BatchesByStep, steps: range, processes: int, prepare: Callable[[int], None]
) -> Iterator[DrawnBatch | Exception]:
    """The batches of the steps in their order, each from one of so many processes, each of which calls `prepare`."""
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=steps,
        num_workers=processes,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="spawn",  # a fork of a process whose threads compute can hang
        worker_init_fn=prepare,
    )
    return iter(loader)


def near_liver(label: torch.Tensor) -> torch.Tensor:
    """Liver and a shell of one to two blocks around it, as 0/1 of the label's shape; of logits, where they exceed 0.

    More than nine voxels in ten are easy background, so near and far are weighed apart (see `voxel_weights`).
    """
    return spread(near_blocks(label), label.shape)


def near_blocks(label: torch.Tensor) -> torch.Tensor:
    """`near_liver` with one value a block, B1DHW."""
    blocks = functional.max_pool3d(label.float(), BLOCK, BLOCK, ceil_mode=True)
    return (functional.max_pool3d(blocks, 3, 1, 1) > 0).float()


def spread(blocks: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Values of blocks on all of their voxels, within the shape."""
    for axis in (4, 3, 2):  # the last repetition, which writes the most, copies whole slices
        blocks = blocks.repeat_interleave(BLOCK, axis)
    return blocks[:, :, : shape[2], : shape[3], : shape[4]]


def voxel_weights(label: torch.Tensor) -> torch.Tensor:
    """Voxel weights with mean 1 a volume: near and far share equally; uniform where one of the two is empty.

    label: see `near_liver`.
    """
    blocks = near_blocks(label)
    share = spread(blocks, label.shape).mean((2, 3, 4), keepdim=True)  # blocks at the ends may be cut
    both = (share > 0) & (share < 1)
    near, far = (torch.where(both, 1 / (2 * part), 1.0) for part in (share, 1 - share))
    return spread(torch.where(blocks > 0, near, far), label.shape)
