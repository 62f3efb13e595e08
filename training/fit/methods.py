"""Methods: short functions that say what a run trains; `loop.fit` trains it. GTAN is our reading of it (README)."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import numpy as np
import torch

from training.data.batches import TrainingBatch, voxel_weights
from training.fit.loop import Outputs, TrainingTask
from training.fit.run_record import GrowthStep, MethodRecord, Stage
from training.fit.start import initial_network
from training.fit.trainee import clone
from training.model import losses
from training.model.nets import UNet3D
from training.options import Config, DistillSettings


def supervised(role: Literal["teacher", "student"], widths: tuple[int, ...], config: Config) -> TrainingTask:
    """A network on labels alone: the teacher, or a student without distillation."""

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        return {f"{role} seg": segmentation(outputs[role], batch)}

    return TrainingTask(role, MethodRecord(role), {role: initial_network(widths, config)}, objective)


def kd(
    stage: Literal["kd", "takd", "assistant"], widths: tuple[int, ...], teachers: list[UNet3D], config: Config
) -> TrainingTask:
    """KD (Hinton et al. 2015): a network on labels and on the mean of one or several frozen teachers.

    takd: the same with the assistant for a teacher; assistant: that of TAKD (Mirzadeh et al. 2020) and DGKD.
    """
    role = "assistant" if stage == "assistant" else "student"
    loss, frozen = distillation_loss(config.distill), by_role(teachers)

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        teacher = losses.ensemble([outputs[name] for name in frozen])
        return {
            f"{role} seg": segmentation(outputs[role], batch),
            f"{role} kd": config.distill.weight * loss(outputs[role], teacher, distillation_weights(batch, teacher)),
        }

    method = distillation_record(stage, teachers, config)
    return TrainingTask(role, method, {role: initial_network(widths, config)}, objective, frozen)


def dgkd(widths: tuple[int, ...], teachers: list[UNet3D], config: Config) -> TrainingTask:
    """DGKD (Son et al. 2021): a student on labels and on all larger networks, each left out by chance in some steps."""
    loss, frozen = distillation_loss(config.distill), by_role(teachers)

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        larger = [outputs[name] for name in frozen]
        used = np.random.default_rng([config.loop.seed, step, 2]).random(len(larger)) >= config.distill.drop
        weights = distillation_weights(batch, larger[0])
        guidance = losses.dense_guidance(loss, outputs["student"], larger, weights, used.tolist())
        return {
            "student seg": segmentation(outputs["student"], batch),
            "student kd": config.distill.weight * guidance,
        }

    method = distillation_record("dgkd", teachers, config)
    return TrainingTask("student", method, {"student": initial_network(widths, config)}, objective, frozen)


def gtan(widths: tuple[int, ...], teachers: list[UNet3D], config: Config) -> TrainingTask:
    """A student and an assistant that grows from the student's widths to the teacher's, in one loop.

    The assistant learns from labels and the teacher, the student from labels and the assistant of the moment.
    """
    loss, frozen, weight = distillation_loss(config.distill), by_role(teachers), config.distill.weight

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        teacher = losses.ensemble([outputs[name] for name in frozen])
        student, assistant = outputs["student"], outputs["assistant"]
        voxels = distillation_weights(batch, teacher)
        parts = {
            "assistant seg": segmentation(assistant, batch),
            "assistant kd": weight * loss(assistant, teacher, voxels),
            "student seg": segmentation(student, batch),
            "student kd": weight * loss(student, assistant, voxels),
        }
        if config.growth.teacher_term:
            parts["student teacher"] = weight * loss(student, teacher, voxels)
        return parts

    student = initial_network(widths, config)
    method = dataclasses.replace(
        distillation_record("gtan", teachers, config),
        growth=growth_plan(widths, teachers[0].widths, config),
        inherit=config.growth.inherit,
        teacher_term=config.growth.teacher_term,
    )
    return TrainingTask("gtan", method, {"assistant": clone(student), "student": student}, objective, frozen)


def distillation_record(stage: Stage, teachers: list[UNet3D], config: Config) -> MethodRecord:
    """What all methods with teachers record."""
    return MethodRecord(stage, config.distill.loss, tuple(net.widths for net in teachers))


def growth_plan(narrow: tuple[int, ...], wide: tuple[int, ...], config: Config) -> tuple[GrowthStep, ...]:
    """The assistant's first size and its growths, at the configured shares of the run."""
    steps = [round(share * config.loop.steps) for share in config.growth.grow_at]
    plan = dict(zip(steps, growth_widths(narrow, wide, len(steps)), strict=True))  # of two at one step the larger
    return (GrowthStep(0, narrow), *(GrowthStep(step, widths) for step, widths in plan.items()))


def growth_widths(narrow: tuple[int, ...], wide: tuple[int, ...], times: int) -> list[tuple[int, ...]]:
    """Widths after each growth: equal factors, ending at `wide` exactly and never shrinking."""
    return [
        tuple(max(n, round(n * (w / n) ** (turn / times))) for n, w in zip(narrow, wide, strict=True))
        for turn in range(1, times + 1)
    ]


def segmentation(logits: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
    """Dice + cross entropy on the labelled volumes."""
    return losses.segmentation(logits, batch.label, batch.weights, batch.labelled)


def distillation_weights(batch: TrainingBatch, teacher: torch.Tensor) -> torch.Tensor:
    """Voxel weights for distillation; where there is no label, the teacher's mask says what is near the liver."""
    if batch.labelled.all():
        return batch.weights
    weights, unlabelled = batch.weights.clone(), batch.labelled == 0
    weights[unlabelled] = voxel_weights(teacher.detach()[unlabelled])
    return weights


def distillation_loss(settings: DistillSettings) -> losses.DistillationLoss:
    """The configured loss (student, teacher, weights) -> scalar."""
    loss = losses.DISTILLATION[settings.loss]
    return loss if settings.temperature is None else partial(loss, temperature=settings.temperature)


def by_role(teachers: list[UNet3D]) -> dict[str, UNet3D]:
    """Frozen networks by role; the first is the largest."""
    return {f"teacher{number}": net.requires_grad_(False) for number, net in enumerate(teachers)}
