"""The section "Measure": the table of volumes and its export."""

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from ..mrml import table


class MeasureSection:
    """ui: the widgets of the .ui file by name. findOrCreateTable() -> the table node."""

    def __init__(self, ui, findOrCreateTable: Callable):
        self._findOrCreateTable = findOrCreateTable
        ui.showTableButton.connect("clicked(bool)", self.showTable)
        ui.exportButton.connect("clicked(bool)", self.onExport)

    def showTable(self) -> None:
        """Open the table beside the views."""
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveTableID(self._findOrCreateTable().GetID())
        slicer.app.applicationLogic().PropagateTableSelection()
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)

    def onExport(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export table"), "liver-volumes.csv", "CSV (*.csv)"
        )
        if path:
            with slicer.util.tryWithErrorDisplay(_("The table could not be exported.")):
                table.export(self._findOrCreateTable(), path)
