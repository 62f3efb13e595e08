"""From CT images to the one volume to segment: series and phases told apart, and one of them chosen."""

import filecmp
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...core.files import brief
from ...core.input_checks import FEWEST_SLICES, tilt_degrees
from ...core.volume import InputError
from .files import FILE, LONGEST_LABEL, MIXTURE_KEYWORDS, ORIGIN_KEYWORDS, PHASE_KEYWORDS, CtImage, DicomContent
from .stack import LARGEST_JITTER, SAME_POSITION_MM, WIDE_STEP, Stack, arrange

MOST_LOCALIZERS = 3
LOCALIZER_DEGREES = 45.0
LEAST_SHARED_RANGE = 0.5
"""Phases share this part of the longest one at least; parts of a scan that follow each other share none."""

LARGEST_HIDDEN_TILT_DEGREES = 2.0
"""As `model_grid.LARGEST_SHEAR_DEGREES`: less does not show."""

ABDOMEN_WORDS = ("ABD", "LIVER", "HEPAT", "BODY", "TRUNK", "TAP", "CAP", "PELVIS")
"""Parts of the names that BodyPartExamined has for scans with a liver in them."""

MOST_MIXED = 4
"""What has more values differs from slice to slice, as acquisition numbers of scans without a spiral do."""

NO_PLAIN_HU = re.compile(
    r"(?<![A-Z])(MIP|MAX_IP|MIN_IP|MINIP|PROJECTION IMAGE|SUBTRACT(ION|ED)|IODINE|MATERIAL|VMI|MAT_[A-Z_]+|"
    r"EFF_ATOMIC_NUM|ELECTRON[_ ]DENSITY|VNC|VUE|VIRTUAL[_ ]?(NON|UNENH)[A-Z_ ]*|MONO(CHROM|ENERG)[A-Z]*|"
    r"MONO(E|\+|PLUS)|Z[-_ ]?EFF(ECTIVE)?|[0-9]{2,3} ?KEV|CALCIUM SUPPRESSED|FAT FRACTION|BLOOD (FLOW|VOLUME))(?![A-Z])"
)
"""Words of ImageType (DICOM PS3.3, C.8.2.1.1.1 and, for several energies, C.8.15.3.1.5) and of scanners' descriptions
for images whose values are not those of the tissue at their place, at the energies of an ordinary CT."""

LARGEST_DISAGREEMENT = 1.2
"""Two sizes of a voxel that differ by a larger factor contradict each other: SliceLocation follows the table, which a
gantry tilted by 30 degrees makes 1.15 times as large."""

LARGEST_GAP, LARGEST_OVERLAP = 1.5, 2.5
"""Slices that lie farther apart, in parts of their thickness, leave out what lies between; scanners reconstruct slices
at half of their thickness, seldom closer."""

MOST_PARTS = 10_000
"""Of a concatenation; the numbers are 16 bits long."""

RECONSTRUCTED = (512, 768, 1024)
"""Columns of images as scanners reconstruct them; of another number, an image may have been cropped."""


class SeveralSeriesError(InputError):
    """There are several CT volumes and none was chosen; the message lists them."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The stack to segment, and what was left out to come to it, in sentences."""

    stack: Stack
    notes: list[str]


def choose(content: DicomContent, path: Path, number: int | None = None) -> Choice:
    """The one CT volume, or the one with this number (see `_numbered`) when there are several.

    Raises InputError when there is none, several, or the one chosen is faulty.
    """
    stacks, aside = _stacks(content.images)
    if not stacks:
        raise InputError(_nothing_found(content, aside, path))
    chosen = _by_number(stacks, number, path) if number is not None else _the_only_one(stacks, path)
    missing = _missing_parts(content.images, chosen)
    if missing:
        raise InputError(f"{_folder(chosen, path)}: {missing}")
    if chosen.fault:
        raise InputError(f"{_folder(chosen, path)}: {chosen.fault}{_stranger(content.images, stacks, chosen)}")
    notes = _left_out(content, aside) + _hidden_tilt(chosen) + _contradictions(chosen)
    notes += _mixtures(chosen) + _no_plain_hu(chosen)
    if len(stacks) > 1:
        notes.insert(0, f"{len(stacks)} CT series were found; taken was {chosen.label}.")
    return Choice(chosen, notes)


