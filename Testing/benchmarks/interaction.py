"""Latency of each action of a user, and the longest hold of the main thread, with the real panel and MRML.

`make benchmark-interaction [ARGUMENTS="RUNS --quick"]`: the sample CT and the same scan on a 512x512x129 grid, with
numpy and, where it is installed, torch. Milliseconds: median (95th percentile). An action lasts from the event (a
click, the release of a drag, a step of a drag) until what it causes is in the scene; the event loop runs meanwhile.
"hold" is the longest time that one turn of the event loop took, less the wait for the worker; "cpu" the longest
processor time of the main thread in one turn. On a busy machine "hold" also counts what other processes took.
"""

import tempfile
import time

import numpy as np
import slicer
from benchmarks import click_to_mask
from slicer.util import arrayFromVolume

from host.slicerhost import SlicerHost
from LiverGTANLib.core import worker
from LiverGTANLib.core.students import DEFAULT_STUDENT
from LiverGTANLib.mrml import scene

RUNS = 20
DRAG_STEPS = 25


class Watch:
    """Adds up the worker's waiting time, which lets threads run and is no hold by our code."""

    def __init__(self):
        self.waited, poll = 0.0, worker.Worker.poll

        def timed(worker, timeout=0.0):
            start = time.perf_counter()
            try:
                return poll(worker, timeout)
            finally:
                self.waited += time.perf_counter() - start

        worker.Worker.poll = timed


class Bench:
    """The open panel on one volume; each method does one action and returns its seconds."""

    def __init__(self, host, volumeNode, engine: str, watch: Watch):
        self.host, self.volumeNode, self.watch = host, volumeNode, watch
        self.panel = slicer.modules.LiverGTANWidget.panel
        self.ui, self.holds = self.panel.ui, {}
        self.panel.parameterNode.engine = engine
        self.ui.inputSelector.setCurrentNode(volumeNode)
        self.panel.onApplyButton()  # loads the engine
        self.run("warm-up")

    def turn(self, action: str, function=None) -> None:
        waited, start, cpu = self.watch.waited, time.perf_counter(), time.thread_time()
        (function or self.host.processEvents)()
        held = time.perf_counter() - start - (self.watch.waited - waited)
        self.holds.setdefault(action, []).append((held, time.thread_time() - cpu))

    def run(self, action: str) -> None:
        """Turn the event loop until nothing runs and nothing is pending."""
        live = self.panel.live
        while self.panel.runner.task is not None or live.background.pending or live._tracker._rest.active:
            self.turn(action)

    def act(self, action: str, function) -> float:
        start = time.perf_counter()
        self.turn(action, function)
        self.run(action)
        return time.perf_counter() - start

    def analyze_ahead(self) -> float:
        """A changed image is analyzed in the background."""
        arrayFromVolume(self.volumeNode)[0, 0, 0] ^= 1
        self.volumeNode.GetImageData().Modified()
        return self.act("analyze in background", lambda: self.panel.live.background.request("analysis"))

    def segment(self) -> float:
        return self.act("Segment, analyzed before", self.panel.onApplyButton)

    def fresh(self) -> float:
        arrayFromVolume(self.volumeNode)[0, 0, 0] ^= 1
        self.volumeNode.GetImageData().Modified()
        return self.act("Segment, nothing known", self.panel.onApplyButton)

    def slider(self, value: float) -> float:
        def release():
            self.ui.thresholdSlider.value = value

        return self.act("threshold released", release)

    def smoothness(self, value: float) -> float:
        def release():
            self.ui.smoothingSlider.value = value

        return self.act("smoothness released", release)

    def drag(self, roiNode, steps: list, where: str = "") -> tuple[list[float], float]:
        """(seconds of each preview, of the mask after release). where: added to the names of the actions."""
        roiNode.InvokeCustomModifiedEvent(roiNode.PointStartInteractionEvent)
        times = []
        for center in steps:
            start = time.perf_counter()
            self.turn(f"ROI dragged{where}", lambda c=center: roiNode.SetCenterWorld(*c))
            while self.panel.runner.task is not None:
                self.turn(f"ROI dragged{where}")
            times.append(time.perf_counter() - start)
        end = self.act(
            f"ROI released{where}", lambda: roiNode.InvokeCustomModifiedEvent(roiNode.PointEndInteractionEvent)
        )
        return times, end

    def point(self, node, ras) -> float:
        return self.act("point set", lambda: node.AddControlPointWorld(ras))

    def undo(self) -> float:
        return self.act("undo", lambda: self.panel.moveInHistory(self.panel.session.undo))


