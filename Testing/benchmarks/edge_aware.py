"""What the guided filter is worth: masks as they are made against trilinear logits, and under what it could fail in.

`make benchmark-edge_aware [ARGUMENTS="--write FILE.md"]`: both bundled students on every expert-labelled CT of the
data folder (LIVERGTAN_DATA) and on the sample CTs; the same for a network that answers with the reference itself; then
noise, thick slices, a liver without contrast, and dense deposits with streaks, made up in some of them.
"""

import argparse
import dataclasses
import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from LiverGTANLib.core import boxes, segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.postprocess import Analysis, postprocess_logits
from LiverGTANLib.core.volume import CtVolume
from support import real_cases
from support.real_cases import RealCase
from training.data import held_out
from training.data.cases import Case
from training.evaluation.markdown import markdown_table
from training.evaluation.metrics import Metrics, measure

SAMPLES = tuple(one.name for one in held_out.HELD_OUT if one.in_samples)

CHOSEN_ON = ("msd_liver_03", "msd_liver_04", "msd_liver_05", "msd_liver_13", "crlm_ct_1100_8bit", *SAMPLES)
"""The cases on which a constant of the filter was chosen."""

TROUBLED = ("msd_liver_03", "msd_liver_05", "msd_liver_12", "example_ct_dicom")
FAR_MM = 6.0
SEED = 0
REFERENCE = "the reference itself"
SUREST = 0.98
"""The highest share of liver in a cell that its logit tells; far beyond `guided_filter.LIMIT`."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Figures of one student on one CT, and the volume in which the masks differ far from the trilinear border."""

    case: str
    student: str
    trilinear: Metrics
    guided: Metrics
    far_ml: float


def trilinear(analysis: Analysis) -> np.ndarray:
    """(K, J, I) bool: the mask without the filter."""
    return analysis.grid.up(postprocess_logits(analysis).values_in(boxes.whole(analysis.logits.shape))) > 0


def pair(case: RealCase, engine: NumpyEngine) -> Pair:
    """Both masks of a CT, measured."""
    return measured(case, segmenter.analyze(case.ct, engine), engine.student.name)


def perfect_pair(case: RealCase, analysis: Analysis) -> Pair:
    """Both masks of a network whose answer in each cell would be the share of it that the reference fills."""
    share = np.clip(analysis.grid.down(case.liver.astype(np.float32)), 1 - SUREST, SUREST)
    logits = np.log(share / (1 - share)).astype(np.float32)
    return measured(case, dataclasses.replace(analysis, logits=logits), REFERENCE)


def measured(case: RealCase, analysis: Analysis, name: str) -> Pair:
    """Both masks of an analysis, measured."""
    plain, guided = trilinear(analysis), segmenter.mask(analysis, case.ct).full() > 0
    figures = [measure(mask, case.liver, case.ct.ijk_to_ras) for mask in (plain, guided)]
    return Pair(case.name, name, *figures, far_ml(plain, guided, case.ct))


def far_ml(plain: np.ndarray, guided: np.ndarray, ct: CtVolume) -> float:
    """Volume of the voxels that differ farther than `FAR_MM` from the border of `plain`."""
    from scipy.ndimage import distance_transform_edt

    index = np.nonzero(plain | guided)
    if not len(index[0]):
        return 0.0
    box = tuple(slice(max(0, i.min() - 1), i.max() + 2) for i in index)
    plain, differs = plain[box], plain[box] != guided[box]
    inside, outside = (distance_transform_edt(side, ct.spacing[::-1]) for side in (plain, ~plain))
    far = np.where(plain, inside, outside) > FAR_MM
    return np.count_nonzero(differs & far) * abs(np.linalg.det(ct.ijk_to_ras[:3, :3])) / 1000


def noisy(sd_hu: float) -> Callable[[RealCase], RealCase]:
    """White noise added."""

    def change(case: RealCase) -> RealCase:
        hu = case.ct.hu + np.random.default_rng(SEED).normal(0, sd_hu, case.ct.shape)
        return RealCase(case.name, CtVolume(np.rint(hu).astype(np.int16), case.ct.ijk_to_ras), case.liver)

    return change


def thick(slice_mm: float) -> Callable[[RealCase], RealCase]:
    """Neighboring slices averaged, to about this thickness."""

    def change(case: RealCase) -> RealCase:
        count = max(1, round(slice_mm / case.ct.spacing[2]))
        whole = case.ct.shape[0] // count * count
        hu, liver = (
            array[:whole].reshape(-1, count, *case.ct.shape[1:]).mean(axis=1) for array in (case.ct.hu, case.liver)
        )
        matrix = case.ct.ijk_to_ras.copy()
        matrix[:3, 3] += matrix[:3, 2] * (count - 1) / 2
        matrix[:3, 2] *= count
        return RealCase(case.name, CtVolume(np.rint(hu).astype(np.int16), matrix), liver >= 0.5)

    return change


def darker(case: RealCase) -> RealCase:
    """The liver 70 HU darker, as a fatty one among tissue of its own gray."""
    from scipy.ndimage import gaussian_filter

    hu = case.ct.hu - 70 * gaussian_filter(case.liver.astype(np.float32), 0.7)
    return RealCase(case.name, CtVolume(np.rint(hu).astype(np.int16), case.ct.ijk_to_ras), case.liver)


