"""Folders and files that several rooms name."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The repository."""
DATA_VARIABLE = "LIVERGTAN_DATA"
TEACHER = "training/weights/teacher.safetensors"
"""The trained teacher that is part of the repository, relative to `ROOT`."""


def data_folder() -> Path:
    """The folder of CTs and tissue maps that are not part of the repository (`ct/`, `tissue_maps/`)."""
    return Path(os.environ.get(DATA_VARIABLE, ROOT.parent / "shared" / "data"))
