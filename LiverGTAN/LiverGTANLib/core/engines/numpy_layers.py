"""Layers of the student on numpy alone: 3-D convolutions as products of matrices.

Volumes are channels-last with a border of one zero voxel on every side: (D + 2, H + 2, W + 2, C) float32.
A layer works in steps of a few planes, so that the matrix of a step stays in the cache. The voxels of a block, up to
eight where there are few channels, share one row of that matrix: their patches overlap, so fewer numbers are copied,
and the product becomes wide enough to run near the processor's limit, which outweighs the zeros that it multiplies.

A step is few calls of numpy, each on much: threads that call it side by side take turns in between, and each turn
costs as much as the work of one short call.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import as_strided

Sink = Callable[[int, np.ndarray], None]
"""Receives (step, values valid until the next call): (H, W, Z, Y, X, C) of H x W blocks of ZYX voxels."""

Block = tuple[int, int, int]
"""Voxels along z, y, x that share a row."""

CHILDREN: Block = (2, 2, 2)
"""The fine voxels in a coarse one."""

BLOCKS: tuple[Block, ...] = ((1, 2, 4), (1, 2, 2), (1, 1, 2), (1, 1, 1))
MOST_COLUMNS = 48
MOST_COLUMNS_DOWN = 24
"""Width of the widest product, without and with a stride of 2, where blocks share less. Products of 896 rows reach 92,
103, 125, 124 and 139 GFLOP/s with 20, 24, 32, 40 and 48 columns. On 80x112x128 cells and one thread both students took
within 3 % as long with blocks of at most 24 and 48 columns, and with blocks of 2x2x2 and of 1x1x4 voxels in the place
of 1x2x4; so they did with the matrix of a step in parts of 0.5 to 1.5 MB."""

STEM_CELLS = 16_384
"""Cells that the stem computes at once. Chosen: their patches take 0.6 MB."""


def bordered(depth: int, height: int, width: int, channels: int) -> np.ndarray:
    """A volume of zeros with its border."""
    return np.zeros((depth + 2, height + 2, width + 2, channels), np.float32)


def leaky_relu(values: np.ndarray, slope: float, scratch: np.ndarray) -> None:
    """max(v, slope v) in place, for 0 <= slope < 1."""
    np.multiply(values, np.float32(slope), out=scratch)
    np.maximum(values, scratch, out=values)


def block_for(size: tuple[int, int, int], channels: int, stride: int) -> Block:
    """The largest block that divides a size (D, H, W) of outputs with so many channels and is not too wide."""
    most = MOST_COLUMNS if stride == 1 else MOST_COLUMNS_DOWN
    fitting = (b for b in BLOCKS if math.prod(b) * channels <= most and not any(n % m for n, m in zip(size, b)))
    return next(fitting, BLOCKS[-1])


def block_weights(weight: np.ndarray, block: Block, stride: int) -> np.ndarray:
    """Weights of a block of outputs on its common window of inputs.

    weight: (out, in, 3, 3, 3). Returns (planes, rows, columns of the window, in, Z, Y, X, out) with zeros where an
    output does not see an input.
    """
    window = [stride * (n - 1) + 3 for n in block]
    blocks = np.zeros((*window, weight.shape[1], *block, weight.shape[0]), np.float32)
    per_tap = weight.transpose(2, 3, 4, 1, 0)
    for voxel in np.ndindex(block):
        blocks[(*(slice(stride * n, stride * n + 3) for n in voxel), slice(None), *voxel)] = per_tap
    return blocks


class Patches:
    """Windows of a bordered volume, one a row of a matrix, from step to step.

    The planes of a window take turns in as many slots: moving on copies only planes that come new. Which slot holds
    which plane is given by the plane's index, so the weights turn, too (`rotated`).
    """

    def __init__(self, volume: np.ndarray, block: Block, stride: int, matrix: np.ndarray):
        """matrix: (rows, numbers of a window), to be filled."""
        channels = volume.shape[3]
        planes, rows, columns = (stride * (n - 1) + 3 for n in block)
        height, width = ((n - 2) // stride // m for n, m in zip(volume.shape[1:3], block[1:]))
        self._step = stride * block[0]
        sz, sy, sx, sc = volume.strides
        self._source = as_strided(
            volume,
            (volume.shape[0], height, width, rows, columns * channels),
            (sz, stride * block[1] * sy, stride * block[2] * sx, sy, sc),
            writeable=False,
        )
        self._slots = matrix.reshape(height, width, planes, rows, columns * channels)
        self._held = [-1] * planes

    def load(self, step: int) -> None:
        """Have the windows of a step in the matrix."""
        slots = len(self._held)
        for plane in range(step * self._step, step * self._step + slots):
            if self._held[plane % slots] != plane:
                self._slots[:, :, plane % slots] = self._source[plane]
                self._held[plane % slots] = plane


def rotated(blocks: np.ndarray, first: int, columns: int) -> np.ndarray:
    """The matrix of weights for windows that start at plane `first`; the first axis of `blocks` are the planes."""
    planes = len(blocks)
    return blocks[[(slot - first) % planes for slot in range(planes)]].reshape(-1, columns)


class Convolution:
    """3x3x3 convolution with padding 1, stride 1 or 2, and LeakyReLU, to a size (D, H, W).

    upsampling: `compose`d weights of a coarser volume, whose contribution is added before the activation; in the same
    product, for its windows of 3x3x3 voxels stand beside those of their 2x2x2 children.
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
        self._block = block_for(size, channels, stride) if upsampling is None else CHILDREN
        self._slope, self._stride, self._channels = slope, stride, channels
        self.steps, *self._grid = (n // m for n, m in zip(size, self._block))
        columns = math.prod(self._block) * channels
        sources = [(block_weights(weight, self._block, stride), stride * self._block[0])]
        if upsampling is not None:
            sources.append((upsampling, 1))
        self._widths = [blocks.size // columns for blocks, _ in sources]
        # After so many steps all windows are where they were in their slots.
        turns = math.lcm(*(len(blocks) // math.gcd(step, len(blocks)) for blocks, step in sources))
        last = np.tile(bias.astype(np.float32), math.prod(self._block))[None]
        self._weights = [
            np.concatenate([*(rotated(blocks, turn * step, columns) for blocks, step in sources), last])
            for turn in range(turns)
        ]
        self.multiplications = self.steps * math.prod(self._grid) * self._weights[0].size

    def __call__(self, steps: slice, sink: Sink, *sources: np.ndarray) -> None:
        """Outputs of some steps, one after the other, to `sink`. sources: the bordered volume, and the coarser one."""
        terms, columns = self._weights[0].shape
        matrix = np.empty((math.prod(self._grid), terms), np.float32)
        matrix[:, -1] = 1  # times the bias
        values = np.empty((len(matrix), columns), np.float32)
        scratch = np.empty_like(values)
        image = values.reshape(*self._grid, *self._block, self._channels)
        ends = list(itertools.accumulate(self._widths, initial=0))
        kinds = ((self._block, self._stride), ((1, 1, 1), 1))
        patches = [
            Patches(source, *kind, matrix[:, start:end])
            for source, kind, start, end in zip(sources, kinds, ends, ends[1:])
        ]
        for step in range(steps.start, steps.stop):
            for some in patches:
                some.load(step)
            np.matmul(matrix, self._weights[step % len(self._weights)], out=values)
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
        # (2, 2, 2, C) of the children, each with 2 voxels a side: 4x4x4 voxels in all.
        blocks = np.zeros((*CHILDREN, channels, 2, 2, 2, 2, 2, 2), np.float32)
        for z, y, x in np.ndindex(CHILDREN):
            blocks[z, y, x, :, z, :, y, :, x, :] = weight[:, 0]
        self._weight = blocks.reshape(8 * channels, 64)
        self._bias = np.float32(bias[0])

    def sink(self, logits: np.ndarray) -> Sink:
        """A sink for the last decoder's steps that fills `logits` (D, H, W)."""
        depth, height, width = (n // 4 for n in logits.shape)
        # Four along W travel as one 16-byte number.
        target = logits.view(np.complex128).reshape(depth, 4, height, 4, width)

        def store(step: int, image: np.ndarray) -> None:
            values = image.reshape(height * width, -1) @ self._weight
            values += self._bias
            target[step] = values.view(np.complex128).reshape(height, width, 4, 4).transpose(2, 0, 3, 1)

        return store


def store_in(volume: np.ndarray) -> Sink:
    """A sink that writes steps into a bordered volume with at least as many channels."""

    def store(step: int, image: np.ndarray) -> None:
        height, width, z, y, x, channels = image.shape
        planes = volume[1 + step * z : 1 + (step + 1) * z, 1:-1, 1:-1, :channels]
        planes.reshape(z, height, y, width, x, channels)[...] = image.transpose(2, 0, 3, 1, 4, 5)

    return store
