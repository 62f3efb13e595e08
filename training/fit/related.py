"""Methods of related systems, for the ablation: KD with a term on features; two students that share styles."""

from __future__ import annotations

import torch

from training.data.batches import TrainingBatch, near_liver
from training.fit.loop import Outputs, TrainingTask
from training.fit.methods import by_role, distillation_loss, distillation_record, distillation_weights, segmentation
from training.fit.start import initial_network
from training.fit.trainee import clone
from training.model import losses
from training.model.nets import UNet3D
from training.model.related_losses import TERMS, FeatureTerm, matched_features
from training.options import Config, FeatureStage


def kd_with_features(
    stage: FeatureStage, widths: tuple[int, ...], teachers: list[UNet3D], config: Config
) -> TrainingTask:
    """KD with a term of `related_losses.TERMS` on the features of student and first teacher, of KD's weight."""
    loss, frozen, weight = distillation_loss(config.distill), by_role(teachers), config.distill.weight

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        teacher = losses.ensemble([outputs[name] for name in frozen])
        term = feature_loss(TERMS[stage], outputs, ("student", "teacher0"), batch, teacher, config.loop.seed + step)
        return {
            "student seg": segmentation(outputs["student"], batch),
            "student kd": weight * loss(outputs["student"], teacher, distillation_weights(batch, teacher)),
            f"student {stage}": weight * term,
        }

    nets = {"student": initial_network(widths, config)}
    return TrainingTask(stage, distillation_record(stage, teachers, config), nets, objective, frozen, features=True)


def mutual(widths: tuple[int, ...], teachers: list[UNet3D], config: Config) -> TrainingTask:
    """Mutual learning of styles (doi 10.1016/j.compbiomed.2023.107764): of two students of one size the first learns
    the teacher's predictions and the second one's features, the second the other way round, in one loop.

    The first is the student that counts; the cost is that of both.
    """
    loss, frozen, weight = distillation_loss(config.distill), by_role(teachers), config.distill.weight

    def objective(outputs: Outputs, batch: TrainingBatch, step: int) -> dict[str, torch.Tensor]:
        teacher = losses.ensemble([outputs[name] for name in frozen])
        voxels, seed = distillation_weights(batch, teacher), config.loop.seed + step
        from_peer = feature_loss(matched_features, outputs, ("student", "peer"), batch, teacher, seed)
        from_teacher = feature_loss(matched_features, outputs, ("peer", "teacher0"), batch, teacher, seed)
        return {
            "student seg": segmentation(outputs["student"], batch),
            "student kd": weight * loss(outputs["student"], teacher, voxels),
            "student features": weight * from_peer,
            "peer seg": segmentation(outputs["peer"], batch),
            "peer kd": weight * loss(outputs["peer"], outputs["student"], voxels),
            "peer features": weight * from_teacher,
        }

    student = initial_network(widths, config)
    nets = {"student": student, "peer": clone(student)}  # what they learn from makes them differ
    return TrainingTask("mutual", distillation_record("mutual", teachers, config), nets, objective, frozen, True)


def feature_loss(
    term: FeatureTerm,
    outputs: Outputs,
    pair: tuple[str, str],
    batch: TrainingBatch,
    teacher: torch.Tensor,
    seed: int,
) -> torch.Tensor:
    """A term on the features of a pair (learner, model); the mask is the teacher's where there is no label."""
    labelled = batch.labelled.reshape(-1, 1, 1, 1, 1) > 0
    mask = (torch.where(labelled, batch.label, (teacher.detach() > 0).float()) >= 0.5).float()
    learner, model = (outputs[f"{role} features"] for role in pair)
    generator = torch.Generator().manual_seed(seed)
    with torch.autocast(learner.device.type, enabled=False):
        return term(learner, model, mask, near_liver(mask), generator)
