"""Validation during training: Dice on real CTs on the model grid."""

from __future__ import annotations

from collections.abc import Callable

import torch

from LiverGTANLib.core.measurements import dice
from LiverGTANLib.core.volume import HU_WINDOW, SPACING_MM
from training.data.cases import Case
from training.data.joined import Joined
from training.errors import UserError
from training.model.nets import UNet3D
from training.options import DataSettings


def validator(data: DataSettings) -> Callable[[UNet3D], dict[str, float]]:
    """A function network -> {case: Dice on the model grid}; the cases are read once, here.

    Raises UserError for a case from which volumes of the bank were made.
    """
    cases = [Case.parse(text) for text in data.validation]
    refuse_trained(cases, Joined(data.bank))
    prepared = [(case.name, *case.on_model_grid(SPACING_MM, HU_WINDOW)) for case in cases]

    @torch.no_grad()
    def validate(net: UNet3D) -> dict[str, float]:
        device = next(net.parameters()).device
        return {
            name: float(dice(net(torch.from_numpy(image)[None, None].to(device))[0, 0].cpu().numpy() > 0, liver > 0.5))
            for name, image, liver in prepared
        }

    return validate


def refuse_trained(cases: list[Case], bank: Joined) -> None:
    """Raises UserError for a case from which volumes of the bank were made."""
    trained = {bank.record(n)["source"] for n in range(len(bank))} & {case.name for case in cases}
    if trained:
        raise UserError(
            f"{', '.join(sorted(trained))} is in a bank: a CT that is trained on cannot "
            "validate; leave it out, or synthesize a bank without it."
        )
