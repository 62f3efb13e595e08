"""Every test of training draws the same numbers in every run."""

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def seeds():
    torch.manual_seed(0)
    np.random.seed(0)
