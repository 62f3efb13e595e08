"""The plan of one resection: the liver, what cuts it (a plane or a curve), the two parts, and the table of volumes.

The segmentation that holds the liver refers to cut, parts and table, and they refer to it, so they are found again with
the scene, each may be deleted on its own, and a copy of one of them is the user's own. On the main thread.
"""

import json
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.files import require_new
from ..core.terminology import SEGMENT_NAME
from ..core.volume import InputError, memory_errors_explained
from . import cut_curve, cut_plane, liver_grid, liver_parts, remnant, scene, table
from .cut_curve import CutCurve
from .liver_grid import Cut, LiverGrid
from .liver_parts import PartsEdit
from .remnant import RemnantVolumes
from .segment_volume import noLabelmap

logger = logging.getLogger(__name__)

SAME_PLACE_MM = 0.05
"""Cuts whose distances from the liver's corners differ by less are the same; what a saved scene rounds is less."""

_CUT, _PARTS, _TABLE = (f"LiverGTAN.plan.{name}" for name in ("cut", "parts", "table"))
"""Node references of the segmentation that holds the liver."""

_FORMER_PARTS = "LiverGTAN.plan.formerParts"
"""Node reference to the segmentation of removed parts, where the user has segments; the next parts go there again."""

_MADE_OF = "LiverGTAN.madeOf"
"""Attribute of the parts: digest of the liver and place of the cut that they were made of, as JSON."""

_MADE = "LiverGTAN.made"
"""Attribute of the parts: their digest when they were made."""

_SEGMENT = "LiverGTAN.ofSegment"
"""Attribute of the parts: ID and name of the liver's segment that they were made of, as JSON."""

_FORMER = "LiverGTAN.formerLiver"
"""Attribute of the parts: name of the segment that they were made of before, until the next action on the plan."""

_HANDEDNESS = "LiverGTAN.handedness"
"""Attribute of the parts: whether the liver's voxel axes were left-handed at the last action on the plan."""

MIRRORED = (
    "The liver was mirrored since the cut was placed: look which part is the remnant, and change sides if need be."
)
EDITED = "A part was edited; when the cut or the liver changes, both are made anew, and Undo brings the edit back."
DELETED = "A part was deleted; when the cut moves, it is made anew."
MOVED = "The parts were moved away from the liver; their volumes are not known."
NO_PARTS = "The parts were deleted."
NO_CUT = "The cut plane was removed; the parts stay as they were."
NO_PLACE = "The cut has no place; press Place plane."
NO_PLACE_OR_REMOVED = "The cut has no place, or was removed; place it again."
NO_PLAN = "There is no plan; place a cut plane first."
UPDATE_FIRST = "Update them first, in the section Planning or by the plan's update()."


@dataclass(frozen=True, eq=False)
class PlanState:
    """What a step of planning leads to. cut: None for no plan. edit: None where the parts are as the cut makes them."""

    cut: Cut | None
    edit: PartsEdit | None = None

    def isAs(self, other: "PlanState") -> bool:
        """Whether another state has the same cut and the same edit."""
        return (self.cut and self.cut.key) == (other.cut and other.cut.key) and self.edit is other.edit


def _kindOf(node):
    """The module that reads, writes and shows a node that cuts."""
    return cut_curve if node.IsA(cut_curve.CLASS) else cut_plane


def obstacle(liverNode) -> str:
    """Why the liver of a segmentation cannot be planned with; empty when it can."""
    segment, labelmap = liver_grid.liverOf(liverNode)
    if labelmap is not None:
        first = scene.maskDigest(labelmap, segment.GetLabelValue())[1]  # known until the voxels change
        return "" if first else "The liver is empty; segment it first."
    if segment is not None:
        return noLabelmap(liverNode, segment)
    segmentation = liverNode.GetSegmentation()
    segments = map(segmentation.GetSegment, segmentation.GetSegmentIDs())
    several = [one for one in segments if one.GetName().strip().lower() == SEGMENT_NAME]
    if len(several) > 1:
        return f"{len(several)} segments are called '{SEGMENT_NAME}'; rename all but the one to plan with."
    return "Segment the liver first."


def readCut(node) -> Cut | None:
    """Where a markups plane or curve cuts; None without one, and while it has no place.

    Raises InputError for a node that cannot cut.
    """
    if node is None:
        return None
    if not (node.IsA(cut_plane.CLASS) or node.IsA(cut_curve.CLASS)):
        raise InputError(f"'{node.GetName()}' is neither a markups plane nor a markups curve.")
    return _kindOf(node).read(node)


