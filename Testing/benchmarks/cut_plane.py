"""Latency while a cut plane is dragged, with the real panel and MRML: each step, and the release.

`make benchmark-cut_plane [ARGUMENTS=STEPS]`: the sample CT and the same scan on a 512x512x129 grid, without and with
the surfaces of "Show 3D", and under a transform that bends space. Milliseconds: median (95th percentile). A step lasts
from the change of the plane until parts and volumes are those of its new place; "cpu" is the processor time of the main
thread in it, which other processes do not lengthen. The release makes surfaces, table and exact volumes. "picture" is a
step with the drawing of one slice view, which the application would do.
"""

import os
import sys
import tempfile
import time

import numpy as np
import slicer
from benchmarks import click_to_mask

from host import views
from host.slicerhost import SlicerHost
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.mrml import scene
from LiverGTANLib.mrml.resection_plan import ResectionPlan
from LiverGTANLib.standalone import image_files
from support.mrml_cases import addWarp
from training.data import samples

STEPS = 100


class Bench:
    """The open panel with a plan on one volume."""

    def __init__(self, host, volumeNode):
        self.host, self.volumeNode = host, volumeNode
        host.loadModule(click_to_mask.MODULE)
        host.openModule("LiverGTAN")
        self.panel = slicer.modules.LiverGTANWidget.panel
        self.panel.ui.inputSelector.setCurrentNode(volumeNode)
        self.panel.onApplyButton()
        self.rest()
        self.panel.ui.placePlaneButton.click()
        self.plan = ResectionPlan(self.panel.chosen.segmentationNode)
        self.origin = np.array(self.plan.cutNode.GetOriginWorld())
        self.random = np.random.default_rng(0)

    def rest(self) -> None:
        """Wait until nothing runs in the background, as an analysis does after the volume was changed."""
        self.host.processEvents()
        live = self.panel.live
        self.host.wait(
            lambda: self.panel.runner.task is None and not live.background.pending and not live._imageRest.active
        )

    def step(self, picture=None) -> tuple[float, float]:
        """(seconds, processor seconds) of the main thread for one step of a drag: moved by millimeters and turned."""
        normal = self.random.normal(0, 0.3, 3) + [-1, 0, 0]
        place = self.origin + self.random.uniform(-30, 30, 3)
        start, cpu = time.perf_counter(), time.thread_time()
        self.plan.cutNode.SetOriginWorld(*place)
        self.plan.cutNode.SetNormalWorld(*normal)
        while self.panel.planning._chosen._turn.active:
            self.host.processEvents()
        if picture is not None:
            picture()
        return time.perf_counter() - start, time.thread_time() - cpu

    def drag(self, steps: int, picture=None) -> tuple[np.ndarray, tuple[float, float]]:
        """((steps, 2) of each step, the same of the release)."""
        plane = self.plan.cutNode
        plane.InvokeCustomModifiedEvent(plane.PointStartInteractionEvent)
        times = np.array([self.step(picture) for _ in range(steps)])
        start, cpu = time.perf_counter(), time.thread_time()
        plane.InvokeCustomModifiedEvent(plane.PointEndInteractionEvent)
        return times, (time.perf_counter() - start, time.thread_time() - cpu)


def line(name: str, times: np.ndarray, release: tuple[float, float]) -> None:
    middle, high = 1000 * np.median(times, axis=0), 1000 * np.percentile(times, 95, axis=0)
    cells = [f"{m:8.1f} ({h:6.1f})" for m, h in zip(middle, high)]
    print(f"{name:24}{cells[0]}   cpu{cells[1]}   released {1000 * release[0]:7.0f}   cpu {1000 * release[1]:7.0f}")


def measure(bench: Bench, steps: int) -> None:
    line("without surfaces", *bench.drag(steps))
    view = views.SliceView(bench.volumeNode, "Axial", bench.origin, (512, 512))
    line("with picture", *bench.drag(steps, view.picture))
    view.close()
    bench.plan.liverNode.CreateClosedSurfaceRepresentation()
    bench.rest()
    line("with surfaces", *bench.drag(steps))
    bench.plan.liverNode.RemoveClosedSurfaceRepresentation()
    warp = addWarp(slicer.mrmlScene, lambda ras: 0.02 * ras * [0, 0, 1])
    for node in (bench.volumeNode, bench.plan.liverNode):
        node.SetAndObserveTransformNodeID(warp.GetID())
    bench.rest()
    line("warped", *bench.drag(steps))


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    samples.fetch()
    ct = image_files.read_ct(samples.CT)
    print(click_to_mask.heading(f"{steps} steps, ms: median (95th percentile)"))
    for scan in (ct, click_to_mask.large(ct)):
        scan = CtVolume(scan.hu.astype(np.int16), scan.ijk_to_ras, scan.name)
        with tempfile.TemporaryDirectory() as folder:
            host = SlicerHost(folder)
            bench = Bench(host, click_to_mask.add_volume(scan))
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(
                bench.plan.liverNode, scene.liverSegmentId(bench.plan.liverNode), bench.volumeNode
            )
            box = "x".join(str(n) for n in bench.plan.grid().voxels.shape[::-1])
            print(f"\n{scan.name} ({'x'.join(str(n) for n in mask.shape[::-1])}; box of the liver {box})")
            measure(bench, steps)
            host.close()


if __name__ == "__main__":
    main()
