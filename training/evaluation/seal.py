"""A digest within a result that is written as JSON: whether its figures are as they were written."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SEAL = "sha256"
"""The entry of a result that holds its digest."""


def seal(result: dict[str, Any]) -> str:
    """SHA-256 of a result without its seal: figures that were changed by hand do not have it."""
    content = {name: value for name, value in result.items() if name != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_sealed(result: dict[str, Any]) -> bool:
    """Whether a result is as it was written."""
    return seal(result) == result.get(SEAL)
