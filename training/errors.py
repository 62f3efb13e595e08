"""The error that ends a command with one sentence."""

from LiverGTANLib.core.files import brief


class UserError(Exception):
    """One sentence for the user at the terminal: what is wrong and what to do."""


def reason(error: BaseException) -> str:
    """Why a file cannot be read or written, for a message that names the file: in brief, and without its path."""
    if isinstance(error, KeyError):
        return f"it lacks {brief(error)}"
    cause = error.__cause__ if isinstance(error, OSError) and error.strerror is None else error
    return str(cause.strerror) if isinstance(cause, OSError) and cause.strerror else brief(error)
