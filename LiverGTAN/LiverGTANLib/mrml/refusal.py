"""Errors that the user can mend: their sentence is all that there is to log of them, others keep their traceback."""

import logging

from ..core.volume import InputError, OutOfMemory
from ..core.weight_file import StudentError
from .segment_writer import WriteError


def isRefusal(error: BaseException) -> bool:
    """Whether an error's sentence says what is wrong and what to do, and nothing unexpected is behind it."""
    if isinstance(error, (InputError, StudentError, WriteError, OutOfMemory)):
        return True
    isSentence = isinstance(error, OSError) and error.errno is None  # not as the system raises it
    return isSentence and (error.__cause__ is None or isinstance(error.__cause__, OSError))


def logFailure(logger: logging.Logger, what: str, error: BaseException) -> None:
    """Log that something failed: a refusal as a warning in one sentence, other errors with their traceback.

    what: a sentence.
    """
    if isRefusal(error):
        logger.warning("%s %s", what, error)
    else:
        logger.error("%s", what, exc_info=error)
