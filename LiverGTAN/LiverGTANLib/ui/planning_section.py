"""The section "Planning": what cuts the liver, its two parts, their volumes, and steps back.

What is planned belongs to the segmentation that is chosen; the plans of all others are followed, too.
"""

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..core.volume import InputError
from ..mrml import liver_parts, remnant, resection_plan
from ..mrml.remnant import RemnantVolumes
from ..mrml.resection_plan import PlanState, ResectionPlan
from .appearance import WidgetStates
from .measure_section import showTable
from .plan_follower import PlanFollower
from .task_runner import explained


class PlanningSection(VTKObservationMixin):
    """ui: the widgets of the .ui file by name. setText(label, text) shows a text that may have long words."""

    def __init__(self, ui, setText: Callable):
        VTKObservationMixin.__init__(self)
        self._ui, self._setText = ui, setText
        self._chosen: PlanFollower | None = None
        self._followers: dict[str, PlanFollower] = {}  # by the ID of the liver's segmentation
        self._shownWeight: tuple = ()
        self._weightProblem = ""  # of the text in the field, for as long as it is there
        self._widgets = WidgetStates(ui)
        ui.placePlaneButton.connect("clicked(bool)", lambda: self._act(lambda plan: plan.place()))
        ui.bendButton.connect("clicked(bool)", lambda: self._act(lambda plan: plan.bend()))
        ui.otherSideButton.connect("clicked(bool)", lambda: self._act(lambda plan: plan.keepOtherSide()))
        ui.removePlanButton.connect("clicked(bool)", lambda: self._act(lambda plan: plan.remove()))
        ui.undoPlanButton.connect("clicked(bool)", lambda: self._go(-1))
        ui.redoPlanButton.connect("clicked(bool)", lambda: self._go(1))
        ui.showPartsCheckBox.connect("clicked(bool)", self._onShowParts)
        ui.weightLineEdit.connect("editingFinished()", self._onWeight)
        ui.planTableButton.connect("clicked(bool)", self._onShowTable)
        ui.planLabel.connect("linkActivated(QString)", self._onUpdate)
        mrmlScene = slicer.mrmlScene
        self.addObserver(mrmlScene, mrmlScene.EndImportEvent, lambda caller, event: self._followAll())

    @property
    def _plan(self) -> ResectionPlan | None:
        return self._chosen.plan if self._chosen else None

    @property
    def isActive(self) -> bool:
        """Whether any plan is still being followed to where it was moved."""
        return any(follower.isActive for follower in self._followers.values())

    # What is planned

    def follow(self, segmentationNode) -> None:
        """From now on plan with the liver in this segmentation (None: with none); all other plans are followed, too."""
        if segmentationNode != (self._plan.liverNode if self._plan else None):
            self._chosen = self._followerOf(segmentationNode) if segmentationNode is not None else None
            self._showWeight()
            self._showSaved()
        self._followAll()
        self._refresh()

    def settle(self) -> None:
        """What changed, and is not followed yet, is followed now."""
        if self._chosen is not None:
            self._chosen.settle()

    def forget(self) -> None:
        """The scene was closed: there are no plans, and no steps to go back, any more."""
        self._closeAll()
        self._weightProblem = ""
        self._showSaved()

    def close(self) -> None:
        """The widgets are not touched any more."""
        self.removeObservers()
        self._closeAll()

    def _closeAll(self) -> None:
        self._chosen = None
        for follower in self._followers.values():
            follower.close()
        self._followers = {}

    def _followerOf(self, liverNode) -> PlanFollower:
        known = self._followers.get(liverNode.GetID())
        if known is None or known.plan.liverNode != liverNode:
            known = self._followers[liverNode.GetID()] = PlanFollower(liverNode, self._onFollowed)
        return known

    def _followAll(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            if ResectionPlan(node).nodes:
                self._followerOf(node)

    def _onFollowed(self, follower: PlanFollower) -> None:
        if not follower.isPresent:
            self._followers = {key: one for key, one in self._followers.items() if one is not follower}
            if follower is self._chosen:
                self.follow(None)
            return
        if len(self._followers) == 1:  # the others look for themselves
            self._followAll()
        if follower is self._chosen:
            if self._shownWeight != self._weight():  # of another patient, or set by a script
                self._showWeight()
                follower.measure()
            self._show(follower)
            self._refresh()

    # Buttons

    def _act(self, action: Callable[[ResectionPlan], object]) -> None:
        if (follower := self._chosen) is not None:
            follower.act(lambda: action(follower.plan))

    def _go(self, step: int) -> None:
        if self._chosen is not None:
            self._chosen.go(step)

    def _onUpdate(self, link="") -> None:
        self._act(lambda plan: plan.restore(PlanState(plan.cut())))

    def _onShowParts(self, shown: bool) -> None:
        self._plan.show(shown)

    def _onWeight(self) -> None:
        if self._chosen is None:
            return
        self._chosen.settle()
        liverNode = self._chosen.plan.liverNode
        try:
            kg = remnant.parseWeight(self._ui.weightLineEdit.text)
        except InputError as error:
            self._weightProblem = str(error)
            remnant.setWeight(liverNode, None)
            self._shownWeight = self._weight()
        else:
            remnant.setWeight(liverNode, kg)
            self._showWeight()
        self._showSaved()

    def _onShowTable(self) -> None:
        with explained(_("The table could not be shown.")):
            showTable(self._plan.showTable())

    # What is shown

    def _showSaved(self) -> None:
        """What is in the scene, and whether it is of liver and cut as they are now."""
        self._say("")
        if self._chosen is not None and self._chosen.plan.partsNode is not None:
            self._chosen.measure()
            self._show(self._chosen)

    def _show(self, follower: PlanFollower) -> None:
        plan, volumes, remark = follower.plan, follower.volumes, follower.remark
        if plan.partsNode is None:
            self._say("")
            return
        if remark and plan.outdated() and plan.cutNode is not None and None not in plan.key():
            remark += ' <a href="update">' + _("Update them.") + "</a>"
        if volumes is None:
            self._say(remark)
        else:
            self._showVolumes(volumes, remark)

    def _showVolumes(self, volumes: RemnantVolumes, reason: str) -> None:
        nothing = ""
        if min(volumes.remnantMl, volumes.resectedMl) <= 0 and not self._plan.isEdited():
            nothing = _("The plane does not pass through the liver.")
        self._say(" ".join(filter(None, (reason, nothing, volumes.text()))), volumes.linesText())

    def _say(self, text: str, lines: str = "") -> None:
        texts = " ".join(filter(None, (self._weightProblem, text)))
        for label, said in ((self._ui.planLabel, texts), (self._ui.planLinesLabel, lines)):
            self._setText(label, said)
            label.visible = bool(said)

    def _weight(self) -> tuple[str, float | None]:
        """(ID of the patient's volume, the weight that was typed)."""
        liverNode = self._plan.liverNode if self._plan else None
        return (remnant.patient(liverNode), remnant.typedWeight(liverNode)) if liverNode else ("", None)

    def _showWeight(self) -> None:
        """The weight that was typed, and faintly the one of the DICOM header, which counts otherwise."""
        field, plan = self._ui.weightLineEdit, self._plan
        self._shownWeight = self._weight()
        typed = self._shownWeight[1]
        known = plan.weightKg() if plan and typed is None else None
        self._weightProblem = ""
        field.text = f"{typed:g}" if typed is not None else ""
        field.placeholderText = _("{kg:g} (from DICOM)").format(kg=known) if known else _("not known")

    def _refresh(self) -> None:
        plan, follower = self._plan, self._chosen
        withoutLiver = resection_plan.obstacle(plan.liverNode) if plan is not None else _("Segment the liver first.")
        hasLiver = not withoutLiver
        withoutPlan = withoutLiver or ("" if plan.exists else _("Place the plane first."))
        self._widgets.enable("placePlaneButton", withoutLiver)
        self._widgets.enable("otherSideButton", withoutPlan)
        self._widgets.enable("bendButton", withoutPlan)
        cut = plan.cut() if plan is not None else None
        self._widgets.set("bendButton", "text", _("Bend") if cut is None or cut.isFlat else _("Flatten"))
        self._widgets.enable(
            "removePlanButton", "" if plan is not None and plan.nodes else _("There is nothing to remove.")
        )
        hasParts = plan is not None and plan.partsNode is not None
        self._widgets.enable("showPartsCheckBox", "" if hasParts else _("Place the plane first."))
        self._widgets.enable("planTableButton", "" if hasParts else _("Place the plane first."))
        changed = follower is not None and not follower.isRecorded
        canUndo = follower is not None and hasLiver and (changed or follower.steps.canGo(-1))
        self._widgets.enable("undoPlanButton", "" if canUndo else _("There is nothing to undo."))
        canRedo = follower is not None and hasLiver and not changed and follower.steps.canGo(1)
        self._widgets.enable("redoPlanButton", "" if canRedo else _("There is nothing to redo."))
        self._widgets.enable("weightLineEdit", "" if plan is not None else _("Segment the liver first."))
        self._widgets.set("showPartsCheckBox", "checked", bool(hasParts and liver_parts.replaceLiver(plan.liverNode)))
