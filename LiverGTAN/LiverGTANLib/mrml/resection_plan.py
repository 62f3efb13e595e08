"""The plan of one resection: the liver, its cut plane, the two parts, and the table of volumes. On the main thread.

The segmentation that holds the liver refers to plane, parts and table, and they refer to it, so they are found again
with the scene, each may be deleted on its own, and a copy of one of them is the user's own.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from ..core.volume import InputError, memory_errors_explained
from . import cut_plane, liver_parts, remnant, scene, table
from .cut_plane import CutPlane
from .liver_parts import LiverGrid
from .remnant import RemnantVolumes

logger = logging.getLogger(__name__)

SAME_PLACE_MM = 0.05
"""Planes whose distances from the liver's corners differ by less are the same; what a saved scene rounds is less."""

_PLANE, _PARTS, _TABLE = (f"LiverGTAN.plan.{name}" for name in ("plane", "parts", "table"))
"""Node references of the segmentation that holds the liver."""

_FORMER_PARTS = "LiverGTAN.plan.formerParts"
"""Node reference to the segmentation of removed parts, where the user has segments; the next parts go there again."""

_MADE_OF = "LiverGTAN.madeOf"
"""Attribute of the parts: digest of the liver and place of the plane that they were made of, as JSON."""

_MADE = "LiverGTAN.made"
"""Attribute of the parts: their digest when they were made."""


def split(liverNode, planeNode=None, remnantSide: str | None = None, weightKg: float | None = None) -> "ResectionPlan":
    """See `LiverGTANLogic.splitLiver`."""
    if remnantSide not in (None, "normal", "opposite"):
        raise InputError(f"'{remnantSide}' is no side of the plane; give 'normal' or 'opposite'.")
    if weightKg is not None:
        remnant.requireWeight(weightKg)
    plan = ResectionPlan(liverNode)
    plan.grid()
    cut = cut_plane.read(planeNode if planeNode is not None else plan.planeNode)
    if planeNode is not None and cut is None:
        raise InputError(f"The plane '{planeNode.GetName()}' has no place yet; place it first.")
    if weightKg is not None:
        remnant.setWeight(liverNode, weightKg)
    if cut is None:
        cut = plan.place()
    if remnantSide is not None:
        cut = cut.keeping(remnantSide == "normal")
    plan.restore(cut)
    return plan


def current(liverNode) -> "ResectionPlan":
    """The plan of a liver, measured; its parts are those of liver and plane as they are. Raises InputError if not."""
    plan = ResectionPlan(liverNode)
    if plan.partsNode is None:
        raise InputError("There is no plan; place a cut plane first.")
    if plan.measure() is None:
        raise InputError("A part was deleted; move the plane, and it is made anew.")
    if reason := plan.outdated():
        raise InputError(f"{reason} Update them first.")
    return plan


def export(liverNode, path, overwrite: bool = False) -> None:
    """See `LiverGTANLogic.exportPlan`."""
    volumes = current(liverNode).volumes
    if Path(path).exists() and not overwrite:
        raise InputError(f"{path} exists already; give another name.")
    cells = [["" if cell is None else cell for cell in row] for row in volumes.roundedRows()]
    table.writeCsv(path, [list(remnant.COLUMNS), *cells])


