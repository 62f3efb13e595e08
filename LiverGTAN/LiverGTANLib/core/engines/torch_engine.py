"""The student on torch, where it is installed: CUDA, MPS or the processor, in bf16 where that is really faster."""

import logging
import threading

import numpy as np
import torch
import torch.nn.functional as F

from ..boxes import triple
from ..weight_file import Student
from .engine import Cancelled, EngineError, IsCancelled, Progress
from .numpy_engine import check_grid, tiles
from .timing import seconds

logger = logging.getLogger(__name__)

MOST_CELLS_AT_ONCE = 10_000_000
"""Cells in one pass: 320 planes of a trunk of 53 cm; torch takes several times the memory of the numpy engine."""

FASTER_BY = 0.9
"""bf16 is taken when it needs less than this share of float32's time: it moves a few voxels of the border, so a gain
within the noise of the timing is not worth it."""

FEWEST_BF16_VOXELS = 2
"""Least number of voxels along each side of the deepest level for bf16 on the processor."""

MOST_ROUNDING = 0.02
"""Root mean square difference of the logits of a random image in bf16 and float32, as a share of that of the logits.
Measured where bf16 is right: 0.0026 to 0.0067, with the bundled students and 15 random ones of 2 to 5 levels; where
its convolutions go wrong (see `dtype_for`): 0.01 to infinity and NaN, mostly above 0.4."""


class TorchEngine:
    """Runs a student's U-Net on torch.

    device: "cuda", "mps" or "cpu", the best one when None. dtype: torch.float32 or torch.bfloat16, measured on the
    processor and float32 elsewhere when None.
    """

    name = "torch"

    def __init__(self, student: Student, device: str | None = None, dtype: torch.dtype | None = None):
        self.student = student
        self.device = torch.device(device or best_device())
        self.dtype = dtype or torch.float32
        self._lock = threading.Lock()
        self._weights = {kind: self._placed(kind) for kind in {self.dtype, torch.float32}}
        if dtype is None and self.device.type == "cpu" and has_fast_bf16():
            self._weights[torch.bfloat16] = self._placed(torch.bfloat16)
            self.dtype = self._faster_dtype()

    def forward(
        self, x_DHW: np.ndarray, progress: Progress | None = None, cancelled: IsCancelled | None = None
    ) -> np.ndarray:
        """See `Engine.forward`. Raises EngineError when torch fails, for instance for want of GPU memory."""
        x = np.ascontiguousarray(x_DHW, np.float32)
        check_grid(x, self.student.multiple)
        logits = np.empty_like(x)
        parts = tiles(triple(x.shape), self.student.multiple, MOST_CELLS_AT_ONCE)
        with self._lock, torch.inference_mode():
            for number, (core, around) in enumerate(parts):
                if cancelled and cancelled():
                    raise Cancelled
                tile = self._tile(x[around])
                logits[core] = tile[core.start - around.start : core.stop - around.start]
                if progress:
                    progress((number + 1) / len(parts), "Network")
        return logits

    def _tile(self, x_DHW: np.ndarray) -> np.ndarray:
        try:
            return self._network(x_DHW)
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            raise EngineError(f"torch failed on {self.device} ({reason}); choose the numpy engine.") from error

    def dtype_for(self, shape: tuple[int, ...]) -> torch.dtype:
        """The type that a grid (D, H, W) is computed in.

        On processors with AMX, oneDNN's bf16 convolutions in 3-D are wrong for volumes of one voxel along a side: NaN,
        plausible wrong numbers or a crash (found with torch 2.13.0, oneDNN 3.12.0, for stride 1 where D is 1, and for
        stride 2 where W becomes 1; the latter is https://github.com/pytorch/pytorch/issues/169688). A scan of few
        slices comes to this at the deepest level. Transposed convolutions and float32 are right for every size that
        was tried; H of 1 is not trusted either.
        """
        deepest = min(shape) // self.student.multiple
        if self.device.type == "cpu" and deepest < FEWEST_BF16_VOXELS:
            return torch.float32
        return self.dtype

    def _placed(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """The weights on the device; those of convolutions channels last, which is faster for so few channels."""
        placed = {}
        for name, array in self.student.weights.items():
            tensor = torch.from_numpy(array).to(self.device, dtype)
            placed[name] = tensor.contiguous(memory_format=torch.channels_last_3d) if array.ndim == 5 else tensor
        return placed

    def _faster_dtype(self) -> torch.dtype:
        """bf16 if it is faster here than float32 and, but for rounding, gives the same logits of a random image."""
        x = np.random.default_rng(0).uniform(-1, 1, (2 * FEWEST_BF16_VOXELS * self.student.multiple,) * 3)
        times, logits = {}, {}
        for self.dtype in (torch.float32, torch.bfloat16):
            times[self.dtype] = seconds(self.forward, self.student)
            logits[self.dtype] = self.forward(x)
        exact = logits[torch.float32]
        rounding = np.linalg.norm(logits[torch.bfloat16] - exact) / np.linalg.norm(exact)
        if not rounding <= MOST_ROUNDING:  # also when it is NaN
            logger.warning("bf16 differs from float32 by %.0f %% on this processor; float32 is used.", 100 * rounding)
            return torch.float32
        return torch.bfloat16 if times[torch.bfloat16] < FASTER_BY * times[torch.float32] else torch.float32

    def _network(self, x_DHW: np.ndarray) -> np.ndarray:
        dtype = self.dtype_for(x_DHW.shape)
        weights = self._weights[dtype]

        def layer(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            return weights[f"{name}.weight"], weights[f"{name}.bias"]

        def block(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
            return self._activate(F.conv3d(x, *layer(name), stride=stride, padding=1))

        x = torch.from_numpy(x_DHW)[None, None].to(self.device, dtype)
        levels = len(self.student.widths)
        x = block("enc0", self._activate(F.conv3d(x, *layer("stem"), stride=2)))
        skips = []
        for level in range(1, levels):
            skips.append(x)
            x = block(f"enc{level}", block(f"down{level}", x, stride=2))
        for level in reversed(range(levels - 1)):
            up = F.conv_transpose3d(x, *layer(f"up{level}"), stride=2)
            x = block(f"dec{level}", torch.cat([up, skips.pop()], dim=1))
        logits = F.conv_transpose3d(x, *layer("head"), stride=2)
        return logits[0, 0].float().cpu().numpy()

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
