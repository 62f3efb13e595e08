"""Buttons and keys with which points are placed.

The keys work while the module is open. What is being placed is seen in the section "Correct": a key opens it, and
collapsing it ends the placing.
"""

from collections.abc import Callable

import qt
import slicer
from slicer.util import VTKObservationMixin

from ..mrml import points

KEYS = {True: "L", False: "N"}
STOP_KEY = "Esc"
"""Slicer itself ends placing by a right click or a double click in a view, and by no key
(vtkSlicerMarkupsWidget.cxx)."""

_PARAMETER_NAMES = {True: "liverPoints", False: "notLiverPoints"}


class PlaceButtons(VTKObservationMixin):
    """A button stays checked as long as the mouse places points of its list: until a second click, Escape, or what
    ends it in the views."""

    def __init__(self, section, liverButton, notLiverButton):
        VTKObservationMixin.__init__(self)
        self._section, self._buttons = section, {True: liverButton, False: notLiverButton}
        self._parameterNode = None
        self._placedInto = ""  # ID of the list that points were placed into last
        self._shortcuts = {}  # by key
        self._keysEnabled = True
        section.connect("contentsCollapsed(bool)", self._onCollapsed)
        for liver, button in self._buttons.items():
            button.connect("clicked(bool)", lambda checked, liver=liver: self._onClicked(liver, checked))

    def open(self, parameterNode) -> None:
        """Place points from now on into the lists of these parameters (None: nothing)."""
        self.close()
        self._parameterNode = parameterNode
        self._keysEnabled = True
        for liver, key in KEYS.items():
            self._addShortcut(key, lambda liver=liver: self._onKey(liver))
        self._addShortcut(STOP_KEY, self.stop)
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self.addObserver(interaction, interaction.InteractionModeChangedEvent, self._update)
        self.addObserver(selection, selection.ActivePlaceNodeIDChangedEvent, self._update)
        self._update()

    def close(self) -> None:
        """Stop placing; the keys do nothing any more."""
        self.stop()
        self.removeObservers()
        self._parameterNode = None
        for shortcut in self._shortcuts.values():
            shortcut.enabled = False
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = {}

    def enableKeys(self, enabled: bool) -> None:
        """While they are disabled, they go to the widget that has the focus."""
        self._keysEnabled = enabled
        self._update()

    def _addShortcut(self, key: str, pressed: Callable) -> None:
        self._shortcuts[key] = qt.QShortcut(qt.QKeySequence(key), slicer.util.mainWindow())
        self._shortcuts[key].connect("activated()", pressed)

    def _onKey(self, liver: bool) -> None:
        if self._buttons[liver].enabled:
            self._section.collapsed = False
            self._onClicked(liver, not self._isPlacing(liver))

    def _onCollapsed(self, collapsed: bool) -> None:
        if collapsed:
            self.stop()

    def _onClicked(self, liver: bool, on: bool) -> None:
        if on and self._parameterNode is not None and self._parameterNode.inputVolume is not None:
            self._place(liver)
        else:
            self._stop()
        self._update()

    def _place(self, liver: bool) -> None:
        node = getattr(self._parameterNode, _PARAMETER_NAMES[liver])
        if node is None:
            node = points.create(self._parameterNode.inputVolume, liver)
            setattr(self._parameterNode, _PARAMETER_NAMES[liver], node)
        self._placedInto = node.GetID()
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(node)
        logic.StartPlaceMode(True)

    def stop(self) -> None:
        """End the placing, if the mouse places points of these lists."""
        if self._isPlacingAny():
            self._stop()

    def onNodeRemoved(self, node) -> None:
        """A list that is deleted while points are placed into it ends the placing: there is no place for the next."""
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if node.GetID() == self._placedInto and interaction.GetCurrentInteractionMode() == interaction.Place:
            self._stop()
        self._update()

    def _stop(self) -> None:
        slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()

    def _isPlacing(self, liver: bool) -> bool:
        node = getattr(self._parameterNode, _PARAMETER_NAMES[liver]) if self._parameterNode else None
        logic = slicer.app.applicationLogic()
        interaction = logic.GetInteractionNode()
        placing = interaction.GetCurrentInteractionMode() == interaction.Place
        return node is not None and placing and logic.GetSelectionNode().GetActivePlaceNodeID() == node.GetID()

    def _isPlacingAny(self) -> bool:
        return any(self._isPlacing(liver) for liver in self._buttons)

    def _update(self, caller=None, event=None) -> None:
        for liver, button in self._buttons.items():
            button.checked = self._isPlacing(liver)
        for key, shortcut in self._shortcuts.items():  # Escape is everybody else's while there is nothing to stop
            shortcut.enabled = self._keysEnabled and (key != STOP_KEY or self._isPlacingAny())
