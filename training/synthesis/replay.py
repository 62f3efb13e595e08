"""Makes a volume again, from the parameters in its line of the index."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.options import SynthesisConfig
from training.settings import CONVERTER
from training.synthesis.effects.phase import Contrast
from training.synthesis.pipeline import ANATOMY, DISEASE, REAL, SCANNER, to_grid
from training.synthesis.placement import Placement, place
from training.synthesis.sources import Source
from training.synthesis.synthetic_scan import Effect

EFFECTS: dict[str, type[Effect]] = {**ANATOMY, "contrast": Contrast, **REAL, **DISEASE, **SCANNER}
"""All effects in the order in which they are applied."""


def replay(source: Source, config: SynthesisConfig, parameters: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Image and label (D, H, W) of a logged volume. `source` must be the one that the record names."""
    scan = place(source, CONVERTER.structure(parameters["placement"], Placement), config.fine_shape)
    for name, effect in EFFECTS.items():
        if name in parameters:
            CONVERTER.structure(parameters[name], effect).apply(scan)
    return to_grid(scan, config.hu_window)
