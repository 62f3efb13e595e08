"""Copies of a CT under another name: cropped, with fewer slices, with some voxels changed, in another order of axes.

The same HU side by side in a row of tissue do not come again by chance: the noise of a CT is its own. A sketch
(Broder, "On the resemblance and containment of documents", 1997) holds the smallest hashes of such rows, so that two
sketches share hashes as far as two scans share voxels. A copy that was resampled has other voxels, and is not found.
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
LEAST_SHARED = 8
"""Hashes that make a copy. Chosen: no two of the CTs of the data folder share any, see the test."""
Sketch = Sequence[str]


def sketch(ct: CtVolume) -> list[str]:
    """The smallest hashes of a scan, 12 hexadecimal digits each; fewer than `HASHES` when it has hardly any tissue."""
    found = np.empty(0, np.uint64)
    for level in in_order_of_axes(ct):
        found = np.union1d(found, _hashes(level))[:HASHES]
    return [f"{value >> np.uint64(16):012x}" for value in found]


def _hashes(level: np.ndarray) -> np.ndarray:
    """uint64 of the rows of one level (A, R)."""
    if level.shape[1] < ROW:
        return np.empty(0, np.uint64)
    low, high = TISSUE_HU
    good = np.cumsum(np.pad(~((level > low) & (level < high)), ((0, 0), (1, 0))), axis=1)
    changes = np.cumsum(np.pad(level[:, 1:] != level[:, :-1], ((0, 0), (1, 0))), axis=1)
    usable = (good[:, ROW:] == good[:, :-ROW]) & (changes[:, ROW - 1 :] - changes[:, : -ROW + 1] >= LEAST_CHANGES)
    # Odd factors that mix bits well: three primes of xxHash32 here, the first factor of SplitMix64 below.
    ends = level.astype(np.uint32)
    drawn = ends[:, : -ROW + 1] * np.uint32(2654435761) + ends[:, ROW // 2 : -ROW // 2 + 1] * np.uint32(2246822519)
    drawn += ends[:, ROW - 1 :] * np.uint32(3266489917)
    usable &= drawn >> np.uint32(24) < DRAWN
    rows = np.lib.stride_tricks.sliding_window_view(level, ROW, axis=1)[usable].astype(np.int64).astype(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, ROW, dtype=np.uint64) | np.uint64(1)
    mixed = (rows * factors).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32))


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
    shared = Counter(name for value in hashes for name in holders.get(value, ()))
    name, count = max(shared.items(), key=lambda item: item[1], default=("", 0))
    return name if count >= LEAST_SHARED else ""


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
