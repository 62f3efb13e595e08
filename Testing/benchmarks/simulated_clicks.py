"""Does every click help? Simulated clicks on real CTs, with the bundled students and with weakened ones.

`make benchmark-simulated_clicks [ARGUMENTS="--write FILE.md"]`, with `--samples` on the sample CTs alone. A click is
set where a user who sees the largest error would set it: at the deepest point of the largest connected error region.
Students are weakened by seeded noise on their weights, in proportion to each weight's size.
"""

import argparse
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from LiverGTANLib.core import boxes, measurements, segmenter, threads, weight_file
from LiverGTANLib.core.clicks import Click
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.postprocess import Analysis, MaskParameters
from support import real_cases
from support.real_cases import RealCase

CLICKS = (0, 1, 3, 5, 10)
NOISE = (0.1, 0.2)
SEEDS = (11, 12, 13)
"""Not those with which the constants of `core/clicks.py` were chosen, on the same few cases: the sample CT and
crlm_ct_1100_8bit first, and how the reach grows with the depth after a look at the other two."""

HEAD = """Mean Dice after simulated clicks.

Written by `make benchmark-simulated_clicks`. "noise": each weight of the student times 1 plus a random number of this
standard deviation. The constants of clicks were chosen on example_ct, example_ct_dicom and crlm_ct_1100_8bit, with
other seeds of noise; the references of the two examples are another network's output."""


@dataclass(frozen=True)
class Run:
    """dice: after 0, 1, 2 ... clicks. seconds: of each click, to the mask at native resolution."""

    case: str
    model: str
    dice: list[float]
    seconds: list[float]


def weakened(strong: weight_file.Student, noise: float, seed: int) -> weight_file.Student:
    """The same student with every weight multiplied by 1 + noise * N(0, 1)."""
    rng = np.random.default_rng(seed)
    weights = {
        name: (array * (1 + noise * rng.standard_normal(array.shape))).astype(np.float32)
        for name, array in sorted(strong.weights.items())
    }
    return replace(strong, name=f"{strong.name}, noise {noise:g}", weights=weights)


def models(names: Iterable[str], noises: Iterable[float]) -> Iterator[weight_file.Student]:
    for name in names:
        strong = weight_file.load(name)
        yield strong
        for noise in noises:
            for seed in SEEDS:
                yield weakened(strong, noise, seed)


def next_click(case: RealCase, mask: np.ndarray) -> Click | None:
    """The deepest point of the largest error region; None when there is no error."""
    from scipy.ndimage import distance_transform_edt, label

    wrong = mask != case.liver
    box = boxes.bounding_box(wrong)
    if box is None:
        return None
    regions, _ = label(np.pad(wrong[box], 1))
    largest = 1 + np.bincount(regions.ravel())[1:].argmax()
    depth = distance_transform_edt(regions == largest, sampling=case.ct.spacing[::-1])
    kji = np.array(np.unravel_index(depth.argmax(), depth.shape)) - 1 + [part.start for part in box]
    ras = (case.ct.ijk_to_ras @ [*kji[::-1], 1])[:3]
    return Click(tuple(float(x) for x in ras), bool(case.liver[tuple(kji)]))


def simulate(case: RealCase, analysis: Analysis, model: str) -> Run:
    clicks: list[Click] = []
    mask = segmenter.mask(analysis, case.ct).full() > 0
    run = Run(case.name, model, [measurements.dice(mask, case.liver)], [])
    while len(clicks) < CLICKS[-1]:
        click = next_click(case, mask)
        if click is None:
            run.dice.append(run.dice[-1])
            clicks.append(clicks[-1])
            continue
        clicks.append(click)
        start = time.perf_counter()
        found = segmenter.mask(analysis, case.ct, MaskParameters(clicks=tuple(clicks)))
        run.seconds.append(time.perf_counter() - start)
        mask = found.full() > 0
        run.dice.append(measurements.dice(mask, case.liver))
    return run


def runs(cases: list[RealCase], students: Iterable[weight_file.Student]) -> Iterator[Run]:
    for model in students:
        engine = NumpyEngine(model)
        for case in cases:
            yield simulate(case, segmenter.analyze(case.ct, engine), model.name)


def row(title: str, some: list[Run]) -> str:
    means = [np.mean([run.dice[n] for run in some]) for n in CLICKS]
    better = np.mean([run.dice[CLICKS[-1]] > run.dice[0] for run in some])
    return f"| {title} | {len(some)} | " + " | ".join(f"{mean:.4f}" for mean in means) + f" | {better:.0%} |"


def table(all_runs: list[Run]) -> str:
    counts = " | ".join(f"{n} click" if n == 1 else f"{n} clicks" for n in CLICKS)
    lines = [f"| | Runs | {counts} | better after {CLICKS[-1]} |", "|---" * (len(CLICKS) + 3) + "|"]
    groups = [("**All**", all_runs)]
    groups += [(name, [r for r in all_runs if r.model == name]) for name in dict.fromkeys(r.model for r in all_runs)]
    for name in dict.fromkeys(r.case for r in all_runs):
        groups.append((name, [r for r in all_runs if r.case == name]))
    lines += [row(title, some) for title, some in groups]
    ms = 1000 * np.array([s for run in all_runs for s in run.seconds])
    speed = (
        f"A click takes {np.median(ms):.0f} ms (median; 95th percentile {np.percentile(ms, 95):.0f} ms) from "
        f"point to mask at native resolution: numpy {np.__version__}, {threads.thread_count()} threads, "
        f"Python {platform.python_version()}."
    )
    bundled = [f"{name} ({weight_file.load(name).sha256[:12]})" for name in weight_file.available()]
    return "\n".join([*lines, "", f"Students: {', '.join(bundled)}.", speed])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="also write the table here")
    parser.add_argument("--students", nargs="+", default=list(weight_file.available()), metavar="NAME")
    parser.add_argument("--noise", nargs="*", type=float, default=NOISE, help="how much the weakened ones are weakened")
    parser.add_argument("--samples", action="store_true", help="the sample CTs alone, which every computer can have")
    options = parser.parse_args()
    cases = list(real_cases.load_samples()) if options.samples else real_cases.load()
    found = list(runs(cases, models(options.students, options.noise)))
    text = f"{HEAD}\n\n{table(found)}\n"
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
