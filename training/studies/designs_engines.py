"""One forward pass of a design on each engine: numpy as the extension would run it, and torch."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from LiverGTANLib.core.engines.engine import Engine
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.engines.timing import seconds
from LiverGTANLib.core.engines.torch_engine import FASTER_BY, has_fast_bf16
from LiverGTANLib.core.volume import HU_WINDOW
from LiverGTANLib.core.weight_file import Student
from training.model import folding
from training.studies.design_nets import DesignNet
from training.studies.designs_pass import PASSES, Pass


def student_of(net: DesignNet) -> Student:
    """The network as the product's engines and preprocessing take it, in memory."""
    return folding.in_memory(net, net.design.name, net.design.spacing_mm, HU_WINDOW)


def numpy_engine(net: DesignNet) -> Engine:
    """The product's own engine where it runs the design, else one composed for it."""
    design = net.design
    product = (design.kind, design.convolutions, design.stem) == ("full", 2, 2)
    return NumpyEngine(student_of(net)) if product else ComposedEngine(net)


class PlainEngine:
    """The trained network itself in float32: what a design is judged by."""

    name = "torch"

    def __init__(self, net: DesignNet):
        self.student, self._net = student_of(net), net.eval()

    def forward(self, x_DHW: np.ndarray, progress=None, cancelled=None) -> np.ndarray:
        """See `Engine`."""
        return folding.forward(self._net, x_DHW)


class TorchDesign:
    """The folded network on torch as the product runs it: channels last, bf16 where that is faster."""

    name = "torch"

    def __init__(self, net: DesignNet):
        self.student, self.dtype = student_of(net), torch.float32
        self._net = folded(net)
        if has_fast_bf16():
            single = seconds(self.forward, self.student)
            self._use(torch.bfloat16)
            if seconds(self.forward, self.student) > FASTER_BY * single:
                self._use(torch.float32)

    def _use(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._net = self._net.to(dtype)

    def forward(self, x_DHW: np.ndarray, progress=None, cancelled=None) -> np.ndarray:
        """See `Engine`."""
        with torch.inference_mode():
            return self._net(torch.from_numpy(x_DHW)[None, None].to(self.dtype))[0, 0].float().numpy()


def folded(net: DesignNet) -> DesignNet:
    """A copy in eval mode whose batch norms are part of the convolutions before them."""
    twin = copy.deepcopy(net).eval().requires_grad_(False)
    for module in list(twin.modules()):
        if isinstance(module, nn.Sequential) and isinstance(module[1], nn.BatchNorm3d):
            module[0], module[1] = fuse_conv_bn_eval(module[0], module[1]), nn.Identity()
    return twin.to(memory_format=torch.channels_last_3d)


class ComposedEngine:
    """A design on numpy, of the product's layers and those of the study. Not for several threads at a time."""

    name = "numpy"

    def __init__(self, net: DesignNet):
        self.student, self._design = student_of(net), net.design
        self._pass: Pass | None = None

    def forward(self, x_DHW: np.ndarray, progress=None, cancelled=None) -> np.ndarray:
        """See `Engine`."""
        x = np.ascontiguousarray(x_DHW, np.float32)
        if self._pass is None or self._pass.shape != x.shape:
            self._pass = PASSES[self._design.kind](self._design, self.student.weights, x.shape)
        return self._pass(x)
