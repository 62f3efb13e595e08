"""Views of a real CT, drawn on the fly: moved by parts of a cell, turned, scaled, bent, with disease and noise.

`draw` draws all parameters on the processor, so a seed names a view; `render` is made of torch operations that run on
any device. Left and right are never flipped: the liver lies on one side. Axes D/H/W grow to superior, anterior, right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional

from LiverGTANLib.core.boxes import triple
from LiverGTANLib.core.volume import AIR
from training.data import augment, effusion
from training.data.effusion import HU_PER_UNIT, PleuralFluid
from training.data.thick_slices import slice_weights
from training.options import AugmentRanges, ViewRanges

COARSE = 4
"""The deformation is computed on every fourth voxel and interpolated."""
SOFT, SOFT_WIDTH = 0.1, 0.8
"""Soft tissue lies around 60 HU (0.1 of the scaled image); a change of contrast fades out towards fat and bone."""
LARGE_TUMOR_MM = 35.0
"""Tumors above this radius stay brighter than fluid, which beside a liver is none."""
MOST_TUMORS = 6
NEAR_LIVER = 0.9
"""Share of views around the liver; the others lie anywhere in the scan."""


@dataclass(frozen=True)
class Tumor:
    """An ellipsoid of `radii` voxels; `at` in [0, 1) picks the liver voxel in its middle. Values are scaled HU."""

    at: float
    radii: tuple[float, float, float]
    shift: float
    rim: float


@dataclass(frozen=True)
class ScanView:
    """Parameters of one view; lengths in voxels of the window, but `center` and `bend` in those of the scan.

    matrix: from voxels of the window to voxels of the scan. bend: sd of the displacement; nodes: of its field.
    contrast: of soft tissue, with an offset. density: what is added to the liver, with `patches` of sparing.
    slices: thickness and phase. shown: first slice of the scan and the one behind its last. field: radius of a round
    field of view.
    """

    center: tuple[float, float, float]
    matrix: np.ndarray
    bend: float
    nodes: tuple[int, int, int]
    seed: int
    contrast: tuple[float, float]
    density: float
    patches: float
    tumors: tuple[Tumor, ...]
    slices: tuple[float, float] | None
    shown: tuple[int, int]
    field: float | None
    look: augment.View
    effusion: PleuralFluid | None


@dataclass(frozen=True)
class Window:
    """The grid on which views are rendered."""

    shape: tuple[int, int, int]
    spacing_mm: float


def draw(
    around: tuple[float, float, float] | None,
    scan_shape: tuple[int, ...],
    scan_mm: float,
    window: Window,
    ranges: ViewRanges,
    looks: AugmentRanges,
    random: np.random.Generator,
) -> ScanView:
    """A view of a scan whose liver has its middle `around` there (in voxels; None: unknown or absent).

    It takes the same random numbers whatever the ranges and wherever the liver is: see `chance`.
    """
    voxel = window.spacing_mm
    scale = random.uniform(*ranges.scale) * random.uniform(1 - ranges.stretch, 1 + ranges.stretch, 3)
    turn = Rotation.from_euler("zyx", random.uniform(-ranges.degrees, ranges.degrees, 3), degrees=True).as_matrix()
    near, anywhere = random.random() < NEAR_LIVER, random.uniform(0, 1, 3) * scan_shape
    middle = np.array(around) if around and near else anywhere
    middle = middle + random.uniform(-1, 1, 3) * ranges.shift_mm / scan_mm
    return ScanView(
        center=triple(float(value) for value in middle),
        matrix=(turn @ np.diag(scale) * (voxel / scan_mm)).astype(np.float32),
        bend=float(random.uniform(0, ranges.bend_mm) / scan_mm),
        nodes=triple(max(3, round(n * voxel / ranges.bend_length_mm) + 1) for n in window.shape),
        seed=int(random.integers(2**31)),
        contrast=(
            float(random.uniform(*ranges.contrast)),
            float(random.uniform(-1, 1) * ranges.offset_hu / HU_PER_UNIT),
        ),
        density=chance(random, ranges.densities, float(random.uniform(*ranges.density_hu)) / HU_PER_UNIT, 0.0),
        patches=float(random.uniform(0, 0.4)),
        tumors=draw_tumors(random, ranges, voxel),
        slices=chance(
            random, ranges.thick, (float(random.uniform(*ranges.slice_mm)) / voxel, float(random.random())), None
        ),
        shown=draw_shown(random, ranges, window.shape[0]),
        field=chance(random, ranges.round_fields, float(random.uniform(120, 190)) / voxel, None),
        look=augment.draw(looks, random),
        effusion=chance(random, ranges.effusions, effusion.draw(random, voxel), None),
    )


def chance(random: np.random.Generator, probability: float, value, otherwise):
    """`value` with this probability; it is drawn either way, so switching one effect off leaves the others alone."""
    return value if random.random() < probability else otherwise


def draw_tumors(random: np.random.Generator, ranges: ViewRanges, voxel_mm: float) -> tuple[Tumor, ...]:
    """None in most views, else one to six."""
    tumors = tuple(draw_tumor(random, ranges, voxel_mm) for _ in range(MOST_TUMORS))
    return chance(random, ranges.tumors, tumors[: int(random.integers(1, MOST_TUMORS + 1))], ())


def draw_tumor(random: np.random.Generator, ranges: ViewRanges, voxel_mm: float) -> Tumor:
    """Small ones are far more frequent than large ones."""
    smallest, largest = ranges.tumor_mm
    radius = smallest * (largest / smallest) ** (random.random() ** 1.5) / voxel_mm
    radii = triple(float(value) for value in radius * random.uniform(0.75, 1.25, 3))
    darkest = -80 if radius * voxel_mm < LARGE_TUMOR_MM else -45
    shift, rim = random.uniform(darkest, 40) / HU_PER_UNIT, random.uniform(-20, 60) / HU_PER_UNIT
    return Tumor(float(random.random()), radii, float(shift), float(rim))


def draw_shown(random: np.random.Generator, ranges: ViewRanges, count: int) -> tuple[int, int]:
    """First slice that the scan shows, and the one behind its last: a scan may begin or end within the liver."""
    below, above = (random.random(2) * (count * 2 // 5)).astype(int)
    cut_below, cut_above = random.random(2) < ranges.cut
    return int(below) if cut_below else 0, count - (int(above) if cut_above else 0)


@torch.no_grad()
def render(
    image_u8: np.ndarray, label_u8: np.ndarray | None, view: ScanView, window: Window, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(image in [-1, 1], liver fraction in [0, 1]) of the window's shape; the label of an unlabelled scan is zero."""
    points, box = coordinates(view, window.shape, image_u8.shape, device)
    stored = [image_u8[box]] if label_u8 is None else [image_u8[box], label_u8[box]]
    values = sampled(stored, points, device)
    image = values[0].mul_(1 / 127.5).sub_(1)
    label = torch.zeros_like(image) if label_u8 is None else values[1].mul_(1 / 255)
    recolor(image, label, view)
    for tumor in view.tumors:
        add_tumor(image, label, tumor)
    if view.effusion is not None:
        effusion.add(image, label, view.effusion)
    if view.slices is not None:
        weights = torch.from_numpy(slice_weights(len(image), view.slices[0], view.slices[0], view.slices[1])).to(device)
        image, label = (torch.tensordot(weights, part, 1) for part in (image, label))
    image, label = augment.apply(image, label, view.look)
    hide(image, label, view)
    return image, label


