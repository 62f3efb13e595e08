"""The liver's surface in 3D: time on the main thread, distance to the mask's border, volume, triangles, and pictures.

`make benchmark-surface [ARGUMENTS="RUNS --pictures FOLDER"]`: the sample CT and the same scan on a 512x512x129 grid.
Surfaces are taken in turn; milliseconds of processor time, medians, and medians of the ratios of pairs to what Slicer
makes by default. Distances in mm are from the centers of the voxels' faces at the mask's border to the surface. A
picture of each kind is drawn by Slicer's own displayable managers, in the order of the rows.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from benchmarks import click_to_mask

from host import views
from host.slicerhost import SlicerHost
from LiverGTANLib.core.segmentation_job import SegmentationJob
from LiverGTANLib.core.segmenter import BoxMask
from LiverGTANLib.mrml import scene, surface

RUNS = 7
FACES = 20_000
PICTURE = (700, 500)
FLYING_EDGES, NETS = "0", "1"


class Kind(NamedTuple):
    """One way to make a surface. make() -> poly data. isOffMain: whether the program makes it on the worker thread."""

    name: str
    make: Callable[[], Any]
    isOffMain: bool


class Bench:
    """A segmented volume, and the ways to make the surface of its liver."""

    def __init__(self, scan):
        self.volumeNode = click_to_mask.add_volume(scan)
        self.result = slicer.modules.LiverGTANWidget.logic.process(self.volumeNode, engine="numpy")
        self.segmentation = self.result.segmentation.GetSegmentation()
        self.segment = self.segmentation.GetSegment(self.result.segmentId)
        self.mask: BoxMask = self.result.found.mask
        self.place = scene.ijkToLocal(self.volumeNode)

    @property
    def kinds(self) -> list[Kind]:
        return [
            Kind("Slicer's default", lambda: self.converted(FLYING_EDGES, "0", "0.5"), False),
            Kind("nets, smoothed after", lambda: self.converted(NETS, "0", "0.5"), False),
            Kind("nets, smoothing 0.8", lambda: self.converted(NETS, "1", "0.8"), False),
            Kind("nets, as chosen", lambda: self.converted(NETS, "1", scene.SURFACE_SMOOTHING), False),
            Kind("exact, as shown", lambda: surface.ofMask(self.mask, self.place).polyData, True),
            Kind("of a drag, nets", self.coarseNets, False),
            Kind("of a drag, as shown", self.coarse, True),
        ]

    def converted(self, method: str, internal: str, smoothing: str):
        """By Slicer, from the segment's voxels."""
        rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule
        for name, value in (
            (rule.GetConversionMethodParameterName(), method),
            (rule.GetSurfaceNetInternalSmoothingParameterName(), internal),
            (rule.GetSmoothingFactorParameterName(), smoothing),
        ):
            self.segmentation.SetConversionParameter(name, value)
        self.segmentation.CreateRepresentation(scene.SURFACE, True)
        return self.segment.GetRepresentation(scene.SURFACE)

    def preview(self):
        job: SegmentationJob = self.result.request.job
        return job.preview(with_logits=True)

    def coarse(self):
        found = self.preview()
        return surface.ofLogits(found.logits, found.mask, self.place @ self.fromCt(found.ijk_to_ras))

    def coarseNets(self):
        found = self.preview()
        return surface.ofMask(found.mask, self.place @ self.fromCt(found.ijk_to_ras)).polyData

    def fromCt(self, ijkToRas: np.ndarray) -> np.ndarray:
        return np.linalg.inv(self.result.request.job.ct.ijk_to_ras) @ ijkToRas

    def picture(self, polyData) -> np.ndarray:
        """As the application draws it."""
        self.segmentation.RemoveRepresentation(scene.SURFACE)
        surface.show(self.segmentation, {self.result.segmentId: polyData})
        self.result.segmentation.GetDisplayNode().SetVisibility3D(True)
        view = views.ThreeDView(PICTURE)
        pixels = view.picture()
        view.close()
        return pixels


