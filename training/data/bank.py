"""The bank: training volumes in two memory-mapped arrays, with a line of parameters for each volume.

images.npy   uint8 (N, D, H, W) = round((scaled + 1) * 127.5), scaled in [-1, 1]
labels.npy   uint8 (N, D, H, W) = round(255 * liver fraction)
index.jsonl  one line a finished volume; bank.json: grid, spacing, HU window, configuration, versions
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from LiverGTANLib.core.files import atomic_write, brief, parse_json, read_bytes, read_json
from training.errors import reason

logger = logging.getLogger(__name__)

FORMAT = "livergtan-bank/1"
FILES = ("bank.json", "index.jsonl", "images.npy", "labels.npy")
DIGEST = "sha256"
"""In `bank.json`: that of a whole bank, see `Bank.digest`."""
LARGEST_META, LARGEST_INDEX = 2**26, 2**30
"""Bytes; of a bank of 1,000 CTs 0.5 MB, of one with 100,000 volumes 300 MB."""
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
        self.meta = _read_meta(self.path)
        self.count, self.shape = self.meta["count"], tuple(self.meta["shape"])
        self.images, self.labels = (self._map(name, mode) for name in ("images.npy", "labels.npy"))
        if mode == "r+":
            _end_last_line(self.path / "index.jsonl")
        self.refresh()

    @classmethod
    def create(cls, path: Path, count: int, shape: tuple[int, int, int], meta: dict[str, Any]) -> Bank:
        """An empty bank for `count` volumes of `shape` in a folder that holds none; the space is reserved at once, so a
        full disk shows now. After an error or an interruption no file of it is left."""
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in ("images.npy", "labels.npy"):
                _reserve(path / name, (count, *shape))
            (path / "index.jsonl").touch()
            _write_meta(path, {"format": FORMAT, "count": count, "shape": list(shape), **meta})
            return cls(path, "r+")
        except BaseException as error:
            for name in FILES if path.is_dir() else ():
                (path / name).unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            gigabytes = 2 * count * math.prod(shape) / 1e9
            raise BankError(
                f"No room for a bank of {gigabytes:.1f} GB in {path} ({reason(error)}); "
                "choose another folder or fewer volumes."
            ) from None

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

    def seal(self) -> None:
        """Writes the digest of a bank that is whole into `bank.json`: `require_unchanged` compares with it."""
        self.add_meta({DIGEST: self.digest()})

    def require_unchanged(self) -> None:
        """Raises BankError when records or volumes are not those that were sealed."""
        if DIGEST not in self.meta:
            logger.warning(
                "%s has no digest (an earlier version made it): it cannot be seen whether it is as it was.", self.path
            )
        elif self.meta[DIGEST] != self.digest():
            raise BankError(
                f"{self.path} is not as it was made (its digest differs): a file was changed or damaged since; "
                "synthesize it anew, or copy it again."
            )

    def digest(self) -> str:
        """SHA-256 of grid, records and finished volumes; the same for a copy in another folder."""
        files = [self.path / name for name in FILES]
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
        self.records = {record["i"]: record for record in read_index(self.path, self.count)}
        self.numbers = sorted(self.records)
        return len(self)

    def _map(self, name: str, mode: Mode) -> np.ndarray:
        try:
            array = np.load(self.path / name, mmap_mode=mode)
        except (OSError, ValueError) as error:
            raise BankError(f"{self.path / name} cannot be read ({reason(error)}); synthesize the bank anew.") from None
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
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


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


def read_description(file: Path, wanted: str, kind: str, command: str) -> dict[str, Any]:
    """What a folder of training data says of itself. Raises BankError unless the file has the wanted format.

    kind, command: what such a folder is called, and which command of `python -m training` makes one.
    """
    try:
        content = read_json(file, LARGEST_META)
    except (OSError, ValueError) as error:
        raise BankError(
            f"{file.parent} is not {kind} ({reason(error)}); make one with `python -m training {command}`."
        ) from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != wanted:
        raise BankError(
            f"{file.parent} has the format {brief(found)!r}, not {wanted!r}; make it anew with "
            f"`python -m training {command}`."
        )
    return content


def _read_meta(path: Path) -> dict[str, Any]:
    """`bank.json`. Raises BankError unless it has what every bank says of itself."""
    meta = read_description(path / "bank.json", FORMAT, "a bank", "synthesize")
    if not (_is_count(meta.get("count")) and is_triple(meta.get("shape")) and all(map(_is_count, meta["shape"]))):
        raise BankError(f"{path / 'bank.json'} was changed or is damaged: no count and shape; synthesize it anew.")
    return meta


def is_triple(value: Any) -> bool:
    """Whether a JSON value is a list of three."""
    return isinstance(value, list) and len(value) == 3


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def read_index(path: Path, count: int | None = None) -> Iterator[dict[str, Any]]:
    """The records of a bank's finished volumes. A line that a killed process left torn is passed over.

    Raises BankError for a file that cannot be read, or a line that is no record of one of `count` volumes (if given).
    """
    try:
        text = read_bytes(path / "index.jsonl", LARGEST_INDEX).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        raise BankError(f"{path / 'index.jsonl'} cannot be read ({reason(error)}); synthesize the bank anew.") from None
    for number, line in enumerate(text.split("\n"), 1):
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if not _is_record(record, count):
            raise BankError(
                f"{path / 'index.jsonl'}, line {number}, is no record of a volume ({brief(line, 60)}); synthesize the "
                "bank anew."
            )
        yield record


def _is_record(record: Any, count: int | None) -> bool:
    return (
        isinstance(record, dict)
        and type(record.get("i")) is int
        and 0 <= record["i"] < (math.inf if count is None else count)
        and isinstance(record.get("labelled", count is None), bool)
        and all(isinstance(record.get(name), str) for name in ("source", "kind"))
    )
