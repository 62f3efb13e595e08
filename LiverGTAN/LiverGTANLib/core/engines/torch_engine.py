"""The student on torch, where it is installed: CUDA, MPS or the processor, in bf16 where that is really faster."""

import threading

import numpy as np
import torch
import torch.nn.functional as F

from ..weight_file import Student
from . import Cancelled, IsCancelled, Progress, seconds
from .numpy_engine import MOST_PLANES, check_grid, tiles

FASTER_BY = 0.9
"""bf16 is taken when it needs less than this share of float32's time: it costs some accuracy at the border."""


class TorchEngine:
    """Runs a student's U-Net on torch.

    device: "cuda", "mps" or "cpu", the best one when None. dtype: torch.float32 or torch.bfloat16, measured on the
    processor and float32 elsewhere when None.
    """

    name = "torch"

    def __init__(self, student: Student, device: str | None = None, dtype: torch.dtype | None = None):
        self.student = student
        self.device = torch.device(device or best_device())
        self._lock = threading.Lock()
        self._use(dtype or torch.float32)
        if dtype is None and self.device.type == "cpu" and has_fast_bf16():
            self._choose_dtype()

    def forward(
        self, x_DHW: np.ndarray, progress: Progress | None = None, cancelled: IsCancelled | None = None
    ) -> np.ndarray:
        """See `Engine.forward`."""
        x = np.ascontiguousarray(x_DHW, np.float32)
        check_grid(x, self.student.multiple)
        logits = np.empty_like(x)
        parts = tiles(len(x), self.student.multiple, MOST_PLANES)
        with self._lock, torch.inference_mode():
            for number, (core, around) in enumerate(parts):
                if cancelled and cancelled():
                    raise Cancelled
                tile = self._network(torch.from_numpy(x[around]))
                logits[core] = tile[core.start - around.start : core.stop - around.start]
                if progress:
                    progress((number + 1) / len(parts), "Network")
        return logits

    def _use(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._weights = {}
        for name, array in self.student.weights.items():
            tensor = torch.from_numpy(array).to(self.device, dtype)
            self._weights[name] = tensor.contiguous(memory_format=torch.channels_last_3d) if array.ndim == 5 else tensor

    def _choose_dtype(self) -> None:
        single = seconds(self.forward, self.student)
        self._use(torch.bfloat16)
        if seconds(self.forward, self.student) > FASTER_BY * single:
            self._use(torch.float32)

    def _network(self, x_DHW: torch.Tensor) -> np.ndarray:
        x = x_DHW[None, None].to(self.device, self.dtype)
        levels = len(self.student.widths)
        x = self._block("enc0", self._activate(F.conv3d(x, *self._layer("stem"), stride=2)))
        skips = []
        for level in range(1, levels):
            skips.append(x)
            x = self._block(f"enc{level}", self._block(f"down{level}", x, stride=2))
        for level in reversed(range(levels - 1)):
            up = F.conv_transpose3d(x, *self._layer(f"up{level}"), stride=2)
            x = self._block(f"dec{level}", torch.cat([up, skips.pop()], dim=1))
        logits = F.conv_transpose3d(x, *self._layer("head"), stride=2)
        return logits[0, 0].float().cpu().numpy()

    def _layer(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]

    def _block(self, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return self._activate(F.conv3d(x, *self._layer(name), stride=stride, padding=1))

    def _activate(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, self.student.negative_slope, inplace=True)


def best_device() -> str:
    """CUDA, then MPS, then the processor."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def has_fast_bf16() -> bool:
    """Whether this processor has bf16 instructions; without them torch is right but many times slower."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(asked and asked())
