"""Follows one liver and what cuts it: the parts follow both, also while another liver is chosen or another module open.

A step is one action or one drag; what was edited by hand in the parts before is a part of the step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..core.volume import InputError, OutOfMemory
from ..mrml import liver_grid, liver_parts, resection_plan
from ..mrml.liver_grid import Cut
from ..mrml.liver_parts import PartSurfaces
from ..mrml.remnant import RemnantVolumes
from ..mrml.resection_plan import PlanState, ResectionPlan
from .change_tracker import REST_MILLISECONDS
from .task_runner import TaskRunner, WorkerTask, explained, showFailure

MOST_STEPS = 20
"""Steps that Undo goes back; a choice. One is a cut in some numbers and, where parts were edited, their voxels."""


class PlanSteps:
    """States of one plan, one for each action; without a cut among them is no plan."""

    def __init__(self, first: PlanState):
        self._states, self._position = [first], 0

    @property
    def current(self) -> PlanState:
        """The state that the last action, Undo or Redo led to."""
        return self._states[self._position]

    def record(self, state: PlanState) -> None:
        """After an action; what was undone before cannot be redone any more."""
        if not state.isAs(self.current):
            self._states = [*self._states[: self._position + 1], state][-MOST_STEPS - 1 :]
            self._position = len(self._states) - 1

    def keepEdit(self, state: PlanState) -> None:
        """The parts of the current state were edited by hand, and are about to be replaced."""
        if state.edit is not None:
            self._states[self._position] = replace(self.current, edit=state.edit)

    def returnTo(self, cut: Cut, liverDigest: str) -> PlanState | None:
        """The current state, or the one before it, if it has this cut and parts of this liver that were edited by hand.

        It is the current one from then on. None where neither is.
        """
        for position in (self._position, self._position - 1):
            state = self._states[max(0, position)]
            isOf = state.edit is not None and state.edit.liverDigest == liverDigest
            if isOf and state.cut is not None and state.cut.key == cut.key:
                self._position = max(0, position)
                return state
        return None

    def canGo(self, step: int) -> bool:
        """Whether there is a state so many steps on (or, below 0, back)."""
        return 0 <= self._position + step < len(self._states)

    def go(self, step: int) -> PlanState:
        """The state there, which is the current one from now on."""
        self._position += step
        return self.current


class PlanFollower(VTKObservationMixin):
    """report(follower) is called after something changed: `volumes` and `remark` say what the parts are by now."""

    def __init__(self, liverNode, report: Callable[["PlanFollower"], None]):
        VTKObservationMixin.__init__(self)
        self.plan, self._report = ResectionPlan(liverNode, surfacesLater=True), report
        self._runner = TaskRunner(lambda: None)
        self._surfaces: PartSurfaces | None = None
        self.volumes: RemnantVolumes | None = None
        self.remark = ""
        self._seen = self.plan.key()
        self._liver = self._liverSegment()
        self._nodes: list = []
        self._observed: tuple = ()
        self._moving = self._dragging = self._writing = self._edited = False
        self._turn = self._timer(0, self._onTurn)
        self._rest = self._timer(REST_MILLISECONDS, self._onRest)
        # The first state of a plan that was loaded is where the cut is before a drag.
        self.steps = PlanSteps(PlanState(self.plan.cut()))
        self._observe()

    @staticmethod
    def _timer(milliseconds: int, slot):
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", slot)
        return timer

    def close(self) -> None:
        """Follow nothing any more."""
        self.removeObservers()
        self._turn.stop()
        self._rest.stop()
        self._runner.close()
        self._moving = self._dragging = self._edited = False

    @property
    def isPresent(self) -> bool:
        """Whether the liver's segmentation is still in the scene."""
        return self.plan.liverNode.GetScene() is not None

    @property
    def isActive(self) -> bool:
        """Whether something is still to be done: at the next turn of the event loop, when the cut rests, or when the
        surfaces of the parts are made."""
        return self._turn.active or self._rest.active or self._runner.task is not None

    # What is observed

    def _observedNow(self) -> tuple:
        """A script, too, may make a plan, or exchange a node of it."""
        plan = self.plan
        return plan.liverNode, plan.liverNode.GetSegmentation(), plan.partsNode, plan.cutNode

    def _observe(self) -> None:
        self.removeObservers()
        self._observed, self._nodes = self._observedNow(), self.plan.nodes
        liverNode, mrmlScene = self.plan.liverNode, slicer.mrmlScene
        transformed = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        for event in (mrmlScene.NodeAddedEvent, mrmlScene.NodeRemovedEvent):
            self.addObserver(mrmlScene, event, self._onChange)
        self.addObserver(liverNode, transformed, self._onChange)
        self._observeSegments(liverNode, self._onChange)
        if (partsNode := self.plan.partsNode) is not None:
            self._observeSegments(partsNode, self._onPartsChanged)
            self.addObserver(partsNode, transformed, self._onPartsChanged)
        if (cutNode := self.plan.cutNode) is not None:
            for event in (
                vtk.vtkCommand.ModifiedEvent,
                cutNode.PointModifiedEvent,
                cutNode.PointRemovedEvent,
                cutNode.PointPositionDefinedEvent,
                cutNode.PointPositionUndefinedEvent,
                transformed,
            ):
                self.addObserver(cutNode, event, self._onChange)
            self.addObserver(cutNode, cutNode.PointStartInteractionEvent, self._onStart)
            self.addObserver(cutNode, cutNode.PointEndInteractionEvent, self._onEnd)

    def _observeSegments(self, segmentationNode, slot) -> None:
        # Where its whole content is replaced, as by a browser of sequences, the node sends its own event alone.
        self.addObserver(segmentationNode, vtk.vtkCommand.ModifiedEvent, slot)
        segmentation = segmentationNode.GetSegmentation()
        for event in (
            segmentation.SourceRepresentationModified,
            segmentation.ContainedRepresentationNamesModified,
            segmentation.SegmentAdded,
            segmentation.SegmentRemoved,
            segmentation.SegmentModified,
        ):
            self.addObserver(segmentation, event, slot)

    def _onChange(self, caller=None, event=None) -> None:
        if not self._writing:
            self._turn.start()

    def _onPartsChanged(self, caller=None, event=None) -> None:
        if not self._writing:
            self._edited = True
            self._turn.start()

    def _onStart(self, caller=None, event=None) -> None:
        self._dragging = True

    def _onEnd(self, caller=None, event=None) -> None:
        self._dragging = False
        self._onTurn()
        if self._moving:
            self._finish()

    # What follows

    def _onTurn(self) -> None:
        self._turn.stop()
        if not self.isPresent:
            self.close()
            with explained(_("What was planned for a deleted liver could not be removed.")):
                resection_plan.removeNodes([node for node in self._nodes if node.GetScene() is not None])
            self._report(self)
            return
        plan = self.plan
        if plan.partsNode is None and liver_parts.replaceLiver(plan.liverNode):
            plan.show(False)  # the parts were deleted, else nothing of the liver would be seen
        liver, self._liver = self._liver, self._liverSegment()
        if plan.partsNode is not None and self._liver not in (None, liver):
            liver_parts.hideLiver(plan.liverNode)  # it was removed and came back, as by Undo and Redo
        hadParts = len(self._observed) > 2 and self._observed[2] is not None
        if self._observed != self._observedNow() or self._nodes != plan.nodes:
            self._observe()
        key = plan.key()
        if key != self._seen:
            hasOtherLiver = key[0] != self._seen[0]
            self._seen = key
            self._follow(hasOtherLiver)
        elif (self._edited or (hadParts and plan.partsNode is None)) and not self._moving:
            self.measure()
        elif plan.exists and not self._moving:
            self._followSurface()
        self._edited = False
        self._report(self)

    def _liverSegment(self):
        liverNode = self.plan.liverNode
        segmentId = liver_grid.liverSegmentId(liverNode)
        return liverNode.GetSegmentation().GetSegment(segmentId) if segmentId else None

    def _follow(self, hasOtherLiver: bool) -> None:
        """Let the parts follow, if there is a plan that they can follow.

        Where the liver is again one whose parts were edited by hand, as after Undo, the edit comes back with it.
        """
        if not self.plan.exists or None in self._seen:
            self.measure()
            return
        try:
            with self._changing():
                if not self._moving:
                    self.steps.keepEdit(self.plan.state())
                edited = self.steps.returnTo(self.plan.cut(), self.plan.grid().digest) if hasOtherLiver else None
                if edited is None:
                    self.volumes, self.remark = self.plan.split(), ""
            if edited is not None:
                self._do(lambda: self.plan.restore(edited))
                return
        except (InputError, OutOfMemory) as error:
            self.volumes, self.remark = None, str(error)
            return
        self._moving = True
        self._rest.start()

    def _followSurface(self) -> None:
        """Show 3D was pressed, or pressed again: the parts have a surface when the liver has one."""
        if not liver_parts.surfacesFit(self.plan.partsNode, self.plan.liverNode):
            with self._changing():
                liver_parts.makeSurfaces(self.plan.partsNode, self.plan.liverNode, later=True)
            self._makeSurfaces()

    def _makeSurfaces(self) -> None:
        """On the worker thread, of the parts as they are; those that are shown stay until then."""
        parts, liverNode = self.plan.partsNode, self.plan.liverNode
        isMade = self._runner.task is not None and self._surfaces is not None and self._surfaces.areCurrent
        if isMade or not PartSurfaces.areWanted(parts, liverNode):
            return
        surfaces = self._surfaces = PartSurfaces(parts, liverNode)

        def show(made: dict) -> None:
            with self._changing():
                surfaces.show(made)

        def fail(error: BaseException) -> None:
            showFailure(error, _("The parts could not be shown in 3D."), lambda: self._report(self))

        def areThere() -> bool:
            return self.isPresent and self.plan.partsNode == parts

        self._runner.start(WorkerTask(surfaces.make, show, fail, areThere, background="surfaces of the parts"))

    def _onRest(self) -> None:
        # Some handles send no start event, so the mouse button is asked too.
        if self._dragging or qt.QApplication.mouseButtons() & qt.Qt.LeftButton:
            self._rest.start()
        else:
            self._finish()

    def _finish(self) -> None:
        """Cut and liver rest: all is made that takes longer."""
        self._rest.stop()
        self._moving = False
        if self.isPresent and self.plan.exists and self.plan.cut() is not None:
            self.volumes, self.remark = None, ""
            with explained(_("The parts could not be made.")):
                with self._changing():
                    self.volumes, self.remark = self.plan.finish(), self.plan.notice()
                self.steps.record(PlanState(self.plan.cut()))
                self._makeSurfaces()
        self._report(self)

    def settle(self) -> None:
        """What changed before, and is not followed yet, is a step of its own."""
        if self._turn.active:
            self._onTurn()
        if self._moving:
            self._finish()

    def measure(self) -> None:
        """Measure the parts as they are."""
        try:
            self.volumes, self.remark = self.plan.measure(), self.plan.remark()
        except (InputError, OutOfMemory) as error:
            self.volumes, self.remark = None, str(error)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """What changes within this block is known already."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    # Actions

    def act(self, action: Callable) -> None:
        """One action on the plan, which one Undo takes back."""
        self.settle()
        with explained(_("The resection could not be planned."), waitCursor=True):
            self.steps.keepEdit(self.plan.state())
            self._do(action)
            self.steps.record(PlanState(self.plan.cut()))
        self._report(self)

    def go(self, step: int) -> None:
        """Undo (-1) or Redo (1). What was changed without a step of its own is taken back first."""
        self.settle()
        with explained(_("The step could not be taken."), waitCursor=True):
            self.steps.keepEdit(self.plan.state())
            isBack = step < 0 and not self.isRecorded
            state = self.steps.current if isBack else self.steps.go(step)
            self._do(lambda: self.plan.restore(state))
        self._report(self)

    @property
    def isRecorded(self) -> bool:
        """Whether the cut is where the current step left it."""
        return PlanState(self.plan.cut(), self.steps.current.edit).isAs(self.steps.current)

    def _do(self, action: Callable) -> None:
        self._rest.stop()
        self._moving = self._dragging = False
        try:
            with self._changing():
                action()
        finally:
            self._seen = self.plan.key()
            self._observe()
        self._makeSurfaces()
        self.measure()
