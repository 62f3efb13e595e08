"""Losses as pure functions of logits and targets; every teacher is detached inside.

Shapes: logits and labels are BCDHW. One logit channel means two classes (background 0, liver logit); labels are liver
fractions in [0, 1], because area averaging to the model grid yields fractions and they carry sub-voxel boundaries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from training.options import LossName

DistillationLoss = Callable[..., torch.Tensor]  # (student logits, teacher logits, weights) -> scalar


DICE_SMOOTHING = 50.0
"""Voxels added to both sides of the fraction, so that a volume with little or no liver has a tame gradient: 1.4 L of
liver are about 50,000 voxels of 3 mm. Chosen at the beginning and never varied."""


def dice(logits: torch.Tensor, label: torch.Tensor, smooth: float = DICE_SMOOTHING) -> torch.Tensor:
    """1 - soft Dice a volume (B,), with squared denominators (Milletari et al. 2016): zero only where probability
    equals the fraction."""
    return Dice.apply(logits, label, smooth)


class Dice(torch.autograd.Function):
    """`dice` with its gradient in closed form: 12 instead of 17 passes over the volume."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, label: torch.Tensor, smooth: float) -> torch.Tensor:
        p = logits.sigmoid()
        overlap, squares = ((p * one).sum((1, 2, 3, 4), keepdim=True) for one in (label, p))
        top, bottom = 2 * overlap + smooth, squares + (label * label).sum((1, 2, 3, 4), keepdim=True) + smooth
        ctx.save_for_backward(p, label, top, bottom)
        return 1 - (top / bottom).flatten()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        p, label, top, bottom = ctx.saved_tensors
        grad = 2 * grad.reshape(top.shape) / bottom
        by_p = (p * (grad * top / bottom)).addcmul_(label, -grad)
        return by_p.mul_(torch.addcmul(p, p, p, value=-1)), None, None


class CrossEntropy(torch.autograd.Function):
    """Mean over each volume (B,) of the cross entropy of two classes by one logit, a voxel's times its weight.

    target: probabilities. The gradient in closed form takes 4 passes over the volume where autograd's takes 8.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, target, weights)
        return functional.softplus(logits).addcmul_(logits, target, value=-1).mul_(weights).mean((1, 2, 3, 4))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, target, weights = ctx.saved_tensors
        grad = grad.reshape(-1, 1, 1, 1, 1) / logits[0].numel()
        return logits.sigmoid().sub_(target).mul_(weights).mul_(grad), None, None


def segmentation(
    logits: torch.Tensor, label: torch.Tensor, weights: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """Dice + cross entropy, averaged over the batch; a volume without label adds 0.

    So every labelled volume weighs the same in whatever batch, and on however many processes, it comes.
    `weights` are those of `batches.voxel_weights`; `labelled` is (B,) of 0/1.
    """
    volumes = dice(logits, label) + CrossEntropy.apply(logits, label, weights)
    return (volumes * labelled).mean()


# Distillation: each takes (student, teacher, weights) and returns a scalar.


def classes(logits: torch.Tensor) -> torch.Tensor:
    """Two class channels in place of one logit, else the logits centered over classes.

    Softmax does not see a shift of all classes of a voxel, but a softmax over voxels does; centered logits have none.
    """
    if logits.shape[1] == 1:
        return torch.cat([-logits / 2, logits / 2], dim=1)
    return logits - logits.mean(1, keepdim=True)


def kl(student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """T^2 * KL(teacher || student) of the softened class distributions, summed over classes, averaged over voxels.

    `weights` B1DHW have mean 1 a volume. Hinton et al. 2015; the sum over classes keeps the scale free of their number.
    """
    ours, theirs = student / temperature, teacher.detach() / temperature
    if student.shape[1] == 1:  # the same for two classes, in a third of the time
        target = theirs.sigmoid()
        cross, entropy = (CrossEntropy.apply(one, target, weights) for one in (ours, theirs))
        return temperature**2 * (cross - entropy).mean()
    ours, theirs = ours.log_softmax(1), theirs.log_softmax(1)
    divergence = (theirs.exp() * (theirs - ours)).sum(1, keepdim=True)
    return temperature**2 * (weights * divergence).mean()


def cwd(student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, temperature: float = 4.0) -> torch.Tensor:
    """Channel-wise distillation (Shu et al. 2021): for each class a softmax over voxels, KL, mean over classes.

    A distribution over voxels has its own emphasis, so `weights` play no part.
    """
    ours = (classes(student) / temperature).flatten(2).log_softmax(2)
    theirs = (classes(teacher.detach()) / temperature).flatten(2).log_softmax(2)
    return temperature**2 * (theirs.exp() * (theirs - ours)).sum(2).mean()


def dist(student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, temperature: float = 4.0) -> torch.Tensor:
    """DIST (Huang et al. 2022): 1 - Pearson correlation over voxels for each class, and over classes for each voxel.

    The second is left out for two classes, where it is always +-1; nor does the background's map, which is the liver's
    turned over, add to the first.
    """
    ours, theirs = (probabilities(one / temperature).flatten(2) for one in (student, teacher.detach()))
    intra = (1 - pearson(ours, theirs, 2)).mean()
    if ours.shape[1] <= 2:
        return temperature**2 * intra
    voxels = weights.flatten(2)[:, 0]
    return temperature**2 * (intra + ((1 - pearson(ours, theirs, 1)) * voxels).mean())


def mse(student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, temperature: float = 8.0) -> torch.Tensor:
    """Logit matching, in the scale of `kl`, whose limit at high temperature it is (Hinton et al. 2015).

    temperature: where logits are softly clipped, t tanh(x / t): how sure both are of a voxel of air says nothing.
    """
    ours, theirs = (temperature * (classes(one) / temperature).tanh() for one in (student, teacher.detach()))
    return (weights * (ours - theirs).square().sum(1, keepdim=True)).mean() / (2 * ours.shape[1])


def fckd(student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """After FCKDNet (doi 10.3390/e25010125): what the teacher is sure of comes first, in a term over the classes of
    each voxel (`kl`) and one over the voxels of each class (as `cwd`)."""
    return condensed(student, teacher, weights, 1 - uncertainty(teacher), temperature)


def fckd_opposite(
    student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, temperature: float = 2.0
) -> torch.Tensor:
    """The control of `fckd`: what the teacher is unsure of comes first."""
    return condensed(student, teacher, weights, uncertainty(teacher), temperature)


def condensed(
    student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, share: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Both terms of `fckd`; share: B1DHW in [0, 1], how much a voxel counts."""
    share = share.clamp_min(EVEN_SHARE)
    voxels = weights * share / share.mean((2, 3, 4), keepdim=True)
    log_share = share.log().flatten(2)
    ours, theirs = (
        ((classes(one) / temperature).flatten(2) + log_share).log_softmax(2) for one in (student, teacher.detach())
    )
    over_voxels = temperature**2 * (theirs.exp() * (theirs - ours)).sum(2).mean()
    return kl(student, teacher, voxels, temperature) + over_voxels