def _folder(stack: Stack, path: Path) -> Path:
    folders = {image.path.parent for image in stack.images}
    return folders.pop() if len(folders) == 1 else path


def _missing_parts(images: list[CtImage], chosen: Stack) -> str:
    """What is missing of a multi-frame image that was stored in several files (a concatenation); empty if nothing."""
    first = chosen.images[0]
    name = first.attributes.get("ConcatenationUID")
    if not name:
        return ""
    parts = {
        _number(image, "InConcatenationNumber") for image in images if image.attributes.get("ConcatenationUID") == name
    }
    total = int(min(MOST_PARTS, max(_number(first, "InConcatenationTotalNumber"), *parts)))
    missing = [number for number in range(1, total + 1) if number not in parts]
    if not missing:
        return ""
    others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return (
        f"{first.path.name} is part of a scan in {total} files, of which number {missing[0]} is missing{others}; give "
        "a folder with all of them."
    )


def _stranger(images: list[CtImage], stacks: list[Stack], chosen: Stack) -> str:
    """An image that lies among those of a faulty stack, and is of no stack because it says that it is of another
    patient, study, place or series; empty if there is none."""
    usual, normal = chosen.images[0], np.cross(*chosen.images[0].axes)
    used = {image for stack in stacks for image in stack.images}
    heights = [image.position @ normal for image in chosen.images]
    for image in images:
        if image in used or image.fault or not _fit(usual, image):
            continue
        other = [name for name in ORIGIN_KEYWORDS if image.attributes.get(name) != usual.attributes.get(name)]
        other += ["SeriesInstanceUID"] * (image.series != usual.series)
        if other and min(heights) < image.position @ normal < max(heights):
            return f" {image.name}, which lies among them, was left out: it has another {other[0]}."
    return ""


def _by_number(stacks: list[Stack], number: int, path: Path) -> Stack:
    numbered = _numbered(stacks)
    if number not in numbered:
        raise InputError(f"{path} holds {len(stacks)} CT series; there is no number {number}.{_listed(stacks)}")
    return numbered[number]


def _the_only_one(stacks: list[Stack], path: Path) -> Stack:
    if len(stacks) == 1:
        return stacks[0]
    abdomen = [stack for stack in stacks if _shows_abdomen(stack)]
    if len(abdomen) == 1 and all(stack.images[0].body_part for stack in stacks):
        return abdomen[0]
    why = " (several phases in one series)" if any(stack.phase for stack in stacks) else ""
    if any(stack.origin for stack in stacks):
        why = " (several patients, studies or frames of reference in one series)"
    raise SeveralSeriesError(
        f"{path} holds {len(stacks)} CT series{why}; choose one by the number that its line begins with, in --series "
        "NUMBER for a single input, in the column series of a CSV file of cases for an output folder."
        f"{_listed(stacks)}"
    )


def _shows_abdomen(stack: Stack) -> bool:
    return any(word in stack.images[0].body_part for word in ABDOMEN_WORDS)


def _listed(stacks: list[Stack]) -> str:
    return "".join(f"\n  {number}: {stack.label}" for number, stack in _numbered(stacks).items())


def _numbered(stacks: list[Stack]) -> dict[int, Stack]:
    """Stacks by the number that chooses them: that of their DICOM series where each has one of its own, otherwise their
    place in the list, from 1 or, where one would be the series number of another stack, from beyond all of those."""
    series = [stack.images[0].series_number for stack in stacks]
    if len(set(series)) == len(series) and min(series) > 0:
        return dict(zip(series, stacks))
    unclear = any(place in series and place != own for place, own in enumerate(series, start=1))
    return dict(enumerate(stacks, start=max(series) + 1 if unclear else 1))


def _nothing_found(content: DicomContent, aside: Counter[str], path: Path) -> str:
    parts = [f"{kind} ({count})" for kind, count in (content.others + aside).items()]
    found = f" (found: {', '.join(parts)})" if parts else ""
    return f"{path} holds no DICOM series of CT slices{found}; give the folder that holds the slices."