def with_deposits(case: RealCase) -> RealCase:
    """Twelve deposits of 1200 HU and 4 mm within 8 mm of the liver's border, three of them with streaks."""
    from scipy.ndimage import distance_transform_edt

    spacing = case.ct.spacing[::-1]
    rng = np.random.default_rng(SEED)
    rim = np.argwhere(case.liver & (distance_transform_edt(case.liver, spacing) <= 8))
    k, j, i = np.ogrid[tuple(slice(0, n) for n in case.ct.shape)]
    hu = case.ct.hu.astype(np.float32)
    for number, place in enumerate(rim[rng.permutation(len(rim))[:12]]):
        dk, dj, di = ((axis - at) * step for axis, at, step in zip((k, j, i), place, spacing))
        deposit = 1200 * np.exp(-(dk**2 + dj**2 + di**2) / (2 * 4**2))
        hu = np.where(deposit > 20, np.maximum(hu, deposit), hu)
        if number < 3:
            hu += (np.abs(dk) < 4) * 150 * np.sin(11 * np.arctan2(dj, di)) * np.exp(-np.hypot(dj, di) / 60)
    return RealCase(case.name, CtVolume(np.clip(hu, -1024, 3000).astype(np.int16), case.ct.ijk_to_ras), case.liver)


TROUBLES: dict[str, Callable[[RealCase], RealCase]] = {
    "as it is": lambda case: case,
    "noise of 20 HU": noisy(20),
    "noise of 40 HU": noisy(40),
    "noise of 80 HU": noisy(80),
    "slices of 5 mm": thick(5),
    "slices of 8 mm": thick(8),
    "liver 70 HU darker": darker,
    "dense deposits, streaks": with_deposits,
}


def cells(pairs: list[Pair]) -> list[str]:
    """Means of some pairs: each figure without and with the filter."""
    figures: list[tuple[Callable[[Metrics], float], str]] = [
        (lambda m: m.dice, ".4f"),
        (lambda m: m.nsd2, ".3f"),
        (lambda m: m.hd95, ".2f"),
        (lambda m: abs(m.volume_error) if len(pairs) > 1 else m.volume_error, ".1%" if len(pairs) > 1 else "+.1%"),
    ]
    return [
        " → ".join(f"{np.mean([read(getattr(one, way)) for one in pairs]):{shown}}" for way in ("trilinear", "guided"))
        for read, shown in figures
    ] + [f"{np.mean([one.far_ml for one in pairs]):.2f}"]


HEADINGS = ["Dice", "NSD 2 mm", "HD95 mm", "Volume error", f"mL beyond {FAR_MM:g} mm"]


def main_table(found: list[Case]) -> Iterator[list[str]]:
    """One row a case and student, then the means by kind of case."""
    pairs = []
    for case in found:
        read = real_cases.read(case)
        for one in pairs_of(read):
            pairs.append(one)
            yield [marked(case.name), one.student, *cells([one])]
    groups = {
        "mean, trained on": lambda case: case not in held_out.BY_NAME,
        "mean, expert-labelled, not trained on": lambda case: case in held_out.HUMAN_LABELLED,
        "mean, samples": lambda case: case in SAMPLES,
    }
    for title, belongs in groups.items():
        for name in (*weight_file.available(), REFERENCE):
            some = [one for one in pairs if one.student == name and belongs(one.case)]
            if some:
                yield [f"**{title}** ({len(some)})", name, *cells(some)]


def pairs_of(case: RealCase) -> Iterator[Pair]:
    """Of each bundled student, then of the reference on the grid of the last."""
    for name in weight_file.available():
        engine = NumpyEngine(weight_file.load(name))
        analysis = segmenter.analyze(case.ct, engine)
        yield measured(case, analysis, name)
    yield perfect_pair(case, analysis)


def marked(name: str) -> str:
    """A case's name with the marks that the text explains."""
    return name + (" *" if name in CHOSEN_ON else "") + ("" if name in held_out.BY_NAME else " †")


def trouble_table(found: list[Case]) -> Iterator[list[str]]:
    """One row a condition and student, means over `TROUBLED`."""
    read = [real_cases.read(case) for case in found if case.name in TROUBLED]
    if not read:
        return
    for title, change in TROUBLES.items():
        changed = [change(case) for case in read]
        for name in weight_file.available():
            yield [title, name, *cells([pair(case, NumpyEngine(weight_file.load(name))) for case in changed])]


def machine() -> str:
    """Processor and versions."""
    cpu = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.is_file() else None
    return (
        f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} processors; "
        f"Python {platform.python_version()}, numpy {np.__version__}"
    )


def report() -> str:
    """Both tables with what one must know to read them."""
    found = real_cases.expert_labelled(samples=True)
    head = ["Case", "Student", *HEADINGS]
    first = markdown_table(head, main_table(found), text_columns=2)
    second = markdown_table(["Condition", *head[1:]], trouble_table(found), text_columns=2)
    troubled = ", ".join(case.name for case in found if case.name in TROUBLED)
    return f"""# The guided filter on the way up

Written by `make benchmark-edge_aware`. In each cell: trilinear logits → guided filter, both after the same settings.
References of the samples ({", ".join(SAMPLES)}) are another network's output, all others are by people.
The last column is the volume in which the masks differ farther than {FAR_MM:g} mm from the trilinear border. Means of
volume errors are of their absolute values. \\* A constant of the filter was chosen while looking at this case.
† The students were trained on this CT. {REFERENCE.capitalize()} stands for a network whose answer in each cell is the
share of it that the reference fills: what the grid and the filter allow at most.

{first}

## Trouble

Means over {troubled}.

{second}

{machine()}. Students: {", ".join(f"{n} ({weight_file.load(n).sha256[:12]})" for n in weight_file.available())}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="also write the tables here")
    options = parser.parse_args()
    text = report()
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
