"""Errors that the command line expects and shows as one sentence; any other is a defect and shows its traceback."""

from ..core.engines.engine import EngineError
from ..core.volume import OUT_OF_MEMORY, InputError
from ..core.weight_file import StudentError

EXPECTED = (InputError, StudentError, EngineError, OSError, MemoryError)


def sentence(error: BaseException) -> str:
    """What is wrong, in one line; a list in it, as of DICOM series, follows in lines of its own."""
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be read or written ({error.strerror})."
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    return "\n  ".join(line for line in lines if line)
