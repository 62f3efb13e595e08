"""CTs resampled to the fine grid once, as memory-mapped arrays that worker processes share.

An entry is a folder: hu.npy (int16), label.npy (uint8, 255 = all liver; absent when unlabelled), tissue.npy (uint8),
entry.json. It is written beside its place and then renamed, so a broken run leaves no half entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from LiverGTANLib.core.input_checks import check
from LiverGTANLib.core.model_grid import ModelGrid
from LiverGTANLib.core.volume import CtVolume
from training.data.scans import Scan, ScanError, content_hash
from training.data.tissues import coarse_tissue
from training.errors import UserError

FORMAT = 1
HU_RANGE = (-1024.0, 2000.0)
"""From air to dense bone; the cache stores no more."""
LIVER_HU = (-50.0, 300.0)
"""Between these is the median HU of a liver, fatty or enhanced; beyond, the mask is not on the liver."""


@dataclass(frozen=True)
class CachedScan:
    """A prepared scan: its folder and the content hash of its HU."""

    scan: Scan
    folder: Path
    content: str
    spacing_mm: float

    @property
    def hu(self) -> np.ndarray:
        """(D, H, W) int16, axes growing to +S, +A, +R."""
        return np.load(self.folder / "hu.npy", mmap_mode="r")

    @property
    def label(self) -> np.ndarray | None:
        """(D, H, W) uint8, liver fraction times 255; None for an unlabelled scan."""
        path = self.folder / "label.npy"
        return np.load(path, mmap_mode="r") if path.exists() else None

    @property
    def tissue(self) -> np.ndarray:
        """(D, H, W) uint8, coarse tissue codes."""
        return np.load(self.folder / "tissue.npy", mmap_mode="r")


def prepare(
    scans: list[Scan], cache: Path, spacing_mm: float, workers: int = 1, report: Callable[[str], None] = print
) -> list[CachedScan]:
    """Entries of all scans, made where they are not there yet.

    Every scan is looked at before anything is refused: UserError lists all problems, by case.
    """
    missing = [scan for scan in scans if not _key(scan, cache, spacing_mm).joinpath("entry.json").exists()]
    problems: dict[str, list[str]] = {}
    work = partial(_prepare_one, cache=cache, spacing_mm=spacing_mm)
    for done, (scan, found) in enumerate(zip(missing, _map(work, missing, workers), strict=True), start=1):
        report(f"{done}/{len(missing)} {scan.name}: {'; '.join(found) or 'prepared'}")
        if found:
            problems[scan.name] = found
    if problems:
        listed = "\n".join(f"  {name}: {'; '.join(found)}" for name, found in problems.items())
        raise UserError(
            f"{len(problems)} of {len(scans)} scans cannot be used; "
            f"correct or remove them (nothing was trained yet):\n{listed}"
        )
    return [_entry(scan, _key(scan, cache, spacing_mm)) for scan in scans]


def problems_of(scan: Scan) -> tuple[list[str], CtVolume | None, np.ndarray | None]:
    """What is wrong with a scan, and when nothing is, its CT and mask."""
    absent = [
        f"{kind} missing: {path}"
        for kind, path in (("CT", scan.ct), ("mask", scan.mask))
        if path is not None and not path.exists()
    ]
    if absent:
        return absent, None, None
    try:
        ct, mask = scan.read()
    except ScanError as error:
        return [str(error)], None, None
    found = [finding.reason for finding in check(ct) if finding.blocking]
    if mask is not None:
        found += _mask_problems(scan, ct, mask)
    return found, ct, mask


def _mask_problems(scan: Scan, ct: CtVolume, mask: np.ndarray) -> list[str]:
    if not mask.any():
        return [] if scan.may_lack_liver else ["the mask shows no liver"]
    middle = float(np.median(ct.hu[mask]))
    if not LIVER_HU[0] < middle < LIVER_HU[1]:
        return [f"the median under the mask is {middle:.0f} HU: the mask is flipped, shifted or of another scan"]
    return []


def _prepare_one(scan: Scan, cache: Path, spacing_mm: float) -> list[str]:
    """Problems of a scan; without any, its entry has been written."""
    found, ct, mask = problems_of(scan)
    if found or ct is None:
        return found
    folder = _key(scan, cache, spacing_mm)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True, exist_ok=True)
    _write(part, ct, mask, spacing_mm)
    entry = {"name": scan.name, "content": content_hash(ct), "spacing_mm": spacing_mm, "hu_range": HU_RANGE}
    part.joinpath("entry.json").write_text(json.dumps(entry), encoding="utf-8")
    try:
        part.replace(folder)
    except OSError:  # another process was faster
        shutil.rmtree(part)
    return []


def _write(folder: Path, ct: CtVolume, mask: np.ndarray | None, spacing_mm: float) -> None:
    frame = ModelGrid.of(ct.shape, ct.ijk_to_ras, spacing_mm, multiple=1)
    hu = frame.down(ct.hu, clip=HU_RANGE, fill=HU_RANGE[0])
    label = None if mask is None else frame.down(mask.astype(np.float32), fill=0.0)
    np.save(folder / "hu.npy", np.round(hu).astype(np.int16))
    np.save(folder / "tissue.npy", coarse_tissue(hu, label))
    if label is not None:
        np.save(folder / "label.npy", np.round(label * 255).astype(np.uint8))


def _entry(scan: Scan, folder: Path) -> CachedScan:
    about = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
    return CachedScan(scan, folder, about["content"], about["spacing_mm"])


def _key(scan: Scan, cache: Path, spacing_mm: float) -> Path:
    """Folder of a scan; it changes with the files, the meaning of the mask, the spacing and the format."""
    parts = [FORMAT, spacing_mm, HU_RANGE, scan.liver, *(_stamp(p) for p in (scan.ct, scan.mask) if p is not None)]
    return cache / hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def _stamp(path: Path) -> tuple:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    return (str(path.resolve()), *stats)


def _map(work: Callable[[Scan], list[str]], scans: list[Scan], workers: int):
    if workers <= 1 or len(scans) < 2:
        yield from map(work, scans)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(work, scans)
