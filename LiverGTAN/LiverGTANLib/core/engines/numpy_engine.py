"""The student on numpy alone, in bounded memory."""

import threading
from collections.abc import Callable

import numpy as np

from .. import threads
from ..boxes import triple
from ..weight_file import Student
from .engine import Cancelled, IsCancelled, Progress
from .numpy_layers import Convolution, Head, Sink, Stem, bordered, compose, store_in

MOST_CELLS_AT_ONCE = 32_000_000
"""Cells in one pass: 1,500 slices of the trunk are computed whole, and what is computed twice stays below half of it.
Chosen by memory: student-100k takes 7.5 bytes a cell, 0.24 GB in all."""

WORTH_A_THREAD = 50_000_000
"""Multiplications that another thread is worth. With two threads layers of 40 million took as long as with one, 1.5 ms,
of 90 million 0.7 to 0.85 and of 220 million and more 0.6 to 0.75 of the time."""


class NumpyEngine:
    """Runs a student's U-Net on numpy. One forward pass at a time; buffers stay for the next scan of that size."""

    name = "numpy"

    def __init__(self, student: Student, most_cells: int = MOST_CELLS_AT_ONCE):
        self.student = student
        self._most_cells = most_cells
        self._lock = threading.Lock()
        self._pass: _Pass | None = None

    def forward(
        self, x_DHW: np.ndarray, progress: Progress | None = None, cancelled: IsCancelled | None = None
    ) -> np.ndarray:
        """See `Engine.forward`."""
        x = np.ascontiguousarray(x_DHW, np.float32)
        check_grid(x, self.student.multiple)
        logits = np.empty_like(x)
        parts = tiles(triple(x.shape), self.student.multiple, self._most_cells)
        with self._lock:
            for number, (core, around) in enumerate(parts):

                def report(fraction: float, text: str, done: int = number) -> None:
                    if progress:
                        progress((done + fraction) / len(parts), text)

                tile = logits if len(parts) == 1 else np.empty_like(x[around])
                self._run(x[around], tile, report, cancelled or _never)
                if tile is not logits:
                    logits[core] = tile[core.start - around.start : core.stop - around.start]
        return logits

    def _run(self, x: np.ndarray, logits: np.ndarray, progress: Progress, cancelled: IsCancelled) -> None:
        if self._pass is None or self._pass.shape != x.shape:
            self._pass = None  # its memory goes before the next is made
            with threads.one_blas_thread():  # threads of BLAS would look for more work afterwards, for 20 ms
                self._pass = _Pass(self.student, x.shape)
        self._pass(x, logits, progress, cancelled)


def check_grid(x: np.ndarray, multiple: int) -> None:
    """Raise ValueError unless x is 3-D with sides that the levels can halve."""
    if x.ndim != 3 or any(n == 0 or n % multiple for n in x.shape):
        raise ValueError(f"The grid {x.shape} is not three multiples of {multiple}.")


