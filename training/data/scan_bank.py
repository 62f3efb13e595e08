"""The scan bank: whole real CTs in 8 bits on a fine grid, from which `fit` draws its views (see `scan_views`).

NAME-image.npy   uint8 (D, H, W) = round((scaled + 1) * 127.5), scaled in [-1, 1]; so 0 is air
NAME-label.npy   uint8 (D, H, W) = round(255 * liver fraction); absent for an unlabelled scan
scans.json       spacing, HU window, axes, origin, and a record of each scan
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from LiverGTANLib.core.boxes import triple
from LiverGTANLib.core.files import brief
from training.data.bank import BankError, read_description
from training.data.folders import atomic_folder
from training.errors import reason

FORMAT = "livergtan-scans/1"
INDEX = "scans.json"


def split_record(path: Path) -> Path:
    """The file beside a scan bank that says which patients of the data sets were set aside."""
    return path.with_name(f"{path.name}-split.json")


@dataclass(frozen=True)
class ScanRecord:
    """What is known of a scan.

    weight: how often it is drawn compared with others. content: hash of its HU. liver: the middle of the liver in
    voxels, None when there is none or none is known.
    """

    name: str
    patient: str
    labelled: bool
    weight: float
    content: str
    sha256: str
    liver: tuple[float, float, float] | None


class ScanBank:
    """Scans by number. Arrays stay on the disk until a view reads a part of them, so a thousand scans open at once."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        about = read_description(self.path / INDEX, FORMAT, "a folder of packed scans", "pack")
        try:
            self.about = about
            self.spacing_mm, low, high = map(float, (about["spacing_mm"], *about["hu_window"]))
            self.hu_window = (low, high)
            self.records = [record_of(values) for values in about["scans"]]
            if not 0 < self.spacing_mm < math.inf or not self.records:
                raise ValueError("no voxel size above 0, or no scan")
            if len({record.name for record in self.records}) < len(self.records):
                raise ValueError("two scans have one name, and so one file")
        except (KeyError, TypeError, ValueError) as error:
            raise BankError(
                f"{self.path / INDEX} was changed or is damaged ({brief(error)}); pack the scans anew."
            ) from None
        self._checked: set[int] = set()

    def __len__(self) -> int:
        return len(self.records)

    def arrays(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Image and label, None for an unlabelled scan: uint8 (D, H, W), mapped from the files.

        Raises BankError when they cannot be read or are not those that were packed, which is seen at the first use.
        """
        record = self.records[number]
        image = self._map(f"{record.name}-image.npy")
        label = self._map(f"{record.name}-label.npy") if record.labelled else None
        if number not in self._checked:
            if voxel_digest(image, label) != record.sha256:
                raise BankError(f"{record.name} in {self.path} is not the scan that was packed; pack the scans anew.")
            self._checked.add(number)
        return image, label

    def require_unchanged(self, numbers: Iterable[int]) -> None:
        """Raises BankError when the files of one of these scans cannot be read or are not those that were packed."""
        for number in numbers:
            self.arrays(number)

    def digest(self) -> str:
        """SHA-256 of grid, records and, by their recorded digests, the voxels."""
        facts = [self.spacing_mm, self.hu_window, [asdict(record) for record in self.records]]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _map(self, name: str) -> np.ndarray:
        try:
            array = np.load(self.path / name, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise BankError(f"{self.path / name} cannot be read ({reason(error)}); pack the scans anew.") from None
        if array.dtype != np.uint8 or array.ndim != 3:
            raise BankError(f"{self.path / name} holds {array.dtype} {array.shape}; pack the scans anew.")
        return array


def record_of(values: dict[str, Any]) -> ScanRecord:
    """From JSON's types. Raises KeyError, TypeError or ValueError for anything else."""
    liver = values["liver"]
    record = ScanRecord(**values | {"liver": None if liver is None else triple(map(float, liver))})
    if not 0 < record.weight < math.inf:
        raise ValueError(f"the weight of {record.name} is {record.weight}")
    return record


def voxel_digest(image: np.ndarray, label: np.ndarray | None) -> str:
    """SHA-256 of the voxels of a scan, image and label."""
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes())
    if label is not None:
        digest.update(np.ascontiguousarray(label).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class ScanToStore:
    """A scan on the fine grid: hu (D, H, W) in HU, label liver fraction times 255 (uint8), None when unlabelled."""

    name: str
    patient: str
    weight: float
    content: str
    hu: np.ndarray
    label: np.ndarray | None


def write(path: Path, scans: Iterator[ScanToStore], about: dict[str, Any]) -> ScanBank:
    """A new scan bank with `spacing_mm`, `hu_window` and origin in `about`; half of one never lies at `path`.

    Raises BankError when something is there, or when the disk is full.
    """
    if path.exists():
        raise BankError(f"{path} is there already; choose another --output, or delete it to replace it.")
    try:
        with atomic_folder(path) as part:
            records = [_store(part, scan, tuple(about["hu_window"])) for scan in scans]
            index = {"format": FORMAT, "axes": "S, A, R", **about, "scans": [asdict(record) for record in records]}
            (part / INDEX).write_text(json.dumps(index, indent=1, default=str), encoding="utf-8")
    except OSError as error:
        raise BankError(
            f"The scans cannot be written to {path} ({reason(error)}); make room or choose another --output."
        ) from error
    return ScanBank(path)


def hu_of(image_u8: np.ndarray, hu_window: tuple[float, float]) -> np.ndarray:
    """HU (float32) of a stored image."""
    low, high = hu_window
    return image_u8 * np.float32((high - low) / 255) + np.float32(low)


def _store(folder: Path, scan: ScanToStore, hu_window: tuple[float, float]) -> ScanRecord:
    low, high = hu_window
    image = np.round((np.clip(scan.hu.astype(np.float32), low, high) - low) * (255 / (high - low))).astype(np.uint8)
    np.save(folder / f"{scan.name}-image.npy", image)
    if scan.label is not None:
        np.save(folder / f"{scan.name}-label.npy", np.ascontiguousarray(scan.label, np.uint8))
    labelled, digest = scan.label is not None, voxel_digest(image, scan.label)
    return ScanRecord(scan.name, scan.patient, labelled, scan.weight, scan.content, digest, middle(scan.label))


def middle(label: np.ndarray | None) -> tuple[float, float, float] | None:
    """The middle of the liver's box in voxels; None without a voxel that is liver for the larger part."""
    if label is None or not (label > 127).any():
        return None
    ranges = [np.flatnonzero((label > 127).any(axis=tuple(set(range(3)) - {axis}))) for axis in range(3)]
    return triple(float(r[0] + r[-1]) / 2 for r in ranges)
