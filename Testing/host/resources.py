"""Icons under the names that Slicer's own resources have; drawn for the host, much like those of the application.

The names are those of Slicer 5.10 and 5.12: Base/QTGUI/Resources/qSlicerBaseQTGUI.qrc, Modules/Loadable/Segmentations/
Widgets/Resources/qSlicerSegmentationsModuleWidgets.qrc and vtkMRMLMarkupsFiducialNode::GetAddIcon. In the development
version after them some icons have other names (`:/Icons/SlicerUndo.svg`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import PySide6
from PySide6 import QtCore

_ARROW = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g {transform}>
<path d="M9 19h5a5 5 0 0 0 0-10H6" fill="none" stroke="#3c6ea5" stroke-width="2.4"/>
<path d="M9.5 3.5 3 9l6.5 5.5z" fill="#3c6ea5"/></g></svg>"""
_POINT = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">
<circle cx="9" cy="9" r="5" fill="#e05050" stroke="#8c2020" stroke-width="1.2"/>
<path d="M12 12v9l2.4-2.2 1.8 3.6 2-1-1.8-3.5 3.3-.4z" fill="white" stroke="black"/></svg>"""
_CUBE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" stroke="#2f6b3a" stroke-width="1.2">
<path d="M12 2.5 21 7v10l-9 4.5L3 17V7z" fill="#8fd19e"/><path d="M3 7l9 4.5L21 7M12 11.5v10" fill="none"/></svg>"""

_ICONS = {
    "Small/SlicerUndo.png": _ARROW.format(transform=""),
    "Small/SlicerRedo.png": _ARROW.format(transform='transform="matrix(-1 0 0 1 24 0)"'),
    "MarkupsFiducialMouseModePlace.png": _POINT,
    "MakeModel.png": _CUBE,
}


def _compile(folder: Path) -> bytes:
    """Qt's resource compiler on the icons -> a binary resource with all of them below `:/Icons`."""
    entries = []
    for number, (name, svg) in enumerate(_ICONS.items()):
        (folder / f"{number}.svg").write_text(svg, encoding="utf-8")
        entries.append(f'<file alias="{name}">{number}.svg</file>')
    listing = folder / "icons.qrc"
    listing.write_text(f'<RCC><qresource prefix="/Icons">{"".join(entries)}</qresource></RCC>', encoding="utf-8")
    compiler = Path(PySide6.__file__).parent / ("rcc.exe" if sys.platform == "win32" else "Qt/libexec/rcc")
    done = subprocess.run([compiler, "--binary", listing], capture_output=True, check=True)
    return done.stdout


_registered: list[bytes] = []
"""Qt reads them as long as the application runs."""


def register() -> None:
    """Make the icons known to Qt, as the application does before any module is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        _registered.append(_compile(Path(folder)))
    if not QtCore.QResource.registerResourceData(_registered[-1]):
        raise RuntimeError("Qt refuses the icons of the host")