def _left_out(content: DicomContent, aside: Counter[str]) -> list[str]:
    parts = [f"{kind} ({count})" for kind, count in (aside + content.others).items()]
    return [f"Left out, as no part of the volume: {', '.join(parts)}."] if parts else []


def _hidden_tilt(stack: Stack) -> list[str]:
    """A tilt that the header states and the positions of the slices do not show."""
    stated = abs(stack.images[0].tilt)
    shown = tilt_degrees(stack.ijk_to_ras)
    if not stated - shown > LARGEST_HIDDEN_TILT_DEGREES:
        return []
    return [
        f"The header states a gantry tilt of {stated:.3g} degrees, which the positions of the slices do not show: "
        "unless the scanner straightened them, the mask is slanted against the patient."
    ]


def _contradictions(stack: Stack) -> list[str]:
    """What the header says of the size of voxels beside positions and PixelSpacing, where it is something else."""
    image = stack.images[0]
    step, wide = (float(np.linalg.norm(stack.ijk_to_ras[:3, axis])) for axis in (2, 0))
    stated = {
        "SpacingBetweenSlices": abs(_number(image, "SpacingBetweenSlices")),
        "SliceLocation": _step_of_locations(stack.images),
    }
    notes = [
        f"The slices lie {step:.3g} mm apart by their positions and {other:.3g} mm by {keyword}: one is wrong, or "
        "slices were left out; if it is the positions, the liver's volume is wrong, too."
        for keyword, other in stated.items()
        if other > 0 and not 1 / LARGEST_DISAGREEMENT < step / other < LARGEST_DISAGREEMENT
    ]
    thickness = _number(image, "SliceThickness")
    if not notes and 0 < thickness * LARGEST_GAP < step:
        notes.append(
            f"Slices {thickness:.3g} mm thick lie {step:.3g} mm apart: what lies between was not scanned, slices were "
            "left out, or the positions are wrong; the liver's volume may be, too."
        )
    if not notes and thickness > LARGEST_OVERLAP * step:
        notes.append(
            f"Slices {thickness:.3g} mm thick lie only {step:.3g} mm apart: they overlap by more than scanners make "
            "them, or the positions are wrong; if so, the liver's volume is, too."
        )
    field, shown = _number(image, "ReconstructionDiameter"), wide * image.size[1]
    cropped = image.size[1] not in RECONSTRUCTED and shown < field
    if field > 0 and not cropped and not 1 / LARGEST_DISAGREEMENT < shown / field < LARGEST_DISAGREEMENT:
        notes.append(
            f"The image is {shown:.0f} mm wide by PixelSpacing and {field:.0f} mm by ReconstructionDiameter: one is "
            "wrong; if it is PixelSpacing, the liver's volume is wrong, too."
        )
    return notes


def _number(image: CtImage, keyword: str) -> float:
    """0 where there is none."""
    try:
        value = float(image.attributes.get(keyword, ""))
    except ValueError:
        return 0.0
    return value if np.isfinite(value) else 0.0


def _step_of_locations(images: list[CtImage]) -> float:
    """Distance of slices by SliceLocation; 0 where not all have one of their own."""
    locations = [_number(image, "SliceLocation") for image in images]
    if len(set(locations)) < len(images):
        return 0.0
    return float(np.median(np.abs(np.diff(locations))))


def _mixtures(stack: Stack) -> list[str]:
    """Attributes that differ between slices of one volume, which may be parts of several."""
    parts = []
    for keyword in MIXTURE_KEYWORDS:
        counts = Counter(image.attributes.get(keyword, "none") for image in stack.images)
        if 1 < len(counts) <= MOST_MIXED:
            values = ", ".join(f"{brief(value, LONGEST_LABEL)} ({count} slices)" for value, count in counts.items())
            parts.append(f"{keyword} {values}")
    if not parts:
        return []
    return [f"The slices were not all made alike: {'; '.join(parts)}. Look whether they are of one scan."]