def coordinates(
    view: ScanView, shape: tuple[int, int, int], scan_shape: tuple[int, ...], device: torch.device
) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Where in a part of the scan each voxel comes from, (D, H, W, 3) as `grid_sample` has it, and that part."""
    coarse = [(n - 1) // COARSE + 2 for n in shape]
    axes = [np.linspace(-n / 2 + 0.5, n / 2 - 0.5, m, dtype=np.float32) for n, m in zip(shape, coarse, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ view.matrix.T
    points += np.asarray(view.center, np.float32)
    field = torch.from_numpy(points).movedim(-1, 0)[None]
    field = field + view.bend * bend(view, coarse)  # on the processor: the box is needed before a GPU could answer
    low = [max(0, int(values.min()) - 1) for values in field[0].flatten(1)]
    high = [min(n, int(values.max()) + 3) for n, values in zip(scan_shape, field[0].flatten(1), strict=True)]
    low = [min(start, n - 2) for start, n in zip(low, scan_shape, strict=True)]  # a window beside the scan sees air
    high = [max(end, start + 2) for start, end in zip(low, high, strict=True)]
    size = torch.tensor([end - start for start, end in zip(low, high, strict=True)])
    first = torch.tensor(low)
    field = 2 * (field - first.reshape(1, 3, 1, 1, 1)) / (size.reshape(1, 3, 1, 1, 1) - 1) - 1
    full = upsampled(field.flip(1).to(device), shape)
    return full.movedim(1, -1), tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def upsampled(coarse: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Trilinear interpolation of (1, C, ...) from corner to corner, axis by axis as products of matrices, which takes a
    quarter of the time of torch's `interpolate` on the processor."""
    along = [
        functional.interpolate(torch.eye(m, device=coarse.device)[None], size=n, mode="linear", align_corners=True)[0]
        for m, n in zip(coarse.shape[2:], shape, strict=True)
    ]
    slices = along[1].T @ (coarse @ along[2])
    return (along[0].T @ slices.flatten(3)).reshape(*coarse.shape[:2], *shape)


