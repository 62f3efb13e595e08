"""What synthesis draws from: tissue maps or drawn bodies, the CTs of the data folder, and the configured data sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from LiverGTANLib.core.files import read_json
from training import paths
from training.data import held_out, layouts
from training.data.bank import LARGEST_META
from training.data.cache import CachedScan, prepare
from training.data.copy_checks import contents_with_copies
from training.data.scans import Part, Scan
from training.data.splits import recorded, recorded_split, refuse_shared_content, split
from training.errors import UserError, reason
from training.options import WEIGHTS, RealScans, SynthesisConfig
from training.synthesis.phantom import tissue_phantom
from training.synthesis.sources import Source, read_tissue_map, tissue_source

EXPERT, PSEUDO = "_liver.nii.gz", "_liver_pseudo.nii.gz"
"""Endings of labels beside a CT of the data folder: made by people, and by a machine."""
SAME_PATIENT = {
    **{f"msd_liver_{number:02}": "msd_liver_06" for number in range(6, 11)},
    **{f"hcc_tace_seg_009_pretace_{which}": "hcc_tace_seg_009" for which in ("103", "4", "plain10mm")},
}
"""CT -> patient, where several are of one (MSD 6 to 10: found by looking at them); the others have one each."""
PHANTOMS = 4
"""Drawn bodies that stand in for tissue maps."""
SHARES = {"real_share": 0.23, "heads_and_limbs_share": 0.04}
"""Shares of the bundled students' banks: 23 % real CTs were all that there were, drawn often."""


def data_folder(config: RealScans) -> Path:
    """The folder with tissue maps and CTs. Raises UserError for a --data that is not a folder."""
    if config.data is not None and not config.data.is_dir():
        raise UserError(f"There is no folder {config.data}; give the one that holds tissue_maps/ and ct/.")
    return config.data or paths.data_folder()


def load_maps(config: SynthesisConfig) -> list[Source]:
    """Tissue maps on the fine grid; drawn bodies if asked for, and none where all volumes come from real CTs.

    Raises UserError when there are no maps.
    """
    if config.real_share == 1:
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


def dataset_scans(config: RealScans) -> list[Scan]:
    """The scans of all data sets, by their names on disk alone. Raises UserError for a name that two of them share."""
    # One data set in two spellings gives equal scans.
    scans = list(dict.fromkeys(scan for text in config.datasets for scan in layouts.read(text)))
    first: dict[str, Scan] = {}
    for scan in scans:
        other = first.setdefault(scan.name, scan)
        if other is not scan and not (other.fault and scan.fault):  # faulty ones are refused by case, or left out
            raise UserError(
                f"Two data sets have a scan {scan.name} ({other.ct}, {scan.ct}); rename the files of one, or leave it "
                "out."
            )
    labelled = [with_pseudo_label(scan, config.labels) for scan in scans]
    weights = dataset_weights(config)
    return [replace(scan, accepted=scan.name in config.accept, weight=weights.get(scan.name, 1.0)) for scan in labelled]


def dataset_weights(config: RealScans) -> dict[str, float]:
    """Weights by name for the CTs of data sets: those that were given, for the default is of the data folder's CTs.

    A configuration file replaces the whole table, the command line single values of it.
    """
    if config.weights.keys() != WEIGHTS.keys():
        return config.weights
    return {name: weight for name, weight in config.weights.items() if weight != WEIGHTS[name]}


def with_pseudo_label(scan: Scan, labels: Path | None) -> Scan:
    """A scan without a mask with that of `--labels`, if there is one: to train on, never to validate on."""
    file = labels / f"{scan.name}.nii.gz" if labels else None
    return replace(scan, mask=file, part="train") if file and file.exists() and not scan.labelled else scan


def trained_alone(config: SynthesisConfig, scans: list[Scan]) -> bool:
    """Whether the data sets are all that is trained on: by default, where they are labelled."""
    return config.real_share is None and any(scan.labelled for scan in scans)