def _no_plain_hu(stack: Stack) -> list[str]:
    """What the header says of values that are no Hounsfield units of the tissue at their place."""
    image = stack.images[0].attributes
    told = f"{image.get('ImageType', '')} {stack.images[0].description}".upper()
    kinds = list(dict.fromkeys(match.group() for match in NO_PLAIN_HU.finditer(told)))
    modalities = {one.attributes.get("Modality", "") for one in stack.images} - {"CT"}
    kinds += [f"Modality {brief(name, LONGEST_LABEL) if name else 'empty'}" for name in sorted(modalities)]
    if image.get("RescaleType", "HU").upper() != "HU":
        kinds.append(f"RescaleType {brief(image['RescaleType'], LONGEST_LABEL)}")
    return [f"The header says that the values may be no plain Hounsfield units ({', '.join(kinds)})."] if kinds else []


def _stacks(images: list[CtImage]) -> tuple[list[Stack], Counter[str]]:
    """All stacks in the order of their series, and the number of images that belong to none, by what they are."""
    aside: Counter[str] = Counter()
    stacks: list[Stack] = []
    for series in _series(images):
        slices = [image for image in series if not image.is_localizer]
        aside["localizers"] += len(series) - len(slices)
        stacks.extend(_stacks_of_series(slices, aside))
    few = [stack for stack in stacks if len(stack.images) < FEWEST_SLICES]
    if len(few) < len(stacks):
        aside[f"images in series of fewer than {FEWEST_SLICES}"] += sum(len(stack.images) for stack in few)
        stacks = [stack for stack in stacks if stack not in few]
    return stacks, +aside


def _series(images: list[CtImage]) -> list[list[CtImage]]:
    """Images by series; series of one image each that fit together are one (some anonymizers give each its own)."""
    by_series: dict[str, list[CtImage]] = defaultdict(list)
    for image in images:
        by_series[image.series].append(image)
    single = [group[0] for group in by_series.values() if len(group) == 1]
    joined = [group for group in _alike(single) if len(group) >= FEWEST_SLICES]
    members = {image.series for group in joined for image in group}
    groups = [group for name, group in by_series.items() if name not in members] + joined
    return sorted(groups, key=lambda group: (group[0].series_number, group[0].series, group[0].path))


def _alike(images: Iterable[CtImage]) -> list[list[CtImage]]:
    """Images grouped by size, orientation and pixel size."""
    groups: list[list[CtImage]] = []
    for image in images:
        group = next((group for group in groups if _fit(group[0], image)), None)
        if group is None:
            groups.append([image])
        else:
            group.append(image)
    return groups


def _fit(first: CtImage, second: CtImage) -> bool:
    if first.fault or second.fault:
        return first.size == second.size
    return (
        first.size == second.size
        and bool(np.allclose(first.axes, second.axes, atol=1e-3))
        and bool(np.allclose(first.spacing, second.spacing, rtol=1e-3))
    )


def _stacks_of_series(images: list[CtImage], aside: Counter[str]) -> Iterator[Stack]:
    images = _without_copies(images, aside)
    faulty = [image for image in images if image.fault]
    if faulty:
        also = f" (as {len(faulty) - 1} others)" if len(faulty) > 1 else ""
        yield Stack(images, np.eye(4), f"{faulty[0].name} has {faulty[0].fault}{also}; export the series again.")
        return
    groups = sorted(_alike(images), key=len, reverse=True)
    main, rest = groups[:1], []
    for group in groups[1:]:
        if len(group) <= MOST_LOCALIZERS and _degrees(group[0], groups[0][0]) > LOCALIZER_DEGREES:
            aside["localizers"] += len(group)
        elif len(group) >= FEWEST_SLICES:
            main.append(group)
        else:
            rest.extend(group)
    rest.extend(group[0] for group in main[1:] if _continues(main[0], group))
    if rest:
        yield Stack(images, np.eye(4), _difference(groups[0][0], rest[0]))
        return
    for group in main:
        yield from _arranged(group)


def _continues(first: list[CtImage], second: list[CtImage]) -> bool:
    """Whether two groups of a series are parts of one scan, above or between each other, and not two views of it."""
    if _degrees(first[0], second[0]) > LOCALIZER_DEGREES:
        return False
    normal = np.cross(*first[0].axes)
    heights = [[image.position @ normal for image in group] for group in (first, second)]
    steps = np.diff(np.sort(np.concatenate(heights)))
    even = steps.min() > SAME_POSITION_MM and steps.max() < WIDE_STEP * np.median(steps)
    apart = min(max(heights[0]), max(heights[1])) < max(min(heights[0]), min(heights[1]))
    return bool(even or apart)


