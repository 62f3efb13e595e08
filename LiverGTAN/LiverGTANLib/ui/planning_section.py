"""The section "Planning": a cut plane, the liver's two parts, which follow it, their volumes, and steps back.

What is planned belongs to the segmentation that is chosen. Parts follow also while another module is open.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..core.volume import InputError, OutOfMemory
from ..mrml import liver_parts, remnant
from ..mrml.cut_plane import CutPlane
from ..mrml.remnant import RemnantVolumes
from ..mrml.resection_plan import ResectionPlan
from .change_tracker import REST_MILLISECONDS

MOST_STEPS = 20
"""Steps that Undo goes back; a choice. One is a plane in some numbers."""


class PlanSteps:
    """Planes of one liver, one for each action; None among them is no plan."""

    def __init__(self, first: CutPlane | None):
        self._planes, self._position = [first], 0

    @property
    def current(self) -> CutPlane | None:
        return self._planes[self._position]

    def record(self, cut: CutPlane | None) -> None:
        """After an action; what was undone before cannot be redone any more."""
        if not same(cut, self.current):
            self._planes = [*self._planes[: self._position + 1], cut][-MOST_STEPS - 1 :]
            self._position = len(self._planes) - 1

    def canGo(self, step: int) -> bool:
        return 0 <= self._position + step < len(self._planes)

    def go(self, step: int) -> CutPlane | None:
        self._position += step
        return self.current


def same(first: CutPlane | None, second: CutPlane | None) -> bool:
    """Whether two planes (None: no plan) cut alike."""
    return (first and first.key) == (second and second.key)


class PlanningSection(VTKObservationMixin):
    """ui: the widgets of the .ui file by name. setText(label, text) shows a text that may have long words."""

    def __init__(self, ui, setText: Callable):
        VTKObservationMixin.__init__(self)
        self._ui, self._setText = ui, setText
        self._plan: ResectionPlan | None = None
        self._steps: dict[str, PlanSteps] = {}  # ID of the liver's segmentation -> its steps
        self._seen: tuple | None = None
        self._observed: tuple = ()
        self._moving = self._dragging = self._writing = self._edited = False
        self._patient = ""
        self._toolTips: dict[str, str] = {}
        self._turn = self._timer(0, self._onTurn)
        self._rest = self._timer(REST_MILLISECONDS, self._onRest)
        ui.placePlaneButton.connect("clicked(bool)", self._onPlace)
        ui.otherSideButton.connect("clicked(bool)", self._onOtherSide)
        ui.removePlanButton.connect("clicked(bool)", self._onRemove)
        ui.undoPlanButton.connect("clicked(bool)", lambda: self._go(-1))
        ui.redoPlanButton.connect("clicked(bool)", lambda: self._go(1))
        ui.showPartsCheckBox.connect("clicked(bool)", self._onShowParts)
        ui.weightLineEdit.connect("editingFinished()", self._onWeight)
        ui.planTableButton.connect("clicked(bool)", self._onShowTable)
        ui.planLabel.connect("linkActivated(QString)", self._onUpdate)

    @staticmethod
    def _timer(milliseconds: int, slot):
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", slot)
        return timer

    # What is planned

    def follow(self, segmentationNode) -> None:
        """From now on plan with the liver in this segmentation (None: with none)."""
        if segmentationNode != (self._plan.liverNode if self._plan else None):
            if self._moving:
                self._finish()
            self._stop()
            self._plan = ResectionPlan(segmentationNode) if segmentationNode is not None else None
            self._seen = self._plan.key() if self._plan else None
            if self._plan and self._plan.exists:
                self._stepsOfPlan()  # of a scene that was loaded; the first one is where the plane is before a drag
            self._observe()
            self._showSaved()
            self._showWeight()
        self._refresh()

    def forget(self) -> None:
        """The scene was closed: there are no steps to go back any more."""
        self._steps = {}

    def close(self) -> None:
        """The widgets are not touched any more."""
        self._stop()
        self._plan = None

    def _stop(self) -> None:
        self.removeObservers()
        self._turn.stop()
        self._rest.stop()
        self._moving = self._dragging = self._edited = False

    def _nodes(self) -> tuple:
        """What is to be observed now; a script, too, may make a plan."""
        plan = self._plan
        return (plan.liverNode, plan.liverNode.GetSegmentation(), plan.partsNode, plan.planeNode) if plan else ()

    def _observe(self) -> None:
        self.removeObservers()
        self._observed = self._nodes()
        if self._plan is None:
            return
        scene, liverNode = self._plan.liverNode.GetScene(), self._plan.liverNode
        transformed = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._onChange)
        self.addObserver(liverNode, transformed, self._onChange)
        self._observeSegments(liverNode, self._onChange)
        if (partsNode := self._plan.partsNode) is not None:
            self._observeSegments(partsNode, self._onPartsChanged)
        if (planeNode := self._plan.planeNode) is not None:
            for event in (vtk.vtkCommand.ModifiedEvent, planeNode.PointModifiedEvent, transformed):
                self.addObserver(planeNode, event, self._onChange)
            self.addObserver(planeNode, planeNode.PointStartInteractionEvent, self._onStart)
            self.addObserver(planeNode, planeNode.PointEndInteractionEvent, self._onEnd)

    def _observeSegments(self, segmentationNode, slot) -> None:
        segmentation = segmentationNode.GetSegmentation()
        for event in (
            segmentation.SourceRepresentationModified,
            segmentation.ContainedRepresentationNamesModified,
            segmentation.SegmentAdded,
            segmentation.SegmentRemoved,
            segmentation.SegmentModified,
        ):
            self.addObserver(segmentation, event, slot)

    # What changes

    def _onChange(self, caller=None, event=None) -> None:
        """Plane, liver, or what is in the scene; however often in one turn of the event loop, it is looked at once."""
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

    def _onTurn(self) -> None:
        self._turn.stop()
        plan = self._plan
        if plan is None:
            return
        if plan.liverNode.GetScene() is None:
            self.follow(None)
            return
        if plan.partsNode is None and liver_parts.replaceLiver(plan.liverNode):
            plan.show(False)  # the parts were deleted, else nothing of the liver would be seen
        if self._observed != self._nodes():
            self._observe()
        if self._patient != remnant.patient(plan.liverNode):
            self._showWeight()
            self._showSaved()
        key = plan.key()
        if key != self._seen:
            self._seen = key
            self._split()
        elif self._edited and not self._moving:
            self._showSaved()
        elif plan.exists and not self._moving:
            self._followSurface()
        self._edited = False
        self._refresh()

    def _split(self) -> None:
        """Let the parts follow, if there is a plan that they can follow."""
        if not self._plan.exists or None in self._seen:
            self._showSaved()
            return
        try:
            with self._changing():
                volumes = self._plan.split()
        except (InputError, OutOfMemory) as error:
            self._say(str(error))
            return
        self._showVolumes(volumes)
        self._moving = True
        self._rest.start()

    def _followSurface(self) -> None:
        """Show 3D was pressed, or pressed again: the parts have a surface when the liver has one."""
        if not liver_parts.surfacesFit(self._plan.partsNode, self._plan.liverNode):
            with self._changing():
                liver_parts.makeSurfaces(self._plan.partsNode, self._plan.liverNode)

    def _onRest(self) -> None:
        # Some handles send no start event, so the mouse button is asked too.
        if self._dragging or qt.QApplication.mouseButtons() & qt.Qt.LeftButton:
            self._rest.start()
        else:
            self._finish()

    def _finish(self) -> None:
        """Plane and liver rest: all is made that takes longer."""
        self._rest.stop()
        self._moving = False
        plan = self._plan
        if plan.exists and plan.cut() is not None:
            with slicer.util.tryWithErrorDisplay(_("The parts could not be made.")), self._changing():
                self._showVolumes(plan.finish())
            self._stepsOfPlan().record(plan.cut())
        self._refresh()

    def settle(self) -> None:
        """What changed before an action, and is not followed yet, is a step of its own."""
        if self._turn.active:
            self._onTurn()
        if self._moving:
            self._finish()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """What changes within this block is known already."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    # Buttons

    def _onPlace(self) -> None:
        self._act(lambda: self._plan.place())

    def _onOtherSide(self) -> None:
        self._act(lambda: self._plan.keepOtherSide())

    def _onRemove(self) -> None:
        self._act(lambda: self._plan.remove())

    def _onUpdate(self, link="") -> None:
        self._act(lambda: self._plan.restore(self._plan.cut()))

    def _act(self, action: Callable) -> None:
        """One action on the plan, which one Undo takes back."""
        self.settle()
        steps = self._stepsOfPlan()
        with slicer.util.tryWithErrorDisplay(_("The resection could not be planned."), waitCursor=True):
            self._do(action)
            steps.record(self._plan.cut())
        self._refresh()

    def _go(self, step: int) -> None:
        """Undo (-1) or Redo (1). What was changed without a step of its own is taken back first."""
        self.settle()
        steps = self._stepsOfPlan()
        isUnrecorded = not same(self._plan.cut(), steps.current)
        with slicer.util.tryWithErrorDisplay(_("The step could not be taken."), waitCursor=True):
            cut = steps.current if isUnrecorded and step < 0 else steps.go(step)
            self._do(lambda: self._plan.restore(cut))
        self._refresh()

    def _do(self, action: Callable) -> None:
        self._rest.stop()
        self._moving = self._dragging = False
        try:
            with self._changing():
                action()
        finally:
            self._seen = self._plan.key()
            self._observe()
        self._showSaved()

    def _stepsOfPlan(self) -> PlanSteps:
        plan = self._plan
        return self._steps.setdefault(plan.liverNode.GetID(), PlanSteps(plan.cut()))

    def _onShowParts(self, shown: bool) -> None:
        self._plan.show(shown)

    def _onWeight(self) -> None:
        if self._plan is None:
            return
        self.settle()
        try:
            kg = remnant.parseWeight(self._ui.weightLineEdit.text)
        except InputError as error:
            remnant.setWeight(self._plan.liverNode, None)
            self._showSaved()
            self._say(str(error))
        else:
            remnant.setWeight(self._plan.liverNode, kg)
            self._showWeight()
            self._showSaved()

    def _onShowTable(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The table could not be shown.")):
            tableNode = self._plan.showTable()
            logic = slicer.app.applicationLogic()
            logic.GetSelectionNode().SetActiveTableID(tableNode.GetID())
            logic.PropagateTableSelection()
            slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)

    # What is shown

    def _showSaved(self) -> None:
        """What is in the scene, and whether it is of liver and plane as they are now."""
        plan = self._plan
        self._say("")
        if plan is None or plan.partsNode is None:
            return
        try:
            volumes, reason = plan.measure(), plan.outdated()
        except (InputError, OutOfMemory) as error:
            self._say(str(error))
            return
        if plan.planeNode is None:
            reason = _("The cut plane was removed; the parts stay as they were.")
        elif plan.cut() is None:
            reason = _("The cut plane has no place; press Place plane.")
        elif reason and None not in plan.key():
            reason += ' <a href="update">' + _("Update them.") + "</a>"
        if volumes is None:
            reason = reason or _("A part was deleted; move the plane, and it is made anew.")
            self._say(reason)
        else:
            if plan.isEdited():
                edited = _("A part was edited; when the plane or the liver changes, both are made anew.")
                reason = " ".join(filter(None, (edited, reason)))
            self._showVolumes(volumes, reason)

    def _showVolumes(self, volumes: RemnantVolumes, reason: str = "") -> None:
        nothing = ""
        if min(volumes.remnantMl, volumes.resectedMl) <= 0:
            nothing = _("The plane does not pass through the liver.")
        self._say(" ".join(filter(None, (reason, nothing, volumes.text()))), volumes.linesText())

    def _say(self, text: str, lines: str = "") -> None:
        for label, said in ((self._ui.planLabel, text), (self._ui.planLinesLabel, lines)):
            self._setText(label, said)
            label.visible = bool(said)

    def _showWeight(self) -> None:
        """The weight that was typed, and faintly the one of the DICOM header, which counts otherwise."""
        field, plan = self._ui.weightLineEdit, self._plan
        self._patient = remnant.patient(plan.liverNode) if plan else ""
        typed = remnant.typedWeight(plan.liverNode) if plan else None
        known = plan.weightKg() if plan and typed is None else None
        field.text = f"{typed:g}" if typed is not None else ""
        field.placeholderText = _("{kg:g} (from DICOM)").format(kg=known) if known else _("not known")

    def _refresh(self) -> None:
        plan = self._plan
        hasLiver = plan is not None and liver_parts.key(plan.liverNode) is not None
        withoutLiver = "" if hasLiver else _("Segment the liver first.")
        withoutPlan = withoutLiver or ("" if plan.exists else _("Place the plane first."))
        steps = self._steps.get(plan.liverNode.GetID()) if plan else None
        self._enable("placePlaneButton", withoutLiver)
        self._enable("otherSideButton", withoutPlan)
        isThere = plan is not None and not (plan.planeNode is None and plan.partsNode is None)
        self._enable("removePlanButton", "" if isThere else _("There is nothing to remove."))
        hasParts = plan is not None and plan.partsNode is not None
        self._enable("showPartsCheckBox", "" if hasParts else _("Place the plane first."))
        self._enable("planTableButton", "" if hasParts else _("Place the plane first."))
        changed = steps is not None and not same(plan.cut(), steps.current)
        canUndo = steps is not None and hasLiver and (changed or steps.canGo(-1))
        self._enable("undoPlanButton", "" if canUndo else _("There is nothing to undo."))
        canRedo = steps is not None and hasLiver and not changed and steps.canGo(1)
        self._enable("redoPlanButton", "" if canRedo else _("There is nothing to redo."))
        self._enable("weightLineEdit", "" if plan is not None else _("Segment the liver first."))
        self._set("showPartsCheckBox", "checked", bool(hasParts and liver_parts.replaceLiver(plan.liverNode)))

    def _enable(self, name: str, reason: str) -> None:
        """Enable a widget, or disable it for this reason, which its tool tip then says."""
        toolTip = self._toolTips.setdefault(name, getattr(self._ui, name).toolTip)
        self._set(name, "enabled", not reason)
        self._set(name, "toolTip", reason or toolTip)

    def _set(self, name: str, attribute: str, value) -> None:
        """Most refreshes change nothing, and setting costs more than asking."""
        widget = getattr(self._ui, name)
        if getattr(widget, attribute) != value:
            setattr(widget, attribute, value)
