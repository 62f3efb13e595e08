"""CTs resampled to the fine grid once, as memory-mapped arrays that worker processes share.

An entry is a folder: hu.npy (int16), label.npy (uint8, 255 = all liver; absent when unlabelled), tissue.npy (uint8),
entry.json. It is written beside its place and then renamed, so a broken run leaves no half entry; one that is not as it
was written is made anew. The arrays are opened when they are used: a thousand scans take no open files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from LiverGTANLib.core.files import read_json
from LiverGTANLib.core.input_checks import Finding, check
from LiverGTANLib.core.model_grid import ModelGrid
from LiverGTANLib.core.volume import CtVolume
from training.data.copy_checks import sketch
from training.data.folders import atomic_folder
from training.data.mask_checks import check_geometry, check_mask
from training.data.scans import Scan, ScanError, content_hash
from training.data.student_check import check_against_student
from training.data.tissues import coarse_tissue
from training.errors import UserError, reason

logger = logging.getLogger(__name__)

FORMAT = 6
"""Of the entries and of what was checked before they were written."""
DIGEST = "digest"
"""In an entry's record: of the rest of it and of all arrays."""
LARGEST_ENTRY = 2**20
"""Bytes of an entry's record, which has 5 KB."""
HU_RANGE = (-1024.0, 2000.0)
"""From air to dense bone; the cache stores no more."""


@dataclass(frozen=True)
class CachedScan:
    """A prepared scan. content: hash of its HU as they are in the file. sha256: of hu and label as they are here.

    notes: what a user should know of it. sketch: hashes that copies of it share, see `copy_checks`.
    """

    scan: Scan
    folder: Path
    content: str
    spacing_mm: float
    sha256: str
    notes: tuple[str, ...] = ()
    sketch: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The scan's."""
        return self.scan.name

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


@dataclass
class Outcome:
    """Of the preparation of a scan: why it cannot be used, and what a user should know of it if it can."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "; ".join(self.problems) or "; ".join(["prepared", *self.notes])


def prepare(
    scans: list[Scan],
    cache: Path,
    spacing_mm: float,
    workers: int = 1,
    report: Callable[[str], None] = print,
    left_out: dict[str, str] | None = None,
) -> list[CachedScan]:
    """Entries of the usable scans, made where they are not there yet or not as they were written.

    Every scan is checked before anything is refused: UserError lists all problems, by case. Given `left_out`, bad
    scans are recorded there (name -> problems) instead.
    """
    stored = {scan: _stored(scan, _key(scan, cache, spacing_mm), report) for scan in scans}
    missing = [scan for scan in scans if stored[scan] is None]
    problems: dict[str, str] = {}
    work = partial(_prepare_one, cache=cache, spacing_mm=spacing_mm)
    for done, (scan, outcome) in enumerate(zip(missing, _map(work, missing, workers), strict=True), start=1):
        report(f"{done}/{len(missing)} {scan.name}: {outcome}")
        if outcome.problems:
            problems[scan.name] = "; ".join(outcome.problems)
    if problems:
        listed = "\n".join(f"  {name}: {found}" for name, found in problems.items())
        count = f"{len(problems)} of {len(scans)} scans cannot be used"
        if left_out is None:
            raise UserError(
                f"{count}; correct or remove them, leave them out by --skip-bad, or take masks that you have looked at "
                f"by --accept NAME (nothing was trained yet):\n{listed}"
            )
        report(f"{count} and are left out:\n{listed}")
        left_out.update(problems)
    usable = [scan for scan in scans if scan.name not in problems]
    return [stored[scan] or _entry(scan, _key(scan, cache, spacing_mm)) for scan in usable]


def _prepare_one(scan: Scan, cache: Path, spacing_mm: float) -> Outcome:
    """What there is to say of a scan; without problems, its entry has been written.

    Raises OSError when the cache cannot be written.
    """
    outcome, found = Outcome(), None
    try:
        found = _read_and_checked(scan, spacing_mm, outcome)
    except Exception as error:  # whatever one scan holds, the others are checked, too
        logger.exception("%s could not be prepared", scan.name)
        outcome.problems.append(f"it cannot be read ({type(error).__name__}: {error})")
    if found and not outcome.problems:
        _write(scan, _key(scan, cache, spacing_mm), *found, spacing_mm, outcome.notes)
    return outcome


Arrays = tuple[CtVolume, np.ndarray, np.ndarray | None]  # the CT; HU and share of liver on the fine grid


def _read_and_checked(scan: Scan, spacing_mm: float, outcome: Outcome) -> Arrays | None:
    """What is to be stored of a scan; None, or problems in `outcome`, where it cannot be used."""
    ct, mask = _checked(scan, outcome)
    if ct is None:
        return None
    hu, label = resampled(ct, mask, spacing_mm)
    if mask is not None and label is not None:
        _check(scan, ct, mask, check_mask(ct, mask, hu, label, spacing_mm) if mask.any() else (), outcome)
    return ct, hu, label


def _check(scan: Scan, ct: CtVolume, mask: np.ndarray, found: Iterable[Finding], outcome: Outcome) -> None:
    """What speaks against a mask: `found` first, and where that does not refuse it, the bundled student's answer."""
    if not (mask.any() or scan.may_lack_liver):
        outcome.problems.append("the mask shows no liver")
        return
    findings = list(found)
    if not any(finding.blocking for finding in findings):
        findings += check_against_student(ct, mask)
    if scan.accepted:
        findings = [
            Finding(False, f"accepted, though {one.reason}" if one.blocking else one.reason) for one in findings
        ]
    _add(findings, outcome)


