"""The bank: training volumes in two memory-mapped arrays, with a line of parameters for each volume.

images.npy   uint8 (N, D, H, W) = round((scaled + 1) * 127.5), scaled in [-1, 1]
labels.npy   uint8 (N, D, H, W) = round(255 * liver fraction)
index.jsonl  one line a finished volume; bank.json: grid, spacing, HU window, configuration, versions
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from LiverGTANLib.core.files import atomic_write

FORMAT = "livergtan-bank/1"
Mode = Literal["r", "r+"]


class BankError(ValueError):
    """The folder is not a usable bank; the message says what is wrong and what to do."""


class Bank:
    """A fixed number of volumes, written in any order by several processes, readable while it grows.

    `len(bank)` counts finished volumes and `bank[n]` is the n-th of these in the order of their numbers;
    `refresh()` takes in what other processes finished meanwhile.
    """

    def __init__(self, path: Path, mode: Mode) -> None:
        self.path = Path(path)
        try:
            self.meta: dict[str, Any] = json.loads((self.path / "bank.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise BankError(f"{path} is not a bank ({error}); make one with `python -m training synthesize`.") from None
        if self.meta.get("format") != FORMAT:
            raise BankError(f"{path} has the format {self.meta.get('format')!r}, not {FORMAT!r}; synthesize it anew.")
        self.count, self.shape = int(self.meta["count"]), tuple(self.meta["shape"])
        self.images, self.labels = (self._map(name, mode) for name in ("images.npy", "labels.npy"))
        if mode == "r+":
            _end_last_line(self.path / "index.jsonl")
        self.refresh()

    @classmethod
    def create(cls, path: Path, count: int, shape: tuple[int, int, int], meta: dict[str, Any]) -> Bank:
        """An empty bank for `count` volumes of `shape`; the space is reserved at once, so a full disk shows now."""
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in ("images.npy", "labels.npy"):
                _reserve(path / name, (count, *shape))
        except OSError as error:
            gigabytes = 2 * count * math.prod(shape) / 1e9
            raise BankError(
                f"No room for a bank of {gigabytes:.1f} GB in {path} ({error.strerror}); "
                "choose another folder or fewer volumes."
            ) from None
        (path / "index.jsonl").touch()
        _write_meta(path, {"format": FORMAT, "count": count, "shape": list(shape), **meta})
        return cls(path, "r+")

    @classmethod
    def open(cls, path: Path, writable: bool = False) -> Bank:
        """A bank that is there. Raises BankError for a folder that is not one."""
        return cls(Path(path), "r+" if writable else "r")

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, n: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """Image (D, H, W) float32 in [-1, 1], label (D, H, W) float32 in [0, 1], and whether the label counts."""
        number = self.numbers[n]
        image = self.images[number].astype(np.float32) * np.float32(1 / 127.5) - 1
        label = self.labels[number].astype(np.float32) * np.float32(1 / 255)
        return image, label, bool(self.records[number]["labelled"])

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
        return (self[n] for n in range(len(self)))

    def record(self, n: int) -> dict[str, Any]:
        """The index line of the n-th finished volume."""
        return self.records[self.numbers[n]]

    def digest(self) -> str:
        """SHA-256 of grid, records and finished volumes; the same for a copy in another folder."""
        files = [self.path / name for name in ("bank.json", "index.jsonl", "images.npy", "labels.npy")]
        return _digest(self.path.resolve(), tuple((f.stat().st_size, f.stat().st_mtime_ns) for f in files))

    def add_meta(self, values: dict[str, Any]) -> None:
        """Write more into `bank.json`."""
        self.meta |= values
        _write_meta(self.path, self.meta)

    def done(self, number: int) -> bool:
        """Whether a volume is finished."""
        return number in self.records

    def write(self, number: int, image: np.ndarray, label: np.ndarray, record: dict[str, Any]) -> None:
        """Store a volume and then its line: a line in the index means that the volume is whole."""
        self.images[number] = np.round((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)
        self.labels[number] = np.round(np.clip(label, 0, 1) * 255).astype(np.uint8)
        record = {"i": number, **record}
        _append_line(self.path / "index.jsonl", json.dumps(record))
        self.records[number] = record
        self.numbers = sorted(self.records)

    def refresh(self) -> int:
        """Read the index again; returns the number of finished volumes."""
        lines = (self.path / "index.jsonl").read_text(encoding="utf-8").splitlines()
        self.records = {r["i"]: r for r in map(parse_line, lines) if r is not None}
        self.numbers = sorted(self.records)
        return len(self)

    def _map(self, name: str, mode: Mode) -> np.ndarray:
        try:
            array = np.load(self.path / name, mmap_mode=mode)
        except (OSError, ValueError) as error:
            raise BankError(f"{self.path / name} cannot be read ({error}); synthesize the bank anew.") from None
        if array.shape != (self.count, *self.shape) or array.dtype != np.uint8:
            raise BankError(
                f"{self.path / name} holds {array.dtype} {array.shape}, which is not what bank.json says; "
                "synthesize the bank anew."
            )
        return array


def _write_meta(path: Path, meta: dict[str, Any]) -> None:
    with atomic_write(path / "bank.json") as file:
        file.write_text(json.dumps(meta, indent=1, default=str), encoding="utf-8")


@functools.lru_cache
def _digest(path: Path, _stamps: tuple[tuple[int, int], ...]) -> str:
    """See `Bank.digest`; computed once for the same files in a process, because it reads all of them."""
    bank = Bank.open(path)
    grid = {name: bank.meta.get(name) for name in ("shape", "spacing_mm", "hu_window", "axes")}
    total = hashlib.sha256(json.dumps([grid, [bank.record(n) for n in range(len(bank))]], sort_keys=True).encode())
    for number in bank.numbers:
        total.update(bank.images[number].tobytes())
        total.update(bank.labels[number].tobytes())
    return total.hexdigest()


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """An array of zeros whose blocks exist on the disk, where the system can promise that."""
    try:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _append_line(path: Path, line: str) -> None:
    """One write call on a file opened for appending: lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, (line + "\n").encode())
    finally:
        os.close(descriptor)


def _end_last_line(path: Path) -> None:
    """A killed process may have left half a line; the next one must not be glued to it."""
    with path.open("a+b") as file:
        if file.tell() and path.read_bytes()[-1:] != b"\n":
            file.write(b"\n")


def parse_line(line: str) -> dict[str, Any] | None:
    """A record, or None for the torn last line of a killed process."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
