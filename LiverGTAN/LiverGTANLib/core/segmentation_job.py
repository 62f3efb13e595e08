"""Work on one scan: all that happens between reading the scene and writing to it, in any thread."""

import logging
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from . import measurements, phantom, proportion_check, segmenter, uncertainty
from .engines.engine import Cancelled, Engine, EngineProvider, IsCancelled, Progress
from .engines.factory import AUTOMATIC
from .input_checks import Finding
from .lru_cache import LruCache
from .measurements import Attenuation
from .postprocess import DEFAULT_MASK_PARAMETERS, Analysis, MaskParameters
from .segmenter import BoxMask
from .students import DEFAULT_STUDENT
from .uncertainty import UncertaintyMap, VolumeInterval
from .volume import CtVolume, memory_errors_explained

logger = logging.getLogger(__name__)

CACHED_ANALYSES = 4
"""Chosen so that a CT and its other phases stay analyzed; one takes about 20 MB (two float32 grids of 3 mm cells)."""


WARM_UP_SPACING_MM = (5.0, 5.0, 5.0)
"""Voxels of the phantom for `SegmentationCache.warm_up`; the bundled students find its liver. After it the first
click on 512x512x129 voxels takes 1.2 times as long as a later one, 1.4 times without (processor time, medians of 3)."""


NOT_CHECKED = (
    "There is not enough memory to check orientation and proportions of the body: compare them with the patient."
)


class StoppableEngine:
    """An engine whose every run stops when `cancelled` says so."""

    def __init__(self, engine: Engine, cancelled: IsCancelled | None) -> None:
        self._engine, self._cancelled = engine, cancelled
        self.name, self.student = engine.name, engine.student

    def forward(
        self, x_DHW: np.ndarray, progress: Progress | None = None, cancelled: IsCancelled | None = None
    ) -> np.ndarray:
        """See `Engine`."""
        return self._engine.forward(x_DHW, progress, cancelled or self._cancelled)


