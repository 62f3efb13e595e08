"""Follows what the user changes: tells a drag, which is previewed, from its release, after which the mask is written.

What is changed without the mouse (by a script, by the keyboard) counts as released when it has rested for a moment.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from ..mrml.session import SegmentationResult

REST_MILLISECONDS = 150
"""A choice, not a measurement: longer than the interval of a repeating key (about 30 ms), too short to be noticed."""


class ChangeTracker(VTKObservationMixin):
    """key(): what is set now; equal keys give equal masks. lastWritten(): the result that was written last, if any.

    onMoving() is called when the key changed, onReleased() when it is to become the mask, onReturned() when it was
    released where the mask has it already.
    """

    def __init__(
        self,
        key: Callable[[], Hashable],
        lastWritten: Callable[[], SegmentationResult | None],
        onMoving: Callable[[], None],
        onReleased: Callable[[], None],
        onReturned: Callable[[], None],
    ):
        VTKObservationMixin.__init__(self)
        self._key, self._lastWritten = key, lastWritten
        self._onMoving, self._onReleased, self._onReturned = onMoving, onReleased, onReturned
        self._dragging = self._ignoring = False
        self._seen: Hashable = None
        self._accepted: tuple[Hashable, SegmentationResult | None] = (None, None)
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MILLISECONDS)
        self._rest.connect("timeout()", self._onRest)

    def observe(self, *markupsNodes) -> None:
        """Follow changes of these nodes (None among them is left out) and of no others."""
        self.removeObservers()
        markups = slicer.vtkMRMLMarkupsNode
        changes = (
            vtk.vtkCommand.ModifiedEvent,
            markups.PointModifiedEvent,
            markups.PointPositionDefinedEvent,
            markups.PointRemovedEvent,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
        )
        for node in filter(None, markupsNodes):
            for event in changes:
                self.addObserver(node, event, self.onChange)
            self.addObserver(node, markups.PointPositionDefinedEvent, self.release)
            self.addObserver(node, markups.PointRemovedEvent, self.release)
            self.addObserver(node, markups.PointStartInteractionEvent, self._onStart)
            self.addObserver(node, markups.PointEndInteractionEvent, self.release)

    def close(self) -> None:
        """Follow nothing any more."""
        self.removeObservers()
        self._rest.stop()
        self._dragging = False

    @contextmanager
    def ignoringChanges(self) -> Iterator[None]:
        """What is changed within this block is what the mask shows already."""
        self._ignoring = True
        try:
            yield
        finally:
            self._ignoring = False
            self.settle()

    def settle(self) -> None:
        """What is set now is what the mask shows, until another one is written."""
        self._rest.stop()
        self._seen = self._key()
        self.accept(self._seen)

    def resume(self) -> None:
        """Follow changes again: what was changed since the mask was written is to become the mask."""
        written = self._lastWritten()
        self._rest.stop()
        self._seen = self._key()
        self._accepted = (self._seen if written is None else written.request.asked.key), written
        if self.moving:
            self._onReleased()

    def accept(self, key: Hashable) -> None:
        """No mask is to be made for this key (any more)."""
        self._accepted = key, self._lastWritten()

    def isCurrent(self, key: Hashable) -> bool:
        """Whether nothing has changed since it was so."""
        return key == self._seen

    @property
    def isDragging(self) -> bool:
        """Whether a handle of markups is being held."""
        return self._dragging

    @property
    def moving(self) -> bool:
        """Whether what is set now is not what the mask shows."""
        return self._seen != self._shownKey()

    def onChange(self, caller=None, event=None) -> None:
        """Something may have changed, perhaps in the middle of a drag."""
        key = self._key() if not self._ignoring else self._seen
        if key == self._seen:
            return
        self._seen = key
        self._rest.start()
        self._onMoving()

    def release(self, caller=None, event=None) -> None:
        """What is set now is to become the mask."""
        if self._ignoring:
            return
        self._dragging = False
        self._rest.stop()
        self._seen = self._key()
        if self.moving:
            self._onReleased()
        else:
            self._onReturned()

    def _shownKey(self) -> Hashable:
        acceptedKey, writtenBefore = self._accepted
        written = self._lastWritten()
        return acceptedKey if written is None or written is writtenBefore else written.request.asked.key

    def _onStart(self, caller, event) -> None:
        self._dragging = True

    def _onRest(self) -> None:
        # Some handles send no start event, so the mouse button is asked too.
        if self._dragging or qt.QApplication.mouseButtons() & qt.Qt.LeftButton:
            self._rest.start()
        else:
            self.release()
