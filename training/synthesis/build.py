"""`synthesize`: fill a bank with volumes, in parallel, resumable."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from training.code_version import commit
from training.data.bank import Bank, BankError
from training.data.cache import CachedScan
from training.data.scans import Scan
from training.errors import UserError
from training.options import SynthesisConfig
from training.settings import changes, flat
from training.synthesis.heads_and_limbs import drawn_sources
from training.synthesis.pipeline import make_volume, stream
from training.synthesis.source_library import (
    SHARES,
    Reals,
    dataset_scans,
    labels_record,
    load_maps,
    own_scans,
    prepare_reals,
    require_names,
    trained_alone,
    with_shares,
)
from training.synthesis.sources import Source, ct_source

CHUNK = 8
"""Volumes that a worker makes between two reports."""
REPORT_SECONDS = 15


def synthesize(config: SynthesisConfig, report: Callable[[str], None] = print) -> Bank:
    """Make (or finish) the bank of `config` and return it open for reading.

    Raises BankError when the folder holds a bank of other settings or sources, or other files; UserError for unusable
    sources.
    """
    scans = dataset_scans(config)
    alone = trained_alone(config, scans)
    given, config = config, with_shares(config, alone)
    bank, labels = open_existing(given, alone), labels_record(config)
    missing = [n for n in range(config.count) if not (bank and bank.done(n))]
    report(
        f"{config.output}: {config.count - len(missing)} of {config.count} volumes are there, {len(missing)} to make."
    )
    if missing:
        # Before any worker starts, every source is read and checked: problems show together and at once.
        maps = load_maps(config)
        sources = Sources(maps, reals_of(config, scans, alone, report))
        if bank is None:
            bank = create(given, alone, sources, labels)
        else:
            require_same_origin(bank, sources, report)
        _fill(config, sources, missing, report)
        Bank.open(config.output).seal()
    if config.picture is not None:
        from training.synthesis.contact_sheet import contact_sheet

        contact_sheet(Bank.open(config.output), config.picture)
        report(f"Contact sheet: {config.picture}")
    return Bank.open(config.output)


def reals_of(config: SynthesisConfig, scans: list[Scan], alone: bool, report: Callable[[str], None]) -> Reals:
    """The real CTs to make volumes of, none if none is wanted. Raises UserError when all is to come from none."""
    own = {} if config.phantom else own_scans(config)
    require_names(config, {scan.name for scan in own}, {scan.name for scan in scans})
    if config.real_share == 0:
        return Reals([])
    reals = prepare_reals(config, own, scans, alone, config.output / "split.json", report)
    if not reals.entries and config.real_share == 1:
        raise UserError(
            "All volumes are to come from real CTs (--real-share 1), but there is none to train on; give --datasets or "
            "--data, or a smaller --validation-share."
        )
    if not reals.entries:
        report(f"There is no real CT to train on, so all volumes are synthetic (--real-share {config.real_share:g}).")
    return reals


@dataclass(frozen=True)
class Sources:
    """What volumes are made of: tissue maps, and real CTs in the cache."""

    maps: list[Source]
    reals: Reals

    def digests(self) -> dict[str, str]:
        """SHA-256 of each source's voxels and label, by its name."""
        maps = {source.name: hashlib.sha256(np.ascontiguousarray(source.tissue).tobytes()) for source in self.maps}
        return {name: digest.hexdigest() for name, digest in maps.items()} | {
            entry.name: entry.sha256 for entry in self.reals.entries
        }


def open_existing(config: SynthesisConfig, alone: bool = False) -> Bank | None:
    """The bank in the folder of `config`, None when there is none. Raises BankError for one of other settings.

    alone: whether its data sets are all that is trained on.
    """
    if not (config.output / "bank.json").exists():
        require_free(config.output)
        return None
    bank = Bank.open(config.output, writable=True)
    before = flat(deciding(SynthesisConfig()) | (bank.meta.get("config") or {}))
    before |= {name: bank.meta["shares"][name] for name in SHARES if before[name] is None}
    now = flat(deciding(with_shares(config, alone)))
    before["count"], now["count"] = bank.count, config.count
    differing = changes(before, now)
    if differing:
        raise BankError(
            f"{config.output} holds a bank of another configuration ({'; '.join(differing)}); "
            "choose another --output, or delete that folder to replace it."
        )
    return bank


def require_free(folder: Path) -> None:
    """Raises BankError for a folder with files of something else, or of a bank whose description is gone."""
    if folder.exists() and not folder.is_dir():
        raise BankError(f"{folder} is a file; choose another --output.")
    # The split is recorded before the bank is begun; files that begin with a dot are the system's.
    others = sorted(p.name for p in folder.glob("*") if p.name != "split.json" and not p.name.startswith("."))
    if others:
        lost = " It may be a bank that has lost its bank.json: bring that back." if "images.npy" in others else ""
        listed = ", ".join(others[:5]) + (" and others" if len(others) > 5 else "")
        raise BankError(f"{folder} holds other files ({listed}); choose another --output.{lost}")


