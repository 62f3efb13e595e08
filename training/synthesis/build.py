"""`synthesize`: fill a bank with volumes, in parallel, resumable."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from training.code_version import commit
from training.data.bank import Bank, BankError
from training.data.cache import CachedScan
from training.options import SynthesisConfig
from training.synthesis.heads_and_limbs import drawn_sources
from training.synthesis.pipeline import make_volume, stream
from training.synthesis.source_library import load_maps, prepare_reals
from training.synthesis.sources import Source, ct_source

CHUNK = 8
"""Volumes that a worker makes between two reports."""
REPORT_SECONDS = 15


def synthesize(config: SynthesisConfig, report: Callable[[str], None] = print) -> Bank:
    """Make (or finish) the bank of `config` and return it open for reading.

    Raises BankError when the folder holds a bank of other settings or sources, UserError for unusable sources.
    """
    bank = open_existing(config)
    missing = [n for n in range(config.count) if not (bank and bank.done(n))]
    report(
        f"{config.output}: {config.count - len(missing)} of {config.count} volumes are there, {len(missing)} to make."
    )
    if missing:
        # Before any worker starts, every source is read and checked: problems show together and at once.
        sources = Sources(load_maps(config), prepare_reals(config, report))
        if bank is None:
            bank = create(config, sources)
        else:
            require_same_origin(bank, sources, report)
        _fill(config, sources.reals, missing, report)
    if config.picture is not None:
        from training.synthesis.contact_sheet import contact_sheet

        contact_sheet(Bank.open(config.output), config.picture)
        report(f"Contact sheet: {config.picture}")
    return Bank.open(config.output)


@dataclass(frozen=True)
class Sources:
    """What volumes are made of: tissue maps, and real CTs in the cache."""

    maps: list[Source]
    reals: list[CachedScan]

    def digests(self) -> dict[str, str]:
        """SHA-256 of each source's voxels and label, by its name."""
        maps = {source.name: _sha256(source.tissue) for source in self.maps}
        return maps | {entry.scan.name: _sha256(entry.hu, entry.label) for entry in self.reals}


def open_existing(config: SynthesisConfig) -> Bank | None:
    """The bank in the folder of `config`, None when there is none. Raises BankError for one of other settings."""
    if not (config.output / "bank.json").exists():
        return None
    bank = Bank.open(config.output, writable=True)
    settings, wanted = bank.meta.get("config") or {}, deciding(config)
    differing = sorted(name for name in {*settings, *wanted} if settings.get(name) != wanted.get(name))
    if bank.count != config.count:
        differing.append("count")
    if differing:
        raise BankError(
            f"{config.output} holds a bank of another configuration ({', '.join(differing)}); "
            "choose another --output, or delete that folder to replace it."
        )
    return bank


def create(config: SynthesisConfig, sources: Sources) -> Bank:
    """An empty bank with the record of its settings, sources and code."""
    meta = {
        "spacing_mm": config.spacing_mm,
        "hu_window": list(config.hu_window),
        "axes": "S, A, R",
        "config": deciding(config),
        "sources": sources.digests(),
        "versions": _versions(),
        "git": commit(),
    }
    if config.labels:
        meta["labels"] = json.loads((config.labels / "labels.json").read_text(encoding="utf-8"))
    return Bank.create(config.output, config.count, config.shape, meta)


def require_same_origin(bank: Bank, sources: Sources, report: Callable[[str], None]) -> None:
    """Raises BankError when the bank was begun from other sources; reports and records that the code is another."""
    before, now = bank.meta.get("sources"), sources.digests()
    if before is not None and before != now:
        differing = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        raise BankError(
            f"{bank.path} was begun from other sources ({', '.join(differing)} differ, are new or gone); bring them "
            "back, choose another --output, or delete that folder to replace it."
        )
    codes = bank.meta["git"].split(", ")
    if commit() not in codes:
        report(
            f"{bank.path} was begun with the code {bank.meta['git']} and goes on with {commit()}; bank.json names both."
        )
        bank.add_meta({"git": ", ".join([*codes, commit()])})