def bend(view: ScanView, coarse: list[int]) -> torch.Tensor:
    """A smooth random displacement of sd about 1 on the coarse grid, (1, 3, ...)."""
    values = torch.randn([1, 3, *view.nodes], generator=torch.Generator().manual_seed(view.seed))
    return functional.interpolate(values, size=coarse, mode="trilinear", align_corners=True)


def sampled(parts: list[np.ndarray], points: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Trilinear interpolation of uint8 volumes at the points; 0, which is air or no liver, beyond the scan."""
    values = torch.from_numpy(np.stack(parts)).to(device).float()[None]
    return functional.grid_sample(values, points, mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def recolor(image: torch.Tensor, label: torch.Tensor, view: ScanView) -> None:
    """Another contrast of soft tissue, and another density of the liver with patches of sparing, in place."""
    gain, offset = view.contrast
    centered = image - SOFT
    soft = centered.abs().mul_(-1 / SOFT_WIDTH).add_(1).clamp_(0, 1)
    image.add_(centered.mul_(gain - 1).add_(offset).mul_(soft))
    if view.density:
        patches = torch.randn([1, 1, *view.nodes], generator=torch.Generator().manual_seed(view.seed + 1))
        sparing = upsampled(patches.to(image.device), image.shape)
        sparing = sparing[0, 0].clamp_(-1, 1).mul_(-view.patches * view.density).add_(view.density)
        image.addcmul_(sparing, label)


def add_tumor(image: torch.Tensor, label: torch.Tensor, tumor: Tumor) -> None:
    """Changes the liver's density within an ellipsoid and in its rim, in place."""
    liver = torch.nonzero(label[::2, ::2, ::2] > 0.5)
    if not len(liver):
        return
    middle = (liver[int(tumor.at * len(liver))] * 2).tolist()
    box = tuple(
        slice(max(0, int(m - 1.5 * r) - 1), int(m + 1.5 * r) + 2) for m, r in zip(middle, tumor.radii, strict=True)
    )
    squares = [
        ((torch.arange(part.start, min(part.stop, n), device=image.device) - m) / r) ** 2
        for part, n, m, r in zip(box, image.shape, middle, tumor.radii, strict=True)
    ]
    distance = (squares[0][:, None, None] + squares[1][None, :, None] + squares[2]).sqrt()
    body = (4 * (1 - distance)).clamp(0, 1)
    rim = (1 - 6 * (distance - 1).abs()).clamp(0, 1)
    image[box] += (tumor.shift * body + tumor.rim * rim) * label[box]


def hide(image: torch.Tensor, label: torch.Tensor, view: ScanView) -> None:
    """Air, and no liver, where the scan shows nothing: beyond its first and last slice and its field; in place."""
    first, end = view.shown
    for part, air in ((image, AIR), (label, 0.0)):
        part[:first], part[end:] = air, air
    if view.field is not None:
        y, x = (torch.arange(n, device=image.device) - (n - 1) / 2 for n in image.shape[1:])
        outside = y[:, None] ** 2 + x**2 > view.field**2
        image.masked_fill_(outside, AIR)
        label.masked_fill_(outside, 0.0)