def faces(mask: BoxMask, place: np.ndarray) -> np.ndarray:
    """(N, 3) mm: centers of the faces between a voxel of the mask and one outside."""
    padded, found = np.pad(mask.voxels, 1).astype(np.int8), []
    for axis in range(3):
        kji = np.argwhere(np.diff(padded, axis=axis)).astype(float)
        kji[:, axis] += 0.5
        found.append(kji - 1 + mask.start)
    ijk = np.concatenate(found)[:, ::-1]
    return ijk @ place[:3, :3].T + place[:3, 3]


def distances(polyData, points: np.ndarray) -> np.ndarray:
    """mm from each point to the surface."""
    locator = vtk.vtkStaticCellLocator()
    locator.SetDataSet(polyData)
    locator.BuildLocator()
    closest, cell, part, squared = [0.0] * 3, vtk.reference(0), vtk.reference(0), vtk.reference(0.0)
    found = []
    for point in points:
        locator.FindClosestPoint(point, closest, cell, part, squared)
        found.append(float(squared) ** 0.5)
    return np.array(found)


def volume(polyData) -> tuple[float, int]:
    """(mL, triangles)."""
    triangles, mass = vtk.vtkTriangleFilter(), vtk.vtkMassProperties()
    triangles.SetInputData(polyData)
    mass.SetInputConnection(triangles.GetOutputPort())
    mass.Update()
    return mass.GetVolume() / 1000, triangles.GetOutput().GetNumberOfPolys()


def measure(bench: Bench, runs: int) -> dict[str, np.ndarray]:
    """Kind -> (runs,) processor seconds of the thread that makes it."""
    seconds: dict[str, list[float]] = {kind.name: [] for kind in bench.kinds}
    for kind in bench.kinds * runs:
        start = time.thread_time()
        kind.make()
        seconds[kind.name].append(time.thread_time() - start)
    return {name: np.array(one) for name, one in seconds.items()}


def table(bench: Bench, runs: int, folder: Path | None) -> None:
    seconds = measure(bench, runs)
    maskMl = np.count_nonzero(bench.mask.voxels) * abs(np.linalg.det(bench.place[:3, :3])) / 1000
    border = np.random.default_rng(0).permutation(faces(bench.mask, bench.place))[:FACES]
    print(f"\n{bench.volumeNode.GetName()}, {maskMl:.1f} mL")
    print(
        f"{'surface':22}{'ms':>7}{'ratio':>7}{'main':>6}{'mean':>7}{'95 %':>7}{'max':>6}{'volume':>9}{'triangles':>11}"
    )
    pictures, default = [], seconds[bench.kinds[0].name]
    for kind in bench.kinds:
        polyData, taken = kind.make(), seconds[kind.name]
        away, (ml, triangles) = distances(polyData, border), volume(polyData)
        print(
            f"{kind.name:22}{1000 * np.median(taken):7.1f}{np.median(taken / default):7.2f}"
            f"{'' if kind.isOffMain else 'yes':>6}{away.mean():7.2f}{np.percentile(away, 95):7.2f}{away.max():6.1f}"
            f"{100 * (ml / maskMl - 1):+8.1f}%{triangles:11}"
        )
        if folder:
            pictures.append(bench.picture(polyData))
    if folder:
        views.savePicture(np.vstack(pictures), folder / f"surface-{bench.volumeNode.GetName()}.png")


def main() -> None:
    parser = click_to_mask.parser(__doc__, RUNS)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each scan")
    options = parser.parse_args()
    print(click_to_mask.heading(f"{options.runs} runs, processor ms, medians"))
    for scan in click_to_mask.scans(options.quick):
        with tempfile.TemporaryDirectory() as folder:
            host = SlicerHost(folder)
            host.loadModule(click_to_mask.MODULE)
            host.openModule("LiverGTAN")
            table(Bench(scan), options.runs, options.pictures)
            host.close()


if __name__ == "__main__":
    main()