def with_shares(config: SynthesisConfig, alone: bool) -> SynthesisConfig:
    """The configuration with the shares that it leaves open."""
    real, heads = (1.0, 0.0) if alone else SHARES.values()
    return replace(
        config,
        real_share=real if config.real_share is None else config.real_share,
        heads_and_limbs_share=heads if config.heads_and_limbs_share is None else config.heads_and_limbs_share,
    )


@dataclass(frozen=True)
class Reals:
    """The prepared CTs to train on.

    left_out: those that cannot be used, by name with what is wrong. set_aside: the other CTs that are not trained on,
    by name with the reason.
    """

    entries: list[CachedScan]
    left_out: dict[str, str] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)


def prepare_reals(
    config: RealScans,
    own: dict[Scan, Part],
    scans: list[Scan],
    alone: bool,
    record: Path,
    report: Callable[[str], None],
) -> Reals:
    """Check, split and cache the real CTs: `scans` of the data sets and, unless these are alone, those of `data`.

    record: file that says which CTs of the data sets are in which part. Raises UserError that lists every unusable
    scan, for one scan in two parts of the split, and for two scans of one name.
    """
    # Names are keys from here on: of these CTs, and of no other.
    called = {scan.name for scan in scans}
    aside = {name: why for name, why in set_aside(config, own, alone).items() if name not in called}
    compared: dict[Scan, Part] = {scan: part for scan, part in own.items() if part != "train"}
    if alone:
        own = compared
    if not scans and own == compared:
        own = compared = {}  # there is nothing to compare them with
    require_other_names(scans, own)
    if compared:
        read = first_of(sorted(scan.name for scan in compared))
        report(f"Read and prepared, too, so that no copy of them under another name is trained on: {read}")
    known: dict[str, Part] = {name: entry["part"] for name, entry in recorded(record).items()}
    split(scans, config.validation_share, config.seed, known)  # refused before an hour of preparation
    left_out: dict[str, str] = {}
    entries = prepare(
        [*own, *scans], config.cache, config.fine_mm, config.workers, report, left_out if config.skip_bad else None
    )
    contents = {entry.name: entry.content for entry in entries}
    usable = [scan for scan in scans if scan.name in contents]
    parts: dict[str, Part] = {scan.name: part for scan, part in own.items()}
    parts |= split(usable, config.validation_share, config.seed, known)
    alike = contents_with_copies(contents, {entry.name: entry.sketch for entry in entries})
    for names in refuse_shared_content(alike, parts):
        report(f"The same scan under several names, all in one part: {', '.join(names)}")
    trained = [entry for entry in entries if parts[entry.name] == "train"]
    if scans:
        recorded_split(record, usable, config.validation_share, config.seed, contents)
    aside |= {scan.name: f"for {parts[scan.name]}, see {record.name}" for scan in usable if parts[scan.name] != "train"}
    report_by_reason(aside, report)
    return Reals(trained, left_out, aside)


def require_other_names(scans: list[Scan], own: Iterable[Scan]) -> None:
    """Raises UserError for scans of the data sets that are called as CTs of the data folder that are read, too."""
    theirs = {scan.name: scan for scan in scans}
    shared = [f"{scan.name} ({scan.ct}, {theirs[scan.name].ct})" for scan in own if scan.name in theirs]
    if shared:
        raise UserError(
            f"A CT of the data folder and one of a data set have one name: {first_of(shared)}. Rename the files of the "
            "data set, CT and mask; a CT that is in both, leave out of the data set."
        )


def set_aside(config: RealScans, own: dict[Scan, Part], alone: bool) -> dict[str, str]:
    """Name -> reason for each CT of the data folder that is not trained on. own: those that take part at all."""
    if not own:
        return {}
    taken = set() if alone else {scan.name for scan, part in own.items() if part == "train"}

    def why_not(name: str) -> str:
        if name in held_out.BY_NAME:
            return "held out to measure on"
        if name in config.exclude:
            return "named by --exclude, which has a default"
        return "of the data folder, which labelled data sets do without" if alone else "without a mask (--unlabelled)"

    return {ct_name(file): why_not(ct_name(file)) for file in own_cts(config) if ct_name(file) not in taken}


