"""A few results kept for the next, likely alike, question: a slider comes back, a point is added to points."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

Value = TypeVar("Value")


class LruCache:
    """The latest results by key, at most `most`. May be used from any thread; results must not be changed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, object] = OrderedDict()

    def get(self, key: Hashable) -> object | None:
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def keep(self, key: Hashable, result: Value) -> Value:
        """Remember a result; returns it."""
        with self._lock:
            self._results[key] = result
            self._results.move_to_end(key)
            while len(self._results) > self._most:
                self._results.popitem(last=False)
        return result

    def of(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result for this key, made when it is not known. Two threads may both make it."""
        known = self.get(key)
        return known if known is not None else self.keep(key, make())
