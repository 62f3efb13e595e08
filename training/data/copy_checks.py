"""Copies of a CT under another name: cropped, with fewer slices, with some voxels changed, in another order of axes,
with noise, resampled.

The same HU side by side in a row of tissue do not come again by chance: the noise of a CT is its own. A sketch
(Broder, "On the resemblance and containment of documents", 1997) holds the smallest hashes of such rows, so that two
sketches share hashes as far as two scans share voxels.

A copy with noise, of another voxel size or sharpness has other voxels, but still shows the same anatomy in the same
place. So a sketch holds hashes of blocks, too: where a block of cells of 10 mm lies in the patient's coordinates, and
the signs of random projections of it (Charikar, "Similarity estimation techniques from rounding algorithms", 2002). A
copy of which both voxels and coordinates were changed is not found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from LiverGTANLib.core.volume import CtVolume
from training.data.scans import in_order_of_axes

ROW = 16
"""Voxels in a row."""
TISSUE_HU = (-150, 250)
"""Of all voxels of a row: others may be padding, air, or the ends of what was clipped."""
LEAST_CHANGES = 10
"""Of the 15 steps of a row that lead to another value: flat rows come again."""
DRAWN = 32
"""Of 256 rows, by their first, middle and last voxel, those that are hashed: enough, and eight times faster."""
HASHES = 256
"""In a sketch. A crop to a tenth of a scan shares about 25 of them."""
CELL_MM, BLOCK, BLOCK_STEP = 10.0, 4, 2
"""Of the cells, and of the blocks in cells: their side, and from one to the next. Noise of 30 HU changes the mean of a
cell by about 2 HU."""
BODY_HU = -140.0
"""Every cell of a block has more: tables and cushions, which other patients lay on in the same place, have less."""
LEAST_SD_HU = 8.0
"""Of a block's cells beside their linear trend: the signs of flat ones are those of noise."""
BITS, BLOCKS = 28, 256
"""Signs of a block; blocks in a sketch, drawn by their place, so that scans of one place have the same."""
LEAST_ROWS, LEAST_BLOCKS = 8, 18
"""Shared hashes of rows, or so many of blocks, that make a copy. Chosen on the 37 CTs of the data folder and a sample:
no two share any hash of rows; different patients share none of blocks, two phases of one patient 3 (7 with other
projections), bodies that `ct_phantom` draws after one plan 16. 19 of these CTs shared 106 and more with themselves with
noise of 30 HU, 55 on voxels of 2.5 mm with noise of 15 HU, 61 with slices of 5 mm, 120 in 8 bits of a window of 400 HU;
on 2.5 mm and moved by 1.25 mm along each axis, 9 of 19 shared more than 18."""
BLOCK_MARK = "@"
Sketch = Sequence[str]


def sketch(ct: CtVolume) -> list[str]:
    """The smallest hashes of rows of a scan, 12 hexadecimal digits each, and those of blocks, after a mark; fewer
    than `HASHES` and `BLOCKS` when it has hardly any tissue."""
    found = np.empty(0, np.uint64)
    levels = in_order_of_axes(ct)
    for level in levels:
        found = np.union1d(found, _hashes(level))[:HASHES]
    return [*_digits(found), *(BLOCK_MARK + value for value in _digits(_block_hashes(*_cells(levels, ct))))]


def _digits(hashes: np.ndarray) -> list[str]:
    return [f"{value >> np.uint64(16):012x}" for value in hashes]


