"""Offline training of the LiverGTAN students: `python -m training --help`. Slicer never imports this package."""

import os
import sys
from pathlib import Path

# Threads that wait sleep instead of spinning: on a shared machine spinning ones slowed a step sevenfold. Read by
# OpenMP when torch is loaded, so it stands before every import of torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The preprocessing and the engines are those that Slicer runs; the extension is a folder, not an installed package.
_EXTENSION = str(Path(__file__).resolve().parents[1] / "LiverGTAN")
if _EXTENSION not in sys.path:
    sys.path.insert(0, _EXTENSION)
