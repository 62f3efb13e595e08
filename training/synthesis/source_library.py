"""What synthesis draws from: tissue maps or drawn bodies, the CTs of the data folder, and the configured data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training import paths
from training.data import held_out, layouts
from training.data.cache import CachedScan, prepare
from training.data.scans import Part, Scan
from training.data.splits import recorded_split, refuse_shared_content
from training.errors import UserError
from training.options import SynthesisConfig
from training.synthesis.phantom import tissue_phantom
from training.synthesis.sources import Source, read_tissue_map, tissue_source

PSEUDO = "_liver_pseudo.nii.gz"
"""Ending of a machine-made label beside a CT of the data folder."""
PHANTOMS = 4
"""Drawn bodies that stand in for tissue maps."""


def data_folder(config: SynthesisConfig) -> Path:
    """The folder with tissue maps and CTs. Raises UserError for a --data that is no folder."""
    if config.data is not None and not config.data.is_dir():
        raise UserError(f"There is no folder {config.data}; give the one that holds tissue_maps/ and ct/.")
    return config.data or paths.data_folder()


def load_maps(config: SynthesisConfig) -> list[Source]:
    """Tissue maps on the fine grid; drawn bodies if asked for, and none where all volumes come from real CTs.

    Raises UserError when there are no maps.
    """
    if config.real_share >= 1:
        return []
    if config.phantom:
        numbers = range(PHANTOMS)
        return [tissue_source(f"phantom-{n}", tissue_phantom(n, config.fine_mm), config.fine_mm) for n in numbers]
    folder = data_folder(config) / "tissue_maps"
    files = sorted(folder.glob("*.nii.gz"))
    if not files:
        raise UserError(
            f"There are no tissue maps to synthesize from: {folder} holds no .nii.gz file. Set {paths.DATA_VARIABLE} "
            "or --data to the folder that has tissue_maps/, or give --phantom to draw bodies (for a demonstration)."
        )
    return [read_tissue_map(file, config.fine_mm) for file in files]


def prepare_reals(config: SynthesisConfig, report: Callable[[str], None]) -> list[CachedScan]:
    """Check, split and cache the real CTs; entries of those to train on.

    Raises UserError that lists every unusable scan, and for one scan in two parts of the split.
    """
    if config.real_share == 0:
        return []
    scans = [scan for text in config.datasets for scan in layouts.read(text)]
    parts = recorded_split(config.output / "split.json", scans, config.validation_share, config.seed) if scans else {}
    own = own_scans(config)
    entries = prepare([*own, *scans], config.cache, config.fine_mm, config.workers, report)
    parts |= {scan.name: part for scan, part in own.items()}
    for names in refuse_shared_content({e.scan.name: e.content for e in entries}, parts):
        report(f"The same scan under several names, all in one part: {', '.join(names)}")
    trained = [entry for entry in entries if parts[entry.scan.name] == "train"]
    if not trained and config.real_share >= 1:
        raise UserError(
            "With --real-share 1 all volumes come from real CTs, but there is none; give --datasets or --data."
        )
    if not trained:
        report(f"There is no real CT to train on, so all volumes are synthetic (--real-share {config.real_share:g}).")
    return trained


def own_scans(config: SynthesisConfig) -> dict[Scan, Part]:
    """The CTs of the data folder: those with a pseudo-label, and the named ones without any, to train on.

    The held-out and the excluded ones are there, too, so that they are found in other data under another name.
    """
    if config.phantom:
        return {}
    folder = data_folder(config)
    scans: dict[Scan, Part] = {}
    for ct in sorted((folder / "ct").glob("*.nii.gz")):
        name = ct.name.removesuffix(".nii.gz")
        mask = config.labels / ct.name if config.labels else ct.with_name(name + PSEUDO)
        if name in config.exclude or name in held_out.BY_NAME:
            scans[Scan(name, name, ct)] = "validation"
        elif name in config.unlabelled:
            scans[Scan(name, name, ct)] = "train"
        elif mask.exists():
            scans[Scan(name, name, ct, mask)] = "train"
    return scans
