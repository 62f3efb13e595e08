"""Where training data come from: banks, sources, licenses, makers of labels; without the paths of one machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import tomllib

from training.data import scan_bank
from training.data.bank import parse_line
from training.data.scan_bank import ScanBank
from training.errors import UserError
from training.release import reproduce

PROVENANCE = Path(__file__).with_name("provenance.toml")
COPIED = ("spacing_mm", "hu_window", "git")
"""What a card copies of a bank's own record."""
NOT_RECORDED, NOT_STATED = "not recorded", "not stated"
ANEW = "pseudo-label of this project's teacher"
DRAWN = re.compile(r"^(phantom|drawn-[a-z]+)-\d+$")
LABELS = ("teacher", "weights_sha256", "command")


def folders(settings: dict[str, Any]) -> list[Path]:
    """The banks, and the scans that views were drawn of, which a checkpoint's settings name."""
    named, scans = settings["data"]["bank"], settings["data"].get("scans")
    return [Path(one) for one in ([named] if isinstance(named, str) else named)] + ([Path(scans)] if scans else [])


def describe_bank(bank: Path) -> dict[str, Any]:
    """Size and settings of a bank, who made the labels that replaced the data set's, and the command that makes it."""
    if is_scan_bank(bank):
        return describe_scans(bank)
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


def is_scan_bank(folder: Path) -> bool:
    """Whether it holds whole scans."""
    return (folder / scan_bank.INDEX).exists()


def describe_scans(folder: Path) -> dict[str, Any]:
    """The same of a bank of whole scans."""
    about = ScanBank(folder).about
    return {
        "name": folder.name,
        "scans": len(about["scans"]),
        "patients": len({scan["patient"] for scan in about["scans"]}),
        "command": reproduce.pack(folder.name, about["config"]),
    } | {name: about[name] for name in (*COPIED, "labels") if name in about}


def records(bank: Path) -> list[dict[str, Any]]:
    """The index of a bank; of whole scans their names as sources."""
    if is_scan_bank(bank):
        return [{"source": record.name} for record in ScanBank(bank).records]
    lines = (bank / "index.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(parse_line, lines) if record is not None]


def sources(of: list[Path]) -> list[dict[str, str]]:
    """Every tissue map and CT that the banks drew on, with license and origin, which may be `NOT_STATED`."""
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
    index = bank / (scan_bank.INDEX if is_scan_bank(bank) else "bank.json")
    about = json.loads(index.read_text(encoding="utf-8")).get("labels", {})
    return given | {scan["name"]: ANEW for scan in about.get("scans", []) if scan["name"] in given}


def known() -> dict[str, dict[str, str]]:
    """Origin, license and maker of the label by name of the source."""
    return tomllib.loads(PROVENANCE.read_text(encoding="utf-8"))


def origin(name: str) -> dict[str, str]:
    """That of one source; `NOT_STATED` where `provenance.toml` lacks it."""
    return known().get(name) or dict.fromkeys(("origin", "license", "label"), NOT_STATED)


def require_stated(data: list[dict[str, str]]) -> None:
    """Raises UserError for sources of which it is not said where they come from: those of a bundled student are."""
    unknown = [one["name"] for one in data if NOT_STATED in (one["origin"], one["license"])]
    if unknown:
        listed = ", ".join(unknown[:5]) + (" and others" if len(unknown) > 5 else "")
        raise UserError(
            f"{PROVENANCE.name} does not say where {listed} come from, as a bundled student needs: add origin, license "
            "and label, or export without --install."
        )
