"""Where the time of a click goes, against what the machine and other software can do.

`make benchmark-speed [ARGUMENTS="7 --slices 1500 --write"]`: stages, engines, answers to a user, the machine's
limits, published networks, SimpleITK, sizes on disk. What is compared is measured in turn, so that a drifting machine
slows all alike; figures are medians of processor time, and of wall time, in ms. With `--write` the results replace
those in `Testing/benchmarks/results`; without, they are compared with them, and what moved is said.
"""

import importlib.util
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from benchmarks import answers, peers
from benchmarks.click_to_mask import parser, processor, scans

from LiverGTANLib.core import input_checks, measurements, segmenter, threads, uncertainty, weight_file
from LiverGTANLib.core.engines.numpy_engine import NumpyEngine
from LiverGTANLib.core.students import DEFAULT_STUDENT
from LiverGTANLib.core.volume import CtVolume, to_model_grid
from training.evaluation.markdown import markdown_table

RESULTS = Path(__file__).resolve().parent / "results"
FEWEST_RUNS = 7
SHORT, LONG = 129, 1500
BLOCK = (64, 64, 64)
"""Cells on which published networks are timed: a sixth of a scan, as some take seconds for that."""

REST_S = 0.05
"""Before each timing: the threads of some libraries look for work for a while after they had some, which would count as
the processor time of whatever comes next."""

MOVED = 1.25
"""A ratio that is this many times as large, or as small, as the committed one is said. Chosen: between runs on one
loaded machine ratios of medians of 7 differ by up to 15 %."""


@dataclass(frozen=True)
class Timing:
    """Medians in ms. ratio: of processor time to that of the group's first, median of the pairs."""

    cpu_ms: float
    wall_ms: float
    ratio: float


Group = dict[str, Timing]


def in_turn(actions: dict[str, Callable[[], object]], runs: int) -> Group:
    """Each action `runs` times, A B C A B C, after one time that does not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for count in range(runs + 1):
        for name, action in actions.items():
            time.sleep(REST_S)
            wall, cpu = time.perf_counter(), time.process_time()
            action()
            if count:
                times[name].append((1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)))
    arrays = {name: np.array(some) for name, some in times.items()}
    first = next(iter(arrays.values()))[:, 0]
    return {
        name: Timing(*np.median(some, axis=0).round(3), round(float(np.median(some[:, 0] / first)), 3))
        for name, some in arrays.items()
    }


def counted(action: Callable[[int], object]) -> Callable[[], object]:
    """The action's first time, second time and so on, as it is called."""
    count = itertools.count()
    return lambda: action(next(count))


def repeated(ct: CtVolume, slices: int) -> CtVolume:
    """The scan up and down until it has so many slices."""
    index = np.arange(slices) % (2 * ct.shape[0])
    index = np.where(index < ct.shape[0], index, 2 * ct.shape[0] - 1 - index)
    return CtVolume(ct.hu[index], ct.ijk_to_ras, f"{slices} slices")


def stages(ct: CtVolume, student: str) -> dict[str, Callable[[], object]]:
    """All that a click does outside of the scene, each stage with nothing cached but what it is given.

    All but the network: in one, so that findings, mask and interval look for the liver's components once.
    """
    engine = NumpyEngine(weight_file.load(student))
    net = engine.student
    analysis = segmenter.analyze(ct, engine, checked=True)
    mask = segmenter.mask(analysis, ct)

    def fresh() -> segmenter.Analysis:
        return segmenter.Analysis(**{name: getattr(analysis, name) for name in ARGUMENTS})

    def all_but_the_network() -> None:
        input_checks.check(ct)
        to_model_grid(ct, net.spacing_mm, net.hu_window, net.multiple)
        segmenter.guided_filter.noise_hu(ct.hu, analysis.grid, analysis.logits)
        one = fresh()
        segmenter.check(one)
        found = segmenter.mask(one, ct)
        uncertainty.interval(one, measurements.mask_ml(ct, found))
        measurements.attenuation(ct, found)

    return {
        "checks": lambda: input_checks.check(ct),
        "resampling": lambda: to_model_grid(ct, net.spacing_mm, net.hu_window, net.multiple),
        "network": lambda: engine.forward(analysis.image),
        "noise": lambda: segmenter.guided_filter.noise_hu(ct.hu, analysis.grid, analysis.logits),
        "findings": lambda: segmenter.check(fresh()),
        "mask": lambda: segmenter.mask(fresh(), ct),
        "interval": lambda: uncertainty.interval(fresh(), 1000.0),
        "attenuation": lambda: measurements.attenuation(ct, mask),
        "all but the network": all_but_the_network,
    }


