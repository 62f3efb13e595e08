"""How well scans that are mirrored, or have their axes in another order, are told from scans as they are: the figures
of `LiverGTANLib.core.orientation_check`.

On every CT of the data folder that has a liver mask (only to know that a liver is in view), and on the two samples.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from LiverGTANLib.core import segmenter, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.orientation_check import (
    FIRST_MIRRORINGS,
    LEAST_RATIO,
    OTHER_MIRRORINGS,
    MirroredCopy,
    liver_score,
    mirrored_copy,
    suspected_orders,
)
from LiverGTANLib.core.postprocess import Analysis
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone.image_files import read_ct
from support import real_cases
from training.paths import data_folder

Axes = tuple[int, ...]
MIRRORINGS = (*FIRST_MIRRORINGS, *OTHER_MIRRORINGS)
ORDERS = tuple(itertools.permutations(range(3)))[1:]
MASKS = ("_liver.nii.gz", "_liver_pseudo.nii.gz")


def scans() -> Iterator[CtVolume]:
    """The CTs with a liver in view."""
    for path in sorted((data_folder() / "ct").glob("*.nii.gz")):
        if any(path.with_name(path.name.removesuffix(".nii.gz") + ending).exists() for ending in MASKS):
            yield read_ct(path)
    for case in real_cases.load_samples():
        yield case.ct


Copies = dict[Axes, MirroredCopy]


def copies(analysis: Analysis, engine: NumpyEngine) -> Copies:
    """The scan as it is, and its mirrored copies."""
    return {axes: mirrored_copy(analysis, engine, axes) for axes in ((), *MIRRORINGS)}


def best_copy(of: Copies) -> float:
    """The score of the best mirrored copy over that of the scan as it is."""
    return max(of[axes].score for axes in MIRRORINGS) / of[()].score


def told(of: Copies) -> int:
    """In how many of the seven ways a scan may be stored mirrored, so that one of the first copies shows it."""
    return sum(
        not of[stored].is_clear
        and max(of[both(stored, tried)].score for tried in FIRST_MIRRORINGS) > LEAST_RATIO * of[stored].score
        for stored in MIRRORINGS
    )


def told_of_order(analysis: Analysis, engine: NumpyEngine) -> int:
    """Of how many of the five other orders in which its axes may be stored there is a finding."""
    score = liver_score(analysis.logits)
    found = 0
    for order in ORDERS:
        right = tuple(int(n) for n in np.argsort(order))
        suspected = right in suspected_orders(analysis.image.transpose(order))
        found += suspected and score > mirrored_copy(analysis, engine, (), order).score
    return found


def both(first: Axes, second: Axes) -> Axes:
    """Mirrored one way and then another."""
    return tuple(sorted({*first} ^ {*second}))


def main() -> None:
    cts = list(scans())
    for name in weight_file.available():
        engine = NumpyEngine(weight_file.load(name))
        analyses = [segmenter.analyze(ct, engine) for ct in cts]
        found = [copies(analysis, engine) for analysis in analyses]
        ratio = np.max([best_copy(one) for one in found])
        count, clear = sum(map(told, found)), sum(one[()].is_clear for one in found)
        print(
            f"{name}, {len(cts)} CTs: best mirrored copy at most {ratio:.2f} times as much as the scan as it is; "
            f"told of {count} of {len(MIRRORINGS) * len(cts)} scans stored mirrored; clear without copies: {clear}.",
            flush=True,
        )
        suspected = sum(bool(suspected_orders(analysis.image)) for analysis in analyses)
        orders = sum(told_of_order(analysis, engine) for analysis in analyses)
        print(
            f"axes in another order: suspected in {suspected} scans as they are; told of {orders} of "
            f"{len(ORDERS) * len(cts)} scans stored so.",
            flush=True,
        )


if __name__ == "__main__":
    main()
