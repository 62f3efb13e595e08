"""The published networks that students are timed against can be made and give an answer for every cell."""

import numpy as np
import pytest

pytest.importorskip("monai", reason="MONAI is not installed (group test)")
from benchmarks import peers

SMALLEST = (32, 32, 32)
"""Fewest cells that they have levels for."""


@pytest.mark.slow
def test_published_networks_answer_for_every_cell():
    nets = peers.published_networks()
    assert len(nets) == 3
    for forward in nets.values():
        logits = forward(np.zeros(SMALLEST, np.float32))
        assert logits.shape[1:] == SMALLEST and np.isfinite(logits).all()
