"""How the user is told that something could not be done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import slicer

from ..mrml.refusal import isRefusal


@contextmanager
def explained(message: str, waitCursor: bool = False) -> Iterator[None]:
    """Show an error of this block to the user, after which goes on what stands behind the block.

    message: what could not be done. Slicer logs what it shows. An error that is no refusal is raised again, so that
    the application logs its traceback too.
    """
    refusal = None
    with slicer.util.tryWithErrorDisplay(message, waitCursor=waitCursor):
        try:
            yield
        except Exception as error:
            if not isRefusal(error):
                raise
            refusal = error
    if refusal is not None:
        slicer.util.errorDisplay(f"{message}\n\n{refusal}")


def showFailure(error: BaseException, message: str, refresh: Callable[[], None]) -> None:
    """Show and log why work on the worker thread failed, then call refresh(), whatever becomes of that.

    message: what could not be done, for the user.
    """
    try:
        with explained(message):
            raise error
    finally:
        refresh()
