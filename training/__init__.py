"""Offline training of the LiverGTAN students: `python -m training --help`. Slicer never imports this package."""

import sys
from pathlib import Path

# The preprocessing and the engines are those that Slicer runs; the extension is a folder, not an installed package.
_EXTENSION = str(Path(__file__).resolve().parents[1] / "LiverGTAN")
if _EXTENSION not in sys.path:
    sys.path.insert(0, _EXTENSION)
