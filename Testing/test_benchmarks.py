"""What the benchmarks do beyond `--quick`, with which the tests of the documents run them."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
from benchmarks import click_to_mask, peers

from LiverGTANLib.core.phantom import phantom_ct

SMALLEST = (32, 32, 32)
"""Fewest cells that the published networks have levels for."""


@pytest.mark.slow
def test_published_networks_answer_for_every_cell():
    pytest.importorskip("monai", reason="MONAI is not installed (group test)")
    nets = peers.published_networks()
    assert len(nets) == 3
    for forward in nets.values():
        logits = forward(np.zeros(SMALLEST, np.float32))
        assert logits.shape[1:] == SMALLEST and np.isfinite(logits).all()


def test_the_scan_on_a_finer_grid_fills_the_same_space():
    ct, _ = phantom_ct((6.0, 6.0, 6.0))
    fine = click_to_mask.large(ct, (90, 52, 100))
    assert fine.shape == (90, 52, 100) and fine.hu.mean() == pytest.approx(ct.hu.mean(), abs=10)
    for corner in (-0.5, 0.5):
        places = [
            one.ijk_to_ras @ [*((np.array(one.shape[::-1]) - 1) / 2 + corner * np.array(one.shape[::-1])), 1]
            for one in (ct, fine)
        ]
        np.testing.assert_allclose(*places, atol=1e-6)


def test_two_engines_are_compared_run_by_run(capsys):
    times = {"numpy": [{"total": 1.0}, {"total": 3.0}], "torch": [{"total": 2.0}, {"total": 6.0}]}
    click_to_mask.table("both", times)
    assert "paired ratio numpy / torch of the total: median 0.50" in capsys.readouterr().out
