"""What the .ui file cannot say of the widgets: icons whose names differ between versions of Slicer, that what is in a
collapsed section is hidden, and why a widget is disabled.
"""

import qt

ICONS = {
    "undoButton": (":/Icons/Small/SlicerUndo.png", ":/Icons/SlicerUndo.svg"),
    "redoButton": (":/Icons/Small/SlicerRedo.png", ":/Icons/SlicerRedo.svg"),
    "liverPointsButton": (":/Icons/MarkupsFiducialMouseModePlace.png", ":/Icons/MarkupsAddPoint.svg"),
    "notLiverPointsButton": (":/Icons/MarkupsFiducialMouseModePlace.png", ":/Icons/MarkupsAddPoint.svg"),
}
"""Button -> its icon in Slicer's resources: its name in Slicer 5.10 and 5.12, and in the development version after."""


class WidgetStates:
    """Sets properties of widgets where they change: most refreshes change nothing, and setting costs more than asking.

    ui: the widgets of the .ui file by name.
    """

    def __init__(self, ui):
        self._ui = ui
        self._toolTips: dict[str, str] = {}  # of the .ui file

    def set(self, name: str, attribute: str, value) -> None:
        """Set a property of the widget with this name."""
        widget = getattr(self._ui, name)
        if getattr(widget, attribute) != value:
            setattr(widget, attribute, value)

    def enable(self, name: str, reason: str, text: str = "", toolTip: str = "") -> None:
        """Enable a widget, or disable it for this reason, which its tool tip then says.

        text, toolTip: others than before and than in the .ui file, if they are given.
        """
        usual = self._toolTips.setdefault(name, getattr(self._ui, name).toolTip)
        self.set(name, "enabled", not reason)
        self.set(name, "toolTip", reason or toolTip or usual)
        if text:
            self.set(name, "text", text)


def complete(ui) -> None:
    """ui: the widgets of the .ui file by name, as they were loaded."""
    _setIcons(ui)
    _hideCollapsed(ui)


def _setIcons(ui) -> None:
    """Where this Slicer has no such icon, the text of the button stands alone."""
    for name, paths in ICONS.items():
        path = next((path for path in paths if qt.QFile(path).exists()), None)
        if path:
            getattr(ui, name).icon = qt.QIcon(path)


def _hideCollapsed(ui) -> None:
    """A section that is collapsed from the start leaves its widgets to the Tab key, though without any height: Qt takes
    back that ctkCollapsibleButton hides them while they are made (childEvent; QWidgetPrivate::setParent_sys).
    """
    for section in [widget for widget in vars(ui).values() if widget.inherits("ctkCollapsibleButton")]:
        if section.collapsed:
            section.collapsed = False
            section.collapsed = True
