"""Work on one scan: all that happens between reading the scene and writing to it, in any thread."""

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from . import engines, measurements, segmenter, uncertainty, weight_file
from .engines.engine import Cancelled, Engine, IsCancelled, Progress
from .lru_cache import LruCache
from .measurements import Attenuation
from .postprocess import DEFAULT_MASK_PARAMETERS, Analysis, MaskParameters
from .segmenter import BoxMask
from .uncertainty import VolumeInterval
from .volume import AIR, CtVolume

ANALYSES_KEPT = 4


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job found. interval: the mask's volume with its ends. share: part of the liver that is in the region,
    None without one. seconds: time by stage; stages answered from memory are absent."""

    mask: BoxMask
    interval: VolumeInterval
    attenuation: Attenuation | None
    share: float | None
    recipe: MaskParameters
    engine: str
    student: str
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Preview:
    """A mask on the model grid, whose voxels lie at `ijk_to_ras`."""

    mask: BoxMask
    ijk_to_ras: np.ndarray


class SegmentationCache:
    """Loaded engines and the last analyses, so that a second look at the same scan costs no network.

    Its methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[tuple[str, str], Engine] = {}
        self._analyses = LruCache(ANALYSES_KEPT)

    def engine(self, student_name: str, engine_name: str) -> Engine:
        """The engine for a student (name or file), made at its first use."""
        key = (student_name, engine_name)
        with self._lock:
            if key not in self._engines:
                self._engines[key] = engines.create(weight_file.load(student_name), engine_name)
            return self._engines[key]

    def warm_up(self, student_name: str, engine_name: str) -> None:
        """Make the engine, run it once on air, and import what masks need."""
        import scipy.ndimage  # noqa: F401

        engine = self.engine(student_name, engine_name)
        engine.forward(np.full((engine.student.multiple * 2,) * 3, AIR, np.float32))

    def analysis(self, key: Hashable) -> Analysis | None:
        return self._analyses.get(key)

    def keep(self, key: Hashable, analysis: Analysis) -> None:
        self._analyses.keep(key, analysis)

    def forget_analyses(self) -> None:
        self._analyses = LruCache(ANALYSES_KEPT)


@dataclass(frozen=True, eq=False)
class SegmentationJob:
    """Work on one scan. image_key: equal for equal voxels and geometry (`scene.imageKey`)."""

    ct: CtVolume
    image_key: Hashable
    memory: SegmentationCache
    student: str = weight_file.DEFAULT
    engine: str = engines.AUTOMATIC
    recipe: MaskParameters = DEFAULT_MASK_PARAMETERS

    @property
    def analysis_key(self) -> Hashable:
        """What the analysis is remembered under."""
        return self.image_key, self.student, self.engine

    def run(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> JobResult:
        """Find and measure the liver. Raises InputError, StudentError, EngineError with a sentence, or Cancelled."""
        analysis, seconds = self._analyze(progress, cancelled)
        _stop_if(cancelled)
        start = time.perf_counter()
        mask = segmenter.mask(analysis, self.recipe)
        seconds["mask"] = time.perf_counter() - start
        _stop_if(cancelled)
        start = time.perf_counter()
        interval = uncertainty.interval(analysis, measurements.volume_ml(mask.voxels, self.ct.ijk_to_ras), self.recipe)
        attenuation = measurements.attenuation(self.ct, mask)
        share = measurements.share_in_region(analysis, self.recipe)
        seconds["measure"] = time.perf_counter() - start
        return JobResult(mask, interval, attenuation, share, self.recipe, analysis.engine, analysis.student, seconds)

    def preview(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> Preview:
        """The mask on the model grid: in a few milliseconds, if the scan was analyzed before."""
        analysis, _ = self._analyze(progress, cancelled)
        return Preview(segmenter.coarse_mask(analysis, self.recipe), analysis.frame.ijk_to_ras)

    def overlay(
        self, progress: Progress | None = None, cancelled: IsCancelled | None = None
    ) -> uncertainty.UncertaintyMap:
        """Where the border of the mask is uncertain."""
        return uncertainty.overlay(self._analyze(progress, cancelled)[0], self.recipe)

    def look(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> None:
        """Analyze ahead of any wish, so that the first mask and "no liver in view" need no network any more."""
        analysis, _ = self._analyze(progress, cancelled)
        _stop_if(cancelled)
        segmenter.check(analysis)
        _stop_if(cancelled)
        segmenter.mask(analysis, self.recipe)

    def _analyze(self, progress: Progress | None, cancelled: IsCancelled | None) -> tuple[Analysis, dict[str, float]]:
        known = self.memory.analysis(self.analysis_key)
        if known is not None:
            return known, {}
        start = time.perf_counter()
        engine = self.memory.engine(self.student, self.engine)
        loading = time.perf_counter() - start
        analysis = segmenter.analyze(self.ct, engine, progress, cancelled)
        self.memory.keep(self.analysis_key, analysis)
        return analysis, {"load": loading, **analysis.seconds}


def _stop_if(cancelled: IsCancelled | None) -> None:
    if cancelled and cancelled():
        raise Cancelled
