"""`pack`: real CTs, whole, as a scan bank."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from training.code_version import commit
from training.data import scan_bank
from training.data.cache import CachedScan
from training.data.scan_bank import ScanBank, ScanToStore
from training.errors import UserError
from training.options import Pack
from training.synthesis.source_library import dataset_scans, labels_record, own_scans, prepare_reals, require_names


def pack(config: Pack, report: Callable[[str], None] = print) -> ScanBank:
    """Write the scan bank of `config` and return it. Raises UserError when there is no CT, or an unusable one."""
    if config.output.exists():
        raise UserError(f"{config.output} is there already; choose another --output, or delete it to replace it.")
    labels = labels_record(config)
    scans, own = dataset_scans(config), own_scans(config)
    require_names(config, {scan.name for scan in own}, {scan.name for scan in scans})
    record = scan_bank.split_record(config.output)
    reals = prepare_reals(config, own, scans, any(scan.labelled for scan in scans), record, report)
    if not reals.entries:
        raise UserError("There is no real CT to pack; give --datasets, or --data with ct/ in it.")
    about = {
        "spacing_mm": config.fine_mm,
        "hu_window": list(config.hu_window),
        "git": commit(),
        "config": settings(config),
        "left_out": reals.left_out,
        "set_aside": reals.set_aside,
        "notes": {entry.name: entry.notes for entry in reals.entries if entry.notes},
        "sketches": {entry.name: list(entry.sketch) for entry in reals.entries},
    }
    if labels:
        about["labels"] = labels
    bank = scan_bank.write(config.output, to_store(reals.entries), about)
    size = sum(file.stat().st_size for file in config.output.iterdir()) / 1e6
    without = f"; {len(reals.left_out)} unusable and {len(reals.set_aside)} set aside, which scans.json names"
    patients = len({record.patient for record in bank.records})
    packed = f"{len(bank)} scan{'s' * (len(bank) != 1)} of {patients} patient{'s' * (patients != 1)}"
    report(f"{config.output}: {packed}, {size:.0f} MB{without if reals.left_out or reals.set_aside else ''}.")
    return bank


def settings(config: Pack) -> dict[str, Any]:
    """What decides which scans are packed, in JSON's types."""
    others = ("output", "data", "cache", "workers")
    values = {name: value for name, value in asdict(config).items() if name not in others}
    return json.loads(json.dumps(values, default=str))


def to_store(entries: list[CachedScan]) -> Iterator[ScanToStore]:
    """The scans one by one, so that no more than one is in memory."""
    for entry in entries:
        scan = entry.scan
        yield ScanToStore(scan.name, scan.patient, scan.weight, entry.content, entry.hu, entry.label)