def measure(bench: Bench, runs: int) -> dict[str, list[float]]:
    """Seconds of each action, each done `runs` times."""
    random = np.random.default_rng(0)
    times = {"analyze in background": [bench.analyze_ahead() for _ in range(runs)]}
    times["Segment, analyzed before"] = [(bench.analyze_ahead(), bench.segment())[1] for _ in range(runs)]
    times["Segment, nothing known"] = [bench.fresh() for _ in range(runs)]
    times["threshold released"] = [bench.slider(v) for v in np.resize(np.linspace(0.3, 0.7, runs), runs)]
    times["undo"] = [bench.undo() for _ in range(min(5, runs))]
    times["smoothness released"] = [bench.smoothness(v) for v in np.linspace(1, 4, runs)]
    bench.smoothness(0)
    times["point set"] = points_set(bench, runs, random)
    roiNode = bench.ui.regionSelector.addNode("vtkMRMLMarkupsROINode")
    bench.run("ROI fitted")
    times |= roi_dragged(bench, roiNode, runs, random)
    bench.panel.ui.show3DButton.click()
    times |= roi_dragged(bench, roiNode, runs, random, " in 3D")
    times["Segment in 3D"] = [bench.act("Segment in 3D", bench.panel.onApplyButton) for _ in range(runs)]
    return times


def roi_dragged(bench: Bench, roiNode, runs: int, random, where: str = "") -> dict[str, list[float]]:
    """The ROI is dragged from its place to a random side, in steps, and released. where: with what is shown."""
    middle = np.array(roiNode.GetCenterWorld())
    times: dict[str, list[float]] = {f"ROI dragged{where}": [], f"ROI released{where}": []}
    for _ in range(runs):
        toward = random.uniform(-40, 40, 3)
        steps = [middle + toward * s / DRAG_STEPS for s in range(1, DRAG_STEPS + 1)]
        dragged, released = bench.drag(roiNode, steps, where)
        times[f"ROI dragged{where}"] += dragged
        times[f"ROI released{where}"].append(released)
    return times


def points_set(bench: Bench, runs: int, random) -> list[float]:
    """Points near the border, alternately liver and not, taken away after every fifth."""
    from scipy.ndimage import binary_erosion

    segmentationNode = bench.panel.parameterNode.outputSegmentation
    voxels = (
        slicer.util.arrayFromSegmentBinaryLabelmap(
            segmentationNode, scene.liverSegmentId(segmentationNode), bench.volumeNode
        )
        > 0
    )
    places = random.permutation(np.argwhere(voxels & ~binary_erosion(voxels)))[:runs]
    bench.panel.places._place(True)
    bench.panel.places._place(False)
    bench.panel.places._stop()
    nodes = bench.panel.parameterNode.liverPoints, bench.panel.parameterNode.notLiverPoints
    seconds = []
    for count, kji in enumerate(places):
        ras = (scene.ijkToWorld(bench.volumeNode) @ [*kji[::-1], 1])[:3]
        seconds.append(bench.point(nodes[count % 2], ras))
        if count % 5 == 4:
            bench.act("points removed", bench.panel.onClearPoints)
    bench.act("points removed", bench.panel.onClearPoints)
    return seconds


def table(title: str, times: dict[str, list[float]], holds: dict[str, list[tuple[float, float]]]) -> None:
    print(f"\n{title}\n{'action':28}{'ms':>18}{'hold':>8}{'cpu':>8}")
    for action, seconds in times.items():
        cell = np.array(seconds) * 1000
        print(
            f"{action:28}{np.median(cell):9.1f} ({np.percentile(cell, 95):6.1f})"
            + "".join(f"{1000 * longest:8.1f}" for longest in np.max(holds[action], axis=0))
        )
    every = np.concatenate([holds[action] for action in times])
    long = 1000 * every.max(axis=0)
    print(
        f"longest hold of the main thread: {long[0]:.1f} ms, {long[1]:.1f} ms of processor time; "
        f"{np.mean(every[:, 0] > 0.05):.2%} of {len(every)} turns longer than 50 ms"
    )


def main() -> None:
    options = click_to_mask.parser(__doc__, RUNS).parse_args()
    print(click_to_mask.heading(f"{DEFAULT_STUDENT}; {options.runs} runs, ms: median (95th percentile)"))
    watch = Watch()
    for scan in click_to_mask.scans(options.quick):
        for name in click_to_mask.engines(options.quick):
            with tempfile.TemporaryDirectory() as folder:
                host = SlicerHost(folder)
                host.loadModule(click_to_mask.MODULE)
                host.openModule("LiverGTAN")
                bench = Bench(host, click_to_mask.add_volume(scan), name, watch)
                shape = "x".join(str(n) for n in scan.shape[::-1])
                table(f"{scan.name} ({shape}), {name}", measure(bench, options.runs), bench.holds)
                host.close()


if __name__ == "__main__":
    main()
