"""Layers of the student on numpy alone: 3-D convolutions as products of matrices.

Volumes are channels-last with a border of one zero voxel on every side: (D + 2, H + 2, W + 2, C) float32.
A layer works plane by plane, so that the matrix of a step stays in the cache. The voxels of a block, up to four where
there are few channels, share one row of that matrix: their patches overlap, so fewer numbers are copied, and the
product becomes wide enough to run near the processor's limit, which outweighs the zeros that it multiplies.

A step is few calls of numpy, each on much: threads that call it side by side take turns in between, and each turn
costs as much as the work of one short call.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

Sink = Callable[[int, np.ndarray], None]
"""Receives (step, values valid until the next call): (H, W, Z, Y, X, C) of H x W blocks of ZYX voxels."""

Block = tuple[int, int]
"""Voxels along y and x that share a row."""

CHILDREN: Block = (2, 2)
"""The fine voxels in one plane of a coarse one."""

BLOCKS: tuple[Block, ...] = ((2, 4), (2, 2), (1, 2), (1, 1))
MOST_COLUMNS = 24
"""Width of the widest product of a block. Wider ones are faster by the multiplication, 124 GFLOP/s with 40 columns and
118 with 20 (with `MOST_AT_ONCE`), and have more zeros to multiply: with at most 48 the first layer of student-100k has
1.5 times as many multiplications."""

MOST_AT_ONCE, FEWEST_ROWS = 1_000_000, 32
"""Products of up to so many multiplications are done by OpenBLAS without copying the matrices into an order of its own
(`sgemm_small_kernel_permit`, on processors with AVX-512), which costs as much as the product where that is narrow. In
parts of 80 rows of 439 numbers a product to 20 columns reaches 118 GFLOP/s, at once 88; with 40 rows 107, with 20 95.
On the same processor with AVX2 alone, where the order is always changed, it is 68, 66, 67 and 61."""

STEM_CELLS = 16_384
"""Cells that the stem computes at once. Chosen: their patches take 0.6 MB."""


def bordered(depth: int, height: int, width: int, channels: int) -> np.ndarray:
    """A volume of zeros with its border."""
    return np.zeros((depth + 2, height + 2, width + 2, channels), np.float32)


def in_runs(array: np.ndarray) -> np.ndarray:
    """A view whose elements are the whole last axis, contiguous: copied in 0.7 of the time of its single numbers."""
    return array.view(np.dtype((np.void, array.shape[-1] * array.itemsize)))[..., 0]


def leaky_relu(values: np.ndarray, slope: float, scratch: np.ndarray) -> None:
    """max(v, slope v) in place, for 0 <= slope < 1."""
    np.multiply(values, np.float32(slope), out=scratch)
    np.maximum(values, scratch, out=values)


def block_for(size: tuple[int, int, int], channels: int) -> Block:
    """The largest block that divides a size (D, H, W) of outputs with so many channels and is not too wide."""
    fitting = (
        b for b in BLOCKS if math.prod(b) * channels <= MOST_COLUMNS and not any(n % m for n, m in zip(size[1:], b))
    )
    return next(fitting, BLOCKS[-1])


def rows_at_once(rows: int, terms: int, columns: int) -> int:
    """A divisor of the rows of a matrix (rows, terms): so many are multiplied at once; see `MOST_AT_ONCE`."""
    fitting = range(min(rows, MOST_AT_ONCE // (terms * columns)), FEWEST_ROWS - 1, -1)
    return next((n for n in fitting if rows % n == 0), rows)


def block_weights(weight: np.ndarray, block: Block, stride: int) -> np.ndarray:
    """Weights of a block of outputs on its common window of inputs.

    weight: (out, in, 3, 3, 3). Returns (3 planes, rows, columns of the window, in, Y, X, out) with zeros where an
    output does not see an input.
    """
    window = [stride * (n - 1) + 3 for n in block]
    blocks = np.zeros((3, *window, weight.shape[1], *block, weight.shape[0]), np.float32)
    per_tap = weight.transpose(2, 3, 4, 1, 0)
    for voxel in np.ndindex(block):
        blocks[(slice(None), *(slice(stride * n, stride * n + 3) for n in voxel), slice(None), *voxel)] = per_tap
    return blocks


@dataclass(frozen=True, eq=False)
class Windows:
    """What one source of a convolution gives to each block of a plane of outputs.

    weights: by the number of the plane, in turn: (planes, rows, columns of the window, in, Y, X, out). first: the plane
    of the source, bordered, at which the window begins. block, stride: voxels of the source that windows move by.
    """

    weights: Sequence[np.ndarray]
    first: Callable[[int], int]
    block: Block
    stride: int

    def rotated(self, plane: int, columns: int) -> np.ndarray:
        """The matrix of weights for a plane of outputs, in the order in which `Patches` holds its windows."""
        weights = self.weights[plane % len(self.weights)]
        planes = len(weights)
        return weights[[(slot - self.first(plane)) % planes for slot in range(planes)]].reshape(-1, columns)


class Patches:
    """Windows of a bordered volume, one a row of a matrix, from step to step.

    The planes of a window take turns in as many slots: moving on copies only planes that come new. Which slot holds
    which plane is given by the plane's index, so the weights turn, too (`Windows.rotated`).
    """

    def __init__(self, volume: np.ndarray, windows: Windows, matrix: np.ndarray):
        """matrix: (rows, numbers of a window), to be filled."""
        channels = volume.shape[3]
        planes, rows, columns = windows.weights[0].shape[:3]
        down, right = (windows.stride * n for n in windows.block)
        height, width = ((n - 2) // step for n, step in zip(volume.shape[1:3], (down, right)))
        sz, sy, sx, sc = volume.strides
        source = as_strided(
            volume,
            (volume.shape[0], height, width, rows, columns * channels),
            (sz, down * sy, right * sx, sy, sc),
            writeable=False,
        )
        self._source = in_runs(source)
        self._slots = in_runs(matrix.reshape(height, width, planes, rows, columns * channels))
        self._first = windows.first
        self._held = [-1] * planes

    def load(self, step: int) -> None:
        """Have the windows of a plane of outputs in the matrix."""
        slots, first = len(self._held), self._first(step)
        for plane in range(first, first + slots):
            if self._held[plane % slots] != plane:
                self._slots[:, :, plane % slots] = self._source[plane]
                self._held[plane % slots] = plane


class Convolution:
    """3x3x3 convolution with padding 1, stride 1 or 2, and LeakyReLU, to a size (D, H, W).

    upsampling: `compose`d weights of a coarser volume, whose contribution is added before the activation; in the same
    product, for its windows of 2x3x3 voxels stand beside those of their 2x2 children in a plane.
    """

    def __init__(
        self,
        weight: np.ndarray,
        bias: np.ndarray,
        slope: float,
        size: tuple[int, int, int],
        stride: int = 1,
        upsampling: np.ndarray | None = None,
    ):
        channels = weight.shape[0]
        self._block = block_for(size, channels) if upsampling is None else CHILDREN
        self._slope, self._channels, self.steps = slope, channels, size[0]
        self._grid = [n // m for n, m in zip(size[1:], self._block)]
        columns = math.prod(self._block) * channels
        weights = block_weights(weight, self._block, stride)
        self._windows = [Windows([weights], lambda plane: stride * plane, self._block, stride)]
        turns = 3  # after so many planes all windows are where they were in their slots
        if upsampling is not None:
            # A child sees the coarse voxel that it is in and the one on its own side.
            halves = [upsampling[side : side + 2, ..., side, :, :, :] for side in range(2)]
            self._windows.append(Windows(halves, lambda plane: (plane + 1) // 2, (1, 1), 1))
            turns = 12
        last = np.tile(bias.astype(np.float32), math.prod(self._block))[None]
        self._weights = [
            np.concatenate([*(windows.rotated(turn, columns) for windows in self._windows), last])
            for turn in range(turns)
        ]
        self.multiplications = self.steps * math.prod(self._grid) * self._weights[0].size

    def __call__(self, steps: slice, sink: Sink, *sources: np.ndarray) -> None:
        """Outputs of some planes, one after the other, to `sink`. sources: the bordered volume, and the coarser one."""
        terms, columns = self._weights[0].shape
        matrix = np.empty((math.prod(self._grid), terms), np.float32)
        matrix[:, -1] = 1  # times the bias
        values = np.empty((len(matrix), columns), np.float32)
        scratch = np.empty_like(values)
        image = values.reshape(*self._grid, 1, *self._block, self._channels)
        at_once = rows_at_once(len(matrix), terms, columns)
        parts, products = (array.reshape(-1, at_once, array.shape[1]) for array in (matrix, values))
        patches, start = [], 0
        for source, windows in zip(sources, self._windows):
            stop = start + math.prod(windows.weights[0].shape[:4])
            patches.append(Patches(source, windows, matrix[:, start:stop]))
            start = stop
        for step in range(steps.start, steps.stop):
            for some in patches:
                some.load(step)
            np.matmul(parts, self._weights[step % len(self._weights)], out=products)
            leaky_relu(values, self._slope, scratch)
            sink(step, image)


def compose(up_weight: np.ndarray, up_bias: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Transposed 2x2x2 convolution, then 3x3x3 convolution, from a coarse voxel's 3x3x3 neighborhood to its children.

    Nothing lies between the two but a bias, so a block of 2x2x2 fine voxels is linear in 3x3x3 coarse ones. Coarse
    volumes carry one more channel, one inside and zero on the border, which multiplies the bias: outside the volume
    the convolution sees zeros, not the bias.

    up_weight: (in, middle, 2, 2, 2); weight: (out, middle, 3, 3, 3).
    Returns (3 cz, 3 cy, 3 cx, in + 1, 2, 2, 2, out) float32.
    """
    row = np.broadcast_to(up_bias[None, :, None, None, None], (1, *up_weight.shape[1:]))
    up_weight = np.concatenate([up_weight, row]).astype(np.float64)
    # (in, 2, 2, 2, out, 3, 3, 3): each transposed tap times each tap that may read it.
    products = np.tensordot(up_weight, weight.astype(np.float64), axes=(1, 1))
    composed = np.zeros((3, 3, 3, len(up_weight), 2, 2, 2, len(weight)))
    # Tap t of the child with parity p reads the fine voxel p + t - 1: the child `parity` of the coarse neighbor c - 1.
    routes = [(p, t, (p + t - 1) // 2 + 1, (p + t - 1) % 2) for p in range(2) for t in range(3)]
    for (p, t, c, u), (q, s, d, v), (r, w, e, x) in itertools.product(routes, repeat=3):
        composed[c, d, e, :, p, q, r] += products[:, u, v, x, :, t, s, w]
    return composed.astype(np.float32)


class Stem:
    """2x2x2 patches of the input, without overlap, to the first channels, and LeakyReLU; to a size (D, H, W)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, slope: float, size: tuple[int, int, int]):
        # Pairs along W travel as one 8-byte number, so the column for the bias is followed by one of zeros.
        self._weight = np.zeros((10, len(bias)), np.float32)
        self._weight[:8], self._weight[8] = weight.reshape(weight.shape[0], 8).T, bias
        self._slope, self._size = slope, size
        fitting = (n for n in (4, 2, 1) if size[0] % n == 0 and n * size[1] * size[2] <= STEM_CELLS)
        self._planes = next(fitting, 1)
        self.steps = size[0] // self._planes
        self.multiplications = math.prod(size) * self._weight.size

    def __call__(self, steps: slice, sink: Sink, x: np.ndarray) -> None:
        """Outputs of some steps to `sink`. x: (2 D, 2 H, 2 W) contiguous float32."""
        height, width = self._size[1:]
        pairs = x.view(np.float64).reshape(self.steps, self._planes, 2, height, 2, width)
        patches = np.zeros((self._planes, height, width, 5), np.float64)
        matrix = patches.view(np.float32).reshape(-1, 10)
        matrix[:, 8] = 1
        values = np.empty((len(matrix), self._weight.shape[1]), np.float32)
        scratch = np.empty_like(values)
        image = values.reshape(self._planes, height, width, 1, 1, -1).transpose(1, 2, 0, 3, 4, 5)
        for step in range(steps.start, steps.stop):
            for corner, (z, y) in enumerate(np.ndindex(2, 2)):
                patches[..., corner] = pairs[step, :, z, :, y]
            np.matmul(matrix, self._weight, out=values)
            leaky_relu(values, self._slope, scratch)
            sink(step, image)


class Head:
    """Transposed 2x2x2 convolution to one logit a voxel of the input grid, of `CHILDREN` at once."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        channels = len(weight)
        # (2, 2, C) of the children, each with 2 voxels a side: 2x4x4 voxels in all.
        blocks = np.zeros((*CHILDREN, channels, 2, 2, 2, 2, 2), np.float32)
        for y, x in np.ndindex(CHILDREN):
            blocks[y, x, :, :, y, :, x, :] = weight[:, 0]
        self._weight = blocks.reshape(4 * channels, 32)
        self._bias = np.float32(bias[0])

    def sink(self, logits: np.ndarray) -> Sink:
        """A sink for the last decoder's planes that fills `logits` (D, H, W)."""
        depth, height, width = logits.shape[0] // 2, logits.shape[1] // 4, logits.shape[2] // 4
        # Four along W travel as one 16-byte number.
        target = logits.view(np.complex128).reshape(depth, 2, height, 4, width)

        def store(step: int, image: np.ndarray) -> None:
            values = image.reshape(height * width, -1) @ self._weight
            values += self._bias
            target[step] = values.view(np.complex128).reshape(height, width, 2, 4).transpose(2, 0, 3, 1)

        return store


def store_in(volume: np.ndarray) -> Sink:
    """A sink that writes steps into a bordered volume with at least as many channels."""

    def store(step: int, image: np.ndarray) -> None:
        height, width, z, y, x, channels = image.shape
        planes = volume[1 + step * z : 1 + (step + 1) * z, 1:-1, 1:-1, :channels]
        planes.reshape(z, height, y, width, x, channels)[...] = image.transpose(2, 0, 3, 1, 4, 5)

    return store