def create(config: SynthesisConfig, alone: bool, sources: Sources, labels: dict[str, Any] | None) -> Bank:
    """An empty bank with the record of its settings, as they were given, its sources and code."""
    entries, settled = sources.reals.entries, with_shares(config, alone)
    meta = {
        "spacing_mm": config.spacing_mm,
        "hu_window": list(config.hu_window),
        "axes": "S, A, R",
        "config": deciding(config),
        "shares": {name: getattr(settled, name) for name in SHARES},
        "sources": sources.digests(),
        "contents": {entry.name: entry.content for entry in entries},
        "sketches": {entry.name: list(entry.sketch) for entry in entries},
        "notes": {entry.name: entry.notes for entry in entries if entry.notes},
        "left_out": sources.reals.left_out,
        "set_aside": sources.reals.set_aside,
        "versions": _versions(),
        "git": commit(),
    }
    if labels is not None:
        meta["labels"] = labels
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
    maps: list[Source], reals: list[CachedScan], drawn: list[Source], config: SynthesisConfig, seed: int
) -> Source | CachedScan:
    """A drawn body or a real CT (weighted among the CTs) with the probability of its share, else a tissue map."""
    rng = stream(seed, "elsewhere")  # the stream's name is part of what a seed means; it outlived the option's name
    if rng.random() < (config.heads_and_limbs_share or 0):
        return drawn[rng.integers(len(drawn))]
    rng = stream(seed, "source")
    if reals and rng.random() < (config.real_share or 0):
        weights = np.array(_weights(reals))
        return reals[rng.choice(len(reals), p=weights / weights.sum())]
    return maps[rng.integers(len(maps))]


def planned_sources(
    maps: list[Source], reals: list[CachedScan], drawn: list[Source], config: SynthesisConfig
) -> list[Source | CachedScan]:
    """The source of every volume by its number. CTs of equal weight take turns: none comes again before all came."""
    turns = _turns(reals, config.seed) if len(set(_weights(reals))) == 1 else None
    seeds = (volume_seed(config, number) for number in range(config.count))
    chosen = [choose_source(maps, reals, drawn, config, seed) for seed in seeds]
    return [next(turns) if turns and isinstance(one, CachedScan) else one for one in chosen]


def _weights(reals: list[CachedScan]) -> list[float]:
    return [entry.scan.weight for entry in reals]


def _turns(reals: list[CachedScan], seed: int) -> Iterator[CachedScan]:
    """All CTs in an order of their own for each round, without end."""
    for turn in itertools.count():
        yield from (reals[n] for n in stream(seed * 1_000_003 + turn, "turns").permutation(len(reals)))


def report_unused(
    plan: list[Source | CachedScan], reals: list[CachedScan], config: SynthesisConfig, report: Callable[[str], None]
) -> None:
    """Reports the CTs that no volume is planned of."""
    used = {one.name for one in plan if isinstance(one, CachedScan)}
    unused = [entry.name for entry in reals if entry.name not in used]
    if unused:
        listed = ", ".join(unused[:5]) + (" and others" if len(unused) > 5 else "")
        report(
            f"{len(unused)} of {len(reals)} CTs are in none of the {config.count} volumes ({listed}); give a larger "
            "--count or --real-share to see them."
        )


def deciding(config: SynthesisConfig) -> dict[str, Any]:
    """The settings that decide the content of the volumes, in JSON's types."""
    others = ("output", "data", "cache", "picture", "workers", "count")
    settings = {name: value for name, value in asdict(config).items() if name not in others}
    return json.loads(json.dumps(settings, default=str))


def _fill(config: SynthesisConfig, sources: Sources, missing: list[int], report: Callable[[str], None]) -> None:
    reals, drawn = sources.reals.entries, drawn_sources(config.fine_mm)
    plan = planned_sources(sources.maps, reals, drawn, config)
    report_unused(plan, reals, config, report)
    place = {id(one): n for n, one in enumerate((*sources.maps, *reals, *drawn))}
    work = [(number, place[id(plan[number])]) for number in missing]
    start, last, finished = time.monotonic(), 0.0, 0
    for made in _in_processes(config, sources, [work[i : i + CHUNK] for i in range(0, len(work), CHUNK)]):
        finished += made
        seconds = time.monotonic() - start
        if seconds - last > REPORT_SECONDS or finished == len(missing):
            last, rate = seconds, finished / seconds
            report(
                f"{finished}/{len(missing)} volumes, {rate:.2f} volumes/s, "
                f"{(len(missing) - finished) / rate / 60:.1f} min left"
            )


Work = list[tuple[int, int]]
"""Numbers of volumes, each with the place of its source among all of them."""


def _in_processes(config: SynthesisConfig, sources: Sources, chunks: list[Work]) -> Iterator[int]:
    """How many volumes each finished chunk held, as they finish; a single worker is this process itself."""
    entries = sources.reals.entries
    if config.workers == 1:
        _start_worker(config, entries, sources.maps)
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


def _start_worker(config: SynthesisConfig, entries: list[CachedScan], maps: list[Source]) -> None:
    sources = (*maps, *entries, *drawn_sources(config.fine_mm))
    _worker.update(config=config, sources=sources, bank=Bank.open(config.output, writable=True))


def _start_one_thread(config: SynthesisConfig, entries: list[CachedScan]) -> None:
    """Each of several processes computes in one thread: together they fill the processor."""
    import torch

    torch.set_num_threads(1)
    _start_worker(config, entries, load_maps(config))


def _make(work: Work) -> int:
    config: SynthesisConfig = _worker["config"]
    for number, place in work:
        seed, chosen = volume_seed(config, number), _worker["sources"][place]
        source = ct_source(chosen) if isinstance(chosen, CachedScan) else chosen
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
    return len(work)


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
