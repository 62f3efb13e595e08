"""Values along the three axes of a volume."""

from collections.abc import Iterable
from typing import TypeVar

Value = TypeVar("Value")


def triple(values: Iterable[Value]) -> tuple[Value, Value, Value]:
    """The values as a tuple of three. Raises ValueError for any other number of them."""
    first, second, third = values
    return first, second, third
