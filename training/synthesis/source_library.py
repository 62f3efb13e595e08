"""What synthesis draws from: tissue maps or phantoms, the project's real CTs, and the configured data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from training.data import layouts
from training.data.cache import Entry, prepare
from training.data.scans import Part, Scan
from training.data.splits import recorded_split, refuse_shared_content
from training.errors import UserError
from training.options import SynthesisConfig
from training.synthesis.sources import Source, read_tissue_map, tissue_source

DEFAULT_DATA = "../shared/data"
PSEUDO = "_liver_pseudo.nii.gz"
PHANTOMS = 4


def data_folder(config: SynthesisConfig) -> Path | None:
    """The folder with tissue maps and CTs, or None: then phantoms are the anatomy."""
    if config.data is not None:
        if not config.data.is_dir():
            raise UserError(f"There is no folder {config.data}; give the one that holds tissue_maps/ and ct/.")
        return config.data
    folder = Path(os.environ.get("LIVERGTAN_DATA", DEFAULT_DATA))
    return folder if (folder / "tissue_maps").is_dir() else None


def load_maps(config: SynthesisConfig) -> list[Source]:
    """Tissue maps on the fine grid."""
    folder = data_folder(config)
    if folder is None:
        from training.synthesis.phantom import tissue_phantom

        return [
            tissue_source(f"phantom-{n}", tissue_phantom(n, config.fine_mm), config.fine_mm) for n in range(PHANTOMS)
        ]
    maps = [read_tissue_map(p, config.fine_mm) for p in sorted((folder / "tissue_maps").glob("*.nii.gz"))]
    if not maps:
        raise UserError(f"{folder / 'tissue_maps'} holds no .nii.gz file; there is nothing to synthesize from.")
    return maps


def prepare_reals(config: SynthesisConfig, report: Callable[[str], None]) -> list[Entry]:
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
    return [entry for entry in entries if parts[entry.scan.name] == "train"]


def own_scans(config: SynthesisConfig) -> dict[Scan, Part]:
    """The project's CTs: those with a pseudo-label, and the named ones without any, to train on.

    The excluded ones are there, too, so that they are found in other data.
    """
    folder = data_folder(config)
    if folder is None:
        return {}
    scans: dict[Scan, Part] = {}
    for ct in sorted((folder / "ct").glob("*.nii.gz")):
        name = ct.name.removesuffix(".nii.gz")
        mask = config.labels / ct.name if config.labels else ct.with_name(name + PSEUDO)
        if name in config.exclude:
            scans[Scan(name, name, ct)] = "validation"
        elif name in config.unlabelled:
            scans[Scan(name, name, ct)] = "train"
        elif mask.exists():
            scans[Scan(name, name, ct, mask)] = "train"
    return scans
