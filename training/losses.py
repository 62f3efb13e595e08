"""Losses as pure functions of logits and targets; every teacher is detached inside.

Shapes: logits and labels are BCDHW. One logit channel means two classes (background 0, liver logit); labels are liver
fractions in [0, 1], because area averaging to the model grid yields fractions and they carry sub-voxel boundaries.
"""

from __future__ import annotations

import torch
from torch.nn import functional

BLOCK = 4  # voxels: the grain at which "near the liver" is decided


def near(label: torch.Tensor) -> torch.Tensor:
    """Liver and a shell of one to two blocks around it, as 0/1 of the label's shape.

    More than nine voxels in ten are easy background; the mean over `near` and the mean over the rest weigh the same.
    """
    blocks = functional.max_pool3d(label.float(), BLOCK, BLOCK, ceil_mode=True)
    blocks = (functional.max_pool3d(blocks, 3, 1, 1) > 0).float()
    grown = blocks
    for axis in (2, 3, 4):
        grown = grown.repeat_interleave(BLOCK, axis)
    return grown[:, :, : label.shape[2], : label.shape[3], : label.shape[4]]


def balance(label: torch.Tensor) -> torch.Tensor:
    """Voxel weights with mean 1 a volume: near and far share equally; uniform where one of the two is empty."""
    inside = near(label)
    share = inside.mean((2, 3, 4), keepdim=True)
    weights = inside / (2 * share.clamp_min(1e-6)) + (1 - inside) / (2 * (1 - share).clamp_min(1e-6))
    return torch.where((share > 0) & (share < 1), weights, torch.ones_like(weights))


def dice(logits: torch.Tensor, label: torch.Tensor, smooth: float = 50.0) -> torch.Tensor:
    """1 - soft Dice a volume (B,), with squared denominators: zero only where probability equals the fraction."""
    p = logits.sigmoid()
    overlap = (p * label).sum((1, 2, 3, 4))
    return 1 - (2 * overlap + smooth) / ((p * p).sum((1, 2, 3, 4)) + (label * label).sum((1, 2, 3, 4)) + smooth)


def segmentation(
    logits: torch.Tensor, label: torch.Tensor, weights: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """Dice + cross entropy, averaged over the labelled volumes of the batch; 0 where none is labelled.

    `weights` are those of `balance`; `labelled` is (B,) of 0/1.
    """
    cross = functional.binary_cross_entropy_with_logits(logits, label, weight=weights, reduction="none")
    volumes = dice(logits, label) + cross.mean((1, 2, 3, 4))
    return (volumes * labelled).sum() / labelled.sum().clamp_min(1)