def tiles(shape: tuple[int, int, int], multiple: int, most_cells: int) -> list[tuple[slice, slice]]:
    """(planes to keep, planes to compute) that cover the depth; as many are computed each time.

    At most `most_cells` are computed at once, or what one multiple and its margins need if that is more. An output of
    L levels sees less than 4 * 2**L planes to either side (kernels down and up, to the ends of the deepest level's
    cells), so that margins of 4 multiples change nothing but rounding.
    """
    depth, margin = shape[0], 4 * multiple
    largest = max(most_cells // (shape[1] * shape[2]) // multiple, 9) * multiple
    if depth <= largest:
        return [(slice(0, depth), slice(0, depth))]
    count = -(-(depth - 2 * margin) // (largest - 2 * margin))
    # No larger than so many need: two that were just too large for one would compute nearly all of it twice.
    size = -(-(depth + 2 * margin * (count - 1)) // (count * multiple)) * multiple
    starts = [0, *range(size - margin, depth - margin, size - 2 * margin)]
    firsts = [max(0, min(start - margin, depth - size)) for start in starts]
    stops = [*starts[1:], depth]
    return [(slice(start, stop), slice(first, first + size)) for start, stop, first in zip(starts, stops, firsts)]


class _Pass:
    """Weights and buffers laid out for one grid size."""

    def __init__(self, student: Student, shape: tuple[int, ...]):
        self.shape = shape
        w, widths, slope = student.weights, student.widths, student.negative_slope
        self._last = len(widths) - 1
        sizes = [triple(n >> (level + 1) for n in shape) for level in range(len(widths))]
        # Skips keep their channels; what is upsampled carries a channel of ones for the bias (see `compose`).
        self._skips = [bordered(*size, width) for size, width in zip(sizes[:-1], widths)]
        self._coarse = {n: _with_ones(sizes[n], widths[n]) for n in range(1, len(widths))}
        self._first = [bordered(*size, width) for size, width in zip(sizes, widths)]
        self._stem = Stem(w["stem.weight"], w["stem.bias"], slope, sizes[0])
        self._head = Head(w["head.weight"], w["head.bias"])

        def convolution(name: str, level: int, stride: int = 1) -> Convolution:
            return Convolution(w[f"{name}.weight"], w[f"{name}.bias"], slope, sizes[level], stride)

        self._down = {n: convolution(f"down{n}", n, stride=2) for n in range(1, len(widths))}
        self._encode = [convolution(f"enc{n}", n) for n in range(len(widths))]
        self._decode = []
        for level in range(self._last):
            weight, width = w[f"dec{level}.weight"], widths[level]
            upsampling = compose(w[f"up{level}.weight"], w[f"up{level}.bias"], weight[:, :width])
            bias = w[f"dec{level}.bias"]
            self._decode.append(Convolution(weight[:, width:], bias, slope, sizes[level], upsampling=upsampling))

    def __call__(self, x: np.ndarray, logits: np.ndarray, progress: Progress, cancelled: IsCancelled) -> None:
        """Fill `logits`, contiguous float32 of the shape of x."""
        layers = self._layers(x, logits)
        for number, (count, multiplications, layer) in enumerate(layers):
            if cancelled():
                raise Cancelled
            threads.for_each(layer, _shares(count, multiplications))
            progress((number + 1) / len(layers), "Network")

    def _layers(self, x: np.ndarray, logits: np.ndarray) -> list[tuple[int, int, Callable[[slice], None]]]:
        """(steps, multiplications, function of a range of steps) for each layer in turn."""
        first, skips, coarse, last = self._first, self._skips, self._coarse, self._last
        layers: list[tuple[int, int, Callable[[slice], None]]] = []

        def add(layer: Stem | Convolution, sink: Sink, *sources: np.ndarray) -> None:
            layers.append((layer.steps, layer.multiplications, lambda steps: layer(steps, sink, *sources)))

        add(self._stem, store_in(first[0]), x)
        for n in range(last + 1):
            if n:
                add(self._down[n], store_in(first[n]), skips[n - 1])
            add(self._encode[n], store_in(skips[n] if n < last else coarse[n]), first[n])
        for n in reversed(range(last)):
            add(self._decode[n], store_in(coarse[n]) if n else self._head.sink(logits), skips[n], coarse[n + 1])
        return layers


def _with_ones(size: tuple[int, int, int], channels: int) -> np.ndarray:
    volume = bordered(*size, channels + 1)
    volume[1:-1, 1:-1, 1:-1, channels] = 1
    return volume


def _shares(steps: int, multiplications: int) -> list[slice]:
    """As many steps for each thread, and no more threads than a layer is worth."""
    most = min(threads.thread_count(), 1 + multiplications // WORTH_A_THREAD)
    return threads.ranges(steps, -(-steps // most))


def _never() -> bool:
    return False