def split(liverNode, planeNode=None, remnantSide: str | None = None, weightKg: float | None = None) -> "ResectionPlan":
    """See `LiverGTANLogic.splitLiver`."""
    if remnantSide not in (None, "normal", "opposite"):
        raise InputError(f"'{remnantSide}' is no side of the plane; give 'normal' or 'opposite'.")
    if weightKg is not None:
        remnant.requireWeight(weightKg)
    plan = ResectionPlan(liverNode)
    plan.grid()
    cut = readCut(planeNode if planeNode is not None else plan.cutNode)
    if planeNode is not None and cut is None:
        raise InputError(f"'{planeNode.GetName()}' has no place yet; place it first.")
    if weightKg is not None:
        remnant.setWeight(liverNode, weightKg)
    if cut is None:
        cut = plan.place()
    if remnantSide is not None:
        cut = cut.keeping(remnantSide == "normal")
    plan.restore(PlanState(cut))
    return plan


def current(liverNode) -> "ResectionPlan":
    """The plan of a liver, measured; its parts are those of liver and cut as they are. Raises InputError if not."""
    plan = ResectionPlan(liverNode)
    plan.requireCurrent()
    return plan


def export(liverNode, path, overwrite: bool = False) -> None:
    """See `LiverGTANLogic.exportPlan`."""
    plan = ResectionPlan(liverNode)
    volumes = plan.requireCurrent()
    require_new(path, overwrite)
    cells = [["" if cell is None else cell for cell in row] for row in volumes.roundedRows(plan.remark())]
    table.writeCsv(path, [list(remnant.COLUMNS), *cells])