QUIET_LOAD = 0.5
"""Load average below which nothing else runs to speak of. Chosen."""

ARGUMENTS = ("logits", "image", "grid", "spacing_mm", "student", "engine", "temperature", "hu_window", "noise_hu")
"""Of an analysis, but for its cache."""


def simpleitk(ct: CtVolume, spacing_mm: float) -> dict[str, Callable[[], object]]:
    """Point sampling to cells as large as the student's, and its result back onto the whole scan."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(ct.hu)
    image.SetSpacing([float(s) for s in ct.spacing])
    cells = [max(1, round(n * s / spacing_mm)) for n, s in zip(ct.shape[::-1], ct.spacing)]

    to_cells, to_voxels = sitk.ResampleImageFilter(), sitk.ResampleImageFilter()
    to_cells.SetSize(cells)
    to_cells.SetOutputSpacing([spacing_mm] * 3)
    to_cells.SetOutputPixelType(sitk.sitkFloat32)
    coarse = to_cells.Execute(image)
    to_voxels.SetReferenceImage(image)
    return {"SimpleITK there": lambda: to_cells.Execute(image), "SimpleITK back": lambda: to_voxels.Execute(coarse)}


def limits() -> dict[str, float]:
    """GFLOP/s of a product of 1024x1024 matrices on one thread, and GB/s of copying 256 MB; the best of some times."""
    first = np.random.default_rng(0).random((1024, 1024), np.float32)
    product, source = np.empty_like(first), np.zeros(2**26, np.float32)
    target = np.ones_like(source)

    def best(action: Callable[[], object]) -> float:
        times = []
        for _ in range(FEWEST_RUNS):
            start = time.process_time()
            action()
            times.append(time.process_time() - start)
        return min(times)

    with threads.one_blas_thread():
        gflops = 2 * 1024**3 / best(lambda: np.matmul(first, first, out=product)) / 1e9
    rate = 2 * source.nbytes / best(lambda: np.copyto(target, source)) / 1e9
    return {"sgemm_gflops": round(gflops, 1), "copy_gb_s": round(rate, 1)}


def multiplications(name: str, shape: tuple[int, ...]) -> int:
    """Of the student's layers, without those with zeros."""
    student = weight_file.load(name)
    total = 0
    for layer, weight in ((k.removesuffix(".weight"), w) for k, w in student.weights.items() if k.endswith(".weight")):
        level = 1 + int("".join(c for c in layer if c.isdigit()) or 0) + layer.startswith("up")
        total += weight.size * int(np.prod(shape)) // 8**level
    return total


def sizes_mb() -> dict[str, float]:
    """On disk: the module with its students, and packages that it could need instead of numpy."""
    module = Path(__file__).resolve().parents[2] / "LiverGTAN"
    folders = {"LiverGTAN": module}
    for package in ("numpy", "torch", "openvino", "onnxruntime", "monai"):
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            folders[package] = Path(spec.origin).parent
    return {
        name: round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.suffix != ".pyc") / 1e6, 1)
        for name, folder in folders.items()
    }


def measure(runs: int, slices: int, quick: bool) -> dict:
    """Every group, with what one must know of the machine. quick: see `click_to_mask.parser`."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    scan = scans(quick)[-1]
    image, _ = to_model_grid(scan)
    groups: dict[str, Group] = {}
    for name in weight_file.available():
        student = weight_file.load(name)
        groups[f"{SHORT} slices, {name}"] = in_turn({**simpleitk(scan, student.spacing_mm), **stages(scan, name)}, runs)
        engines = {"numpy": NumpyEngine(student).forward, **peers.other_engines(student, image.shape)}
        groups[f"engines, {name}"] = in_turn({k: lambda f=f: f(image) for k, f in engines.items()}, runs)
    block = np.ascontiguousarray(image[tuple(slice(0, n) for n in BLOCK)])
    nets = {n: NumpyEngine(weight_file.load(n)).forward for n in weight_file.available()}
    published = {} if quick else peers.published_networks()
    groups["networks, 64x64x64 cells"] = in_turn(
        {k: lambda f=f: f(block) for k, f in {**nets, **published}.items()}, runs
    )
    groups["answers"] = in_turn({k: counted(f) for k, f in answers.actions(scan, runs + 1).items()}, runs)
    if slices:
        groups[f"{slices} slices, {DEFAULT_STUDENT}"] = in_turn(stages(repeated(scan, slices), DEFAULT_STUDENT), runs)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    return {
        "machine": f"{processor()}, {threads.thread_count()} threads; {versions}",
        "runs": runs,
        "load_average_before": load and round(load, 1),
        "limits": limits(),
        "million_multiplications": {n: round(multiplications(n, image.shape) / 1e6) for n in weight_file.available()},
        "size_mb": sizes_mb(),
        "groups": {name: {k: asdict(t) for k, t in group.items()} for name, group in groups.items()},
    }


def rows(found: dict) -> Iterator[list[str]]:
    """One a timing: group, name, processor and wall time, ratio to the group's first."""
    for group, timings in found["groups"].items():
        for name, one in timings.items():
            yield [group, name, f"{one['cpu_ms']:.1f}", f"{one['wall_ms']:.1f}", f"{one['ratio']:.2f}"]


