"""The CT and its way to the model grid: the one preprocessing of training and use.

Arrays are indexed [k, j, i] as Slicer's `arrayFromVolume` gives them, positions are RAS millimeters.
The model grid is isotropic with array axes growing to +S (superior), +A (anterior) and +R (right).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from .model_grid import ModelGrid

SPACING_MM = 2.5
"""Side of a cell of the bundled students' grid. Compared with 3, 4 and 5 mm in training/results/designs.md."""

MULTIPLE = 16
"""What the sides of the bundled students' grid are multiples of: four levels halve it (`Student.multiple`)."""

HU_WINDOW = (-160.0, 240.0)
"""Range of HU of the bundled students, to whose ends other values are limited: the usual soft-tissue display window of
abdomen and pelvis, level 40 and width 400."""

AIR = -1.0
"""Scaled value of the window's lower end, and so of everything outside the scan."""

MOST_CELLS = 85_000_000
"""A scan that takes more cells of the model grid is refused: at 2.5 mm these hold 800 x 800 x 2,000 mm, the largest
field of view and scan range of today's scanners, and 0.35 GB for each value of a cell."""

SAMPLED_PER_AXIS = 64
"""Voxels per axis that the values are checked on: up to half a million in all, read in a few milliseconds."""

LEAST_FILL_OF_SIDES = 0.01
"""Least share of the pairs of neighboring voxels in a scan's sides that hold one value for it to be that of padding.
The noise of air leaves 0.3 % at most. On the CTs of the training's data folder no value above -60 HU is in more than
0.6 % of the voxels of the sides; turned by 2 degrees and more or padded by eight voxels with 0, three of them had 3 %
and more of it."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From DICOM's and ITK's positions (left, posterior, superior) to Slicer's (right, anterior, superior), or back."""


OUT_OF_MEMORY = "There is not enough memory for this scan; crop it to the abdomen, or close what else is open."


class InputError(ValueError):
    """The scan cannot be segmented; the message says what is wrong and what to do."""


class OutOfMemory(MemoryError):
    """There was not enough memory; the message, which Python's own error lacks, says what to do."""


@contextmanager
def memory_errors_explained() -> Iterator[None]:
    """Within this block, or in a function that this decorates, running out of memory raises `OutOfMemory`."""
    try:
        yield
    except OutOfMemory:
        raise
    except MemoryError as error:
        raise OutOfMemory(OUT_OF_MEMORY) from error


@dataclass(frozen=True, eq=False)
class VoxelVolumes:
    """Volumes of voxels that are not all alike, as under a transform that bends space; equal within blocks of voxels.

    ml: (c, b, a), of one voxel in each block. blocks: the block along its axis of each index k, j and i.
    """

    ml: np.ndarray
    blocks: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def ratio(self) -> float:
        """How many times the largest voxel is as large as the smallest."""
        return float(self.ml.max() / self.ml.min())

    def at(self, k: np.ndarray | int, j: np.ndarray, i: np.ndarray) -> np.ndarray:
        """mL of the voxels with these indices."""
        return self.ml[tuple(block[index] for block, index in zip(self.blocks, (k, j, i)))]

    def sum_ml(self, voxels: np.ndarray, start: tuple[int, int, int]) -> float:
        """mL of the voxels that are not zero in a box (k, j, i) that begins at `start`."""
        planes = (np.nonzero(plane) for plane in voxels)
        return float(sum(self.at(k, j + start[1], i + start[2]).sum() for k, (j, i) in enumerate(planes, start[0])))


@dataclass(frozen=True, eq=False)
class CtVolume:
    """A CT in Hounsfield units with its place in the patient.

    hu: (K, J, I), any real dtype. ijk_to_ras: (4, 4) matrix from voxel-center indices (i, j, k) to RAS mm.
    voxel_volumes: where voxels differ in size, so that the matrix only fits them best; None: it is exact.
    """

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = ""
    voxel_volumes: VoxelVolumes | None = None

    def __repr__(self) -> str:
        return f"<CtVolume: {self.hu.shape} voxels>"

    @property
    def shape(self) -> tuple[int, ...]:
        """(K, J, I)."""
        return self.hu.shape

    @cached_property
    def spacing(self) -> np.ndarray:
        """Voxel size in mm along i, j, k."""
        return np.linalg.norm(np.asarray(self.ijk_to_ras, float)[:3, :3], axis=0)

    @property
    def extent(self) -> str:
        """For the user: lengths in mm along i, j, k."""
        return " x ".join(f"{extent:.0f}" for extent in np.asarray(self.shape[::-1]) * self.spacing)

    def cells(self, spacing_mm: float = SPACING_MM, multiple: int = MULTIPLE) -> int:
        """Number of cells of the model grid without its padding, from the geometry alone."""
        return math.prod(ModelGrid.of(self.shape, self.ijk_to_ras, spacing_mm, multiple).shape)


