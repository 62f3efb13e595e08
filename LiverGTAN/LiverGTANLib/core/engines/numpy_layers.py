"""Layers of the student on numpy alone: 3-D convolutions as blocked matrix products.

Volumes are channels-last with a border of one zero voxel on every side: (D + 2, H + 2, W + 2, C) float32.
A layer works plane by plane, so that its patch matrix stays in the cache, and `columns` neighboring voxels of a row
share one row of that matrix: their patches overlap, so fewer numbers are copied, and the product becomes wide enough
to run near the processor's limit, which outweighs the zeros that it multiplies.
"""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import as_strided

PlaneSink = Callable[[int, np.ndarray], None]
"""Receives (plane index, (H, W, C) values, valid until the next call)."""

PRODUCT_COLUMNS = 20
"""Width of a product that is aimed at. Chosen on 112x112x128 cells and one thread: with 16, 20, 26 and 32 columns
student-100k took 58.5, 53.2, 54.0 and 53.7 ms of processor time, student-30k 36.6, 35.8, 36.5 and 35.5. Parts of a
plane whose patches take 0.2 to 1 MB were tried, too: none was faster than whole planes."""


def bordered(depth: int, height: int, width: int, channels: int) -> np.ndarray:
    """A volume of zeros with its border."""
    return np.zeros((depth + 2, height + 2, width + 2, channels), np.float32)


def inner_shape(volume: np.ndarray) -> tuple[int, int, int]:
    """(D, H, W) of a bordered volume."""
    return tuple(n - 2 for n in volume.shape[:3])


def leaky_relu(values: np.ndarray, slope: float, scratch: np.ndarray, out: np.ndarray) -> None:
    """max(v, slope v), for 0 <= slope < 1."""
    np.multiply(values, np.float32(slope), out=scratch)
    np.maximum(values, scratch, out=out)


def columns_for(width: int, channels_out: int) -> int:
    """How many voxels of a row share a patch: a divisor of the width near `PRODUCT_COLUMNS / channels_out`."""
    wanted = max(1, round(PRODUCT_COLUMNS / channels_out))
    return max(n for n in (1, 2, 4) if n <= wanted and width % n == 0)


def block_weights(weight: np.ndarray, columns: int, stride: int) -> np.ndarray:
    """Weights of `columns` neighboring outputs on their common window of inputs.

    weight: (out, in, 3, 3, 3). Returns (3 dz, 3 dy, window, in, columns, out) with zeros where an output does not
    see an input.
    """
    window = stride * (columns - 1) + 3
    blocks = np.zeros((3, 3, window, weight.shape[1], columns, weight.shape[0]), np.float32)
    per_tap = weight.transpose(2, 3, 4, 1, 0)
    for column in range(columns):
        blocks[:, :, stride * column : stride * column + 3, :, column] = per_tap
    return blocks


class Patches:
    """Patch rows of the planes of a bordered volume, the three planes of a 3x3x3 kernel side by side.

    The planes take turns in three slots: moving on by one plane copies one plane, not three. Which slot holds which
    plane is given by the plane's index modulo three, so the weights come in three rotations (`rotations`).
    """

    def __init__(self, volume: np.ndarray, columns: int, stride: int = 1):
        depth, height, width, channels = volume.shape
        window = stride * (columns - 1) + 3
        rows, per_row = (height - 2) // stride, (width - 2) // stride // columns
        sz, sy, sx, sc = volume.strides
        self._source = as_strided(
            volume,
            (depth, 3, rows, per_row, window * channels),
            (sz, sy, stride * sy, stride * columns * sx, sc),
            writeable=False,
        )
        self._buffer = np.empty((rows, per_row, 3, 3, window * channels), np.float32)
        self._held = [-1, -1, -1]
        self.matrix = self._buffer.reshape(rows * per_row, -1)

    def load(self, first_plane: int) -> None:
        """Have bordered planes first_plane .. first_plane + 2 in their slots."""
        for plane in range(first_plane, first_plane + 3):
            slot = plane % 3
            if self._held[slot] != plane:
                for dy in range(3):
                    self._buffer[:, :, slot, dy] = self._source[plane, dy]
                self._held[slot] = plane