EVEN_SHARE = 1e-3
"""The least that a voxel counts in `fckd`."""


def uncertainty(logits: torch.Tensor) -> torch.Tensor:
    """Entropy of the classes at every voxel, B1DHW, 1 where all are equally likely."""
    logs = classes(logits.detach()).log_softmax(1)
    return -(logs.exp() * logs).sum(1, keepdim=True) / math.log(logs.shape[1])


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Of every class, or of the liver alone for one logit."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def pearson(a: torch.Tensor, b: torch.Tensor, axis: int) -> torch.Tensor:
    """Correlation along an axis; constants correlate with each other."""
    a, b = a - a.mean(axis, keepdim=True), b - b.mean(axis, keepdim=True)
    tiny = torch.finfo(a.dtype).tiny ** 0.5
    return ((a * b).sum(axis) + tiny) / (a.norm(dim=axis) * b.norm(dim=axis) + tiny)


DISTILLATION: dict[LossName, DistillationLoss] = {
    "kl": kl,
    "cwd": cwd,
    "dist": dist,
    "mse": mse,
    "fckd": fckd,
    "fckd-opposite": fckd_opposite,
}


def ensemble(logits: list[torch.Tensor]) -> torch.Tensor:
    """Logits whose class probabilities are the mean of several teachers' (one logit stays one)."""
    if len(logits) == 1:
        return logits[0]
    mean = torch.stack([one.log_softmax(1) if one.shape[1] > 1 else functional.logsigmoid(one) for one in logits])
    mean = mean.logsumexp(0) - math.log(len(logits))
    if logits[0].shape[1] > 1:
        return mean
    rest = torch.stack([functional.logsigmoid(-one) for one in logits]).logsumexp(0) - math.log(len(logits))
    return mean - rest


def dense_guidance(
    loss: DistillationLoss,
    student: torch.Tensor,
    teachers: list[torch.Tensor],
    weights: torch.Tensor,
    used: list[bool],
) -> torch.Tensor:
    """Sum of a distillation loss over the larger networks that are `used` in this step (DGKD, Son et al. 2021)."""
    terms = [loss(student, one, weights) for one, use in zip(teachers, used, strict=True) if use]
    return torch.stack(terms).sum() if terms else student.sum() * 0
