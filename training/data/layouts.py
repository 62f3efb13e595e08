"""How public data sets lie on disk: each reader turns a folder into scans, whether or not every file is there.

What is missing or does not fit is listed by case in `cache.prepare`.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from LiverGTANLib.core.files import read_json
from LiverGTANLib.standalone.image_files import INPUT_SUFFIXES, stem_of, suffix_of
from training.data.bank import LARGEST_META
from training.data.labels import LabelTable, label_table
from training.data.scans import Part, Scan
from training.errors import UserError, reason


def lits(folder: Path) -> list[Scan]:
    """LiTS: `volume-N.nii` and `segmentation-N.nii`, anywhere below the folder; liver = 1 and tumor = 2."""
    images = list(_images(folder))
    volumes = _grouped((p for p in images if p.name.startswith("volume-")), _number)
    masks = _grouped((p for p in images if p.name.startswith("segmentation-")), _number)
    return [
        _matched(
            f"lits-{n}",
            volumes[n] or [_sibling(masks[n], f"volume-{n}.nii")],
            masks[n] or [_sibling(volumes[n], f"segmentation-{n}.nii")],
            LabelTable((1, 2), (0, 1, 2)),
        )
        for n in sorted(volumes.keys() | masks.keys(), key=lambda n: (len(n), n))
    ]


def msd(folder: Path) -> list[Scan]:
    """Medical Segmentation Decathlon Task03: `dataset.json` names images and labels; the test images are unlabelled."""
    content = _dataset_json(folder)
    table, scans = label_table(content.get("labels"), folder / "dataset.json"), []
    for number, entry in enumerate(content.get("training", [])):
        image, label = (_named_file(entry, kind) for kind in ("image", "label"))
        name = stem_of(Path(image or label or f"training-{number}"))
        wrong = None if image and label else f"dataset.json does not name an image and a label for it: {entry}"
        scans.append(_labelled(name, folder / (image or name), folder / (label or name), table, wrong))
    for entry in content.get("test", []):
        path = folder / (_named_file(entry, "image") or str(entry))
        scans.append(Scan(stem_of(path), stem_of(path), path))
    return scans


def totalsegmentator(folder: Path) -> list[Scan]:
    """TotalSegmentator v2: `sXXXX/ct.nii.gz`, `sXXXX/segmentations/liver.nii.gz`; `meta.csv` gives the split.

    Many of its scans show no liver; their masks are empty.
    """
    parts: dict[str, Part] = _totalsegmentator_parts(folder / "meta.csv")
    return [
        Scan(
            f"totalsegmentator-{case.name}",
            f"totalsegmentator-{case.name}",
            case / "ct.nii.gz",
            case / "segmentations" / "liver.nii.gz",
            part=parts.get(case.name),
            may_lack_liver=True,
        )
        for case in sorted(folder.glob("s[0-9]*"))
        if case.is_dir()
    ]


def chaos(folder: Path) -> list[Scan]:
    """CHAOS, its CT part: `<patient>/DICOM_anon/*.dcm` with `<patient>/Ground/*.png`; test sets have no Ground."""
    root = next((p for p in (folder / "Train_Sets" / "CT", folder / "CT", folder) if p.is_dir()), folder)
    scans = []
    for series in sorted(root.glob("*/DICOM_anon")):
        name = f"chaos-ct-{series.parent.name}"
        ground = series.parent / "Ground"
        scans.append(Scan(name, name, series, ground if ground.is_dir() else None))
    return scans


def nnunet(folder: Path) -> list[Scan]:
    """nnU-Net raw: `imagesTr/CASE_0000.*`, `labelsTr/CASE.*`, `dataset.json`; `imagesTs` is unlabelled."""
    content = _dataset_json(folder)
    channels = content.get("channel_names") or content.get("modality") or {"0": "CT"}
    first = str(channels.get("0", "CT")) if isinstance(channels, dict) else str(channels)
    if "ct" not in first.lower():
        raise UserError(f"{folder}: channel 0 is {first!r}, not CT; give a CT data set.")
    table = label_table(content.get("labels"), folder / "dataset.json")
    ending = content.get("file_ending", ".nii.gz")
    channel, tr, labels = f"_0000{ending}", folder / "imagesTr", folder / "labelsTr"
    images = {path.name.removesuffix(channel): path for path in _visible(tr, f"*{channel}")}
    masks = {path.name.removesuffix(ending): path for path in _visible(labels, f"*{ending}")}
    scans = [
        _labelled(case, images.get(case, tr / f"{case}{channel}"), masks.get(case, labels / f"{case}{ending}"), table)
        for case in (*images, *(case for case in masks if case not in images))
    ]
    cases = {path.name.removesuffix(channel): path for path in _visible(folder / "imagesTs", f"*{channel}")}
    return scans + [Scan(case, case, path) for case, path in cases.items()]


def pairs(folder: Path, liver: int | None = None) -> list[Scan]:
    """Two folders `images` and `labels` with a mask of the same name for every CT.

    Liver is the value of `pairs=FOLDER:VALUE`, else the only value above 0, or 1 and 2 (tumor).
    """
    images, labels = (_grouped(_images(folder / name, deep=False), stem_of) for name in ("images", "labels"))
    return [
        _matched(
            name,
            images[name] or [folder / "images" / f"{name}.nii.gz"],
            labels[name] or [folder / "labels" / f"{name}.nii.gz"],
            None if liver is None else LabelTable((liver,), ()),
        )
        for name in sorted(images.keys() | labels.keys())
    ]


def unlabelled(folder: Path) -> list[Scan]:
    """Every image file below the folder, and every folder of DICOM files, without masks.

    Named by the folders on the way and the file: FOLDER/a/b.nii.gz is "a-b".
    """
    series = {p.parent for p in folder.rglob("*") if p.suffix.lower() in (".dcm", ".ima")}
    return [
        Scan("-".join((*place.relative_to(folder).parent.parts, stem_of(place))), stem_of(place), place)
        for place in (*_images(folder), *sorted(series - {folder}))
    ] + [Scan(stem_of(folder), stem_of(folder), folder) for _ in series & {folder}]


LAYOUTS: dict[str, Callable[[Path], list[Scan]]] = {
    "lits": lits,
    "msd": msd,
    "totalsegmentator": totalsegmentator,
    "chaos": chaos,
    "nnunet": nnunet,
    "pairs": pairs,
    "unlabelled": unlabelled,
}


def read(text: str) -> list[Scan]:
    """Scans of `LAYOUT=FOLDER`, or `pairs=FOLDER:VALUE`. Raises UserError for an unknown layout or an empty folder."""
    layout, _, place = text.partition("=")
    if layout not in LAYOUTS or not place:
        raise UserError(f"'{text}' does not name a data set; write LAYOUT=FOLDER, with one of {', '.join(LAYOUTS)}.")
    place, value = (place, None) if layout != "pairs" else _value_apart(place)
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; give the folder of the {layout} data set.")
    scans = LAYOUTS[layout](folder) if value is None else pairs(folder, value)
    if not scans:
        expected = str(LAYOUTS[layout].__doc__).splitlines()[0]
        raise UserError(f"{folder} holds nothing in the layout {layout}: {expected}")
    return _each_name_once(scans)


def _value_apart(place: str) -> tuple[str, int | None]:
    """Folder and value of FOLDER:VALUE."""
    folder, colon, value = place.rpartition(":")
    return (folder, int(value)) if colon and value.isdigit() else (place, None)


def _labelled(name: str, ct: Path, mask: Path, table: LabelTable | None, fault: str | None = None) -> Scan:
    """A scan with its mask; without a table the mask itself must be clear."""
    if table is None:
        return Scan(name, name, ct, mask, fault=fault)
    return Scan(name, name, ct, mask, table.liver, known=table.known or None, ignore=table.ignore, fault=fault)


def _matched(name: str, cts: list[Path], masks: list[Path], table: LabelTable | None) -> Scan:
    """The scan of all files that have its name; of several it cannot be known which one belongs to it."""
    several = next((files for files in (cts, masks) if len(files) > 1), None)
    fault = f"it is there several times: {', '.join(map(str, several))}" if several else None
    return _labelled(name, cts[0], masks[0], table, fault)


def _each_name_once(scans: list[Scan]) -> list[Scan]:
    """The scans; those that share a name with others of their data set are marked as faulty."""
    count: dict[str, int] = defaultdict(int)
    for scan in scans:
        count[scan.name] += 1
    twice = "several scans of the data set have this name"
    return [scan if count[scan.name] == 1 else dataclasses.replace(scan, fault=scan.fault or twice) for scan in scans]


def _totalsegmentator_parts(meta: Path) -> dict[str, Part]:
    if not meta.exists():
        logging.getLogger(__name__).warning("%s is missing, so the split of this data set is drawn anew.", meta)
        return {}
    with meta.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        rows = list(csv.DictReader(file, delimiter=";" if ";" in first else ","))
    names: dict[str, Part] = {"train": "train", "val": "validation", "test": "test"}
    if rows and not {"image_id", "split"} <= rows[0].keys():
        raise UserError(f"{meta} lacks the columns image_id and split; bring back the data set's own file.")
    return {row["image_id"]: names[row["split"]] for row in rows if row["split"] in names}


def _dataset_json(folder: Path) -> dict:
    file = folder / "dataset.json"
    try:
        content = read_json(file, LARGEST_META)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({reason(error)}); it belongs to this layout.") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} does not hold a table of names and values; it belongs to this layout.")
    return content


def _named_file(entry: Any, kind: str) -> str | None:
    """The file that an entry of `dataset.json` names."""
    found = entry.get(kind) if isinstance(entry, dict) else None
    return found if isinstance(found, str) else None


def _visible(folder: Path, pattern: str) -> list[Path]:
    """Files in order, without those that begin with a dot (macOS leaves `._NAME` beside a file)."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def _grouped(paths: Iterable[Path], key: Callable[[Path], str]) -> defaultdict[str, list[Path]]:
    """Files by what their names have in common."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        found[key(path)].append(path)
    return found


def _images(folder: Path, deep: bool = True) -> Iterable[Path]:
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(p for p in found if suffix_of(p, INPUT_SUFFIXES) and not p.name.startswith("."))


def _number(path: Path) -> str:
    return stem_of(path).rpartition("-")[2]


def _sibling(known: list[Path], name: str) -> Path:
    """Where a missing file should have been: beside its counterpart."""
    return known[0].parent / name