def rotations(blocks: np.ndarray) -> list[np.ndarray]:
    """The weight matrix for each first plane modulo three; `blocks` starts with the axis dz."""
    matrices = []
    for first in range(3):
        rotated = blocks[[(slot - first) % 3 for slot in range(3)]]
        rows = int(np.prod(blocks.shape[:4]))
        matrices.append(np.ascontiguousarray(rotated.reshape(rows, -1)))
    return matrices


class Convolution:
    """3x3x3 convolution with padding 1, stride 1 or 2, and LeakyReLU; before it an upsampled volume may be added."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, slope: float, width_out: int, stride: int = 1):
        self.channels = weight.shape[0]
        self._columns = columns_for(width_out, self.channels)
        self._weights = rotations(block_weights(weight, self._columns, stride))
        self._bias = np.tile(bias.astype(np.float32), self._columns)
        self._slope, self._stride = slope, stride

    def __call__(
        self,
        source: np.ndarray,
        planes: slice,
        sink: PlaneSink,
        finer: "Upsampling | None" = None,
        coarse: np.ndarray | None = None,
    ) -> None:
        """Outputs of the planes `planes`, one after the other, to `sink`.

        With `finer` and `coarse` the contribution of the upsampled coarse volume is added before the activation.
        """
        patches = Patches(source, self._columns, self._stride)
        height, width = (n // self._stride for n in inner_shape(source)[1:])
        values = np.empty((len(patches.matrix), self._columns * self.channels), np.float32)
        scratch = np.empty_like(values)
        image = values.reshape(height, width, self.channels)
        addition = finer.planes(coarse) if finer and coarse is not None else None
        for plane in range(planes.start, planes.stop):
            first = plane * self._stride
            patches.load(first)
            np.matmul(patches.matrix, self._weights[first % 3], out=values)
            values += self._bias
            if addition:
                addition(plane, image)
            leaky_relu(values, self._slope, scratch, out=values)
            sink(plane, image)


class Upsampling:
    """Transposed 2x2x2 convolution and the half of the next 3x3x3 convolution that reads it, as one product.

    Nothing lies between the two but a bias, so a block of 2x2x2 fine voxels is linear in 3x3x3 coarse ones. Coarse
    volumes carry one more channel, one inside and zero on the border, which multiplies the bias: outside the volume
    the convolution sees zeros, not the bias.
    """

    def __init__(self, up_weight: np.ndarray, up_bias: np.ndarray, weight: np.ndarray):
        composed = compose(with_bias_channel(up_weight, up_bias), weight)
        self.channels = weight.shape[0]
        self._weights = rotations(composed)

    def planes(self, coarse: np.ndarray) -> Callable[[int, np.ndarray], None]:
        """A function that adds the contribution to a fine plane, an (H, W, C) array; planes come in rising order."""
        patches = Patches(coarse, columns=1)
        height, width = inner_shape(coarse)[1:]
        values = np.empty((len(patches.matrix), 8 * self.channels), np.float32)
        # (rows, columns, dz, dy, (dx, channel)) of the fine voxels in each coarse one
        children = values.reshape(height, width, 2, 2, 2 * self.channels)
        computed = -1

        def add(plane: int, image: np.ndarray) -> None:
            nonlocal computed
            if computed != plane // 2:
                computed = plane // 2
                patches.load(computed)
                np.matmul(patches.matrix, self._weights[computed % 3], out=values)
            fine = image.reshape(height, 2, width, 2 * self.channels)
            fine += children[:, :, plane % 2].transpose(0, 2, 1, 3)

        return add


def with_bias_channel(up_weight: np.ndarray, up_bias: np.ndarray) -> np.ndarray:
    """(in, out, 2, 2, 2) weights and a bias as (in + 1, out, 2, 2, 2) weights."""
    row = np.broadcast_to(up_bias[None, :, None, None, None], (1, *up_weight.shape[1:]))
    return np.concatenate([up_weight, row]).astype(np.float64)


def compose(up_weight: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Transposed convolution, then 3x3x3 convolution, from a coarse voxel's 3x3x3 neighborhood to its 2x2x2 children.

    up_weight: (in, middle, 2, 2, 2); weight: (out, middle, 3, 3, 3).
    Returns (3 cz, 3 cy, 3 cx, in, 2 * 2 * 2 * out) float32.
    """
    # (in, 2, 2, 2, out, 3, 3, 3): each transposed tap times each tap that may read it.
    products = np.tensordot(up_weight, weight.astype(np.float64), axes=(1, 1))
    composed = np.zeros((3, 3, 3, len(up_weight), 2, 2, 2, len(weight)))
    # Tap t of the child with parity p reads the fine voxel p + t - 1: the child `parity` of the coarse neighbor c - 1.
    routes = [(p, t, (p + t - 1) // 2 + 1, (p + t - 1) % 2) for p in range(2) for t in range(3)]
    for (p, t, c, u), (q, s, d, v), (r, w, e, x) in itertools.product(routes, repeat=3):
        composed[c, d, e, :, p, q, r] += products[:, u, v, x, :, t, s, w]
    return composed.reshape(*composed.shape[:4], -1).astype(np.float32)


class Stem:
    """2x2x2 patches of the input, without overlap, to the first channels, and LeakyReLU."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, slope: float):
        self._weight = np.ascontiguousarray(weight.reshape(weight.shape[0], 8).T)
        self._bias, self._slope = bias, slope

    def __call__(self, x: np.ndarray, planes: slice, sink: PlaneSink) -> None:
        """x: (D, H, W) contiguous float32; sends planes of half that size to `sink`."""
        depth, height, width = (n // 2 for n in x.shape)
        # Pairs along W travel as one 8-byte number: (D/2, 2, H/2, 2, W/2).
        pairs = x.view(np.float64).reshape(depth, 2, height, 2, width)
        patches = np.empty((height, width, 4), np.float64)
        values = np.empty((height * width, len(self._bias)), np.float32)
        scratch = np.empty_like(values)
        for plane in range(planes.start, planes.stop):
            for dz in range(2):
                for dy in range(2):
                    patches[:, :, 2 * dz + dy] = pairs[plane, dz, :, dy]
            np.matmul(patches.view(np.float32).reshape(-1, 8), self._weight, out=values)
            values += self._bias
            leaky_relu(values, self._slope, scratch, out=values)
            sink(plane, values.reshape(height, width, -1))


class Head:
    """Transposed 2x2x2 convolution to one logit a voxel of the input grid."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        self._weight = np.ascontiguousarray(weight.reshape(weight.shape[0], 8))
        self._bias = np.float32(bias[0])

    def sink(self, logits: np.ndarray) -> PlaneSink:
        """A sink for the last decoder's planes that fills `logits` (D, H, W)."""
        depth, height, width = (n // 2 for n in logits.shape)
        pairs = logits.view(np.float64).reshape(depth, 2, height, 2, width)
        values = np.empty((height * width, 8), np.float32)
        children = values.view(np.float64).reshape(height, width, 2, 2)

        def store(plane: int, image: np.ndarray) -> None:
            np.matmul(image.reshape(height * width, -1), self._weight, out=values)
            np.add(values, self._bias, out=values)
            for dz in range(2):
                for dy in range(2):
                    pairs[plane, dz, :, dy] = children[:, :, dz, dy]

        return store


def store_in(volume: np.ndarray) -> PlaneSink:
    """A sink that writes planes into a bordered volume with at least as many channels."""

    def store(plane: int, image: np.ndarray) -> None:
        volume[plane + 1, 1:-1, 1:-1, : image.shape[2]] = image

    return store
