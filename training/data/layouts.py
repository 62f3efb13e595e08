"""How public data sets lie on disk: each reader turns a folder into scans, whether or not every file is there.

What is missing or does not fit is listed by case in `cache.prepare`.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from LiverGTANLib.standalone.image_files import INPUT_SUFFIXES, stem_of, suffix_of
from training.data.scans import Part, Scan
from training.errors import UserError

TUMORS = ("tumor", "tumour", "cancer", "lesion")


def lits(folder: Path) -> list[Scan]:
    """LiTS: `volume-N.nii` and `segmentation-N.nii`, anywhere below the folder; liver = 1 and tumor = 2."""
    volumes = {_number(p): p for p in _images(folder) if p.name.startswith("volume-")}
    masks = {_number(p): p for p in _images(folder) if p.name.startswith("segmentation-")}
    return [
        Scan(
            f"lits-{n}",
            f"lits-{n}",
            volumes.get(n) or _sibling(masks.get(n), f"volume-{n}.nii", folder),
            masks.get(n) or _sibling(volumes.get(n), f"segmentation-{n}.nii", folder),
        )
        for n in sorted(volumes.keys() | masks.keys(), key=lambda n: (len(n), n))
    ]


def msd(folder: Path) -> list[Scan]:
    """Medical Segmentation Decathlon Task03: `dataset.json` names images and labels; the test images are unlabelled."""
    content = _dataset_json(folder)
    liver = liver_values({name: int(value) for value, name in content.get("labels", {}).items()}, folder)
    scans = []
    for entry in content.get("training", []):
        image = folder / entry["image"]
        scans.append(Scan(stem_of(image), stem_of(image), image, folder / entry["label"], liver))
    for image in content.get("test", []):
        path = folder / (image["image"] if isinstance(image, dict) else image)
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
    if "ct" not in str(channels.get("0", "CT")).lower():
        raise UserError(f"{folder}: channel 0 is {channels['0']!r}, not CT; give a CT data set.")
    liver = liver_values(content.get("labels", {}), folder)
    ending = content.get("file_ending", ".nii.gz")
    scans = []
    for image in sorted((folder / "imagesTr").glob(f"*_0000{ending}")):
        case = image.name.removesuffix(f"_0000{ending}")
        scans.append(Scan(case, case, image, folder / "labelsTr" / f"{case}{ending}", liver))
    named = {scan.name for scan in scans}
    for mask in sorted((folder / "labelsTr").glob(f"*{ending}")):
        case = mask.name.removesuffix(ending)
        if case not in named:
            scans.append(Scan(case, case, folder / "imagesTr" / f"{case}_0000{ending}", mask, liver))
    for image in sorted((folder / "imagesTs").glob(f"*_0000{ending}")):
        case = image.name.removesuffix(f"_0000{ending}")
        scans.append(Scan(case, case, image))
    return scans


def pairs(folder: Path) -> list[Scan]:
    """Two folders `images` and `labels` with a mask of the same name for every CT; every value above 0 is liver."""
    images = {stem_of(p): p for p in _images(folder / "images", deep=False)}
    labels = {stem_of(p): p for p in _images(folder / "labels", deep=False)}
    return [
        Scan(
            name,
            name,
            images.get(name, folder / "images" / f"{name}.nii.gz"),
            labels.get(name, folder / "labels" / f"{name}.nii.gz"),
        )
        for name in sorted(images.keys() | labels.keys())
    ]


def unlabelled(folder: Path) -> list[Scan]:
    """Every image file below the folder, and every folder of DICOM files, without masks."""
    scans = [Scan(str(p.relative_to(folder)), stem_of(p), p) for p in _images(folder)]
    series = {p.parent for p in folder.rglob("*") if p.suffix.lower() in (".dcm", ".ima")}
    return scans + [Scan(str(p.relative_to(folder)), p.name, p) for p in sorted(series)]


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
    """Scans of `LAYOUT=FOLDER`. Raises UserError for an unknown layout, a missing or an empty folder."""
    layout, _, place = text.partition("=")
    if layout not in LAYOUTS or not place:
        raise UserError(f"'{text}' is no data set; write LAYOUT=FOLDER, with one of {', '.join(LAYOUTS)} as layout.")
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; give the folder of the {layout} data set.")
    scans = LAYOUTS[layout](folder)
    if not scans:
        expected = str(LAYOUTS[layout].__doc__).splitlines()[0]
        raise UserError(f"{folder} holds nothing in the layout {layout}: {expected}")
    return scans


def liver_values(labels: dict[str, int | list[int]], folder: Path) -> tuple[int, ...]:
    """Mask values that are liver: labels named after it, tumors and lesions. Raises UserError if none is."""
    values: set[int] = set()
    for name, value in labels.items():
        if "liver" in name.lower() or name.lower() in TUMORS:
            values.update(value if isinstance(value, list) else [int(value)])
    if not any("liver" in name.lower() for name in labels):
        raise UserError(f"{folder / 'dataset.json'} names no liver among its labels ({', '.join(labels) or 'none'}).")
    return tuple(sorted(values))


def _totalsegmentator_parts(meta: Path) -> dict[str, Part]:
    if not meta.exists():
        logging.getLogger(__name__).warning("%s is missing, so the split of this data set is drawn anew.", meta)
        return {}
    with meta.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        rows = list(csv.DictReader(file, delimiter=";" if ";" in first else ","))
    names: dict[str, Part] = {"train": "train", "val": "validation", "test": "test"}
    return {row["image_id"]: names[row["split"]] for row in rows if row.get("split") in names}


def _dataset_json(folder: Path) -> dict:
    try:
        return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{folder / 'dataset.json'} cannot be read ({error}); it belongs to this layout.") from None


def _images(folder: Path, deep: bool = True) -> Iterable[Path]:
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(p for p in found if suffix_of(p, INPUT_SUFFIXES) and not p.name.startswith("."))


def _number(path: Path) -> str:
    return stem_of(path).rpartition("-")[2]


def _sibling(known: Path | None, name: str, folder: Path) -> Path:
    """Where a missing file should have been."""
    return (known.parent if known is not None else folder) / name
