"""Latency of *Next uncertain slice*, with real MRML.

`make benchmark-review`: the sample CT and the same scan on a 512x512x129 grid, each gone through until all is reviewed.
Milliseconds: median (95th percentile), wall time and processor time of the main thread. "begin" reads the mask and the
uncertain border of a scan that is analyzed. A step marks a slice, finds the next one and jumps; the drawing of the
views, which the application does, is not in it.
"""

import os
import tempfile
import time

import numpy as np
from benchmarks import click_to_mask

from host.slicerhost import SlicerHost
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone import image_files
from training.data import samples


def now() -> tuple[float, float]:
    """Wall time and processor time of this thread in seconds."""
    return time.perf_counter(), time.thread_time()


def measure(logic, volume) -> None:
    result = logic.process(volume, engine="numpy")
    times = [now()]
    review = logic.review(result.segmentation)
    times.append(now())
    while review.next() is not None:
        times.append(now())
    ms = 1000 * np.diff(times, axis=0)
    print(f"begin: wall {ms[0, 0]:.0f}, cpu {ms[0, 1]:.0f}")
    middle, high = np.median(ms[1:], axis=0), np.percentile(ms[1:], 95, axis=0)
    cells = [f"{name} {m:.1f} ({h:.1f})" for name, m, h in zip(("wall", "cpu"), middle, high)]
    print(f"{len(ms) - 1} steps for {len(review.slices.numbers)} slices of liver: {', '.join(cells)}")


def main() -> None:
    samples.fetch()
    ct = image_files.read_ct(samples.CT)
    print(click_to_mask.heading("ms: median (95th percentile)"))
    for scan in (ct, click_to_mask.large(ct)):
        scan = CtVolume(scan.hu.astype(np.int16), scan.ijk_to_ras, scan.name)
        with tempfile.TemporaryDirectory() as folder:
            host = SlicerHost(folder)
            host.loadModule(click_to_mask.MODULE)
            from LiverGTAN import LiverGTANLogic

            print(f"\n{scan.name} ({'x'.join(str(n) for n in scan.shape[::-1])})")
            measure(LiverGTANLogic(), click_to_mask.add_volume(scan))
            host.close()


if __name__ == "__main__":
    main()
