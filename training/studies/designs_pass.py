"""A design's forward pass on numpy: the weights and buffers for one grid, and the layers in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from LiverGTANLib.core import threads
from LiverGTANLib.core.engines.numpy_layers import Convolution, Head, PlaneSink, Stem, Upsampling, bordered, store_in
from training.model.nets import NEGATIVE_SLOPE
from training.studies.designs_layers import Factorized, Repeated, Separable, WideHead, WideStem
from training.studies.designs_plan import Design

Step = tuple[int, Callable[[slice], None]]  # planes to do, and what does some of them
Sinks = Callable[[], PlaneSink]  # makes one for each thread: a sink has buffers


class Pass:
    """What all designs share; `kept[n]` is the way down's result at level n, `coarse[n]` what is upsampled from it."""

    def __init__(self, design: Design, weights: dict[str, np.ndarray], shape: tuple[int, ...]):
        self.design, self.weights, self.shape = design, weights, shape
        self.last = len(design.widths) - 1
        self.sizes = [tuple(n // design.stem >> level for n in shape) for level in range(self.last + 1)]
        stem, head = (WideStem, WideHead) if design.stem == 4 else (Stem, Head)
        self.stem = stem(*self.arrays("stem"), NEGATIVE_SLOPE)
        self.head = head(*self.arrays("head"))
        self.first = {level: bordered(*self.sizes[level], design.widths[level]) for level in self.twice()}
        self.prepare()
        self.down = {level: self.block(f"down{level}", level, 2) for level in range(1, self.last + 1)}
        self.encode = {level: self.block(f"enc{level}", level) for level in self.twice()}

    def twice(self) -> range:
        """The levels with two convolutions on the way down."""
        return range(self.last + 1) if self.design.convolutions == 2 else range(0)

    def arrays(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of a layer."""
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Logits (D, H, W) of the contiguous float32 grid x (D, H, W)."""
        logits = np.empty(self.shape, np.float32)
        for depth, step in self.steps(x, logits):
            threads.for_each(step, shares(depth))
        return logits

    def steps(self, x: np.ndarray, logits: np.ndarray) -> Iterator[Step]:
        """Every layer in turn."""
        yield from self.level(0, partial(self.stem, x))
        for level in range(1, self.last + 1):
            yield from self.level(level, partial(self.down[level], self.kept[level - 1]))
        for level in reversed(range(self.last)):
            yield from self.decoder(
                level, partial(store_in, self.coarse[level]) if level else partial(self.head.sink, logits)
            )

    def level(self, level: int, enter: Callable[[slice, PlaneSink], None]) -> Iterator[Step]:
        """One level of the way down, from the layer that enters it."""
        depth, kept = self.sizes[level][0], store_in(self.kept[level])
        if level not in self.encode:
            yield depth, lambda planes: enter(planes, kept)
            return
        first = self.first[level]
        yield depth, lambda planes: enter(planes, store_in(first))
        yield depth, lambda planes: self.encode[level](first, planes, kept)

    def prepare(self) -> None:
        """Lays out `kept`, `coarse` and what `decoder` needs."""
        raise NotImplementedError

    def block(self, name: str, level: int, stride: int = 1) -> Callable:
        """The layer (source, planes, sink) that stands for a 3x3x3 convolution to this level."""
        raise NotImplementedError

    def decoder(self, level: int, sinks: Sinks) -> Iterator[Step]:
        """The way up from level + 1 to `level`, whose planes go to the sinks."""
        raise NotImplementedError


class FullPass(Pass):
    """Full convolutions: the extension's layers, put together as in its engine."""

    def prepare(self) -> None:
        widths = self.design.widths
        self.coarse = [with_ones(size, width) for size, width in zip(self.sizes, widths, strict=True)]
        self.kept = [bordered(*size, width) for size, width in zip(self.sizes[:-1], widths[:-1], strict=True)]
        self.kept.append(self.coarse[-1])
        self.up, self.decode = [], []
        for level, width in enumerate(widths[:-1]):
            weight, bias = self.arrays(f"dec{level}")
            self.up.append(Upsampling(*self.arrays(f"up{level}"), weight[:, :width]))
            skip = np.ascontiguousarray(weight[:, width:])
            self.decode.append(Convolution(skip, bias, NEGATIVE_SLOPE, self.sizes[level][2]))

    def block(self, name: str, level: int, stride: int = 1) -> Callable:
        return Convolution(*self.arrays(name), NEGATIVE_SLOPE, self.sizes[level][2], stride)

    def decoder(self, level: int, sinks: Sinks) -> Iterator[Step]:
        yield (
            self.sizes[level][0],
            lambda planes: self.decode[level](
                self.kept[level], planes, sinks(), self.up[level], self.coarse[level + 1]
            ),
        )


class PartsPass(Pass):
    """Convolutions in parts: the upsampled volume and the skip lie side by side in `joined`."""

    def prepare(self) -> None:
        widths, last = self.design.widths, self.last
        self.coarse = [bordered(*size, width) for size, width in zip(self.sizes, widths, strict=True)]
        self.joined = [bordered(*self.sizes[level], 2 * widths[level]) for level in range(last)]
        self.kept = [volume[..., width:] for volume, width in zip(self.joined, widths[:-1], strict=True)]
        self.kept.append(self.coarse[-1])
        self.raised = [volume[..., :width] for volume, width in zip(self.joined, widths[:-1], strict=True)]
        self.up = [Repeated(*self.arrays(f"up{level}")) for level in range(last)]
        self.decode = [self.block(f"dec{level}", level) for level in range(last)]

    def block(self, name: str, level: int, stride: int = 1) -> Callable:
        count = 2 if self.design.kind == "separable" else 3
        weights, biases = zip(*(self.arrays(f"{name}.{part}") for part in range(count)), strict=True)
        if self.design.kind == "separable":
            return Separable(weights, biases, NEGATIVE_SLOPE, self.sizes[level][2], stride)
        return Factorized(weights, biases, NEGATIVE_SLOPE, stride)

    def decoder(self, level: int, sinks: Sinks) -> Iterator[Step]:
        yield (
            self.sizes[level + 1][0],
            lambda planes: self.up[level](self.coarse[level + 1], planes, self.raised[level]),
        )
        yield self.sizes[level][0], lambda planes: self.decode[level](self.joined[level], planes, sinks())


PASSES: dict[str, type[Pass]] = {"full": FullPass, "separable": PartsPass, "factorized": PartsPass}


def with_ones(size: tuple[int, ...], channels: int) -> np.ndarray:
    """A volume with one more channel of ones inside, as `Upsampling` reads it."""
    volume = bordered(*size, channels + 1)
    volume[1:-1, 1:-1, 1:-1, channels] = 1
    return volume


def shares(depth: int) -> list[slice]:
    """Even numbers of planes for each thread: fine planes come in pairs."""
    share = -(-depth // (2 * threads.thread_count()))
    return [slice(part.start, min(part.stop, depth)) for part in threads.ranges(depth, 2 * share)]
