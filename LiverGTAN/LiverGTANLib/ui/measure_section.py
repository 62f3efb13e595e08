"""Part of the shell: the result in words, the table of volumes, and its export."""

import qt
import slicer
from slicer.i18n import tr as _

from ..mrml import table


class MeasureSection:
    """ui: the widgets of the .ui file by name. logic: LiverGTANLogic."""

    def __init__(self, ui, logic):
        self._logic = logic
        ui.showTableButton.connect("clicked(bool)", self.showTable)
        ui.exportButton.connect("clicked(bool)", self.onExport)

    def line(self, result, withTime: bool = False) -> str:
        """What is in the segment, for the person."""
        if result.interval is None:
            text = _("Liver {volume:.0f} mL, as the Segment Editor's masking left it").format(volume=result.volumeMl)
        else:
            text = _("Liver {interval}").format(interval=result.interval)
        if withTime:
            text += _(", {seconds:.2f} s ({engine})").format(seconds=result.seconds["total"], engine=result.engine)
        return text

    def showStep(self, step, segmentationNode) -> None:
        """Let the table tell of the undo state that a person has gone to."""
        if step is not None:
            self._logic.tabulate(step.result)
        elif segmentationNode is not None:
            table.drop(self._logic.table(), segmentationNode)

    def showTable(self) -> None:
        """Open the table beside the views."""
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveTableID(self._logic.table().GetID())
        slicer.app.applicationLogic().PropagateTableSelection()
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)

    def onExport(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export table"), "liver-volumes.csv", "CSV (*.csv)"
        )
        if path:
            with slicer.util.tryWithErrorDisplay(_("The table could not be exported.")):
                self._logic.exportTable(path)
