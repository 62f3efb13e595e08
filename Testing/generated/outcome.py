"""What becomes of one generated input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

READ, REFUSED = "read", "refused"
LONGEST_SENTENCE = 1000
"""Characters of a refusal apart from the names of files; lists of DICOM series are the longest."""

Kind = Callable[[np.random.Generator, Path], str]
"""Makes one input in an empty folder and gives it to the program; returns READ or REFUSED, raises Wrong or anything."""


class Wrong(AssertionError):
    """The program took the input and gave a wrong result without a word, or refused it badly."""


def require(condition: object, what: str) -> None:
    """Raise Wrong with `what` unless the condition holds."""
    if not condition:
        raise Wrong(what)


def require_sentence(error: BaseException, name: str = "") -> None:
    """Raise Wrong unless an error is a sentence of bounded length that holds `name`."""
    text = str(error)
    require(text.strip() and len(text) < LONGEST_SENTENCE, f"no sentence: {text[:200]!r} ({len(text)} characters)")
    require(name in text, f"a refusal that does not name {name}: {text[:200]!r}")
