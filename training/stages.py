"""Stages: short functions that say what a run trains; `loop.fit` runs them."""

from __future__ import annotations

from training import losses
from training.data.batches import Batch
from training.loop import Outputs, Task
from training.nets import UNet3D


def plain(name: str, widths: tuple[int, ...]) -> Task:
    """A network on labels alone: the teacher, or a student without distillation."""

    def objective(outputs: Outputs, batch: Batch) -> dict[str, object]:
        logits = outputs[name]
        return {f"{name} seg": losses.segmentation(logits, batch.label, batch.weights, batch.labelled)}

    return Task(name, {name: UNet3D(widths)}, objective)
