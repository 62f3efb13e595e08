"""A student made by hand whose answer is known: liver is what lies between two HU values.

It is a real weight file of the real format and runs on the real engines, so that tests of the module need no training.
"""

from pathlib import Path

import numpy as np

from LiverGTANLib.core import weight_file

WINDOW = (-160.0, 240.0)
WIDTHS = (2, 2)
STEEPNESS = 20.0


def save(path: Path, name: str, low: float = 80.0, high: float = 140.0, temperature: float = 1.0) -> Path:
    """Write the student's files (NAME.npz, NAME.json) beside `path`; returns the card's path.

    temperature: from 0.9 on it is sure of no liver, and volumes have no range: its largest logit is 1.
    """
    weights = {key: np.zeros(shape, np.float32) for key, shape in weight_file.expected_shapes(WIDTHS).items()}
    low, high = ((value - sum(WINDOW) / 2) * 2 / (WINDOW[1] - WINDOW[0]) for value in (low, high))
    # Two channels carry how far a cell is above and below the band; everything else hands them on.
    weights["stem.weight"][0], weights["stem.weight"][1] = STEEPNESS / 8, -STEEPNESS / 8
    weights["stem.bias"][:] = -STEEPNESS * high, STEEPNESS * low
    for channel in range(2):
        weights["enc0.weight"][channel, channel, 1, 1, 1] = 1
        weights["dec0.weight"][channel, 2 + channel, 1, 1, 1] = 1
    weights["head.weight"][:] = -1
    weights["head.bias"][:] = 1
    card = {
        "name": name,
        "architecture": {"type": "unet3d", "widths": list(WIDTHS), "stem": 2, "negative_slope": 0.01},
        "input": {"spacing_mm": 3.0, "hu_window": list(WINDOW)},
        "calibration": {"temperature": temperature},
    }
    return weight_file.save(path / name, weights, card)
