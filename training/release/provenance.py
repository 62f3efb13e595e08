"""Where training data come from: banks, sources, licenses, makers of labels; without the paths of one machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tomllib

from LiverGTANLib.core.files import read_json
from training.data import scan_bank
from training.data.bank import LARGEST_META, read_index
from training.data.scan_bank import ScanBank
from training.errors import UserError, reason
from training.release import reproduce

PROVENANCE = Path(__file__).with_name("provenance.toml")
COPIED = ("spacing_mm", "hu_window", "git")
"""What a card copies of a bank's own record."""
NOT_RECORDED, NOT_STATED = "not recorded", "not stated"
ANEW = "pseudo-label of this project's teacher"
SOFT, NO_LABEL = "soft labels of this project's teachers", "none"
DRAWN = re.compile(r"^(phantom|drawn-[a-z]+)-\d+$")
REAL = "real"
"""Kind of volumes that are made of CTs."""
CONTENT_DIGITS = 16
"""Hexadecimal digits of a CT's content in `provenance.toml`: 64 bits."""
LABELS = ("teacher", "weights_sha256", "command")


def folders(settings: dict[str, Any]) -> list[Path]:
    """The banks, and the scans that views were drawn of, which a checkpoint's settings name."""
    named, scans = settings["data"]["bank"], settings["data"].get("scans")
    return [Path(one) for one in ([named] if isinstance(named, str) else named)] + ([Path(scans)] if scans else [])


def describe_bank(bank: Path) -> dict[str, Any]:
    """Size and settings of a bank, who made the labels that replaced the data set's, and the command that makes it."""
    if is_scan_bank(bank):
        return describe_scans(bank)
    meta, kinds = about_bank(bank), [record["kind"] for record in records(bank)]
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
    described = {
        "name": folder.name,
        "scans": len(about["scans"]),
        "patients": len({scan["patient"] for scan in about["scans"]}),
    } | {name: about[name] for name in (*COPIED, "labels", "soft_labels") if name in about}
    if "soft_labels" not in about:
        return described | {"command": reproduce.pack(folder.name, about["config"])}
    packed = reproduce.pack(reproduce.softened_folder(about["soft_labels"]["command"]), about["config"])
    return described | {"packed": packed, "command": about["soft_labels"]["command"]}


def about_bank(bank: Path) -> dict[str, Any]:
    """What a bank, of volumes or of scans, says of itself. Raises UserError when it cannot be read."""
    if is_scan_bank(bank):
        return ScanBank(bank).about
    try:
        meta = read_json(bank / "bank.json", LARGEST_META)
        if not isinstance(meta, dict):
            raise ValueError("no table of names and values")
    except (OSError, ValueError) as error:
        raise UserError(
            f"The bank {bank} that this network was trained on cannot be read ({reason(error)})."
        ) from error
    return meta


def records(bank: Path) -> list[dict[str, Any]]:
    """Source and kind of every volume of a bank; of whole scans their names as sources."""
    if is_scan_bank(bank):
        return [{"source": record.name, "kind": REAL} for record in ScanBank(bank).records]
    return list(read_index(bank))


def contents(bank: Path) -> dict[str, str]:
    """Name -> hash of the HU of each CT of a bank, where it is recorded."""
    if is_scan_bank(bank):
        return {record.name: record.content for record in ScanBank(bank).records}
    return about_bank(bank).get("contents", {})


def sources(of: list[Path]) -> list[dict[str, str]]:
    """Every tissue map and CT that the banks drew on, with license and origin, which may be `NOT_STATED`, and the
    beginning of the hash of a CT's HU where it is recorded (`contents_of` an entry)."""
    found: dict[str, list[dict[str, str]]] = {}
    for bank in of:
        hashes = contents(bank)
        for name, facts in origins(bank).items():
            content = {"content": hashes[name][:CONTENT_DIGITS]} if name in hashes else {}
            found.setdefault(name, []).append(facts | content)
    return [
        {"name": name}
        | {
            key: "; ".join(dict.fromkeys(one[key] for one in facts if key in one))
            for key in ("origin", "license", "label", "content")
            if any(key in one for one in facts)
        }
        for name, facts in sorted(found.items())
    ]


def contents_of(entry: dict[str, str]) -> list[str]:
    """Beginnings of the hashes of the HU of an entry of `sources`: its own, or else that of the CT of this name and
    origin in `provenance.toml`; none where they are not known."""
    if "content" in entry:
        return entry["content"].split("; ")
    same = known().get(entry["name"], {})
    return [same["content"]] if "content" in same and same["origin"] == entry.get("origin") else []


def origins(bank: Path) -> dict[str, dict[str, str]]:
    """Origin, license and maker of the liver mask of each source of a bank, by name."""
    hashes = contents(bank)
    kinds = {DRAWN.sub(r"\1", one["source"]): one["kind"] for one in records(bank)}
    given = {name: origin(name, kind, hashes.get(name)) for name, kind in kinds.items()}
    about = about_bank(bank)
    replaced = {scan["name"] for scan in about.get("labels", {}).get("scans", [])}
    given = {name: facts | ({"label": ANEW} if name in replaced else {}) for name, facts in given.items()}
    if "soft_labels" not in about:
        return given
    unsure = about["soft_labels"]["unsure"]
    return {name: facts if name in unsure else facts | {"label": softened(facts)} for name, facts in given.items()}


def softened(facts: dict[str, str]) -> str:
    """Who made a label that `soften` mixed with its teachers' answer, or that is their answer alone."""
    return SOFT if facts["label"].startswith(NO_LABEL) else f"{facts['label']}, mixed with {SOFT}"


def known() -> dict[str, dict[str, str]]:
    """Origin, license and maker of the label by name of the source."""
    return tomllib.loads(PROVENANCE.read_text(encoding="utf-8"))


def origin(name: str, kind: str = REAL, content: str | None = None) -> dict[str, str]:
    """Origin, license and label of one source; `NOT_STATED` where `provenance.toml` does not know it.

    kind: of its volumes. content: hash of a CT's HU, None where the bank does not say. A CT is known by its content:
    another one of the same name is not, and under another name nobody knows who made its mask.
    """
    unknown = dict.fromkeys(("origin", "license", "label"), NOT_STATED)
    if content:
        same = {entry["content"]: (key, entry) for key, entry in known().items() if "content" in entry}
        key, entry = same.get(content[:CONTENT_DIGITS], ("", unknown))
        return facts(entry) | ({} if key == name else {"label": NOT_STATED})
    entry = known().get(name, unknown)
    return facts(entry if ("content" in entry) == (kind == REAL) else unknown)


def facts(entry: dict[str, str]) -> dict[str, str]:
    """What a card says of a source."""
    return {name: entry[name] for name in ("origin", "license", "label")}


def require_stated(data: list[dict[str, str]]) -> None:
    """Raises UserError for sources of which it is not said where they come from: those of a bundled student are."""
    unknown = [one["name"] for one in data if NOT_STATED in (one["origin"], one["license"])]
    if unknown:
        listed = ", ".join(unknown[:5]) + (" and others" if len(unknown) > 5 else "")
        raise UserError(
            f"{PROVENANCE.name} does not say where {listed} come from, as a bundled student needs: add origin, license "
            "and label, or export without --install."
        )
