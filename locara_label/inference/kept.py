"""Arrays that do not change, such as a picture's embedding, cross to the process that runs models once and not with every run."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

LEAST_BYTES = 1 << 18
"""Of an array that is worth it."""
MOST_BYTES = 192 << 20
"""Of all that are kept: the embeddings of some ten pictures of SAM 2.1."""


class Tokens:
    """Owner's side: a number for each array that nobody can write to, as long as somebody holds it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[NDArray[Any]], int]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()  # a reference may end at any allocation, and then takes itself out

    def of(self, array: NDArray[Any]) -> int:
        """0 for an array that is small, or may change."""
        if array.flags.writeable or array.nbytes < LEAST_BYTES:
            return 0
        place = id(array)
        with self._lock:
            if place not in self._known:
                self._known[place] = weakref.ref(array, lambda _: self._forget(place)), next(self._numbers)
            return self._known[place][1]

    def _forget(self, place: int) -> None:
        with self._lock:
            self._known.pop(place, None)


class Kept:
    """The process's side: the arrays by their numbers; those that were not used for longest go."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._arrays: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, token: int, array: NDArray[Any]) -> NDArray[Any]:
        """A copy of an array, which is kept."""
        copy = array.copy()
        with self._lock:
            if token not in self._arrays:
                self._bytes += copy.nbytes
            self._arrays[token] = copy
            while self._bytes > self._most_bytes:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return copy

    def get(self, token: int) -> NDArray[Any] | None:
        """None for one that has gone, or never was here."""
        with self._lock:
            if token in self._arrays:
                self._arrays.move_to_end(token)
            return self._arrays.get(token)
