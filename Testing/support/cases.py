"""Scans and networks that tests share: the real sample CTs, and students made on the spot."""

import os
from pathlib import Path

import numpy as np
import pytest

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone import image_files
from training.data import samples

ROOT = Path(__file__).resolve().parents[2]
WIDTHS_30K = (4, 6, 11, 15)


@pytest.fixture(scope="session")
def sampleFolder() -> Path:
    """The downloaded sample cases; the test is skipped where they cannot be had."""
    try:
        return samples.fetch()
    except samples.SampleError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def sampleCt(sampleFolder) -> CtVolume:
    return image_files.read_ct(samples.CT)


@pytest.fixture(scope="session")
def sampleLiver(sampleCt) -> np.ndarray:
    return image_files.read_labels(samples.CT_REFERENCE, sampleCt) == samples.LIVER_LABEL


@pytest.fixture(scope="session")
def sharedData() -> Path:
    """The folder of CTs and tissue maps that are not part of the project; skips where it is absent."""
    folder = Path(os.environ.get("LIVERGTAN_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ct").is_dir():
        pytest.skip(f"the data folder {folder} is absent (set LIVERGTAN_DATA)")
    return folder


def randomStudent(widths: tuple[int, ...] = WIDTHS_30K, seed: int = 0) -> weight_file.Student:
    """An untrained student whose activations keep their scale from layer to layer."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_file.expected_shapes(widths).items():
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        weights[name] = (rng.normal(0, 1, shape) * scale).astype(np.float16).astype(np.float32)
    return weight_file.Student("random", randomCard(widths), weights)


def randomCard(widths: tuple[int, ...] = WIDTHS_30K) -> dict:
    return {
        "format": weight_file.FORMAT,
        "name": "random",
        "architecture": {"type": "unet3d", "widths": list(widths), "stem": 2, "negative_slope": 0.01},
        "input": {"spacing_mm": 3.0, "hu_window": [-160, 240]},
        "sha256": "",
        "parameters": 0,
    }


def smallCt(shape: tuple[int, int, int] = (24, 40, 48), spacing: float = 3.0) -> CtVolume:
    """Noise in a block of soft tissue, fat and air: enough to pass the checks, not a body."""
    rng = np.random.default_rng(0)
    hu = rng.normal(50, 20, shape)
    hu[:, :8] = rng.normal(-100, 20, (shape[0], 8, shape[2]))
    hu[:, :, :6] = -1000
    return CtVolume(hu.astype(np.int16), np.diag([spacing, spacing, spacing, 1.0]), "small")
