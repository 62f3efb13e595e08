"""Numpy layers of the designs that the extension has none for; they follow the conventions of `numpy_layers`.

Volumes are channels-last with a border of one zero voxel, work goes plane by plane into a sink. These are simple
layers as good as numpy makes them without long tuning, where those of the extension were tuned.
"""

from __future__ import annotations

import numpy as np

from LiverGTANLib.core.engines.numpy_layers import PlaneSink, inner_shape, leaky_relu

SIDE = 4
"""Of the wide stem's patches: four float32 along W travel as one complex number."""


class Activated:
    """Matrix product, bias and LeakyReLU on rows of channels, in buffers of its own."""

    def __init__(self, matrix: np.ndarray, bias: np.ndarray, slope: float, rows: int):
        self._matrix, self._bias, self._slope = matrix, bias, slope
        self._values = np.empty((rows, matrix.shape[1]), np.float32)
        self._scratch = np.empty_like(self._values)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(rows, inputs) -> (rows, outputs), valid until the next call."""
        values = np.matmul(rows, self._matrix, out=self._values)
        values += self._bias
        leaky_relu(values, self._slope, self._scratch, out=values)
        return values


class WideStem:
    """4x4x4 patches of the input, without overlap, to the first channels, and LeakyReLU."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, slope: float):
        self._matrix = np.ascontiguousarray(weight.reshape(weight.shape[0], -1).T)
        self._bias, self._slope = bias, slope

    def __call__(self, x: np.ndarray, planes: slice, sink: PlaneSink) -> None:
        """x: (D, H, W) contiguous float32; sends planes of a quarter of that size to `sink`."""
        depth, height, width = (n // SIDE for n in x.shape)
        runs = x.view(np.complex128).reshape(depth, SIDE, height, SIDE, width)
        patches = np.empty((height, width, SIDE * SIDE), np.complex128)
        rows = patches.view(np.float32).reshape(height * width, -1)
        activated = Activated(self._matrix, self._bias, self._slope, len(rows))
        for plane in range(planes.start, planes.stop):
            for dz, dy in np.ndindex(SIDE, SIDE):
                patches[:, :, SIDE * dz + dy] = runs[plane, dz, :, dy]
            sink(plane, activated(rows).reshape(height, width, -1))


class WideHead:
    """Transposed 4x4x4 convolution to one logit a voxel of the input grid."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        self._matrix = np.ascontiguousarray(weight.reshape(weight.shape[0], -1))
        self._bias = np.float32(bias[0])

    def sink(self, logits: np.ndarray) -> PlaneSink:
        """A sink for the last decoder's planes that fills `logits` (D, H, W)."""
        depth, height, width = (n // SIDE for n in logits.shape)
        runs = logits.view(np.complex128).reshape(depth, SIDE, height, SIDE, width)
        values = np.empty((height * width, SIDE**3), np.float32)
        children = values.view(np.complex128).reshape(height, width, SIDE * SIDE)

        def store(plane: int, image: np.ndarray) -> None:
            np.matmul(image.reshape(height * width, -1), self._matrix, out=values)
            np.add(values, self._bias, out=values)
            for dz, dy in np.ndindex(SIDE, SIDE):
                runs[plane, dz, :, dy] = children[:, :, SIDE * dz + dy]

        return store


class Separable:
    """Depthwise 3x3x3 convolution as shifted multiply-adds, then pointwise convolution as a matrix product."""

    def __init__(self, weights: list[np.ndarray], biases: list[np.ndarray], slope: float, width_out: int, stride: int):
        taps = weights[0][:, 0].transpose(1, 2, 3, 0)  # (dz, dy, dx, channel)
        # A row of voxels is one run of numbers, so its taps are repeated along it.
        self._taps, self._bias = np.tile(taps, width_out), np.tile(biases[0], width_out)
        self._point = np.ascontiguousarray(weights[1][:, :, 0, 0, 0].T), biases[1]
        self._slope, self._stride = slope, stride

    def __call__(self, source: np.ndarray, planes: slice, sink: PlaneSink) -> None:
        """Outputs of the planes `planes`, one after the other, to `sink`."""
        channels, stride = source.shape[3], self._stride
        height, width = (n // stride for n in inner_shape(source)[1:])
        total = np.empty((height, width * channels), np.float32)
        product = np.empty_like(total)
        point = Activated(*self._point, self._slope, height * width)
        for plane in range(planes.start, planes.stop):
            total[:] = self._bias
            for dz, dx in np.ndindex(3, 3):
                columns = every(source[stride * plane + dz], dx, stride, width)
                for dy in range(3):
                    rows = columns[dy : dy + stride * (height - 1) + 1 : stride]
                    np.multiply(rows, self._taps[dz, dy, dx], out=product)
                    total += product
            leaky_relu(total, self._slope, product, out=total)
            sink(plane, point(total.reshape(-1, channels)).reshape(height, width, -1))


def every(plane: np.ndarray, first: int, stride: int, count: int) -> np.ndarray:
    """`count` columns of a bordered (H + 2, W + 2, C) plane from `first` on, as (H + 2, count * C)."""
    channels = plane.shape[2]
    if stride == 1 and plane.flags.c_contiguous:
        return plane.reshape(len(plane), -1)[:, first * channels : (first + count) * channels]
    return np.ascontiguousarray(plane[:, first : first + stride * (count - 1) + 1 : stride]).reshape(len(plane), -1)


class Factorized:
    """3x1x1, then 1x3x1, then 1x1x3 convolution, each with LeakyReLU, as matrix products on one plane at a time."""

    def __init__(self, weights: list[np.ndarray], biases: list[np.ndarray], slope: float, stride: int):
        self._lines = [(line_matrix(weight), bias, slope) for weight, bias in zip(weights, biases, strict=True)]
        self._outputs, self._stride = len(biases[0]), stride

    def __call__(self, source: np.ndarray, planes: slice, sink: PlaneSink) -> None:
        """Outputs of the planes `planes`, one after the other, to `sink`."""
        stride, outputs = self._stride, self._outputs
        rows, columns = inner_shape(source)[1:]
        height, width = rows // stride, columns // stride
        along_z, along_y, along_x = (
            Activated(*line, count)
            for line, count in zip(self._lines, (rows * columns, height * columns, height * width), strict=True)
        )
        stacked = np.empty((rows, columns, 3, source.shape[3]), np.float32)
        tall = np.zeros((rows + 2, columns, outputs), np.float32)
        wide = np.zeros((height, columns + 2, outputs), np.float32)
        beside = np.empty((height, columns, 3, outputs), np.float32)
        across = np.empty((height, width, 3, outputs), np.float32)
        for plane in range(planes.start, planes.stop):
            for tap in range(3):
                stacked[:, :, tap] = source[stride * plane + tap, 1:-1, 1:-1]
            tall[1:-1] = along_z(flat(stacked)).reshape(rows, columns, outputs)
            for tap in range(3):
                beside[:, :, tap] = tall[tap : tap + stride * (height - 1) + 1 : stride]
            wide[:, 1:-1] = along_y(flat(beside)).reshape(height, columns, outputs)
            for tap in range(3):
                across[:, :, tap] = wide[:, tap : tap + stride * (width - 1) + 1 : stride]
            sink(plane, along_x(flat(across)).reshape(height, width, outputs))


def flat(patches: np.ndarray) -> np.ndarray:
    """(H, W, taps, C) as (H * W, taps * C)."""
    return patches.reshape(patches.shape[0] * patches.shape[1], -1)


def line_matrix(weight: np.ndarray) -> np.ndarray:
    """(out, in, 3 taps along one of three axes) as (tap * in, out)."""
    return np.ascontiguousarray(weight.reshape(*weight.shape[:2], 3).transpose(2, 1, 0).reshape(-1, weight.shape[0]))


class Repeated:
    """Pointwise convolution of a coarse volume, each of its voxels repeated in the 2x2x2 fine ones."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        self._matrix, self._bias = np.ascontiguousarray(weight[:, :, 0, 0, 0].T), bias

    def __call__(self, coarse: np.ndarray, planes: slice, fine: np.ndarray) -> None:
        """Fills the interior of the bordered volume `fine` for these coarse planes."""
        height, width = inner_shape(coarse)[1:]
        for plane in range(planes.start, planes.stop):
            rows = coarse[plane + 1, 1:-1, 1:-1].reshape(height * width, -1)
            values = (rows @ self._matrix + self._bias).reshape(height, width, -1)
            for dz, dy, dx in np.ndindex(2, 2, 2):
                fine[1 + 2 * plane + dz, 1 + dy : -1 : 2, 1 + dx : -1 : 2] = values