class SegmentationCache:
    """Engines, and the last analyses by `SegmentationJob.analysis_key`: the same scan again costs no network.

    Its methods may be called from any thread.
    """

    def __init__(self, provider: EngineProvider) -> None:
        self._provider = provider
        self._lock = threading.Lock()
        self._engines: dict[tuple[str, str], Engine] = {}
        self.analyses = LruCache(CACHED_ANALYSES)

    def engine(self, student: str, engine: str) -> Engine:
        """The engine for a student (name or file), made at its first use."""
        key = (student, engine)
        with self._lock:
            if key not in self._engines:
                self._engines[key] = self._provider.create(student, engine)
            return self._engines[key]

    def warm_up(self, student: str, engine: str, cancelled: IsCancelled | None = None) -> None:
        """Do once, on a small phantom, all that a first click does, so that none of it waits then. Raises Cancelled."""
        made, (ct, _) = self.engine(student, engine), phantom.phantom_ct(WARM_UP_SPACING_MM)
        analysis = segmenter.analyze(ct, made, cancelled=cancelled, checked=True)
        mask = segmenter.mask(analysis, ct)
        uncertainty.interval(analysis, measurements.mask_ml(ct, mask))
        measurements.attenuation(ct, mask)

    def clear_analyses(self) -> None:
        """Forget all analyses; engines stay."""
        self.analyses = LruCache(CACHED_ANALYSES)


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job found.

    interval: the mask's volume with its ends. share: part of the liver that is in the region, None without one.
    parameters: what the mask was made with. seconds: time by stage; stages answered from the cache are absent.
    click_remarks: see `segmenter.check_clicks`. apart_ml: volume of `segmenter.added_apart`. cut_ends: see
    `measurements.cut_ends`; empty for a part of the liver, in a region. dark_ml: see `measurements.dark_ml`. findings:
    those of the analysis, which `check_body` adds to.
    """

    mask: BoxMask
    interval: VolumeInterval
    attenuation: Attenuation | None
    share: float | None
    parameters: MaskParameters
    engine: str
    student: str
    seconds: dict[str, float]
    click_remarks: list[str]
    apart_ml: float = 0.0
    cut_ends: tuple[str, ...] = ()
    dark_ml: float = 0.0
    findings: LruCache = field(default_factory=lambda: LruCache(2))

    @property
    def warnings(self) -> list[str]:
        """What the user should know of the scan by what the network found in it; of the body once that was checked."""
        found = (self.findings.get(about) or [] for about in ("liver", "body"))
        return [finding.reason for findings in found for finding in findings]


@dataclass(frozen=True, eq=False)
class Preview:
    """A mask on the model grid, whose voxels lie at `ijk_to_ras`. logits: see `segmenter.coarse_logits`, if any."""

    mask: BoxMask
    ijk_to_ras: np.ndarray
    logits: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class SegmentationJob:
    """One scan, which `input_checks.check` found nothing against, and what is asked of it.

    image_key: equal for equal voxels and geometry. student: name or file. engine: see `engines.factory`. parameters:
    with ROI and clicks in the geometry of `ct`. All methods raise InputError, StudentError and EngineError with a
    sentence, or Cancelled.
    """

    ct: CtVolume
    image_key: Hashable
    cache: SegmentationCache
    student: str = DEFAULT_STUDENT
    engine: str = AUTOMATIC
    parameters: MaskParameters = DEFAULT_MASK_PARAMETERS

    @property
    def analysis_key(self) -> Hashable:
        """What the analysis is cached under."""
        return self.image_key, self.student, self.engine

    @memory_errors_explained()
    def segment(
        self,
        progress: Progress | None = None,
        cancelled: IsCancelled | None = None,
        body: list[Finding] | None = None,
    ) -> JobResult:
        """Find and measure the liver. body: what `check_body` found in another image of it, which is not repeated."""
        analysis, seconds = self._analysis(progress, cancelled)
        if body is not None:
            analysis.cache.findings.store("body", body)
        _stop_if(cancelled)
        start = time.perf_counter()
        mask = segmenter.mask(analysis, self.ct, self.parameters)
        seconds["mask"] = time.perf_counter() - start
        _stop_if(cancelled)
        start = time.perf_counter()
        volume_ml = measurements.mask_ml(self.ct, mask)
        interval = uncertainty.interval(analysis, volume_ml, self.parameters)
        attenuation = measurements.attenuation(self.ct, mask)
        share = None
        if self.parameters.region is not None:
            share = measurements.share(self.ct, mask, segmenter.whole_mask(analysis, self.ct, self.parameters))
        remarks = segmenter.check_clicks(analysis, self.parameters)
        apart_ml = measurements.mask_ml(self.ct, segmenter.added_apart(analysis, self.ct, self.parameters, mask))
        cut_ends = () if self.parameters.region else tuple(measurements.cut_ends(mask, self.ct))
        dark_ml = measurements.dark_ml(analysis, self.parameters)
        _ = mask.packed  # here, as it is written on the main thread
        seconds["measure"] = time.perf_counter() - start
        return JobResult(
            mask,
            interval,
            attenuation,
            share,
            self.parameters,
            analysis.engine,
            analysis.student,
            seconds,
            remarks,
            apart_ml,
            cut_ends,
            dark_ml,
            analysis.cache.findings,
        )

    def segment_and_check(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> JobResult:
        """The same, with what `check_body` finds among the warnings."""
        found = self.segment(progress, cancelled)
        self.check_body(progress, cancelled)
        return found

    def check_body(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> list[Finding]:
        """Look whether the body lies as the scan says and is as long, see `proportion_check`, once for each analysis.

        Takes nothing or up to some twenty runs of the network, therefore not before the mask. Where memory does not
        suffice, the finding says so.
        """
        analysis, _ = self._analysis(progress, cancelled)
        engine = StoppableEngine(self.cache.engine(self.student, self.engine), cancelled)
        try:
            return proportion_check.check_body(analysis, engine)
        except MemoryError:
            logger.warning("The body could not be checked.", exc_info=True)
            return analysis.cache.findings.store("body", [Finding(False, NOT_CHECKED)])

    @memory_errors_explained()
    def preview(
        self, progress: Progress | None = None, cancelled: IsCancelled | None = None, with_logits: bool = False
    ) -> Preview:
        """The mask on the model grid: in a few milliseconds, if the scan was analyzed before.

        with_logits: also the logits around it, for a surface; there are none of an empty mask.
        """
        analysis, _ = self._analysis(progress, cancelled)
        mask = segmenter.coarse_mask(analysis, self.parameters)
        wanted = with_logits and not mask.empty
        logits = segmenter.coarse_logits(analysis, self.parameters, mask) if wanted else None
        return Preview(mask, analysis.grid.ijk_to_ras, logits)

    @memory_errors_explained()
    def uncertainty_map(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> UncertaintyMap:
        """Where the border of the mask is uncertain."""
        analysis, _ = self._analysis(progress, cancelled)
        return uncertainty.overlay(analysis, self.parameters)

    @memory_errors_explained()
    def uncertain_border(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> Preview:
        """The cells of the model grid that the ends of the volume differ by."""
        analysis, _ = self._analysis(progress, cancelled)
        return Preview(uncertainty.border(analysis, self.parameters), analysis.grid.ijk_to_ras)

    @memory_errors_explained()
    def analyze_ahead(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> None:
        """Fill the cache, so that the first mask and "no liver in view" need no network any more."""
        analysis, _ = self._analysis(progress, cancelled)
        _stop_if(cancelled)
        segmenter.mask(analysis, self.ct, self.parameters)

    def _analysis(self, progress: Progress | None, cancelled: IsCancelled | None) -> tuple[Analysis, dict[str, float]]:
        """The analysis, and the seconds of the stages that it took now."""
        cached = self.cache.analyses.get(self.analysis_key)
        if cached is not None:
            return cached, {}
        start = time.perf_counter()
        engine = self.cache.engine(self.student, self.engine)
        loading = time.perf_counter() - start
        analysis = segmenter.analyze(self.ct, engine, progress, cancelled, checked=True)
        segmenter.check(analysis)  # here, as the panel asks for it on the main thread
        self.cache.analyses.store(self.analysis_key, analysis)
        return analysis, {"load": loading, **analysis.seconds}


def _stop_if(cancelled: IsCancelled | None) -> None:
    if cancelled and cancelled():
        raise Cancelled
