"""`synthesize`: fill a bank with volumes, in parallel, resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

import numpy as np

from training.code_version import commit
from training.data.bank import Bank, BankError
from training.data.cache import Entry
from training.options import SynthesisConfig
from training.synthesis.heads_and_limbs import drawn_sources
from training.synthesis.pipeline import make_volume, stream
from training.synthesis.source_library import load_maps, prepare_reals
from training.synthesis.sources import Source, ct_source

CHUNK = 8
REPORT_SECONDS = 15


def synthesize(config: SynthesisConfig, report: Callable[[str], None] = print) -> Bank:
    """Make (or finish) the bank of `config` and return it open for reading.

    Raises BankError when the folder holds a bank of another configuration.
    """
    bank = _open_or_create(config)
    missing = [n for n in range(config.count) if not bank.done(n)]
    report(f"{config.output}: {len(bank)} of {config.count} volumes are there, {len(missing)} to make.")
    if missing:
        # Before any worker starts, every CT is read, checked and cached: problems show together and at once.
        _fill(config, prepare_reals(config, report), missing, report)
        bank.refresh()
    if config.picture is not None:
        from training.synthesis.contact_sheet import contact_sheet

        contact_sheet(bank, config.picture)
        report(f"Contact sheet: {config.picture}")
    return Bank.open(config.output)


def volume_seed(config: SynthesisConfig, number: int) -> int:
    return config.seed * 1_000_003 + number


def choose_source(
    maps: list[Source], reals: list[Source], drawn: list[Source], config: SynthesisConfig, seed: int
) -> Source:
    """A drawn body or a real CT (weighted among the CTs) with the probability of its share, else a tissue map."""
    rng = stream(seed, "elsewhere")  # the stream's name is part of what a seed means; it outlived the option's
    if rng.random() < config.elsewhere_share:
        return drawn[rng.integers(len(drawn))]
    rng = stream(seed, "source")
    if reals and rng.random() < config.real_share:
        weights = np.array([config.weights.get(source.name, 1.0) for source in reals])
        return reals[rng.choice(len(reals), p=weights / weights.sum())]
    return maps[rng.integers(len(maps))]


def _open_or_create(config: SynthesisConfig) -> Bank:
    wanted = _comparable(config)
    if (config.output / "bank.json").exists():
        bank = Bank.open(config.output, writable=True)
        if bank.meta.get("config") != wanted or bank.count != config.count:
            raise BankError(
                f"{config.output} holds a bank of another configuration; "
                "choose another --output, or delete that folder to replace it."
            )
        return bank
    meta = {
        "spacing_mm": config.spacing_mm,
        "hu_window": list(config.hu_window),
        "axes": "S, A, R",
        "config": wanted,
        "versions": _versions(),
        "git": commit(),
    }
    if config.labels:
        meta["labels"] = json.loads((config.labels / "labels.json").read_text(encoding="utf-8"))
    return Bank.create(config.output, config.count, config.shape, meta)


def _comparable(config: SynthesisConfig) -> dict[str, Any]:
    """What decides the content of the volumes, in JSON's types."""
    elsewhere = ("output", "data", "cache", "picture", "workers", "count")
    kept = {k: v for k, v in asdict(config).items() if k not in elsewhere}
    return json.loads(json.dumps(kept, default=str))


def _fill(config: SynthesisConfig, entries: list[Entry], missing: list[int], report: Callable[[str], None]) -> None:
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


def _in_processes(config: SynthesisConfig, entries: list[Entry], chunks: list[list[int]]) -> Iterator[int]:
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
            "--workers: finished volumes are kept."
        ) from None


_worker: dict[str, Any] = {}
"""What a worker process keeps between volumes: configuration, sources, the open bank."""


def _start_worker(config: SynthesisConfig, entries: list[Entry]) -> None:
    _worker.update(
        config=config,
        maps=load_maps(config),
        reals=[ct_source(entry) for entry in entries],
        drawn=drawn_sources(config.fine_mm),
        bank=Bank.open(config.output, writable=True),
    )


def _start_one_thread(config: SynthesisConfig, entries: list[Entry]) -> None:
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
