"""Throughput of the command line over many CTs: one process, and Dask with one and two workers on this computer.

`make benchmark-cohort [ARGUMENTS=CASES]`: that many crops of the sample CT, the program started anew for each way. "CTs
a minute" is of a whole run, with its start, table and page; "each further CT" is the slope between a run over one CT
and one over all, as is the processor time, which other processes hardly lengthen. Memory is the largest sum over the
program and its workers, where what they share counts once for each. "again" is a second run over the same folder, where
all is done: what going on after a stop costs. Other processes lengthen the rest; the load is printed.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from benchmarks.click_to_mask import heading

from LiverGTANLib.standalone import image_files
from LiverGTANLib.standalone.nifti import write_nifti
from training.data import samples

CASES = 6
FEWEST_CASES = 2
LIBRARY = Path(__file__).resolve().parents[2] / "LiverGTAN"
WAYS = {"one process": (), "Dask, 1 worker": ("--cluster", "local:1"), "Dask, 2 workers": ("--cluster", "local:2")}
PERIOD_S = 0.05


@dataclass(frozen=True)
class Measured:
    seconds: float
    processor_seconds: float
    megabytes: float


def measure(inputs: Path, output: Path, options: tuple[str, ...]) -> Measured:
    """Start the program, and look at its memory until it ends. Raises RuntimeError when it fails."""
    words = [sys.executable, "-m", "LiverGTANLib", "segment", str(inputs), "-o", str(output), "--engine", "numpy"]
    with tempfile.TemporaryFile() as said:
        start, before = time.perf_counter(), processor_seconds()
        process = subprocess.Popen(
            [*words, *options], cwd=LIBRARY, stdout=said, stderr=said, env=os.environ | {"PYTHONPATH": str(LIBRARY)}
        )
        most = 0
        while process.poll() is None:
            most = max(most, memory(process.pid))
            time.sleep(PERIOD_S)
        seconds = time.perf_counter() - start
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode(errors="replace"))
    return Measured(seconds, processor_seconds() - before, most / 2**20)


def processor_seconds() -> float:
    """Of all processes that have ended by now, and that they had started."""
    times = os.times()
    return times.children_user + times.children_system


def memory(pid: int) -> int:
    """Bytes of a process and those that it started."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:  # it has just ended
        pass
    return total


def write_cases(folder: Path, count: int) -> str:
    """Crops of the sample CT that differ by a slice, so that each is a case of its own; returns their size in words."""
    ct = image_files.read_ct(samples.CT)
    for number in range(count):
        matrix = ct.ijk_to_ras.copy()
        matrix[:3, 3] += number * matrix[:3, 2]
        write_nifti(folder / f"case-{number:03d}.nii.gz", ct.hu[number:], matrix)
    return "x".join(str(n) for n in ct.shape[::-1])


def main() -> None:
    count = max(FEWEST_CASES, int(sys.argv[1])) if len(sys.argv) > 1 else CASES
    samples.fetch()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cases, single = folder / "cases", folder / "single"
        for place, number in ((cases, count), (single, 1)):
            place.mkdir()
            size = write_cases(place, number)
        print(heading(f"{count} CTs of about {size} voxels"))
        print(f"{'':18}{'CTs a minute':>14}{'each further CT':>17}{'processor':>12}{'memory':>10}{'again':>9}")
        for number, (way, options) in enumerate(WAYS.items()):
            one = measure(single, folder / f"single-{number}", options)
            every = measure(cases, folder / f"out-{number}", options)
            again = measure(cases, folder / f"out-{number}", options)
            further = (every.seconds - one.seconds) / (count - 1)
            processor_time = (every.processor_seconds - one.processor_seconds) / (count - 1)
            print(
                f"{way:18}{60 * count / every.seconds:14.0f}{further:15.2f} s{processor_time:10.2f} s"
                f"{every.megabytes:7.0f} MB"
                f"{again.seconds:7.2f} s"
            )


if __name__ == "__main__":
    main()
