"""One forward pass of a design: on the extension's numpy engine where that runs it, and on torch."""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.volume import HU_WINDOW
from LiverGTANLib.core.weight_file import Student
from training.model import folding
from training.model.nets import STEM, UNet3D
from training.studies.design_plan import Design


def student_of(design: Design, net: UNet3D) -> Student:
    """The network as the extension's engines and preprocessing take it, in memory."""
    return folding.in_memory(net, design.name, design.spacing_mm, HU_WINDOW)


def numpy_engine(design: Design, net: UNet3D) -> NumpyEngine | None:
    """The extension's own engine; None for a design that it does not run."""
    return NumpyEngine(student_of(design, net)) if design.stem == STEM else None


class TorchDesign:
    """The folded network on torch in float32, channels last: what a design is measured by."""

    name = "torch"

    def __init__(self, design: Design, net: UNet3D):
        self.student, self._net = student_of(design, net), folded(net)

    def forward(self, x_DHW: np.ndarray, progress=None, cancelled=None) -> np.ndarray:
        """See `engines.engine.Engine`."""
        with torch.inference_mode():
            return self._net(torch.from_numpy(x_DHW)[None, None])[0, 0].numpy()


def folded(net: UNet3D) -> UNet3D:
    """A copy in eval mode whose batch norms are part of the convolutions before them."""
    twin = copy.deepcopy(net).eval().requires_grad_(False)
    for module in list(twin.modules()):
        if isinstance(module, nn.Sequential) and isinstance(module[1], nn.BatchNorm3d):
            module[0], module[1] = fuse_conv_bn_eval(cast(nn.Conv3d, module[0]), module[1]), nn.Identity()
    return cast(Any, twin).to(memory_format=torch.channels_last_3d)
