"""How Slicer draws: Qt's Fusion style with the metrics and light colors of Base/QTGUI/qSlicerStyle.cxx."""

from __future__ import annotations

from PySide6 import QtGui, QtWidgets

_Style, _Role, _Group = QtWidgets.QStyle, QtGui.QPalette.ColorRole, QtGui.QPalette.ColorGroup
_LAYOUT_MARGINS = {
    _Style.PM_LayoutLeftMargin,
    _Style.PM_LayoutTopMargin,
    _Style.PM_LayoutRightMargin,
    _Style.PM_LayoutBottomMargin,
}
_METRICS = {
    **dict.fromkeys(_LAYOUT_MARGINS, 6),
    _Style.PM_ButtonMargin: 3,
    _Style.PM_LayoutHorizontalSpacing: 3,
    _Style.PM_LayoutVerticalSpacing: 3,
    _Style.PM_SliderLength: 12,
}
_COLORS = {
    _Role.Window: "white",
    _Role.Base: "white",
    _Role.AlternateBase: "#e4e4fe",
    _Role.Button: "#fcfcfc",
    _Role.Light: "#c8c8c8",
    _Role.Midlight: "#e6e6e6",
    _Role.Dark: "#aaaaaa",
    _Role.Mid: "#c8c8c8",
    _Role.Shadow: "#5a5a5a",
    _Role.Highlight: "#308cc6",
    _Role.HighlightedText: "white",
    _Role.Link: "#0000ff",
    **dict.fromkeys((_Role.WindowText, _Role.Text, _Role.ButtonText), "black"),
}


class SlicerStyle(QtWidgets.QProxyStyle):
    def __init__(self):
        super().__init__("Fusion")

    def pixelMetric(self, metric, option=None, widget=None) -> int:
        if metric in _LAYOUT_MARGINS and widget is not None and type(widget).__name__ == "ctkCollapsibleButton":
            return 4
        return _METRICS.get(metric) or super().pixelMetric(metric, option, widget)

    def standardPalette(self) -> QtGui.QPalette:
        palette = super().standardPalette()
        for role, color in _COLORS.items():
            palette.setColor(role, QtGui.QColor(color))
        for role in (_Role.WindowText, _Role.Text, _Role.ButtonText):
            palette.setColor(_Group.Disabled, role, QtGui.QColor("#bebebe"))
        return palette
