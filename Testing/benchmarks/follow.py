"""Latency of what is segmented unasked: from a change of a followed volume, or a loaded file, to its preview.

`make benchmark-follow [ARGUMENTS=CHANGES]`: the sample CT and the same scan on a 512x512x129 grid. Milliseconds: median
(95th percentile). "change": new voxels in a followed volume, one after the other, with the processor time of the main
thread, which is what the user's own work waits for. "stream": new voxels ten times a second whether a preview is there
or not; how many previews a second come, how old each is, and the longest turn of the event loop. "loaded": from a file
that has just been read. "effect": from choosing the effect in the Segment Editor to its preview, of new voxels.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import slicer
from benchmarks import click_to_mask

from host.slicer_command import SEGMENT_EDITOR
from host.slicerhost import SlicerHost
from LiverGTANLib.core.volume import CtVolume
from LiverGTANLib.standalone import image_files
from LiverGTANLib.standalone.nifti import write_nifti
from training.data import samples

CHANGES = 40
STREAM_SECONDS, STREAM_HZ = 10.0, 10.0


def described(name: str, seconds: list[float], more: str = "") -> None:
    if not seconds:
        print(f"{name:10}no preview   {more}")
        return
    middle, high = 1000 * np.median(seconds), 1000 * np.percentile(seconds, 95)
    print(f"{name:10}{middle:8.0f} ({high:6.0f})   {more}")


class Bench:
    """A volume and what follows it."""

    def __init__(self, host, scan: CtVolume):
        self.host, self.scan = host, scan
        host.loadModule(click_to_mask.MODULE)
        host.loadModule(SEGMENT_EDITOR)
        host.completeStartup()
        self.follower = slicer.util.getModuleWidget("LiverGTAN").panel.following.follower
        self.volumeNode = click_to_mask.add_volume(scan)
        self.shown: list[float] = []  # latency of each preview
        self.follower.onChanged = self._onChanged
        self._latest = 0.0

    def _onChanged(self) -> None:
        if self.follower.hasPreview and self.follower.latency != self._latest:
            self._latest = self.follower.latency
            self.shown.append(self._latest)

    def change(self) -> None:
        """New voxels, in place, as a connection writes them."""
        voxels = slicer.util.arrayFromVolume(self.volumeNode)
        voxels[: len(voxels) // 8] += 1
        slicer.util.arrayFromVolumeModified(self.volumeNode)

    def changes(self, count: int) -> None:
        self.follower.followVolume(self.volumeNode)
        self.host.wait(lambda: self.shown)
        self.shown.clear()
        cpu = []
        for number in range(count):
            start = time.thread_time()
            self.change()
            self.host.wait(lambda number=number: len(self.shown) > number)
            cpu.append(time.thread_time() - start)
        described(
            "change", self.shown, f"main thread {1000 * np.median(cpu):.0f} ({1000 * np.percentile(cpu, 95):.0f})"
        )

    def stream(self) -> None:
        self.shown.clear()
        end = time.monotonic() + STREAM_SECONDS
        due, longest = time.monotonic(), 0.0
        while time.monotonic() < end:
            if time.monotonic() >= due:
                self.change()
                due += 1 / STREAM_HZ
            start = time.monotonic()
            self.host.processEvents()
            longest = max(longest, time.monotonic() - start)
            time.sleep(0.001)
        described(
            "stream", self.shown, f"{len(self.shown) / STREAM_SECONDS:.1f} a second; longest turn {1000 * longest:.0f}"
        )
        self.follower.followVolume(None)
        self.follower.discard()

    def loaded(self, path: Path, count: int) -> None:
        self.follower.followLoaded()
        self.shown.clear()
        for number in range(count):
            node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), "loaded")
            self.host.wait(lambda number=number: len(self.shown) > number)
            slicer.mrmlScene.RemoveNode(node)
        described("loaded", self.shown)
        self.follower.stop()

    def effect(self, count: int) -> None:
        editor = self.host.openModule("SegmentEditor").editor
        segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        editor.setSegmentationNode(segmentationNode)
        editor.setSourceVolumeNode(self.volumeNode)
        editor.setCurrentSegmentID(segmentationNode.GetSegmentation().AddEmptySegment())
        effect, seconds = editor.effectByName("Liver GTAN").self(), []
        for _ in range(count):
            self.change()
            start = time.monotonic()
            editor.setActiveEffectByName("Liver GTAN")
            self.host.wait(lambda: effect.preview.isShown)
            seconds.append(time.monotonic() - start)
            editor.setActiveEffect(None)
        described("effect", seconds)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CHANGES
    samples.fetch()
    ct = image_files.read_ct(samples.CT)
    print(click_to_mask.heading(f"{count} of each, ms: median (95th percentile)"))
    for scan in (ct, click_to_mask.large(ct)):
        scan = CtVolume(scan.hu.astype(np.int16), scan.ijk_to_ras, scan.name)
        print(f"\n{scan.name} ({'x'.join(str(n) for n in scan.shape[::-1])})")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "scan.nii")
            write_nifti(path, scan.hu, scan.ijk_to_ras)
            host = SlicerHost(folder)
            bench = Bench(host, scan)
            bench.changes(count)
            bench.stream()
            bench.loaded(path, count)
            bench.effect(count)
            host.close()


if __name__ == "__main__":
    main()
