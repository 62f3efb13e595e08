"""The latest results by key: a slider comes back, a point is added to points.

Not functools.lru_cache: that belongs to a function, while these results belong to one analysis and go with it, and are
looked up by more than one key (see `postprocess.longest_cached`).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Value = TypeVar("Value")


class LruCache:
    """At most `most` results, the least recently used go first. For any thread; results must not be changed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: Hashable) -> Any | None:
        """The result for this key, None when it is not there."""
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def store(self, key: Hashable, result: Value) -> Value:
        """Returns the result."""
        with self._lock:
            self._results[key] = result
            self._results.move_to_end(key)
            while len(self._results) > self._most:
                self._results.popitem(last=False)
        return result

    def get_or_make(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result for this key, made when it is not there. Two threads may both make it."""
        cached = self.get(key)
        return cached if cached is not None else self.store(key, make())
