"""The section "Measure": the table of volumes."""

from collections.abc import Callable

import slicer


class MeasureSection:
    """ui: the widgets of the .ui file by name. findOrCreateTable() -> the table node."""

    def __init__(self, ui, findOrCreateTable: Callable):
        self._findOrCreateTable = findOrCreateTable
        ui.showTableButton.connect("clicked(bool)", self.showTable)

    def showTable(self) -> None:
        """Open the table beside the views."""
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveTableID(self._findOrCreateTable().GetID())
        slicer.app.applicationLogic().PropagateTableSelection()
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