def too_large(ct: CtVolume, spacing_mm: float) -> str:
    """Why a scan with more than `MOST_CELLS` is refused."""
    return (
        f"The volume is {ct.extent} mm, more than fits into memory in cells of {spacing_mm:g} mm; correct its voxel "
        "size if no body is that large, else crop it to the abdomen."
    )


def scale_hu(hu: np.ndarray, hu_window: tuple[float, float]) -> np.ndarray:
    """HU, already clipped to the window, as float32 in [-1, 1]; in place where they are an array of float32."""
    low, high = hu_window
    scaled = np.asarray(hu, np.float32)
    scaled -= np.float32((low + high) / 2)
    scaled *= np.float32(2 / (high - low))
    return scaled


def median(values: np.ndarray) -> np.ndarray:
    """Along the last axis, of numbers that are not NaN; each row has some.

    As `np.nanmedian`, which loads `numpy.ma`: 15 ms of processor time, a fortieth of a small scan on the command line.
    """
    if not np.isnan(values).any():
        middle = values.shape[-1] // 2
        parts = np.partition(values, middle, axis=-1)  # a third of the time of sorting all
        high = parts[..., middle]
        low = high if values.shape[-1] % 2 else parts[..., :middle].max(axis=-1)
        return (low + high) / 2
    ordered = np.sort(values, axis=-1)
    count = np.count_nonzero(~np.isnan(ordered), axis=-1, keepdims=True)
    low, high = (np.take_along_axis(ordered, place // 2, axis=-1)[..., 0] for place in (count - 1, count))
    return (low + high) / 2


def to_model_grid(
    ct: CtVolume,
    spacing_mm: float = SPACING_MM,
    hu_window: tuple[float, float] = HU_WINDOW,
    multiple: int = MULTIPLE,
) -> tuple[np.ndarray, ModelGrid]:
    """The student's input: (D, H, W) float32 in [-1, 1], and the grid that leads back to the scan.

    multiple: what the grid's sides are multiples of (`Student.multiple`).
    Raises InputError when the scan takes more than `MOST_CELLS` cells.
    HU are clipped before they are averaged: at a border with lung or air, where the window saturates, the average is
    then the share of the cell that is tissue. Outside the scan there is air.
    """
    grid = ModelGrid.of(ct.shape, ct.ijk_to_ras, spacing_mm, multiple)
    if math.prod(grid.shape) > MOST_CELLS:
        raise InputError(too_large(ct, spacing_mm))
    return grid.down(ct.hu, hu_window, hu_window[0], partial(scale_hu, hu_window=hu_window)), grid


def sampled(hu: np.ndarray) -> np.ndarray:
    """A regular sample of the voxels."""
    steps = [-(-n // SAMPLED_PER_AXIS) for n in hu.shape]
    # From the middle of a step on: from its beginning the first side would be too large a part of the sample.
    return np.asarray(hu[tuple(slice(step // 2, None, step) for step in steps)], np.float32)


def fill_values(hu: np.ndarray) -> np.ndarray:
    """(N,) values that fill areas in the sides of a scan (K, J, I), as padding does. No two voxels of anything that was
    measured are much more often alike than their noise makes them."""
    step = max(1, len(hu) // SAMPLED_PER_AXIS)
    slices = hu[::step]
    sides = np.stack([slices[:, 0], slices[:, -1]], axis=1), np.stack([slices[:, :, 0], slices[:, :, -1]], axis=1)
    equal = [side[..., 1:][side[..., 1:] == side[..., :-1]] for side in sides]
    values, counts = np.unique(np.concatenate(equal), return_counts=True)
    return values[counts >= LEAST_FILL_OF_SIDES * sum(side[..., 1:].size for side in sides)]
