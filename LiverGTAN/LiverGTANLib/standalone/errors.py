"""Errors that the command line expects and shows as one sentence; any other is a defect and shows its traceback."""

from ..core.engines.engine import EngineError
from ..core.volume import InputError
from ..core.weight_file import StudentError

EXPECTED = (InputError, StudentError, EngineError, OSError, MemoryError)


def sentence(error: BaseException) -> str:
    """What is wrong, in one line."""
    if isinstance(error, MemoryError):
        return "There is not enough memory for this scan; crop it to the abdomen."
    return " ".join(str(error).split())