class ResectionPlan:
    """liverNode: the segmentation that holds the liver segment. volumes: those measured last, None before."""

    def __init__(self, liverNode):
        self.liverNode = liverNode
        self.volumes: RemnantVolumes | None = None
        self._gridKey: Any = None
        self._grid: LiverGrid | None = None
        self._image: Any = None
        self._array = np.zeros((0, 0, 0), np.uint8)
        self._resected = 0

    @property
    def planeNode(self):
        return scene.owned(self.liverNode, _PLANE)

    @property
    def partsNode(self):
        return scene.owned(self.liverNode, _PARTS)

    @property
    def tableNode(self):
        return scene.owned(self.liverNode, _TABLE)

    @property
    def exists(self) -> bool:
        """Whether plane and parts are there, so that the parts can follow the plane."""
        return self.planeNode is not None and self.partsNode is not None

    def cut(self) -> CutPlane | None:
        """Where the plane is; None without a plan, and while the plane has no place."""
        return cut_plane.read(self.planeNode) if self.partsNode is not None else None

    def key(self) -> tuple:
        """Equal as long as the parts need not be made anew."""
        cut = self.cut()
        return liver_parts.key(self.liverNode), cut.key if cut else None

    @memory_errors_explained()
    def place(self) -> CutPlane:
        """Make what is missing of the plan; a plane that is there, without its parts, stays where it is.

        Raises InputError when there is no liver to cut.
        """
        points, extent = self.grid().middle()
        cut = cut_plane.read(self.planeNode) if self.partsNode is None else None
        cut = cut or cut_plane.sagittal(points)
        self.restore(cut, cut_plane.SIZE * extent)
        return cut

    @memory_errors_explained()
    def restore(self, cut: CutPlane | None, sizeMm: float | None = None) -> None:
        """Make the plan one with this plane, where sizeMm is the side of a new one; None: no plan."""
        if cut is None:
            self.remove()
            return
        grid = self.grid()
        if self.planeNode is None:
            size = sizeMm or cut_plane.SIZE * grid.middle()[1]
            name = f"{self.liverNode.GetName()} cut plane"
            self._own(_PLANE, cut_plane.create(self.liverNode.GetScene(), name, size))
        cut_plane.write(self.planeNode, cut)
        isNew = self.partsNode is None
        if isNew:
            former = scene.owned(self.liverNode, _FORMER_PARTS)
            self._own(_PARTS, former if former is not None else liver_parts.create(self.liverNode))
        self.split()
        if isNew:
            self.show(True)
        if self.tableNode is None:
            self._own(_TABLE, remnant.createTable(self.liverNode))
        self.finish()

    def keepOtherSide(self) -> None:
        """Remnant and resected part change places."""
        cut = self.cut()
        if cut is not None:
            self.restore(cut.keeping(not cut.keepsNormalSide))

    def remove(self) -> None:
        """Remove plane, parts and table, and show the liver again. The user's own segments beside the parts stay."""
        parts = self.partsNode
        if parts is not None and liver_parts.hasOthers(parts):
            liver_parts.removeParts(parts)
            parts.SetAttribute(_MADE_OF, None)
            parts.SetAttribute(_MADE, None)
            self._own(_FORMER_PARTS, parts)
            scene.setReference(self.liverNode, _PARTS, None)
            parts = None
        for node in (parts, self.planeNode, self.tableNode):
            if node is not None:
                scene.removeNode(node)
        self.show(False)

    @memory_errors_explained()
    def grid(self) -> LiverGrid:
        """The liver's voxels; read anew when they or their place changed. Raises InputError when there are none."""
        key = liver_parts.key(self.liverNode)
        if self._grid is None or key != self._gridKey:
            self._grid, self._image = LiverGrid.of(self.liverNode), None
            self._gridKey = key
        return self._grid

    @memory_errors_explained()
    def split(self) -> RemnantVolumes:
        """Let the parts follow plane and liver; surfaces stay as they are until `finish`.

        Where a transform bends space the volumes are exact only after `finish`. Raises InputError when there is no
        liver, and when the plane has no place.
        """
        grid, cut, parts = self.grid(), self._requireCut(), self.partsNode
        kept = liver_parts.surfaces(parts)
        if liver_parts.holds(parts, self._image, self._array):
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
        if self._image is None or liver_parts.key(self.liverNode) != self._gridKey:
            self.split()
        grid, cut, parts = self.grid(), self._requireCut(), self.partsNode
        if parts.GetTransformNodeID() != self.liverNode.GetTransformNodeID():
            liver_parts.write(parts, self.liverNode, self._image)
        liver_parts.makeSurfaces(parts, self.liverNode)
        parts.SetAttribute(_MADE_OF, json.dumps([grid.digest, *grid.corners(cut).tolist()]))
        parts.SetAttribute(_MADE, liver_parts.digest(parts))
        return self._tabulated(self._volumes(exact=True))

    def measure(self) -> RemnantVolumes | None:
        """Volumes of the parts as they are, which go into the table; None when a part is missing.

        Raises InputError when the parts have no label map.
        """
        parts = self.partsNode
        found = liver_parts.measuredMl(parts) if parts is not None else None
        return self._tabulated(RemnantVolumes(*found, self.weightKg())) if found else None

    def isEdited(self) -> bool:
        """Whether a part has other voxels than those that were made."""
        parts = self.partsNode
        made = parts.GetAttribute(_MADE) if parts is not None else None
        return bool(made) and liver_parts.digest(parts) not in ("", made)

    def outdated(self) -> str:
        """Why the parts are not those of liver and plane as they are now; empty when they are."""
        parts, cut = self.partsNode, self.cut()
        if parts is None or cut is None:
            return ""
        if liver_parts.key(self.liverNode) is None and liver_parts.liverSegmentId(self.liverNode):
            return "The liver has no label map any more; the parts are those of the liver before."
        if liver_parts.key(self.liverNode) is None:
            return "There is no liver any more; the parts are those of the liver before."
        try:
            digest, *corners = json.loads(parts.GetAttribute(_MADE_OF) or "[null]")
        except ValueError:
            logger.exception("What the parts in '%s' were made of cannot be read.", parts.GetName())
            digest, corners = None, []
        grid = self.grid()
        if digest != grid.digest:
            return "The parts are those of an older liver."
        if not (len(corners) == 8 and np.allclose(corners, grid.corners(cut), atol=SAME_PLACE_MM)):
            return "The parts are those of another place of the plane."
        return ""

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

    def _requireCut(self) -> CutPlane:
        cut = self.cut()
        if cut is None:
            raise InputError("The cut plane has no place, or was removed; place it again.")
        return cut

    def _volumes(self, exact: bool) -> RemnantVolumes:
        grid = self.grid()
        part = self._array == 2 if exact and grid.voxelVolumes is not None else self._array
        resectedMl = grid.partMl(part, self._resected, exact)
        return RemnantVolumes(grid.ml - resectedMl, resectedMl, self.weightKg())

    def _tabulated(self, volumes: RemnantVolumes) -> RemnantVolumes:
        self.volumes = volumes
        if self.tableNode is not None:
            remnant.tabulate(self.tableNode, volumes)
        return volumes
