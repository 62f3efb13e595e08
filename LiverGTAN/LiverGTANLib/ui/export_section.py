"""The section "Export": tables as CSV, surfaces for printing, and the hand-over to Slicer's DICOM export.

Nothing in the scene changes. A file that exists is replaced only after the user was asked.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..core.volume import InputError
from ..mrml import export_dicom, export_surface, resection_plan, row_check
from ..mrml.session import Session
from .task_runner import explained

SURFACES = "STL (*.stl);;OBJ (*.obj)"
TABLES = "CSV (*.csv)"


class ExportSection:
    """ui: the widgets of the .ui file by name. session: knows whether a liver was edited. findOrCreateTable() -> the
    table node. segmentationNode() -> the one that is chosen, or None. settle() lets mask and parts be those of what is
    set. setText(label, text) shows a text that may have long words."""

    def __init__(
        self,
        ui,
        session: Session,
        findOrCreateTable: Callable,
        segmentationNode: Callable,
        settle: Callable[[], None],
        setText: Callable,
    ):
        self._ui, self._session, self._setText = ui, session, setText
        self._findOrCreateTable, self._segmentationNode, self._settle = findOrCreateTable, segmentationNode, settle
        ui.exportLabel.visible = False
        ui.exportButton.connect("clicked(bool)", self.onVolumes)
        ui.exportPlanButton.connect("clicked(bool)", self.onPlan)
        ui.exportSurfaceButton.connect("clicked(bool)", self.onSurface)
        ui.exportPartsButton.connect("clicked(bool)", self.onParts)
        ui.exportDicomButton.connect("clicked(bool)", self.onDicom)
        ui.exportDicomPartsButton.connect("clicked(bool)", self.onDicomParts)

    def forget(self) -> None:
        """The scene was closed: nothing is told any more of what was written of it."""
        self._say("")

    def onVolumes(self) -> None:
        """The table of all livers as CSV."""
        with self._explaining(_("The file could not be written.")):
            self._settle()
            if path := self._ask(_("Export volumes"), "liver-volumes.csv", TABLES):
                row_check.export(self._findOrCreateTable(), path, self._session.resultIn, overwrite=True)
                self._say(_("Wrote {path}.").format(path=path))

    def onPlan(self) -> None:
        """The table of the plan as CSV."""
        with self._explaining(_("The file could not be written.")):
            resection_plan.current(self._liver())
            if path := self._ask(_("Export plan"), "liver-plan.csv", TABLES):
                resection_plan.export(self._liver(), path, overwrite=True)
                self._say(_("Wrote {path}.").format(path=path))

    def onSurface(self) -> None:
        """The liver's surface as STL or OBJ."""
        with self._explaining(_("The file could not be written.")):
            liverNode = self._liver()
            if path := self._ask(_("Export surface of the liver"), "liver.stl", SURFACES):
                self._tell([export_surface.exportLiver(liverNode, path, overwrite=True)])

    def onParts(self) -> None:
        """The surfaces of both parts."""
        with self._explaining(_("The file could not be written.")):
            liverNode = self._liver()
            resection_plan.current(liverNode)
            path = self._ask(_("Export surfaces of the parts"), "liver-plan.stl", SURFACES, export_surface.partPaths)
            if path:
                self._tell(export_surface.exportParts(liverNode, path, overwrite=True))

    def onDicom(self) -> None:
        """The liver's segmentation as DICOM."""
        with self._explaining(_("The liver cannot be exported as DICOM.")):
            self._openDicomExport(self._liver())

    def onDicomParts(self) -> None:
        """That of the parts."""
        with self._explaining(_("The parts cannot be exported as DICOM.")):
            self._openDicomExport(resection_plan.current(self._liver()).partsNode)

    @contextmanager
    def _explaining(self, failed: str) -> Iterator[None]:
        """Show an error to the user, and not any more what was written before."""
        with explained(failed):
            try:
                yield
            except BaseException:
                self._say("")
                raise

    def _openDicomExport(self, segmentationNode) -> None:
        if reason := export_dicom.obstacle(segmentationNode):
            raise InputError(reason)
        item = export_dicom.handOver(segmentationNode, self._session.isEdited(segmentationNode))
        dialog = slicer.qSlicerDICOMExportDialog(None)
        dialog.setMRMLScene(segmentationNode.GetScene())
        dialog.execDialog(item)

    def _liver(self):
        """As it is with what is set now. Raises InputError when no segmentation is chosen."""
        self._settle()
        segmentationNode = self._segmentationNode()
        if segmentationNode is None:
            raise InputError(_("Segment the liver first."))
        return segmentationNode

    def _ask(self, title: str, name: str, formats: str, pathsOf: Callable[[Path], list[Path]] | None = None) -> str:
        """Where to write; empty when the user cancels. pathsOf: the files of a chosen name, where it is not one.

        The dialog itself asks before the file of the chosen name is replaced.
        """
        chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, formats)
        if not chosen:
            return ""
        path = Path(chosen)
        if path.suffix.lower() not in re.findall(r"\*(\.\w+)", formats):
            path = path.with_name(path.name + Path(name).suffix)
        written = pathsOf(path) if pathsOf else [path]
        existing = [one.name for one in written if one.exists() and one != Path(chosen)]
        question = _("Replace {names}?").format(names=", ".join(existing))
        return str(path) if not existing or slicer.util.confirmYesNoDisplay(question) else ""

    def _tell(self, surfaces: list[export_surface.ExportedSurface]) -> None:
        texts = ", ".join(map(str, surfaces))
        self._say(_("Wrote {files} in mm and LPS into {folder}.").format(files=texts, folder=surfaces[0].path.parent))

    def _say(self, text: str) -> None:
        self._setText(self._ui.exportLabel, text)
        self._ui.exportLabel.visible = bool(text)
