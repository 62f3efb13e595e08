"""One request to segment: all that happens between reading the scene and writing to it, in any thread."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from . import engines, measure, segmenter, student
from .engines import Cancelled, Engine, IsCancelled, Progress
from .segmenter import Analysis, BoxMask, Settings
from .volume import AIR, CtVolume

ANALYSES_KEPT = 4


@dataclass(frozen=True, eq=False)
class Found:
    """What a job found. seconds: time by stage; stages answered from memory are absent."""

    mask: BoxMask
    volume_ml: float
    engine: str
    student: str
    seconds: dict[str, float]


class Memory:
    """Loaded engines and the last analyses, so that a second look at the same scan costs no network.

    Its methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[tuple[str, str], Engine] = {}
        self._analyses: OrderedDict[Hashable, Analysis] = OrderedDict()

    def engine(self, student_name: str, engine_name: str) -> Engine:
        """The engine for a student (name or file), made at its first use."""
        key = (student_name, engine_name)
        with self._lock:
            if key not in self._engines:
                self._engines[key] = engines.create(student.load(student_name), engine_name)
            return self._engines[key]

    def warm_up(self, student_name: str, engine_name: str) -> None:
        """Make the engine, run it once on air, and import what masks need."""
        import scipy.ndimage  # noqa: F401

        engine = self.engine(student_name, engine_name)
        engine.forward(np.full((engine.student.multiple * 2,) * 3, AIR, np.float32))

    def analysis(self, key: Hashable) -> Analysis | None:
        with self._lock:
            return self._analyses.get(key)

    def forget_analyses(self) -> None:
        with self._lock:
            self._analyses.clear()

    def keep(self, key: Hashable, analysis: Analysis) -> None:
        with self._lock:
            self._analyses[key] = analysis
            self._analyses.move_to_end(key)
            while len(self._analyses) > ANALYSES_KEPT:
                self._analyses.popitem(last=False)


@dataclass(frozen=True, eq=False)
class Job:
    """Segment one scan. image_key: equal for equal voxels and geometry (`scene.imageKey`)."""

    ct: CtVolume
    image_key: Hashable
    memory: Memory
    student: str = student.DEFAULT
    engine: str = engines.AUTOMATIC
    settings: Settings = field(default_factory=Settings)

    def run(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> Found:
        """Find the liver. Raises InputError, StudentError, EngineError with a sentence, or Cancelled."""
        analysis, seconds = self._analyze(progress, cancelled)
        if cancelled and cancelled():
            raise Cancelled
        start = time.perf_counter()
        mask = segmenter.mask(analysis, self.settings)
        seconds["mask"] = time.perf_counter() - start
        volume_ml = measure.volume_ml(mask, self.ct.ijk_to_ras)
        return Found(mask, volume_ml, analysis.engine, analysis.student, seconds)

    def _analyze(
        self, progress: Progress | None, cancelled: IsCancelled | None
    ) -> tuple[Analysis, dict[str, float]]:
        key = (self.image_key, self.student, self.engine)
        known = self.memory.analysis(key)
        if known is not None:
            return known, {}
        start = time.perf_counter()
        engine = self.memory.engine(self.student, self.engine)
        loading = time.perf_counter() - start
        analysis = segmenter.analyze(self.ct, engine, progress, cancelled)
        self.memory.keep(key, analysis)
        return analysis, {"load": loading, **analysis.seconds}
