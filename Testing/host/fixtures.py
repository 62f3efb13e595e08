"""pytest fixtures: a Slicer of its own for each test."""

from __future__ import annotations

import pytest


@pytest.fixture
def slicerHost(tmp_path):
    """An open `SlicerHost`.

    The test fails at the end if an exception left a slot and was not taken, or if a widget was asked for what the real
    one has not.
    """
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    pytest.importorskip("PySide6", reason="PySide6 is not installed")
    from host.slicerhost import SlicerHost

    host = SlicerHost(tmp_path)
    yield host
    host.close()
    assert not host.refused, f"not in Slicer {host.refused!r}"
    assert not host.uncaught, f"exceptions left a slot or an observer: {host.uncaught!r}"
