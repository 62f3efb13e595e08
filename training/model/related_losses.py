"""Terms of related systems, in our reading of what is public of each: on features, beside KL on logits.

Features are what a network's head gets (`dec0`, half the resolution): (B, C, d, h, w), of other widths in student and
teacher. Where a term needs them to be alike, the linear map from the student's to the teacher's is solved by least
squares in every batch, in place of a trained projection that would be thrown away.
Each term is a scalar, the smaller the better, detached from the teacher; `mask` (the liver) and `near` (liver and a
shell around it) are B1DHW, 0 or 1, at full resolution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from training.options import FeatureStage

FeatureTerm = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]

RIDGE = 1e-3
"""Of the least squares, in units of the mean square of the student's features: enough that 32-bit sums are solved."""
BORDER_VOXELS = 4096
"""Sampled in a batch, some forty times as many as the unknowns of the largest map (27 x 4 features); not varied."""
CONTRAST_VOXELS = 256
"""Of each class in a batch; not varied."""
CONTRAST_TEMPERATURE = 0.1
"""Of supervised contrast, as published (Khosla et al. 2020)."""
MARGIN = 0.3
"""Of the cosine by which a voxel shall resemble its own class more than the hardest of the other; not varied."""
TINY = 1e-6


def region_affinity(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """MSKD (doi 10.1016/j.compbiomed.2023.107284): squared error of the cosines between the mean features of regions.

    Regions are liver, shell around it and the rest, of every volume of the batch; no parameters.
    """
    inside, around = pooled(mask), pooled(near)
    regions = torch.cat([inside, (around - inside).clamp_min(0), 1 - around], dim=1)
    ours, theirs = (affinities(one, regions) for one in (student, teacher.detach()))
    return (ours - theirs).square().mean()


def affinities(features: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Cosines between the mean features of all regions (B, R, d, h, w) of a batch: (B R, B R)."""
    sums = torch.einsum("bcdhw,brdhw->brc", features, regions)
    vectors = (sums / (regions.sum((2, 3, 4))[..., None] + TINY)).flatten(0, 1)
    vectors = functional.normalize(vectors - vectors.mean(0), dim=1)
    return vectors @ vectors.T


def rebuilt_border(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Boundary reconstruction after the idea of G-MBRMD (doi 10.1016/j.compbiomed.2024.108733) and its sibling (doi
    10.1007/s11517-024-03095-y): the part of the teacher's features at border voxels that a linear map cannot rebuild
    from the student's features around each of them, its own left out.

    Of those systems little but titles and an abstract is public; maps, voxels and weights are our own.
    """
    share = pooled(mask)
    border = (functional.max_pool3d(share, 3, 1, 1) > 0) & (-functional.max_pool3d(-share, 3, 1, 1) < 1)
    places = sampled(border, BORDER_VOXELS, generator)
    around = neighbors(student, places)
    return unexplained(around, values(teacher.detach(), places))


def contrast(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Decoupled contrast (ABUS, doi 10.1088/1361-6560/ad1274): the student's features of a class resemble the teacher's
    of that class in any volume, by supervised contrast, and the hardest voxel of the other class less by a margin.

    Voxels are drawn inside and outside the liver near its border; their numbers and both constants are our own.
    """
    inside = pooled(mask) > 0.5
    drawn = [sampled(one, CONTRAST_VOXELS, generator) for one in (inside, (pooled(near) > 0.5) & ~inside)]
    places = torch.cat(drawn)
    if min(map(len, drawn)) == 0:
        return student.sum() * 0
    labels = torch.cat([torch.full((len(one),), number) for number, one in enumerate(drawn)]).to(student.device)
    theirs = values(teacher.detach(), places)
    ours = values(student, places)
    ours = with_ones(ours) @ projection(ours.detach(), theirs)
    cosines = (
        functional.normalize(ours - theirs.mean(0), dim=1) @ functional.normalize(theirs - theirs.mean(0), dim=1).T
    )
    alike = (labels[:, None] == labels[None, :]).float()
    scaled = (cosines / CONTRAST_TEMPERATURE).log_softmax(1)
    contrasted = -(scaled.exp() * alike).sum(1).clamp_min(TINY).log().mean()
    own = (cosines * alike).sum(1) / alike.sum(1)
    ranked = functional.relu(MARGIN + (cosines - 2 * alike).amax(1) - own).mean()
    return contrasted + ranked


def matched_features(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """The part of the teacher's features near the liver that a linear map of the student's cannot give: what the
    student of features learns by in mutual learning of styles (doi 10.1016/j.compbiomed.2023.107764)."""
    places = sampled(pooled(near) > 0.5, BORDER_VOXELS, generator)
    return unexplained(values(student, places), values(teacher.detach(), places))


TERMS: dict[FeatureStage, FeatureTerm] = {"mskd": region_affinity, "boundary": rebuilt_border, "contrast": contrast}


def pooled(mask: torch.Tensor) -> torch.Tensor:
    """The mask's share of each place of the features."""
    return functional.avg_pool3d(mask.float(), 2)


def sampled(where: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """Up to so many places (N, 4: batch, d, h, w) of a mask (B, 1, d, h, w), drawn without replacement."""
    places = where[:, 0].nonzero()
    chosen = torch.randperm(len(places), generator=generator)[:most]
    return places[chosen.to(places.device)]


def values(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Features (N, C) at places, in 32 bits."""
    b, d, h, w = places.unbind(1)
    return features[b, :, d, h, w].float()


def neighbors(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Features (N, 26 C) of the neighbors of places; zeros beyond the grid."""
    padded = functional.pad(features, (1, 1, 1, 1, 1, 1))
    shifts = torch.cartesian_prod(*[torch.arange(3)] * 3)
    around = [
        values(padded, places + torch.tensor([0, *shift.tolist()], device=places.device))
        for shift in shifts
        if shift.tolist() != [1, 1, 1]
    ]
    return torch.cat(around, dim=1)


def unexplained(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Share of the variance of `theirs` (N, D) that the best linear map of `ours` (N, C) leaves; 0 without voxels.

    The map is taken as constant: at the best one, what it depends on does not change the error to first order.
    """
    if len(ours) == 0:
        return ours.sum()
    error = (with_ones(ours) @ projection(ours.detach(), theirs) - theirs).square().mean()
    return error / ((theirs - theirs.mean(0)).square().mean() + TINY)


@torch.no_grad()
def projection(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The ridge regression (C + 1, D) of `theirs` (N, D) from `ours` (N, C) and a constant."""
    given = with_ones(ours).double()
    squares = given.T @ given
    squares.diagonal().add_(RIDGE * squares.diagonal().mean() + TINY)
    return torch.linalg.solve(squares, given.T @ theirs.double()).float()


def with_ones(features: torch.Tensor) -> torch.Tensor:
    """Features (N, C) and a constant: (N, C + 1)."""
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)