class ResectionPlan:
    """liverNode: the segmentation that holds the liver segment. surfacesLater: surfaces of the parts are left to the
    caller, see `liver_parts.PartSurfaces`.

    Parts and table stay as they were made when cut or liver change, until `update`, or until the panel follows."""

    def __init__(self, liverNode, surfacesLater: bool = False):
        self.liverNode, self._surfacesLater = liverNode, surfacesLater
        self._gridKey: Any = None
        self._grid: LiverGrid | None = None
        self._image: Any = None
        self._array = np.zeros((0, 0, 0), np.uint8)
        self._resected = 0

    @property
    def cutNode(self):
        """The markups plane or curve."""
        return scene.owned(self.liverNode, _CUT)

    @property
    def partsNode(self):
        """The segmentation with remnant and resected part; None without one."""
        return scene.owned(self.liverNode, _PARTS)

    @property
    def tableNode(self):
        """The table of volumes; None without one."""
        return scene.owned(self.liverNode, _TABLE)

    @property
    def exists(self) -> bool:
        """Whether cut and parts are there, so that the parts can follow the cut."""
        return self.cutNode is not None and self.partsNode is not None

    @property
    def nodes(self) -> list:
        """Cut, parts and table, as far as they are there."""
        return [node for node in (self.cutNode, self.partsNode, self.tableNode) if node is not None]

    @property
    def volumes(self) -> RemnantVolumes:
        """See `requireCurrent`."""
        return self.requireCurrent()

    def requireCurrent(self) -> RemnantVolumes:
        """Volumes of the parts as they are, measured now, also where they were edited by hand.

        Raises InputError when they are not those of liver and cut as they are now (`outdated`); the table says so then.
        """
        if self.partsNode is None:
            raise InputError(NO_PLAN)
        volumes = self.measure()
        if not liver_parts.areThere(self.partsNode):
            raise InputError(DELETED)
        reason = self.outdated()
        if reason or volumes is None:
            helps = self.cut() is not None and not obstacle(self.liverNode)
            raise InputError(f"{reason} {UPDATE_FIRST if helps else ''}".strip())
        return volumes

    def update(self) -> RemnantVolumes:
        """Make parts and table those of liver and cut as they are now, after the cut was moved or the liver changed.

        Parts that are current stay, also edited ones. Of others, what was edited in them is lost; `state`, called
        before, keeps it for `restore`. Returns the volumes; `notice` may have something to say of the sides. Raises
        InputError without a liver, and when the cut has no place or was removed.
        """
        if self.partsNode is None:
            cut = readCut(self.cutNode)
            if cut is None:
                raise InputError(NO_PLACE_OR_REMOVED)
            self.restore(PlanState(cut))
        elif self.outdated() or not liver_parts.areThere(self.partsNode):
            self.split()
            self.finish()
        return self.requireCurrent()

    def cut(self) -> Cut | None:
        """Where the cut is; None without a plan, and while the cut has no place or does not part the liver in two."""
        return self.cutAndReason()[0]

    def cutAndReason(self) -> tuple[Cut | None, str]:
        """As `cut`, and why there is none where it has points that do not do."""
        try:
            cut = readCut(self.cutNode) if self.partsNode is not None else None
            if isinstance(cut, CutCurve):
                cut.requireUsable()
        except InputError as error:
            return None, str(error)
        return cut, ""

    def key(self) -> tuple:
        """Equal as long as the parts need not be made anew."""
        cut = self.cut()
        return liver_grid.key(self.liverNode), cut.key if cut else None

    def state(self) -> PlanState:
        """The cut and, where the parts were edited by hand, what they are."""
        cut = self.cut()
        edit = PartsEdit.of(self.partsNode, self._madeOf()[0]) if cut is not None and self.isEdited() else None
        return PlanState(cut, edit)

    @memory_errors_explained()
    def place(self) -> Cut:
        """Make what is missing of the plan and show it; a cut that is there, without its parts, stays where it is.

        Raises InputError when there is no liver to cut.
        """
        points, extent = self.grid().middle()
        cut = readCut(self.cutNode) if self.partsNode is None else None
        cut = cut or cut_plane.sagittal(points)
        self.restore(PlanState(cut), cut_plane.SIZE * extent)
        _kindOf(self.cutNode).reveal(self.cutNode)
        if liver_parts.replaceLiver(self.liverNode):
            self.show(True)
        return cut

    def bend(self) -> None:
        """Make the plane a curve that cuts alike, whose points can be moved; a curve becomes a plane again.

        Raises InputError without a cut.
        """
        cut, extent = self._requireCut(), self.grid().middle()[1]
        self.restore(PlanState(cut_curve.flattened(cut) if isinstance(cut, CutCurve) else cut_curve.bent(cut, extent)))

    @memory_errors_explained()
    def restore(self, state: PlanState, sizeMm: float | None = None) -> None:
        """Make the plan one with this cut and edit, where sizeMm is the side of a new plane; no cut: no plan.

        An edit of parts of another liver comes back as it was; `outdated` says then that they are of an older one.
        """
        cut = state.cut
        if cut is None:
            self.remove()
            return
        if isinstance(cut, CutCurve):
            cut.requireUsable()
        grid = self.grid()
        if self.partsNode is not None:
            self.partsNode.SetAttribute(_FORMER, None)
        self._writeCut(cut, sizeMm or cut_plane.SIZE * grid.middle()[1])
        isNew = self.partsNode is None
        if isNew:
            former = scene.owned(self.liverNode, _FORMER_PARTS)
            self._own(_PARTS, former if former is not None else liver_parts.create(self.liverNode))
        self.split()
        if isNew:
            self.show(True)
        if self.tableNode is None:
            self._own(_TABLE, remnant.createTable(self.liverNode))
        self.partsNode.SetAttribute(_HANDEDNESS, str(grid.isMirrored))
        self.finish()
        if state.edit is not None:
            state.edit.restore(self.partsNode)
            self._noteMadeOf(state.edit.liverDigest)
            liver_parts.makeSurfaces(self.partsNode, self.liverNode, self._surfacesLater)
            self.measure()

    def _writeCut(self, cut: Cut, sizeMm: float) -> None:
        node = self.cutNode
        if node is not None and not node.IsA(cut.nodeClass):
            scene.removeNode(node)
            node = None
        if node is None:
            mrmlScene, name = self.liverNode.GetScene(), f"{self.liverNode.GetName()} cut"
            if cut.isFlat:
                node = cut_plane.create(mrmlScene, f"{name} plane", sizeMm)
            else:
                node = cut_curve.create(mrmlScene, f"{name} curve")
            self._own(_CUT, node)
        _kindOf(node).write(node, cut)

    def keepOtherSide(self) -> None:
        """Remnant and resected part change places."""
        cut = self.cut()
        if cut is not None:
            self.restore(PlanState(cut.keeping(not cut.keepsNormalSide)))

    def remove(self) -> None:
        """Remove cut, parts and table, and show the liver again. The user's own segments beside the parts stay."""
        parts = self.partsNode
        if parts is not None and liver_parts.hasOthers(parts):
            self._own(_FORMER_PARTS, parts)
            scene.setReference(self.liverNode, _PARTS, None)
        removeNodes([node for node in (parts, self.cutNode, self.tableNode) if node is not None])
        self.show(False)

    @memory_errors_explained()
    def grid(self) -> LiverGrid:
        """The liver's voxels; read anew when they or their place changed. Raises InputError when there are none."""
        key = liver_grid.key(self.liverNode)
        if self._grid is None or key != self._gridKey:
            self._grid, self._image = LiverGrid.of(self.liverNode), None
            self._gridKey = key
        return self._grid

    @memory_errors_explained()
    def split(self) -> RemnantVolumes:
        """Let the parts follow cut and liver; surfaces stay as they are until `finish`.

        Where a transform bends space the volumes are exact only after `finish`. Raises InputError when there is no
        liver, and when the cut has no place.
        """
        grid, cut, parts = self.grid(), self._requireCut(), self.partsNode
        kept = liver_parts.surfaces(parts)
        if liver_parts.holds(parts, self._image, self._array, grid):
            self._resected = grid.split(cut, self._array)
            self._image.GetPointData().GetScalars().Modified()
            self._image.Modified()
        else:  # a new one, for Slicer empties that of parts that were deleted, perhaps later
            self._image, self._array = liver_parts.image(grid)
            self._resected = grid.split(cut, self._array)
            liver_parts.write(parts, self.liverNode, self._image)
        if kept:
            liver_parts.keepSurfaces(parts, kept)
        return self._volumes(exact=False)

    @memory_errors_explained()
    def finish(self) -> RemnantVolumes:
        """After the last of several calls of `split`: surfaces, the table, and what the parts were made of."""
        if self._image is None or liver_grid.key(self.liverNode) != self._gridKey:
            self.split()
        parts = self.partsNode
        if parts.GetTransformNodeID() != self.liverNode.GetTransformNodeID():
            liver_parts.write(parts, self.liverNode, self._image)
        liver_parts.makeSurfaces(parts, self.liverNode, self._surfacesLater)
        self._noteMadeOf(self.grid().digest)
        parts.SetAttribute(_MADE, liver_parts.digest(parts))
        self._noteLiver()
        volumes = self._volumes(exact=True)
        self._tabulate(volumes, self.notice())
        return volumes

    def _noteMadeOf(self, liverDigest: str) -> None:
        """Remember which liver the parts are of, and where the cut lies to the present one."""
        place = self._requireCut().relation(self.grid().corners)
        self.partsNode.SetAttribute(_MADE_OF, json.dumps([liverDigest, *place]))

    def _noteLiver(self) -> None:
        """Remember the liver's segment, and the one before where that was another."""
        segmentId, parts = liver_grid.liverSegmentId(self.liverNode), self.partsNode
        formerId, formerName = json.loads(parts.GetAttribute(_SEGMENT) or '["", ""]')
        if formerId not in ("", segmentId):
            parts.SetAttribute(_FORMER, formerName)
        name = self.liverNode.GetSegmentation().GetSegment(segmentId).GetName()
        parts.SetAttribute(_SEGMENT, json.dumps([segmentId, name]))

    def notice(self) -> str:
        """That the plan is of another liver's segment than before, or of a liver that was mirrored since, with which
        remnant and resected part may have changed places; empty where it is not."""
        former, handedness = (self.partsNode.GetAttribute(name) for name in (_FORMER, _HANDEDNESS))
        found = []
        if former:
            name = json.loads(self.partsNode.GetAttribute(_SEGMENT) or '["", ""]')[1]
            found.append(f"The plan is of the segment '{name}' now; before, it was of '{former}'.")
        if handedness and self._digest() is not None and handedness != str(self.grid().isMirrored):
            found.append(MIRRORED)
        return " ".join(found)

    def measure(self) -> RemnantVolumes | None:
        """Volumes of the parts as they are, which go into the table with what is to be said of them (`remark`).

        None when a part is missing, when the parts were moved away from the liver, and when they were edited and are of
        a liver that is not there any more. Raises InputError when the parts have no label map.
        """
        try:
            volumes, remark = self._measured(), self.remark()
        except InputError as error:
            self._tabulate(None, str(error))
            raise
        return self._tabulate(volumes, remark)

    def _measured(self) -> RemnantVolumes | None:
        """The liver is the segment, for parts that were edited may leave some of it out, or overlap."""
        parts = self.partsNode
        found = liver_parts.measuredMl(parts) if parts is not None else None
        outdated = self.outdated()
        if found is None or outdated == MOVED:
            return None
        if not self.isEdited():
            return RemnantVolumes(*found, self.weightKg())
        isOfLiver = liver_grid.key(self.liverNode) is not None and self._madeOf()[0] == self._digest()
        return RemnantVolumes(*found, self.weightKg(), self.grid().ml) if isOfLiver else None

    def _digest(self) -> str | None:
        """Of the liver as it is; None where it has no voxels."""
        try:
            return self.grid().digest
        except InputError:
            return None

    def remark(self) -> str:
        """What is to be said of the parts as they are: edited, of an older liver, without a cut; empty for nothing."""
        if self.partsNode is None:
            return NO_PARTS
        edited = EDITED if self.isEdited() else DELETED if not liver_parts.areThere(self.partsNode) else ""
        return " ".join(filter(None, (edited, self.outdated(), self.notice())))

    def isEdited(self) -> bool:
        """Whether a part has other voxels than those that were made."""
        parts = self.partsNode
        made = parts.GetAttribute(_MADE) if parts is not None else None
        return bool(made) and liver_parts.digest(parts) not in ("", made)

    def outdated(self) -> str:
        """Why the parts are not those of liver and cut as they are now; empty when they are."""
        parts = self.partsNode
        if parts is None:
            return ""
        if self.cutNode is None:
            return NO_CUT
        cut, reason = self.cutAndReason()
        if cut is None:
            return reason or NO_PLACE
        if liver_grid.key(self.liverNode) is None and liver_grid.liverSegmentId(self.liverNode):
            return "The liver has no label map any more; the parts are those of the liver before."
        if liver_grid.key(self.liverNode) is None:
            return "There is no liver any more; the parts are those of the liver before."
        digest, corners = self._madeOf()
        try:
            grid = self.grid()
        except InputError as error:
            return str(error)
        if digest != grid.digest:
            return "The parts are those of an older liver."
        place = cut.relation(grid.corners)
        if not (len(corners) == len(place) and np.allclose(corners, place, atol=SAME_PLACE_MM)):
            return "The parts are those of another place of the cut."
        return "" if liver_parts.lieIn(parts, self.liverNode, grid, self.isEdited()) else MOVED

    def _madeOf(self) -> tuple[str, list[float]]:
        """(digest of the liver, place of the cut) that the parts were made of; empty where that is not known."""
        try:
            digest, *corners = json.loads(self.partsNode.GetAttribute(_MADE_OF) or '[""]')
        except ValueError:
            logger.exception("What the parts in '%s' were made of cannot be read.", self.partsNode.GetName())
            return "", []
        return digest, corners

    def weightKg(self) -> float | None:
        """Of the body: as it was set, else as the DICOM header of the liver's volume says."""
        typed = remnant.typedWeight(self.liverNode)
        if typed is not None:
            return typed
        isOwn = scene.liverSegmentId(self.liverNode)
        return remnant.dicomWeight((scene.liverVolume if isOwn else scene.referenceVolume)(self.liverNode))

    def show(self, shown: bool) -> None:
        """Show the parts in place of the liver, or the other way round."""
        liver_parts.show(self.partsNode, self.liverNode, shown)

    def showTable(self):
        """The table node, which is made anew where it was deleted."""
        if self.tableNode is None:
            self._own(_TABLE, remnant.createTable(self.liverNode))
        self.measure()
        return self.tableNode

    def _own(self, role: str, node) -> None:
        scene.setOwned(self.liverNode, role, node)

    def _requireCut(self) -> Cut:
        cut, reason = self.cutAndReason()
        if cut is None:
            raise InputError(reason or NO_PLACE_OR_REMOVED)
        return cut

    def _volumes(self, exact: bool) -> RemnantVolumes:
        grid = self.grid()
        part = self._array == 2 if exact and grid.voxelVolumes is not None else self._array
        resectedMl = grid.partMl(part, self._resected, exact)
        return RemnantVolumes(grid.ml - resectedMl, resectedMl, self.weightKg())

    def _tabulate(self, volumes: RemnantVolumes | None, remark: str = "") -> RemnantVolumes | None:
        if self.tableNode is not None:
            remnant.tabulate(self.tableNode, volumes, remark)
        return volumes


def removeNodes(nodes: list) -> None:
    """Remove nodes of a plan; of a segmentation with segments of the user only the parts go."""
    for node in nodes:
        if node.IsA(liver_parts.CLASS) and liver_parts.hasOthers(node):
            liver_parts.removeParts(node)
            for name in (_MADE_OF, _MADE, _SEGMENT, _FORMER, _HANDEDNESS):
                node.SetAttribute(name, None)
        elif node.GetScene() is not None:
            scene.removeNode(node)
