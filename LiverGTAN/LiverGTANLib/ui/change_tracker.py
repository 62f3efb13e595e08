"""Part of the shell: the mask follows the hand. It hears of every change, and says when to preview and when to write.

While something is dragged only previews are wished for; the mask is written once, on release. What is changed without
a hand (by a script, by the keyboard) counts as released when it has rested for a moment.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

REST_MILLISECONDS = 150


class ChangeTracker(VTKObservationMixin):
    """key() tells what is set now; equal keys mean an equal mask.

    onMoving() is called when it changed, onReleased() when it is to become the mask, onReturned() when it was let go
    where it had been.
    """

    def __init__(self, key: Callable[[], Hashable], onMoving, onReleased, onReturned):
        VTKObservationMixin.__init__(self)
        self._key = key
        self._onMoving, self._onReleased, self._onReturned = onMoving, onReleased, onReturned
        self._held = self._deaf = False
        self._seen = self._written = None
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MILLISECONDS)
        self._rest.connect("timeout()", self._onRest)

    def follow(self, *markupsNodes) -> None:
        """Listen to these nodes (None among them is left out) and to no others."""
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
        """Hear of nothing any more."""
        self.removeObservers()
        self._rest.stop()
        self._held = False

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """What is changed within this block is not meant to become a mask; the mask shows it already."""
        self._deaf = True
        try:
            yield
        finally:
            self._deaf = False
            self.settle()

    def settle(self) -> None:
        """What is set now is what the mask shows."""
        self._rest.stop()
        self._seen = self._written = self._key()

    def isCurrent(self, key: Hashable) -> bool:
        """Whether nothing has changed since it was so."""
        return key == self._seen

    def wrote(self, key: Hashable) -> None:
        self._written = key

    def check(self) -> None:
        """Look whether anything was changed while a mask was being made."""
        if not self._held:
            self.release()

    def onChange(self, caller=None, event=None) -> None:
        """Something may have changed, perhaps in the midst of a drag."""
        key = self._key() if not self._deaf else self._seen
        if key == self._seen:
            return
        self._seen = key
        self._rest.start()
        self._onMoving()

    def release(self, caller=None, event=None) -> None:
        """What is set now is meant to stay."""
        if self._deaf:
            return
        self._held = False
        self._rest.stop()
        self._seen = self._key()
        if self._seen == self._written:
            self._onReturned()
        else:
            self._onReleased()

    def _onStart(self, caller, event) -> None:
        self._held = True

    def _onRest(self) -> None:
        # Some handles tell nothing when they are grasped, so the mouse button is asked too.
        if self._held or qt.QApplication.mouseButtons() & qt.Qt.LeftButton:
            self._rest.start()
        else:
            self.release()

    @property
    def moving(self) -> bool:
        """Whether what is set now is not what the mask shows."""
        return self._seen != self._written
