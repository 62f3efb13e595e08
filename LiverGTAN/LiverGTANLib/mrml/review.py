"""Review of a mask slice by slice: where its border is most uncertain, and what was reviewed. On the main thread.

Which slices were reviewed is an attribute of the segmentation, with digests of each slice's masks: it is saved with the
scene, a slice whose mask was changed since counts as not reviewed, and after Undo, or when a browser of a sequence goes
back to the frame, it counts again.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from ..core import boxes, measurements
from ..core.segmentation_job import Preview
from ..core.volume import SPACING_MM, InputError, memory_errors_explained
from . import liver_grid, scene
from .parameters import ChosenParameters
from .segment_volume import requireLabelmap
from .session import SegmentationRequest, Session
from .warp import Warp

logger = logging.getLogger(__name__)

REACH_MM = SPACING_MM
"""Slices that are no farther from the one shown count with it: a cell of the students' grid, so that the network says
nothing else of them."""

SQUARE_MM = 20.0
"""Side of the squares of a slice, in that one of which most of the uncertain border lies the views meet. Chosen: large
enough for a vessel or a lesion at the border, and small enough to be seen at once."""

SAME_PLACE_VOXELS = 0.05
"""Places that differ by less, which is more than a saved scene rounds, are the same."""

MOST_MASKS = 50
"""Masks of one slice of which is remembered that they were reviewed, the last ones; more than frames that one goes
through slice by slice. A choice."""

_REVIEWED = "LiverGTAN.reviewed"
"""Attribute of the segmentation: what was reviewed, as JSON."""

NETWORK, OUTLINE = "uncertain border", "change of the outline"
"""What slices are ordered by: the network's answer, or, where there is none, how much the outline differs from those
of both slices beside, as in masks drawn by hand."""


@dataclass(frozen=True)
class ReviewSlice:
    """A slice to look at.

    number: of the plane in the lattice of the segment's label map, along its most axial axis. ras: mm in the world, on
    the plane. areaCm2: of what slices are ordered by (`order`, NETWORK or OUTLINE). reviewed: whether it was before.
    """

    number: int
    ras: tuple[float, float, float]
    areaCm2: float
    order: str
    reviewed: bool


@dataclass(frozen=True, eq=False)
class SegmentSlices:
    """A segment's voxels as a stack of slices.

    voxels: (n, b, a) boolean, of the smallest box that holds them. first: lattice index of its first slice, row and
    column. axes: along which axis of the lattice (0 to 2 for i, j, k) these lie. ijkToLocal: (4, 4) of the lattice, in
    mm as stored in the segmentation. ml: (n,) volume in each slice.
    """

    voxels: np.ndarray
    first: np.ndarray
    axes: tuple[int, int, int]
    ijkToLocal: np.ndarray
    ml: np.ndarray

    @staticmethod
    def of(segmentationNode, segmentId: str) -> "SegmentSlices":
        """Raises InputError when the segment has no label map, or lies under a transform that folds space."""
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        labelmap = requireLabelmap(segmentationNode, segment)
        inside = scene.labelmapArray(labelmap) == segment.GetLabelValue()
        box = boxes.bounding_box(inside) if inside.size else boxes.whole((0, 0, 0))
        box = boxes.whole((0, 0, 0)) if box is None else box
        matrix, isWarped = scene.imageToWorld(labelmap), scene.isWarped(segmentationNode)
        toWorld = matrix if isWarped else scene.localToWorld(segmentationNode) @ matrix
        upward = np.abs(toWorld[2, :3]) / np.linalg.norm(toWorld[:3, :3], axis=0)
        axial = int(upward.argmax())
        axes = boxes.triple((axial, *(axis for axis in (2, 1, 0) if axis != axial)))
        order = [2 - axis for axis in axes]
        voxels = np.ascontiguousarray(inside[box].transpose(order))
        ml = np.count_nonzero(voxels, axis=(1, 2)) * measurements.voxel_ml(toWorld)
        if isWarped:
            volumes = Warp.ofLabelmap(segmentationNode, labelmap).voxelVolumes
            kji = np.argwhere(inside[box]) + boxes.start(box)
            n = kji[:, order[0]] - boxes.start(box)[order[0]]
            ml = np.bincount(n, volumes.at(*kji.T), len(voxels))
        first = [boxes.start(box)[place] + labelmap.GetExtent()[2 * axis] for place, axis in zip(order, axes)]
        return SegmentSlices(voxels, np.array(first), axes, matrix, ml)

    @property
    def spacing(self) -> np.ndarray:
        """(3,) mm from slice to slice, row to row and column to column."""
        return np.linalg.norm(self.ijkToLocal[:3, list(self.axes)], axis=0)

    @property
    def numbers(self) -> range:
        """Of the slices that hold some of the segment, and of those between."""
        return range(self.first[0], self.first[0] + len(self.voxels))

    def slice(self, number: int) -> np.ndarray:
        """(b, a) boolean; nothing is in a slice beyond the segment."""
        empty = np.zeros(self.voxels.shape[1:], bool)
        return self.voxels[number - self.first[0]] if number in self.numbers else empty

    def change(self, number: int) -> np.ndarray:
        """(b, a): 0.5 where the slice differs from one of those beside, 1 where from both."""
        here = self.slice(number)
        return ((here ^ self.slice(number - 1)).astype(np.float32) + (here ^ self.slice(number + 1))) / 2

    def digest(self, number: int, shift: np.ndarray) -> str:
        """Equal for the same voxels in the same place of a lattice that begins `shift` (n, b, a) voxels before."""
        here = self.slice(number)
        rows, columns = (np.flatnonzero(here.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return ""
        part = here[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        place = [*(self.first[1:] + shift[1:] + [rows[0], columns[0]]), *part.shape]
        return hashlib.blake2b(
            np.array(place, np.int64).tobytes() + np.packbits(part).tobytes(), digest_size=6
        ).hexdigest()

    def local(self, nba: np.ndarray) -> np.ndarray:
        """(N, 3) places on the lattice, as slice, row, column, in mm as stored in the segmentation."""
        ijk = np.empty_like(nba, float)
        ijk[:, list(self.axes)] = nba
        return ijk @ self.ijkToLocal[:3, :3].T + self.ijkToLocal[:3, 3]

    def lattice(self, local: np.ndarray) -> np.ndarray:
        """(N, 3) places in mm as slice, row, column; undoes `local`."""
        inverse = np.linalg.inv(self.ijkToLocal)
        return (local @ inverse[:3, :3].T + inverse[:3, 3])[:, list(self.axes)]

    def shiftFrom(self, ijkToLocal: np.ndarray) -> np.ndarray | None:
        """(3,) whole voxels, as slice, row, column, that the lattice of another matrix begins before this one.

        None where voxels of the two do not coincide.
        """
        between = np.linalg.inv(ijkToLocal) @ self.ijkToLocal
        shift = np.rint(between[:3, 3])
        same = np.eye(4)
        same[:3, 3] = shift
        far = np.append(np.max([*self.voxels.shape]) + np.abs(self.first).max(), 1)[[0, 0, 0, 1]]
        fits = np.abs(between - same) * far < SAME_PLACE_VOXELS
        return shift.astype(int)[list(self.axes)] if fits.all() else None


@dataclass(frozen=True, eq=False)
class _SavedReview:
    """What is saved of a review.

    ijkToLocal: (4, 4) of the lattice on which it was begun. shift: see `SegmentSlices.shiftFrom`. digests: of the masks
    that were reviewed, by the numbers that slices have now.
    """

    ijkToLocal: np.ndarray
    shift: np.ndarray
    digests: dict[int, list[str]]


class Review:
    """The review of one segment.

    segmentId: "" stands for the one that `reviewedSegment` finds. Raises InputError when there is none. jump(ras)
    shows a place in all slice views.
    """

    def __init__(self, segmentationNode, segmentId: str = "", jump: Callable[[tuple], None] | None = None):
        self.node, self.segmentId = segmentationNode, segmentId or reviewedSegment(segmentationNode)
        self._jump = jump or jumpSlices
        self._key: Any = None
        self._slices: SegmentSlices | None = None
        self._border: tuple[np.ndarray, float] | None = None
        self._areas: dict[int, float] | None = None
        self._known: tuple = ()
        self._path: list[int] = []  # slices shown one after the other; the last one is shown now
        self._left: set[int] = set()  # slices that the user left open, or passed, in this round
        self._keyShown: Any = None  # `_key` when the slice was gone to
        self._isNew = False  # whether the slice that is shown is not counted yet; what is edited later is gone to anew
        self._steps: list[str | None] = []

    # The mask and what is known of its border

    @property
    def exists(self) -> bool:
        """Whether segmentation and segment are still in the scene."""
        inScene = self.node.GetScene() is not None
        return inScene and self.node.GetSegmentation().GetSegment(self.segmentId) is not None

    @property
    @memory_errors_explained()
    def slices(self) -> SegmentSlices:
        """Read anew when the segment or its place has changed."""
        if not self.exists:
            raise InputError(
                "The segment that was reviewed is not there any more; segment the liver, or choose another."
            )
        segment, transform = self.node.GetSegmentation().GetSegment(self.segmentId), self.node.GetParentTransformNode()
        labelmap = segment.GetRepresentation(scene.LABELMAP)
        time = transform.GetTransformToWorldMTime() if transform else 0
        key = labelmap, labelmap.GetMTime() if labelmap else 0, segment.GetLabelValue(), transform, time
        if key != self._key:
            self._slices, self._known, self._areas = SegmentSlices.of(self.node, self.segmentId), (), None
            self._key = key
        return self._slices

    def useNetwork(self, border: Preview, request: SegmentationRequest) -> None:
        """Order slices by the uncertain border of what was requested (`SegmentationJob.uncertain_border`)."""
        cells = np.argwhere(border.mask.voxels)[:, ::-1] + border.mask.start[::-1]
        matrix = request.gridToLocal(border.ijk_to_ras)
        points = cells @ matrix[:3, :3].T + matrix[:3, 3]
        if len(points):
            points = scene.transformed(scene.transformBetween(request.volumeNode, self.node), points)
        self._border, self._areas = (points, abs(float(np.linalg.det(matrix[:3, :3])))), None

    def useOutline(self) -> None:
        """Order slices by the change of the outline, for want of an answer of the network."""
        self._border = self._areas = None

    @property
    def order(self) -> str:
        """`NETWORK` or `OUTLINE`: what slices are ordered by."""
        return OUTLINE if self._border is None else NETWORK

    def areas(self) -> dict[int, float]:
        """cm² of what slices are ordered by, for each slice that has something to be looked at."""
        slices = self.slices
        if self._areas is None:
            self._areas = self._measured(slices)
        return self._areas

    def _measured(self, slices: SegmentSlices) -> dict[int, float]:
        if self._border is None:
            cm2 = float(np.prod(slices.spacing[1:])) / 100
            return {number: float(slices.change(number).sum()) * cm2 for number in slices.numbers}
        points, mm3 = self._border
        layers, counts = np.unique(np.round(slices.lattice(points)[:, 0], 2), return_counts=True)
        numbers = list(slices.numbers)
        if len(layers) and numbers:
            ends = np.rint(layers[[0, -1]]).astype(int)
            numbers = list(range(min(numbers[0], ends[0]), max(numbers[-1], ends[1]) + 1))
        reach = self._reach()
        far = np.abs(np.subtract.outer(numbers, layers))
        shared = np.clip(reach + 0.5 - far, 0, min(1, 2 * reach)) / (2 * reach)  # part of each cell that is in a slice
        return dict(zip(numbers, (shared @ counts * (mm3 / slices.spacing[0] / 100)).tolist()))

    def _reach(self) -> float:
        """Half of the side of a cell, in slices."""
        return self._border[1] ** (1 / 3) / 2 / self.slices.spacing[0]

    def _place(self, number: int) -> tuple[float, float, float]:
        """World RAS mm of the place in a slice at which most is to be seen."""
        slices = self.slices
        if self._border is None:
            rows = np.argwhere(slices.change(number)) + slices.first[1:]
        else:
            nba = slices.lattice(self._border[0])
            rows = nba[np.abs(nba[:, 0] - number) < self._reach() + 0.5, 1:]
        if not len(rows):
            rows = np.argwhere(slices.slice(number)) + slices.first[1:]
        if not len(rows):
            rows = np.argwhere(slices.voxels.any(axis=0)) + slices.first[1:]
        squares = np.floor(rows * slices.spacing[1:] / SQUARE_MM)
        _, which, counts = np.unique(squares, axis=0, return_inverse=True, return_counts=True)
        middle = rows[which.ravel() == counts.argmax()].mean(axis=0)
        local = slices.local(np.array([[number, *middle]]))
        r, a, s = scene.transformed(scene.transformBetween(self.node, None), local)[0].tolist()
        return r, a, s

    # What was reviewed

    @property
    def reviewed(self) -> set[int]:
        """Numbers of the slices that were reviewed and whose mask is the same as then."""
        text = self.node.GetAttribute(_REVIEWED) if self.exists else None
        slices = self.slices
        if self._known[:1] != (text,):
            saved = self._saved()
            numbers = {n for n, digests in saved.digests.items() if slices.digest(n, saved.shift) in digests}
            self._known = text, numbers
        return set(self._known[1])

    def _saved(self) -> _SavedReview:
        text, slices = self.node.GetAttribute(_REVIEWED), self.slices
        none = _SavedReview(slices.ijkToLocal, np.zeros(3, int), {})
        if not text:
            return none
        try:
            saved = json.loads(text)
            ijkToLocal = np.array(saved["ijkToLocal"], float).reshape(4, 4)
            shift = slices.shiftFrom(ijkToLocal)
            digests = {int(number): [str(one) for one in some] for number, some in saved["slices"].items()}
            if saved["segment"] != self.segmentId or saved["axis"] != slices.axes[0] or shift is None:
                return none
        except (ValueError, KeyError, TypeError, AttributeError, np.linalg.LinAlgError):
            logger.exception("What was reviewed in '%s' cannot be read.", self.node.GetName())
            return none
        return _SavedReview(ijkToLocal, shift, {n - int(shift[0]): some for n, some in digests.items()})

    @property
    def share(self) -> float | None:
        """Reviewed part of the segment's volume, 0 to 1; None for a segment without voxels."""
        slices = self.slices
        total = slices.ml.sum()
        if not total:
            return None
        reviewed = [number - slices.first[0] for number in self.reviewed if number in slices.numbers]
        return float(slices.ml[reviewed].sum() / total)

    def isReviewed(self, number: int) -> bool:
        """Whether a slice was reviewed, and its mask not changed since."""
        return number in self.reviewed

    def mark(self, number: int, reviewed: bool = True) -> None:
        """Say that a slice, with those within REACH_MM, was reviewed or is to be looked at again.

        Raises InputError for a number that no slice has.
        """
        if number not in self._path and number not in self.areas():
            raise InputError(f"There is no slice {number}; next() and `reviewed` give the numbers of slices.")
        reach = int(REACH_MM / self.slices.spacing[0] + 1e-6)
        near = set(range(number - reach, number + reach + 1))
        self._write(near if reviewed else set(), set() if reviewed else near)
        if not reviewed:
            self._left |= near

    def startOver(self) -> None:
        """Nothing of this mask counts as reviewed any more."""
        self._write(set(), self.reviewed)
        self._left, self._path, self._isNew = set(), [], False

    def _write(self, added: set[int], removed: set[int]) -> None:
        """Add the present masks of some slices, and remove those of others."""
        slices, saved = self.slices, self._saved()
        digests = dict(saved.digests)
        for number in sorted(added | removed):
            digest = slices.digest(number, saved.shift)
            others = [one for one in digests.get(number, []) if one != digest]
            digests[number] = [*others, digest][-MOST_MASKS:] if number in added else others
        found = {
            "segment": self.segmentId,
            "axis": slices.axes[0],
            "ijkToLocal": saved.ijkToLocal.ravel().tolist(),
            "slices": {str(n + int(saved.shift[0])): some for n, some in sorted(digests.items()) if some},
        }
        before, text = self.node.GetAttribute(_REVIEWED), json.dumps(found) if found["slices"] else None
        if text != before:
            self._steps.append(before)
            self.node.SetAttribute(_REVIEWED, text)

    @property
    def canUndo(self) -> bool:
        """Whether a change of what was reviewed can be taken back."""
        return bool(self._steps)

    def undo(self) -> None:
        """Take the last change of what was reviewed back. Raises InputError when there is none."""
        if not self._steps:
            raise InputError("There is nothing to undo.")
        self.node.SetAttribute(_REVIEWED, self._steps.pop())

    # From slice to slice

    @property
    def current(self) -> int | None:
        """Number of the slice that was gone to last."""
        return self._path[-1] if self._path else None

    def open(self) -> list[int]:
        """Numbers of the slices that are not reviewed, those with most to be seen first, then from above."""
        areas, reviewed = self.areas(), self.reviewed
        slices = self.slices
        looked = {number for number, cm2 in areas.items() if cm2 > 0 or slices.slice(number).any()} - reviewed
        up = 1 if slices.ijkToLocal[2, slices.axes[0]] > 0 else -1
        return sorted(looked, key=lambda number: (-areas[number], -up * number))

    def next(self) -> ReviewSlice | None:
        """Count the slice that is shown as reviewed, unless it was marked otherwise, and go to the one among the others
        whose border is most uncertain; None when all are reviewed."""
        if self._isNew and self.current not in self._left and not self.isReviewed(self.current):
            self.mark(self.current)
        self._isNew = False
        numbers = self.open()
        if not [number for number in numbers if number not in self._left]:
            self._left = {self.current} if len(numbers) > 1 else set()
        number = next((number for number in numbers if number not in self._left), None)
        if number is None:
            return None
        self._left.discard(number)
        if number != self.current:
            self._path.append(number)
        return self._go()

    @property
    def isAsShown(self) -> bool:
        """Whether the segment is as it was when the present slice was gone to."""
        return bool(self.slices) and self._key == self._keyShown

    def previous(self) -> ReviewSlice | None:
        """Go back to the slice that was shown before this one; None when there is none."""
        if not self.canGoBack:
            return None
        self._path.pop()
        return self._go()

    @property
    def canGoBack(self) -> bool:
        """Whether another slice was shown before this one."""
        return len(self._path) > 1

    def _go(self) -> ReviewSlice:
        number, self._isNew = self.current, True
        found = ReviewSlice(
            number, self._place(number), self.areas().get(number, 0.0), self.order, self.isReviewed(number)
        )
        self._keyShown = self._key
        self._jump(found.ras)
        return found