def report(found: dict) -> str:
    """Markdown of all that was found."""
    machine = found["limits"]
    floors = " and ".join(
        f"{2 * count / machine['sgemm_gflops']:.1f} ms for the {count} million multiplications of {name}"
        for name, count in found["million_multiplications"].items()
    )
    table = markdown_table(["Group", "What", "CPU ms", "Wall ms", "Ratio"], rows(found), text_columns=2)
    return f"""# Speed

Written by `make benchmark-speed ARGUMENTS=--write`. Medians of {found["runs"]} runs, taken in turn with the others of
their group, of processor time over all threads and of wall time; ratio: processor time to that of the group's first.
{found["machine"]}.
{loaded(found)}

Limits of one thread: {machine["sgemm_gflops"]} GFLOP/s in a square product, {machine["copy_gb_s"]} GB/s in a copy.
At that rate 512x512x129 voxels take {floors}.

{table}

On disk, MB: {", ".join(f"{name} {size:g}" for name, size in found["size_mb"].items())}.

{growth(found)}
"""


def loaded(found: dict) -> str:
    """Whether other programs ran beside the benchmark, in a sentence."""
    load = found["load_average_before"]
    if load is None:
        return "How busy the machine was is not known."
    if load < QUIET_LOAD:
        return f"Load average {load:g} before: the machine was quiet."
    return (
        f"Load average {load:g} before: other programs ran beside it, so that wall times say little;\n"
        "processor times and ratios are to be compared."
    )


def growth(found: dict) -> str:
    """How much longer a voxel takes in a long scan, by stage."""
    short = found["groups"][f"{SHORT} slices, {DEFAULT_STUDENT}"]
    for group, long in found["groups"].items():
        slices = group.partition(" slices")[0]
        if slices.isdigit() and int(slices) > SHORT:
            factors = (f"{k} {one['cpu_ms'] / short[k]['cpu_ms'] * SHORT / int(slices):.2f}" for k, one in long.items())
            return f"Processor time a voxel in {slices} slices, in that of {SHORT}: {', '.join(factors)}."
    return ""


def moved(found: dict, committed: dict) -> list[str]:
    """What takes more, or less, than it did in proportion to the first of its group."""
    said = []
    for group, timings in found["groups"].items():
        before = committed["groups"].get(group, {})
        for name, one in timings.items():
            if name in before and before[name]["ratio"] and one["ratio"]:
                factor = one["ratio"] / before[name]["ratio"]
                if not 1 / MOVED < factor < MOVED:
                    said.append(f"{group}: {name} takes {factor:.2f} times as much of {next(iter(timings))} as before")
    return said


def plot(found: dict, path: Path) -> None:
    """Bars of processor time, one panel a group."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = found["groups"]
    heights = [len(timings) for timings in groups.values()]
    figure, axes = pyplot.subplots(
        len(groups), figsize=(8, 0.28 * sum(heights) + 0.7 * len(groups)), height_ratios=heights, layout="constrained"
    )
    for axis, (group, timings) in zip(np.atleast_1d(axes), groups.items()):
        bars = axis.barh(list(timings), [one["cpu_ms"] for one in timings.values()])
        axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axis.set_title(f"{group}, ms of processor time", fontsize=9, loc="left")
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    arguments = parser(__doc__, FEWEST_RUNS)
    arguments.add_argument("--slices", type=int, default=LONG, help="of the long scan; 0: none, which takes 2 GB less")
    arguments.add_argument("--write", action="store_true", help="replace the committed results")
    options = arguments.parse_args()
    if options.quick and options.write:
        arguments.error("figures of --quick are no results; leave out one of --quick and --write")
    found, stored = measure(options.runs, options.slices, options.quick), RESULTS / "speed.json"
    print(report(found))
    if stored.is_file() and not options.quick:
        changes = moved(found, json.loads(stored.read_text(encoding="utf-8")))
        print("\n".join(changes) or "No ratio moved against the committed results.")
    if options.write:
        stored.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "speed.md").write_text(report(found), encoding="utf-8")
        plot(found, RESULTS / "speed.png")


if __name__ == "__main__":
    main()
