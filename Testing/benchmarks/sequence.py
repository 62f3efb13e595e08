"""A sequence of CTs, frame by frame: latency, frames a second, memory.

`make benchmark-sequence [ARGUMENTS=FRAMES]`: 20 frames of 512x512x129 voxels, the sample CT on a finer grid that moves
by a voxel from frame to frame, with the bundled student and real MRML. A frame's latency is the time from its beginning
to that of the next one, in the thread that segments; "in the scene" is what the main thread takes at the end. Times are
wall times; "cpu" is processor time of all threads. Memory is the peak of the process beyond what it held with all
frames loaded.
"""

import os
import resource
import sys
import tempfile
import time

import numpy as np
import slicer
from benchmarks import click_to_mask

from host.slicerhost import SlicerHost
from LiverGTANLib.mrml.parameters import ChosenParameters
from LiverGTANLib.mrml.sequence_segmentation import FrameSegmentation
from LiverGTANLib.mrml.session import Session
from LiverGTANLib.standalone import image_files
from support.sequence_cases import addBrowser, addSequence, addVolumes
from training.data import samples

FRAMES = 20


def peak_mb() -> float:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def now() -> tuple[float, float]:
    """Wall time and processor time in seconds."""
    return time.perf_counter(), time.process_time()


def add_frames(count: int):
    """(browser, volume) of a sequence of the large sample CT."""
    samples.fetch()
    ct = click_to_mask.large(image_files.read_ct(samples.CT))
    hu, sequence = ct.hu.astype(np.int16), addSequence([])
    for number in range(count):  # one after the other, so that one copy alone is held beside them
        (node,) = addVolumes([(np.roll(hu, number, axis=2), ct.ijk_to_ras)])
        sequence.SetDataNodeAtValue(node, f"{number}")
        slicer.mrmlScene.RemoveNode(node)
    return addBrowser(sequence)


def measure(volume) -> None:
    begun: dict[str, tuple[float, float]] = {}
    session = Session(slicer.mrmlScene)
    session.warmUp("student-100k", "numpy")
    before, times = peak_mb(), [now()]
    frames = FrameSegmentation(session, volume, ChosenParameters(engine="numpy"))
    times.append(now())
    results = frames.segment(lambda fraction, text: begun.setdefault(text, now()))
    times.append(now())
    result = frames.apply(results)
    times.append(now())
    each = 1000 * np.diff([*begun.values(), times[2]], axis=0)
    for name, ms in zip(("wall", "cpu"), each.T):
        print(f"frame, {name}: median {np.median(ms):.0f} ms, 95th percentile {np.percentile(ms, 95):.0f} ms")
    for name, steps in zip(("wall", "cpu"), 1000 * np.diff(times, axis=0).T):
        print(f"{name}: read {steps[0]:.0f} ms, segment {steps[1]:.0f} ms, in the scene {steps[2]:.0f} ms")
    print(f"{len(each) / (times[3][0] - times[0][0]):.1f} frames a second")
    print(f"memory: {peak_mb() - before:.0f} MB beside {before:.0f} MB with all frames loaded")
    print(f"volumes {min(p.volumeMl for p in result.points):.0f} to {max(p.volumeMl for p in result.points):.0f} mL")
    print(f"flicker {result.flicker}")
    start = time.perf_counter()
    result.undo()
    print(f"undo {1000 * (time.perf_counter() - start):.0f} ms")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FRAMES
    print(click_to_mask.heading("512x512x129 voxels"))
    with tempfile.TemporaryDirectory() as folder:
        host = SlicerHost(folder)
        _browser, volume = add_frames(count)
        measure(volume)
        host.close()


if __name__ == "__main__":
    main()
