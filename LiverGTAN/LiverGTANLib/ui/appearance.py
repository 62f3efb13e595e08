"""What the .ui file cannot say of the widgets: icons whose names differ between versions of Slicer, and that what is in
a collapsed section is hidden.
"""

import qt

ICONS = {
    "undoButton": (":/Icons/Small/SlicerUndo.png", ":/Icons/SlicerUndo.svg"),
    "redoButton": (":/Icons/Small/SlicerRedo.png", ":/Icons/SlicerRedo.svg"),
    "liverPointsButton": (":/Icons/MarkupsFiducialMouseModePlace.png", ":/Icons/MarkupsAddPoint.svg"),
    "notLiverPointsButton": (":/Icons/MarkupsFiducialMouseModePlace.png", ":/Icons/MarkupsAddPoint.svg"),
}
"""Button -> its icon in Slicer's resources: its name in Slicer 5.10 and 5.12, and in the development version after."""


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