def _checked(scan: Scan, outcome: Outcome) -> tuple[CtVolume | None, np.ndarray | None]:
    """CT and mask as they are in the files; None where they cannot be used."""
    outcome.problems += (
        [scan.fault]
        if scan.fault
        else [
            f"{kind} missing: {path}"
            for kind, path in (("CT", scan.ct), ("mask", scan.mask))
            if path is not None and not path.exists()
        ]
    )
    if outcome.problems:
        return None, None
    try:
        ct, mask = scan.read(outcome.notes.append)
    except ScanError as error:
        outcome.problems.append(str(error))
        return None, None
    _add((*check(ct), *check_geometry(ct)), outcome)
    return (None, None) if outcome.problems else (ct, mask)


def _add(findings: Iterable[Finding], outcome: Outcome) -> None:
    for finding in findings:
        (outcome.problems if finding.blocking else outcome.notes).append(finding.reason)


def resampled(ct: CtVolume, mask: np.ndarray | None, spacing_mm: float) -> tuple[np.ndarray, np.ndarray | None]:
    """HU and share of liver, both (D, H, W) float32, axes S, A, R."""
    frame = ModelGrid.of(ct.shape, ct.ijk_to_ras, spacing_mm, multiple=1)
    hu = frame.down(ct.hu, clip=HU_RANGE, fill=HU_RANGE[0])
    return hu, None if mask is None else frame.down(mask.astype(np.float32), fill=0.0)


def _write(
    scan: Scan,
    folder: Path,
    ct: CtVolume,
    hu: np.ndarray,
    label: np.ndarray | None,
    spacing_mm: float,
    notes: list[str],
) -> None:
    arrays = {"hu": np.round(hu).astype(np.int16)}
    if label is not None:
        arrays["label"] = np.round(label * 255).astype(np.uint8)
    about = {
        "name": scan.name,
        "content": content_hash(ct),
        "sketch": sketch(ct),
        "sha256": hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest(),
        "spacing_mm": spacing_mm,
        "hu_range": HU_RANGE,
        "notes": notes,
    }
    try:
        with atomic_folder(folder) as part:
            for name, array in (arrays | {"tissue": coarse_tissue(hu, label)}).items():
                np.save(part / f"{name}.npy", array)
            text = json.dumps(about | {DIGEST: _digest(about, part)})
            part.joinpath("entry.json").write_text(text, encoding="utf-8")
            if folder.exists() and not _is_whole(folder):
                shutil.rmtree(folder)
    except OSError:
        if not _is_whole(folder):  # else another process was faster
            raise


def _stored(scan: Scan, folder: Path, report: Callable[[str], None]) -> CachedScan | None:
    """The entry of a scan; None where there is none, or none that can be used, which is reported."""
    if not folder.exists():
        return None
    try:
        return _entry(scan, folder)
    except UserError as error:
        report(str(error))
        return None


def _entry(scan: Scan, folder: Path) -> CachedScan:
    """The entry of a scan. Raises UserError when it is not as it was written."""
    try:
        about = _read_whole(folder)
        notes, sketched = tuple(about["notes"]), tuple(about["sketch"])
        return CachedScan(scan, folder, about["content"], about["spacing_mm"], about["sha256"], notes, sketched)
    except (OSError, ValueError) as error:
        raise UserError(
            f"What the cache holds of {scan.name} is damaged ({reason(error)}) and is to be prepared anew."
        ) from error


def _is_whole(folder: Path) -> bool:
    try:
        return bool(_read_whole(folder))
    except (OSError, ValueError):
        return False


def _read_whole(folder: Path) -> dict[str, Any]:
    """The record of an entry. Raises OSError or ValueError unless it and all arrays are as they were written."""
    about = read_json(folder / "entry.json", LARGEST_ENTRY)
    if not isinstance(about, dict) or about.pop(DIGEST, None) != _digest(about, folder):
        raise ValueError("it is not as it was written: its digest differs")
    return about


def _digest(about: dict[str, Any], folder: Path) -> str:
    """SHA-256 of what is said of an entry and of the files of its arrays: 0.1 s for a whole body, which takes 20 s to
    prepare."""
    total = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for file in sorted(folder.glob("*.npy")):
        with file.open("rb") as stream:
            total.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _key(scan: Scan, cache: Path, spacing_mm: float) -> Path:
    """Folder of a scan; it changes with the files, the meaning of the mask, the spacing and the format."""
    meaning = (scan.liver, scan.known, scan.ignore, scan.fault, scan.may_lack_liver, scan.accepted)
    parts = [FORMAT, spacing_mm, HU_RANGE, meaning, *(_stamp(p) for p in (scan.ct, scan.mask) if p is not None)]
    return cache / hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def _stamp(path: Path) -> tuple:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    return (str(path.resolve()), *stats)


def _map(work: Callable[[Scan], Outcome], scans: list[Scan], workers: int) -> Iterator[Outcome]:
    """Outcomes in the order of the scans. Raises UserError when a process ends, or the cache cannot be written."""
    try:
        if workers <= 1 or len(scans) < 2:
            yield from map(work, scans)
            return
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            yield from pool.map(work, scans)
    except BrokenProcessPool:
        raise UserError(
            "A worker process ended, perhaps for want of memory; start the same command again with fewer --workers: "
            "it goes on after the scans that are prepared."
        ) from None
    except OSError as error:
        raise UserError(f"The cache cannot be written ({error}); make room or choose another --cache.") from error