def _mixed(values: np.ndarray) -> np.ndarray:
    """uint64 with every bit depending on all, by the first factor of SplitMix64."""
    values = (values ^ (values >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(32))


def _hashes(level: np.ndarray) -> np.ndarray:
    """uint64 of the rows of one level (A, R)."""
    if level.shape[1] < ROW:
        return np.empty(0, np.uint64)
    low, high = TISSUE_HU
    good = np.cumsum(np.pad(~((level > low) & (level < high)), ((0, 0), (1, 0))), axis=1)
    changes = np.cumsum(np.pad(level[:, 1:] != level[:, :-1], ((0, 0), (1, 0))), axis=1)
    usable = (good[:, ROW:] == good[:, :-ROW]) & (changes[:, ROW - 1 :] - changes[:, : -ROW + 1] >= LEAST_CHANGES)
    # Odd factors that mix bits well: three primes of xxHash32.
    ends = level.astype(np.uint32)
    drawn = ends[:, : -ROW + 1] * np.uint32(2654435761) + ends[:, ROW // 2 : -ROW // 2 + 1] * np.uint32(2246822519)
    drawn += ends[:, ROW - 1 :] * np.uint32(3266489917)
    usable &= drawn >> np.uint32(24) < DRAWN
    rows = np.lib.stride_tricks.sliding_window_view(level, ROW, axis=1)[usable].astype(np.int64).astype(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, ROW, dtype=np.uint64) | np.uint64(1)
    return _mixed((rows * factors).sum(axis=1, dtype=np.uint64))


def _cells(levels: np.ndarray, ct: CtVolume) -> tuple[np.ndarray, np.ndarray]:
    """Means of HU, clipped, in the cells of the patient's coordinates that lie within the scan, (S, A, R), and the
    number of the first along each axis. levels: HU (S, A, R). Tilted axes are taken for straight ones."""
    columns = np.asarray(ct.ijk_to_ras, float)[:3, :3]
    middle = np.asarray(ct.ijk_to_ras, float)[:3] @ [*((np.array(ct.hu.shape[::-1]) - 1) / 2), 1]
    steps = np.linalg.norm(columns, axis=0)[np.abs(columns).argmax(axis=1)]
    along = [_weights(middle[w], steps[w], n) for w, n in zip((2, 1, 0), levels.shape, strict=True)]
    (_, to_s), (_, to_a), (_, to_r) = along
    cells = np.zeros([len(weights) for _, weights in along], np.float32)
    for level, weights in zip(levels, to_s.T, strict=True):
        means = to_a @ np.clip(level, *TISSUE_HU).astype(np.float32) @ to_r.T
        for cell in np.flatnonzero(weights):
            cells[cell] += weights[cell] * means
    return cells, np.array([first for first, _ in along])


def _weights(middle: float, step: float, count: int) -> tuple[int, np.ndarray]:
    """Number of the first cell that lies within voxels of `step` mm along one axis, and each cell's shares of them."""
    edges = middle + step * (np.arange(count + 1) - count / 2)
    first, end = int(np.ceil(edges[0] / CELL_MM - 1e-6)), int(np.floor(edges[-1] / CELL_MM + 1e-6))
    low = CELL_MM * np.arange(first, max(first, end))[:, None]
    shares = np.minimum(edges[1:], low + CELL_MM) - np.maximum(edges[:-1], low)
    return first, (shares.clip(0) / CELL_MM).astype(np.float32)


def _block_hashes(cells: np.ndarray, first: np.ndarray) -> np.ndarray:
    """uint64 of place and signs of those blocks whose places have the smallest hashes."""
    if min(cells.shape) < BLOCK:
        return np.empty(0, np.uint64)
    starts = -first % BLOCK_STEP
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (BLOCK,) * 3)
    blocks = blocks[tuple(slice(start, None, BLOCK_STEP) for start in starts)]
    corners = np.indices(blocks.shape[:3]).reshape(3, -1).T * BLOCK_STEP + starts + first
    blocks = blocks.reshape(-1, BLOCK**3)
    inside = blocks.min(axis=1, initial=TISSUE_HU[1]) > BODY_HU
    corners, blocks = corners[inside], blocks[inside].astype(float)
    places = np.indices((BLOCK,) * 3).reshape(3, -1).T
    trend, _ = np.linalg.qr(np.column_stack([np.ones(BLOCK**3), places]))
    blocks -= blocks @ trend @ trend.T
    signs = (blocks @ np.random.default_rng(0).choice([-1.0, 1.0], (BLOCK**3, BITS)) > 0) @ (1 << np.arange(BITS))
    factors = np.random.default_rng(1).integers(1, 2**63, 4, dtype=np.uint64) | np.uint64(1)
    places_hashed = _mixed((corners.astype(np.int64).astype(np.uint64) * factors[:3]).sum(axis=1, dtype=np.uint64))
    drawn = np.argsort(places_hashed[(varied := blocks.std(axis=1) > LEAST_SD_HU)])[:BLOCKS]
    return _mixed(places_hashed[varied][drawn] + signs[varied][drawn].astype(np.uint64) * factors[3])


def copies_of(sketches: Mapping[str, Sketch], known: Mapping[str, Sketch]) -> dict[str, str]:
    """Name -> name of the known scan that it shares most with, for each that is a copy of one, whole or in part."""
    holders: dict[str, list[str]] = {}
    for name, hashes in known.items():
        _hold(name, hashes, holders)
    found = {name: _most_shared(hashes, holders) for name, hashes in sketches.items()}
    return {name: other for name, other in found.items() if other}


def _hold(name: str, hashes: Iterable[str], holders: dict[str, list[str]]) -> None:
    for value in hashes:
        holders.setdefault(value, []).append(name)


def _most_shared(hashes: Iterable[str], holders: Mapping[str, list[str]]) -> str:
    shared: Counter[str] = Counter()
    for value in hashes:
        of_block = value.startswith(BLOCK_MARK)
        for name in holders.get(value, ()):
            shared[name] += LEAST_ROWS if of_block else LEAST_BLOCKS
    name, weight = max(shared.items(), key=lambda item: item[1], default=("", 0))
    return name if weight >= LEAST_ROWS * LEAST_BLOCKS else ""


def contents_with_copies(contents: Mapping[str, str], sketches: Mapping[str, Sketch]) -> dict[str, str]:
    """The hash of each scan by name, or of the first one by name that it is a copy of."""
    result: dict[str, str] = {}
    holders: dict[str, list[str]] = {}
    for name in sorted(contents):
        hashes = sketches.get(name, ())
        other = _most_shared(hashes, holders)
        result[name] = result[other] if other else contents[name]
        _hold(name, hashes, holders)
    return result
