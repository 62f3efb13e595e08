"""What is watched during training: Dice on real CTs on the model grid."""

from __future__ import annotations

from collections.abc import Callable

import torch

from training.data.cases import Case
from training.data.joined import Joined
from training.errors import UserError
from training.model.nets import UNet3D
from training.options import DataSettings

SPACING_MM = 3.0
HU_WINDOW = (-160.0, 240.0)


def validator(data: DataSettings) -> Callable[[UNet3D], dict[str, float]]:
    """A function network -> {case: Dice on the model grid}; the cases are read once, here.

    Raises UserError for a case from which volumes of the bank were made.
    """
    cases = [Case.parse(text) for text in data.validation]
    refuse_trained(cases, Joined(data.bank))
    prepared = [(case.name, *case.on_model_grid(SPACING_MM, HU_WINDOW)) for case in cases]
    tensors = [(name, torch.from_numpy(x)[None, None], torch.from_numpy(y) > 0.5) for name, x, y in prepared]

    @torch.no_grad()
    def dice(net: UNet3D) -> dict[str, float]:
        device = next(net.parameters()).device
        return {name: overlap(net(x.to(device))[0, 0].cpu() > 0, truth) for name, x, truth in tensors}

    return dice


def refuse_trained(cases: list[Case], bank: Joined) -> None:
    """Raises UserError for a case from which volumes of the bank were made."""
    trained = {bank.record(n)["source"] for n in range(len(bank))} & {case.name for case in cases}
    if trained:
        raise UserError(
            f"{', '.join(sorted(trained))} is in a bank: a CT that is trained on cannot "
            "validate; leave it out, or synthesize a bank without it."
        )


def overlap(mask: torch.Tensor, truth: torch.Tensor) -> float:
    """Dice of two masks; two empty ones agree."""
    total = int(mask.sum() + truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0
