"""The journeys that `LiverGTANTest` makes in the application, made on the host."""

import unittest

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from host.slicer_command import OTHER_MODULE, SEGMENT_EDITOR
from support.module_fixtures import MODULE_FILE, students

pytestmark = pytest.mark.slow


@pytest.fixture
def application(slicerHost, students, tmp_path):
    """The application with the module, which is not open yet, and two of its own that can be opened instead."""
    slicerHost.loadModule(OTHER_MODULE)
    slicerHost.loadModule(SEGMENT_EDITOR)
    slicerHost.loadModule(MODULE_FILE, engineProvider=students)
    slicerHost.completeStartup()
    return slicerHost


def journeys():
    """Names of all of them; the file itself needs the host."""
    from support.module_fixtures import ROOT

    source = (ROOT / "LiverGTAN" / "LiverGTANLib" / "ui" / "journeys.py").read_text(encoding="utf-8")
    return [name.strip() for name in source.rpartition("JOURNEYS = (")[2].rpartition(",")[0].split(",")]


@pytest.mark.parametrize("name", journeys())
def test_a_journey_reaches_its_end(application, name, tmp_path):
    import LiverGTAN
    from LiverGTANLib.ui import journeys
    from LiverGTANLib.ui.panel_user import PanelUser

    journey = getattr(journeys, name)
    assert journey in journeys.JOURNEYS and len(journeys.JOURNEYS) >= 14
    journey(PanelUser(LiverGTAN.LiverGTANTest(), str(tmp_path)))
    assert not application.dialogs.messages


def test_one_that_fails_is_reported_and_does_not_keep_the_others_from_running(application, monkeypatch):
    import LiverGTAN
    from LiverGTANLib.mrml import self_test
    from LiverGTANLib.ui import journeys

    made = []

    def broken(user):
        """It fails."""
        user.test.assertTrue(user.ui.applyButton.enabled, user.ui.applyButton.toolTip)

    def good(user):
        """It passes."""
        made.append(user)

    monkeypatch.setattr(self_test, "SCENARIOS", ())
    monkeypatch.setattr(journeys, "JOURNEYS", (broken, good))
    result = unittest.TestResult()
    LiverGTAN.LiverGTANTest().run(result)
    ((_, trace),) = result.failures
    assert "Choose" in trace and len(made) == 1
