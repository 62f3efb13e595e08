"""What the tests of the module share."""

from pathlib import Path

import pytest

from LiverGTANLib.core import weight_file
from support import band_student

ROOT = Path(__file__).resolve().parents[2]
MODULE_FILE = ROOT / "LiverGTAN" / "LiverGTAN.py"


@pytest.fixture
def students(tmp_path, monkeypatch):
    """In place of the bundled students hand-made ones whose answer on the phantom is known; returns their folder."""
    folder = tmp_path / "Models"
    for name in ("student-100k", "student-30k"):
        band_student.save(folder, name)
    monkeypatch.setattr(weight_file, "MODELS", folder)
    return folder