def begin(session: Session, chosen: ChosenParameters, segmentId: str = "") -> Review:
    """The review of a chosen segmentation, ordered by the network's answer where there is one. Raises as `Review`."""
    review = Review(chosen.segmentationNode, segmentId)
    request = networkRequest(session, chosen, review)
    if request is not None:
        review.useNetwork(request.job.uncertain_border(), request)
    return review


def networkRequest(session: Session, chosen: ChosenParameters, review: Review) -> SegmentationRequest | None:
    """What to ask the network about the uncertain border; None where the mask is not made by this module, or its CT is
    not chosen, was removed or is none that can be segmented."""
    isOurs = review.segmentId == scene.liverSegmentId(review.node)
    if chosen.volumeNode is None or not isOurs or scene.liverVolume(review.node) != chosen.volumeNode:
        return None
    try:
        return session.prepare(chosen)
    except ValueError:  # InputError is one
        logger.info("Slices are ordered by their outline.", exc_info=True)
        return None


def jumpSlices(ras: tuple[float, float, float]) -> None:
    """Let all slice views pass through a place (world RAS mm), each in the way that is set for it."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras)


def reviewedSegment(segmentationNode) -> str:
    """ID of the segment that a review is of: the liver as `liver_grid.liverSegmentId` finds it, else the only segment.

    Raises InputError when it is not clear which.
    """
    if liverId := liver_grid.liverSegmentId(segmentationNode):
        return liverId
    ids = segmentationNode.GetSegmentation().GetSegmentIDs()
    if len(ids) == 1:
        return ids[0]
    if not ids:
        raise InputError(f"'{segmentationNode.GetName()}' holds no segment; segment the liver first.")
    raise InputError(
        f"'{segmentationNode.GetName()}' holds several segments, and none of them is known as the liver: name one "
        "'liver' in the Segmentations module."
    )
