"""Refusals, whose sentence says all, are logged as that sentence; other errors with their traceback."""

import logging

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
from LiverGTANLib.core.engines.engine import EngineError
from LiverGTANLib.core.files import atomic_write
from LiverGTANLib.core.region import Region
from LiverGTANLib.core.volume import InputError, OutOfMemory
from LiverGTANLib.core.weight_file import StudentError
from LiverGTANLib.mrml import refusal
from LiverGTANLib.mrml.segment_writer import WriteError

SENTENCE = "Choose another one."
REFUSALS = [kind(SENTENCE) for kind in (InputError, StudentError, WriteError, OutOfMemory, OSError)]
ERRORS = [kind(SENTENCE) for kind in (ValueError, RuntimeError, MemoryError, EngineError, ZeroDivisionError)]
ERRORS.append(FileNotFoundError(2, "No such file or directory"))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


ERRORS.append(caused(OSError(SENTENCE), ZeroDivisionError()))


def logged(caplog) -> list[tuple[str, bool]]:
    """(message, whether a traceback comes with it) of what was logged as a warning or worse."""
    return [(one.getMessage(), bool(one.exc_info)) for one in caplog.records if one.levelno >= logging.WARNING]


def ids(error) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", REFUSALS, ids=ids)
def test_a_refusal_is_shown_and_logged_as_its_sentence_and_ends_there(slicerHost, caplog, error):
    from LiverGTANLib.ui.task_runner import explained

    with explained("Not done."):
        raise error
    refusal.logFailure(logging.getLogger(), "Not done.", error)
    (message,) = slicerHost.dialogs.messages
    assert message.text == f"Not done.\n\n{SENTENCE}" and not message.detail
    assert logged(caplog) == [(message.text, False), (f"Not done. {SENTENCE}", False)]


@pytest.mark.parametrize("error", ERRORS, ids=ids)
def test_another_error_is_shown_and_keeps_its_traceback(slicerHost, caplog, error):
    from LiverGTANLib.ui.task_runner import explained

    with pytest.raises(type(error)), explained("Not done."):
        raise error
    refusal.logFailure(logging.getLogger(), "Not done.", error)
    (message,) = slicerHost.dialogs.messages
    assert "Traceback" in message.detail
    assert logged(caplog)[-1] == ("Not done.", True)


def test_a_place_that_cannot_be_written_to_and_an_roi_that_is_no_box_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written") as unwritten, atomic_write(tmp_path / "file" / "liver.csv"):
        pass
    with pytest.raises(ValueError, match="no extent") as flat:
        Region([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], (10, 0, 10))
    assert refusal.isRefusal(unwritten.value) and refusal.isRefusal(flat.value)


def test_the_cursor_is_the_usual_one_again_after_a_refusal(slicerHost):
    from PySide6.QtWidgets import QApplication

    from LiverGTANLib.ui.task_runner import explained

    with explained("Not done.", waitCursor=True):
        assert QApplication.overrideCursor() is not None
        raise InputError(SENTENCE)
    assert QApplication.overrideCursor() is None
