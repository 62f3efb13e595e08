"""Where training data come from: banks, sources, licenses, makers of labels; without the paths of one machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import tomllib

from training.errors import UserError
from training.release import reproduce

PROVENANCE = Path(__file__).with_name("provenance.toml")
COPIED = ("spacing_mm", "hu_window", "git")
"""What a card copies of a bank's own record."""
NOT_RECORDED = "not recorded"
ANEW = "pseudo-label of this project's teacher"
DRAWN = re.compile(r"^(phantom|drawn-[a-z]+)-\d+$")
LABELS = ("teacher", "weights_sha256", "command")


def banks(settings: dict[str, Any]) -> list[Path]:
    """The banks that a checkpoint's settings name (those of its first format name one)."""
    named = settings["data"]["bank"]
    return [Path(one) for one in ([named] if isinstance(named, str) else named)]


def describe_bank(bank: Path) -> dict[str, Any]:
    """Size and settings of a bank, who made the labels that replaced the data set's, and the command that makes it."""
    try:
        meta = json.loads((bank / "bank.json").read_text(encoding="utf-8"))
        kinds = [record["kind"] for record in records(bank)]
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise UserError(f"The bank {bank} that this network was trained on cannot be read ({error}).") from error
    about = {
        "name": bank.name,
        "volumes": len(kinds),
        "synthetic": kinds.count("synthetic"),
        "real": kinds.count("real"),
    } | {name: meta[name] for name in COPIED if name in meta}
    if "labels" in meta:
        about["labels"] = {name: meta["labels"][name] for name in LABELS if name in meta["labels"]}
    known = "config" in meta
    return about | {"command": reproduce.synthesize(bank.name, len(kinds), meta["config"]) if known else NOT_RECORDED}


def records(bank: Path) -> list[dict[str, Any]]:
    """The index of a bank."""
    return [json.loads(line) for line in (bank / "index.jsonl").read_text(encoding="utf-8").splitlines()]


def sources(of: list[Path]) -> list[dict[str, str]]:
    """Every tissue map and CT that the banks drew on, with license and origin. Raises UserError for an unknown one."""
    makers: dict[str, list[str]] = {}
    for bank in of:
        for name, maker in labels(bank).items():
            makers.setdefault(name, []).append(maker)
    return [
        {"name": name} | origin(name) | {"label": "; ".join(dict.fromkeys(made))}
        for name, made in sorted(makers.items())
    ]


def labels(bank: Path) -> dict[str, str]:
    """Who made the liver masks of each source of a bank, which may have replaced those of the data set."""
    given = {name: origin(name)["label"] for name in {DRAWN.sub(r"\1", one["source"]) for one in records(bank)}}
    about = json.loads((bank / "bank.json").read_text(encoding="utf-8")).get("labels", {})
    return given | {scan["name"]: ANEW for scan in about.get("scans", []) if scan["name"] in given}


def known() -> dict[str, dict[str, str]]:
    """Origin, license and maker of the label by name of the source."""
    return tomllib.loads(PROVENANCE.read_text(encoding="utf-8"))


def origin(name: str) -> dict[str, str]:
    """That of one source. Raises UserError when `provenance.toml` lacks it."""
    entries = known()
    if name not in entries:
        raise UserError(f"{PROVENANCE.name} does not say where {name} comes from; add origin, license and label.")
    return entries[name]
