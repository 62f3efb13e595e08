"""From a trained network to the student file: fold, float16, card, parity of the engines."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.engines.engine import Engine
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from training.errors import UserError
from training.model.folding import fold, forward
from training.model.nets import UNet3D

LARGEST_DIFFERENCE = 1e-3
"""Of a logit, engines against the trained network in float32; sums in another order stay below 1e-4 in the tests."""


def write(net: UNet3D, path: Path, content: dict[str, Any]) -> weight_file.Student:
    """Saves the student and returns it as read back; what the card of the same weights held beside is gone.

    Raises UserError, and leaves everything as it was, when an engine departs from the network, or when another student
    lies there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        dated = content | {"date": datetime.date.today().isoformat()}
        card = weight_file.save(Path(folder) / path.name, fold(net), dated)
        written = weight_file.load(card)
        for name, difference in differences(net, written).items():
            if difference > LARGEST_DIFFERENCE:
                raise UserError(
                    f"The {name} engine differs from the trained network by {difference:.2e} in a logit "
                    f"(allowed: {LARGEST_DIFFERENCE}); nothing was exported."
                )
        earlier_card(path, written.sha256)
        for part in (card.with_suffix(".npz"), card):
            part.replace(path.with_suffix(part.suffix))
    return weight_file.load(path.with_suffix(".json"))


def earlier_card(path: Path, sha256: str) -> dict[str, Any] | None:
    """The card of these weights where they were exported before; None where nothing is.

    Raises UserError when another student, or half of one, lies there.
    """
    files = [path.with_suffix(suffix) for suffix in (".npz", ".json")]
    if not any(file.exists() for file in files):
        return None
    choose = "choose another --name or --output, or remove it"
    try:
        found = weight_file.load(path.with_suffix(".json"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is there, but cannot be read ({error}); {choose}.") from error
    if found.sha256 != sha256:
        raise UserError(
            f"{path} holds a student of other weights (SHA-256 {found.sha256[:12]}, not {sha256[:12]}); {choose}."
        )
    return found.card


def differences(net: UNet3D, written: weight_file.Student, image_DHW: np.ndarray | None = None) -> dict[str, float]:
    """Engine name -> largest difference of a logit from the network whose weights are rounded like the file's.

    What the rounding to float16 itself does to masks depends on the image; `evaluate` measures it.
    """
    image = probe(net.multiple) if image_DHW is None else image_DHW
    expected = forward(rounded(net), image)
    return {engine.name: float(np.abs(engine.forward(image) - expected).max()) for engine in exact(written)}


def exact(written: weight_file.Student) -> tuple[Engine, ...]:
    """Both engines in float32 (left alone, the torch engine may choose bf16)."""
    from LiverGTANLib.core.engines.torch_engine import TorchEngine

    return NumpyEngine(written), TorchEngine(written, "cpu", torch.float32)


def rounded(net: UNet3D) -> UNet3D:
    """The folded network with float16-rounded arrays, as a UNet3D whose batch norms do nothing but add the bias."""
    twin = UNet3D(net.widths, net.stem_size).eval()
    arrays = {name: torch.from_numpy(a.astype(np.float16).astype(np.float32)) for name, a in fold(net).items()}
    with torch.no_grad():
        for name, convolution, norm in twin.layers():
            convolution.weight.copy_(arrays[f"{name}.weight"])
            if norm is not None:
                norm.eps = 0.0
                norm.bias.copy_(arrays[f"{name}.bias"])
            elif convolution.bias is not None:
                convolution.bias.copy_(arrays[f"{name}.bias"])
    return twin


def probe(multiple: int) -> np.ndarray:
    """A smooth and noisy image for parity checks."""
    generator = np.random.default_rng(0)
    coarse = torch.from_numpy(generator.uniform(-1, 1, (1, 1, 4, 4, 4)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=3 * [4 * multiple], mode="trilinear")[0, 0].numpy()
    noise = 0.1 * generator.standard_normal(smooth.shape, dtype=np.float32)
    return np.clip(smooth + noise, -1, 1).astype(np.float32)
