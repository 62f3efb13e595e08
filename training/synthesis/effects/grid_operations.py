"""Smooth random fields, distances and filters on the fine grid, computed on a coarser one where that changes little."""

import numpy as np
import torch
import torch.nn.functional as F

COARSE = 3
"""Distances are computed on every third voxel and interpolated."""


def smooth_noise(shape: tuple[int, ...], wavelength: float | tuple[float, ...], seed: int) -> np.ndarray:
    """Float32 field of mean 0 and sd about 1 that changes over `wavelength` voxels (one number or one an axis)."""
    lengths = (wavelength,) * 3 if isinstance(wavelength, (int, float)) else wavelength
    nodes = [max(2, round(n / length) + 1) for n, length in zip(shape, lengths, strict=True)]
    values = torch.randn([1, 1, *nodes], generator=torch.Generator().manual_seed(seed))
    field = resize(values[0, 0].numpy(), shape)
    # Linear interpolation between independent nodes leaves (2/3) of the variance along every axis.
    return field * np.float32(1.5**1.5)


def white_noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Independent standard normal float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()


def resize(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Trilinear interpolation to `shape`, corners aligned, float32."""
    values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None]
    return F.interpolate(values, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0].numpy()


def signed_distance(mask: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Distance in mm to the mask, negative inside, good to a coarse step; 1e3 for an empty mask."""
    from scipy.ndimage import distance_transform_edt

    nodes = [(n - 1) // COARSE + 1 for n in mask.shape]
    index = [np.round(np.linspace(0, n - 1, m)).astype(int) for n, m in zip(mask.shape, nodes, strict=True)]
    coarse = mask[np.ix_(*index)]
    if not coarse.any():
        return np.full(mask.shape, 1e3, np.float32)
    step = [spacing_mm * (n - 1) / (m - 1) for n, m in zip(mask.shape, nodes, strict=True)]
    outside = distance_transform_edt(~coarse, sampling=step)
    inside = distance_transform_edt(coarse, sampling=step)
    half = np.float32(np.mean(step) / 2)
    return resize(np.where(coarse, half - inside, outside - half), mask.shape)


def grow(mask: np.ndarray, voxels: int) -> np.ndarray:
    """The mask and everything within a cube of that many voxels around it."""
    values = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
    for axis in range(3):
        size, padding = [1, 1, 1], [0, 0, 0]
        size[axis], padding[axis] = 2 * voxels + 1, voxels
        values = F.max_pool3d(values, size, stride=1, padding=padding)
    return values[0, 0].numpy() > 0.5


def blur(array: np.ndarray, sigma_zyx: tuple[float, float, float]) -> np.ndarray:
    """Gaussian blur with a sd in voxels for each axis, edges replicated; returns float32."""
    x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None]
    for axis, sigma in enumerate(sigma_zyx):
        if sigma > 0.05:
            x = _convolve(x, _gaussian(sigma), axis)
    return x[0, 0].numpy()


def _gaussian(sigma: float) -> torch.Tensor:
    radius = max(1, int(np.ceil(2.5 * sigma)))
    at = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-((at / sigma) ** 2) / 2)
    return kernel / kernel.sum()


def _convolve(x: torch.Tensor, kernel: torch.Tensor, axis: int) -> torch.Tensor:
    """Sum of shifted copies: for a handful of taps faster on a CPU than a 3-D convolution."""
    radius, length = len(kernel) // 2, x.shape[axis + 2]
    pad = [0] * 6
    pad[4 - 2 * axis] = pad[5 - 2 * axis] = radius
    padded = F.pad(x, pad, mode="replicate")
    out = torch.zeros_like(x)
    for tap, weight in enumerate(kernel):
        out.add_(padded.narrow(axis + 2, tap, length), alpha=float(weight))
    return out
