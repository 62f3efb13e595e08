"""Click-to-mask time of both engines, by stage, in a real MRML scene.

`make benchmark-click_to_mask [ARGUMENTS="RUNS --quick"]`: the sample CT and the same scan on a 512x512x129 grid;
medians (and 95th percentiles) of paired runs. "click" is `LiverGTANLogic.process`: reading the node, resampling,
network, mask and writing the segment, with nothing cached but the loaded engine.
"""

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import slicer
from slicer.util import arrayFromVolume, updateVolumeFromArray, vtkMatrixFromArray

from host.slicerhost import SlicerHost
from LiverGTANLib.core import phantom, threads
from LiverGTANLib.core.engines.factory import ENGINES, InstalledEngines
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone import image_files
from training.data import samples

MODULE = Path(__file__).resolve().parent.parent.parent / "LiverGTAN" / "LiverGTAN.py"
RUNS = 15
LARGE_SHAPE = (129, 512, 512)
STAGES = ("resample", "network", "mask", "measure", "write", "total")
QUICK_SPACING_MM = (4.0, 4.0, 4.0)


def parser(description: str | None, runs: int) -> argparse.ArgumentParser:
    """Of the arguments that the benchmarks of `make benchmark` share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("runs", type=int, nargs="?", default=runs)
    made.add_argument(
        "--quick", action="store_true", help="a small phantom on numpy alone: shows that it runs, no figure counts"
    )
    return made


def scans(quick: bool) -> list[CtVolume]:
    """The sample CT, as it is and on the large grid; with `quick` a phantom instead."""
    if quick:
        return [phantom.phantom_ct(QUICK_SPACING_MM)[0]]
    samples.fetch()
    ct = image_files.read_ct(samples.CT)
    return [CtVolume(scan.hu.astype(np.int16), scan.ijk_to_ras, scan.name) for scan in (ct, large(ct))]


def engines(quick: bool) -> tuple[str, ...]:
    """Names of those to measure."""
    return ENGINES if InstalledEngines().has_torch() and not quick else ("numpy",)


def large(ct: CtVolume, shape: tuple[int, int, int] = LARGE_SHAPE) -> CtVolume:
    """The scan on a grid of 512x512x129 voxels, or of another shape (K, J, I), over the same space."""
    from scipy.ndimage import affine_transform

    ratio = np.array(ct.shape) / np.array(shape)
    offset = (ratio - 1) / 2
    hu = affine_transform(ct.hu.astype(np.float32), ratio, offset, shape, order=1, mode="nearest")
    matrix = ct.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ offset[::-1]
    matrix[:3, :3] *= ratio[::-1]
    return CtVolume(hu.astype(np.int16), matrix, "x".join(str(n) for n in shape[::-1]))


def processor() -> str:
    """The processor's model, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def heading(measured: str) -> str:
    """The first line of a benchmark: the machine, its load, versions, and what is measured."""
    return (
        f"{processor()}, {threads.thread_count()} threads of {os.cpu_count()} processors (load "
        f"{os.getloadavg()[0]:.1f}); Python {platform.python_version()}, numpy {np.__version__}; {measured}"
    )


def add_volume(ct: CtVolume):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", ct.name)
    node.SetIJKToRASMatrix(vtkMatrixFromArray(ct.ijk_to_ras))
    updateVolumeFromArray(node, ct.hu)
    return node


def measure(logic, node, names: tuple[str, ...], runs: int) -> dict[str, list[dict[str, float]]]:
    """Times of each engine, taken in turn so that a drifting machine slows all alike."""
    times = {name: [] for name in names}
    for name in names:  # loads the engine
        logic.process(node, engine=name)
    for _ in range(runs):
        for name in names:
            arrayFromVolume(node)[0, 0, 0] ^= 1  # another image as far as any cache knows
            node.GetImageData().Modified()
            result = logic.process(node, engine=name)
            times[name].append(result.seconds)
            slicer.mrmlScene.RemoveNode(result.segmentation)
    return times


def table(title: str, times: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n{title}\n{'engine':8}" + "".join(f"{stage:>16}" for stage in STAGES))
    for name, runs in times.items():
        cells = [np.array([run.get(stage, 0.0) for run in runs]) * 1000 for stage in STAGES]
        row = "".join(f"{np.median(cell):8.1f} ({np.percentile(cell, 95):5.0f})" for cell in cells)
        print(f"{name:8}{row}")
    if len(times) == 2:
        first, second = (np.array([run["total"] for run in runs]) for runs in times.values())
        print(f"paired ratio {' / '.join(times)} of the total: median {np.median(first / second):.2f}")


def main() -> None:
    options = parser(__doc__, RUNS).parse_args()
    names = engines(options.quick)
    print(heading(f"{options.runs} runs each, ms: median (95th percentile)"))
    with tempfile.TemporaryDirectory() as folder:
        host = SlicerHost(folder)
        host.loadModule(MODULE)
        from LiverGTAN import LiverGTANLogic

        for scan in scans(options.quick):
            for student in ("student-100k", "student-30k"):
                logic = LiverGTANLogic()
                process = logic.process
                logic.process = lambda node, engine, p=process, s=student: p(node, student=s, engine=engine)
                node = add_volume(scan)
                shape = "x".join(str(n) for n in scan.shape[::-1])
                table(f"{scan.name} ({shape}), {student}", measure(logic, node, names, options.runs))
                slicer.mrmlScene.RemoveNode(node)
        host.close()


if __name__ == "__main__":
    main()
