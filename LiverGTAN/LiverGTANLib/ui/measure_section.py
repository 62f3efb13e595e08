"""The section "Measure": the table of volumes, with rows that are true of the livers in the scene."""

from collections.abc import Callable

import qt
import slicer
from slicer.util import VTKObservationMixin

from ..mrml import row_check, scene
from ..mrml.session import Session


class MeasureSection(VTKObservationMixin):
    """ui: the widgets of the .ui file by name. findOrCreateTable() -> the table node.

    Rows follow what becomes of their livers, whatever volume is chosen and also while another module is open.
    """

    def __init__(self, ui, session: Session, findOrCreateTable: Callable):
        VTKObservationMixin.__init__(self)
        self._session, self._findOrCreateTable = session, findOrCreateTable
        self._changed: set = set()
        self._allChanged = True
        self._followed: set = set()
        self._turn = qt.QTimer()
        self._turn.setSingleShot(True)
        self._turn.setInterval(0)
        self._turn.connect("timeout()", self._onTurn)
        ui.showTableButton.connect("clicked(bool)", self.showTable)
        mrmlScene = slicer.mrmlScene
        for event in (mrmlScene.NodeRemovedEvent, mrmlScene.EndImportEvent):
            self.addObserver(mrmlScene, event, self._onSceneChanged)
        self.addObserver(mrmlScene, mrmlScene.EndBatchProcessEvent, self._onBatchEnd)
        self._turn.start()

    def close(self) -> None:
        """The widgets are not touched any more."""
        self._turn.stop()
        self.removeObservers()

    def showTable(self) -> None:
        """Open the table beside the views."""
        tableNode = self._findOrCreateTable()
        row_check.refresh(tableNode, self._session.resultIn)
        showTable(tableNode)

    # Rows follow their livers

    def follow(self) -> None:
        """From now on follow the livers that have a row by now."""
        followed = {(node, scene.liverVolume(node)) for node in row_check.segmentations(slicer.mrmlScene)}
        if followed != self._followed:
            self._changed |= {node for node, _ in followed - self._followed}  # Redo brings rows of moved livers back
            self._turn.start()
            self._followed = followed
            self.removeObservers(self._onLiverChanged)
            self.removeObservers(self._onCtChanged)
            for node, _ in followed:
                for event in scene.segmentEvents(node):
                    self.addObserver(node, event, self._onLiverChanged)
            for volumeNode in {volumeNode for _, volumeNode in followed if volumeNode is not None}:
                for event in scene.imageEvents(volumeNode):
                    self.addObserver(volumeNode, event, self._onCtChanged)

    def _onSceneChanged(self, caller, event) -> None:
        self._allChanged = True
        self._turn.start()

    def _onBatchEnd(self, caller, event) -> None:
        """What a turn of the event loop within the batch left is done now."""
        if self._changed or self._allChanged:
            self._turn.start()

    def _onLiverChanged(self, caller, event) -> None:
        self._changed.add(caller)
        self._turn.start()

    def _onCtChanged(self, caller, event) -> None:
        self._changed |= {node for node, volumeNode in self._followed if volumeNode == caller}
        self._turn.start()

    def _onTurn(self) -> None:
        if slicer.mrmlScene.IsBatchProcessing():
            return  # until _onBatchEnd
        only, allChanged = self._changed, self._allChanged
        self._changed, self._allChanged = set(), False
        self.follow()
        for tableNode in slicer.util.getNodesByClass("vtkMRMLTableNode"):
            row_check.refresh(tableNode, self._session.resultIn, None if allChanged else only)


def showTable(tableNode) -> None:
    """Open a table beside the views."""
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveTableID(tableNode.GetID())
    logic.PropagateTableSelection()
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
