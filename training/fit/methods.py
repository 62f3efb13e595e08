"""Stages: short functions that say what a run trains; `loop.fit` runs them. The method's reading is ours (README)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from training.data.batches import TrainingBatch, voxel_weights
from training.errors import UserError
from training.fit import checkpoint
from training.fit.loop import Outputs, TrainingTask
from training.fit.trainee import copy_of
from training.model import growth, losses
from training.model.nets import UNet3D
from training.options import Config, DistillSettings

Term = losses.Term


def plain(role: str, widths: tuple[int, ...], config: Config) -> TrainingTask:
    """A network on labels alone: the teacher, or a student without distillation."""

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        return {f"{role} seg": segmentation(outputs[role], batch)}

    return TrainingTask(
        role, "Dice + cross entropy on labels, no distillation", {role: seeded(widths, config)}, objective
    )


def distilled(role: str, widths: tuple[int, ...], teachers: list[UNet3D], config: Config) -> TrainingTask:
    """KD: a network on labels and on the mean of one or several frozen teachers."""
    term, frozen = distillation(config.distill), named(teachers)

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        teacher = losses.ensemble([outputs[name] for name in frozen])
        return {
            f"{role} seg": segmentation(outputs[role], batch),
            f"{role} kd": config.distill.weight * term(outputs[role], teacher, emphasis(batch, teacher)),
        }

    method = f"KD ({config.distill.loss}) from {len(teachers)} teacher(s) of widths {teachers[0].widths}"
    return TrainingTask(role, method, {role: seeded(widths, config)}, objective, frozen)


def densely(role: str, widths: tuple[int, ...], teachers: list[UNet3D], config: Config) -> TrainingTask:
    """DGKD: a network on labels and on every larger one, each left out by chance in some steps."""
    term, frozen = distillation(config.distill), named(teachers)

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        larger = [outputs[name] for name in frozen]
        kept = np.random.default_rng([config.loop.seed, step, 2]).random(len(larger)) >= config.distill.drop
        guidance = losses.dense(term, outputs[role], larger, emphasis(batch, larger[0]), kept.tolist())
        return {f"{role} seg": segmentation(outputs[role], batch), f"{role} kd": config.distill.weight * guidance}

    method = f"DGKD ({config.distill.loss}) from widths {[net.widths for net in teachers]}"
    return TrainingTask(role, method, {role: seeded(widths, config)}, objective, frozen)


def gtan(widths: tuple[int, ...], teachers: list[UNet3D], config: Config) -> TrainingTask:
    """A student and an assistant that grows from the student's widths to the teacher's, in one loop.

    The assistant learns from labels and the teacher, the student from labels and the assistant of the moment.
    """
    term, frozen, weight = distillation(config.distill), named(teachers), config.distill.weight

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        teacher = losses.ensemble([outputs[name] for name in frozen])
        student, assistant = outputs["student"], outputs["assistant"]
        voxels = emphasis(batch, teacher)
        parts = {
            "assistant seg": segmentation(assistant, batch),
            "assistant kd": weight * term(assistant, teacher, voxels),
            "student seg": segmentation(student, batch),
            "student kd": weight * term(student, assistant, voxels),
        }
        if config.growth.teacher_term:
            parts["student teacher"] = weight * term(student, teacher, voxels)
        return parts

    student = seeded(widths, config)
    sizes = growth_plan(widths, teachers[0].widths, len(config.growth.grow_at))
    steps = [round(share * config.loop.steps) for share in config.growth.grow_at]
    plan = {step: ("assistant", size) for step, size in zip(steps, sizes, strict=True)}
    method = (
        f"GTAN ({config.distill.loss}): assistant grown {widths} -> {' -> '.join(map(str, sizes))} beside the "
        f"student, {'inheriting' if config.growth.inherit else 'not inheriting'} weights"
    )
    return TrainingTask("gtan", method, {"assistant": copy_of(student), "student": student}, objective, frozen, plan)


def growth_plan(narrow: tuple[int, ...], wide: tuple[int, ...], times: int) -> list[tuple[int, ...]]:
    """Widths after each growth: equal factors, ending at `wide` exactly and never shrinking."""
    return [
        tuple(max(n, round(n * (w / n) ** (turn / times))) for n, w in zip(narrow, wide, strict=True))
        for turn in range(1, times + 1)
    ]


def segmentation(logits: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
    """Dice + cross entropy on the labelled volumes."""
    return losses.segmentation(logits, batch.label, batch.weights, batch.labelled)


def emphasis(batch: TrainingBatch, teacher: torch.Tensor) -> torch.Tensor:
    """Voxel weights for distillation; where there is no label, the teacher's mask says what is near the liver."""
    if batch.labelled.all():
        return batch.weights
    guessed = voxel_weights((teacher.detach() > 0).float())
    return torch.where(batch.labelled.reshape(-1, 1, 1, 1, 1) > 0, batch.weights, guessed)


def distillation(settings: DistillSettings) -> Term:
    """The configured term (student, teacher, weights) -> scalar."""
    term = losses.DISTILLATION[settings.loss]
    return term if settings.temperature is None else partial(term, temperature=settings.temperature)


def named(teachers: list[UNet3D]) -> dict[str, UNet3D]:
    """Frozen networks by role; the first is the largest."""
    return {f"teacher{number}": net.requires_grad_(False) for number, net in enumerate(teachers)}


def seeded(widths: tuple[int, ...], config: Config) -> UNet3D:
    """The network to begin from, or a fresh one that depends on the seed and the widths alone."""
    if config.loop.start:
        return begun(Path(config.loop.start), widths, config).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.loop.seed)
        return UNet3D(widths)


def begun(file: Path, widths: tuple[int, ...], config: Config) -> UNet3D:
    """A checkpoint's network, widened when it is narrower. Raises UserError when it is wider."""
    net, seed = checkpoint.network(file), config.loop.seed
    if net.widths == widths:
        return net
    try:
        wide = growth.widen(net, widths, growth.draw_maps(net.widths, widths, seed))
    except ValueError as error:
        raise UserError(f"{file} cannot be begun from ({error})") from error
    growth.break_symmetry(wide, config.growth.asymmetry, seed)
    return wide
