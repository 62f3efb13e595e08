"""The CTs of a Sequences browser, frame by frame, as a sequence of segmentations in the same browser.

`FrameSegmentation` reads the frames, segments them in any thread, and puts all into the scene at once: a run that is
canceled or fails leaves the scene as it was. One `undo` takes a whole run back.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from ..core import boxes, input_checks, measurements
from ..core.engines.engine import Cancelled, IsCancelled, Progress
from ..core.segmentation_job import JobResult, SegmentationCache, SegmentationJob
from ..core.segmenter import BoxMask
from ..core.volume import InputError, memory_errors_explained
from . import ct_sequence, frame_state, scene, sequence_curve, sequence_writer
from .ct_sequence import CtSequence, Frame
from .parameters import ChosenParameters
from .segment_writer import takeBack
from .sequence_writer import SequenceResult, SequenceUndo
from .session import Session, engineName
from .volume_curve import CurvePoint


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What was found in a frame. found: None where there is no liver, for the reason that `point.hint` says."""

    frame: Frame
    found: JobResult | None
    point: CurvePoint


class FrameSegmentation:
    """One run over the frames of a sequence.

    node: see `CtSequence.of`. chosen: student, engine and settings; ROI and points belong to one frame and are not
    used. mayReplace: whether segmentations that were made of these frames before may be replaced. mayReplaceEdited:
    whether those may that were edited since. Segments of the user are taken over. Raises InputError.
    """

    @memory_errors_explained()
    def __init__(
        self,
        session: Session,
        node,
        chosen: ChosenParameters,
        mayReplace: bool = False,
        mayReplaceEdited: bool = False,
    ):
        self.source, self._chosen = CtSequence.of(node), chosen
        source = self.source
        ct_sequence.requireSegmentable(source)
        self._replaced = source.segmentations
        if self._replaced is not None:
            _requireReplaceable(source, mayReplace, mayReplaceEdited)
        self._liversBefore = self._livers()
        self._key = source.key()
        self._frames = ct_sequence.readFrames(source)
        self._cache = SegmentationCache(session.engines)

    # In any thread

    def segment(self, progress: Progress | None = None, cancelled: IsCancelled | None = None) -> list[FrameResult]:
        """Find the liver in each frame. Raises Cancelled, and what concerns all frames, such as StudentError."""
        results: list[FrameResult] = []
        count = len(self._frames)
        for number, frame in enumerate(self._frames):

            def report(fraction: float, text: str, number=number) -> None:
                if progress:
                    progress((number + fraction) / count, f"Frame {number + 1} of {count}")

            report(0.0, "")
            if cancelled and cancelled():
                raise Cancelled
            results.append(self._segment(frame, number, results, report, cancelled))
        return results

    def _segment(self, frame: Frame, number: int, done: list[FrameResult], progress, cancelled) -> FrameResult:
        if frame.ct is None:
            return FrameResult(frame, None, CurvePoint(frame.index, hint=frame.problem))
        findings = input_checks.check(frame.ct)
        blocking = " ".join(finding.reason for finding in findings if finding.blocking)
        if blocking:
            return FrameResult(frame, None, CurvePoint(frame.index, hint=blocking))
        job = SegmentationJob(
            frame.ct, number, self._cache, self._chosen.student, engineName(self._chosen.engine), self._parameters
        )
        isFirst = all(one.found is None for one in done)  # all frames show one body
        found = (job.segment_and_check if isFirst else job.segment)(progress, cancelled)
        hints = [*(finding.reason for finding in findings), *found.warnings]
        if found.mask.empty:
            return FrameResult(frame, None, CurvePoint(frame.index, hint=" ".join(hints) or "No liver was found."))
        ends = measurements.incomplete(found.cut_ends) if isFirst else ""
        hints += filter(
            None, (measurements.unusual_size(found.interval.volume), ends, measurements.dark(found.dark_ml))
        )
        isSure = found.interval.low > 0
        point = CurvePoint(
            frame.index,
            found.interval.volume,
            found.interval.low if isSure else None,
            found.interval.high if isSure else None,
            found.attenuation.mean_hu if found.attenuation else None,
            _dice(done[-1], frame, found.mask) if done else None,
            int(np.count_nonzero(found.mask.voxels)),
            "; ".join(hints),
        )
        return FrameResult(frame, found, point)

    @property
    def _parameters(self):
        return replace(self._chosen, roiNode=None, liverNode=None, notLiverNode=None).maskParameters()

    # In the scene

    @property
    def nodesExist(self) -> bool:
        """Whether browser, sequence and volume are still there."""
        return self.source.exists

    @memory_errors_explained()
    def apply(self, results: list[FrameResult]) -> SequenceResult:
        """Put what was found into the scene, all at once; after an error all is as it was.

        Raises InputError when no frame holds a liver, or the sequence was removed or changed meanwhile.
        """
        self._requireUnchanged(results)
        source = self.source
        mrmlScene, points = source.sequenceNode.GetScene(), [result.point for result in results]
        selected = source.browserNode.GetSelectedItemNumber()
        with ExitStack() as rollback:

            def onError(function: Callable, *arguments) -> None:
                rollback.callback(takeBack, function, *arguments)

            made = sequence_writer.add(source)
            onError(scene.removeNode, made)
            for result in results:
                index = result.frame.index
                before = self._replaced.GetDataNodeAtValue(index) if self._replaced is not None else None
                made.SetDataNodeAtValue(sequence_writer.segmentationOf(result.frame, result.found, before), index)
            onError(self._restoreOwned, self._replaced)
            proxyNode = source.browserNode.GetProxyNode(self._replaced) if self._replaced is not None else None
            isNew = proxyNode is None
            if isNew:
                proxyNode = scene.createSegmentation(source.proxyNode)
                proxyNode.SetName(mrmlScene.GenerateUniqueName(f"{source.sequenceNode.GetName()} liver"))
                onError(scene.removeNode, proxyNode)
            if self._replaced is not None:
                onError(sequence_writer.show, source, self._replaced, proxyNode)
                sequence_writer.hide(source, self._replaced)
            onError(sequence_writer.hide, source, made)
            sequence_writer.show(source, made, proxyNode)
            transformBefore = proxyNode.GetTransformNodeID()
            onError(proxyNode.SetAndObserveTransformNodeID, transformBefore)
            proxyNode.SetAndObserveTransformNodeID(source.proxyNode.GetTransformNodeID())
            source.own(made)
            sequence_curve.remember(source, points)
            curveBefore = sequence_curve.tableCopy(source)
            onError(sequence_curve.restore, source, curveBefore)
            sequence_curve.write(source, points)
            source.browserNode.SetSelectedItemNumber(selected)
            rollback.pop_all()
        scene.useSegmentation(source.proxyNode, proxyNode)
        undo = SequenceUndo(source, made, self._replaced, proxyNode if isNew else None, transformBefore, curveBefore)
        return SequenceResult(source, made, proxyNode, *sequence_curve.nodes(source), points, undo.undo)

    def _requireUnchanged(self, results: list[FrameResult]) -> None:
        source = self.source
        if not source.exists:
            raise InputError("The sequence, its browser or its volume was removed meanwhile; nothing was changed.")
        if source.key() != self._key:
            raise InputError(
                f"The frames of '{source.sequenceNode.GetName()}' changed while they were segmented; nothing was "
                "written. Segment them again."
            )
        ct_sequence.requireNoOtherBrowser(source)
        if source.segmentations != self._replaced:
            raise InputError("Other segmentations of these frames came meanwhile; nothing was changed. Try again.")
        self._requireUnedited()
        if all(result.found is None for result in results):
            reason = results[0].point.hint
            raise InputError(f"No frame holds a liver that can be segmented; nothing was changed. Frame 1: {reason}")

    def _requireUnedited(self) -> None:
        """Raises InputError where a frame that would be replaced was edited since the run began."""
        before, now = self._liversBefore, self._livers()
        indices = [index for index in {**before, **now} if before.get(index) != now.get(index)]
        numbers = sorted(self.source.sequenceNode.GetItemNumberFromIndexValue(index, True) + 1 for index in indices)
        if numbers:
            raise InputError(
                f"{sequence_curve.framesNamed(numbers)} edited while the frames were segmented; nothing was changed. "
                "Segment the frames again to replace what is there now."
            )

    def _livers(self) -> dict[str, dict]:
        return frame_state.liversOf(self._replaced) if self._replaced is not None else {}

    def _restoreOwned(self, node) -> None:
        if self.source.sequenceNode.GetScene() is not None:
            self.source.own(node)


def _requireReplaceable(source: CtSequence, mayReplace: bool, mayReplaceEdited: bool) -> None:
    """Raises InputError where what is there may not be replaced."""
    edited = sequence_curve.editedFrames(source)
    if not mayReplace or (edited and not mayReplaceEdited):
        allow = "replace=True, replaceEdited=True" if edited else "replace=True"
        raise InputError(
            f"{sequence_curve.replacing(source)} Allow that they are replaced ({allow}), or take them out of the "
            "browser first."
        )


def _dice(before: FrameResult, frame: Frame, mask: BoxMask) -> float | None:
    """Overlap with the mask of the frame before, None where that has none or another grid."""
    if before.found is None or before.frame.ct is None or frame.ct is None:
        return None
    other = before.found.mask
    sameGrid = other.shape == mask.shape and np.allclose(before.frame.ijkToLocal, frame.ijkToLocal, atol=1e-4)
    if not sameGrid:
        return None
    shared = boxes.intersection(mask.box, other.box)
    both = np.count_nonzero(
        mask.voxels[boxes.relative_to(mask.box, shared)] & other.voxels[boxes.relative_to(other.box, shared)]
    )
    return 2 * int(both) / int(np.count_nonzero(mask.voxels) + np.count_nonzero(other.voxels))
