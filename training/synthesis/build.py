"""`synthesize`: fill a bank with volumes, in parallel, resumable."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from training.data.bank import Bank, BankError

from .config import SynthesisConfig
from .pipeline import make_volume, stream
from .sources import Source, read_ct, read_tissue_map, tissue_source

DEFAULT_DATA = "../shared/data"


def synthesize(config: SynthesisConfig, report: Callable[[str], None] = print) -> Bank:
    """Make (or finish) the bank of `config` and return it open for reading.

    Raises BankError when the folder holds a bank of another configuration.
    """
    bank = _open_or_create(config)
    missing = [n for n in range(config.count) if not bank.done(n)]
    report(f"{config.output}: {len(bank)} of {config.count} volumes are there, {len(missing)} to make.")
    if missing:
        _fill(config, missing, report)
        bank.refresh()
    if config.picture is not None:
        from .picture import contact_sheet

        contact_sheet(bank, config.picture)
        report(f"Contact sheet: {config.picture}")
    return Bank.open(config.output)


def data_folder(config: SynthesisConfig) -> Path | None:
    """The folder with tissue maps and CTs, or None: then the built-in phantom is the anatomy."""
    if config.data is not None:
        if not config.data.is_dir():
            raise BankError(f"{config.data} is no folder; give the one that holds tissue_maps/ and ct/.")
        return config.data
    folder = Path(os.environ.get("LIVERGTAN_DATA", DEFAULT_DATA))
    return folder if (folder / "tissue_maps").is_dir() else None


def load_sources(config: SynthesisConfig) -> tuple[list[Source], list[Source]]:
    """Tissue maps and labelled real CTs, on the fine grid, without the excluded ones."""
    folder = data_folder(config)
    if folder is None:
        from training.phantom import tissue_phantom

        return [tissue_source(f"phantom-{n}", tissue_phantom(n, config.fine_mm), config.fine_mm) for n in range(4)], []
    maps = [read_tissue_map(p, config.fine_mm) for p in sorted((folder / "tissue_maps").glob("*.nii.gz"))]
    if not maps:
        raise BankError(f"{folder / 'tissue_maps'} holds no .nii.gz file; there is nothing to synthesize from.")
    if config.real_share == 0:
        return maps, []
    reals = []
    for label in sorted((folder / "ct").glob("*_liver_pseudo.nii.gz")):
        name = label.name.removesuffix("_liver_pseudo.nii.gz")
        if name not in config.exclude:
            reals.append(read_ct(label.with_name(f"{name}.nii.gz"), label, config.fine_mm, name))
    return maps, reals


def volume_seed(config: SynthesisConfig, number: int) -> int:
    return config.seed * 1_000_003 + number


def choose_source(maps: list[Source], reals: list[Source], config: SynthesisConfig, seed: int) -> Source:
    """A real CT with probability `real_share` (weighted among the CTs), else a tissue map."""
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
            raise BankError(f"{config.output} holds a bank of another configuration; "
                            "choose another --output, or delete that folder to replace it.")
        return bank
    meta = {"spacing_mm": config.spacing_mm, "hu_window": list(config.hu_window), "axes": "S, A, R",
            "config": wanted, "versions": _versions(), "git": _git_hash()}
    return Bank.create(config.output, config.count, config.shape, meta)


def _comparable(config: SynthesisConfig) -> dict[str, Any]:
    """What decides the content of the volumes, in JSON's types."""
    kept = {k: v for k, v in asdict(config).items() if k not in ("output", "data", "picture", "workers", "count")}
    return json.loads(json.dumps(kept, default=str))


def _fill(config: SynthesisConfig, missing: list[int], report: Callable[[str], None]) -> None:
    start, last, finished = time.monotonic(), 0.0, 0
    chunks = [missing[i:i + 8] for i in range(0, len(missing), 8)]
    with ProcessPoolExecutor(max(1, config.workers), get_context("spawn"), _start_worker, (config,)) as pool:
        for job in as_completed([pool.submit(_make, chunk) for chunk in chunks]):
            finished += job.result()
            seconds = time.monotonic() - start
            if seconds - last > 15 or finished == len(missing):
                last, rate = seconds, finished / seconds
                report(f"{finished}/{len(missing)} volumes, {rate:.2f} volumes/s, "
                       f"{(len(missing) - finished) / rate / 60:.1f} min left")


_worker: dict[str, Any] = {}
"""What a worker process keeps between volumes: configuration, sources, the open bank."""


def _start_worker(config: SynthesisConfig) -> None:
    import torch

    torch.set_num_threads(1)
    maps, reals = load_sources(config)
    _worker.update(config=config, maps=maps, reals=reals, bank=Bank.open(config.output, writable=True))


def _make(numbers: list[int]) -> int:
    config: SynthesisConfig = _worker["config"]
    for number in numbers:
        seed = volume_seed(config, number)
        source = choose_source(_worker["maps"], _worker["reals"], config, seed)
        image, label, parameters = make_volume(source, config, seed)
        _worker["bank"].write(number, image, label, {
            "seed": seed, "source": source.name, "kind": "synthetic" if source.hu is None else "real",
            "labelled": True, "parameters": parameters})
    return len(numbers)


def _versions() -> dict[str, str]:
    import scipy
    import SimpleITK
    import torch

    return {"numpy": np.__version__, "torch": torch.__version__, "scipy": scipy.__version__,
            "SimpleITK": SimpleITK.Version_VersionString()}


def _git_hash() -> str:
    """Commit of the code, or an empty text outside a repository."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