def _without_copies(images: list[CtImage], aside: Counter[str]) -> list[CtImage]:
    """Each file once: copies have one identifier, one position and the same bytes."""
    seen: dict[tuple, CtImage] = {}
    kept = []
    for image in images:
        first = seen.setdefault((image.instance, image.frame, image.position.tobytes()), image)
        if first is image or not filecmp.cmp(first.path, image.path, shallow=False):
            kept.append(image)
    aside["copies of a slice"] += len(images) - len(kept)
    return kept


def _degrees(first: CtImage, second: CtImage) -> float:
    cosine = abs(float(np.cross(*first.axes) @ np.cross(*second.axes)))
    return float(np.rad2deg(np.arccos(min(cosine, 1.0))))


def _difference(usual: CtImage, odd: CtImage) -> str:
    if odd.size != usual.size:
        what = f"{odd.size[1]} x {odd.size[0]} pixels, {usual.name} {usual.size[1]} x {usual.size[0]}"
    elif not np.allclose(odd.spacing, usual.spacing, rtol=1e-3):
        what = f"pixels of {odd.spacing[0]:.4g} mm, {usual.name} of {usual.spacing[0]:.4g} mm"
    else:
        what = f"another orientation than {usual.name}"
    return f"{odd.name} has {what}; put the slices of one volume in a folder of their own."


def _arranged(images: list[CtImage]) -> list[Stack]:
    """One volume, or those of several patients, places or phases if attributes or numbers of the images tell them
    apart: also where the slices of one lie evenly between those of another."""
    for keyword in ORIGIN_KEYWORDS:
        origins = _by_attribute(images, keyword)
        if 1 < len(origins) < len(images):
            return [
                replace(stack, origin=f"{keyword} as in {group[0].name}")
                for group in origins.values()
                for stack in _arranged(group)
            ]
    for keyword in (*PHASE_KEYWORDS, FILE):
        values = _by_attribute(images, keyword)
        phases = _phases({f"{keyword} {value}": group for value, group in values.items()})
        if phases:
            return phases
    runs = _runs(images)
    return _phases({f"images {run[0].number} to {run[-1].number}": run for run in runs}) or [arrange(images)]


def _by_attribute(images: list[CtImage], keyword: str) -> dict[str, list[CtImage]]:
    values: dict[str, list[CtImage]] = defaultdict(list)
    for image in images:
        values[image.attributes.get(keyword, "")].append(image)
    return values


def _phases(groups: dict[str, list[CtImage]]) -> list[Stack]:
    """A stack for each group if there are several, each a volume, and all of one part of the body; otherwise none."""
    if len(groups) < 2 or min(len(group) for group in groups.values()) < FEWEST_SLICES:
        return []
    stacks = [replace(arrange(group), phase=name) for name, group in groups.items()]
    if any(stack.fault for stack in stacks):
        return []
    ends = np.array([[image.position for image in (stack.images[0], stack.images[-1])] for stack in stacks])
    heights = ends @ np.cross(*stacks[0].images[0].axes)
    shared = heights[:, 1].min() - heights[:, 0].max()
    return stacks if shared > LEAST_SHARED_RANGE * np.ptp(heights, axis=1).max() else []


def _runs(images: list[CtImage]) -> list[list[CtImage]]:
    """Images in the order of their numbers; a new run begins where a position comes again, or where the step changes.

    None if numbers come again.
    """
    if len({image.number for image in images}) < len(images):
        return []
    normal = np.cross(*images[0].axes)
    ordered = sorted(images, key=lambda image: image.number)
    heights = [round(float(image.position @ normal), 2) for image in ordered]
    runs: list[list[CtImage]] = []
    seen: list[float] = []
    for image, height in zip(ordered, heights):
        usual = seen[1] - seen[0] if len(seen) > 1 else None
        turned = usual is not None and abs(height - seen[-1] - usual) > LARGEST_JITTER * abs(usual)
        if not runs or height in seen or turned:
            runs.append([])
            seen.clear()
        seen.append(height)
        runs[-1].append(image)
    return runs
