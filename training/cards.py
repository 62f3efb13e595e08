"""The student's card: where it comes from and how well it does, written from files, never by hand."""

from __future__ import annotations

import csv
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomllib

from LiverGTANLib import student
from training import checkpoint
from training.config import UserError

PROVENANCE = Path(__file__).with_name("provenance.toml")
INTENDED_USE = (
    "Research and education: a liver outline on abdominal CT as a starting point for a person to check and correct. "
    "Not a medical device; not for diagnosis, treatment or any clinical decision."
)
SCOPE = (
    "Liver with its lesions and intrahepatic vessels; inferior vena cava, gallbladder and extrahepatic portal vein are "
    "left out."
)
LIMITATIONS = [
    "Trained mostly on synthesized volumes and on few real scans with machine-made labels; no radiologist has looked "
    "at them.",
    "Weakest where training data are thin: plain CT, thick slices, pleural effusion or ascites beside the liver, giant "
    "or dense tumors, resected and cirrhotic livers, strongly cropped scans.",
    "Works at 3 mm: thin tips and narrow clefts are rounded off.",
    "CT in Hounsfield units only; MR, cone-beam and rescaled images give nonsense.",
]


def training(file: Path, bank: Path | None = None) -> dict[str, Any]:
    """The training part of a card, from the checkpoint and the bank that it names."""
    content = checkpoint.read(file)
    settings = content["settings"]
    bank = bank or Path(settings["data"]["bank"])
    return {
        "method": content.get("method", "Dice + cross entropy on labels, no distillation"),
        "steps": content["step"],
        "batch": settings["loop"]["batch"],
        "seed": settings["loop"]["seed"],
        "precision": settings["machine"]["precision"],
        "torch": version("torch"),
        "code": content.get("code", "unknown"),
        "bank": describe_bank(bank),
        "data": sources(bank),
        "watched": [case.partition("=")[0].split("/")[-1] for case in settings["data"]["validation"]],
    }


def describe_bank(bank: Path) -> dict[str, Any]:
    """Size and settings of the bank, without the paths of this machine."""
    try:
        meta = json.loads((bank / "bank.json").read_text(encoding="utf-8"))
        kinds = [json.loads(line)["kind"] for line in (bank / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise UserError(f"The bank {bank} that this network was trained on cannot be read ({error}).") from error
    kept = {name: meta[name] for name in ("spacing_mm", "hu_window", "git") if name in meta}
    return {"volumes": len(kinds), "synthetic": kinds.count("synthetic"), "real": kinds.count("real")} | kept


def sources(bank: Path) -> list[dict[str, str]]:
    """Every tissue map and CT that the bank drew on, with license and origin. Raises UserError for an unknown one."""
    lines = (bank / "index.jsonl").read_text(encoding="utf-8").splitlines()
    names = sorted({re.sub(r"^phantom-\d+$", "phantom", json.loads(line)["source"]) for line in lines})
    return [{"name": name} | origin(name) for name in names]


def origin(name: str) -> dict[str, str]:
    """Origin, license and maker of the label of one source. Raises UserError when `provenance.toml` lacks it."""
    known = tomllib.loads(PROVENANCE.read_text(encoding="utf-8"))
    if name not in known:
        raise UserError(f"{PROVENANCE.name} does not say where {name} comes from; add origin, license and label.")
    return known[name]


def metrics(table: Path) -> list[dict[str, Any]]:
    """The rows of an evaluation's CSV as a card holds them."""
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            return [figures(row) for row in csv.DictReader(stream)]
    except OSError as error:
        raise UserError(f"{table} cannot be read ({error}); write it with `python -m training evaluate`.") from error


def figures(row: dict[str, str]) -> dict[str, Any]:
    """A row with who made the reference; without what belongs to the machine or the card."""
    kept = {name: number(value) for name, value in row.items() if name not in ("model", "seconds")}
    return kept | {"reference": maker(row["case"])}


def maker(case: str) -> str:
    """Who made the reference of a case, as `provenance.toml` says."""
    known = tomllib.loads(PROVENANCE.read_text(encoding="utf-8"))
    return known[case]["label"] if case in known else "not stated"


def rewrite(student_file: Path, table: Path | None) -> str:
    """The card's text, with the figures of an evaluation when one is given; the file is rewritten."""
    path = student_file.with_suffix(".json")
    content = student.load(path).card
    if table:
        content = content | {"metrics": unseen(metrics(table), content)}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    return text


def unseen(rows: list[dict[str, Any]], card: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows, if no case is among the training data. Raises UserError otherwise."""
    trained = {source["name"] for source in card.get("training", {}).get("data", [])} & {row["case"] for row in rows}
    if trained:
        raise UserError(f"{', '.join(sorted(trained))} was trained on; evaluate on other cases.")
    return rows


def number(text: str) -> float | str | None:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if value == value else None  # NaN is no JSON


def limitations(data: list[dict[str, str]]) -> list[str]:
    """What a person must know, by what the network was trained on."""
    if all(source["name"] == "phantom" for source in data):
        return ["Trained on a drawn phantom alone: it shows that the training path runs and is of no use on people."]
    return LIMITATIONS


def complete(card: dict[str, Any], checkpoint_file: Path) -> dict[str, Any]:
    """A bare card with training, intended use, limitations and license."""
    origins = training(checkpoint_file)
    return card | {
        "training": origins,
        "metrics": [],
        "scope": SCOPE,
        "intended_use": INTENDED_USE,
        "limitations": limitations(origins["data"]),
        "license": "Apache-2.0",
    }