LISTED = 8
"""Names in a report; the record has all of them."""


def report_by_reason(aside: dict[str, str], report: Callable[[str], None]) -> None:
    """One line for each reason with the names that it holds for."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, why in sorted(aside.items()):
        names[why].append(name)
    for why, of in names.items():
        report(f"Not trained on, {why}: {first_of(of)}")


def first_of(names: list[str]) -> str:
    """The names for a report, a few of many."""
    more = f" and {len(names) - LISTED} others" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def labels_record(config: RealScans) -> dict[str, Any] | None:
    """What `pseudolabel` wrote of the masks of `--labels`; None without these. Raises UserError for another folder."""
    if config.labels is None:
        return None
    file = config.labels / "labels.json"
    try:
        content = read_json(file, LARGEST_META)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read ({reason(error)}); give --labels a folder that `python -m training pseudolabel` "
            "wrote."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{file} was not written by `python -m training pseudolabel`; give --labels its folder.")
    return content


def require_names(config: RealScans, own: set[str], others: set[str]) -> None:
    """Raises UserError for names in `weights`, `accept`, `exclude` and `unlabelled` of CTs that are not there.

    Names that are the default are of the project's own data, which need not be here.
    """
    default = RealScans()
    every = own | others
    for option, known in (("weights", every), ("accept", every), ("exclude", own), ("unlabelled", own)):
        unknown = sorted(set(getattr(config, option)) - set(getattr(default, option)) - known)
        if unknown:
            where = "of the data folder or a data set" if known is every else "of the data folder"
            raise UserError(f"--{option} names {', '.join(unknown)}, but no CT {where} has this name; correct it.")
    masks = {ct_name(file) for file in config.labels.glob("*.nii.gz")} if config.labels else set()
    if masks - every:
        raise UserError(
            f"--labels holds masks of {', '.join(sorted(masks - every))}, but there is no such CT in the data folder "
            "or a data set: name the folder of the CTs that were outlined by --datasets unlabelled=FOLDER."
        )


def own_scans(config: RealScans) -> dict[Scan, Part]:
    """The CTs of the data folder: those with a label, and the named ones without any, to train on.

    The held-out and the excluded ones are there, too, so that they are found in other data under another name.
    """
    scans: dict[Scan, Part] = {}
    for ct in own_cts(config):
        name = ct_name(ct)
        scan = Scan(name, SAME_PATIENT.get(name, name), ct, weight=config.weights.get(name, 1.0))
        mask = own_label(ct, config.labels)
        if name in config.exclude or name in held_out.BY_NAME:
            scans[scan] = "validation"
        elif name in config.unlabelled:
            scans[scan] = "train"
        elif mask is not None:
            scans[replace(scan, mask=mask, accepted=name in config.accept)] = "train"
    return scans


def own_cts(config: RealScans) -> list[Path]:
    """The CT files of the data folder, beside which labels lie."""
    return [
        file
        for file in sorted((data_folder(config) / "ct").glob("*.nii.gz"))
        if not file.name.endswith((EXPERT, PSEUDO))
    ]


def ct_name(file: Path) -> str:
    """That of a CT of the data folder."""
    return file.name.removesuffix(".nii.gz")


def own_label(ct: Path, replacements: Path | None) -> Path | None:
    """The label of a CT: one made by people, else one of `pseudolabel`, else the pseudo-label that lies beside it."""
    candidates = [ct.with_name(ct_name(ct) + EXPERT)]
    candidates.append(replacements / ct.name if replacements else ct.with_name(ct_name(ct) + PSEUDO))
    return next((file for file in candidates if file.exists()), None)