def volume_seed(config: SynthesisConfig, number: int) -> int:
    """The seed of a volume; those of banks with neighboring seeds are far apart."""
    return config.seed * 1_000_003 + number


def choose_source(
    maps: list[Source], reals: list[Source], drawn: list[Source], config: SynthesisConfig, seed: int
) -> Source:
    """A drawn body or a real CT (weighted among the CTs) with the probability of its share, else a tissue map."""
    rng = stream(seed, "elsewhere")  # the stream's name is part of what a seed means; it outlived the option's name
    if rng.random() < config.heads_and_limbs_share:
        return drawn[rng.integers(len(drawn))]
    rng = stream(seed, "source")
    if reals and rng.random() < config.real_share:
        weights = np.array([config.weights.get(source.name, 1.0) for source in reals])
        return reals[rng.choice(len(reals), p=weights / weights.sum())]
    return maps[rng.integers(len(maps))]


def deciding(config: SynthesisConfig) -> dict[str, Any]:
    """The settings that decide the content of the volumes, in JSON's types."""
    others = ("output", "data", "cache", "picture", "workers", "count")
    settings = {name: value for name, value in asdict(config).items() if name not in others}
    return json.loads(json.dumps(settings, default=str))


def _fill(
    config: SynthesisConfig, entries: list[CachedScan], missing: list[int], report: Callable[[str], None]
) -> None:
    start, last, finished = time.monotonic(), 0.0, 0
    chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
    for made in _in_processes(config, entries, chunks):
        finished += made
        seconds = time.monotonic() - start
        if seconds - last > REPORT_SECONDS or finished == len(missing):
            last, rate = seconds, finished / seconds
            report(
                f"{finished}/{len(missing)} volumes, {rate:.2f} volumes/s, "
                f"{(len(missing) - finished) / rate / 60:.1f} min left"
            )


def _in_processes(config: SynthesisConfig, entries: list[CachedScan], chunks: list[list[int]]) -> Iterator[int]:
    """How many volumes each finished chunk held, as they finish; a single worker is this process itself."""
    if config.workers == 1:
        _start_worker(config, entries)
        yield from map(_make, chunks)
        _worker.clear()
        return
    try:
        with ProcessPoolExecutor(config.workers, get_context("spawn"), _start_one_thread, (config, entries)) as pool:
            for job in as_completed([pool.submit(_make, chunk) for chunk in chunks]):
                yield job.result()
    except BrokenProcessPool:
        raise BankError(
            "A worker process ended, perhaps for want of memory; start the same command again with fewer "
            "--workers: it goes on after the finished volumes."
        ) from None


_worker: dict[str, Any] = {}
"""State of a worker process between volumes: configuration, sources, the open bank."""


def _start_worker(config: SynthesisConfig, entries: list[CachedScan]) -> None:
    _worker.update(
        config=config,
        maps=load_maps(config),
        reals=[ct_source(entry) for entry in entries],
        drawn=drawn_sources(config.fine_mm),
        bank=Bank.open(config.output, writable=True),
    )


def _start_one_thread(config: SynthesisConfig, entries: list[CachedScan]) -> None:
    """Each of several processes computes in one thread: together they fill the processor."""
    import torch

    torch.set_num_threads(1)
    _start_worker(config, entries)


def _make(numbers: list[int]) -> int:
    config: SynthesisConfig = _worker["config"]
    for number in numbers:
        seed = volume_seed(config, number)
        source = choose_source(_worker["maps"], _worker["reals"], _worker["drawn"], config, seed)
        image, label, parameters = make_volume(source, config, seed)
        _worker["bank"].write(
            number,
            image,
            label,
            {
                "seed": seed,
                "source": source.name,
                "kind": "real" if source.real else "synthetic",
                "labelled": source.labelled,
                "parameters": parameters,
            },
        )
    return len(numbers)


def _sha256(*arrays: np.ndarray | None) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    import scipy
    import SimpleITK
    import torch

    return {
        "numpy": np.__version__,
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "SimpleITK": SimpleITK.Version_VersionString(),
    }
